"""Folders that are followed, with real files."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import stackroom
from stackroom.errors import MissingExtraError, NotFoundError, UsageError
from stackroom.ingest import watching
from stackroom.progress import CancelToken
from stackroom.reports import Report
from support import WordEmbedder, write_files

pytest.importorskip("watchfiles")

SECONDS = 60
"""In which something must have been seen; what is there is there long before."""


class Follower:
    """An Index.watch in a thread, and what it tells."""

    def __init__(self, library: Path, folder: Path, **options: object) -> None:
        self.cancel = CancelToken()
        self.told: queue.Queue[Report | str | BaseException] = queue.Queue()
        self._index = stackroom.open(library, embedder=WordEmbedder())
        self._thread = threading.Thread(target=self._run, args=(folder, options))
        self._thread.start()

    def _run(self, folder: Path, options: dict[str, object]) -> None:
        try:
            self._index.watch(folder, told=self.told.put, quiet=0.1, cancel=self.cancel, **options)  # type: ignore[arg-type]
        except BaseException as error:
            self.told.put(error)

    def hears(self, fits: Callable[[Report], bool]) -> Report:
        """The next report that fits; empty ones may come before."""
        while True:
            said = self.told.get(timeout=SECONDS)
            assert isinstance(said, Report), said
            if fits(said):
                return said
            assert {said.added, said.updated, said.moved, said.removed, said.failed} == {0}, said

    def is_told(self, text: str) -> None:
        while not (isinstance(said := self.told.get(timeout=SECONDS), str) and text in said):
            assert not isinstance(said, BaseException), said

    def end(self) -> None:
        self.cancel.cancel()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        self._index.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path / "folder", {f"{n}.txt": f"text number {n}" for n in range(6)})
    return tmp_path / "folder"


@pytest.fixture
def follow(tmp_path: Path, folder: Path) -> Iterator[Callable[..., Follower]]:
    begun: list[Follower] = []

    def begin(library: Path = tmp_path / "library", **options: object) -> Follower:
        begun.append(Follower(library, folder, **options))
        assert begun[-1].hears(lambda report: report.added == 6)
        begun[-1].hears(lambda report: report.unchanged == 6)  # from here on the folder is watched
        return begun[-1]

    yield begin
    for one in begun:
        one.end()


def texts(library: Path) -> set[str]:
    with stackroom.open(library, mode="r") as index:
        return {passage.text for source in index.sources() for passage in index.get(source.id)}


def test_what_is_new_changed_and_moved_is_indexed(
    follow: Callable[..., Follower], folder: Path, tmp_path: Path
) -> None:
    follower = follow()
    write_files(folder, {"sub/new.txt": "something new"})
    follower.hears(lambda report: report.added == 1)
    (folder / "0.txt").write_text("changed now")
    follower.hears(lambda report: report.updated == 1)
    (folder / "1.txt").rename(folder / "sub" / "moved.txt")
    follower.hears(lambda report: report.moved == 1)
    # Without prune nothing is removed.
    (folder / "2.txt").unlink()
    (folder / "sub" / "another.txt").write_text("and another")
    follower.hears(lambda report: report.added == 1)
    assert texts(tmp_path / "library") == {
        "something new", "changed now", "text number 1", "text number 2", "text number 3", "text number 4",
        "text number 5", "and another",
    }  # fmt: skip


def test_with_prune_what_is_gone_is_removed_but_not_much_at_once(
    follow: Callable[..., Follower], folder: Path, tmp_path: Path
) -> None:
    follower = follow(prune=True)
    (folder / "0.txt").unlink()
    follower.hears(lambda report: report.removed == 1)
    assert "text number 0" not in texts(tmp_path / "library")
    for n in range(1, 5):
        (folder / f"{n}.txt").unlink()
    follower.is_told("4 of 5 sources are gone from disk at once")
    assert "text number 1" in texts(tmp_path / "library")
    # It goes on.
    (folder / "later.txt").write_text("and later")
    while "and later" not in texts(tmp_path / "library"):
        follower.told.get(timeout=SECONDS)


def test_a_folder_that_is_gone_is_waited_for(follow: Callable[..., Follower], folder: Path, tmp_path: Path) -> None:
    follower = follow(prune=True)
    folder.rename(tmp_path / "elsewhere")
    follower.is_told("is gone; it is waited for")
    assert len(texts(tmp_path / "library")) == 6
    (tmp_path / "elsewhere" / "meanwhile.txt").write_text("meanwhile")
    (tmp_path / "elsewhere").rename(folder)
    follower.hears(lambda report: report.added == 1)


def test_another_ingest_is_waited_for(follow: Callable[..., Follower], folder: Path, tmp_path: Path) -> None:
    follower = follow()
    with stackroom.open(tmp_path / "library") as other, other.backend.lease("something long"):
        (folder / "new.txt").write_text("new")
        follower.is_told("It is waited for")
    follower.hears(lambda report: report.added == 1)


def test_the_library_itself_and_hidden_files_are_no_changes(
    follow: Callable[..., Follower], folder: Path, tmp_path: Path
) -> None:
    """Else a library within the folder would make itself look again without an end."""
    ours = (os.path.join(os.path.realpath(folder / "library"), ""),)
    for name in (
        "library/catalogue.db",
        "library",
        ".git/index",
        ".hidden.txt",
        "sub/node_modules/a.txt",
        "a.txt~",
        "~$a.docx",
    ):
        assert not watching._matters(str(folder / name), [folder], ours), name
    for name in ("a.txt", "sub/a.txt", "library.txt", ".stackroomignore", "sub"):
        assert watching._matters(str(folder / name), [folder], ours), name
    follower = follow(library=folder / "library")
    (folder / "new.txt").write_text("new")
    follower.hears(lambda report: report.added == 1)
    # What that run wrote into the folder is followed by nothing.
    (folder / "newer.txt").write_text("newer")
    said = follower.told.get(timeout=SECONDS)
    assert isinstance(said, Report)
    assert said.added == 1


def test_what_is_no_folder_is_refused(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stackroom.open(tmp_path / "library", embedder=WordEmbedder()) as index:
        with pytest.raises(UsageError, match="is no folder"):
            index.watch(folder / "0.txt")
        with pytest.raises(NotFoundError):
            index.watch(tmp_path / "nowhere")
        monkeypatch.setitem(sys.modules, "watchfiles", None)
        with pytest.raises(MissingExtraError) as told:
            index.watch(folder)
        assert "stackroom[watch]" in (told.value.hint or "")


def test_the_command_follows_until_it_is_interrupted(tmp_path: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "stackroom", "--library", str(tmp_path / "library"), "add", "--watch", str(folder)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    try:
        said = iter(running.stderr)
        assert any("6 added" in line for line in said)
        assert any("Ctrl-C ends it" in line for line in said)
        (folder / "new.txt").write_text("something new")
        assert any("1 added" in line for line in said)
        running.send_signal(signal.SIGINT)
        assert running.wait(SECONDS) == 0
    finally:
        running.kill()
        running.wait()
        running.stderr.close()
