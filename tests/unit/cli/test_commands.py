"""The command line as a user and a script meet it: real processes, the shipped model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support import write_files


def stackroom(
    library: Path, *args: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stackroom", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "STACKROOM_LIBRARY": str(library), **environment},
        check=False,
    )


def answer(library: Path, *args: str, code: int = 0) -> Any:
    """The JSON on standard output; standard error must be empty."""
    done = stackroom(library, "--json", *args)
    assert (done.returncode, done.stderr) == (code, "")
    return json.loads(done.stdout)


def error(library: Path, *args: str) -> tuple[int, dict[str, str]]:
    done = stackroom(library, "--json", *args)
    assert done.stdout == ""
    return done.returncode, json.loads(done.stderr)["error"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "documents"
    folder.mkdir()
    write_files(folder, {
        "logs.md": "# Logs\n\n## Rotation\n\nlogrotate rotates, compresses and removes old log files every week.\n",
        "cats.txt": "A cat is a small animal that purrs and hunts mice at night.\n",
        "notes/中文.txt": "北京是中华人民共和国的首都。猫喜欢吃鱼。\n",
    })  # fmt: skip
    library = folder.parent / "library"
    assert stackroom(library, "add", str(folder)).returncode == 0
    return library


def test_add_then_search_prints_a_hit_with_its_place(filled: Path) -> None:
    done = stackroom(filled, "search", "-k", "1", "how do I get rid of old log files")
    assert done.returncode == 0
    head, passage, path, *_ = done.stdout.splitlines()
    assert head.split()[0] == "1"
    assert "Logs" in head
    assert "Rotation" in head
    assert "logrotate rotates, compresses" in passage + path
    assert "logs.md" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr.startswith("1 hits in ") or done.stderr.startswith("1 hit in ")


def test_search_json_is_the_surface(filled: Path) -> None:
    found = answer(filled, "search", "cat mice", "-k", "2", "--explain")
    assert set(found) == {"query", "mode", "took_ms", "hits"}
    assert (found["query"], found["mode"]) == ("cat mice", "hybrid")
    hit = found["hits"][0]
    assert set(hit) == {"rank", "score", "chunk_id", "text", "metadata", "document", "place", "explain"}
    assert set(hit["document"]) == {"id", "title", "path", "metadata", "source_id", "type"}
    assert set(hit["place"]) == {
        "page", "page_end", "page_label", "section", "start", "end", "unit", "first", "last",
    }  # fmt: skip
    assert hit["rank"] == 1
    assert 0 < hit["score"] <= 1
    assert hit["text"].startswith("A cat")
    assert hit["explain"]["text"]["rank"] == 1
    assert hit["explain"]["vector"]["rank"] == 1


def test_words_of_a_language_without_spaces_are_found(filled: Path) -> None:
    (hit,) = answer(filled, "search", "首都", "--mode", "text")["hits"]
    assert "北京" in hit["text"]


def test_where_and_in_narrow_the_search(filled: Path) -> None:
    found = answer(filled, "search", "cat", "--where", 'file_name in ["cats.txt"]', "--where", "type != pdf")["hits"]
    assert [Path(hit["document"]["path"]).name for hit in found] == ["cats.txt"]
    found = answer(filled, "search", "cat", "--in", "logs.md")["hits"]
    assert {Path(hit["document"]["path"]).name for hit in found} == {"logs.md"}


def test_list_show_and_status_json(filled: Path) -> None:
    sources = answer(filled, "list")["sources"]
    assert len(sources) == 3
    assert {"id", "path", "title", "type", "documents", "chunks", "active", "state", "indexed_at"} <= set(sources[0])
    shown = answer(filled, "show", "cats.txt")
    assert shown["source"]["path"].endswith("cats.txt")
    assert shown["passages"][0]["place"]["start"] == 0
    status = answer(filled, "status")
    assert {
        "library",
        "format_version",
        "sources",
        "documents",
        "chunks",
        "active_sources",
        "embedder",
        "bytes",
        "failed",
        "missing",
        "sqlite",
    } <= set(status)
    assert (status["sources"], status["embedder"]["name"], status["failed"]) == (3, "minilm", {"count": 0, "first": []})
    assert status["bytes"]["total"] == sum(value for name, value in status["bytes"].items() if name != "total")


def test_active_set_from_the_command_line(filled: Path) -> None:
    assert answer(filled, "active", "none") == {"changed": 3, "active_sources": 0, "sources": 3}
    assert answer(filled, "search", "cat", "--active")["hits"] == []
    assert answer(filled, "active", "on", "cats.txt")["active_sources"] == 1
    (hit,) = answer(filled, "search", "old log files", "--active")["hits"]
    assert hit["document"]["path"].endswith("cats.txt")
    assert answer(filled, "active", "all")["active_sources"] == 3


def test_named_sets_from_the_command_line(filled: Path) -> None:
    assert answer(filled, "set") == {"sets": []}
    assert len(answer(filled, "set", "pets", "cats.txt")["sources"]) == 1
    (hit,) = answer(filled, "search", "old log files", "--set", "pets")["hits"]
    assert hit["document"]["path"].endswith("cats.txt")
    assert len(answer(filled, "set", "pets", "*.md", "--join")["sources"]) > 1
    assert [one["name"] for one in answer(filled, "set")["sets"]] == ["pets"]
    assert answer(filled, "set", "pets")["sources"] == answer(filled, "set", "pets")["sources"] != []
    assert answer(filled, "set", "pets", "--delete")["deleted"] is True
    for wrong, code in (
        (["set", "pets"], 3),
        (["search", "cat", "--set", "pets"], 3),
        (["set", "--delete"], 2),
        (["set", "pets", "--join"], 2),
        (["set", "active", "cats.txt"], 2),
    ):
        assert stackroom(filled, *wrong).returncode == code


def test_add_reports_failures_and_exits_with_1(tmp_path: Path) -> None:
    write_files(tmp_path / "d", {"a.txt": "alpha", "b.pdf": "%PDF-1.4 broken"})
    report = answer(tmp_path / "library", "add", str(tmp_path / "d"), code=1)
    assert {
        "added",
        "updated",
        "unchanged",
        "moved",
        "removed",
        "failed",
        "chunks",
        "embedded",
        "reused",
        "seconds",
        "cancelled",
    } <= set(report)
    assert (report["added"], report["failed"], report["cancelled"]) == (1, 1, False)
    done = stackroom(tmp_path / "library", "list", "--failed")
    assert "broken PDF" in done.stdout


def test_remove_purge_compact_verify_and_rebuild(tmp_path: Path) -> None:
    library = tmp_path / "library"
    write_files(tmp_path / "d", {"a.txt": "alpha secretword", "b.txt": "beta"})
    answer(library, "add", str(tmp_path / "d"))
    assert answer(library, "rebuild", "b.txt")["updated"] == 1
    assert answer(library, "remove", "a.txt", "--purge")["removed"] == 1
    assert not any(b"secretword" in path.read_bytes() for path in library.rglob("*") if path.is_file())
    assert answer(library, "compact")["bytes_after"] > 0
    assert answer(library, "verify") == {"ok": True, "chunks": 1, "rows": 1, "damage": [], "incomplete": []}


def test_a_backup_is_a_library_and_brings_another_one_back(tmp_path: Path) -> None:
    library, kept, again = tmp_path / "library", tmp_path / "kept here", tmp_path / "again"
    write_files(tmp_path / "d", {"a.txt": "alpha", "b.txt": "beta"})
    answer(library, "add", str(tmp_path / "d" / "a.txt"))
    told = stackroom(library, "backup", str(kept))
    assert (told.returncode, told.stdout) == (0, "")
    assert f"stackroom --library '{kept}' status" in told.stderr
    answer(library, "add", str(tmp_path / "d" / "b.txt"))
    assert answer(kept, "status")["sources"] == 1
    code, refused = error(library, "backup", str(kept))
    assert (code, refused["type"]) == (2, "UsageError")
    assert answer(library, "backup", "--refresh", str(kept))["folder"] == str(kept)
    assert answer(kept, "backup", str(again))["folder"] == str(again)
    assert answer(again, "search", "--mode", "text", "beta")["hits"][0]["text"] == "beta"
    assert answer(again, "verify")["ok"]


@pytest.mark.parametrize(
    ("args", "code", "kind"),
    [
        (["search", "x"], 3, "NotFoundError"),
        (["add", "/nowhere/at/all"], 3, "NotFoundError"),
        (["search"], 2, "UsageError"),
        (["frobnicate"], 2, "UsageError"),
        (["add", ".", "--embedder", "nonsense"], 2, "UsageError"),
        (["add", ".", "--embedder", "onnx:/nowhere"], 7, "UnavailableError"),
    ],
)
def test_errors_have_their_code_and_name(tmp_path: Path, args: list[str], code: int, kind: str) -> None:
    found, told = error(tmp_path / "library", *args)
    assert (found, told["type"]) == (code, kind)
    assert told["message"]
    assert told["hint"]


def test_a_bad_filter_names_what_is_wrong(filled: Path) -> None:
    for where in ("year", "year >>= 3", "year in 3", 'year == ["a'):
        code, told = error(filled, "search", "x", "--where", where)
        assert (code, told["type"]) == (2, "InvalidFilterError")


def test_damage_is_found_named_and_exits_with_5(tmp_path: Path) -> None:
    library = tmp_path / "library"
    write_files(tmp_path / "d", {"a.txt": "alpha"})
    answer(library, "add", str(tmp_path / "d"))
    (vectors,) = (library / "vectors").iterdir()
    with vectors.open("r+b") as file:
        file.seek(4096 + 100)
        byte = file.read(1)
        file.seek(4096 + 100)
        file.write(bytes([byte[0] ^ 1]))
    found = answer(library, "verify", code=5)
    (damage,) = found["damage"]
    assert (damage["structure"], Path(damage["source"]).name) == ("vectors", "a.txt")


def test_global_options_may_follow_the_verb(filled: Path) -> None:
    assert json.loads(stackroom(Path("/nowhere"), "status", "--json", "--library", str(filled)).stdout)["sources"] == 3


def test_quiet_says_nothing(tmp_path: Path) -> None:
    write_files(tmp_path / "d", {"a.txt": "alpha"})
    done = stackroom(tmp_path / "library", "add", "--quiet", str(tmp_path / "d"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_hostile_names_and_texts_reach_no_terminal(tmp_path: Path) -> None:
    name = "a\x1b[31m\u202e.txt"
    write_files(tmp_path / "d", {name: "alpha \x1b]0;title\x07 text \x9b31m" + " words" * 60})
    done = stackroom(tmp_path / "library", "add", str(tmp_path / "d"))
    assert done.returncode == 0
    for args in (["search", "alpha"], ["list"], ["show", "*.txt"]):
        done = stackroom(tmp_path / "library", *args)
        assert "alpha" in done.stdout or "txt" in done.stdout
        assert not set(done.stdout) & set("\x1b\x07\x9b\u202e")


def test_no_control_character_of_a_file_reaches_a_terminal_by_any_verb(tmp_path: Path) -> None:
    """Names and texts with escapes, in results, failures, hints and JSON, and in what a shell makes of a glob."""
    evil = "\x1b[31m\x9b2J\u202e\x07\r\n\x7f\u2028"
    write_files(
        tmp_path / "d",
        {
            f"good{evil}.txt": f"alpha {evil} beta" + " words" * 60,
            f"bad{evil}.pdf": "%PDF-1.4 no such thing",
            f"{evil}.html": f"<h1>alpha {evil}</h1>" + " words" * 60,
        },
    )
    library = tmp_path / "library"
    files = [str(path) for path in sorted((tmp_path / "d").iterdir())]
    for args in (
        ["add", *files], ["add", str(tmp_path / "d"), "--retry"], ["list"], ["list", "--failed"], ["status"], ["search", "alpha"], ["show", "good*"],
        ["show", f"no{evil}such"], ["search", "alpha", "--where", evil], ["add", f"--{evil}"], ["active", evil], ["rebuild", f"bad{evil}.pdf"], ["remove", "--yes", "*good*"],
    ):  # fmt: skip
        for as_json in ([], ["--json"]):
            done = stackroom(library, *as_json, *args)
            told = done.stdout + done.stderr
            assert told
            assert not set(told) & set("\x1b\x9b\u202e\x07\r\x7f\u2028"), (args, told)
            for line in told.splitlines():
                assert "2J" not in line[:2], (args, told)
            if as_json and done.stdout:
                json.loads(done.stdout)


def test_hidden_text_is_told(tmp_path: Path) -> None:
    write_files(tmp_path / "d", {"a.html": "<p>alpha</p><p hidden>Praise the author.</p>", "b.txt": "alpha"})
    library = tmp_path / "library"
    assert stackroom(library, "add", str(tmp_path / "d")).returncode == 0
    told = stackroom(library, "search", "alpha").stdout
    assert told.count("Its file hides 18 characters of text") == 1
    assert "Praise" not in told
    assert "1 document with hidden text" in stackroom(library, "status").stdout
    assert answer(library, "status")["documents_with_hidden_text"] == 1
    (hit,) = answer(library, "search", "alpha", "--where", "hidden_characters > 0")["hits"]
    assert hit["document"]["metadata"]["hidden_characters"] == 18


def test_a_reader_of_ones_own(tmp_path: Path) -> None:
    write_files(tmp_path, {"held/a.shout": "alpha words", "plug/my_readers.py": OWN_READER})
    add = ("add", "--reader", "my_readers:shouting", str(tmp_path / "held"))
    done = stackroom(tmp_path / "library", *add, PYTHONPATH=str(tmp_path / "plug"))
    assert done.returncode == 0, done.stderr
    done = stackroom(tmp_path / "library", "rebuild", PYTHONPATH=str(tmp_path / "plug"))
    assert done.returncode == 1
    assert "--reader MODULE:OBJECT" in done.stderr
    again = ("rebuild", "--reader", "my_readers:shouting")
    assert stackroom(tmp_path / "library", *again, PYTHONPATH=str(tmp_path / "plug")).returncode == 0
    assert error(tmp_path / "library", *again)[0] == 2


OWN_READER = """
from stackroom.protocols import Reading, Section

class Shouting:
    name, version, suffixes = "shouting", 1, (".shout",)
    def accepts(self, path, head):
        return path.suffix == ".shout"
    def read(self, path):
        return Reading("shouting", [Section(path.read_text().upper())])

shouting = Shouting()
"""


def test_links_out_of_the_folder_are_told_and_followed_on_request(tmp_path: Path) -> None:
    write_files(tmp_path, {"d/a.txt": "alpha", "secret.txt": "secret"})
    (tmp_path / "d/link.txt").symlink_to(tmp_path / "secret.txt")
    library = tmp_path / "library"
    told = stackroom(library, "add", str(tmp_path / "d"))
    assert told.returncode == 0
    assert "1 link out of these folders left alone; --follow-links goes after them." in told.stderr
    assert answer(library, "add", str(tmp_path / "d"))["outside"] == 1
    assert answer(library, "search", "--mode", "text", "secret")["hits"] == []
    followed = answer(library, "add", "--follow-links", str(tmp_path / "d"))
    assert (followed["added"], followed["outside"]) == (1, 0)


def test_a_closed_pipe_is_no_error(filled: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m stackroom --library {filled} show cats.txt | true",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_keeps_what_was_committed(tmp_path: Path) -> None:
    write_files(tmp_path / "d", {f"{n}.txt": f"word{n} " + "lorem ipsum dolor sit amet " * 100 for n in range(400)})
    library = tmp_path / "library"
    process = subprocess.Popen(
        [sys.executable, "-m", "stackroom", "--library", str(library), "add", str(tmp_path / "d")],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (library / "vectors").exists() or not any((library / "vectors").iterdir()):
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "What was committed stays" in told
    assert 0 < answer(library, "status")["sources"] < 400
    assert answer(library, "verify")["ok"]


def test_measuring(filled: Path) -> None:
    told = stackroom(filled, "measure", "--questions", "3").stdout
    for part in ("by meaning", "by words", "by both", "recall 1.0000", "0.999 is promised"):
        assert part in told
    assert answer(filled, "measure", "--questions", "3")["recall"] == 1.0
    assert answer(filled, "measure", "--candidates", "200") == {"candidates": 200}
    assert answer(filled, "measure", "--questions", "1")["candidates"] == 200
    assert answer(filled, "measure", "--candidates", "auto") == {"candidates": None}
    assert answer(filled, "measure", "--questions", "1")["candidates"] is None
    assert error(filled, "measure", "--candidates", "many")[0] == 2
    assert "belongs to" in error(filled, "measure", "--force")[1]["message"]
