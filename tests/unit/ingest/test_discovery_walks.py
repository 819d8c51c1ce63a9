"""Walks in detail: patterns, links, things given twice, globs, closed doors, and folders that are left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from stackroom.errors import NotFoundError
from stackroom.ingest.discovery import IGNORE_FILE, Discovery
from stackroom.ingest.readers import SUFFIXES
from support import write_files


def names(folder: Path, paths: Iterable[str | Path] = (), **options: Any) -> list[str]:
    """What a walk of the folder, or of these paths, finds, relative to the folder."""
    walk = Discovery(list(paths) or [folder], **options)
    return [os.path.relpath(found.path, folder) for found in walk]


def empty(folder: Path, *files: str) -> None:
    write_files(folder, dict.fromkeys(files, ""))


def test_files_come_in_order_and_with_their_facts(folder: Path) -> None:
    write_files(folder, {"b.txt": "12345", "a.md": "", "sub/z.txt": "", "sub/deep/y.txt": "", "c/x.txt": ""})
    assert names(folder) == ["a.md", "b.txt", "c/x.txt", "sub/z.txt", "sub/deep/y.txt"]
    found = {item.path.name: item for item in Discovery([folder])}
    status = (folder / "b.txt").stat()
    assert (found["b.txt"].size, found["b.txt"].mtime_ns) == (5, status.st_mtime_ns)
    assert all(item.path.is_absolute() for item in found.values())


def test_only_what_a_reader_knows_is_picked_up_and_the_rest_counted(folder: Path) -> None:
    known = [f"known{suffix}" for suffix in sorted(SUFFIXES)]
    empty(folder, *known, "LOUD.TXT", "picture.png", "other.png", "Makefile", "a.tar.gz")
    walk = Discovery([folder])
    assert sorted(item.path.name for item in walk) == sorted([*known, "LOUD.TXT"])
    assert walk.skipped == Counter({".png": 2, "": 1, ".gz": 1})


def test_names_that_are_texts_by_custom_need_no_suffix(folder: Path) -> None:
    known = ["README", "copyright", "Notes", "TODO", "NEWS", "sub/LICENSE"]
    empty(folder, *known, "README.gz", "Makefile", "READMEs")
    walk = Discovery([folder])
    assert sorted(os.path.relpath(item.path, folder) for item in walk) == sorted(known)
    assert walk.skipped == Counter({"": 2, ".gz": 1})
    assert not walk.passes_over(str(folder / "README"))
    assert walk.passes_over(str(folder / "Makefile"))


def test_a_file_that_is_named_is_taken_whatever_it_is_called(folder: Path) -> None:
    empty(folder, "Makefile", ".hidden", "x.tmp")
    (folder / IGNORE_FILE).write_text("*\n")
    paths = [folder / name for name in ("Makefile", ".hidden", "x.tmp")]
    assert names(folder, paths) == ["Makefile", ".hidden", "x.tmp"]
    assert names(folder, paths, ignore=["*.tmp"]) == ["Makefile", ".hidden"]


def test_a_hidden_or_junk_folder_that_is_named_is_walked(folder: Path) -> None:
    empty(folder, ".notes/a.txt", "node_modules/b.txt")
    assert names(folder) == []
    assert names(folder, [folder / ".notes", folder / "node_modules"]) == [".notes/a.txt", "node_modules/b.txt"]


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.txt", ".git/a.txt", "node_modules/a.txt", "sub/__pycache__/a.txt", "__MACOSX/a.txt", "venv/a.txt",
        "x/site-packages/a.txt", "~$letter.docx", "half.txt~", "half.tmp", "half.part", "half.crdownload", "sub/.deep/b/a.txt",
    ],
)  # fmt: skip
def test_hidden_files_and_junk_are_passed_over(folder: Path, name: str) -> None:
    empty(folder, name, "kept.txt")
    walk = Discovery([folder])
    assert [item.path.name for item in walk] == ["kept.txt"]
    assert not walk.skipped
    assert not walk.unreadable


def test_junk_folders_names_are_no_junk_for_files(folder: Path) -> None:
    empty(folder, "venv.txt", "my node_modules/a.txt")
    assert names(folder) == ["venv.txt", "my node_modules/a.txt"]


# Patterns

TREE = ("top.txt", "notes.log", "drafts/d.txt", "drafts/deep/e.txt", "sub/top.txt", "sub/drafts/z.txt", "sub/a [1].txt")


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("*.log", {"notes.log"}),
        ("drafts/", {"drafts/d.txt", "drafts/deep/e.txt", "sub/drafts/z.txt"}),
        ("drafts", {"drafts/d.txt", "drafts/deep/e.txt", "sub/drafts/z.txt"}),
        ("/drafts", {"drafts/d.txt", "drafts/deep/e.txt"}),
        ("/drafts/", {"drafts/d.txt", "drafts/deep/e.txt"}),
        ("top.txt", {"top.txt", "sub/top.txt"}),
        ("/top.txt", {"top.txt"}),
        ("top.txt/", set()),
        ("sub/t*", {"sub/top.txt"}),
        ("sub/drafts/", {"sub/drafts/z.txt"}),
        ("deep", {"drafts/deep/e.txt"}),
        ("?.txt", {"drafts/d.txt", "drafts/deep/e.txt", "sub/drafts/z.txt"}),
        ("[dz].txt", {"drafts/d.txt", "sub/drafts/z.txt"}),
        ("DRAFTS/", set()),
        ("raft", set()),
        ("", set()),
        ("/", set()),
        ("*", set(TREE)),
    ],
)
def test_patterns(folder: Path, pattern: str, gone: set[str]) -> None:
    """Given with the call, or written in the folder: they mean the same."""
    empty(folder, *TREE)
    kept = set(TREE) - gone
    assert set(names(folder, ignore=[pattern])) == kept
    (folder / IGNORE_FILE).write_text(pattern + "\n")
    assert set(names(folder)) == kept


def test_an_ignored_folder_is_not_even_entered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty(folder, "drafts/d.txt", "a.txt")
    closed(monkeypatch, folder / "drafts")
    walk = Discovery([folder], ignore=["drafts/"])
    assert [item.path.name for item in walk] == ["a.txt"]
    assert walk.unreadable == []


def test_an_ignore_file_rules_its_folder_and_below_only(folder: Path) -> None:
    empty(folder, "secret.txt", "sub/secret.txt", "sub/below/secret.txt", "sub/open.txt", "other/secret.txt")
    (folder / "sub" / IGNORE_FILE).write_text("secret*\n")
    assert names(folder) == ["secret.txt", "other/secret.txt", "sub/open.txt"]


def test_an_ignore_files_patterns_begin_at_its_own_folder(folder: Path) -> None:
    empty(folder, "sub/a.txt", "sub/deep/a.txt", "a.txt", "sub/deep/b.txt")
    (folder / "sub" / IGNORE_FILE).write_text("/a.txt\ndeep/b*\n")
    assert names(folder) == ["a.txt", "sub/deep/a.txt"]


def test_inner_rules_add_to_outer_ones(folder: Path) -> None:
    empty(folder, "sub/a.txt", "sub/b.txt", "sub/c.txt", "sub/d.txt")
    (folder / IGNORE_FILE).write_text("b.txt\n")
    (folder / "sub" / IGNORE_FILE).write_text("c.txt\n")
    assert names(folder, ignore=["d.txt"]) == ["sub/a.txt"]


def test_comments_and_blank_lines_mean_nothing(folder: Path) -> None:
    empty(folder, "a.txt", "b.txt", "#c.txt")
    (folder / IGNORE_FILE).write_bytes(b"# a.txt\r\n\r\n   \r\n  b.txt  \r\n#c.txt\r\n\xff\xfe broken\r\n")
    assert names(folder) == ["#c.txt", "a.txt"]


def test_an_ignore_file_that_is_a_folder_rules_nothing(folder: Path) -> None:
    empty(folder, "a.txt")
    (folder / IGNORE_FILE).mkdir()
    assert names(folder) == ["a.txt"]


def test_an_ignore_file_with_a_byte_order_mark(folder: Path) -> None:
    empty(folder, "a.txt", "secret.txt")
    (folder / IGNORE_FILE).write_text("secret.txt\n", encoding="utf-8-sig")
    assert names(folder) == ["a.txt"]


# Links


def test_links_that_go_round_are_walked_once(folder: Path) -> None:
    empty(folder, "a.txt", "sub/b.txt", "sub/deep/c.txt")
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "sub" / "deep" / "self").symlink_to(".")
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    walk = Discovery([folder])
    assert [os.path.relpath(item.path, folder) for item in walk] == ["a.txt", "sub/b.txt", "sub/deep/c.txt"]


def test_a_link_to_itself_that_looks_like_a_file_is_told(folder: Path) -> None:
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "nowhere.txt").symlink_to(folder / "missing")
    (folder / "endless.txt").symlink_to("n" * 300)
    walk = Discovery([folder])
    assert list(walk) == []
    assert sorted(Path(failure.path).name for failure in walk.unreadable) == [
        "endless.txt",
        "loop.txt",
        "nowhere.txt",
    ]
    assert all(failure.kind == "OSError" for failure in walk.unreadable)
    assert [failure.reason.partition(". ")[0] for failure in walk.unreadable] == [
        f"It is a link to {'n' * 300}, which can't be read: File name too long",
        "It is a link to loop.txt, which can't be read: Too many levels of symbolic links",
        f"It is a link to {folder / 'missing'}, which is not there",
    ]
    advice = "Mend it or delete it, or pass over it with --ignore nowhere.txt."
    assert walk.unreadable[-1].reason.endswith(advice)
    walk = Discovery([folder], ignore=["nowhere.txt", "loop.txt", "endless.txt"])
    assert (list(walk), walk.unreadable) == ([], [])


def test_a_link_to_a_folder_that_is_gone_is_told_and_other_links_are_not(folder: Path) -> None:
    """What is no document is left alone, whether it is there or not."""
    (folder / "archive 2020").symlink_to(folder / "missing")
    (folder / "lib.so").symlink_to(folder / "missing")
    (folder / ".#lock").symlink_to("somebody@machine.1")
    walk = Discovery([folder])
    assert list(walk) == []
    (failure,) = walk.unreadable
    assert failure.path == str(folder / "archive 2020")
    assert failure.reason == (
        f"It is a link to {folder / 'missing'}, which is not there. "
        "Mend it or delete it, or pass over it with --ignore 'archive 2020'."
    )
    assert walk.skipped == {".so": 1}


def test_a_broken_link_that_is_named_is_told(folder: Path) -> None:
    (folder / "nowhere.txt").symlink_to(folder / "missing")
    walk = Discovery([folder / "nowhere.txt"])
    assert list(walk) == []
    assert [failure.path for failure in walk.unreadable] == [str(folder / "nowhere.txt")]


def test_a_linked_folder_is_entered_and_named_as_the_user_reaches_it(folder: Path, tmp_path: Path) -> None:
    empty(tmp_path / "elsewhere", "a.txt")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert [item.path for item in Discovery([folder], follow=True)] == [folder / "link" / "a.txt"]
    assert [item.path for item in Discovery([folder / "link"])] == [folder / "link" / "a.txt"]


def test_two_links_to_a_folder_are_one(folder: Path, tmp_path: Path) -> None:
    empty(tmp_path / "elsewhere", "a.txt")
    (folder / "one").symlink_to(tmp_path / "elsewhere")
    (folder / "two").symlink_to(tmp_path / "elsewhere")
    assert names(folder, follow=True) == ["one/a.txt"]


def test_a_link_to_a_file_is_a_file_unless_that_came_already(folder: Path, tmp_path: Path) -> None:
    empty(tmp_path, "elsewhere.txt")
    empty(folder, "a.txt")
    (folder / "again.txt").symlink_to(folder / "a.txt")
    (folder / "link.txt").symlink_to(tmp_path / "elsewhere.txt")
    (folder / "other.txt").symlink_to(tmp_path / "elsewhere.txt")
    assert names(folder, follow=True) == ["a.txt", "link.txt"]
    # What is named itself is meant, and what lies in another of the given folders is not outside.
    assert names(folder, [folder, tmp_path / "elsewhere.txt"]) == ["a.txt", "link.txt"]


def test_links_that_lead_out_of_the_given_folders_are_left_alone_and_counted(folder: Path, tmp_path: Path) -> None:
    empty(tmp_path / "elsewhere", "secret.txt", "sub/b.txt")
    empty(tmp_path / "documents of others", "c.txt")
    empty(folder, "a.txt", "sub/d.txt")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "file.txt").symlink_to(tmp_path / "elsewhere/secret.txt")
    (folder / "round.txt").symlink_to(f"../{folder.name}/../elsewhere/secret.txt")
    # A name that only begins alike.
    (folder / "others").symlink_to(tmp_path / "documents of others")
    (folder / "by link").symlink_to(folder / "link")
    (folder / "inside").symlink_to(folder / "sub")
    walk = Discovery([folder])
    assert [os.path.relpath(item.path, folder) for item in walk] == ["a.txt", "inside/d.txt"]
    assert (walk.outside, walk.unreadable) == (5, [])
    assert names(folder, [folder, tmp_path / "elsewhere"])[:3] == ["a.txt", "file.txt", "by link/sub/b.txt"]


def test_a_linked_root_is_the_tree_that_it_leads_to(folder: Path, tmp_path: Path) -> None:
    empty(tmp_path / "elsewhere", "a.txt", "sub/b.txt")
    (tmp_path / "elsewhere" / "inside.txt").symlink_to(tmp_path / "elsewhere" / "sub" / "b.txt")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert names(folder, [folder / "link"]) == ["link/a.txt", "link/inside.txt"]


def test_an_ignore_file_that_is_none_or_has_no_end_is_not_waited_for(folder: Path) -> None:
    empty(folder, "pipe/a.txt", "device/b.txt", "long/c.txt", "long/d.txt")
    os.mkfifo(folder / "pipe" / IGNORE_FILE)
    (folder / "device" / IGNORE_FILE).symlink_to("/dev/zero")
    (folder / "long" / IGNORE_FILE).write_text("c.txt\n" + "x" * 100_000 + "\nd.txt\n")
    assert names(folder) == ["device/b.txt", "long/d.txt", "pipe/a.txt"]


def test_devices_sockets_and_names_of_any_bytes(folder: Path) -> None:
    import socket

    odd = [
        "new\nline.txt",
        "escape\x1b[31m.txt",
        "bell\x07.txt",
        os.fsdecode(b"\xff\xfe.txt"),
        "n" * 251 + ".txt",
        "-rf.txt",
        " .txt",
    ]
    empty(folder, *odd)
    (folder / "zero.txt").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as held:
        here = os.getcwd()
        os.chdir(folder)
        try:
            held.bind("socket.txt")
        finally:
            os.chdir(here)
        assert sorted(names(folder, follow=True)) == sorted(odd)


# The same thing twice


def test_what_is_given_twice_is_found_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty(folder, "a.txt", "sub/b.txt")
    monkeypatch.chdir(folder)
    assert names(folder, ["a.txt", folder / "a.txt", "./sub/../a.txt", str(folder)]) == ["a.txt", "sub/b.txt"]
    assert names(folder, [folder / "sub", folder, folder]) == ["sub/b.txt", "a.txt"]
    assert names(folder, [folder, folder / "a.txt", folder / "sub"]) == ["a.txt", "sub/b.txt"]


def test_a_file_with_a_hard_link_given_twice_is_found_once(folder: Path, tmp_path: Path) -> None:
    empty(folder, "a.txt")
    os.link(folder / "a.txt", tmp_path / "backup.txt")
    assert names(folder, [folder, folder / "a.txt"]) == ["a.txt"]


# Globs and paths


def test_globs(folder: Path) -> None:
    empty(folder, "a.txt", "b.md", "sub/c.txt", "sub/deep/d.txt", "c.png")
    assert names(folder, [str(folder / "*.txt")]) == ["a.txt"]
    assert names(folder, [str(folder / "**/*.txt")]) == ["a.txt", "sub/c.txt", "sub/deep/d.txt"]
    assert names(folder, [str(folder / "s*")]) == ["sub/c.txt", "sub/deep/d.txt"]
    assert names(folder, [str(folder / "[ab].*")]) == ["a.txt", "b.md"]
    # The user asked for it; its reader will say that it can't be read.
    assert names(folder, [str(folder / "c.*")]) == ["c.png"]


def test_a_name_with_magic_in_it_is_that_file(folder: Path) -> None:
    empty(folder, "a[1].txt", "a1.txt", "what?.txt", "whatx.txt")
    assert names(folder, [folder / "a[1].txt"]) == ["a[1].txt"]
    assert names(folder, [folder / "what?.txt"]) == ["what?.txt"]


def test_paths_from_here_and_from_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty(folder, "sub/a.txt")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    for given in (".", "sub", "sub/a.txt", "~", "~/sub", "~/sub/*.txt", "s*"):
        assert [item.path for item in Discovery([given])] == [folder / "sub" / "a.txt"]


def test_the_roots_are_what_was_given(folder: Path) -> None:
    empty(folder, "a.txt", "b.txt", "sub/c.txt")
    walk = Discovery([folder / "sub", str(folder / "*.txt")])
    assert walk.roots == [folder / "sub", folder / "a.txt", folder / "b.txt"]


@pytest.mark.parametrize("name", ["missing", "missing.txt", "*.pdf", "**/*.pdf", "[x", "a\0b", "a.txt/b.txt"])
def test_a_path_that_is_not_there_is_told_before_the_walk(folder: Path, name: str) -> None:
    empty(folder, "a.txt")
    with pytest.raises(NotFoundError) as caught:
        Discovery([folder / "a.txt", str(folder / name)])
    assert caught.value.path == str(folder / name)
    assert str(folder / name) in caught.value.message
    assert caught.value.hint


def test_the_empty_path_is_not_there() -> None:
    with pytest.raises(NotFoundError):
        Discovery([""])


def test_odd_names(folder: Path) -> None:
    odd = ["with space.txt", "new\nline.txt", "名前.txt", os.fsdecode(b"\xff.txt"), "-rf.txt", "e\u0301.txt", "é.txt"]
    empty(folder, *odd)
    assert names(folder) == sorted(odd)


# What can't be entered or read


def closed(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """These folders can't be listed. The tests may run as root, to whom every door is open."""
    real: Callable[..., Any] = os.scandir

    def scandir(path: Any = ".") -> Any:
        if Path(os.fspath(path)) in folders:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_that_cant_be_entered_is_told_and_the_rest_is_walked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty(folder, "a.txt", "closed/b.txt", "open/c.txt")
    closed(monkeypatch, folder / "closed")
    walk = Discovery([folder])
    assert [item.path.name for item in walk] == ["a.txt", "c.txt"]
    (failure,) = walk.unreadable
    assert (failure.path, failure.kind) == (str(folder / "closed"), "OSError")
    assert "Permission denied" in failure.reason


def test_a_root_that_cant_be_entered_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed(monkeypatch, folder)
    walk = Discovery([folder])
    assert list(walk) == []
    assert [failure.path for failure in walk.unreadable] == [str(folder)]


def test_a_folder_that_fails_while_it_is_listed_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty(folder, "a.txt", "bad/b.txt", "bad/c.txt")
    real = os.scandir

    class Failing:
        def __init__(self, path: str) -> None:
            self.entries = real(path)

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            self.entries.close()

        def __iter__(self) -> Failing:
            return self

        def __next__(self) -> os.DirEntry[str]:
            next(self.entries)
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", lambda path: Failing(path) if Path(path).name == "bad" else real(path))
    walk = Discovery([folder])
    assert [item.path.name for item in walk] == ["a.txt"]
    assert [(failure.path, "Input/output" in failure.reason) for failure in walk.unreadable] == [
        (str(folder / "bad"), True)
    ]


def test_a_file_that_vanishes_during_the_walk_is_told(folder: Path) -> None:
    empty(folder, "a.txt", "b.txt", "c.txt")
    walk = Discovery([folder])
    found = []
    for item in walk:
        found.append(item.path.name)
        (folder / "b.txt").unlink(missing_ok=True)
    assert found == ["a.txt", "c.txt"]
    assert [Path(failure.path).name for failure in walk.unreadable] == ["b.txt"]


def test_a_folder_that_vanishes_during_the_walk_is_told(folder: Path) -> None:
    empty(folder, "a.txt", "sub/b.txt", "tail/c.txt")
    walk = Discovery([folder])
    found = []
    for item in walk:
        found.append(item.path.name)
        if (folder / "sub").exists():
            (folder / "sub" / "b.txt").unlink()
            (folder / "sub").rmdir()
    assert found == ["a.txt", "c.txt"]
    assert [failure.path for failure in walk.unreadable] == [str(folder / "sub")]


# Folders that are left out


def test_an_excluded_folder_is_not_entered_by_any_way(folder: Path) -> None:
    empty(folder, "a.txt", "library/b.txt", "library/deep/c.txt", "library2/d.txt")
    (folder / "link").symlink_to(folder / "library")
    assert names(folder, exclude=[folder / "library"]) == ["a.txt", "library2/d.txt"]
    assert names(folder, [folder / "library"], exclude=[folder / "library"]) == []
    assert names(folder, [folder / "link"], exclude=[folder / "library"]) == []


def test_an_excluded_link_excludes_what_it_leads_to(folder: Path) -> None:
    empty(folder, "a.txt", "library/b.txt")
    (folder / "link").symlink_to(folder / "library")
    assert names(folder, exclude=[folder / "link"]) == ["a.txt"]


def test_excluding_what_is_not_there_excludes_nothing(folder: Path) -> None:
    empty(folder, "a.txt")
    assert names(folder, exclude=[folder / "missing"]) == ["a.txt"]
