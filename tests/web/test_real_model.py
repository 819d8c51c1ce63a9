"""Answers of a real small language model, in the terminal and in Chromium. Run with `make test-chat`, which fetches what it needs.

The model has 135 million parameters: that it answers, piece by piece, and stops is tested; what it says is not.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import stackroom
from chat_support import PASSAGES
from model_server import NAME
from support import write_files

pytestmark = pytest.mark.chat

ASKED = "Who built the Lighthouse of Pharos?"
LONG = "Tell a story of a hundred sentences about the Lighthouse of Pharos, its tower, the earthquake and bread. Number them from 1 to 100."


@pytest.fixture(scope="session")
def model() -> Iterator[str]:
    """A model's name, behind a real server."""
    python, path = os.environ.get("CHAT_PYTHON"), os.environ.get("CHAT_MODEL")
    assert python, "Which Python has cyllama? CHAT_PYTHON names it."
    assert path, "Which model? CHAT_MODEL names a file."
    command = [python, str(Path(__file__).parents[1] / "model_server.py"), path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield f"openai:{NAME}@{process.stdout.readline().strip()}"
        process.terminate()


@pytest.fixture
def seen(model: str) -> Callable[[], dict[str, int]]:
    """What the server has counted so far."""
    address = model.partition("@")[2].removesuffix("/v1")

    def look() -> dict[str, int]:
        told: dict[str, int] = httpx.get(f"{address}/seen", timeout=60).json()
        return told

    return look


@pytest.fixture
def filled(library: Path, folder: Path) -> Path:
    write_files(folder, {name: "\n\n".join(texts) for name, texts in PASSAGES.items()})
    with stackroom.open(library) as index:
        index.add(folder)
    return library


def command(library: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "stackroom", "--library", str(library), *words]


def test_the_terminal_shows_an_answer_as_it_is_written(filled: Path, model: str) -> None:
    done = subprocess.run(
        command(filled, "ask", ASKED, "--model", model), capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) >= 3
    whole = subprocess.run(
        command(filled, "--json", "ask", ASKED, "--model", model), capture_output=True, text=True, check=True
    )
    told = json.loads(whole.stdout)
    assert told["outcome"] in ("answered", "uncited", "not_in_documents")
    assert told["passages"][0]["document"]["title"] == "lighthouse.txt"
    assert all(told["answer"][one["start"] : one["end"]].startswith("[") for one in told["citations"])
    assert all(1 <= one["number"] <= len(told["passages"]) for one in told["citations"] if one["exists"])


def test_a_conversation_goes_on_and_is_kept(filled: Path, model: str) -> None:
    lines = f"{ASKED}\nAnd what damaged it?\n/quit\n"
    done = subprocess.run(
        command(filled, "chat", "--model", model), input=lines, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(command(filled, "--json", "chat", "--list"), capture_output=True, text=True, check=True)
    (kept,) = json.loads(listed.stdout)["conversations"]
    assert (kept["title"], kept["turns"]) == (ASKED, 2)


def test_ctrl_c_stops_the_model_too(filled: Path, model: str, seen: Callable[[], dict[str, int]]) -> None:
    before = seen()
    with subprocess.Popen(
        command(filled, "ask", LONG, "--model", model), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped." in told
    # The next answer begins only when the one before has ended.
    subprocess.run(command(filled, "ask", ASKED, "--model", model), stdout=subprocess.DEVNULL, check=True)
    after = seen()
    assert (after["left"], after["answers"]) == (before["left"] + 1, before["answers"] + 1)


@pytest.fixture
def page(filled: Path, program: Callable[..., Any], model: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "There is no Chromium: name it with CHROMIUM=, or install it."
    monkeypatch.setenv("STACKROOM_CHAT_MODEL", model)
    _, address = program("--port", "0", path=filled)
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page()
        shown.set_default_timeout(300_000)
        shown.goto(address)
        shown.wait_for_selector("#query:visible")
        shown.click("nav a[data-view=ask]")
        shown.wait_for_function("(name) => document.querySelector('#model').value === name", arg=model)
        yield shown
        browser.close()


def test_the_page_shows_an_answer_as_it_is_written_and_stops_one(
    page: Any, filled: Path, seen: Callable[[], dict[str, int]]
) -> None:
    page.evaluate(
        """() => {
          window.lengths = new Set();
          new MutationObserver(() => window.lengths.add(document.querySelector('.answer')?.textContent.length || 0))
            .observe(document.querySelector('#turns'), {childList: true, subtree: true});
        }"""
    )
    page.fill("#question", ASKED)
    page.keyboard.press("Enter")
    page.wait_for_selector("#ask-button:visible")
    assert page.evaluate("window.lengths.size") > 3, "it came in pieces"
    first = page.locator(".answer").inner_text()
    assert len(first.split()) >= 3
    page.wait_for_selector(".cited li >> text=lighthouse.txt")
    before = seen()
    page.fill("#question", LONG)
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn-of:nth-child(2) .answer.writing")
    page.click("#stop-button")
    page.wait_for_selector(".turn-of:nth-child(2) .answer-note:has-text('Stopped')")
    with stackroom.open(filled, mode="r") as index:
        subprocess.run(
            command(filled, "ask", ASKED, "--model", os.environ["STACKROOM_CHAT_MODEL"]),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        assert seen()["left"] == before["left"] + 1
        assert index.verify().ok
    page.reload()
    page.wait_for_selector(".turn-of:nth-child(2)")
    assert page.locator(".answer").first.inner_text() == first
    page.locator(".cited a").first.click()
    page.wait_for_selector("#here:has-text('Pharos')")
