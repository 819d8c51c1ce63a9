"""What a new user does in the first hour, and stumbled over once: in Chromium, as in test_browser.py."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

import stackroom
from browser_support import FILES, Visit
from reader_support import FILES as REAL_FILES
from support import write_files

pytestmark = pytest.mark.browser


def partly_scanned(samples: Path) -> bytes:
    """A slide as it was printed, the next one as a picture, and an empty page."""
    import pypdfium2

    held = io.BytesIO()
    with pypdfium2.PdfDocument(samples / "debian" / "packaging-tutorial.pdf") as slides:
        scan = io.BytesIO()
        slides[5].render(scale=150 / 72, grayscale=True).to_pil().copy().save(scan, "PDF", resolution=150)
        with pypdfium2.PdfDocument(scan.getvalue()) as pictures:
            document = pypdfium2.PdfDocument.new()
            document.import_pages(slides, [3])
            document.import_pages(pictures)
            document.new_page(300, 200)
            document.save(held)
    return held.getvalue()


def test_a_scanned_page_is_recognised_on_request_and_told_apart(
    library: Path, folder: Path, samples: Path, visit: Callable[..., Visit]
) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "slides.pdf").write_bytes(partly_scanned(samples))
    with stackroom.open(library) as index:
        index.add(folder)
    at = visit(library)
    page = at.ready()
    page.goto(at.base + "?view=documents")
    page.wait_for_selector(".row:has-text('2 of 3 pages without text')")
    page.click(".row-menu")
    page.click(".menu.of-row >> text=Recognise its pictures")
    page.wait_for_selector(".job:has-text('Recognised slides.pdf')")
    page.wait_for_selector(".row:has-text('1 of 3 pages without text · 1 recognised in pictures')")
    page.select_option("#documents-state", "state:recognised")
    page.wait_for_selector(".row")
    page.click(".row-menu")
    page.click(".menu.of-row >> text=About it")
    told = page.locator("#about-facts").inner_text()
    assert "3 pages, 1 without text, 1 recognised in pictures" in told
    assert "minilm, 384 dimensions" in told
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.fill("#query", "most common package formats")
    page.wait_for_selector(".hit .recognised")
    assert page.locator(".hit:has(.recognised)").count() == 1
    page.click(".hit:has(.recognised) > a")
    page.wait_for_selector("#here")
    assert page.locator(".page-mark").all_inner_texts() == ["page 1 · printed", "page 2 · recognised"]
    assert "it may hold mistakes" in page.locator(".reading-title").inner_text()


def test_a_stroke_goes_to_the_field_and_is_never_in_it(made: Path, visit: Callable[..., Visit]) -> None:
    page = visit(made).ready()
    page.keyboard.press("/")
    page.keyboard.type("old log files")
    page.wait_for_selector(".hit")
    assert page.input_value("#query") == "old log files"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("/")
    page.keyboard.type("/etc/cats and/or mice")
    assert page.input_value("#query") == "/etc/cats and/or mice"
    page.fill("#query", "old log files")
    page.wait_for_selector(".hit a:has-text('logrotate')")
    page.click(".hit a")
    page.wait_for_selector("#here")
    # The text is there before the script that listens for strokes.
    page.wait_for_load_state()
    page.keyboard.press("/")
    page.wait_for_selector(".hit")
    assert page.evaluate("document.activeElement.id") == "query"
    page.click("nav a[data-view=ask]")
    page.keyboard.press("/")
    assert page.input_value("#question") == ""


def test_a_folder_that_is_clicked_is_added_by_enter(
    visit: Callable[..., Visit], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(folder, FILES)
    monkeypatch.setenv("HOME", str(folder.parent))
    page = visit().ready()
    page.keyboard.press("Escape")
    page.click(".empty >> text=Add documents")
    page.click(f"#folders button:has-text('{folder.name}')")
    page.wait_for_selector("#folders button:has-text('garden')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".job-facts:has-text('3 added')")
    page.click(".job summary")
    told = page.locator(".failures").inner_text()
    assert "It is a broken PDF" in told
    assert told.count("broken.pdf") == 1


def test_a_file_that_is_read_in_part_is_named(visit: Callable[..., Visit], folder: Path) -> None:
    whole = (REAL_FILES / "pdf/spanning-cells.pdf").read_bytes()
    (folder / "cut.pdf").write_bytes(whole[: len(whole) // 2])
    at = visit()
    page = at.ready()
    at.add(folder)
    at.indexed("1 added")
    page.click(".job summary:has-text('1 file read in part')")
    told = page.locator(".failures").inner_text()
    assert "cut.pdf" in told
    assert "only what could be saved of its text was added" in told


def test_documents_are_handled_by_keys_alone(made: Path, visit: Callable[..., Visit]) -> None:
    page = visit(made).ready()
    page.click("nav a[data-view=documents]")
    page.wait_for_selector(".row >> nth=3")
    for key in ("ArrowDown", "x", "ArrowDown", "x", "Space"):
        page.keyboard.press(key)
    page.wait_for_selector("text=2 chosen")
    page.wait_for_selector(".row.idle:has-text('broken.pdf')")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == "cats.txt"
    page.keyboard.press("Delete")
    page.wait_for_function("() => document.querySelectorAll('.row').length === 3")
    page.wait_for_function("() => document.activeElement.textContent === 'Logs'")
    page.click(".toast >> text=Undo")
    page.wait_for_selector(".row:has-text('cats.txt')")


def test_the_passage_stays_in_sight_within_its_context(
    library: Path, folder: Path, visit: Callable[..., Visit]
) -> None:
    lines = [f"Sentence {n} tells of stone {n} and of water that runs over it for a long time." for n in range(120)]
    lines[60] = "Here a heron waits for fish."
    write_files(folder, {"river.txt": "\n\n".join(lines)})
    with stackroom.open(library) as index:
        index.add(folder)
    page = visit(library).ready()
    page.fill("#query", "heron")
    page.wait_for_selector(".hit mark:has-text('heron')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("c")
    page.wait_for_selector(".around.after")
    page.wait_for_function(
        "() => { const at = document.querySelector('.hit mark').getBoundingClientRect(); return at.top > 60 && at.bottom < innerHeight; }"
    )
    page.keyboard.press("w")
    page.wait_for_function("() => document.querySelector('.why').getBoundingClientRect().bottom < innerHeight + 1")


def test_what_the_documents_do_not_answer_is_said_without_a_model(
    library: Path, visit: Callable[..., Visit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STACKROOM_CHAT_MODEL", raising=False)
    work = ["rotates the logs", "copies the disk", "checks the mail", "feeds the printer"]
    with stackroom.open(library) as index:
        index.add_documents(
            stackroom.Document(str(n), title=f"Note {n}", text=f"Note {n}: machine {n} {work[n % 4]} at night.")
            for n in range(120)
        )
    page = visit(library).ready()
    page.click("nav a[data-view=ask]")
    page.wait_for_selector(".empty:has-text('Ask your documents')")
    page.fill("#question", "What is the capital of Mongolia?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer-note:has-text('Your documents do not answer this')")
    page.wait_for_selector(".cited li")
    page.fill("#question", "Which machine copies the disk at night?")
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer-note:has-text('The passages that answer best')")


def test_a_damaged_library_is_brought_back(made: Path, visit: Callable[..., Visit]) -> None:
    catalogue = made / "catalogue.db"
    catalogue.write_bytes(b"\xff" * 100 + catalogue.read_bytes()[100:])
    at = visit(made)
    at.page.click("#repair")
    at.ready()
    at.page.fill("#query", "old log files")
    at.page.wait_for_selector(".hit:has-text('logrotate')")
