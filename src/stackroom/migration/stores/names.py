"""What LlamaIndex calls its files. Opening a library looks at names, and needs no reader for that."""

from __future__ import annotations

VECTOR_STORE = "vector_store.json"


def namespace_of(name: str) -> str | None:
    """The namespace in a vector store's file name: "" for the one without, None for another file.

    Split at the last `__`, unlike LlamaIndex, which loses a namespace that holds one.
    """
    if name == VECTOR_STORE:
        return ""
    return name.removesuffix("__" + VECTOR_STORE) if name.endswith("__" + VECTOR_STORE) else None
