"""What a user meets in the weeks after: copies, a run that is stopped, other scripts, a program that ended. In Chromium, as in test_browser.py."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stackroom
from browser_support import Visit
from old_index import OldIndex
from support import WordEmbedder, write_files

pytestmark = pytest.mark.browser


def choose(at: Visit, name: str) -> None:
    at.page.click("#library-menu-button")
    at.page.click(f"#library-menu >> text={name}")


def test_the_library_is_backed_up_exported_and_measured(
    made: Path, visit: Callable[..., Visit], tmp_path: Path
) -> None:
    at = visit(made)
    page = at.ready()
    page.click("nav a[data-view=documents]")
    choose(at, "Back up")
    assert page.input_value("#copy-folder").startswith(f"{made}-backup-20")
    page.fill("#copy-folder", str(tmp_path / "copy"))
    page.keyboard.press("Enter")
    page.wait_for_selector(f".job:has-text('It is in {tmp_path / 'copy'}.')")
    with stackroom.open(tmp_path / "copy", mode="r") as index:
        assert len(index.sources()) == 4
    (made.parent / "more.txt").write_text("Herons wait for fish.")
    with stackroom.open(made) as index:
        index.add(made.parent / "more.txt")
    for refresh, told in ((False, "Not done"), (True, "Backed up the library")):
        page.click(".job >> text=Dismiss")
        choose(at, "Back up")
        page.fill("#copy-folder", str(tmp_path / "copy"))
        page.set_checked("#copy-refresh", refresh)
        page.click("#copy-form button[value=copy]")
        page.wait_for_selector(f".job:has-text('{told}')")
    with stackroom.open(tmp_path / "copy", mode="r") as index:
        assert len(index.sources()) == 5
    choose(at, "Export")
    assert page.locator("#copy-again").is_hidden()
    page.fill("#copy-folder", str(tmp_path / "json"))
    page.keyboard.press("Enter")
    page.wait_for_selector(".job:has-text('Exported the library')")
    assert (tmp_path / "json" / "docstore.json").is_file()
    choose(at, "Measure")
    page.wait_for_selector(".job-facts:has-text('% of the exact ten best are found')")
    assert " ms by words, " in page.locator(".job:has-text('Measured')").inner_text()


def test_a_folder_that_depends_on_where_the_page_was_started_is_refused(
    made: Path, visit: Callable[..., Visit]
) -> None:
    at = visit(made)
    page = at.ready()
    page.click("nav a[data-view=documents]")
    choose(at, "Back up")
    page.fill("#copy-folder", "copy")
    page.keyboard.press("Enter")
    page.wait_for_selector(".toast:has-text('no whole path')")
    assert page.locator("#copy-dialog").is_visible()
    assert [said for said in at.complaints if "400" not in said] == []
    at.complaints.clear()


def test_a_slow_click_stops_a_run(visit: Callable[..., Visit], folder: Path) -> None:
    """Progress comes five times a second; a button that it replaced between press and release would never be clicked."""
    write_files(folder, {f"{n}.txt": f"Text {n} about thing {n}. " * 150 for n in range(300)})
    at = visit()
    page = at.ready()
    at.add(folder)
    page.wait_for_selector(".job progress[value]")
    cancel = page.locator(".job >> text=Cancel").element_handle()
    before = page.locator("progress").get_attribute("value")
    page.wait_for_function(
        "(before) => document.querySelector('progress').getAttribute('value') !== before", arg=before
    )
    assert cancel.evaluate("(button) => button.isConnected")
    cancel.focus()
    page.click(".job >> text=Cancel", delay=700)
    page.wait_for_selector(".job:has-text('Stopped')")
    assert page.evaluate("document.activeElement.textContent") == "Dismiss"


def test_a_conversion_advances_under_the_same_button(tmp_path: Path, visit: Callable[..., Visit]) -> None:
    at = visit(OldIndex().write(tmp_path / "old"))
    page = at.page
    page.wait_for_selector("#convert")
    steps = itertools.count(1)

    def told(route: Any) -> None:
        progress = {"stage": "copy", "done": next(steps), "total": 1000, "seconds_left": 30}
        job = {"id": "7", "kind": "migrate", "title": "", "state": "running", "created_at": "", "progress": progress}
        change = json.dumps({"version": 0, "removals": 0, "jobs": [job]})
        body = f"retry: 50\nevent: change\ndata: {change}\n\n"
        route.fulfill(content_type="text/event-stream", body=body)

    page.route("**/api/events", told)
    page.reload()
    page.wait_for_selector("#trouble .job-facts:has-text('of 1,000')")
    button = page.locator("#trouble >> text=Cancel").element_handle()
    page.wait_for_function("() => document.querySelector('#trouble progress').value > 5")
    assert button.evaluate("(button) => button.isConnected")
    assert page.locator("#away").is_hidden()


@pytest.mark.parametrize("width", [320, 390])
def test_a_narrow_page_fits_while_it_indexes(visit: Callable[..., Visit], folder: Path, width: int) -> None:
    write_files(folder, {f"{n}.txt": f"Text {n} about thing {n}. " * 150 for n in range(300)})
    at = visit(viewport={"width": width, "height": 700}, bypass_csp=True, reduced_motion="reduce")
    page = at.ready()
    at.add(folder)
    page.wait_for_selector("#job-pill:has-text('%')")
    at.check("documents")
    page.click("nav a[data-view=search]")
    at.check("search")
    page.click("#job-pill")
    page.click(".job >> text=Cancel")
    page.wait_for_selector(".job:has-text('Stopped')")


def test_a_menu_that_is_opened_again_takes_each_key_once(made: Path, visit: Callable[..., Visit]) -> None:
    page = visit(made).ready()
    page.click("nav a[data-view=documents]")
    for _ in range(3):
        page.click("#library-menu-button")
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.textContent") == "Read again what failed"
        page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "library-menu-button"


def test_what_is_removed_by_its_menu_leaves_the_focus_on_its_neighbour(made: Path, visit: Callable[..., Visit]) -> None:
    page = visit(made).ready()
    page.click("nav a[data-view=documents]")
    page.click(".row:has-text('broken.pdf') .row-menu")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.row').length === 3")
    page.wait_for_function("() => document.activeElement.textContent === 'cats.txt'")


def test_text_runs_in_its_own_direction(library: Path, folder: Path, visit: Callable[..., Visit]) -> None:
    write_files(folder, {"دليل المكتبة.txt": "هذا دليل المستخدم. The library opens at nine.\n"})
    with stackroom.open(library) as index:
        index.add(folder)
    at = visit(library)
    page = at.ready()
    page.fill("#query", "library opens")
    page.wait_for_selector(".hit mark")
    direction = "(part) => getComputedStyle(part).direction"
    assert page.locator(".hit > a").first.evaluate(direction) == "rtl"
    assert page.locator(".group h2").first.evaluate(direction) == "rtl"
    page.click(".hit > a")
    page.wait_for_selector("#here")
    assert page.locator("#here").evaluate(direction) == "rtl"
    page.goto(at.base + "?view=documents")
    page.wait_for_selector(".row")
    assert page.locator(".name a").evaluate(direction) == "rtl"


def test_more_is_shown_on_request(library: Path, visit: Callable[..., Visit]) -> None:
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents(
            stackroom.Document(str(n), source=f"{n}", title=f"Note {n:02}", text=f"A note of herons, {n}.")
            for n in range(60)
        )
    page = visit(library).ready()
    page.fill("#query", "herons")
    page.wait_for_selector("#search-state:has-text('The 40 best passages')")
    page.click("text=Show more")
    page.wait_for_selector("#search-state:has-text('60 passages in 60 documents')")
    assert page.locator(".hit").count() == 60
    assert page.evaluate("[...document.querySelectorAll('.hit > a')].indexOf(document.activeElement)") == 40
    assert page.locator("text=Show more").count() == 0


def test_who_reads_the_hits_is_not_disturbed_by_what_is_indexed(
    made: Path, folder: Path, visit: Callable[..., Visit]
) -> None:
    page = visit(made).ready()
    page.fill("#query", "old log files")
    page.wait_for_selector(".hit")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("w")
    (folder / "more.md").write_text("# Old log files\n\nOld log files are old log files.\n")
    with stackroom.open(made) as index:
        index.add(folder)
    page.click("#again")
    page.wait_for_selector(".group h2:has-text('Old log files')")
    assert page.locator(".why").count() == 0
    assert page.locator("#again").count() == 0


def test_a_program_that_has_ended_is_said(made: Path, visit: Callable[..., Visit]) -> None:
    at = visit(made)
    page = at.ready()
    assert page.locator("#away").is_hidden()
    page.route("**/api/events", lambda route: route.abort())
    page.reload()
    page.wait_for_selector("#away:visible")
    page.unroute("**/api/events")
    page.wait_for_selector("#away", state="hidden")
    assert all("ERR_FAILED" in said for said in at.complaints)
    at.complaints.clear()


def test_what_is_typed_at_once_is_searched_once(made: Path, visit: Callable[..., Visit]) -> None:
    at = visit(made)
    page = at.ready()
    asked: list[str] = []
    page.on("request", lambda request: "/api/search" in request.url and asked.append(request.url))
    page.evaluate(
        "for (const word of ['o', 'ol', 'old', 'old log']) { const field = document.querySelector('#query'); field.value = word; field.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    page.wait_for_selector(".hit")
    assert len(asked) == 1
    assert "q=old+log" in asked[0]
