"""To an engine and back: what arrives is what was there, only changes are sent, and a stopped run goes on."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stackroom.backend import Backend, Commit, DocumentRecord, Scope, SourceRecord, View
from stackroom.errors import BusyError, DamagedError, EmbedderMismatchError, EngineAwayError, MigrationError, UsageError
from stackroom.progress import CancelToken, ProgressEvent, silent
from stackroom.storage.store import LocalStore
from stackroom.transfer import transfer
from stackroom.transfer.proof import prove
from stackroom.types import Chunk, EmbedderIdentity, Place
from support import DIM, unit_rows

NAMES = ("here", "there")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "home")
    for n in range(30):
        put(store, n, [f"passage {i} of document {n} speaks of subject{n % 7}" for i in range(n % 5 + 1)])
    with store.commit() as commit:
        odd = commit.put_source(
            SourceRecord(name="odd\ud800", title="Odd", type="record", state="failed", error="nul \x00")
        )
        document = commit.put_document(
            DocumentRecord("odd\x00", odd, "T", {"k\x00": ["\ud800", 1e300, None], "n": 2**70})
        )
        rows = unit_rows(3, seed=77)
        keys = commit.add_chunks(
            document,
            [
                Chunk("", "empty", {"own": True}, Place(1, 2, 3, 4, "iv", ("A", "B"), "line", 5.0, 6.5), rows[0] * 3),
                Chunk("nul \x00 and half \ud83d", "c\x00"),
            ],
            position=4,
        )
        keys += commit.add_chunks(
            document, [Chunk("elsewhere", "e", embedding=rows[1])], position=9, collection="other"
        )
        commit.enlist("mixed", [keys[0], keys[2]])
        commit.add_vectors("third", [(keys[1], np.arange(4, dtype=np.float32))])
        commit.keep("document", [(document, b"\x00raw")])
        commit.keep("chunk", [(keys[0], b"node")])
        commit.attach("note/\ud800", b"\xff\x00")
        commit.set_active([odd], False)
        commit.set_candidates(300)
    yield store
    store.close()


def put(store: Backend, n: int, texts: list[str], model: str = "words") -> None:
    rows = unit_rows(len(texts), seed=n)
    with store.commit() as commit:
        commit.use_embedder(EmbedderIdentity(model, DIM, model=model, revision="1"))
        source = commit.put_source(
            SourceRecord(name=f"/files/{n}", title=f"File {n}", type="txt", content_hash=bytes([n]))
        )
        document = commit.put_document(DocumentRecord(f"d{n}", source, metadata={"n": n}))
        commit.add_chunks(
            document,
            [Chunk(text, f"{n}:{i}", embedding=row) for i, (text, row) in enumerate(zip(texts, rows, strict=True))],
        )


def content(store: Backend) -> object:
    """All that a library says of itself, without keys and versions."""
    with store.view() as view:
        ids = dict(zip(view.live_keys().tolist(), view.chunk_ids(), strict=True))
        documents = {}
        for document in view.each_document():
            chunks = [
                (item.position, item.chunk.chunk_id, item.chunk.text, json.dumps(dict(item.chunk.metadata)), item.chunk.place,
                 None if item.chunk.embedding is None else item.chunk.embedding.tobytes())
                for item in view.chunks(document.key, vectors=True)
            ]  # fmt: skip
            (_, source) = view.document_of([document.document_id])[document.document_id]
            kept = {ids[key]: data for key, data in view.kept("chunk", view.keys_of(document.key)).items()}
            documents[document.document_id] = (
                source.source_id, document.title, json.dumps(dict(document.metadata)), chunks,
                list(view.kept("document", [document.key]).values()), kept,
            )  # fmt: skip
        collections = {
            item.name: (sorted(ids[key] for key in view.members(item.name)), item.listed, item.identity)
            for item in view.collections()
        }
        own = view.vectors(view.members("third"), collection="third").tobytes()
        attached = {name: data for name, data in view.attachments() if not name.startswith("transfer")}
        return view.listing(), view.identity, view.candidates, documents, collections, own, attached


def remove(store: Backend, name: str) -> None:
    with store.view() as view:
        key = view.source(name).key
    with store.commit() as commit:
        commit.remove_source(key)


def source_names(store: Backend) -> set[str]:
    with store.view() as view:
        return {source.name for source in view.each_source()}


def move(origin: Backend, target: Backend, **options: object):
    return transfer(origin, target, **{"names": NAMES, "progress": silent, "cancel": CancelToken(), **options})


def test_there_and_back_is_the_same(home: LocalStore, backend: Backend, tmp_path: Path) -> None:
    report = move(home, backend)
    assert (report.added, report.updated, report.removed, report.chunks) == (31, 0, 0, home.stats().chunks)
    assert report.proof.ok
    assert report.proof.whole
    assert (report.proof.passages, report.proof.vectors) == (93, 92)
    assert report.proof.queries == 40
    assert content(backend) == content(home)
    back = LocalStore(tmp_path / "back")
    assert move(backend, back).proof.ok
    assert content(back) == content(home)
    assert back.verify(progress=silent, cancel=CancelToken()).ok
    back.close()


def test_only_what_changed_is_sent(home: LocalStore, backend: Backend) -> None:
    move(home, backend)
    report = move(home, backend)
    assert (report.added, report.updated, report.removed, report.unchanged, report.chunks) == (0, 0, 0, 31, 0)
    put(home, 40, ["new"])
    put(home, 3, ["edited", "and longer", "than before", "it was", "really"])
    with home.view() as view:
        gone, renamed, again = (view.source(f"/files/{n}") for n in (5, 6, 7))
        removed = view.document("d8")
    with home.commit() as commit:
        commit.remove_source(gone.key)
        commit.put_source(replace(renamed, name="/moved/6"))
        commit.remove_document(removed.key)
        commit.remove_source(again.key)
        commit.set_active([renamed.key], False)
        commit.detach("note/\ud800")
        commit.attach("other", b"1")
    put(home, 7, ["the same name, another source"])
    report = move(home, backend, since_last=True)
    assert (report.added, report.updated, report.removed) == (2, 1, 2)
    assert not report.proof.whole
    assert report.proof.ok
    assert content(backend) == content(home)


def test_a_stopped_run_goes_on(home: LocalStore, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackroom.transfer.sending._CHUNKS", 10)
    cancel = CancelToken()

    def stop(event) -> None:
        if event.stage == "send" and event.done >= 20:
            cancel.cancel()

    first = move(home, backend, progress=stop, cancel=cancel)
    assert first.cancelled
    assert first.proof is None
    assert 20 <= first.chunks < 60
    second = move(home, backend)
    assert second.proof.ok
    assert first.added + second.added == 31
    assert content(backend) == content(home)


def test_sources_are_sent_in_portions(home: LocalStore, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackroom.transfer.sending._SOURCES_AT_ONCE", 12)
    cancel, commit = CancelToken(), backend.commit

    @contextlib.contextmanager
    def last() -> Iterator[Commit]:
        with commit() as one:
            yield one
        cancel.cancel()

    with monkeypatch.context() as patched:
        patched.setattr(backend, "commit", last)
        assert move(home, backend, cancel=cancel).cancelled
    with backend.view() as there:
        assert len(list(there.each_source())) == 12
    assert move(home, backend).proof.ok
    assert content(backend) == content(home)


def test_who_cancels_before_anything_is_sent_leaves_a_copy_as_it_is(home: LocalStore, backend: Backend) -> None:
    """A copy that was proven said that a transfer had not finished; a new library says so."""
    cancel = CancelToken()
    cancel.cancel()
    assert move(home, backend, cancel=cancel).cancelled
    assert not backend.stats().copied.is_proven
    move(home, backend)
    before = backend.stats()
    put(home, 40, ["new"])
    report = move(home, backend, cancel=cancel)
    assert report.cancelled
    assert report.proof is None
    assert backend.stats().copied == before.copied
    with backend.view() as there:
        assert there.source("/files/40") is None


def test_what_differs_is_said_and_sent_again(home: LocalStore, backend: Backend) -> None:
    move(home, backend)
    with backend.view() as view:
        keys = view.keys_of(view.document("d4").key)
    with backend.commit() as commit:
        commit.remove_chunks(keys[:1])
    with pytest.raises(
        MigrationError, match=r"93 passages should be there, and 92 are; missing: 4:0\..*vectors"
    ) as caught:
        move(home, backend)
    assert "The passage 4:0 of /files/4 (document d4) is missing." in caught.value.actual
    assert move(home, backend).updated == 1
    assert content(backend) == content(home)


def test_a_copy_that_was_written_to_is_brought_back(home: LocalStore, backend: Backend) -> None:
    """A document that was removed there was never sent again, and a new one of a known source never went: no run came to its end."""
    move(home, backend)
    with backend.view() as there:
        gone, other = there.document("d3"), there.document("d4")
    with backend.commit() as commit:
        commit.remove_document(gone.key)
        added = commit.put_document(DocumentRecord("intruder", other.source_key))
        commit.add_chunks(added, [Chunk("what nobody sent", embedding=unit_rows(1, seed=5)[0])])
    report = move(home, backend)
    assert (report.added, report.removed) == (1, 1)
    assert content(backend) == content(home)


def test_what_somebody_added_to_a_target_is_not_removed(home: LocalStore, backend: Backend) -> None:
    move(home, backend)
    put(backend, 70, ["mine alone"])
    put(backend, 80, ["of a file that the origin has by now, too"])
    put(home, 80, ["of that file"])
    before = content(backend)
    for _ in range(2):
        with pytest.raises(UsageError, match=r"1 source was added to the target.*: /files/70\."):
            move(home, backend)
        assert content(backend) == before
    with backend.view() as there:
        added = there.source("/files/70").key
    with backend.commit() as commit:
        commit.remove_source(added)
    assert move(home, backend).proof.ok
    assert content(backend) == content(home)


def test_what_is_added_to_a_target_during_a_run_stays_there(
    home: LocalStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is sent to, and while it is proven: the proof tells of it, and the next run refuses."""
    move(home, backend)
    put(home, 90, ["new at home"])

    def meddle(event: ProgressEvent) -> None:
        if event.stage == "send":
            put(backend, 70, ["added while documents were sent"])

    with pytest.raises(MigrationError, match=r"too many: /files/70\."):
        move(home, backend, progress=meddle)

    def prove_late(*arguments: object, **options: object):
        monkeypatch.undo()
        put(backend, 71, ["added before the proof"])
        return prove(*arguments, **options)

    remove(backend, "/files/70")
    monkeypatch.setattr("stackroom.transfer.prove", prove_late)
    with pytest.raises(MigrationError, match=r"too many: /files/71\."):
        move(home, backend)
    with pytest.raises(UsageError, match=r"1 source was added to the target.*: /files/71\."):
        move(home, backend)
    assert source_names(backend) == {*source_names(home), "/files/71"}


def test_an_added_source_is_known_by_itself_and_not_by_its_documents(home: LocalStore, backend: Backend) -> None:
    """One without any, as of a scanned page, and one that took over a document that was sent."""
    move(home, backend)
    with backend.commit() as commit:
        commit.put_source(SourceRecord("/files/scan", is_file=True, state="failed", error="It has no text."))
        mine = commit.put_source(SourceRecord("mine"))
        commit.put_document(DocumentRecord("d4", mine))
    with pytest.raises(UsageError, match=r"2 sources were added to the target.*: /files/scan, mine\."):
        move(home, backend)
    assert source_names(backend) >= {"/files/scan", "mine"}


def test_a_library_that_was_brought_back_from_an_older_copy_takes_nothing_away(
    home: LocalStore, backend: Backend, tmp_path: Path
) -> None:
    home.backup(tmp_path / "older", refresh=False, progress=silent, cancel=CancelToken())
    put(home, 90, ["what the older one has not"])
    move(home, backend)
    with contextlib.closing(LocalStore(tmp_path / "older")) as older:
        for number, which in enumerate(("a later", "another")):
            with pytest.raises(UsageError, match=f"holds {which} state of this library, up to its commit"):
                move(older, backend)
            put(older, 91 + number, ["as many commits, and others"])
    assert content(backend) == content(home)


def test_what_another_library_has_pushed_is_not_removed(home: LocalStore, backend: Backend, tmp_path: Path) -> None:
    """A copy that was pulled is pushed back with what it has gained and lost; the first one does not undo it."""
    move(home, backend)
    with contextlib.closing(LocalStore(tmp_path / "copy")) as copy:
        move(backend, copy, copy_of="chroma://db?library=papers")
        put(copy, 70, ["gained by the copy"])
        remove(copy, "/files/3")
        move(copy, backend)
        assert content(backend) == content(copy)
    with pytest.raises(UsageError, match=r"1 source was added to the target, not by this library.*: /files/70\."):
        move(home, backend)
    assert "/files/70" in source_names(backend)


def test_a_library_all_of_whose_sources_are_others_by_now_is_the_same_one(backend: Backend, tmp_path: Path) -> None:
    with contextlib.closing(LocalStore(tmp_path / "small")) as small:
        put(small, 1, ["only one"])
        move(small, backend)
        remove(small, "/files/1")
        put(small, 2, ["another one"])
        move(small, backend)
        assert source_names(backend) == source_names(small) == {"/files/2"}
        remove(small, "/files/2")
        move(small, backend)
        assert source_names(backend) == set()


def test_what_is_too_few_or_too_many_is_named(home: LocalStore, backend: Backend) -> None:
    move(home, backend)
    with backend.view() as there:
        gone, held = there.source("/files/3"), there.source("/files/5")
        document = there.document("d4")

    def meddle(origin: Backend, target: Backend, *arguments: object, **options: object):
        with backend.commit() as commit:
            commit.remove_source(gone.key)
            commit.set_active([held.key], False)
            added = commit.put_document(DocumentRecord("intruder", document.source_key, "Odd"))
            commit.add_chunks(added, [Chunk("what nobody sent", f"x{n}") for n in range(7)])
        return prove(origin, target, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(MigrationError) as caught:
        patched.setattr("stackroom.transfer.prove", meddle)
        move(home, backend)
    told = caught.value.message
    assert "31 sources should be there, and 30 are; missing: /files/3." in told
    assert "30 active sources should be there, and 28 are; missing: /files/3, /files/5." in told
    assert "93 passages should be there, and 96 are" in told
    assert "too many: x0, x1, x2, x3, x4 and 2 more." in told
    assert move(home, backend).proof.ok
    assert content(backend) == content(home)


def test_another_collection_of_the_same_size_is_seen(home: LocalStore, backend: Backend) -> None:
    move(home, backend)
    with backend.view() as there:
        keys = there.members("mixed")
    with backend.commit() as commit:
        commit.disband("mixed")
        commit.enlist("wrong", keys)
    with pytest.raises(MigrationError) as caught:
        move(home, backend)
    assert "2 passages of the collection mixed should be there, and 0 are." in caught.value.actual
    assert "0 passages of the collection wrong should be there, and 2 are." in caught.value.actual
    assert move(home, backend).proof.ok
    with home.view() as view, backend.view() as there:
        assert there.chunk_ids(there.members("mixed")) == view.chunk_ids(view.members("mixed"))
        assert "wrong" not in {item.name for item in there.collections() if item.chunks}


def _passage_added(there: View, commit: Commit) -> None:
    commit.add_chunks(there.document("d4").key, [Chunk("what nobody sent", embedding=unit_rows(1, seed=5)[0])])


def _passage_replaced(there: View, commit: Commit) -> None:
    """As many as before."""
    commit.remove_chunks(there.keys_of(there.document("d3").key)[:1])
    _passage_added(there, commit)


def _vector_added(there: View, commit: Commit) -> None:
    (key,) = there.chunk_keys(["c\x00"])
    commit.give_vectors([(key, unit_rows(1, seed=5)[0])])


def _collection_disbanded(there: View, commit: Commit) -> None:
    commit.disband("mixed")


def _collection_left(there: View, commit: Commit) -> None:
    commit.leave("mixed", there.members("mixed")[:1])


def _collection_joined(there: View, commit: Commit) -> None:
    commit.enlist("mixed", there.keys_of(there.document("d4").key))


def _collection_swapped(there: View, commit: Commit) -> None:
    """As many as before."""
    commit.leave("mixed", there.members("mixed")[:1])
    commit.enlist("mixed", there.keys_of(there.document("d4").key)[:1])


def _title_changed(there: View, commit: Commit) -> None:
    commit.put_document(replace(there.document("d4"), title="Another"))


def _metadata_changed(there: View, commit: Commit) -> None:
    """Equal in Python, and another value."""
    commit.put_document(replace(there.document("d4"), metadata={"n": 4.0}))


def _document_moved(there: View, commit: Commit) -> None:
    commit.put_document(replace(there.document("d4"), source_key=there.source("/files/5").key, title="Another"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_title_changed, r"The document /files/4 \(document d4\) differs in title\."),
        (_metadata_changed, r"The document /files/4 \(document d4\) differs in metadata"),
        (_document_moved, r"The document /files/4 \(document d4\) differs in title and source"),
        (_passage_added, "93 passages should be there, and 94 are"),
        (_passage_replaced, r"The passage 3:0 of /files/3 \(document d3\) is missing"),
        (_vector_added, r"The vector of c\x00 of odd.* is one too many"),
        (_collection_disbanded, r"The passage empty of odd.* is not in the collection mixed"),
        (_collection_left, r"The passage empty of odd.* is not in the collection mixed"),
        (
            _collection_joined,
            r"The passage 4:0 of /files/4 \(document d4\) is in the collection mixed, and should not be",
        ),
        (_collection_swapped, r"The passage 4:0 of /files/4 \(document d4\) is in the collection mixed"),
    ],
)
@pytest.mark.parametrize("since_last", [False, True])
def test_what_was_changed_in_a_target_is_healed_by_the_next_run(
    home: LocalStore, backend: Backend, change: Callable[[View, Commit], None], told: str, since_last: bool
) -> None:
    """A document's title was not compared; an extra passage of a document, and a passage in another collection, ended every run with the same error."""
    move(home, backend)
    with backend.view() as there, backend.commit() as commit:
        change(there, commit)
    with pytest.raises(MigrationError) as caught:
        move(home, backend, copy_of="chroma://db?library=papers")
    assert re.search(told, "\n".join(caught.value.actual))
    assert "sent again" in caught.value.hint
    assert move(home, backend, since_last=since_last).proof.ok
    assert content(backend) == content(home)


def test_a_library_of_one_document_that_differs_is_no_strangers(backend: Backend, tmp_path: Path) -> None:
    """Without any digest it was taken for somebody's library, and every run was refused."""
    with contextlib.closing(LocalStore(tmp_path / "small")) as small:
        put(small, 1, ["one", "two"])
        move(small, backend)
        with backend.view() as there, backend.commit() as commit:
            commit.remove_chunks(there.live_keys().tolist()[:1])
        with pytest.raises(MigrationError, match="is missing"):
            move(small, backend)
        assert move(small, backend).updated == 1


def test_answers_that_differ_are_not_promised_to_be_sent_again(
    home: LocalStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(home, backend)
    """It was said for ever that indexes may still be built."""
    monkeypatch.setattr("stackroom.transfer.answers._same", lambda *arguments: False)
    for name, told in (
        ("chroma://db?library=papers", "Push under another name"),
        ("folder", "push this under another"),
    ):
        with pytest.raises(MigrationError) as caught:
            move(home, backend, names=("here", name))
        assert "would change nothing" in caught.value.hint
        assert told in caught.value.hint


def test_a_batch_whose_answer_was_lost_is_counted_and_proven(
    home: LocalStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there at the second attempt, and passed for unchanged: nothing of it was read back."""
    monkeypatch.setattr("stackroom.transfer._DELAYS", (0.01, 0.01))
    move(home, backend)
    put(home, 1, ["changed"])
    put(home, 77, ["new"])
    commit, answers = backend.commit, iter([True, False])

    @contextlib.contextmanager
    def lost(**options: float) -> Iterator[Commit]:
        attached: list[str] = []
        with commit(**options) as made:
            attach = made.attach
            monkeypatch.setattr(made, "attach", lambda name, data: (attached.append(name), attach(name, data)))
            yield made
        if "transfer/d77" in attached and next(answers):
            raise EngineAwayError("The answer was lost.")

    monkeypatch.setattr(backend, "commit", lost)
    report = move(home, backend, since_last=True)
    assert (report.added, report.updated, report.unchanged, report.repeated) == (1, 1, 30, 1)
    assert (report.proof.passages, report.proof.whole) == (3, False)


def test_what_cannot_be_read_beside_answers_that_differ_is_damage(
    home: LocalStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It passed for told, and the advice was to send all to another place."""
    move(home, backend)

    def unreadable(*_: object) -> object:
        raise DamagedError("A passage can't be read.", hint="Push it again.")

    monkeypatch.setattr("stackroom.transfer.answers._same", lambda *_: False)
    monkeypatch.setattr("stackroom.transfer.answers._filters", unreadable)
    with pytest.raises(DamagedError, match="can't be read"):
        move(home, backend)


class _Unfiltered:
    """A view whose filters let everything through."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __getattr__(self, name: str) -> object:
        return getattr(self._view, name)

    def select(self, scope: Scope) -> object:
        return self._view.select(replace(scope, where=None))


def test_filters_that_find_other_passages_are_said(
    home: LocalStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every filter on the engine was wrong, and the proof asked none."""
    assert move(home, backend).proof.filters == 10
    assert move(home, backend, since_last=True).proof.filters == 10
    view = backend.view

    @contextlib.contextmanager
    def unfiltered() -> Iterator[object]:
        with view() as there:
            yield _Unfiltered(there)

    monkeypatch.setattr(backend, "view", unfiltered)
    with pytest.raises(MigrationError) as caught:
        move(home, backend)
    assert "The filter n == 0 finds other passages: 91 of 93 differ, such as 1:0 of /files/1 (document d1)." in (
        caught.value.actual
    )
    assert len(caught.value.actual) == 10
    assert "would change nothing" in caught.value.hint


def test_searches_and_filters_of_the_collection_that_has_most_are_compared(backend: Backend, tmp_path: Path) -> None:
    """They were asked of the default one, where nothing was, and an ordinary search was said to find nothing of what there is."""
    with contextlib.closing(LocalStore(tmp_path / "collected")) as collected:
        with collected.commit() as commit:
            source = commit.put_source(SourceRecord(name="s"))
            document = commit.put_document(DocumentRecord("d", source))
            chunks = [Chunk(f"passage {n}", f"c{n}", {"n": n}, embedding=row) for n, row in enumerate(unit_rows(5))]
            commit.add_chunks(document, chunks, collection="apart")
        asked: list[Scope] = []
        with collected.view() as view:
            select = type(view).select

        def noted(self: View, scope: Scope) -> object:
            found = select(self, scope)
            asked.append((scope.where.key, len(found)) if scope.where else scope)
            return found

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(type(view), "select", noted)
            proof = move(collected, backend).proof
        assert (proof.filters, proof.recall) == (7, 1.0)
        assert ("n", 1) in asked
        assert ("document_id", 5) in asked


def test_an_engine_that_goes_away_during_the_proof_is_waited_for(
    home: LocalStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While documents were sent it was waited for, and in the proof it was not."""
    monkeypatch.setattr("stackroom.transfer._DELAYS", (0.0, 0.0))
    away = iter([True, True, False, True, True, True, True])

    def leaving(*arguments: object, **options: object):
        if next(away):
            raise EngineAwayError("The server is not there.")
        return prove(*arguments, **options)

    monkeypatch.setattr("stackroom.transfer.prove", leaving)
    report = move(home, backend)
    assert (report.proof.ok, report.repeated) == (True, 2)
    with pytest.raises(EngineAwayError):
        move(home, backend)
    monkeypatch.setattr("stackroom.transfer._DELAYS", (60.0,))
    cancel, wait = CancelToken(), CancelToken.wait
    monkeypatch.setattr(CancelToken, "wait", lambda self, seconds: self.cancel() or wait(self, seconds))
    report = move(home, backend, cancel=cancel)
    assert (report.cancelled, report.proof) == (True, None)


def test_a_target_says_that_a_transfer_did_not_finish(
    home: LocalStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backend.stats().copied is None
    cancel = CancelToken()
    with monkeypatch.context() as patched:
        patched.setattr("stackroom.transfer.sending._CHUNKS", 10)
        move(home, backend, progress=lambda _: cancel.cancel(), cancel=cancel)
    half = backend.stats().copied
    assert (half.url, half.version, half.taken_at, half.is_proven) == ("", 0, "", False)
    assert half.said.startswith("a push to this that began at 20")
    # What the run before sent nobody has compared yet.
    assert move(home, backend, since_last=True).proof.whole
    whole = backend.stats().copied
    with home.view() as view:
        assert (whole.version, whole.begun_at, whole.is_proven) == (view.version, "", True)
    assert not move(home, backend, since_last=True).proof.whole


def test_a_copy_of_what_was_pushed_in_part_keeps_that(
    home: LocalStore, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part was proven to be a part, and its copy was taken for whole."""
    cancel, options = CancelToken(), {"copy_of": "chroma://db?library=papers"}
    with monkeypatch.context() as patched:
        patched.setattr("stackroom.transfer.sending._CHUNKS", 10)
        move(home, backend, progress=lambda _: cancel.cancel(), cancel=cancel)
    with contextlib.closing(LocalStore(tmp_path / "copy")) as copy:
        report = move(backend, copy, **options)
        assert (report.proof.ok, report.origin_unfinished) == (True, True)
        told = copy.stats().copied
        assert (told.origin_unfinished, told.is_proven) == (True, True)
        # And on to a copy of the copy.
        with contextlib.closing(LocalStore(tmp_path / "next")) as further:
            assert move(copy, further).origin_unfinished
        assert not move(home, backend).origin_unfinished
        assert not move(backend, copy, **options).origin_unfinished
        assert not copy.stats().copied.origin_unfinished
        assert content(copy) == content(home)


def test_a_copy_that_was_written_to_is_compared_whole(home: LocalStore, backend: Backend) -> None:
    """A passage that was changed in the copy, or that a repair could not bring back as it was, stayed so for ever."""
    options = {"copy_of": "chroma://db?library=papers", "since_last": True}
    move(home, backend, **options)
    assert not move(home, backend, **options).proof.whole
    assert backend.stats().copied.is_proven
    with backend.view() as view:
        document = view.document("d4")
        (chunk, *_) = view.chunks(document.key, vectors=True)
    with backend.commit() as commit:
        commit.add_chunks(document.key, [replace(chunk.chunk, text="another text")])
    changed = backend.stats().copied
    assert (changed.changed, changed.said.endswith("changed here since")) == (True, True)
    with pytest.raises(MigrationError, match=r"The passage 4:0 of /files/4 \(document d4\) differs"):
        move(home, backend, **options)
    assert "did not finish" in backend.stats().copied.said
    assert move(home, backend, **options).updated == 1
    assert content(backend) == content(home)
    assert backend.stats().copied.is_proven


def test_a_damaged_copy_is_told_by_its_sources_and_leads_to_verify(home: LocalStore, tmp_path: Path) -> None:
    """A vector that changed on the disk was told by the number of a chunk, and somebody else was blamed."""
    url = "chroma://db?library=papers"
    options = {"copy_of": url, "since_last": True}
    folder = tmp_path / "a copy"
    with contextlib.closing(LocalStore(folder)) as copy:
        move(home, copy, **options)
    with home.view() as view:
        row = view.vectors(view.keys_of(view.document("d0").key)[:1])[0]
    (file,) = (one for one in (folder / "vectors").iterdir() if row.tobytes() in one.read_bytes())
    file.write_bytes(file.read_bytes().replace(row.tobytes(), (-row).tobytes()))
    with contextlib.closing(LocalStore(folder)) as copy, pytest.raises(MigrationError) as caught:
        move(home, copy, **options, names=(url, str(folder)))
    told = caught.value
    assert "A search by the vector of the passage 0:0 of /files/0 (document d0) finds other passages." in told.actual
    assert "of chunk" not in told.message
    assert told.hint == (
        f"Somebody else may have written to one of them meanwhile, or a disk may have changed what is kept: stackroom --library '{folder}' verify. "
        "Run it again: all of it is compared then, and what differs is sent again."
    )


def test_a_lost_source_of_a_library_on_disk_is_no_damage_of_the_target(backend: Backend, tmp_path: Path) -> None:
    """It was told as damage of an engine, and where that was PostgreSQL of a target that is sound."""
    with contextlib.closing(LocalStore(tmp_path / "hit")) as store:
        for n in range(3):
            put(store, n, ["text"])
    with contextlib.closing(sqlite3.connect(tmp_path / "hit" / "catalogue.db")) as catalogue:
        catalogue.execute("DELETE FROM sources WHERE name = '/files/1'")
        catalogue.commit()
    with (
        contextlib.closing(LocalStore(tmp_path / "hit")) as store,
        pytest.raises(DamagedError, match="The library that is sent is damaged: its document d1") as caught,
    ):
        move(store, backend)
    assert "stackroom verify" in caught.value.hint


def test_who_writes_to_the_target_during_the_proof_has_it_made_again(
    home: LocalStore, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(home, backend)
    asked: list[int] = []

    def meddling(times: int) -> None:
        asked.clear()

        def meddle(*arguments: object, **options: object):
            found = prove(*arguments, **options)
            asked.append(len(asked))
            if len(asked) <= times:
                with backend.commit() as commit:
                    commit.attach("conversation/theirs", bytes([len(asked)]))
            return found

        monkeypatch.setattr("stackroom.transfer.prove", meddle)

    meddling(1)
    assert move(home, backend).proof.ok
    assert (len(asked), backend.stats().copied.is_proven) == (2, True)
    meddling(9)
    with pytest.raises(BusyError, match="Somebody wrote to there each of the 3 times"):
        move(home, backend)
    assert (len(asked), backend.stats().copied.is_proven) == (3, False)


def test_a_copy_of_another_library_is_no_target(home: LocalStore, backend: Backend, tmp_path: Path) -> None:
    """One mistyped name would have emptied a copy that others use."""
    move(home, backend)
    with contextlib.closing(LocalStore(tmp_path / "another")) as another:
        for _ in range(2):
            with pytest.raises(UsageError, match="copy of another library: none of its 31 sources"):
                move(another, backend)
            put(another, 1, ["of the same name, and another source"])
    assert content(backend) == content(home)


def test_what_is_kept_in_the_target_stays(home: LocalStore, backend: Backend) -> None:
    move(home, backend)
    with backend.commit() as commit:
        commit.attach("conversation/theirs", b"words")
    with home.commit() as commit:
        commit.detach("note/\ud800")
        commit.attach("mine", b"1")
    move(home, backend)
    with backend.view() as view:
        assert {name for name, _ in view.attachments() if not name.startswith("transfer")} == {
            "conversation/theirs", "mine",
        }  # fmt: skip


def test_somebodys_library_is_no_target(home: LocalStore, backend: Backend) -> None:
    put(backend, 1, ["mine"])
    with pytest.raises(UsageError, match="no transfer brought"):
        move(home, backend)
    with backend.view() as view:
        assert len(view.live_keys()) == 1


def test_another_model_needs_another_name(home: LocalStore, backend: Backend, tmp_path: Path) -> None:
    move(home, backend)
    other = LocalStore(tmp_path / "other")
    put(other, 1, ["a"], model="another")
    with pytest.raises(EmbedderMismatchError, match="another name"):
        move(other, backend)
    other.close()


def test_a_search_is_the_same_there(home: LocalStore, backend: Backend) -> None:
    move(home, backend)
    query = unit_rows(1, seed=5)[0]
    with home.view() as view, backend.view() as there:
        for scope in (Scope(), Scope(active=True), Scope(collection="mixed"), Scope(sources=["/files/1*"])):
            own, other = view.nearest(query, 10, scope), there.nearest(query, 10, scope)
            assert view.chunk_ids(own.keys.tolist()) == there.chunk_ids(other.keys.tolist())
            assert own.scores.tolist() == other.scores.tolist()


def test_sources_that_change_names_with_one_another_keep_their_documents(home: LocalStore, backend: Backend) -> None:
    """As when files are rotated: 4 is moved to 40, 3 to 4, and 1 and 2 are swapped."""
    move(home, backend)
    with home.view() as view:
        records = {n: view.source(f"/files/{n}") for n in (1, 2, 3, 4)}
    with home.commit() as commit:
        for record, name in ((4, 40), (3, 4), (1, 0.5), (2, 1), (1, 2)):
            commit.put_source(replace(records[record], name=f"/files/{name}"))
    report = move(home, backend)
    assert report.proof.ok
    assert content(backend) == content(home)
    assert report.removed == 0
