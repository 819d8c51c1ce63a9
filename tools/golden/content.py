"""What every golden store holds: ten passages of three files, with all that is awkward about them."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from pathlib import Path
from typing import Any

DIM = 4
REPORT = {"file_path": "/home/reader/Report über Märkte.pdf", "file_name": "Report über Märkte.pdf", "file_size": 12345}
NOTES = {
    "file_path": "/home/reader/notes.md",
    "file_name": "notes.md",
    "tags": ["logs", "轮转"],
    "nested": {"a": {"b": [1, 2.5, None, True]}},
    "year": 2024,
}
EXCLUDED = ["file_size", "file_name"]

DOCUMENTS: list[dict[str, Any]] = [
    {"id": "report-page-1", "metadata": {**REPORT, "page_label": "1"}},
    {"id": "report-page-2", "metadata": {**REPORT, "page_label": "2"}},
    {"id": "0d2f6b1e-6a53-4b0c-9a7b-0c8a2f1d7e11", "metadata": NOTES},
]

_TEXTS = [
    (0, "Märkte öffnen am Morgen. Die Händler kommen früh."),
    (0, "Prices rose by 3.5 % in spring — “unheard of”, they said."),
    (0, "The third passage of the first page closes the argument."),
    (1, "On the second page the tables begin; a row per market."),
    (1, "市场在早晨开放。价格每天变化。"),
    (2, "# Rotating logs\n\nUse logrotate, and keep seven days."),
    (2, "日志轮转：每周一次。 😀 emoji outside the BMP"),
    (2, 'Quotes "inside" and a backslash \\ and a tab\t.'),
    (2, "A last note, with trailing space "),
    (None, "A passage without any document."),
]

_PROSE = (
    "Logs grow until somebody looks. Rotate them every week, and keep seven days.  Two spaces stand before this.\n"
    "A line's end is no paragraph: this sentence goes on.\n\n"
    "The second paragraph has an “aside” (with parentheses), and it is long enough to be cut in two by any splitter "
    "that counts thirty words or so.\n\n\n"
    "\tA third one begins with a tab. It says what the first one said: rotate, compress, delete; rotate, compress, delete."
)

WHOLE: list[dict[str, Any]] = [
    {
        "id": "short",
        "text": "One sentence, one passage.",
        "metadata": {"file_path": "/home/reader/short.md", "year": 2024},
    },
    {"id": "bare", "text": "A text of which nothing is known.", "metadata": {}},
    {"id": "padded", "text": "\n  Space around a text, which splitters drop. \n", "metadata": {"tags": ["a", "ü"]}},
    {"id": "long", "text": _PROSE, "metadata": {"file_path": "/home/reader/long.md", "nested": {"a": [1, None, True]}}},
    {"id": "chinese", "text": "".join(f"第{n}天市场开放。" for n in range(24)) + "\n", "metadata": {"title": "市场"}},
    {
        "id": "pages",
        "text": " ".join(f"Row {n} of a table: {n * n}." for n in range(60)),
        "metadata": {"page_label": "7"},
    },
]
"""Documents for a release to split by itself."""
CHUNK_SIZE, CHUNK_OVERLAP = 40, 8


def vector(text: str, dim: int = DIM) -> list[float]:
    """A unit vector that depends on the text alone; float64 as embedders return it."""
    rng = random.Random(hashlib.sha256(text.encode()).digest())
    values = [rng.gauss(0, 1) for _ in range(dim)]
    length = sum(value * value for value in values) ** 0.5
    return [value / length for value in values]


def node_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"passage {number}"))


def chunks() -> list[dict[str, Any]]:
    """The passages: chunk_id, document_id, text, metadata, vector, and their place in the document."""
    found = []
    offsets: dict[int | None, int] = {}
    for number, (owner, text) in enumerate(_TEXTS):
        start = offsets.get(owner, 0)
        offsets[owner] = start + len(text) + 1
        document = None if owner is None else DOCUMENTS[owner]
        found.append(
            {
                "chunk_id": node_id(number),
                "document_id": None if document is None else document["id"],
                "text": text,
                "metadata": {} if document is None else {**document["metadata"], "number": number},
                "vector": vector(text),
                "namespace": "default",
                "start": start,
                "end": start + len(text),
            }
        )
    return found


def neighbours(number: int) -> tuple[str | None, str | None]:
    """The passages before and after this one in its document."""
    owner = _TEXTS[number][0]
    before = number and owner is not None and _TEXTS[number - 1][0] == owner
    after = number + 1 < len(_TEXTS) and owner is not None and _TEXTS[number + 1][0] == owner
    return (node_id(number - 1) if before else None, node_id(number + 1) if after else None)


def fixed_uuids(seed: int = 11) -> None:
    """Make every uuid4 and every number of `random` the same in each run."""
    random.seed(seed)
    rng = random.Random(seed)
    uuid.uuid4 = lambda: uuid.UUID(int=rng.getrandbits(128), version=4)  # type: ignore[assignment]


def whole(nodes: list[Any], embedded: Any) -> list[dict[str, Any]]:
    """The passages that a release made of the documents; `embedded` gives the string that it embedded."""
    return [
        {
            "chunk_id": node.node_id,
            "document_id": node.ref_doc_id,
            "text": node.text,
            "metadata": node.metadata,
            "vector": vector(embedded(node)),
            "namespace": "default",
        }
        for node in nodes
    ]


def expect(folder: Path, made_by: str, found: list[dict[str, Any]], **more: Any) -> None:
    """Write expected.json: what an importer must find, from the objects and not from the files."""
    documents = [
        {"document_id": document["id"], "metadata": document["metadata"]}
        for document in DOCUMENTS
        if any(chunk["document_id"] == document["id"] for chunk in found)
    ]
    told = {"made_by": made_by, "chunks": found, "documents": documents, **more}
    (folder / "expected.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def begin(root: Path, name: str) -> Path:
    """An empty folder for one golden store; returns the place of its files."""
    import shutil

    shutil.rmtree(root / name, ignore_errors=True)
    written = root / name / "written"
    written.mkdir(parents=True)
    return written
