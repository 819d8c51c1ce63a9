"""What is committed while a compaction begins is in what it writes."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import numpy as np
import pytest

from stackroom.backend import DocumentRecord, SourceRecord
from stackroom.errors import StorageError
from stackroom.progress import CancelToken, silent
from stackroom.storage.disk import layout
from stackroom.storage.store import LocalStore
from stackroom.storage.upkeep import compaction
from stackroom.storage.vectors import spaces
from support import chunks, unit_rows


def put(store: LocalStore, name: str, seed: int) -> int:
    with store.commit() as commit:
        source = commit.put_source(SourceRecord(name=name))
        document = commit.put_document(DocumentRecord(name, source))
        commit.add_chunks(document, chunks([f"{name} {part}" for part in range(3)], seed=seed))
        return source


@pytest.mark.parametrize("after", [1, 2])
def test_commits_between_two_looks_of_a_compaction(store: LocalStore, after: int) -> None:
    """It looks which spaces there are, then at what is in one; found by the campaign with seed 11."""
    gone = put(store, "gone", 0)
    put(store, "kept", 1)
    with store.commit() as commit:
        commit.remove_source(gone)
    with store.view() as view:
        (space,) = spaces.every(view.connection)
    for n in range(after):
        put(store, f"new{n}", 2 + n)
    assert compaction._rewrite_vectors(store, space, silent, lambda: False) == 3
    assert store.verify(progress=silent, cancel=CancelToken()).damage == ()
    with store.view() as view:
        for n in range(after):
            document = view.document(f"new{n}")
            assert document is not None
            assert np.array_equal(view.vectors(view.keys_of(document.key)), unit_rows(3, seed=2 + n))


def test_what_an_interrupted_creation_or_repair_left_is_swept(store: LocalStore, library: Path) -> None:
    """A power cut may bring back a journal that was removed; a repair that died leaves a copy of every text. Found with seed 601."""
    put(store, "kept", 1)
    for name in ("journal", "source"):
        library.joinpath(f"{layout.CATALOGUE_NEW}-{name}").write_bytes(b"kept 1")
    store.compact(progress=silent, cancel=CancelToken())
    assert list(library.glob(f"{layout.CATALOGUE_NEW}*")) == []


def test_a_folder_that_can_not_be_listed_is_an_error_that_names_it(
    store: LocalStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For want of handles. Found with seed 931, run 153."""
    put(store, "kept", 1)

    def refused(path: Path, *_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    for look in ("glob", "iterdir"):
        with monkeypatch.context() as patched:
            patched.setattr(Path, look, refused)
            with pytest.raises(StorageError, match="open"):
                store.compact(progress=silent, cancel=CancelToken())
    store.compact(progress=silent, cancel=CancelToken())
    assert store.verify(progress=silent, cancel=CancelToken()).damage == ()


def test_who_writes_beside_a_purge_writes_what_can_be_read(store: LocalStore, library: Path) -> None:
    """The purge takes away the dictionaries that another writer has at hand: all that he wrote from there on was lost."""
    words = [f"{a}{b}{c}" for a in "kmprst" for b in "aeiou" for c in "lnrstv"]
    texts = [" ".join(words[(n * step) % len(words)] for step in range(1, 60)) for n in range(1, 801)]

    def put_texts(into: LocalStore, name: str, part: list[str]) -> None:
        with into.commit() as commit:
            document = commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name))))
            commit.add_chunks(document, chunks(part))

    with contextlib.closing(LocalStore(library)) as other:
        for number in range(8):
            put_texts(other, f"s{number}", texts[100 * number : 100 * number + 100])
        with other.view() as view:
            assert view.connection.value("SELECT count(*) FROM dictionaries")
        store.purge(progress=silent, cancel=CancelToken())
        put_texts(other, "late", texts[:3])
    assert store.verify(progress=silent, cancel=CancelToken()).damage == ()
