"""What a repair had lost of records, which no file has, and what of it counts as given again."""

from __future__ import annotations

import contextlib
from pathlib import Path

import apsw
import numpy as np
import pytest

import stackroom
from stackroom import Chunk, Document
from stackroom.adapters import passages
from stackroom.backend import GIVE_AGAIN
from stackroom.storage.disk import layout


def spoil(library: Path, *keys: int) -> None:
    with contextlib.closing(apsw.Connection(str(layout.catalogue(library)))) as connection:
        connection.executemany("UPDATE chunks SET text = zeroblob(30) WHERE key = ?", [(key,) for key in keys])


def two_of_one_source(library: Path) -> list[Document]:
    """Two documents of four passages of one source without a file; each has lost its second passage."""
    both = [
        Document(name, source="S", chunks=[Chunk(f"{name} tells of lantern {n}.", f"{name}-{n}") for n in range(4)])
        for name in ("d1", "d2")
    ]
    with stackroom.open(library) as index:
        index.add_documents(both)
    spoil(library, 2, 6)
    stackroom.repair(library)
    return both


def told(index: stackroom.Index) -> tuple[list[str | None], list[str]]:
    return [source.error for source in index.sources()], [one.message for one in index.verify().incomplete]


def test_a_record_is_whole_again_once_each_of_its_documents_was_given_again(library: Path) -> None:
    both = two_of_one_source(library)
    with stackroom.open(library) as index:
        index.add_documents([both[0]])
        assert told(index) == ([GIVE_AGAIN], [f"S: {GIVE_AGAIN}"])
        assert index.repair().waiting[0].source == "S"
        index.add_documents([both[1]])
        assert told(index) == ([None], [])
        assert index.repair().waiting == ()


def test_both_may_be_given_at_once(library: Path) -> None:
    both = two_of_one_source(library)
    with stackroom.open(library) as index:
        index.add_documents(both)
        assert told(index) == ([None], [])


def test_who_removes_a_document_gives_up_what_it_lost(library: Path) -> None:
    both = two_of_one_source(library)
    with stackroom.open(library) as index:
        with index.backend.view() as view:
            key = view.document_of(["d2"])["d2"][0].key
        with index.backend.commit() as commit:
            commit.remove_document(key)
        index.add_documents([both[0]])
        assert told(index) == ([None], [])


def test_what_was_given_again_before_the_next_damage_is_not_asked_for_twice(library: Path) -> None:
    both = two_of_one_source(library)
    with stackroom.open(library) as index:
        index.add_documents([both[1]])
    spoil(library, 3)
    stackroom.repair(library)
    with stackroom.open(library) as index:
        index.add_documents([both[0]])
        assert told(index) == ([None], [])


@pytest.mark.parametrize(("given", "whole"), [(["d1-0"], False), (["d1-1"], False), (["d1-1", "d2-1"], True)])
def test_of_passages_those_that_were_lost_make_a_record_whole(library: Path, given: list[str], whole: bool) -> None:
    """An adapter gives passages: any one of them, even one that had survived, had the loss forgotten."""
    two_of_one_source(library)
    with stackroom.open(library) as index:
        for chunk_id in given:
            vector = np.ones(index.stats().embedder.dim, dtype=np.float32)  # type: ignore[union-attr]
            chunk = Chunk(f"{chunk_id} is here again.", chunk_id, embedding=vector)
            passages.write(index.backend, [passages.Entry(chunk, chunk_id[:2], "S")], recipe="test")
        assert told(index) == (([None], []) if whole else ([GIVE_AGAIN], [f"S: {GIVE_AGAIN}"]))
