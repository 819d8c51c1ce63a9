"""Documents and passages for a person who is told what differs."""

from __future__ import annotations

from stackroom.backend import View
from stackroom.types import Passage


def described(source: str, document_id: str, title: str) -> str:
    """A document for a person: by its source, and by its title where that says more."""
    return f"{source} (document {document_id}{f', {title}' if title else ''})"


def named(view: View, passage: Passage) -> str:
    return f"{passage.chunk_id} of {called(view, passage.document_id)}"


def called(view: View, document_id: str) -> str:
    """By its id alone where there is none of that id: the passage that names it is damaged."""
    found = view.document_of([document_id]).get(document_id)
    return document_id if found is None else described(found[1].name, document_id, found[0].title)
