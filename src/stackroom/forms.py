"""The JSON that every face gives its answers in: hits, passages, the library in numbers, errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from stackroom.errors import MigrationError, StackroomError
from stackroom.reports import Fallback, Stats
from stackroom.types import Hit, Passage, Place

_MOST_DIFFERENCES = 100
"""What is not the same after a transfer may be everything."""


def plain(value: object) -> Any:
    """Dataclasses, tuples and mappings as JSON knows them; what it does not know is replaced: lone surrogates, which UTF-8 can't print, and NaN."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(item) for name, item in asdict(value).items()}
    if isinstance(value, dict):
        return {plain(str(name)): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def hits_form(query: str, mode: str, took: float, hits: Sequence[Hit], *, explain: bool) -> dict[str, Any]:
    """The answer to a search; `took` in milliseconds."""
    listed = []
    for hit in hits:
        item: dict[str, Any] = {
            "rank": hit.rank,
            "score": hit.score,
            "chunk_id": hit.chunk_id,
            "text": hit.text,
            "metadata": hit.metadata,
            "document": asdict(hit.document),
            "place": place_form(hit.place),
        }
        if hit.before or hit.after:
            item["before"] = [passage.text for passage in hit.before]
            item["after"] = [passage.text for passage in hit.after]
        if explain and hit.explain is not None:
            item["explain"] = plain(hit.explain)
        listed.append(item)
    return {"query": query, "mode": mode, "took_ms": round(took, 3), "hits": listed}


def place_form(place: Place) -> dict[str, Any]:
    found = asdict(place)
    found["section"] = list(place.section) or None
    return found


def passage_form(passage: Passage) -> dict[str, Any]:
    return {
        "chunk_id": passage.chunk_id,
        "document_id": passage.document_id,
        "text": passage.text,
        "place": place_form(passage.place),
        "metadata": plain(dict(passage.metadata)),
    }


def status_form(stats: Stats) -> dict[str, Any]:
    return {
        "library": stats.library,
        "format_version": stats.format_version,
        "sources": stats.sources,
        "documents": stats.documents,
        "chunks": stats.chunks,
        "active_sources": stats.active_sources,
        "embedder": plain(stats.embedder),
        "former": plain(stats.former),
        "bytes": dict(stats.bytes),
        "set_aside": list(stats.set_aside),
        "failed": {
            "count": stats.failed_count,
            "first": [{"path": failure.path, "reason": failure.reason} for failure in stats.failed],
        },
        "unfinished": stats.unfinished,
        "missing": stats.missing,
        "pages_without_text": stats.pages_without_text,
        "documents_with_hidden_text": stats.hiding,
        "documents_with_recognised_text": stats.recognised,
        "needs_embedding": stats.needs_embedding,
        "sqlite": stats.sqlite,
        "engine": stats.engine,
        "fallback": plain(stats.fallback),
        "copied": plain(stats.copied),
        "collections": plain(stats.collections),
    }


def fallback_form(fallback: Fallback | None) -> dict[str, Any]:
    """To join an answer: of which local copy it is, while the engine is away; nothing otherwise."""
    return {} if fallback is None else {"fallback": plain(fallback)}


def error_form(error: StackroomError) -> dict[str, Any]:
    form = plain_error(type(error).__name__, error.message, error.hint)
    if isinstance(error, MigrationError) and isinstance(error.actual, tuple):
        form["error"]["differences"] = plain(error.actual[:_MOST_DIFFERENCES])
    return form


def plain_error(kind: str, message: str, hint: str | None) -> dict[str, Any]:
    """`kind` is the name of an error's class."""
    return {"error": {"type": kind, "message": plain(message), "hint": plain(hint)}}
