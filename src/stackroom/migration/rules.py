"""What is done about each kind of anomaly, in the words of the report, and what is left out by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stackroom.migration.judging import Choices

RULES = {
    "no vector": "Kept as text, found by its words.",
    "a vector store that is missing": "Its passages are found by their words alone. Where the file is to be had, --roll-back, put it in its place and migrate again.",
    "a vector without text": "Left out; --keep-orphans (keep_orphans=True) keeps its id, metadata and vector.",
    "a vector whose text is gone": "Left out.",
    "in no index": "Kept and searched; the old program did not return it.",
    "another dimension": "The text is kept, the vector is set aside; --split-dims (split_dims=True) keeps it in a collection.",
    "NaN or infinity": "The text is kept, the vector is set aside.",
    "not a list of numbers": "The text is kept, as one without a vector.",
    "all zeros": "Kept; its score is 0.",
    "written twice, the last one counts": "As the old program reads it.",
    "a node without an id": "Left out.",
    "ids that share a vector": "The text is kept; whose vector it is can not be known. To embed them: stackroom rebuild SOURCE, or rebuild --embedder NAME.",
    "a vector that no node has": "Left out: it was deleted in the old program.",
    "a list of nodes that are gone": "Dropped.",
    "vectors were quantised": "Kept as they could be had back, which is not what was embedded: stackroom rebuild --embedder NAME.",
    "embedded in more than one way": "Their scores can't be compared; embed all anew: stackroom rebuild --embedder NAME.",
    "a document whose folder is missing": "Nothing of it is left to bring along.",
    "the same id in two indexes": "The first one is kept.",
}

_LEFT_OUT = (
    "a vector store that is missing",
    "a vector without text",
    "a vector whose text is gone",
    "a node without an id",
    "not a list of numbers",
    "ids that share a vector",
    "the same id in two indexes",
)
"""Of these something stays in the old files alone. What was set aside, or deleted in the old program, does not count."""


def rule_of(kind: str, choices: Choices) -> str:
    if kind == "a vector without text" and choices.keep_orphans:
        return "Kept: its id, metadata and vector."
    if kind == "another dimension" and choices.split_dims:
        return "The text is kept, and the vector in a collection."
    if kind == "no vector" and choices.index_id is not None:
        return f"Kept as text where index {choices.index_id} lists it."
    if kind == "in no index" and choices.index_id is not None:
        return f"Left out: only index {choices.index_id} is taken."
    return RULES.get(kind, "")


def left_out(counts: Mapping[str, int], choices: Choices, indexes: Sequence[str]) -> tuple[str, ...]:
    """What stays behind in the old files, in words. `indexes`: the names of those that share the store."""
    kept = {"a vector without text"} if choices.keep_orphans else set()
    found = [f"{counts[kind]:,} x {kind}" for kind in _LEFT_OUT if counts.get(kind) and kind not in kept]
    if choices.index_id is not None:
        others = ", ".join(name for name in indexes if name != choices.index_id)
        found.insert(
            0,
            f"all that index {choices.index_id} does not list" + (f" (indexes not taken: {others})" if others else ""),
        )
    return tuple(found)
