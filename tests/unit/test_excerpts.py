"""A passage in its document: by id, with those around it; and what a hit and a source say of their file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stackroom.errors import NotFoundError, UsageError
from stackroom.index import Index
from stackroom.storage.catalogue.records import _time
from stackroom.types import Chunk, Document


def test_a_passage_is_read_with_those_around_it(index: Index) -> None:
    chunks = [Chunk(f"Passage {n}.", f"c{n}") for n in range(5)]
    index.add_documents([Document("d", source="s", title="Title", chunks=chunks)])
    found = index.read("c2", context=1)
    assert found.passage.text == "Passage 2."
    assert [passage.chunk_id for passage in found.before] == ["c1"]
    assert [passage.chunk_id for passage in found.after] == ["c3"]
    assert (found.document.id, found.document.title, found.document.path, found.document.type) == (
        "d",
        "Title",
        "s",
        "record",
    )
    whole = index.read("c0", context=10)
    assert (len(whole.before), len(whole.after)) == (0, 4)
    assert index.read("c4").before == ()


def test_a_passage_that_is_not_there(index: Index) -> None:
    with pytest.raises(NotFoundError, match="nothing"):
        index.read("nothing")
    with pytest.raises(UsageError):
        index.read("nothing", context=-1)


def test_a_hit_and_its_source_know_each_other(index: Index, folder: Path) -> None:
    file = folder / "a.txt"
    file.write_text("A cat purrs.")
    os.utime(file, ns=(0, 1_500_000_000 * 10**9))
    index.add(folder)
    (source,) = index.sources()
    (hit,) = index.search("cat")
    assert (hit.document.source_id, hit.document.type) == (source.id, "text")
    assert source.modified_at == "2017-07-14T02:40:00+00:00"
    index.add_documents([Document("d", text="A dog barks.")])
    assert [other.modified_at for other in index.find("d")] == [None]


def test_a_time_that_no_calendar_has_is_none() -> None:
    assert _time(2**63 - 1) is not None
    assert _time(10**30) is None
    assert _time(-(10**30)) is None
