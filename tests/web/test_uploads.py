"""Files from the browser: where they land, and where they can't."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect

from stackroom.errors import DiskFullError, UsageError
from stackroom.web import uploads
from stackroom.web.library import Library
from stackroom.web.uploads import Uploads, safe_parts
from stackroom.web.workspace import Workspace
from web_support import OWN, Asker


def kept(asker: Asker) -> dict[str, bytes]:
    root = asker.workspace.uploads.folder
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_an_upload_lands_beside_the_library_and_is_added(asker: Asker, library: Path) -> None:
    told = asker.upload("notes/cats.txt", b"A cat purrs.")
    assert told == {"path": str(library) + "-documents/notes/cats.txt", "bytes": 12}
    assert asker.added(Path(told["path"]))["result"]["added"] == 1
    assert asker.search("purrs")[0]["document"]["path"] == told["path"]
    assert os.stat(asker.workspace.uploads.folder).st_mode & 0o777 == 0o700


def test_libraries_of_one_name_on_two_engines_have_a_folder_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    urls = [
        "milvus://one?library=papers",
        "milvus://two?library=papers",
        "qdrant://one?library=papers",
        "Milvus://ONE/?library=papers",
    ]
    folders = [Workspace(Library(url)).uploads.folder for url in urls]
    assert len(set(folders)) == 3
    assert folders[0] == folders[3]
    assert {folder.name.split("-")[0] for folder in folders} == {"papers"}


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("../../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("..\\..\\windows\\system.ini", "windows/system.ini"),
        ("C:\\Users\\me\\a.txt", "C_/Users/me/a.txt"),
        ("a/./b/../../../c.txt", "a/b/c.txt"),
        (".ssh/.bashrc", "ssh/bashrc"),
        ("....//....//x.txt", "x.txt"),
        ("a\x00b\n.txt", "a_b_.txt"),
        ("con.txt", "_con.txt"),
        ("a<b>:c|d?.txt", "a_b__c_d_.txt"),
        ("\u202etxt.exe", "_txt.exe"),
        ("%2e%2e/x.txt", "%2e%2e/x.txt"),
    ],
)
def test_no_name_leads_out_of_the_folder(asker: Asker, name: str, becomes: str) -> None:
    told = asker.upload(name, b"x")
    assert told["path"] == str(asker.workspace.uploads.folder / becomes)
    assert kept(asker) == {becomes: b"x"}


@pytest.mark.parametrize("name", ["", "/", "..", "../..", ".", "a/..", "a/", "a/" * 20 + "b", "\\"])
def test_what_is_no_name_is_refused(asker: Asker, name: str) -> None:
    asker.upload(name, b"x", 400)
    assert not asker.workspace.uploads.folder.exists()


def test_a_long_name_keeps_its_suffix() -> None:
    (part,) = safe_parts("é" * 300 + ".pdf")
    assert len(part.encode()) <= 180
    assert part.endswith(".pdf")


def test_nothing_is_written_through_a_link(asker: Asker, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    asker.upload("a.txt", b"x")
    (asker.workspace.uploads.folder / "link").symlink_to(outside)
    (asker.workspace.uploads.folder / "b.txt").symlink_to(outside / "b.txt")
    asker.upload("link/a.txt", b"x", 400)
    assert asker.upload("b.txt", b"new")["path"].endswith("b (2).txt")
    assert list(outside.iterdir()) == []


def test_another_file_of_the_same_name_stays(asker: Asker) -> None:
    for data in (b"one", b"two", b"one", b"two"):
        asker.upload("a.txt", data)
    assert kept(asker) == {"a.txt": b"one", "a (2).txt": b"two"}


def test_size_is_limited_whatever_the_request_says(asker: Asker) -> None:
    asker.workspace.uploads = Uploads(asker.workspace.uploads.folder, largest=1000)
    assert asker.upload("a.txt", b"x" * 1001, 413)["error"]["type"] == "TooMuchError"

    def without_a_length() -> object:
        yield from [b"x" * 400] * 3

    answer = asker.client.post("/api/upload?name=b.txt", content=without_a_length(), headers=OWN)  # type: ignore[arg-type]
    assert answer.status_code == 413
    asker.upload("c.txt", b"x" * 1000)
    assert kept(asker) == {"c.txt": b"x" * 1000}


def test_count_is_limited(asker: Asker) -> None:
    asker.workspace.uploads = Uploads(asker.workspace.uploads.folder, most=2)
    asker.upload("a.txt", b"a")
    asker.upload("b.txt", b"b")
    asker.upload("c.txt", b"c", 413)
    assert list(kept(asker)) == ["a.txt", "b.txt"]


def test_the_disk_is_not_filled(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_SPARE", 1 << 60)
    assert asker.upload("a.txt", b"a", 507)["error"]["type"] == DiskFullError.__name__
    assert kept(asker) == {}


async def test_a_connection_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    async def body() -> object:
        yield b"half"
        raise ClientDisconnect

    taker = Uploads(tmp_path / "kept")
    with pytest.raises(ClientDisconnect):
        await taker.take("a.txt", None, body())  # type: ignore[arg-type]
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_library_does_not_index_what_is_being_uploaded(asker: Asker) -> None:
    """The unfinished file's name is one that a walk leaves alone."""
    asker.upload("a.txt", b"A cat purrs.")
    (asker.workspace.uploads.folder / ".0123456789abcdef.part").write_bytes(b"half a text")
    assert asker.added(asker.workspace.uploads.folder)["result"]["added"] == 1


def test_parts_are_refused_where_nothing_is_left() -> None:
    with pytest.raises(UsageError):
        safe_parts("...")
