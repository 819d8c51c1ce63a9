"""Files in: what `add` does with new, unchanged, edited, moved, duplicated, broken and vanished ones."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import stackroom
from stackroom.errors import BusyError, EmbedderMismatchError, NotFoundError, ReaderCrashedError, UsageError
from stackroom.index import Index
from stackroom.ingest import reconcile, workers
from stackroom.progress import CancelToken, ProgressEvent
from stackroom.reports import Report
from support import WordEmbedder, write_files


def paragraphs(*words: str) -> str:
    """Each word begins a passage of its own (40 tokens at most)."""
    return "\n\n".join(f"{word} " + "lorem ipsum dolor sit amet " * 3 + "." for word in words)


def counts(report: Report) -> dict[str, int]:
    names = ("added", "updated", "unchanged", "moved", "removed", "failed")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def ids(index: Index, source: str) -> dict[str, str]:
    return {passage.text.split()[0]: passage.chunk_id for passage in index.get(source)}


def touch(path: Path) -> None:
    """Give a file another time, as an editor would."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))


def test_a_folder_is_indexed_once(index: Index, folder: Path, embedder: WordEmbedder) -> None:
    write_files(folder, {"a.txt": paragraphs("alpha", "beta"), "deep/b.md": "# Title\n\ngamma text"})
    first = index.add(folder)
    assert counts(first) == {"added": 2}
    assert (first.chunks, first.embedded) == (3, 3)
    again = index.add(folder)
    assert counts(again) == {"unchanged": 2}
    assert (again.embedded, len(embedder.embedded)) == (0, 3)
    (hit,) = index.search("gamma", k=1)
    assert (hit.document.title, hit.place.section, hit.document.path) == (
        "Title",
        ("Title",),
        str(folder / "deep/b.md"),
    )
    assert hit.document.metadata["file_name"] == "b.md"


def test_a_file_that_the_system_refused_is_tried_again_by_itself(
    index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(folder, {"a.txt": "alpha", "b.txt": "beta"})

    def refused(path: str) -> bytes:
        if path.endswith("b.txt"):
            raise PermissionError(13, "Permission denied", path)
        return hash_file(path)

    hash_file = reconcile.hash_file
    with monkeypatch.context() as patched:
        patched.setattr(reconcile, "hash_file", refused)
        assert counts(index.add(folder)) == {"added": 1, "failed": 1}
        again = index.add(folder)
        assert counts(again) == {"unchanged": 1, "failed": 1}
        assert not again.failures[0].before
    assert "failed" not in counts(index.add(folder))
    assert [hit.text for hit in index.search("beta", k=1)] == ["beta"]


def test_a_touched_file_is_not_read_again(index: Index, folder: Path, embedder: WordEmbedder) -> None:
    write_files(folder, {"a.txt": "alpha"})
    index.add(folder)
    touch(folder / "a.txt")
    assert counts(index.add(folder)) == {"unchanged": 1}
    assert len(embedder.embedded) == 1


def test_an_edited_file_embeds_only_what_changed(index: Index, folder: Path, embedder: WordEmbedder) -> None:
    words = [f"word{n}" for n in range(10)]
    write_files(folder, {"a.txt": paragraphs(*words)})
    index.add(folder)
    before = ids(index, "a.txt")
    rows = index.vectors(list(before.values()))
    embedder.embedded.clear()
    write_files(folder, {"a.txt": paragraphs("new", *words[:4], "changed", *words[5:])})
    report = index.add(folder)
    assert counts(report) == {"updated": 1}
    assert [text.split()[0] for text in embedder.embedded] == ["new", "changed"]
    assert (report.embedded, report.reused) == (2, 9)
    after = ids(index, "a.txt")
    assert list(after) == ["new", *words[:4], "changed", *words[5:]]
    assert all(after[word] == before[word] for word in words if word != "word4")
    assert (
        index.vectors([before[word] for word in before if word != "word4"]).tobytes()
        == rows[[0, 1, 2, 3, 5, 6, 7, 8, 9]].tobytes()
    )
    assert index.search("word4", mode="text") == []
    text = (folder / "a.txt").read_text()
    for passage in index.get("a.txt"):
        assert text[passage.place.start : passage.place.end] == passage.text
    assert index.verify().ok


def test_a_moved_file_keeps_everything(index: Index, folder: Path, embedder: WordEmbedder) -> None:
    write_files(folder, {"a.txt": "alpha beta"})
    index.add(folder)
    index.set_active(["a.txt"], False)
    (before,) = index.sources()
    chunk_ids = ids(index, "a.txt")
    (folder / "sub").mkdir()
    (folder / "a.txt").rename(folder / "sub" / "b.txt")
    assert counts(index.add(folder)) == {"moved": 1}
    (after,) = index.sources()
    assert (after.id, after.active, after.path) == (before.id, False, str(folder / "sub/b.txt"))
    assert ids(index, "b.txt") == chunk_ids
    assert len(embedder.embedded) == 1
    assert index.search("alpha", where={"key": "file_name", "op": "==", "value": "b.txt"})
    assert not index.search("alpha", where={"key": "file_name", "op": "==", "value": "a.txt"})


def test_a_duplicate_is_a_source_of_its_own_without_embedding(
    index: Index, folder: Path, embedder: WordEmbedder
) -> None:
    write_files(folder, {"a.txt": "alpha beta", "b.txt": "alpha beta"})
    report = index.add(folder)
    assert counts(report) == {"added": 2}
    write_files(folder, {"c.txt": "alpha beta"})
    assert counts(index.add(folder)) == {"added": 1, "unchanged": 2}
    assert len(embedder.embedded) == 1
    hits = index.search("alpha")
    assert sorted(Path(hit.document.path).name for hit in hits) == ["a.txt", "b.txt", "c.txt"]
    assert len({hit.chunk_id for hit in hits}) == 3
    index.remove(["a.txt"])
    assert len(index.search("alpha")) == 2
    assert index.verify().ok


def test_vanished_files_stay_until_pruned(index: Index, folder: Path) -> None:
    write_files(folder, {f"{n}.txt": f"word{n}" for n in range(10)})
    index.add(folder)
    (folder / "3.txt").unlink()
    assert counts(index.add(folder)) == {"unchanged": 9}
    assert index.search("word3", mode="text")
    assert index.stats().missing == 1
    assert counts(index.add(folder, prune=True)) == {"unchanged": 9, "removed": 1}
    assert not index.search("word3", mode="text")


def test_prune_asks_before_it_takes_much(index: Index, folder: Path) -> None:
    write_files(folder, {f"{n}.txt": f"word{n}" for n in range(10)})
    index.add(folder)
    for n in range(5):
        (folder / f"{n}.txt").unlink()
    with pytest.raises(UsageError, match="5 of 10"):
        index.add(folder, prune=True)
    asked: list[tuple[int, int]] = []
    assert counts(index.add(folder, prune=True, confirm=lambda *numbers: bool(asked.append(numbers)))) == {
        "unchanged": 5
    }
    assert asked == [(5, 10)]
    assert counts(index.add(folder, prune=True, confirm=lambda gone, total: True)) == {"unchanged": 5, "removed": 5}


def test_failures_are_kept_with_their_reason_and_not_tried_again(index: Index, folder: Path) -> None:
    write_files(folder, {"good.txt": "alpha", "empty.txt": "", "blank.txt": "  \n "})
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing else")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 8)
    report = index.add(folder)
    assert counts(report) == {"added": 1, "failed": 4}
    kinds = {Path(failure.path).name: failure.kind for failure in report.failures}
    assert kinds == {
        "empty.txt": "NoTextError", "blank.txt": "NoTextError", "broken.pdf": "ReadError", "binary.txt": "UnsupportedFormatError",
    }  # fmt: skip
    states = {Path(source.path).name: (source.state, bool(source.error)) for source in index.sources()}
    assert states["good.txt"] == ("indexed", False)
    assert states["broken.pdf"] == ("failed", True)
    again = index.add(folder)
    assert counts(again) == {"unchanged": 1, "failed": 4}
    (folder / "copy.pdf").write_bytes((folder / "broken.pdf").read_bytes())
    assert counts(index.add(folder)) == {"unchanged": 1, "failed": 5}
    write_files(folder, {"broken.pdf": "now it is text"})
    touch(folder / "broken.pdf")
    assert counts(index.add(folder)) == {"added": 1, "unchanged": 1, "failed": 4}
    assert index.stats().failed_count == 4
    write_files(folder, {"zzz.txt": ""})
    assert [failure.before for failure in index.add(folder).failures] == [False, True, True, True, True]
    (folder / "zzz.txt").unlink()
    assert counts(index.add(folder, retry=True)) == {"unchanged": 2, "failed": 4}


def test_a_file_that_turns_bad_serves_as_it_was(index: Index, folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha words"})
    index.add(folder)
    (folder / "a.txt").write_bytes(bytes(range(256)) * 4)
    touch(folder / "a.txt")
    assert counts(index.add(folder)) == {"failed": 1}
    assert index.search("alpha", mode="text")
    (source,) = index.sources()
    assert (source.state, source.chunks) == ("indexed", 1)
    assert "no reader knows" in (source.error or "")
    write_files(folder, {"a.txt": "alpha again"})
    touch(folder / "a.txt")
    assert counts(index.add(folder)) == {"updated": 1}
    assert index.sources()[0].error is None


def test_cancel_stops_soon_and_the_next_run_goes_on(index: Index, folder: Path, embedder: WordEmbedder) -> None:
    write_files(folder, {f"{n:03}.txt": paragraphs(*(f"w{n}x{i}" for i in range(5))) for n in range(200)})
    cancel = CancelToken()

    def progress(event: ProgressEvent) -> None:
        if event.done >= 40:
            cancel.cancel()

    report = index.add(folder, progress=progress, cancel=cancel)
    assert report.cancelled
    assert 0 < report.added < 200
    assert len(index.sources()) == report.added
    assert index.verify().ok
    embedder.embedded.clear()
    rest = index.add(folder)
    assert counts(rest) == {"added": 200 - report.added, "unchanged": report.added}
    assert len(embedder.embedded) == len(set(embedder.embedded)) == 5 * (200 - report.added)


def test_a_long_document_is_committed_in_parts_and_resumed(index: Index, folder: Path, embedder: WordEmbedder) -> None:
    write_files(folder, {"long.txt": paragraphs(*(f"w{i}" for i in range(3000)))})
    cancel = CancelToken()

    def progress(event: ProgressEvent) -> None:
        if event.chunks >= 1200:
            cancel.cancel()

    report = index.add(folder, progress=progress, cancel=cancel)
    assert report.cancelled
    (source,) = index.sources()
    assert source.state == "partial"
    assert 512 <= source.chunks < 3000
    held = source.chunks
    embedder.embedded.clear()
    again = index.add(folder)
    assert not again.cancelled
    assert len(embedder.embedded) == 3000 - held
    (source,) = index.sources()
    assert (source.state, source.chunks) == ("indexed", 3000)
    assert [passage.text.split()[0] for passage in index.get("long.txt")] == [f"w{i}" for i in range(3000)]
    assert index.verify().ok


def test_a_second_ingest_is_told_who_holds_the_lease(index: Index, library: Path, folder: Path) -> None:
    write_files(folder, {f"{n}.txt": f"word{n}" for n in range(50)})
    inside, go_on = threading.Event(), threading.Event()

    def progress(event: ProgressEvent) -> None:
        inside.set()
        go_on.wait(10)

    thread = threading.Thread(target=index.add, args=(folder,), kwargs={"progress": progress})
    thread.start()
    try:
        assert inside.wait(10)
        with stackroom.open(library, embedder=WordEmbedder()) as other:
            with pytest.raises(BusyError, match=f"process {os.getpid()} .*add") as caught:
                other.add(folder)
            assert caught.value.exit_code == 4
            assert other.search("word1") is not None
            other.set_active(None, False)
    finally:
        go_on.set()
        thread.join()
    assert len(index.sources()) == 50


def test_another_model_is_refused(index: Index, library: Path, folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha"})
    index.add(folder)
    with pytest.raises(EmbedderMismatchError, match="rebuild --embedder other"):
        stackroom.open(library, embedder=WordEmbedder("other", dim=8))


def test_change_of_model_embeds_everything_once_and_switches(index: Index, folder: Path) -> None:
    write_files(folder, {f"{n}.txt": f"word{n} text" for n in range(40)})
    index.add(folder)
    new = WordEmbedder("new", dim=8)
    report = index.rebuild(embedder=new)
    assert (report.embedded, len(new.embedded)) == (40, 40)
    assert index.stats().embedder == new.identity
    assert index.search("word7 text", mode="vector", k=1)[0].text == "word7 text"
    write_files(folder, {"later.txt": "later text"})
    assert counts(index.add(folder)) == {"added": 1, "unchanged": 40}
    assert new.embedded[-1] == "later text"
    assert index.verify().ok


def test_rebuild_reads_and_embeds_again(index: Index, folder: Path, embedder: WordEmbedder) -> None:
    write_files(folder, {"a.txt": "alpha", "b.txt": "beta"})
    index.add(folder)
    source_id = {source.path: source.id for source in index.sources()}
    report = index.rebuild(["a.txt"])
    assert counts(report) == {"updated": 1}
    assert embedder.embedded == ["alpha", "beta", "alpha"]
    assert {source.path: source.id for source in index.sources()} == source_id
    assert len(index.search("alpha", mode="text")) == 1
    assert index.verify().ok


def test_ignored_files_and_folders(index: Index, folder: Path) -> None:
    write_files(folder, {
        "a.txt": "kept", ".hidden.txt": "no", ".git/x.txt": "no", "node_modules/x.txt": "no", "drafts/x.txt": "no", "b.log": "no",
        "sub/.stackroomignore": "secret*\n", "sub/secret.txt": "no", "sub/open.txt": "kept", "picture.png": "no",
    })  # fmt: skip
    assert counts(index.add(folder, ignore=["drafts/", "*.log"])) == {"added": 2}
    assert sorted(Path(source.path).name for source in index.sources()) == ["a.txt", "open.txt"]


def test_links_that_go_round_in_circles(index: Index, folder: Path) -> None:
    write_files(folder, {"sub/a.txt": "alpha"})
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "again").symlink_to(folder / "sub")
    (folder / "nowhere.txt").symlink_to(folder / "missing")
    report = index.add(folder)
    assert report.added == 1
    assert [Path(failure.path).name for failure in report.failures] == ["nowhere.txt"]


def test_a_path_that_is_not_there(index: Index, folder: Path) -> None:
    with pytest.raises(NotFoundError, match="missing"):
        index.add(folder / "missing")
    with pytest.raises(NotFoundError):
        index.add(str(folder / "*.pdf"))


def test_the_library_is_not_indexed_itself(folder: Path, embedder: WordEmbedder) -> None:
    write_files(folder, {"a.txt": "alpha", "library/notes.txt": "inside"})
    (folder / "library" / "notes.txt").unlink()
    with stackroom.open(folder / "library", embedder=embedder) as index:
        write_files(folder, {"library/later.txt": "inside"})
        assert counts(index.add(folder)) == {"added": 1}


def test_a_module_in_the_users_folder_is_never_run(
    index: Index, folder: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = f"open({str(folder / 'ran')!r}, 'w')"
    write_files(folder, {"docx.py": trap, "json.py": trap, "stackroom/__init__.py": trap, "a.txt": "alpha"})
    (document,) = samples.rglob("*.docx")
    (folder / "a.docx").write_bytes(document.read_bytes())
    monkeypatch.chdir(folder)
    assert index.add(".").added == 2
    assert not (folder / "ran").exists()


def test_progress_counts_up_to_the_end(index: Index, folder: Path) -> None:
    write_files(folder, {f"{n}.txt": f"word{n}" for n in range(30)})
    events: list[ProgressEvent] = []
    index.add(folder, progress=events.append)
    last = events[-1]
    assert (last.stage, last.done, last.total, last.chunks, last.failed) == ("index", 30, 30, 30, 0)
    assert [event.done for event in events] == sorted(event.done for event in events)


def test_a_file_that_changes_while_it_is_read_is_read_again(
    index: Index, folder: Path, embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(folder, {"a.txt": "alpha"})
    from stackroom.ingest import pipeline

    def unchanged_since(found: object) -> bool:
        touch(folder / "a.txt")
        return real(found)

    real = pipeline._unchanged_since
    monkeypatch.setattr(pipeline, "_unchanged_since", unchanged_since)
    index.add(folder)
    monkeypatch.undo()
    assert counts(index.add(folder)) == {"updated": 1}
    assert counts(index.add(folder)) == {"unchanged": 1}
    assert embedder.embedded == ["alpha"]


def test_cancel_during_a_slow_embedder(
    index: Index, folder: Path, embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(folder, {"a.txt": paragraphs(*(f"w{i}" for i in range(400)))})
    cancel = CancelToken()
    slices: list[int] = []

    def slow(texts: list[str]) -> object:
        slices.append(len(texts))
        cancel.cancel()
        return WordEmbedder().embed_passages(texts)

    monkeypatch.setattr(embedder, "embed_passages", slow)
    assert index.add(folder, cancel=cancel).cancelled
    assert slices == [32]


def test_what_was_embedded_when_it_is_cancelled_stays(
    index: Index, folder: Path, embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(folder, {f"{n:03}.txt": f"word{n}" for n in range(100)})
    cancel = CancelToken()
    calls: list[list[str]] = []

    def interrupted(texts: list[str]) -> object:
        calls.append(list(texts))
        if len(calls) == 2:
            cancel.cancel()
        return WordEmbedder().embed_passages(texts)

    monkeypatch.setattr(embedder, "embed_passages", interrupted)
    report = index.add(folder, cancel=cancel)
    assert (report.cancelled, counts(report), report.chunks, report.embedded) == (True, {"added": 64}, 64, 64)
    assert [source.title for source in index.sources()] == [f"{n:03}.txt" for n in range(64)]
    assert counts(index.add(folder)) == {"added": 36, "unchanged": 64}
    assert sorted(text for call in calls for text in call) == sorted(f"word{n}" for n in range(100))


def test_a_source_that_is_removed_during_the_run_stops_nothing(
    library: Path, folder: Path, embedder: WordEmbedder
) -> None:
    write_files(folder, {f"{n:02}.txt": paragraphs(f"word{n}") for n in range(20)})
    with stackroom.open(library, embedder=embedder) as index, stackroom.open(library, embedder=embedder) as other:
        index.add(folder)
        for n in range(20):
            (folder / f"{n:02}.txt").write_text(paragraphs(f"word{n}", "edited"))
        gone: list[str] = []

        def remove(event: ProgressEvent) -> None:
            if not gone and event.stage == "index":
                gone.append("*15.txt")
                other.remove(gone)

        report = index.add(folder, progress=remove)
        assert (report.failed, report.updated) == (0, 19)
        assert index.verify().ok
        assert index.add(folder).added == 1
        assert len(index.sources()) == 20


def test_a_long_file_whose_reading_fails_half_way_serves_as_it_was(
    index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "long.txt"
    path.write_text(paragraphs(*(f"old{n}" for n in range(1500))))
    index.add(folder)
    before = [passage.text for passage in index.get(str(path))]
    chunks = workers.ParsedDocument.chunks

    def breaks_off(self: workers.ParsedDocument) -> Iterator[list[stackroom.Chunk]]:
        for number, part in enumerate(chunks(self)):
            if number * len(part) > 1200:
                raise ReaderCrashedError("It died.")
            yield part

    path.write_text(paragraphs(*(f"new{n}" for n in range(1500))))
    monkeypatch.setattr(workers.ParsedDocument, "chunks", breaks_off)
    assert index.add(folder).failed == 1
    assert [passage.text for passage in index.get(str(path))] == before
    (folder / "fresh.txt").write_text(paragraphs(*(f"fresh{n}" for n in range(1500))))
    assert index.add(folder).failed == 2
    assert index.stats().chunks == len(before)
    monkeypatch.undo()
    report = index.add(folder, retry=True)
    assert (report.failed, report.updated + report.added) == (0, 2)
    assert index.get(str(path))[0].text.startswith("new0")


def test_failed_twins_have_each_their_own_verdict(index: Index, folder: Path) -> None:
    write_files(folder, {"a.txt": "   \n", "b.txt": "   \n"})
    first = index.add(folder)
    assert {(Path(f.path).name, f.kind) for f in first.failures} == {("a.txt", "NoTextError"), ("b.txt", "NoTextError")}
    again = index.add(folder)
    (folder / "a.txt").rename(folder / "c.txt")
    moved = index.add(folder)
    for report in (again, moved, index.add(folder, retry=True)):
        assert report.failed == 2
        for failure in report.failures:
            assert failure.kind == "NoTextError"
            assert Path(failure.path).name in failure.reason


def test_one_of_two_equal_files_that_moves_is_moved(index: Index, folder: Path, embedder: WordEmbedder) -> None:
    write_files(folder, {"x1.txt": paragraphs("same"), "x2.txt": paragraphs("same")})
    index.add(folder)
    (folder / "x2.txt").rename(folder / "x3.txt")
    assert counts(index.add(folder)) == {"moved": 1, "unchanged": 1}
    assert sorted(Path(source.path).name for source in index.sources()) == ["x1.txt", "x3.txt"]


def test_what_no_reader_knows_is_counted(index: Index, folder: Path) -> None:
    write_files(folder, {"a.txt": "text", "b.xyz": "x", "c.xyz": "x"})
    assert index.add(folder).skipped == {".xyz": 2}


def test_what_was_added_by_name_is_updated_with_its_folder(index: Index, folder: Path) -> None:
    write_files(
        folder, {"a.txt": "text", "b.py": "x = 'penguin'", "c.conf": "penguin", ".d.txt": "penguin", "e.py": "y = 1"}
    )
    index.add([folder / name for name in ("b.py", "c.conf", ".d.txt")])
    assert counts(index.add(folder)) == {"added": 1, "unchanged": 3}
    write_files(folder, {"b.py": "x = 'zebra runs'", "c.conf": "zebra runs", ".d.txt": "zebra runs"})
    report = index.add(folder)
    assert (counts(report), report.skipped) == ({"unchanged": 1, "updated": 3}, {".py": 1})
    assert {hit.document.metadata["file_name"] for hit in index.search("zebra", mode="text")} == {
        "b.py",
        "c.conf",
        ".d.txt",
    }
    assert counts(index.add(folder, ignore=["*.py"])) == {"unchanged": 3}


def test_a_purge_that_was_interrupted_says_so(index: Index, folder: Path) -> None:
    write_files(folder, {"a.txt": "text", "b.txt": "other"})
    index.add(folder)
    cancel = CancelToken()
    cancel.cancel()
    assert index.remove(["*a.txt"], purge=True, cancel=cancel).cancelled
    assert not index.remove(["*b.txt"], purge=True).cancelled


def test_a_long_run_of_nothing_costs_nothing(index: Index, folder: Path) -> None:
    (folder / "a.txt").write_text("Before." + "\n" * 3_000_000 + "After.")
    index.add(folder)
    assert [passage.text for passage in index.get(str(folder / "a.txt"))] == ["Before.", "After."]


def test_arguments_that_can_not_be_meant(index: Index) -> None:
    for given in ({"k": "3"}, {"k": 2.5}, {"k": -1}, {"per_document": 0}, {"context": -1}):
        with pytest.raises(UsageError, match=r"must not be"):
            index.search("x", **given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="nosuchuser"):
        stackroom.open("~nosuchuser/x")


def test_lone_surrogates_are_embedded_and_searched(tmp_path: Path) -> None:
    with stackroom.open(tmp_path / "real") as index:
        index.add_documents([stackroom.Document("d", text="A lone \ud800 surrogate in a text.")])
        assert index.search("lone \udcff surrogate", mode="vector", k=1)[0].document.id == "d"
