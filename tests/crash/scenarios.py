"""What is done to a library while its process is killed, its disk fails or the power goes; and what is seen of it afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import numpy as np

import stackroom
from old_index import OldIndex
from small_worlds import Sizes, quickly
from stackroom import migration
from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.errors import DamagedError, NotFoundError, StackroomError
from stackroom.index import Index
from stackroom.ingest import pipeline
from stackroom.migration import reading
from stackroom.progress import CancelToken, silent
from stackroom.storage.disk import layout
from stackroom.storage.store import LocalStore
from stackroom.storage.upkeep import backup as backups
from stackroom.storage.upkeep import compaction, maintenance
from stackroom.storage.vectors import vector_file
from stackroom.types import Chunk, Document
from support import WordEmbedder, chunks, unit_rows, write_files

DIM = 32
WORDS = ("old", "new", "kept", "many", "long", "subject")
QUERY = unit_rows(1, DIM, seed=77)[0]


def shrink_the_world() -> None:
    """What happens in large libraries only happens in small ones from now on; but sketches and postings files, see `quickly`."""
    Sizes().set()
    maintenance._WAL_BYTES = 400_000
    vector_file._WORTH_A_THREAD = 1
    pipeline.PART = 16
    reading.BATCH = 16


class Run:
    """One run of a scenario in its folder. `mark` is called when a step was confirmed to the caller: it may not be lost any more."""

    def __init__(self, root: Path, mark: Callable[[], None]) -> None:
        self.root = root
        self.library = root / "library"
        self.mark = mark
        self.counted = 0
        self.opened: list[LocalStore] = []

    @contextlib.contextmanager
    def store(self) -> Iterator[LocalStore]:
        """Closed by a run that ends well; after an error it is open still, as an application's would be."""
        store = LocalStore(self.library)
        self.opened.append(store)
        yield store
        store.close()
        self.opened.remove(store)

    @contextlib.contextmanager
    def index(self) -> Iterator[Index]:
        with self.store() as store:
            yield Index(store, embedder=WordEmbedder(dim=DIM), folder=self.library)


def put(store: LocalStore, name: str, given: list[Chunk]) -> None:
    """One commit; whoever made it sees it."""
    with store.commit() as commit:
        source = commit.put_source(SourceRecord(name=name))
        commit.add_chunks(commit.put_document(DocumentRecord(name, source, metadata={"name": name})), given)
    key_of(store, name)


def texts(kind: str, n: int, *, seed: int) -> list[Chunk]:
    return chunks([f"{kind} number {i} {kind}{seed}x{i}" for i in range(n)], seed=seed, dim=DIM)


def key_of(store: LocalStore, name: str) -> int:
    with store.view() as view:
        found = view.source(name)
        assert found is not None
        return found.key


def filled(run: Run) -> None:
    """A library with some history, closed."""
    store = LocalStore(run.library)
    for at, name in enumerate(("a", "b", "c")):
        put(store, name, [*texts("old", 8, seed=at), *texts("kept", 2, seed=10 + at)])
    with store.commit() as commit:
        commit.remove_chunks([2, 3, 14])
    store.close()


def nothing(run: Run) -> None:
    del run


def create(run: Run) -> None:
    with run.store():
        run.mark()


def first(run: Run) -> None:
    """The first commit of a new library, which makes its vector file."""
    with run.store() as store:
        put(store, "first", texts("new", 5, seed=1))


def empty(run: Run) -> None:
    LocalStore(run.library).close()


def commit(run: Run) -> None:
    """All that a commit may do, in one."""
    with run.store() as store:
        with_b = key_of(store, "b")
        with store.commit() as change:
            source = change.put_source(SourceRecord(name="d"))
            document = change.put_document(DocumentRecord("d", source, metadata={"name": "d"}))
            change.add_chunks(document, texts("new", 6, seed=9))
            change.remove_chunks([1, 6])
            change.set_active([key_of(store, "a")], False)
            change.remove_source(with_b)
            change.attach("something", b"unread" * 100)
        put(store, "e", texts("new", 3, seed=3))


def lengths(run: Run) -> None:
    """The first rows that are not of unit length: every row gets its norm."""
    with run.store() as store:
        longer = [Chunk(chunk.text, embedding=chunk.embedding * 3) for chunk in texts("new", 4, seed=2)]
        put(store, "longer", longer)
        put(store, "more", texts("new", 2, seed=4))


def active(run: Run) -> None:
    with run.store() as store:
        for name in ("a", "b"):
            with store.commit() as change:
                change.set_active([key_of(store, name)], False)
        with store.commit() as change:
            change.set_active(None, True)
            change.set_active([key_of(store, "c")], False)


def many(run: Run) -> None:
    """So many commits that checkpoints, merges and training come between them."""
    with run.store() as store:
        for n in range(18):
            put(store, f"many{n}", texts("many", 6, seed=100 + n))


def documents_folder(run: Run) -> None:
    folder = run.root / "documents"
    folder.mkdir(exist_ok=True)
    files = {f"{n}.txt": f"new document {n}. " + f"word{n} " * 30 for n in range(3)}
    files["long.txt"] = "\n\n".join(f"long paragraph {n} " + f"long{n} " * 25 for n in range(40))
    write_files(folder, files)


def begun(run: Run) -> None:
    filled_by_words(run)
    documents_folder(run)


def filled_by_words(run: Run) -> None:
    """As `filled`, with a model's vectors, so that `Index` can add to it."""
    with contextlib.closing(LocalStore(run.library)) as store:
        embedder = WordEmbedder(dim=DIM)
        with store.commit() as change:
            change.use_embedder(embedder.identity)
            source = change.put_source(SourceRecord(name="a"))
            document = change.put_document(DocumentRecord("a", source))
            given = [f"old number {n}" for n in range(6)]
            rows = embedder.embed_passages(given)
            change.add_chunks(document, [Chunk(text, embedding=row) for text, row in zip(given, rows, strict=True)])


def add(run: Run) -> None:
    """Files, one of them long enough to be committed in parts."""
    with run.index() as index:
        index.add(run.root / "documents")


def added(run: Run) -> None:
    begun(run)
    with stackroom.open(run.library, embedder=WordEmbedder(dim=DIM)) as index:
        index.add(run.root / "documents")
    folder = run.root / "documents"
    (folder / "0.txt").write_text("new document 0, edited. " + "edited " * 40, encoding="utf-8")
    (folder / "long.txt").write_text(
        "\n\n".join(f"long paragraph {n} " + f"long{n + n % 3} " * 25 for n in range(36)), encoding="utf-8"
    )
    (folder / "1.txt").rename(folder / "moved.txt")
    (folder / "copy.txt").write_bytes((folder / "2.txt").read_bytes())


def remove(run: Run) -> None:
    with run.index() as index:
        for name in ("0.txt", "long.txt"):
            with contextlib.suppress(NotFoundError):
                index.remove([str(run.root / "documents" / name)])


def compact(run: Run) -> None:
    with quickly(DIM), run.store() as store:
        store.compact(progress=silent, cancel=CancelToken())
        run.mark()


def purge(run: Run) -> None:
    with quickly(DIM), run.store() as store:
        store.purge(progress=silent, cancel=CancelToken())
        run.mark()


def reembed(run: Run) -> None:
    with run.store() as store:
        new = WordEmbedder("new", dim=16)
        store.reembed(new.identity, new.embed_passages, progress=silent, cancel=CancelToken())
        run.mark()


def changed(run: Run) -> None:
    """A library whose model was changed, and to which something was added since."""
    filled(run)
    with contextlib.closing(LocalStore(run.library)) as store:
        new = WordEmbedder("new", dim=16)
        store.reembed(new.identity, new.embed_passages, progress=silent, cancel=CancelToken())
        put(store, "since", chunks(["one since", "two since"], seed=5, dim=16))


def go_back(run: Run) -> None:
    with run.store() as store:
        with store.view() as view:
            former = view.former
        if former is not None and former.dim == DIM:
            old = WordEmbedder("old", dim=DIM)
            store.reembed(former, old.embed_passages, progress=silent, cancel=CancelToken())
        run.mark()


def discard_former(run: Run) -> None:
    with run.store() as store:
        store.discard_former()
        run.mark()


def large(run: Run) -> None:
    """Enough for sketches and postings files, without them."""
    with contextlib.closing(LocalStore(run.library)) as store:
        for n in range(4):
            put(store, f"many{n}", texts("many", 40, seed=200 + n))
        with store.commit() as change:
            change.remove_chunks([3, 50, 51])


def sketch(run: Run) -> None:
    with quickly(DIM), run.store() as store:
        store.maintain()
        run.mark()


def sketched(run: Run) -> None:
    large(run)
    with contextlib.closing(LocalStore(run.library)) as store:
        with quickly(DIM):
            store.maintain()
        with store.commit() as change:
            change.remove_chunks(list(range(60, 90)))


def wasted(run: Run) -> None:
    """More than a third of the rows are dead."""
    sketched(run)
    with contextlib.closing(LocalStore(run.library)) as store, store.commit() as change:
        change.remove_chunks(list(range(90, 140)))


def reclaim(run: Run) -> None:
    """What a thread does beside commits, done at once."""
    before, compaction._LEAST_BYTES = compaction._LEAST_BYTES, 1
    try:
        with quickly(DIM), run.store() as store:
            store.maintain()
            run.mark()
    finally:
        compaction._LEAST_BYTES = before


def backup(run: Run) -> None:
    with run.store() as store:
        store.backup(run.root / "backup", refresh=True, progress=silent, cancel=CancelToken())
        run.mark()


def backed_up(run: Run) -> None:
    filled(run)
    with contextlib.closing(LocalStore(run.library)) as store:
        store.backup(run.root / "backup", refresh=True, progress=silent, cancel=CancelToken())
        put(store, "since", texts("new", 4, seed=5))


def export(run: Run) -> None:
    with run.index() as index:
        if not (run.root / "exported").exists():
            index.export(run.root / "exported")
        run.mark()


def old(run: Run) -> None:
    OldIndex(chunks=40, documents=5, dim=DIM).write(run.root / "old")


def migrate(run: Run) -> None:
    migration.migrate(run.root / "old", sketch=False)
    run.mark()


def migrated(run: Run) -> None:
    old(run)
    migrate(run)


def roll_back(run: Run) -> None:
    with contextlib.suppress(NotFoundError):
        migration.roll_back(run.root / "old")
    run.mark()


def discard(run: Run) -> None:
    """Migrated, and the old files deleted at once: from then on the library is all there is."""
    if (run.root / "old" / "docstore.json").exists():
        migration.migrate(run.root / "old", sketch=False)
    with contextlib.suppress(NotFoundError):
        migration.discard_old(run.root / "old", even_what_was_left_out=True)
    run.mark()


def damaged(run: Run) -> None:
    """A vector, the words of some passages and a list of keys are hit."""
    filled_by_words(run)
    with run.index() as index:
        index.add_documents(Document(f"d{n}", text=f"kept subject {n} " + "old " * n) for n in range(6))
    with contextlib.closing(apsw.Connection(str(run.library / layout.CATALOGUE))) as connection:
        connection.execute("DELETE FROM words WHERE rowid < 4")
        connection.execute("DELETE FROM runs WHERE document_key = 3")
        (file,) = connection.execute("SELECT file FROM spaces").fetchone()
    with (run.library / layout.VECTORS / file).open("rb+") as rows:
        rows.seek(layout.VECTOR_HEADER + 2 * DIM * 4)
        rows.write(b"\xff" * 8)


def repair(run: Run) -> None:
    """What survives first, then the lost vector, as `Index.repair` does both."""
    store = LocalStore.damaged(run.library)
    store.repair(dry_run=False, progress=silent, cancel=CancelToken())
    run.mark()
    store.close()
    with run.index() as index:
        index.repair()


def see(library: Path) -> Any:
    """All that can be seen of a library; None where there is none."""
    if not layout.is_library(library):
        return None
    store = LocalStore(library, mode="r")
    try:
        with store.view() as view:
            identity = view.identity
            return [
                None if identity is None else (identity.name, identity.dim),
                [
                    (
                        record.name,
                        item.active,
                        record.state,
                        [
                            (document.title, document.metadata, [_passage(held) for held in view.chunks(document.key, vectors=True)])
                            for document in view.documents(record.key)
                        ],
                    )
                    for item in sorted(view.listing(), key=lambda item: item.path)
                    if (record := view.source(item.path)) is not None
                ],
                sorted(name for name, _ in view.attachments()),
            ]  # fmt: skip
    finally:
        store.close()


def _passage(held: Any) -> Any:
    row = held.chunk.embedding
    return held.position, held.chunk.text, held.chunk.metadata, None if row is None else hashlib.sha1(row.tobytes()).hexdigest()[:12]  # fmt: skip


def answers(library: Path) -> list[str]:
    """Where searches with everything derived differ from what is stored; [] where they agree."""
    wrong: list[str] = []
    with contextlib.closing(LocalStore(library, mode="r")) as store, store.view() as view:
        stored = {
            held.key: held.chunk
            for record in view.each_source()
            for document in view.documents(record.key)
            for held in view.chunks(document.key, vectors=True)
        }
        for word in WORDS:
            found = sorted(view.matching(word, 10_000, Scope())[0].keys.tolist())
            expected = sorted(
                key for key, chunk in stored.items() if word in chunk.text.replace(",", " ").replace(".", " ").split()
            )
            if found != expected:
                wrong.append(f"{word!r} finds {len(found)} passages of {len(expected)}")
        rows = [(key, chunk.embedding) for key, chunk in sorted(stored.items()) if chunk.embedding is not None]
        if rows and len(rows[0][1]) == DIM:
            matrix = np.stack([row for _, row in rows]).astype(float)
            scores = matrix @ QUERY.astype(float) / np.linalg.norm(matrix, axis=1)
            best = {rows[at][0] for at in np.argsort(-scores, kind="stable")[:5]}
            near = set(view.nearest(QUERY, 5, Scope()).keys.tolist())
            if len(best & near) < 4:
                wrong.append(f"{len(best - near)} of the nearest five are missing")
    return wrong


@dataclass(frozen=True)
class Scenario:
    """`before` prepares a folder, `act` is what is interrupted; doing it once more must lead to the same end where `again`."""

    before: Callable[[Run], None]
    act: Callable[[Run], None]
    again: bool = True
    library: str = "library"
    watched: str = ""
    """Where calls count: a document that can't be read is passed over, and that is no fault of the library's"""
    mends: bool = False
    """The library is damaged until this was done."""
    look: Callable[[Path], Any] | None = None
    """What else may be seen, and must be of the same moment or an older one"""

    def see(self, root: Path) -> Any:
        try:
            found = see(root / self.library)
        except DamagedError:
            if not self.mends:
                raise
            return DAMAGED
        return found if self.look is None else [found, self.look(root)]


def _of_backup(root: Path) -> Any:
    """The backup, or the one that is being replaced: one of them is whole at every moment."""
    folder = root / "backup"
    gone = backups._beside(folder, "gone")
    for place in (folder, gone):
        if layout.is_library(place):
            with contextlib.suppress(StackroomError):
                return see(place)
    return None


def _of_export(root: Path) -> Any:
    folder = root / "exported"
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())} if folder.exists() else None


def _of_old(root: Path) -> Any:
    """The old files: none of them is changed, whatever happens."""
    return {
        path.name: hashlib.sha1(path.read_bytes()).hexdigest()[:12]
        for path in sorted((root / "old").iterdir())
        if path.is_file()
    }


def _of_either(root: Path) -> Any:
    """The old files, as long as there is no library."""
    return None if layout.is_library(root / "old" / "stackroom") else _of_old(root)


INSIDE = "old/stackroom"
DAMAGED = "damaged"
"""What is seen of a library before it was mended."""

SCENARIOS: dict[str, Scenario] = {
    "create": Scenario(nothing, create),
    "first": Scenario(empty, first, again=False),
    "commit": Scenario(filled, commit, again=False),
    "lengths": Scenario(filled, lengths, again=False),
    "active": Scenario(filled, active),
    "many": Scenario(filled, many, again=False),
    "add": Scenario(begun, add, watched="library"),
    "update": Scenario(added, add, watched="library"),
    "remove": Scenario(added, remove, watched="library"),
    "compact": Scenario(filled, compact),
    "compact-sketched": Scenario(sketched, compact),
    "purge": Scenario(sketched, purge),
    "reclaim": Scenario(wasted, reclaim),
    "reembed": Scenario(filled, reembed),
    "go-back": Scenario(changed, go_back),
    "discard-former": Scenario(changed, discard_former),
    "sketch": Scenario(large, sketch),
    "backup": Scenario(filled, backup, look=_of_backup),
    "backup-again": Scenario(backed_up, backup, look=_of_backup),
    "export": Scenario(filled, export, look=_of_export),
    "migrate": Scenario(old, migrate, library=INSIDE, look=_of_old),
    "roll-back": Scenario(migrated, roll_back, library=INSIDE, look=_of_old),
    "discard": Scenario(old, discard, library=INSIDE, look=_of_either),
    "repair": Scenario(damaged, repair, mends=True),
}


def prepare(name: str, root: Path) -> None:
    """The folder that a scenario begins with."""
    if root.exists():
        shutil.rmtree(root)
    root.mkdir()
    SCENARIOS[name].before(Run(root, lambda: None))
