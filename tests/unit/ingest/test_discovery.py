"""Which files a walk finds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackroom.ingest.discovery import Discovery
from support import write_files


def names(*paths: Path | str, **options: Any) -> list[str]:
    return [found.path.name for found in Discovery(paths, **options)]


def test_in_order_and_each_once(folder: Path) -> None:
    write_files(folder, {"b.txt": "", "a/z.txt": "", "a/a.txt": "", "c.md": ""})
    assert names(folder) == ["b.txt", "c.md", "a.txt", "z.txt"]
    assert names(folder, folder, folder / "b.txt", folder / "a") == ["b.txt", "c.md", "a.txt", "z.txt"]


def test_globs_reach_down(folder: Path) -> None:
    write_files(folder, {"a.txt": "", "x/b.txt": "", "x/y/c.md": ""})
    assert names(str(folder / "**" / "*.txt")) == ["a.txt", "b.txt"]
    assert names(str(folder / "x" / "*")) == ["b.txt", "c.md"]


def test_a_named_file_is_taken_whatever_it_is_called(folder: Path) -> None:
    write_files(folder, {"Makefile": "text", ".hidden.txt": "text"})
    assert names(folder) == []
    assert names(folder / "Makefile", folder / ".hidden.txt") == ["Makefile", ".hidden.txt"]


def test_what_no_reader_knows_is_counted(folder: Path) -> None:
    write_files(folder, {"a.png": "", "b.png": "", "c.txt": ""})
    discovery = Discovery([folder])
    assert len(list(discovery)) == 1
    assert discovery.skipped == {".png": 2}


def test_hard_links_are_files_of_their_own(folder: Path) -> None:
    write_files(folder, {"a.txt": "text"})
    os.link(folder / "a.txt", folder / "b.txt")
    assert names(folder) == ["a.txt", "b.txt"]


def test_pipes_and_sockets_are_left_alone(folder: Path) -> None:
    os.mkfifo(folder / "a.txt")
    assert names(folder) == []
    assert names(folder / "a.txt") == []


def test_a_folder_that_cant_be_entered_is_told_and_the_rest_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated, since root may enter any folder."""
    write_files(folder, {"closed/a.txt": "", "open/b.txt": ""})
    scandir: Callable[..., Any] = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    discovery = Discovery([folder])
    assert [found.path.name for found in discovery] == ["b.txt"]
    (failure,) = discovery.unreadable
    assert failure.path == str(folder / "closed")
    assert "Permission denied" in failure.reason


def test_patterns(folder: Path) -> None:
    write_files(
        folder, {"a.log": "", "x/a.log": "", "x/keep.txt": "", "top/b.txt": "", "x/top/c.txt": "", "x/y/d.txt": ""}
    )
    assert names(folder, ignore=["*.log"]) == ["b.txt", "keep.txt", "c.txt", "d.txt"]
    assert names(folder, ignore=["/top", "*.log"]) == ["keep.txt", "c.txt", "d.txt"]
    assert names(folder, ignore=["x/y/", "*.log", "top/"]) == ["keep.txt"]
    assert names(folder, exclude=[folder / "x"]) == ["a.log", "b.txt"]


def test_a_very_deep_tree(folder: Path) -> None:
    deep = folder.joinpath(*["d"] * 400)
    deep.mkdir(parents=True)
    (deep / "a.txt").write_text("text")
    assert names(folder) == ["a.txt"]
