"""The page in Chromium, as its user meets it: the real program, the shipped model, real files. Run with `make test-browser`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stackroom
from browser_support import FILES, Visit
from chat_support import STALL, chat_server
from old_index import OldIndex
from stackroom import conversations
from support import WordEmbedder, write_files

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 780}


def test_from_nothing_to_an_answer(visit: Callable[..., Visit], folder: Path) -> None:
    write_files(folder, FILES)
    at = visit()
    page = at.ready()
    assert page.locator("#view-search .empty h2").inner_text() == "Nothing is in the library yet"
    assert "token" not in page.url
    at.add(folder)
    at.indexed("3 added")
    page.wait_for_selector(".row >> nth=3")
    assert at.titles() == ["Bread", "broken.pdf", "cats.txt", "Logs"]
    page.click(".job summary")
    assert "broken.pdf" in page.locator(".failures").inner_text()
    page.keyboard.press("1")
    page.locator("#query").press_sequentially("get rid of old log files", delay=15)
    page.wait_for_selector(".hit mark:has-text('log')")
    first = page.locator(".group").first
    assert first.locator("h2").inner_text() == "Logs"
    assert first.locator(".where").inner_text() == "Rotation"
    assert "q=get+rid" in page.url
    page.keyboard.press("ArrowDown")
    page.keyboard.press("w")
    assert "By words: 1st" in first.locator(".why").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_selector("body.reading #here")
    assert page.locator("#here mark").first.inner_text() == "rid" or "log" in page.locator("#here").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_selector(".hit")
    assert page.input_value("#query") == "get rid of old log files"
    assert page.evaluate("document.activeElement.dataset.chunk") is not None


def test_a_page_of_html_opens_scrolled_to_the_marked_passage_and_runs_nothing(
    made: Path, visit: Callable[..., Visit]
) -> None:
    page = visit(made).ready()
    page.fill("#query", "brown crust of the loaf")
    page.click(".hit a:has-text('crust')")
    page.wait_for_selector("iframe.original")
    frame = page.frames[1]
    frame.wait_for_selector("mark#here")
    frame.wait_for_function("scrollY > 1000")
    top = frame.evaluate("document.querySelector('#here').getBoundingClientRect().top")
    assert -2 < top < 820
    assert frame.locator("script").count() == 0
    assert frame.evaluate("origin") == "null"


def test_a_pdf_opens_at_its_page(library: Path, samples: Path, visit: Callable[..., Visit]) -> None:
    with stackroom.open(library) as index:
        index.add(samples / "debian" / "packaging-tutorial.pdf")
    page = visit(library).ready()
    page.fill("#query", "Debian dashboards for maintainers")
    page.wait_for_selector(".hit .page")
    number = re.search(r"p\. (\d+)", page.locator(".hit .page").first.inner_text())
    assert number is not None
    page.locator(".hit a").first.click()
    page.wait_for_selector("iframe.original")
    page.wait_for_function("() => document.querySelector('iframe').src.includes('#page=')")
    assert f"#page={number[1]}" in page.frames[1].url
    viewer = next((frame for frame in page.frames if frame.url.startswith("chrome-extension://")), None)
    for _ in range(100):
        if viewer is not None:
            break
        page.wait_for_timeout(200)
        viewer = next((frame for frame in page.frames if frame.url.startswith("chrome-extension://")), None)
    assert viewer is not None, "the browser's own viewer shows it"


def test_only_the_newest_question_is_answered(made: Path, visit: Callable[..., Visit]) -> None:
    page = visit(made).ready()
    page.route("**/api/search?q=cat&*", lambda route: (page.wait_for_timeout(800), route.continue_()))
    page.fill("#query", "cat")
    page.wait_for_timeout(200)
    page.fill("#query", "bread dough")
    page.wait_for_selector(".group h2:has-text('Bread')")
    page.wait_for_timeout(1200)
    assert page.locator(".group h2").first.inner_text() == "Bread"
    page.fill("#query", "")
    page.wait_for_selector(".idle-note")
    assert page.locator(".hit").count() == 0


def test_filters_narrow_what_is_found(made: Path, visit: Callable[..., Visit]) -> None:
    page = visit(made).ready()
    page.fill("#query", "the small old files")
    page.wait_for_selector(".group >> nth=2")
    page.select_option("[name=type]", "text")
    page.wait_for_function("() => document.querySelectorAll('.group').length === 1")
    assert page.locator(".group h2").inner_text() == "cats.txt"
    assert "type=text" in page.url
    page.reload()
    page.wait_for_function("() => document.querySelectorAll('.group').length === 1")
    page.click("#clear-filters")
    page.wait_for_selector(".group >> nth=2")
    page.click("text=Words")
    page.wait_for_function("() => location.search.includes('mode=text')")


def test_active_switches_one_by_one_and_for_a_choice(made: Path, visit: Callable[..., Visit]) -> None:
    at = visit(made)
    page = at.ready()
    page.keyboard.press("Escape")
    page.click("nav a[data-view=documents]")
    page.wait_for_selector(".row >> nth=3")
    page.click("text=None active")
    page.wait_for_selector(".toast:has-text('0 of 4')")
    page.click(".row:has-text('cats.txt') .switch")
    page.wait_for_selector(".row:has-text('cats.txt'):not(.idle)")
    page.click("nav a[data-view=search]")
    page.fill("#query", "the small old files")
    page.click("text=Active only")
    page.wait_for_function("() => document.querySelectorAll('.group').length === 1")
    page.click("nav a[data-view=documents]")
    for title in ("Bread", "Logs"):
        page.click(f".row:has-text('{title}') .box")
    page.click("text=Search only these")
    page.wait_for_selector(".row.idle:has-text('cats.txt')")
    assert page.locator(".row:not(.idle) .name a").all_inner_texts() == ["Bread", "Logs"]
    with stackroom.open(made, mode="r") as index:
        assert sorted(source.title for source in index.sources() if source.active) == ["Bread", "Logs"]


def test_a_set_is_saved_searched_asked_and_forgotten(made: Path, visit: Callable[..., Visit]) -> None:
    page = visit(made).ready()
    assert page.locator("select[name=set]").is_hidden()
    page.click("nav a[data-view=documents]")
    page.click(".row:has-text('cats.txt') .box")
    page.click("[data-part=set]")
    page.get_by_label("Name of the set").fill("pets")
    page.click("#set-form button[value=save]")
    page.wait_for_selector("text=1 document saved as pets.")
    page.click("nav a[data-view=search]")
    page.fill("#query", "old log files")
    page.wait_for_selector("text=Logs")
    page.select_option("select[name=set]", "pets")
    page.wait_for_selector("text=in 1 document")
    assert page.locator("#results h2").all_inner_texts() == ["cats.txt"]
    page.reload()
    page.wait_for_selector("text=in 1 document")
    assert page.locator("select[name=set]").input_value() == "pets"
    page.click("nav a[data-view=ask]")
    page.select_option("#ask-set", "pets")
    page.fill("#question", "old log files")
    page.keyboard.press("Enter")
    page.wait_for_selector(".cited li")
    assert {text.split(" · ")[0] for text in page.locator(".cited .title").all_inner_texts()} == {"cats.txt"}
    page.click("nav a[data-view=documents]")
    page.select_option("#documents-state", "set:pets")
    page.wait_for_function("() => document.querySelectorAll('.row').length === 1")
    page.click("[data-part=search]")
    page.wait_for_selector("#query:visible")
    assert page.locator("select[name=set]").input_value() == "pets"
    page.click("nav a[data-view=documents]")
    page.select_option("#documents-state", "set:pets")
    page.click("[data-part=forget]")
    page.wait_for_selector("text=The set pets is gone")
    page.wait_for_function("() => document.querySelectorAll('.row').length === 4")
    with stackroom.open(made, mode="r") as index:
        assert index.sets() == []


def test_removed_with_a_way_back(made: Path, visit: Callable[..., Visit]) -> None:
    at = visit(made)
    page = at.ready()
    page.goto(at.base + "?view=documents")
    page.wait_for_selector(".row >> nth=3")
    page.click(".row:has-text('cats.txt') .row-menu")
    page.click(".menu.of-row >> text=Remove")
    page.wait_for_selector(".toast:has-text('1 document removed')")
    page.wait_for_function("() => document.querySelectorAll('.row').length === 3")
    page.click(".toast >> text=Undo")
    page.wait_for_selector(".row:has-text('cats.txt')")
    page.focus(".row:has-text('cats.txt') .name a")
    page.keyboard.press("Delete")
    page.wait_for_function("() => document.querySelectorAll('.row').length === 3")
    for _ in range(200):
        with stackroom.open(made, mode="r") as index:
            if len(index.sources()) == 3:
                break
        page.wait_for_timeout(100)
    else:
        pytest.fail("It is still there.")


def test_indexing_is_watched_reloaded_and_stopped(visit: Callable[..., Visit], folder: Path) -> None:
    write_files(folder, {f"{n}.txt": f"Text {n} about thing {n}. " * 150 for n in range(300)})
    at = visit()
    page = at.ready()
    at.add(folder)
    page.wait_for_selector(".job progress[value]")
    page.wait_for_selector(".job-facts:has-text('passages/s')")
    page.wait_for_selector(".job-facts:has-text(' left')")
    page.reload()
    page.wait_for_selector(".job progress[value]")
    page.click("nav a[data-view=search]")
    page.wait_for_selector("#job-pill:has-text('Indexing')")
    page.fill("#query", "thing")
    page.wait_for_selector(".hit")
    page.click("#job-pill")
    page.click(".job >> text=Cancel")
    page.wait_for_selector(".job:has-text('Stopped')")
    with stackroom.open(at_library(page), mode="r") as index:
        assert 0 < len(index.sources()) < 300


def at_library(page: Any) -> str:
    found: str = page.evaluate("fetch('/api/status').then((answer) => answer.json()).then((told) => told.path)")
    return found


def test_a_path_that_is_typed_before_the_folders_are_there_stays(visit: Callable[..., Visit], folder: Path) -> None:
    write_files(folder, FILES)
    at = visit()
    page = at.ready()
    held: list[Any] = []
    typed: list[str] = []
    page.route("**/api/folders*", lambda route: route.continue_() if typed else held.append(route))
    page.click("nav a[data-view=documents]")
    page.click("#add-button")
    page.fill("#add-path", str(folder))
    typed.append(str(folder))
    for route in held:
        route.continue_()
    page.wait_for_selector("#folders button:has-text('garden')")
    assert page.input_value("#add-path") == str(folder)


def test_files_are_chosen_and_dropped(visit: Callable[..., Visit], folder: Path, library: Path) -> None:
    write_files(folder, FILES)
    at = visit()
    page = at.ready()
    page.set_input_files("#files-input", str(folder / "cats.txt"))
    page.wait_for_selector(".row:has-text('cats.txt')")
    page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["Mars is red with rust."], "mars.txt"));
          for (const type of ["dragenter", "dragover", "drop"]) window.dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
        }"""
    )
    page.wait_for_selector(".row:has-text('mars.txt')")
    kept = library.with_name(library.name + "-documents")
    assert sorted(path.name for path in kept.iterdir()) == ["cats.txt", "mars.txt"]
    assert (kept / "mars.txt").read_text() == "Mars is red with rust."


def test_what_failed_says_why_and_is_tried_again(made: Path, folder: Path, visit: Callable[..., Visit]) -> None:
    at = visit(made)
    page = at.ready()
    page.goto(at.base + "?view=documents")
    page.select_option("#documents-state", "state:failed")
    page.wait_for_function("() => document.querySelectorAll('.row').length === 1")
    assert page.locator(".row .name a").inner_text() == "broken.pdf"
    assert page.locator(".row .path.bad").inner_text().startswith("It is a broken PDF: ")
    (folder / "broken.pdf").write_text("It is a text now, about dogs.")
    page.click("#library-menu-button")
    page.click("#library-menu >> text=Read again what failed")
    page.wait_for_selector(".job:has-text('Indexed 1 that failed')")
    page.select_option("#documents-state", "")
    page.wait_for_selector(".row:has-text('broken.pdf'):has-text('1 passage')")


def test_an_old_index_is_offered_to_be_converted(tmp_path: Path, visit: Callable[..., Visit]) -> None:
    old = OldIndex().write(tmp_path / "old")
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    page = visit(old).page
    page.wait_for_selector("#convert")
    text = page.locator("#trouble").inner_text()
    assert "An old index was found" in text
    assert "LlamaIndex" in text
    assert "passages of" in text
    page.click("#convert")
    page.wait_for_selector("#query:visible")
    page.click("nav a[data-view=documents]")
    page.wait_for_selector(".row")
    assert {name: (old / name).read_bytes() for name in before} == before
    assert (old / "stackroom" / "catalogue.db").exists()


def test_an_answer_is_written_cited_and_stopped(
    made: Path, visit: Callable[..., Visit], monkeypatch: pytest.MonkeyPatch
) -> None:
    rewritten = ["What happens after old log files are removed?"]
    with chat_server(["logrotate removes ", "old log files [1]."], rewritten, ["It goes on [1] ", STALL]) as server:
        monkeypatch.setenv("STACKROOM_CHAT_MODEL", server.name)
        page = visit(made).ready()
        page.click("nav a[data-view=ask]")
        page.wait_for_function("() => document.querySelector('#model').value.startsWith('openai:small')")
        page.fill("#question", "What removes old log files?")
        page.keyboard.press("Enter")
        page.wait_for_selector("a.cite:has-text('1')")
        assert page.locator(".answer").inner_text() == "logrotate removes old log files 1."
        page.fill("#question", "And then?")
        page.keyboard.press("Enter")
        page.wait_for_selector(".answer.writing:has-text('It goes on') a.cite:has-text('1')")
        page.click("#stop-button")
        page.wait_for_selector(".answer-note:has-text('Stopped. What it says was not checked.')")
        page.wait_for_selector(".turn-of:last-child a.cite:has-text('1')")
        assert server.left.wait(30)
        page.reload()
        page.wait_for_selector(".turn-of >> nth=1")
        page.click("a.cite:has-text('1')")
        page.wait_for_selector("#here:has-text('logrotate')")


def test_conversations_are_listed_opened_and_deleted(made: Path, folder: Path, visit: Callable[..., Visit]) -> None:
    at = visit(made)
    page = at.ready()
    page.click("nav a[data-view=ask]")
    page.fill("#question", "What hunts mice at night?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".cited li")
    page.click("#new-conversation")
    page.uncheck("#ask-keep")
    page.fill("#question", "What is never kept?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".cited li")
    (folder / "cats.txt").write_text("A dog is another animal.")
    with stackroom.open(made) as index:
        index.add(folder)
    page.reload()
    page.wait_for_selector("#conversations-button")
    page.click("#conversations-button")
    page.wait_for_selector(".kept li")
    assert page.locator(".kept .title").all_inner_texts() == ["What hunts mice at night?"]
    page.click(".kept .title")
    page.wait_for_selector(".cited li:has-text('changed or removed')")
    page.locator(".cited a:has-text('changed or removed')").first.click()
    page.wait_for_selector("main:has-text('A dog is another animal')")
    page.go_back()
    page.click("#conversations-button")
    page.click(".kept .danger")
    page.wait_for_selector("#conversations-dialog", state="hidden")
    assert page.locator(".turn-of").count() == 0
    with stackroom.open(made, mode="r") as index:
        assert conversations.conversations(index.backend) == []


def test_without_a_model_the_passages_answer(
    made: Path, visit: Callable[..., Visit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STACKROOM_CHAT_MODEL", raising=False)
    page = visit(made).ready()
    page.keyboard.press("Escape")
    page.click("nav a[data-view=ask]")
    page.fill("#question", "What hunts mice at night?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer-note:has-text('The passages that answer best')")
    assert "A cat is a small animal" in page.locator(".cited li").first.inner_text()


def test_a_library_of_thousands_is_scrolled(library: Path, visit: Callable[..., Visit]) -> None:
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents(
            stackroom.Document(str(n), source=f"note {n:05}", title=f"Note {n:05}", text="A note.") for n in range(5000)
        )
    at = visit(library)
    page = at.ready()
    page.goto(at.base + "?view=documents")
    page.wait_for_selector(".row")
    assert page.locator(".row").count() < 60
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_selector(".row:has-text('Note 04999')")
    assert page.locator(".row").count() < 60
    page.fill("#documents-filter", "note 02345")
    page.wait_for_function("() => document.querySelectorAll('.row').length === 1")
    page.fill("#documents-filter", "")
    page.wait_for_selector(".row:has-text('Note 00000')")
    page.focus(".row:has-text('Note 00000') .name a")
    for _ in range(30):
        page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == "Note 00030"
    page.check(".selection .box")
    page.wait_for_selector("text=5,000 chosen")
    page.click("text=Make inactive")
    page.wait_for_selector(".toast:has-text('0 of 5,000')")


def test_folders_and_dates_narrow_what_is_found(library: Path, folder: Path, visit: Callable[..., Visit]) -> None:
    write_files(folder, FILES)
    os.utime(folder / "cats.txt", (1_000_000_000, 1_000_000_000))
    with stackroom.open(library) as index:
        index.add(folder)
    page = visit(library).ready()
    page.fill("#query", "the small old files")
    page.wait_for_selector(".group >> nth=2")
    page.select_option("[name=folder]", str(folder / "garden"))
    page.wait_for_function("() => document.querySelectorAll('.group').length === 1")
    assert page.locator(".group h2").inner_text() == "Bread"
    page.click("#clear-filters")
    page.wait_for_selector(".group >> nth=2")
    page.select_option("[name=date]", "between")
    page.fill("[name=since]", "2001-09-01")
    page.fill("[name=until]", "2001-09-30")
    page.wait_for_function("() => document.querySelectorAll('.group').length === 1")
    assert page.locator(".group h2").inner_text() == "cats.txt"
    page.click("#clear-filters")
    page.select_option("[name=date]", "7")
    page.wait_for_function("() => document.querySelectorAll('.group').length === 2")
    assert sorted(page.locator(".group h2").all_inner_texts()) == ["Bread", "Logs"]


def test_documents_are_sorted(made: Path, visit: Callable[..., Visit]) -> None:
    at = visit(made)
    page = at.ready()
    page.click("nav a[data-view=documents]")
    page.wait_for_selector(".row >> nth=3")
    assert at.titles() == ["Bread", "broken.pdf", "cats.txt", "Logs"]
    page.select_option("#documents-sort", "size-")
    page.wait_for_function("() => document.querySelector('.row:nth-child(2) .name a').textContent === 'Logs'")
    assert at.titles() == ["Bread", "Logs", "cats.txt", "broken.pdf"]


def test_a_folder_is_chosen_and_keeps_its_shape(
    visit: Callable[..., Visit], folder: Path, library: Path, tmp_path: Path
) -> None:
    write_files(folder, {**FILES, ".hidden": "Not for others."})
    page = visit().ready()
    page.set_input_files("#folder-input", str(folder))
    page.wait_for_selector(".row:has-text('Bread')")
    kept = library.with_name(library.name + "-documents")
    found = sorted(str(path.relative_to(kept / folder.name)) for path in kept.rglob("*") if path.is_file())
    assert found == ["broken.pdf", "cats.txt", "garden/bread.html", "logs.md"]


def test_what_an_answer_claims_wrongly_is_marked_and_an_answer_is_copied(
    made: Path, visit: Callable[..., Visit], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = 'A **cat** "purrs and hunts mice" [1], and "sleeps all day long on sofas" [1] [9].'
    with chat_server([said]) as server:
        monkeypatch.setenv("STACKROOM_CHAT_MODEL", server.name)
        page = visit(made, permissions=["clipboard-read", "clipboard-write"]).ready()
        page.click("nav a[data-view=ask]")
        page.wait_for_function("() => document.querySelector('#model').value.startsWith('openai:small')")
        page.fill("#question", "What hunts mice at night?")
        page.keyboard.press("Enter")
        page.wait_for_selector(".answer-tools")
        assert "sleeps all day" in page.locator(".unfound").inner_text()
        assert page.locator(".unfound").count() == 1
        assert page.locator(".answer strong").inner_text() == "cat"
        assert page.locator(".cite.bad").all_inner_texts() == ["9"]
        assert "1 quotation could not be found" in page.locator(".answer-note.bad").inner_text()
        page.click(".answer-tools >> text=Copy")
        page.wait_for_selector("text=Copied")
        assert page.evaluate("navigator.clipboard.readText()") == said


def test_a_question_keeps_to_the_active_documents(
    made: Path, visit: Callable[..., Visit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STACKROOM_CHAT_MODEL", raising=False)
    with stackroom.open(made) as index:
        index.set_active(["cats.txt"], False)
    page = visit(made).ready()
    page.click("nav a[data-view=ask]")
    for active, shown in ((False, True), (True, False)):
        page.set_checked("#ask-active", active)
        page.fill("#question", "What hunts mice at night?")
        page.keyboard.press("Enter")
        page.wait_for_selector(f".turn-of >> nth={int(active)}")
        page.wait_for_selector(".turn-of:last-child .cited li")
        titles = page.locator(".turn-of:last-child .cited .title").all_inner_texts()
        assert any(title.startswith("cats.txt") for title in titles) is shown


EVERYWHERE = [
    pytest.mark.parametrize("scheme", ["light", "dark"]),
    pytest.mark.parametrize("viewport", [{"width": 1280, "height": 820}, PHONE], ids=["desktop", "phone"]),
]


def everywhere(test: Any) -> Any:
    for mark in EVERYWHERE:
        test = mark(test)
    return test


@everywhere
def test_every_view_is_accessible_and_fits(
    made: Path, chromium: Any, program: Any, scheme: str, viewport: dict[str, int]
) -> None:
    _, address = program("--port", "0", path=made)
    at = Visit(chromium, address, color_scheme=scheme, viewport=viewport, bypass_csp=True, reduced_motion="reduce")
    page = at.ready()

    at.check("idle")
    page.fill("#query", "old log files")
    page.wait_for_selector(".hit")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("w")
    page.keyboard.press("c")
    page.wait_for_selector(".why")
    page.wait_for_timeout(400)
    at.check("search")
    page.click(".hit a")
    page.wait_for_selector("#here", state="attached")
    page.wait_for_timeout(400)
    at.check("reading")
    page.goto(at.base + "?view=documents")
    page.wait_for_selector(".row")
    page.wait_for_timeout(400)
    at.check("documents")
    page.click(".row .row-menu >> nth=1")
    at.check("menu")
    page.click(".menu.of-row >> text=About it")
    at.check("about")
    page.keyboard.press("Escape")
    page.click(".row .box >> nth=1")
    page.click("[data-part=set]")
    at.check("set")
    page.keyboard.press("Escape")
    page.click("#library-menu-button")
    at.check("library menu")
    page.click("#library-menu >> text=Back up")
    at.check("backup")
    page.keyboard.press("Escape")
    page.click("#library-menu-button")
    page.click("#library-menu >> text=Read again what failed")
    page.wait_for_selector(".job summary")
    page.click(".job summary")
    page.wait_for_timeout(400)
    at.check("job")
    page.click("#add-button")
    page.wait_for_selector("#folders button")
    at.check("adding")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.wait_for_selector("#help-dialog[open]")
    at.check("help")
    page.keyboard.press("Escape")
    page.click("nav a[data-view=ask]")
    page.fill("#question", "What hunts mice?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".cited")
    page.wait_for_timeout(400)
    at.check("ask")
    page.click("#conversations-button")
    page.wait_for_selector(".kept li")
    at.check("conversations")
    at.context.close()
    assert at.complaints == []


@everywhere
def test_a_migration_is_accessible_and_fits(
    tmp_path: Path, visit: Callable[..., Visit], scheme: str, viewport: dict[str, int]
) -> None:
    old = OldIndex().write(tmp_path / "old")
    at = visit(old, color_scheme=scheme, viewport=viewport, bypass_csp=True, reduced_motion="reduce")
    at.page.wait_for_selector("#convert")
    at.check("inventory")
