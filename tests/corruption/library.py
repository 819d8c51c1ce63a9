"""The library that is harmed: small, and with something of everything that a library may hold."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import stackroom
from small_worlds import quickly
from stackroom.backend import DocumentRecord, SourceRecord
from stackroom.progress import CancelToken, silent
from stackroom.storage.disk import layout
from stackroom.storage.store import LocalStore
from stackroom.types import Chunk, Document
from support import WordEmbedder, unit_rows, write_files

DIM = 32
OWN_DIM = 8
_WORDS = ("harbour", "lantern", "orchard", "granite", "velvet", "thunder", "meadow", "copper", "glacier", "saffron")


def embedder() -> WordEmbedder:
    return WordEmbedder(dim=DIM)


def write_documents(folder: Path, flavour: str) -> None:
    files = {}
    for n in range(6):
        paragraphs = [
            f"{flavour} paragraph {at} of file {n}: " + " ".join(_WORDS[(n * at + i) % 10] for i in range(18 + n))
            for at in range(3 + 2 * n)
        ]
        files[f"file{n}.txt"] = "\n\n".join(paragraphs)
    write_files(folder, files)


class Made:
    """Where the library was made, and how it looked on the way.

    `closed` is folded together; `wal` has its last commits in the WAL, after `steps`; `older` is an earlier state; `stranger` another
    library.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.documents = root / "documents"
        self.closed = root / "closed"
        self.wal = root / "wal"
        self.older = root / "older"
        self.stranger = root / "stranger"
        self.steps = [root / f"step{n}" for n in range(4)]


def make(root: Path) -> Made:
    made = Made(root)
    write_documents(made.documents, "first")
    _fill(made.closed, made.documents, seed=1, older=made.older)
    write_documents(root / "others", "foreign")
    _fill(made.stranger, root / "others", seed=2, older=None)
    for step in made.steps:
        shutil.copytree(made.closed, step)
    _leave_a_wal(made)
    return made


def _fill(library: Path, documents: Path, *, seed: int, older: Path | None) -> None:
    with stackroom.open(library, embedder=embedder()) as index:
        index.add(documents)
        index.add_documents(
            Document(
                f"record{n}",
                f"record source {n}",
                metadata={"number": n, "colour": _WORDS[n % 3], "tags": ["a", f"t{n % 2}"]},
                chunks=[
                    Chunk(
                        f"record {n} part {part} {_WORDS[part]} {_WORDS[n % 10]} seed{seed}",
                        metadata={"part": part, "of": f"record{n}"},
                        # Not of unit length: the space gets its norms file.
                        embedding=unit_rows(1, DIM, seed=1000 * seed + n * 10 + part)[0] * (1 + part),
                    )
                    for part in range(4)
                ],
            )
            for n in range(12)
        )
        index.remove(["record source 3"])
        index.remove([str(documents / "file0.txt")])
    if older is not None:
        shutil.copytree(library, older)
    with contextlib.closing(LocalStore(library)) as store:
        with quickly(DIM):
            store.compact(progress=silent, cancel=CancelToken())
        with store.view() as view:
            found = {name: key for name in ("record5", "record6") if (key := view.document(name))}
            keys = {name: view.keys_of(document.key) for name, document in found.items()}
        with store.commit() as change:
            rows = unit_rows(4, OWN_DIM, seed=seed)
            change.add_vectors("beside", list(zip(keys["record5"], rows, strict=True)))
            change.enlist("listed", keys["record6"])
            change.keep("document", [(found["record5"].key, b'{"original": "document"}' * 5)])
            change.keep("chunk", [(keys["record5"][0], b'{"original": "chunk"}' * 5)])
            change.attach("something", b"unread " * 200)
            home = change.put_source(SourceRecord("elsewhere", title="Elsewhere"))
            document = change.put_document(DocumentRecord("elsewhere", home, metadata={"number": 99}))
            change.add_chunks(document, [Chunk("lives elsewhere " + _WORDS[seed])], collection="apart")
        with store.view() as view:
            passive = [record.key for record in view.find_sources("record source 7")]
        with store.commit() as change:
            change.set_active(passive, False)
            change.remove_source(next(iter(view_keys(store, "record source 9"))))
        with quickly(DIM):
            store.maintain()


def view_keys(store: LocalStore, name: str) -> list[int]:
    with store.view() as view:
        return [record.key for record in view.find_sources(name)]


def _leave_a_wal(made: Made) -> None:
    """Three commits that are in the WAL and nowhere else; `steps` are the library after none, one, two and all of them."""
    live = made.root / "live"
    shutil.copytree(made.closed, live)
    with contextlib.closing(LocalStore(live)) as store:
        for n, step in enumerate(made.steps[1:]):
            with store.commit() as change:
                source = change.put_source(SourceRecord(f"late{n}", title=f"Late {n}"))
                document = change.put_document(DocumentRecord(f"late{n}", source, metadata={"number": 50 + n}))
                vectors = unit_rows(3, DIM, seed=500 + n)
                change.add_chunks(
                    document, [Chunk(f"late {n} line {i} {_WORDS[i]}", embedding=row) for i, row in enumerate(vectors)]
                )
                if n:
                    change.remove_document(2 + n)
            shutil.rmtree(step)
            _copy(live, step)
        shutil.copytree(made.steps[-1], made.wal)
    shutil.rmtree(live)
    for step in made.steps[1:]:
        # Folded together, so that each can be looked at by itself.
        LocalStore(step).close()
        assert not (step / layout.WAL).exists()


def _copy(library: Path, target: Path) -> None:
    shutil.copytree(library, target, ignore=shutil.ignore_patterns("*-shm"))


QUERY = unit_rows(1, DIM, seed=77)[0]
OWN_QUERY = unit_rows(1, OWN_DIM, seed=78)[0]
