"""What files say of themselves, by the names that people filter by: title, author, date, language, tags, and the folder, for each format."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pypdfium2
import pytest
from PIL import Image

from fuzz.readers import pdf_of
from reader_support import FILES, given, unzipped, zipped
from stackroom.index import Index
from stackroom.ingest.readers import READERS, reader_for
from stackroom.ingest.readers.common.facts import iso_date, uniform

TITLE, AUTHOR, DATE = "The Garden", "Ann Smith", "2024-01-31"


def pdf() -> bytes:
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F 4 0 R>>>>/Contents 5 0 R>>"
    words = b"BT /F 12 Tf 72 720 Td (Words to be found) Tj ET"
    info = b"<</Title(The Garden)/Author(Ann Smith)/Keywords(roses, soil)/CreationDate(D:20240131120000Z)>>"
    made = pdf_of(
        [b"<</Type/Catalog/Pages 2 0 R/Lang(en)>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>", page,
         b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>", b"<</Length %d>>stream\n%s\nendstream" % (len(words), words), info]
    )  # fmt: skip
    return made.replace(b"/Root 1 0 R", b"/Root 1 0 R/Info 6 0 R")


def word() -> bytes:
    document, held = docx.Document(), io.BytesIO()
    document.add_paragraph("Words to be found")
    about(document.core_properties)
    document.save(held)
    return held.getvalue()


def about(properties: Any) -> None:
    from datetime import datetime

    properties.title, properties.author, properties.keywords, properties.language = TITLE, AUTHOR, "roses, soil", "en"
    properties.created = datetime(2024, 1, 31)


def workbook() -> bytes:
    book, held = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["Words", "to be found"])
    about(book.properties)
    book.properties.creator = AUTHOR
    book.save(held)
    return held.getvalue()


CORE = (
    '<?xml version="1.0"?><p:coreProperties xmlns:p="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:t="http://purl.org/dc/terms/"><dc:title>The Garden</dc:title>'
    "<dc:creator>Ann Smith</dc:creator><dc:language>en</dc:language><p:keywords>roses, soil</p:keywords>"
    "<t:created>2024-01-31T10:00:00Z</t:created></p:coreProperties>"
)


def deck() -> bytes:
    return zipped({**unzipped(FILES / "pptx/sample-presentation.pptx"), "docProps/core.xml": CORE})


META = (
    '<?xml version="1.0"?><o:document-meta xmlns:o="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:m="urn:oasis:names:tc:opendocument:xmlns:meta:1.0"><o:meta>'
    "<dc:title>The Garden</dc:title><dc:creator>Ann Smith</dc:creator><dc:language>en</dc:language><m:keyword>roses</m:keyword>"
    "<m:keyword>soil</m:keyword><m:creation-date>2024-01-31T10:00:00</m:creation-date></o:meta></o:document-meta>"
)


def open_document() -> bytes:
    return zipped({**unzipped(FILES / "odf/fake.odt"), "meta.xml": META})


def book() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml", '<container><rootfiles><rootfile full-path="a.opf"/></rootfiles></container>'
        )
        archive.writestr(
            "a.opf",
            '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>The Garden</dc:title><dc:creator>Ann Smith</dc:creator>'
            "<dc:language>en</dc:language><dc:date>2024-01-31</dc:date><dc:subject>roses</dc:subject><dc:subject>soil</dc:subject></metadata>"
            '<manifest><item id="a" href="a.html" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>',
        )  # fmt: skip
        archive.writestr("a.html", "<html><body><p>Words to be found</p></body></html>")
    return held.getvalue()


def picture() -> bytes:
    held = io.BytesIO()
    noted = Image.Exif()
    noted[0x013B], noted[0x0132] = AUTHOR, "2024:01:31 10:00:00"
    Image.new("L", (20, 20), 255).save(held, "JPEG", exif=noted)
    return held.getvalue()


EVERY = {"title": TITLE, "author": AUTHOR, "date": DATE, "language": "en", "tags": ["roses", "soil"]}


def without(*names: str, **other: Any) -> dict[str, Any]:
    return {**{name: value for name, value in EVERY.items() if name not in names}, **other}


# Which of the five a format has a place for; what is in none of these tests (CSV, subtitles, plain text, code) has none.
MADE: dict[str, tuple[Callable[[], bytes | str], dict[str, Any]]] = {
    "a.pdf": (pdf, EVERY if hasattr(pypdfium2.raw, "FPDFCatalog_GetLanguage") else without("language")),
    "a.docx": (word, EVERY),
    "a.xlsx": (workbook, EVERY),
    "a.pptx": (deck, EVERY),
    "a.odt": (open_document, EVERY),
    "a.epub": (book, EVERY),
    "a.html": (lambda: '<html lang="en"><head><title>The Garden</title><meta name="author" content="Ann Smith">'
               '<meta name="keywords" content="roses, soil"><meta property="article:published_time" content="2024-01-31T10:00:00Z">'
               "</head><body>Words to be found</body></html>", without(date="2024-01-31T10:00:00Z")),
    "a.md": (lambda: "---\ntitle: The Garden\nauthors: Ann Smith\ndate: January 31, 2024\nlang: en\ntags: roses, soil\n---\nWords to be found\n", EVERY),
    "a.rst": (lambda: "The Garden\n==========\n\n:Author: Ann Smith\n:Date: 2024-01-31\n:Language: en\n:Tags: roses, soil\n\nWords to be found\n", EVERY),
    "a.org": (lambda: "#+TITLE: The Garden\n#+AUTHOR: Ann Smith\n#+DATE: <2024-01-31 Wed>\n#+LANGUAGE: en\n#+FILETAGS: :roses:soil:\nWords to be found\n", EVERY),
    "a.tex": (lambda: "\\documentclass{article}\\title{The Garden}\\author{Ann Smith}\\date{31 January 2024}\\begin{document}Words to be found\\end{document}", without("language", "tags")),
    "a.rtf": (lambda: "{\\rtf1\\ansi{\\info{\\title The Garden}{\\author Ann Smith}{\\keywords roses, soil}{\\creatim\\yr2024\\mo1\\dy31\\hr10}}Words to be found\\par}", without("language")),
    "a.eml": (lambda: "From: Ann Smith\nTo: b@c\nSubject: The Garden\nDate: Wed, 31 Jan 2024 10:00:00 +0000\n\nWords to be found\n", without("language", "tags", date="2024-01-31T10:00:00+00:00")),
    "a.ipynb": (lambda: '{"cells":[{"cell_type":"markdown","source":"Words to be found"}],"metadata":{"title":"The Garden","authors":[{"name":"Ann Smith"}],"kernelspec":{"language":"python"}},"nbformat":4}', without("date", "tags", language="python")),
    "a.json": (lambda: '{"title":"The Garden","author":"Ann Smith","date":"2024-01-31","language":"en","keywords":"roses, soil","text":"Words to be found"}', EVERY),
    "a.xml": (lambda: '<?xml version="1.0"?><rss><channel><title>The Garden</title><managingEditor>Ann Smith</managingEditor><language>en</language>'
              "<pubDate>Wed, 31 Jan 2024 10:00:00 +0000</pubDate><item><title>One</title><author>Bob</author><description>Words to be found</description></item>"
              "<item><title>Two</title><author>Bob</author><description>Other words</description></item></channel></rss>", without("tags", date="2024-01-31T10:00:00+00:00")),
}  # fmt: skip


def test_each_format_is_found_by_what_it_says_of_itself(index: Index, folder: Path) -> None:
    for name, (make, _) in MADE.items():
        given(folder, name, make())
    given(folder, "a.azw3", (FILES / "mobi/backup.azw3").read_bytes())
    given(folder, "other.txt", "Other words to be found")
    assert index.add(folder, also=["json", "xml"]).failed == 0

    def found(where: str) -> set[str]:
        return {Path(hit.document.path).name for hit in index.search("words", k=100, where=where)}

    def saying(key: str) -> set[str]:
        return {name for name, (_, said) in MADE.items() if said.get(key) == EVERY[key]}

    for key in ("title", "author", "language"):
        assert found(f'{key} == "{EVERY[key]}"') - {"a.azw3"} == saying(key)
    assert found('tags any ["soil"]') == saying("tags")
    dated = {name for name, (_, said) in MADE.items() if "date" in said}
    assert found("date >= 2024-01-31") - {"a.azw3"} == dated
    assert found("date > 2024-02") <= {"a.azw3"}
    assert found(f'folder == "{folder}"') == {*MADE, "a.azw3", "other.txt"}
    assert found(f'folder == "{folder}x"') == set()
    assert found('author contains "Hertzog"') == {"a.azw3"}
    for hit in index.search("words", k=100, where=f'title == "{TITLE}"'):
        said = MADE[Path(hit.document.path).name][1]
        told = {"title": hit.document.title, **hit.document.metadata}
        assert {key: told.get(key) for key in EVERY} == {key: said.get(key) for key in EVERY}


def test_a_picture_says_when_it_was_taken(tmp_path: Path) -> None:
    reading = reader_for(given(tmp_path, "a.jpg", picture())).read(tmp_path / "a.jpg")
    assert uniform(reading.metadata) == {"author": AUTHOR, "created": "2024:01:31 10:00:00", "date": DATE}


def test_every_reader_is_known_here_or_has_nothing_to_say() -> None:
    told = {"mobi", "picture", "zim", "mbox"}  # a book above, a picture here, the others in their own tests
    for name in MADE:
        told |= {reader.name for reader in READERS if Path(name).suffix in reader.suffixes}
    assert {reader.name for reader in READERS} - told == {"code", "csv", "subtitles", "text"}


def test_a_pdf_without_a_word_of_itself(tmp_path: Path) -> None:
    held = io.BytesIO()
    document = pypdfium2.PdfDocument.new()
    document.new_page(100, 100)
    document.save(held)
    path = given(tmp_path, "a.pdf", held.getvalue())
    assert set(uniform(reader_for(path).read(path).metadata)) == {"pages", "created", "date"}


def test_an_own_word_comes_first() -> None:
    said = {"author": "A", "authors": ["B"], "from": "C", "date": "1999", "created": DATE, "language": "de", "lang": "en", "tags": ["x"], "keywords": "y"}  # fmt: skip
    assert uniform(said) == said
    assert uniform({"keywords": " ; "}) == {"keywords": " ; "}
    assert uniform({"subject": "one"}) == {"subject": "one"}
    assert uniform({"tags": "one"})["tags"] == ["one"]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2024-01-31", DATE), ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"), ("<2024-01-31 Wed>", DATE), ("2024:01:31 10:00", DATE),
        ("2024/1/31", DATE), ("31 January 2024", DATE), ("31st of Jan. 2024", DATE), ("January 31, 2024", DATE), ("Jan 31 2024", DATE),
        ("Wed, 31 Jan 2024 10:00:00 +0000", "2024-01-31T10:00:00+00:00"), ("31. Januar 2024", DATE), ("spring 2024", "spring 2024"),
        ("2024", "2024"), ("2024:13:45", "2024:13:45"), ("February 31, 2024", "February 31, 2024"), ("", ""), ("x" * 1000, "x" * 1000),
    ],
)  # fmt: skip
def test_dates(said: str, meant: str) -> None:
    assert iso_date(said) == meant
