"""What a repair had lost of records, which no file has, and what of it counts as given again."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import numpy as np
import pytest

import stackroom
from stackroom import Chunk, Document
from stackroom.adapters import passages
from stackroom.backend import GIVE_AGAIN
from stackroom.errors import DamagedError, MigrationError, UnavailableError
from stackroom.progress import CancelToken, silent
from stackroom.storage.disk import layout
from stackroom.storage.store import LocalStore
from stackroom.transfer import transfer
from support import WordEmbedder, write_files

if TYPE_CHECKING:
    from numpy.typing import NDArray


def spoil(library: Path, *keys: int) -> None:
    with contextlib.closing(apsw.Connection(str(layout.catalogue(library)))) as connection:
        connection.executemany("UPDATE chunks SET text = zeroblob(30) WHERE key = ?", [(key,) for key in keys])


def spoil_titles(library: Path) -> None:
    with contextlib.closing(apsw.Connection(str(layout.catalogue(library)))) as connection:
        connection.execute("UPDATE documents SET metadata = zeroblob(3)")


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


@pytest.mark.parametrize("first", ["given", "removed"])
def test_who_removes_a_document_gives_up_what_it_lost(library: Path, first: str) -> None:
    both = two_of_one_source(library)
    with stackroom.open(library) as index:
        for step in (first, "removed" if first == "given" else "given"):
            if step == "given":
                index.add_documents([both[0]])
                continue
            with index.backend.view() as view:
                key = view.document_of(["d2"])["d2"][0].key
            with index.backend.commit() as commit:
                commit.remove_document(key)
        assert told(index) == ([None], [])
        assert index.repair().ok


def test_what_was_given_again_before_the_next_damage_is_not_asked_for_twice(library: Path) -> None:
    both = two_of_one_source(library)
    with stackroom.open(library) as index:
        index.add_documents([both[1]])
    spoil(library, 3)
    stackroom.repair(library)
    with stackroom.open(library) as index:
        index.add_documents([both[0]])
        assert told(index) == ([None], [])


def test_what_nobody_gave_again_before_the_next_damage_is_asked_for_still(library: Path) -> None:
    both = two_of_one_source(library)
    spoil(library, 3)
    stackroom.repair(library)
    with stackroom.open(library) as index:
        index.add_documents([both[0]])
        assert told(index) == ([GIVE_AGAIN], [f"S: {GIVE_AGAIN}"])
        give(index, "d2-1")
        assert told(index) == ([None], [])


class Tired(WordEmbedder):
    """Has enough after three hundred passages."""

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if len(self.embedded) >= 300:
            raise UnavailableError("That is enough.")
        return super().embed_passages(texts)


def test_a_part_of_a_long_document_is_not_all_of_it(library: Path) -> None:
    long = Document("d", source="S", chunks=[Chunk(f"Lantern {n} burns.", f"d-{n}") for n in range(400)])
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents([long])
    spoil(library, 350)
    stackroom.repair(library, embedder=WordEmbedder())
    with stackroom.open(library, embedder=Tired()) as index:
        with pytest.raises(UnavailableError):
            index.add_documents([long])
        assert told(index) == ([GIVE_AGAIN], [f"S: {GIVE_AGAIN}"])
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents([long])
        assert told(index) == ([None], [])


def test_what_is_given_while_vectors_are_made_again_stays_given(library: Path) -> None:
    """What waits was read before, and written back after every few passages."""
    both = [
        *(Document(n, source="S", chunks=[Chunk(f"{n} tells of it.", f"{n}-{i}") for i in range(4)]) for n in "ab"),
        Document("long", source="L", chunks=[Chunk(f"Lantern {n}.", f"l{n}") for n in range(100)]),
    ]
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents(both)
    spoil(library, 2, 6)
    for file in layout.vectors(library).iterdir():
        file.unlink()
    during = WordEmbedder()
    embed, first = during.embed_passages, iter([True])

    def embed_passages(texts: Sequence[str]) -> NDArray[np.float32]:
        if next(first, False):
            with stackroom.open(library, embedder=WordEmbedder()) as other:
                other.add_documents(both[:2])
                assert told(other) == ([None, None], [])
        return embed(texts)

    during.embed_passages = embed_passages  # type: ignore[method-assign]
    stackroom.repair(library, embedder=during)
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents([Document("c", source="S", chunks=[Chunk("c is new", "c-0")])])
        assert told(index) == ([None, None], [])
        assert index.repair().ok


def test_vectors_that_are_made_again_leave_what_is_lost_as_it_is(library: Path) -> None:
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents([Document("a", source="S", chunks=[Chunk(f"It is {n}.", f"a-{n}") for n in range(4)])])
    spoil(library, 2)
    for file in layout.vectors(library).iterdir():
        file.unlink()
    assert stackroom.repair(library, embedder=WordEmbedder()).embedded == 3
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        give(index, "a-0")
        assert told(index) == ([GIVE_AGAIN], [f"S: {GIVE_AGAIN}"])


def give(index: stackroom.Index, chunk_id: str, document: str | None = None, path: str | None = None) -> None:
    """As an adapter gives a passage."""
    vector = np.ones(index.stats().embedder.dim, dtype=np.float32)  # type: ignore[union-attr]
    chunk = Chunk(f"{chunk_id} is here again.", chunk_id, embedding=vector)
    entry = passages.Entry(chunk, document or chunk_id[:2], path or "S", path=path, metadata={"file_path": path})
    passages.write(index.backend, [entry], recipe="imported:test")


@pytest.mark.parametrize(("given", "whole"), [(["d1-0"], False), (["d1-1"], False), (["d1-1", "d2-1"], True)])
def test_of_passages_those_that_were_lost_make_a_record_whole(library: Path, given: list[str], whole: bool) -> None:
    """An adapter gives passages: any one of them, even one that had survived, had the loss forgotten."""
    two_of_one_source(library)
    with stackroom.open(library) as index:
        for chunk_id in given:
            give(index, chunk_id)
        assert told(index) == (([None], []) if whole else ([GIVE_AGAIN], [f"S: {GIVE_AGAIN}"]))


def test_a_passage_that_comes_back_in_another_document_is_back(library: Path) -> None:
    two_of_one_source(library)
    with stackroom.open(library) as index:
        give(index, "d1-1")
        give(index, "d2-1", "d9")
        assert told(index) == ([None], [])


def test_a_title_is_not_back_with_a_passage(library: Path) -> None:
    document = Document("d1", source="S", title="Lanterns", chunks=[Chunk(f"It is {n}.", f"d1-{n}") for n in range(3)])
    with stackroom.open(library) as index:
        index.add_documents([document])
    spoil_titles(library)
    spoil(library, 2)
    stackroom.repair(library)
    with stackroom.open(library) as index:
        give(index, "d1-1")
        assert told(index) == ([GIVE_AGAIN], [f"S: {GIVE_AGAIN}"])
        index.add_documents([document])
        assert told(index) == ([None], [])
        assert index.sources()[0].error is None


def test_what_an_adapter_had_written_of_a_file_it_may_give_again(library: Path, folder: Path) -> None:
    """The library's own reader was the only way, which reads otherwise."""
    write_files(folder, {"a.txt": "It is lit."})
    path = str(folder / "a.txt")
    with stackroom.open(library) as index:
        index.add_documents([Document("other", text="It is dark.")])
        for n in range(3):
            give(index, f"a-{n}", "a", path)
    spoil(library, 3)
    failed = stackroom.repair(library).waiting
    assert [one.source for one in failed] == [path]
    with stackroom.open(library) as index:
        for chunk_id, left in (("a-0", 1), ("a-1", 0)):
            give(index, chunk_id, "a", path)
            assert len(told(index)[1]) == left
        assert index.repair().ok


def test_what_a_transfer_brings_back_is_lost_no_more(tmp_path: Path) -> None:
    two_of_one_source(tmp_path / "origin")
    stores = LocalStore(tmp_path / "origin"), LocalStore(tmp_path / "here")

    def bring() -> bool:
        done = transfer(*stores, names=("origin", "here"), progress=silent, cancel=CancelToken())
        return done.proof is not None and done.proof.ok

    with contextlib.closing(stores[0]), contextlib.closing(stores[1]):
        assert bring()
        spoil(tmp_path / "here", 1, 5)
        spoil_titles(tmp_path / "here")
        stackroom.repair(tmp_path / "here")
        with pytest.raises(MigrationError, match="missing"):
            bring()
        assert bring()
    with stackroom.open(tmp_path / "here") as index:
        index.add_documents([Document("d3", source="S", text="Another lantern.")])
        assert told(index) == ([None], [])


@pytest.mark.parametrize("repair", ["whole", "stopped before it came to sources"])
def test_a_library_that_has_lost_passages_takes_none_from_where_it_was_sent(repair: str, tmp_path: Path) -> None:
    both = [Document(n, source=n, chunks=[Chunk(f"{n} is lit {i}.", f"{n}-{i}") for i in range(3)]) for n in "ab"]
    with stackroom.open(tmp_path / "origin") as index:
        index.add_documents(both)
    stores = LocalStore(tmp_path / "origin"), LocalStore(tmp_path / "there")

    def send() -> None:
        transfer(*stores, names=("origin", "there"), progress=silent, cancel=CancelToken())

    with contextlib.closing(stores[0]), contextlib.closing(stores[1]):
        send()
        spoil(tmp_path / "origin", 2)
        if repair == "whole":
            stackroom.repair(tmp_path / "origin")
        else:
            stores[0].repair(dry_run=False, progress=silent, cancel=CancelToken())
        with pytest.raises(DamagedError, match="lost passages of a, and the target") as caught:
            send()
        assert "list --failed" in caught.value.hint
        with stores[1].view() as view:
            assert len(view.live_keys()) == 6
        with stackroom.open(tmp_path / "origin") as index:
            index.add_documents(both[:1])
        send()
        with stores[1].view() as view:
            assert len(view.live_keys()) == 6


def test_a_copy_of_a_library_that_has_lost_passages_says_so(library: Path, tmp_path: Path) -> None:
    """All was well there, and one passage that was given had the rest forgotten."""
    two_of_one_source(library)
    stores = LocalStore(library), LocalStore(tmp_path / "copy")
    with contextlib.closing(stores[0]), contextlib.closing(stores[1]):
        transfer(*stores, names=("origin", "copy"), progress=silent, cancel=CancelToken())
    with stackroom.open(tmp_path / "copy") as copy:
        said = told(copy)
        assert said[1][0].startswith("S: Passages of it were lost")
        give(copy, "d1-0")
        assert told(copy) == said
