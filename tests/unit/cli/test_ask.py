"""`stackroom ask` and `stackroom chat`, with a real server on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chat_support import BREAK, PASSAGES, STALL, chat_server
from stackroom.chat import models
from stackroom.cli.main import cli, main
from support import write_files

ASKED = "Who built the Lighthouse of Pharos?"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_HOST", "STACKROOM_CHAT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(models, "_models", lambda program, place: [])
    write_files(tmp_path / "files", {name: "\n\n".join(texts) for name, texts in PASSAGES.items()})
    done = run(tmp_path / "library", "add", str(tmp_path / "files"))
    assert done.exit_code == 0, done.output
    return tmp_path / "library"


def run(folder: Path, *words: str, given: str = "") -> Result:
    return CliRunner().invoke(cli, ["--library", str(folder), *words], input=given)


def test_an_answer_ends_with_what_it_cites(folder: Path) -> None:
    with chat_server(["Sostratus of ", 'Cnidus [1]. It "was painted in blue" [1][9].']) as server:
        done = run(folder, "ask", *ASKED.split(), "--model", server.name)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Sostratus of Cnidus [1].")
    assert "[1] lighthouse" in done.stdout
    assert str(folder.parent / "files" / "lighthouse.txt") in done.stdout
    assert "no passage has the number 9" in done.stderr
    assert "not in what is cited: 'was painted in blue'" in done.stderr


def test_without_a_model_the_passages_are_quoted(folder: Path) -> None:
    done = run(folder, "ask", ASKED)
    assert done.exit_code == 0, done.output
    assert "Sostratus of Cnidus" in done.stdout
    assert "No model answers" in done.stderr


def test_json_is_the_whole_answer(folder: Path) -> None:
    with chat_server(["Sostratus [1]."]) as server:
        done = run(folder, "--json", "ask", ASKED, "--model", server.name)
    told = json.loads(done.stdout)
    assert told["answer"] == "Sostratus [1]."
    assert told["outcome"] == "answered"
    assert told["citations"][0]["exists"] is True
    assert told["passages"][0]["document"]["path"].endswith("lighthouse.txt")


def test_what_is_not_there_is_said(folder: Path) -> None:
    with chat_server(["NOT IN THE DOCUMENTS"]) as server:
        done = run(folder, "ask", "Who painted the tower of Pharos?", "--model", server.name)
    assert done.exit_code == 0
    assert done.stdout.startswith("Not in your documents. The nearest passages:")


def test_a_model_that_is_away_is_exit_code_7(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--library", str(folder), "ask", ASKED, "--model", "openai:small@http://127.0.0.1:9/v1"])
    assert ended.value.code == 7
    assert "does not answer" in capsys.readouterr().err


def test_no_control_character_of_a_model_reaches_the_terminal(folder: Path) -> None:
    with chat_server(["Sos\x1b[31mtratus [1]."]) as server:
        done = run(folder, "ask", ASKED, "--model", server.name)
    assert "\x1b" not in done.stdout


def test_a_conversation_in_the_terminal(folder: Path) -> None:
    lines = f"{ASKED}\nAnd where is it?\n/sources\n/new\n/model\n/model nonsense\n/what\n{ASKED}\n/quit\nnever asked\n"
    with chat_server(["Sostratus [1]."], [ASKED], ["On Pharos [1]."], ["Him [1]."]) as server:
        done = run(folder, "chat", "--model", server.name, given=lines)
        assert len(server.asked) == 4, "a follow-up is rewritten first; after /new a question stands by itself"
    assert done.exit_code == 0, done.output
    assert "On Pharos [1]." in done.stdout
    assert "There is no chat model called 'nonsense'" in done.stderr
    listed = json.loads(run(folder, "--json", "chat", "--list").stdout)["conversations"]
    assert sorted(one["turns"] for one in listed) == [1, 2]
    assert run(folder, "chat", "--delete", listed[0]["id"]).exit_code == 0
    assert len(json.loads(run(folder, "--json", "chat", "--list").stdout)["conversations"]) == 1


def test_a_conversation_can_go_on_or_be_forgotten(folder: Path) -> None:
    with chat_server(["Sostratus [1]."], [ASKED], ["On Pharos [1]."]) as server:
        run(folder, "chat", "--model", server.name, given=f"{ASKED}\n")
        (kept,) = json.loads(run(folder, "--json", "chat", "--list").stdout)["conversations"]
        done = run(folder, "chat", "--go-on", kept["id"], "--model", server.name, given="And where?\n")
        assert "On Pharos" in done.stdout
        assert len(server.asked) == 3
        run(folder, "chat", "--forget", "--model", server.name, given="And where?\n")
    (kept,) = json.loads(run(folder, "--json", "chat", "--list").stdout)["conversations"]
    assert kept["turns"] == 2


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stackroom", "--library", str(folder), *words]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a signal")
def test_ctrl_c_ends_an_answer_and_the_server_is_told(folder: Path) -> None:
    with chat_server(["Sostratus ", STALL]) as server:
        with started(folder, "ask", ASKED, "--model", server.name) as process:
            assert process.stdout is not None
            assert process.stdout.read(9) == "Sostratus"
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
        assert server.left.wait(60)
    assert process.returncode == 130
    assert "Stopped." in told
    assert "Traceback" not in told


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a signal")
def test_ctrl_c_in_a_conversation_ends_the_answer_and_not_the_conversation(folder: Path) -> None:
    script = ["Sostratus ", STALL], [ASKED], ["On Pharos [1]."]
    with chat_server(*script) as server, started(folder, "chat", "--model", server.name) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{ASKED}\n")
        process.stdin.flush()
        assert process.stdout.read(9) == "Sostratus"
        process.send_signal(signal.SIGINT)
        said, told = process.communicate("And where is it?\n/quit\n", timeout=60)
    assert process.returncode == 0, told
    assert "Stopped." in told
    assert "On Pharos [1]." in said
    (kept,) = json.loads(run(folder, "--json", "chat", "--list").stdout)["conversations"]
    assert kept["turns"] == 2, "what was said before the stop is kept"


def test_a_server_that_breaks_off_is_an_error_after_what_it_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with chat_server(["Sostratus ", BREAK]) as server, pytest.raises(SystemExit) as ended:
        main(["--library", str(folder), "ask", ASKED, "--model", server.name])
    assert ended.value.code == 7
    said, told = capsys.readouterr()
    assert said.startswith("Sostratus")
    assert "broke off" in told
    assert "committed" not in told, "an answer commits nothing"
