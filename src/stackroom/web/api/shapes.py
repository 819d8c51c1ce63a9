"""What answers look like, as JSON Schema: the components of the OpenAPI description."""

from __future__ import annotations

from stackroom.web.endpoint import Schema, or_null, record, ref, several, text

_NUMBER: Schema = {"type": "number"}
_WHOLE: Schema = {"type": "integer"}
_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_ANYTHING: Schema = {"type": "object", "additionalProperties": True}


def _opened(schema: Schema) -> Schema:
    """Answers may get more members in a later version."""
    return {**schema, "additionalProperties": True}


JOBS = (
    "add", "recognise", "verify", "repair", "compact", "rebuild", "backup", "export", "push", "pull", "measure", "migrate", "inventory",
)  # fmt: skip
"""What kinds there are."""

SHAPES: dict[str, Schema] = {
    "Error": _opened(
        record(
            {
                "error": _opened(
                    record(
                        {
                            "type": text("The kind of error: docs/errors.md."),
                            "message": text("What happened."),
                            "hint": or_null(text("What to do next.")),
                        }
                    )
                )
            }
        )
    ),
    "Place": _opened(
        record(
            {
                "start": or_null(_WHOLE),
                "end": or_null(_WHOLE),
                "page": or_null(_WHOLE),
                "page_end": or_null(_WHOLE),
                "page_label": or_null(_TEXT),
                "section": or_null(several(_TEXT, "The headings above, outermost first.")),
                "unit": or_null(_TEXT),
                "first": or_null(_NUMBER),
                "last": or_null(_NUMBER),
            },
            about="Where a passage stands. Offsets are code points in the document's extracted text; pages count from 1.",
        )
    ),
    "Document": _opened(
        record(
            {"id": _TEXT, "title": _TEXT, "path": _TEXT, "metadata": _ANYTHING, "source_id": _TEXT, "type": _TEXT},
            about="The document that a passage belongs to.",
        )
    ),
    "Passage": _opened(
        record({"chunk_id": _TEXT, "document_id": _TEXT, "text": _TEXT, "place": ref("Place"), "metadata": _ANYTHING})
    ),
    "Leg": _opened(record({"rank": _WHOLE, "score": _NUMBER, "share": or_null(_NUMBER)})),
    "Hit": _opened(
        record(
            {
                "rank": _WHOLE,
                "score": _NUMBER,
                "chunk_id": _TEXT,
                "text": _TEXT,
                "metadata": _ANYTHING,
                "document": ref("Document"),
                "place": ref("Place"),
                "marks": several(
                    several(_WHOLE, "Start and end, in code points."), "The words of the text that match the query."
                ),
            },
            {
                "before": several(_TEXT, "Passages before this one."),
                "after": several(_TEXT, "Passages after this one."),
                "explain": _opened(
                    record(
                        {
                            "vector": or_null(ref("Leg")),
                            "text": or_null(ref("Leg")),
                            "weights": _ANYTHING,
                            "matched": several(_TEXT, "The query's words as they were looked up."),
                        }
                    )
                ),
            },
        )
    ),
    "Source": _opened(
        record(
            {
                "id": _TEXT,
                "path": _TEXT,
                "title": _TEXT,
                "type": _TEXT,
                "documents": _WHOLE,
                "chunks": _WHOLE,
                "active": _FLAG,
                "state": {"type": "string", "enum": ["indexed", "partial", "failed"]},
                "indexed_at": or_null(_TEXT),
                "error": or_null(_TEXT),
                "size": or_null(_WHOLE),
                "pages": or_null(_WHOLE),
                "pages_without_text": or_null(_WHOLE),
                "modified_at": or_null(_TEXT),
                "recognised_pages": _WHOLE,
            }
        )
    ),
    "Progress": _opened(
        record(
            {
                "stage": _TEXT,
                "done": _WHOLE,
                "total": or_null(_WHOLE),
                "chunks": _WHOLE,
                "failed": _WHOLE,
                "rate": or_null(_NUMBER),
                "seconds_left": or_null(_NUMBER),
                "current": or_null(_TEXT),
            }
        )
    ),
    "Job": _opened(
        record(
            {
                "id": _TEXT,
                "kind": {"type": "string", "enum": list(JOBS)},
                "title": _TEXT,
                "state": {
                    "type": "string",
                    "enum": ["queued", "waiting", "running", "done", "failed", "cancelled"],
                    "description": "waiting: another program is writing, which is said by error",
                },
                "created_at": _TEXT,
                "seconds": _NUMBER,
                "progress": ref("Progress"),
                "result": or_null({**_ANYTHING, "description": "The report, once there is one."}),
                "error": or_null(_ANYTHING),
            },
            about="A long run in the background.",
        )
    ),
}

JOB = _opened(record({"job": ref("Job")}))
