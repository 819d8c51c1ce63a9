"""Text in pictures (OCR): real pages of the samples, drawn as a scanner would give them, without a text layer."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from reader_support import fails, given, read, survives
from stackroom.errors import MissingExtraError, ReadError, ScannedError, UnavailableError
from stackroom.index import Index
from stackroom.ingest.readers import reader_for
from stackroom.ingest.recognition import engine, pages
from stackroom.ingest.recognition.engine import Line
from stackroom.ingest.recognition.order import text_of
from stackroom.ingest.recognition.pages import text_of_page
from stackroom.progress import CancelToken
from stackroom.protocols import Section
from stackroom.reports import ScanEstimate

SLIDES = Path(__file__).parents[3] / "samples/debian/packaging-tutorial.pdf"
PACKAGES, FORMAT = 5, 7
"""Slides: "Debian packages", and one more with sentences."""


@cache
def drawn(slide: int) -> Image.Image:
    """A slide (from 0) in grey at 150 dots an inch."""
    with pypdfium2.PdfDocument(SLIDES) as document:
        picture: Image.Image = document[slide].render(scale=150 / 72, grayscale=True).to_pil()
        return picture


@cache
def scanned(*slides: int) -> bytes:
    """A PDF of these slides as pictures."""
    held = io.BytesIO()
    # A picture that was saved remembers how: a copy is.
    pages = [drawn(slide).copy() for slide in slides]
    pages[0].save(held, "PDF", resolution=150, save_all=True, append_images=pages[1:])
    return held.getvalue()


def mixed() -> bytes:
    """A slide as it was printed, the next one as a picture, and an empty page."""
    held = io.BytesIO()
    with pypdfium2.PdfDocument(SLIDES) as slides, pypdfium2.PdfDocument(scanned(PACKAGES)) as scan:
        document = pypdfium2.PdfDocument.new()
        document.import_pages(slides, [3])
        document.import_pages(scan)
        document.new_page(300, 200)
        document.save(held)
    return held.getvalue()


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG that says it is so large."""

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


def test_a_scanned_page_among_printed_ones(index: Index, folder: Path) -> None:
    path = given(folder, "slides.pdf", mixed())
    told: list[ScanEstimate] = []
    report = index.add(folder, ocr=True, agree=lambda estimate: bool(told.append(estimate)) or True)
    assert (report.added, report.updated, report.failed, report.pages_without_text) == (1, 0, 0, 1)
    assert [(estimate.files, estimate.pages) for estimate in told] == [(1, 2)]
    assert told[0].seconds == 2 * told[0].seconds_a_page > 0
    hit = index.search("most common package formats", k=1, mode="text")[0]
    assert "One of the two most common package formats" in hit.text
    assert (hit.place.page, hit.place.page_end, dict(hit.metadata)) == (2, 2, {"recognised": True})
    assert hit.document.metadata["recognised_pages"] == 1
    # What was printed says so, and a passage never holds both.
    passages = index.get(str(path))
    assert {(p.place.page, p.place.page_end, p.metadata.get("recognised")) for p in passages} == {
        (1, 1, None),
        (2, 2, True),
    }
    found = index.search("Debian", k=50, mode="text", where="recognised == true")
    assert {hit.place.page for hit in found} == {2}
    stats = index.stats()
    assert (stats.recognised, stats.pages_without_text) == (1, 1)
    assert [(one.pages, one.pages_without_text, one.recognised_pages) for one in index.sources()] == [(3, 1, 1)]
    # It is settled now, with and without being asked for; and when the file is touched its pages are recognised again.
    assert index.add(folder, ocr=True, agree=lambda _: pytest.fail("asked again")).unchanged == 1
    assert index.add(folder).unchanged == 1
    assert index.rebuild([str(path)]).updated == 1
    assert [passage.text for passage in index.get(str(path))] == [passage.text for passage in passages]


def test_off_by_default_and_with_a_way_on(index: Index, folder: Path) -> None:
    given(folder, "scan.pdf", scanned(PACKAGES, FORMAT))
    given(folder, "twin.pdf", scanned(PACKAGES, FORMAT))
    given(folder, "note.txt", "A note about packages.")
    given(folder, "photo.png", png(10, 10))
    report = index.add(folder)
    assert (report.added, report.skipped) == (1, {".png": 1})
    assert {failure.kind for failure in report.failures} == {"ScannedError"}
    assert len(report.failures) == 2
    assert index.stats().pages_without_text == 4
    told: list[ScanEstimate] = []
    # Whoever does not agree has what there was before.
    report = index.add(folder, ocr=True, agree=lambda estimate: bool(told.append(estimate)))
    assert (report.added, report.unchanged, report.failed) == (0, 1, 2)
    assert [(estimate.files, estimate.pages) for estimate in told] == [(2, 4)]
    assert index.stats().recognised == 0


def test_scans_are_failures_no_more(index: Index, folder: Path) -> None:
    scan = given(folder, "scan.pdf", scanned(FORMAT))
    index.add(folder)
    twin = given(folder, "twin.pdf", scanned(FORMAT))
    report = index.add(folder, ocr=True)
    assert (report.added, report.failed, report.unchanged) == (2, 0, 0)
    assert [(source.error, source.pages_without_text) for source in index.sources()] == [(None, 0)] * 2
    # The twin was not recognised a second time: it has the same passages.
    assert [p.text for p in index.get(str(scan))] == [p.text for p in index.get(str(twin))]
    assert report.embedded == len(index.get(str(scan)))


def test_stopped_before_it_begins(index: Index, folder: Path) -> None:
    given(folder, "scan.pdf", scanned(FORMAT))
    cancel = CancelToken()
    report = index.add(folder, ocr=True, agree=lambda _: bool(cancel.cancel()) or True, cancel=cancel)
    assert report.cancelled
    assert index.stats().recognised == 0


def test_pictures_are_pages(index: Index, folder: Path) -> None:
    held = io.BytesIO()
    drawn(FORMAT).convert("1").save(held, "TIFF", save_all=True, append_images=[drawn(PACKAGES)])
    path = given(folder, "fax.tif", held.getvalue())
    assert reader_for(given(folder, "of-no-name", held.getvalue())).name == "picture"
    reading = reader_for(path).read(path)
    pages = []
    with pytest.raises(ScannedError) as caught:
        pages += [section.page for section in reading.sections]
    assert caught.value.pages == 2
    assert "package formats (with RPM)" in text_of_page(path, "picture", 2)
    assert text_of_page(path, "picture", 3) == ""
    (folder / "of-no-name").unlink()
    # A folder of photographs is no folder of documents: pictures are asked for.
    assert index.add(folder, ocr=True).skipped == {".tif": 1}
    (failure,) = index.add(folder, also="picture").failures
    assert "is a picture" in failure.reason


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_kinds_of_pictures(kind: str, tmp_path: Path) -> None:
    held = io.BytesIO()
    # As a camera's: on its side, with a note which way is up; and of a transparent one only the letters.
    if kind == "JPEG":
        turned = Image.Exif()
        turned[0x0112] = 6
        drawn(PACKAGES).transpose(Image.Transpose.ROTATE_90).save(held, kind, exif=turned, quality=80)
    else:
        letters = Image.new("RGBA", drawn(PACKAGES).size, (0, 0, 0, 0))
        letters.putalpha(drawn(PACKAGES).point(lambda grey: 255 - grey))
        letters.save(held, kind, **({"lossless": True} if kind == "WEBP" else {}))
    path = given(tmp_path, f"a.{kind.lower()}", held.getvalue())
    assert "One of the two most common package formats" in text_of_page(path, "picture", 1)


@pytest.mark.parametrize("turn", [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270])
def test_a_page_that_lies_on_its_side_or_upside_down(turn: Image.Transpose, tmp_path: Path) -> None:
    held = io.BytesIO()
    drawn(FORMAT).transpose(turn).save(held, "PNG")
    text = text_of_page(given(tmp_path, "a.png", held.getvalue()), "picture", 1)
    held = io.BytesIO()
    drawn(FORMAT).save(held, "PNG")
    assert text == text_of_page(given(tmp_path, "b.png", held.getvalue()), "picture", 1)


def test_a_page_is_turned_only_where_it_seems_to_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[Any] = []

    def seen(score: float, width: float, height: float) -> Any:
        def answer(picture: Any, use_cls: bool) -> Any:
            shapes.append(picture.shape[:2])
            box = [(0, 0), (width, 0), (width, height), (0, height)]
            return SimpleNamespace(boxes=[box], txts=["words"], scores=[score])

        return lambda: answer

    page = np.zeros((40, 30, 3), np.uint8)
    for score, width, height, looks in ((0.99, 20, 5, 1), (0.7, 20, 5, 2), (0.99, 5, 20, 2), (0.7, 5, 20, 2)):
        shapes.clear()
        monkeypatch.setattr(engine, "_engine", seen(score, width, height))
        assert [line.text for line in engine.lines_in(page)] == ["words"]
        assert len(shapes) == looks
    assert shapes == [(40, 30), (30, 40)]


def test_running_heads_of_recognised_pages_are_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the reading ends in the word that it is a scan; of printed pages among them nothing is taken."""
    path = given(tmp_path, "a.pdf", b"")

    def body(page: int) -> str:
        return "\n".join(f"{chr(96 + page) * 3} {chr(96 + line) * 3}" for line in range(1, 7))

    monkeypatch.setattr(pages, "text_of_page", lambda path, kind, page: f"Report of the board\n{body(page)}\n{page}")

    def sections() -> Any:
        for number in range(1, 13):
            yield Section(f"Report of the board\n{body(6)}\n{number}\n" if number == 6 else "", page=number)
        raise ScannedError("a scan", path=path, pages=12)

    found = list(pages.recognised(sections(), path, "pdf", lambda page: None))
    assert [section.page for section in found] == list(range(1, 13))
    assert [section.page for section in found if "Report of the board" in section.text] == [1, 6]
    assert [section.page for section in found if section.text.rstrip().endswith(f"\n{section.page}")] == [6]
    assert all(body(section.page or 0) in section.text for section in found)


def test_broken_and_hostile_pictures(tmp_path: Path) -> None:
    fails(given(tmp_path, "bomb.png", png(60_000, 60_000)), ReadError, "60000 by 60000 pixels")
    fails(given(tmp_path, "cut.png", png(10, 10)[:20]), ReadError, "broken picture")
    for name, kind in (("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.tif", "TIFF"), ("a.webp", "WEBP")):
        held = io.BytesIO()
        drawn(PACKAGES).resize((90, 60)).save(held, kind)
        path = tmp_path / name
        survives(held.getvalue(), path)
    # What can't be drawn is a page without text.
    assert text_of_page(given(tmp_path, "nothing.png", png(100, 100)), "picture", 1) == ""
    assert text_of_page(given(tmp_path, "broken.pdf", scanned(FORMAT)[:2000]), "pdf", 1) == ""


def test_an_empty_page_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = given(tmp_path, "mixed.pdf", mixed())
    monkeypatch.setattr(engine, "lines_in", lambda picture: pytest.fail("looked at"))
    assert text_of_page(path, "pdf", 3) == ""


def test_pages_of_any_size_are_drawn_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = io.BytesIO()
    drawn(PACKAGES).save(held, "PDF", resolution=1)  # ten metres
    path = given(tmp_path, "large.pdf", held.getvalue())
    shapes: list[Any] = []
    monkeypatch.setattr(engine, "lines_in", lambda picture: shapes.append(picture.shape) or [])
    text_of_page(path, "pdf", 1)
    (shape,) = shapes
    assert max(shape) <= 2_001
    assert shape[2] == 3


def test_a_file_may_have_so_many_pages_to_recognise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_PAGES", 3)
    path = given(tmp_path, "a.pdf", scanned(PACKAGES))
    looked: list[int] = []
    monkeypatch.setattr(pages, "text_of_page", lambda path, kind, page: "words")
    sections = (Section("", page=number) for number in range(1, 1000))
    with pytest.raises(ReadError, match="more than 3 pages to recognise"):
        list(pages.recognised(sections, path, "pdf", looked.append))
    assert looked == [1, 2, 3]


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine._engine.cache_clear()
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingExtraError, match=r"stackroom\[ocr\]"):
        engine.start()
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"stackroom\[ocr\]"):
        read(given(tmp_path, "a.png", png(10, 10)))


def test_a_run_without_the_extra_says_so_and_keeps_what_was_indexed(
    index: Index, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A package of this name that comes first, and is none: in the parser process nothing can be patched.
    given(tmp_path, "rapidocr.py", "raise ModuleNotFoundError('gone', name='rapidocr')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    given(folder, "scan.pdf", scanned(FORMAT))
    given(folder, "note.txt", "A note about packages.")
    with pytest.raises(MissingExtraError, match=r"stackroom\[ocr\]") as raised:
        index.add(folder, ocr=True)
    assert str(raised.value).count("pip install") == 1
    assert {source.state for source in index.sources()} == {"indexed", "failed"}


def test_models_that_are_not_there_are_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = type(sys)("rapidocr")
    package.__file__ = str(tmp_path / "__init__.py")
    engine._engine.cache_clear()
    monkeypatch.setitem(sys.modules, "rapidocr", package)
    with pytest.raises(UnavailableError, match="lacks its models"):
        engine.start()


def lines(left: float, texts: list[str], top: float = 0.0, width: float = 300.0) -> list[Line]:
    return [Line(left, top + 24 * at, left + width, top + 24 * at + 20, text) for at, text in enumerate(texts)]


def test_columns_are_read_one_after_the_other() -> None:
    left, right = [f"left {n}" for n in range(6)], [f"right {n}" for n in range(6)]
    title = [Line(0, 0, 640, 30, "A title across both")]
    figure = [Line(0, 220, 640, 240, "A caption across both")]
    page = [*title, *lines(0, left, 40), *lines(340, right, 41), *figure, *lines(0, left, 260), *lines(340, right, 260)]
    found = text_of(page).split()
    expected = ["A title across both", *left, *right, "A caption across both", *left, *right]
    assert " ".join(found) == " ".join(expected)


def test_rows_of_a_table_stay_together() -> None:
    names, values = [f"name{n}" for n in range(8)], [f"{n}.5" for n in range(8)]
    page = [*lines(0, names, width=80), *lines(340, values, 2, width=40)]
    assert text_of(page).splitlines() == [f"name{n} {n}.5" for n in range(8)]


def test_paragraphs_and_broken_words() -> None:
    page = [*lines(0, ["The first para-", "graph ends.", "With Perl-", "Scripts."]), *lines(0, ["The second."], 130)]
    assert text_of(page) == "The first paragraph ends.\nWith Perl-\nScripts.\n\nThe second."
