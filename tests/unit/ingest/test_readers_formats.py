"""Each format in detail: what every sample gives, what odd but honest files give, and what hostile ones are told."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reader_support import chunk_with
from stackroom.errors import EncryptedError, NoTextError, ReadError, ScannedError, UnsupportedFormatError
from stackroom.ingest.readers import ON_REQUEST, READERS, SUFFIXES, reader_for, recipe_of
from stackroom.ingest.readers.common import limits
from stackroom.protocols import Reading, Section

HERE = Path(__file__).parent


def read(path: Path) -> tuple[Reading, list[Section]]:
    reading = reader_for(path).read(path)
    return reading, list(reading.sections)


def text_of(path: Path) -> str:
    return "".join(section.text for section in read(path)[1])


def given(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fails(path: Path, kind: type[ReadError]) -> ReadError:
    """Reading ends with this very class, and it says which file, and what to do."""
    with pytest.raises(ReadError) as caught:
        read(path)
    assert type(caught.value) is kind
    assert caught.value.path == str(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


# The samples

SAMPLES: dict[str, tuple[str, str | None, int, list[tuple[str, ...]]]] = {
    "debian/packaging-tutorial.pdf": (
        "pdf", "Debian Packaging Tutorial", 89, [(), ("Introduction",), ("Introduction", "Debian"), ("Introduction", "Debian packages")],
    ),
    "debian/developers-reference.epub": (
        "epub", "developers-reference", 283,
        [
            ("Debian Developer's Reference",), ("Scope of This Document", "1. Scope of This Document"),
            ("Applying to Become a Member", "2. Applying to Become a Member"),
            ("Applying to Become a Member", "2. Applying to Become a Member", "2.1. Getting started"),
        ],
    ),
    "handbook/backup.html": (
        "html", "9.10. Backup", 4,
        [(), ("9.10. Backup",), ("9.10. Backup", "9.10.1. Backing Up with rsync"), ("9.10. Backup", "9.10.2. Restoring Machines without Backups")],
    ),
    "handbook/system-events.html": (
        "html", "9.5. syslog System Events", 6, [(), ("9.5. syslog System Events",), ("9.5. syslog System Events", "9.5.1. Principle and Mechanism")],
    ),
    "handbook/other-configurations.html": (
        "html", "8.9. Other Configurations: Time Synchronization, Logs, Sharing Access…", 10, [()],
    ),
    "sqlite/when-to-use.docx": (
        "docx", "Appropriate Uses For SQLite", 5, [("Appropriate Uses For SQLite",)],
    ),
    "sqlite/write-ahead-log.md": (
        "markdown", "Write-Ahead Logging", 17, [(), ("1. Overview",), ("2. How WAL Works",), ("2. How WAL Works", "2.1. Checkpointing")],
    ),
    "sqlite/faq.txt": ("text", None, 2, [()]),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_gives_its_type_title_and_headings(samples: Path, name: str) -> None:
    kind, title, count, first = SAMPLES[name]
    reading, sections = read(samples / name)
    assert (reading.type, reading.title, len(sections)) == (kind, title, count)
    headings = list(dict.fromkeys(section.headings for section in sections))
    assert headings[: len(first)] == first
    numbered = [(n, str(n)) for n in range(1, 90)] if kind == "pdf" else [(None, None)] * count
    assert [(section.page, section.page_label) for section in sections] == numbered


@pytest.mark.parametrize(
    ("name", "words", "page", "section"),
    [
        ("debian/packaging-tutorial.pdf", "One of the two most common package formats", 6, ("Introduction", "Debian packages")),
        ("debian/developers-reference.epub", "more in-depth discussion of Debian key", None,
         ("Debian Developer's Duties", "3. Debian Developer's Duties", "3.2. Administrative Duties", "3.2.2. Maintaining your public key")),
        ("handbook/backup.html", "Backing Up with rsync", None, ("9.10. Backup", "9.10.1. Backing Up with rsync")),
        ("sqlite/when-to-use.docx", "SQLite is not directly comparable", None, ("Appropriate Uses For SQLite",)),
        ("sqlite/write-ahead-log.md", "the extra operation of", None, ("1. Overview",)),
    ],
)  # fmt: skip
def test_a_passage_of_a_sample_has_its_place(
    samples: Path, name: str, words: str, page: int | None, section: tuple[str, ...]
) -> None:
    place = chunk_with(samples / name, words).place
    assert (place.page, place.page_end, tuple(place.section)) == (page, page, section)


def test_every_sample_is_in_the_table(samples: Path) -> None:
    there = {str(path.relative_to(samples)) for path in samples.rglob("*") if path.is_file()}
    assert there == {*SAMPLES, "README.md"}


def test_the_samples_facts(samples: Path) -> None:
    facts = {name: read(samples / name)[0].metadata for name in SAMPLES}
    assert facts["sqlite/write-ahead-log.md"] == {"tags": ["sqlite", "durability"]}
    assert facts["debian/packaging-tutorial.pdf"]["created"] == "2021-11-03"
    assert facts["debian/developers-reference.epub"]["author"] == "Developer's Reference Team"
    assert "Cron" in facts["handbook/backup.html"]["keywords"]


@pytest.mark.parametrize("name", SAMPLES)
def test_text_is_clean(samples: Path, name: str) -> None:
    text = text_of(samples / name)
    assert len(text) > 4000
    assert limits.clean(text) == text
    assert "\ufffd" not in text


def test_the_recipe_names_every_reader_and_suffixes_are_nobodys_twice() -> None:
    assert (
        recipe_of()
        == "pdf:7 epub:3 mobi:3 docx:3 xlsx:3 pptx:2 odf:3 zim:2 picture:2 rtf:3 mbox:4 eml:4 ipynb:3 code:2 json:3 xml:5 subtitles:3 html:3 markdown:4 rst:2 org:2 latex:5 csv:3 text:1"
    )
    every = [suffix for reader in READERS for suffix in reader.suffixes]
    assert len(every) == len(set(every))
    assert set(every) == SUFFIXES.union(*ON_REQUEST.values())


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    fails(tmp_path / "missing.txt", ReadError)
    (tmp_path / "folder.txt").mkdir()
    fails(tmp_path / "folder.txt", ReadError)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_an_empty_file_of_any_kind_holds_no_text(tmp_path: Path, suffix: str) -> None:
    fails(given(tmp_path, f"a{suffix}", b""), NoTextError)


# PDF


def pdf(pages: list[str], *, extra: dict[str, str] | None = None, info: str = "") -> bytes:
    """A PDF with these words on its pages; `extra` are entries of the catalogue. Page n is object 10 + 2n."""
    objects = {1: "<< /Type /Catalog /Pages 2 0 R " + " ".join(f"/{k} {v}" for k, v in (extra or {}).items()) + ">>"}
    kids = " ".join(f"{10 + 2 * n} 0 R" for n in range(len(pages)))
    objects[2] = f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>"
    objects[3] = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    objects[4] = f"<< {info} >>"
    for n, text in enumerate(pages):
        resources = "/Resources << /Font << /F1 3 0 R >> >> /MediaBox [0 0 612 792]"
        objects[10 + 2 * n] = f"<< /Type /Page /Parent 2 0 R {resources} /Contents {11 + 2 * n} 0 R >>"
        content = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET" if text else ""
        objects[11 + 2 * n] = f"<< /Length {len(content)} >>\nstream\n{content}\nendstream"
    data = b"%PDF-1.7\n"
    places = {}
    for number, held in objects.items():
        places[number] = len(data)
        data += f"{number} 0 obj\n{held}\nendobj\n".encode()
    table = len(data)
    data += b"xref\n0 1\n0000000000 65535 f \n"
    for number, place in places.items():
        data += f"{number} 1\n{place:010} 00000 n \n".encode()
    return data + f"trailer << /Size 99 /Root 1 0 R /Info 4 0 R >>\nstartxref\n{table}\n%%EOF\n".encode()


def test_pdf_pages_labels_bookmarks_and_facts(tmp_path: Path) -> None:
    labels = "<< /Nums [0 << /S /r >> 2 << /S /D /St 1 >> 3 << /P (A-) /S /D /St 7 >>] >>"
    outline = (
        "<< /First << /Title (Front) /Dest [10 0 R /Fit] /Next << /Title (Body) /Dest [14 0 R /Fit]"
        " /First << /Title (Detail) /Dest [16 0 R /Fit] >> >> >> >>"
    )
    extra = {"PageLabels": labels, "Outlines": outline}
    info = "/Title (A title) /Author (An author) /Subject (A subject) /CreationDate (D:20240131120000Z)"
    path = given(tmp_path, "a.pdf", pdf(["one", "two", "three", "four"], extra=extra, info=info))
    reading, sections = read(path)
    assert reading.title == "A title"
    assert reading.metadata == {"pages": 4, "author": "An author", "subject": "A subject", "created": "2024-01-31"}
    assert [(section.text.strip(), section.page, section.page_label) for section in sections] == [
        ("one", 1, "i"),
        ("two", 2, "ii"),
        ("three", 3, "1"),
        ("four", 4, "A-7"),
    ]
    assert sections[0].headings == ("Front",)


def test_a_pdf_without_labels_title_or_bookmarks(tmp_path: Path) -> None:
    reading, sections = read(given(tmp_path, "a.pdf", pdf(["one", "", "three"])))
    assert (reading.title, reading.metadata) == (None, {"pages": 3})
    assert [(section.text, section.page, section.page_label, section.headings) for section in sections] == [
        ("one\n", 1, None, ()),
        ("", 2, None, ()),
        ("three\n", 3, None, ()),
    ]


def test_what_a_program_wrote_for_want_of_a_title_is_none(tmp_path: Path) -> None:
    info = "/Title (untitled) /Author (\\(anonymous\\)) /Subject (unspecified)"
    reading, _ = read(given(tmp_path, "a.pdf", pdf(["one"], info=info)))
    assert (reading.title, reading.metadata) == (None, {"pages": 1})


def test_a_pdf_of_blank_pages_is_a_scan(tmp_path: Path) -> None:
    error = fails(given(tmp_path, "a.pdf", pdf(["", "", ""])), ScannedError)
    assert "3 pages" in error.message
    assert "--ocr" in (error.hint or "")


def test_a_pdfs_leaders_are_shortened(tmp_path: Path) -> None:
    assert text_of(given(tmp_path, "a.pdf", pdf(["Chapter one " + ". " * 40 + "12"]))) == "Chapter one ... 12\n"


def test_a_pdf_with_a_broken_table_is_read_all_the_same(tmp_path: Path) -> None:
    whole = pdf(["one words", "two words"])
    text = text_of(given(tmp_path, "a.pdf", whole.replace(b"startxref\n", b"startxref\n9")))
    assert ("one words" in text, "two words" in text) == (True, True)


@pytest.mark.parametrize("size", [5, 8, 9, 20, 300])
def test_a_pdf_cut_off_at_its_head_is_broken(tmp_path: Path, size: int) -> None:
    path = given(tmp_path, "a.pdf", pdf(["one"])[:size])
    fails(path, ReadError)


def test_a_pdf_is_known_by_its_content_even_behind_junk(tmp_path: Path) -> None:
    assert read(given(tmp_path, "a.txt", b"\n" * 100 + pdf(["one"])))[0].type == "pdf"


def test_text_called_pdf_is_text(tmp_path: Path) -> None:
    assert read(given(tmp_path, "a.pdf", "just words"))[0].type == "text"


# Archives


def zipped(files: dict[str, str | bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content, zipfile.ZIP_STORED if name == "mimetype" else None)
    return held.getvalue()


XHTML = 'media-type="application/xhtml+xml"'
CONTAINER = '<container><rootfiles><rootfile full-path="o/p.opf"/></rootfiles></container>'
ONE = "<html><body><p>one</p></body></html>"


def opf(items: str, spine: str, facts: str = "<dc:title>T</dc:title>") -> str:
    return f'<package xmlns:dc="d"><metadata>{facts}</metadata><manifest>{items}</manifest><spine>{spine}</spine></package>'


PLAIN = opf(f'<item id="a" href="a.xhtml" {XHTML}/>', '<itemref idref="a"/>')


def epub(files: dict[str, str | bytes]) -> bytes:
    """An EPUB of one chapter; `files` are added, replaced, or (where empty bytes) taken out."""
    whole: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "o/p.opf": PLAIN, "o/a.xhtml": ONE, **files,
    }  # fmt: skip
    return zipped({name: content for name, content in whole.items() if content != b""})


def docx_parts(*paragraphs: str) -> dict[str, str | bytes]:
    import docx

    document = docx.Document()
    for text in paragraphs:
        document.add_paragraph(text)
    held = io.BytesIO()
    document.save(held)
    with zipfile.ZipFile(held) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_a_picture(parts: dict[str, str | bytes], picture: bytes) -> bytes:
    """The document, and a part that only a relationship of it names."""

    def before(name: str, end: bytes, entry: bytes) -> bytes:
        part = parts[name]
        assert isinstance(part, bytes)
        assert end in part
        return part.replace(end, entry + end)

    kind = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships/image"
    relation = b'<Relationship Id="rId99" Type="' + kind + b'" Target="media/image1.png"/>'
    return zipped(
        {
            **parts,
            "word/_rels/document.xml.rels": before("word/_rels/document.xml.rels", b"</Relationships>", relation),
            "[Content_Types].xml": before(
                "[Content_Types].xml", b"</Types>", b'<Default Extension="png" ContentType="image/png"/>'
            ),
            "word/media/image1.png": picture,
        }
    )


@pytest.mark.parametrize("name", ["a.epub", "a.docx"])
@pytest.mark.parametrize("size", [30, 0.3, 0.9, -10])
def test_an_archive_cut_short_is_broken(tmp_path: Path, name: str, size: float) -> None:
    whole = epub({}) if name == "a.epub" else zipped(docx_parts("one"))
    cut = int(size * len(whole)) if 0 < size < 1 else int(size)
    error = fails(given(tmp_path, name, whole[:cut]), ReadError)
    assert "no intact archive" in error.message


@pytest.mark.parametrize("name", ["a.epub", "a.docx"])
def test_an_archive_of_something_else_is_broken(tmp_path: Path, name: str) -> None:
    fails(given(tmp_path, name, zipped({"readme.txt": "hello " * 50})), ReadError)


@pytest.mark.parametrize("name", ["META-INF/container.xml", "o/p.opf", "o/a.xhtml"])
def test_an_epub_member_that_unpacks_to_too_much_is_refused(tmp_path: Path, name: str) -> None:
    error = fails(given(tmp_path, "a.epub", epub({name: b" " * 20_000_000})), ReadError)
    assert "far more" in error.message
    assert repr(name) in error.message


def test_a_docx_member_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    parts = docx_parts("one")
    parts["word/document.xml"] = b" " * 20_000_000
    assert "far more" in fails(given(tmp_path, "a.docx", zipped(parts)), ReadError).message


def test_a_blank_picture_packs_well_and_is_no_bomb(tmp_path: Path) -> None:
    assert "one" in text_of(given(tmp_path, "a.docx", with_a_picture(docx_parts("one"), bytes(20_000_000))))


def test_a_docx_picture_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMBER_BYTES", 10_000_000)
    bomb = with_a_picture(docx_parts("one"), bytes(20_000_000))
    assert "far more" in fails(given(tmp_path, "a.docx", bomb), ReadError).message


def test_an_honest_picture_is_no_hindrance(tmp_path: Path) -> None:
    assert "one" in text_of(given(tmp_path, "a.docx", with_a_picture(docx_parts("one"), bytes(1000))))


def test_many_members_together_may_not_unpack_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is honest by itself."""
    names = [f"c{n}.xhtml" for n in range(20)]
    items = "".join(f'<item id="i{n}" href="{name}" {XHTML}/>' for n, name in enumerate(names))
    package = opf(items, "".join(f'<itemref idref="i{n}"/>' for n in range(20)))
    chapter = f"<html><body><p>{'word ' * 1000}</p></body></html>"
    path = given(tmp_path, "a.epub", epub({"o/p.opf": package, **{f"o/{name}": chapter for name in names}}))
    assert len(read(path)[1]) == 20
    monkeypatch.setattr(limits, "ARCHIVE_BYTES", 50_000)
    assert "far more" in fails(path, ReadError).message
    monkeypatch.undo()
    monkeypatch.setattr(limits, "MEMBER_BYTES", 4000)
    assert "far more" in fails(path, ReadError).message


def test_an_archive_that_lies_about_sizes_is_broken(tmp_path: Path) -> None:
    """Its directory says ten bytes; what is unpacked is not more than that, and does not fit its checksum."""
    whole = bytearray(epub({"o/a.xhtml": f"<html><body>{'word ' * 1_000_000}</body></html>"}))
    name = whole.rindex(b"o/a.xhtml")
    whole[name - 46 + 24 : name - 46 + 28] = (10).to_bytes(4, "little")
    error = fails(given(tmp_path, "a.epub", bytes(whole)), ReadError)
    assert "can't be unpacked" in error.message


def test_scrambled_members_are_broken(tmp_path: Path) -> None:
    whole = bytearray(epub({"o/a.xhtml": f"<html><body>{random.Random(1).randbytes(9000).hex()}</body></html>"}))
    start = whole.index(b"o/a.xhtml") + 200
    whole[start : start + 200] = bytes(200)
    assert "can't be unpacked" in fails(given(tmp_path, "a.epub", bytes(whole)), ReadError).message


def test_members_behind_a_password_are_told(tmp_path: Path) -> None:
    for name, content in (("a.epub", epub({})), ("a.docx", zipped(docx_parts("one")))):
        whole = bytearray(content)
        for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            at = whole.find(mark)
            while at >= 0:
                whole[at + flags] |= 1
                at = whole.find(mark, at + 4)
        assert "encrypted" in fails(given(tmp_path, name, bytes(whole)), ReadError).message


# DOCX


def docx_file(folder: Path, build: Callable[[Any], object]) -> Path:
    import docx

    document = docx.Document()
    build(document)
    document.save(str(folder / "a.docx"))
    return folder / "a.docx"


def test_docx_headings_lists_and_facts(tmp_path: Path) -> None:
    def build(document: Any) -> None:
        document.add_heading("The title", 0)
        document.add_paragraph("Intro.")
        document.add_heading("One", 1)
        document.add_paragraph("first", style="List Bullet")
        document.add_paragraph("second", style="List Number")
        document.add_heading("Deep", 3)
        document.add_paragraph("  Below.  ")
        document.add_heading("", 1)
        document.add_heading("Two", 1)
        properties = document.core_properties
        properties.title, properties.author, properties.subject = " Its name ", "An author", ""

    reading, sections = read(docx_file(tmp_path, build))
    assert reading.title == "Its name"
    assert reading.metadata["author"] == "An author"
    assert "subject" not in reading.metadata
    assert [(section.headings, section.text) for section in sections] == [
        (("The title",), "The title\n\nIntro.\n\n"),
        (("One",), "One\n\n- first\n- second\n"),
        (("One", "Deep"), "Deep\n\nBelow.\n\n"),
        (("Two",), "Two\n\n"),
    ]


def test_docx_tables_with_merged_cells(tmp_path: Path) -> None:
    def build(document: Any) -> None:
        document.add_paragraph("before")
        table = document.add_table(2, 3)
        table.cell(0, 0).merge(table.cell(0, 1)).text = "wide"
        table.cell(0, 2).text = "two\nlines"
        for n in range(3):
            table.cell(1, n).text = str(n)
        document.add_paragraph("after")

    assert text_of(docx_file(tmp_path, build)) == "before\n\nwide | two lines\n0 | 1 | 2\n\nafter\n\n"


def test_docx_cells_that_are_merged_over_rows(tmp_path: Path) -> None:
    def build(document: Any) -> None:
        table = document.add_table(5, 3)
        for row in range(5):
            for column in range(3):
                table.cell(row, column).text = f"{row}{column}"
        for top, left, bottom, right in ((1, 1, 3, 1), (1, 2, 2, 2), (4, 0, 4, 1)):
            for row in range(top, bottom + 1):
                for column in range(left, right + 1):
                    table.cell(row, column).text = "both" if (row, column) == (top, left) else ""
            table.cell(top, left).merge(table.cell(bottom, right))

    lines = text_of(docx_file(tmp_path, build)).split("\n")[:5]
    assert lines == ["00 | 01 | 02", "10 | both | both", "20 | both | both", "30 | both | 32", "both | 42"]


def test_docx_a_header_is_not_said_again(tmp_path: Path) -> None:
    def build(document: Any) -> None:
        table = document.add_table(2, 2)
        table.cell(0, 0).merge(table.cell(1, 0)).text = "Fruit"
        table.cell(0, 1).text, table.cell(1, 1).text = "Harvest", "begins"

    assert text_of(docx_file(tmp_path, build)) == "Fruit | Harvest\n | begins\n\n"


def test_docx_table_inside_a_table(tmp_path: Path) -> None:
    def build(document: Any) -> None:
        cell = document.add_table(1, 1).cell(0, 0)
        cell.text = "outer"
        cell.add_table(1, 1).cell(0, 0).text = "inner"

    text = text_of(docx_file(tmp_path, build))
    assert "outer" in text
    assert "inner" in text


def test_docx_without_text(tmp_path: Path) -> None:
    fails(docx_file(tmp_path, lambda document: document.add_paragraph("  ")), NoTextError)


@pytest.mark.parametrize("part", ["[Content_Types].xml", "_rels/.rels", "word/document.xml", "word/styles.xml"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "no XML"])
def test_docx_with_a_broken_part(tmp_path: Path, part: str, damage: str) -> None:
    parts = docx_parts("one")
    content = parts.pop(part)
    if damage != "missing":
        parts[part] = {"empty": b"", "cut": content[: len(content) // 2], "no XML": b"\0\1\2"}[damage]
    assert "broken DOCX" in fails(given(tmp_path, "a.docx", zipped(parts)), ReadError).message


def test_an_old_word_file_called_docx_is_told_apart(tmp_path: Path) -> None:
    error = fails(given(tmp_path, "a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(4000)), EncryptedError)
    assert "password" in error.message


def test_a_docx_that_defines_entities_is_refused(tmp_path: Path) -> None:
    secret = given(tmp_path, "secret.txt", "the secret")
    parts = docx_parts("placeholder")
    declared = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}"><!ENTITY a "{"ha" * 50}"><!ENTITY b "{"&a;" * 50}">]>'
    document = parts["word/document.xml"]
    assert isinstance(document, bytes)
    head, mark, rest = document.partition(b"?>")
    parts["word/document.xml"] = head + mark + declared.encode() + rest.replace(b"placeholder", b"left &e;&b; right")
    assert "defines entities" in fails(given(tmp_path, "a.docx", zipped(parts)), ReadError).message
    # Behind a long comment, where nobody looks for them, they neither grow nor reach another file.
    late = mark + b"<!--" + b"x" * 5000 + b"-->" + declared.encode()
    parts["word/document.xml"] = head + late + rest.replace(b"placeholder", b"left &e;&b; right")
    text = text_of(given(tmp_path, "b.docx", zipped(parts)))
    assert "left" in text
    assert "secret" not in text
    assert "haha" not in text


# EPUB


def test_epub_facts(tmp_path: Path) -> None:
    facts = (
        "<dc:title> The book </dc:title><dc:title>Second title</dc:title><dc:creator>One</dc:creator><dc:creator>Two"
        "</dc:creator><dc:language>de</dc:language><dc:subject>a</dc:subject><dc:subject>b</dc:subject><dc:date/>"
    )
    package = opf(f'<item id="a" href="a.xhtml" {XHTML}/>', '<itemref idref="a"/>', facts)
    reading, _ = read(given(tmp_path, "a.epub", epub({"o/p.opf": package})))
    assert reading.title == "The book"
    assert reading.metadata == {"author": "One", "language": "de", "subject": ["a", "b"]}


def test_epub_with_the_older_table_of_contents(tmp_path: Path) -> None:
    ncx = (
        '<ncx xmlns="n"><navMap><navPoint><navLabel><text> Chapter\n 1 </text></navLabel><content src="a.xhtml#s"/>'
        '<navPoint><navLabel><text>Inner</text></navLabel><content src="a.xhtml#t"/></navPoint></navPoint></navMap></ncx>'
    )
    items = (
        f'<item id="n" href="x/toc.ncx" media-type="application/x-dtbncx+xml"/><item id="a" href="a.xhtml" {XHTML}/>'
    )
    ncx = ncx.replace('src="', 'src="../')
    package = opf(items, '<itemref idref="a"/>')
    _, sections = read(given(tmp_path, "a.epub", epub({"o/p.opf": package, "o/x/toc.ncx": ncx})))
    assert [section.headings for section in sections] == [("Chapter 1",)]


def test_epub_spine_names_what_is_missing_twice_and_pictures(tmp_path: Path) -> None:
    items = (
        f'<item id="gone" href="gone.xhtml" {XHTML}/><item id="p" href="p.png" media-type="image/png"/>'
        f'<item id="b" href="b.xhtml" {XHTML}/><item id="a" href="a.xhtml" {XHTML}/><!-- a comment -->'
    )
    spine = "".join(f'<itemref idref="{name}"/>' for name in ("gone", "p", "b", "nobody", "a", "b"))
    files = {"o/p.opf": opf(items, spine), "o/p.png": "x", "o/b.xhtml": ONE.replace("one", "two")}
    assert text_of(given(tmp_path, "a.epub", epub(files))).split() == ["two", "one"]


def test_epub_chapter_in_another_charset(tmp_path: Path) -> None:
    chapter = '<html><head><meta charset="iso-8859-2"/></head><body><p>Příliš žluťoučký kůň</p></body></html>'
    assert "Příliš žluťoučký kůň" in text_of(
        given(tmp_path, "a.epub", epub({"o/a.xhtml": chapter.encode("iso-8859-2")}))
    )


@pytest.mark.parametrize("algorithm", ["http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"])
def test_epub_with_scrambled_fonts_is_read(tmp_path: Path, algorithm: str) -> None:
    scrambled = f'<encryption><EncryptionMethod Algorithm="{algorithm}"/></encryption>'
    assert text_of(given(tmp_path, "a.epub", epub({"META-INF/encryption.xml": scrambled}))).strip() == "one"


def test_epub_of_pictures_holds_no_text(tmp_path: Path) -> None:
    chapter = '<html><body><img src="p.png"/></body></html>'
    assert "pictures" in fails(given(tmp_path, "a.epub", epub({"o/a.xhtml": chapter})), NoTextError).message


@pytest.mark.parametrize(
    "files",
    [
        {"META-INF/container.xml": b""}, {"META-INF/container.xml": "<container/>"}, {"META-INF/container.xml": "no XML"},
        {"META-INF/container.xml": " "}, {"o/p.opf": b""}, {"o/p.opf": "no XML"}, {"META-INF/encryption.xml": " "},
    ],
)  # fmt: skip
def test_epub_with_a_broken_description(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    fails(given(tmp_path, "a.epub", epub(files)), ReadError)


SELF_CLOSED = ["<title/>", '<script src="a.js"/>', "<style/>"]


@pytest.mark.parametrize("tag", SELF_CLOSED)
def test_epub_chapter_with_a_self_closed_tag(tmp_path: Path, tag: str) -> None:
    chapter = f'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head>{tag}</head><body><p>one</p></body></html>'
    assert text_of(given(tmp_path, "a.epub", epub({"o/a.xhtml": chapter}))).strip() == "one"


# HTML


@pytest.mark.parametrize("tag", SELF_CLOSED)
def test_xhtml_with_a_self_closed_tag(tmp_path: Path, tag: str) -> None:
    page = f'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head>{tag}</head><body><p>one</p></body></html>'
    assert text_of(given(tmp_path, "a.xhtml", page)).strip() == "one"


@pytest.mark.parametrize(
    ("declared", "encoding", "text"),
    [
        ('<meta charset="windows-1251">', "cp1251", "Привет, мир"), ("<meta charset=Shift_JIS>", "shift_jis", "日本語の文章"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r", "Привет, мир"),
        ("<meta charset='iso-8859-2'>", "iso-8859-2", "žluťoučký kůň"), ('<meta charset="big5">', "big5", "中文字"),
        ('<meta charset="iso-8859-1">', "utf-8", "Grüße: it is UTF-8, whatever it says"), ("", "utf-8", "Grüße"),
        ('<meta charset="utf-8">', "utf-16", "Grüße: it has a mark, whatever it says"), ("", "utf-8-sig", "Grüße"),
        ('<meta charset="no-such-thing">', "cp1252", "Grüße – schön"), ("", "utf-16-le", "no mark, and no word about it"),
    ],
)  # fmt: skip
def test_html_charsets(tmp_path: Path, declared: str, encoding: str, text: str) -> None:
    page = f"<html><head>{declared}<title>{text}</title></head><body><p>{text}</p></body></html>"
    reading, sections = read(given(tmp_path, "a.html", page.encode(encoding)))
    assert reading.type == "html"
    assert reading.title == text
    assert "".join(section.text for section in sections).strip() == text


@pytest.mark.parametrize("charset", ["idna", "undefined", "punycode", "base64", "unicode_escape", "rot13"])
def test_html_that_declares_what_is_no_charset(tmp_path: Path, charset: str) -> None:
    page = f'<html><meta charset="{charset}"><body><p>Grüße – schön'.encode("cp1252")
    assert "Grüße – schön" in text_of(given(tmp_path, "a.html", page))


def test_html_text_and_what_is_no_text(tmp_path: Path) -> None:
    page = (
        '<html lang="en"><head><title> Its \n title </title><meta name="Author" content="Me"><meta name="viewport" content="x">'
        "<style>no</style></head><body><nav>no</nav><p>a&nbsp;b  \n c<br>d<script>no</script></p><p hidden>no</p><template>no"
        "</template><noscript>no</noscript><select><option>no</select><button>no</button><!-- no --><pre>  kept\n   as is</pre>"
        "<ul><li>x<li>y</ul><table><tr><td>1<td>2<tr><td>3<td>4</table></body>"
    )
    reading, (section,) = read(given(tmp_path, "a.html", page))
    assert (reading.title, reading.metadata) == ("Its title", {"language": "en", "author": "Me"})
    lines = [line.rstrip() for line in section.text.splitlines() if line.strip()]
    assert lines == ["a b c", "d", "  kept", "   as is", "- x", "- y", "1 | 2 |", "3 | 4 |"]


def test_html_headings_nest_and_end(tmp_path: Path) -> None:
    page = "<html><body>top<h1>A <em>b</em></h1>1<h3>C</h3>2<h2>D</h2>3<h2> </h2>4<h1>E</h1>5"
    _, sections = read(given(tmp_path, "a.html", page))
    assert [(section.headings, section.text.split()[-1]) for section in sections] == [
        ((), "top"),
        (("A b",), "1"),
        (("A b", "C"), "2"),
        (("A b", "D"), "3"),
        (("A b",), "4"),
        (("E",), "5"),
    ]


def test_html_is_known_by_its_content_and_else_by_its_name(tmp_path: Path) -> None:
    assert read(given(tmp_path, "a.txt", "\n <!DOCTYPE html>\n<p>words"))[0].type == "html"
    assert read(given(tmp_path, "b.htm", "<p>words"))[0].type == "html"
    assert read(given(tmp_path, "c.txt", "In HTML, <html> comes first: words"))[0].type == "text"
    assert read(given(tmp_path, "d.html", "no tag at all"))[0].type == "text"


def test_html_that_is_larger_than_a_page_may_be(tmp_path: Path) -> None:
    path = given(tmp_path, "a.html", "<html><body>words" + " " * 5000)
    with path.open("r+b") as file:
        file.truncate(257 * 2**20)
    assert "too large" in fails(path, ReadError).message


# Markdown


def markdown(folder: Path, text: str) -> list[tuple[tuple[str, ...], str]]:
    return [(section.headings, section.text) for section in read(given(folder, "a.md", text))[1]]


@pytest.mark.parametrize(
    "block",
    [
        "```\n# no\n```\n", "~~~\n# no\n~~~\n", "~~~\n# no\n```\n# no\n~~~\n", "````\n```\n# no\n```\n````\n", "   ```sh\n# no\n   ```\n",
        "```python title='x'\n# no\n\nno\n---\n```\n", "    # no, indented\n", "#hashtag\n", "####### seven\n", "\\# no\n",
        "x\n\n---\n\n***\n", "- item\n---\n", "1. item\n---\n", "> quoted\n---\n", "    code\n---\n", "| a | b |\n|---|---|\n| 1 | 2 |\n", "#\n", "```\n# never closed\n\nno\n==\n",
    ],
)  # fmt: skip
def test_markdown_that_looks_like_a_heading_and_is_none(tmp_path: Path, block: str) -> None:
    (found,) = markdown(tmp_path, f"# H\n\n{block}")
    assert found == (("H",), f"# H\n\n{block}")


@pytest.mark.parametrize(
    ("text", "headings"),
    [
        ("# A\n## B\n# C\n", [("A",), ("A", "B"), ("C",)]), ("### A\n# B\n", [("A",), ("B",)]), ("# A #\n", [("A",)]),
        ("   ## A ##  \n", [("A",)]), ("# C#\n", [("C#",)]), ("#\tA\n", [("A",)]), ("A\n=\n\nB\n-\n\nx\n", [("A",), ("A", "B")]),
        ("x\n\nA\n===\n", [(), ("A",)]), ("# **A** `b` [c](d) ![e](f)\n", [("A b c e",)]), ("# A\r\n\r\n## B\r\n", [("A",), ("A", "B")]),
        ("# A", [("A",)]), ("# A {#a .b}\n", [("A",)]), ("**A** {#a}\n===\n", [("A",)]), ("```\nx\n```\n# A\n", [(), ("A",)]),
    ],
)  # fmt: skip
def test_markdown_headings(tmp_path: Path, text: str, headings: list[tuple[str, ...]]) -> None:
    assert [path for path, _ in markdown(tmp_path, text)] == headings


@pytest.mark.parametrize(
    ("front", "facts"),
    [
        ("title: T\nauthor: 'Me'\n", {"author": "Me"}), ("title: T\ntags:\n  - a\n  - \"b c\"\n", {"tags": ["a", "b c"]}),
        ("title: T\ntags:\n- a\n- b\n", {"tags": ["a", "b"]}), ("title: T\ntags: [a, 'b', ]\nempty:\n", {"tags": ["a", "b"]}),
        ("title: T\n# comment\nnested:\n  deep: x\nUrl: http://x/y\n", {"url": "http://x/y"}), ("title: T\r\nYear: 2020\r\n", {"year": 2020}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["---", "..."])
def test_markdown_front_matter(tmp_path: Path, front: str, facts: dict[str, object], end: str) -> None:
    reading, sections = read(given(tmp_path, "a.md", f"---\n{front}{end}\n# H\n\ntext\n"))
    assert (reading.title, reading.metadata) == ("T", facts)
    assert [(section.headings, section.text) for section in sections] == [(("H",), "# H\n\ntext\n")]


def test_markdown_front_matter_that_never_ends_is_text(tmp_path: Path) -> None:
    text = "---\ntitle: T\n\n# H\n\ntext\n"
    reading, sections = read(given(tmp_path, "a.md", text))
    assert (reading.title, reading.metadata) == ("H", {})
    assert "".join(section.text for section in sections) == text


def test_markdown_front_matter_comes_first_or_is_none(tmp_path: Path) -> None:
    reading, sections = read(given(tmp_path, "a.md", "\n---\ntitle: T\n---\n"))
    assert reading.metadata == {}
    assert "title: T" in "".join(section.text for section in sections)


def test_markdown_text_is_unchanged(samples: Path, tmp_path: Path) -> None:
    whole = (samples / "sqlite/write-ahead-log.md").read_text()
    body = whole.split("---\n", 2)[2]
    long = given(tmp_path, "long.md", body * 40)
    assert long.stat().st_size > 1_000_000
    assert text_of(long) == body * 40
    assert max(len(section.text) for section in read(long)[1]) < 110_000


BROKEN_TITLES = {
    "names with underscores": ("# MAX_SIZE and snake_case\n", "MAX_SIZE and snake_case"),
    "signs of arithmetic": ("# 2 * 3 * 4\n", "2 * 3 * 4"),
    "a comment in code before the heading": ("```\n# no\n```\n\n# Yes\n", "Yes"),
    "an underlined heading": ("Title\n=====\n\ntext\n", "Title"),
}


@pytest.mark.parametrize("case", BROKEN_TITLES)
def test_markdown_titles(tmp_path: Path, case: str) -> None:
    text, title = BROKEN_TITLES[case]
    reading, sections = read(given(tmp_path, "a.md", text))
    assert reading.title == title
    assert sections[-1].headings == (title,)


def test_markdown_fence_inside_a_fence(tmp_path: Path) -> None:
    text = "```\n```python\n# no\n```\n\n# Yes\n"
    assert [path for path, _ in markdown(tmp_path, text)] == [(), ("Yes",)]


# Plain text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"])
def test_text_in_many_encodings(tmp_path: Path, encoding: str) -> None:
    text = "Die Größe des Gebäudes überrascht; schöne Bäume stehen vor der Tür.\nJede Zeile zählt.\n" * 3
    path = given(tmp_path, "a.txt", text.encode(encoding))
    assert read(path)[0].type == "text"
    assert text_of(path) == text


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
def test_utf16_with_its_mark(tmp_path: Path, encoding: str) -> None:
    text = "日本語の文章\nGrüße \U0001f600\n"
    assert text_of(given(tmp_path, "a.txt", ("\ufeff" + text).encode(encoding))) == text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_mark_before_markdown_and_html(tmp_path: Path, encoding: str) -> None:
    reading, sections = read(given(tmp_path, "a.md", "---\ntitle: T\n---\n# H\n".encode(encoding)))
    assert (reading.title, sections[0].headings) == ("T", ("H",))
    assert read(given(tmp_path, "a.html", "<p>Grüße".encode(encoding)))[0].type == "html"


def test_typographic_marks_of_windows(tmp_path: Path) -> None:
    text = "“Quoted” text – with a dash, ‘single’ quotes, an ellipsis… and a price of 5 €."
    assert text_of(given(tmp_path, "a.txt", text.encode("cp1252"))) == text


@pytest.mark.parametrize("text", ["Café", "Grüße", "naïve résumé", "El niño comió piñas", "Élève très doué à l'école"])
def test_a_short_text_of_windows(tmp_path: Path, text: str) -> None:
    assert text_of(given(tmp_path, "a.txt", text.encode("cp1252"))) == text


def test_one_bad_byte_spoils_one_character(tmp_path: Path) -> None:
    good = "Grüße aus Köln. " * 2000
    data = good.encode()
    found = text_of(given(tmp_path, "a.txt", data[:400] + b"\xff" + data[400:]))
    assert found.replace("ÿ", "") == good


def test_a_bad_byte_after_the_sample_shows(tmp_path: Path) -> None:
    good = "Grüße aus Köln. " * 40_000
    data = good.encode()
    found = text_of(given(tmp_path, "a.txt", data[:600_000] + b"\xff" + data[600_000:]))
    assert found.count("ÿ") == 1
    assert found.replace("ÿ", "") == good


def test_letters_of_windows_far_into_a_plain_file(tmp_path: Path) -> None:
    for plain in (100, 77_000, 300_000):
        text = "plain text\n" * (plain // 11) + "Müller, José, naïve café.\n"
        assert text_of(given(tmp_path, "a.txt", text.encode("cp1252"))).endswith("Müller, José, naïve café.\n")


@pytest.mark.parametrize(
    ("declared", "encoding", "text"),
    [
        ("<meta charset='iso-8859-1'>", "cp1252", "“yes… maybe” — it’s €5"),
        ("<meta charset='gb2312'>", "gbk", "朱镕基"),
        ("<meta charset=shift_jis>", "cp932", "①髙橋"),
        ("<?xml version='1.0' encoding='windows-1251'?>", "cp1251", "Привет, мир"),
        ("<meta charset='iso-8859-1'><style>" + "a {color: red}\n" * 6000 + "</style>", "cp1252", "Café Müller naïve"),
    ],
)
def test_a_page_is_read_as_browsers_read_it(tmp_path: Path, declared: str, encoding: str, text: str) -> None:
    page = f"{declared}<html><body><p>{text}</p></body></html>".encode(encoding)
    assert text_of(given(tmp_path, "a.html", page)).strip() == text


def test_a_rule_at_the_top_of_a_markdown_file_is_no_front_matter(tmp_path: Path) -> None:
    text = "---\n\nDear reader, this is important.\n\n# Intro\n\nMore.\n\n---\n\n# Two\n\nlast\n"
    reading, sections = read(given(tmp_path, "a.md", text))
    assert reading.metadata == {}
    assert "".join(section.text for section in sections) == text


def test_a_block_in_front_matter_is_kept(tmp_path: Path) -> None:
    reading, _ = read(given(tmp_path, "a.md", "---\ntitle: X\nabstract: |\n  This is\n  kept.\n---\n\nbody\n"))
    assert reading.metadata == {"abstract": "This is kept."}


def test_markdown_that_speaks_of_pdf_or_tags_is_markdown(tmp_path: Path) -> None:
    for text in (
        "# Notes\n\nA file starts with %PDF-1.7 as its magic.\n",
        "<p align=center>logo</p>\n\n# Tool\n\nUse `<header>`.\n",
    ):
        reading, sections = read(given(tmp_path, "a.md", text))
        assert reading.type == "markdown"
        assert "".join(section.text for section in sections) == text


def test_blocks_of_html_are_not_glued(tmp_path: Path) -> None:
    page = (
        "<html><body><dl><dt>Term<dd>first</dd><dd>second</dd></dl><center>Alpha</center><center>Beta</center>"
        "<fieldset><legend>Name</legend>First</fieldset></body></html>"
    )
    assert text_of(given(tmp_path, "a.html", page)).split() == [
        "Term",
        "first",
        "second",
        "Alpha",
        "Beta",
        "Name",
        "First",
    ]


def test_a_docx_keeps_what_is_inserted_controlled_boxed_or_noted(tmp_path: Path) -> None:
    parts = docx_parts("one")
    body = (
        "<w:sdt><w:sdtContent><w:p><w:r><w:t>Cover page.</w:t></w:r></w:p></w:sdtContent></w:sdt>"
        '<w:p><w:r><w:t xml:space="preserve">The price is </w:t></w:r><w:ins><w:r><w:t xml:space="preserve">not </w:t></w:r></w:ins>'
        "<w:del><w:r><w:delText>very </w:delText></w:r></w:del><w:r><w:t>negotiable.</w:t></w:r></w:p>"
        "<w:p><w:r><w:t>Name: </w:t></w:r><w:sdt><w:sdtContent><w:r><w:t>Ada</w:t></w:r></w:sdtContent></w:sdt></w:p>"
        "<w:p><w:r><w:txbxContent><w:p><w:r><w:t>Boxed.</w:t></w:r></w:p></w:txbxContent></w:r></w:p>"
    )
    document = parts["word/document.xml"]
    text = document if isinstance(document, str) else document.decode()
    parts["word/document.xml"] = text.replace("<w:body>", "<w:body>" + body, 1)
    found = text_of(given(tmp_path, "a.docx", zipped(parts)))
    for wanted in ("Cover page.", "The price is not negotiable.", "Name: Ada", "Boxed."):
        assert wanted in found
    assert "very" not in found


@pytest.mark.parametrize(
    "filling", ["é" * 600_000, "\U0001f600" * 600_000, ("x" * 65_535 + "\r\n") * 5, "ab\n\n" * 100_000]
)
def test_blocks_lose_nothing_where_they_meet(tmp_path: Path, filling: str) -> None:
    path = given(tmp_path, "a.txt", filling)
    sections = read(path)[1]
    assert len(sections) > 1
    assert "".join(section.text for section in sections) == filling.replace("\r\n", "\n")
    assert max(len(section.text) for section in sections) <= 5 * 65_536


def test_every_kind_of_line_end_is_one(tmp_path: Path) -> None:
    text = "The first line\rsecond\r\nthird\x0cfourth\u2028fifth\u2029sixth\x85seventh " + "and more words " * 20
    lines = text_of(given(tmp_path, "a.txt", text)).split("\n")
    assert [line.split()[0] for line in lines] == ["The", "second", "third", "fourth", "fifth", "sixth", "seventh"]


def test_characters_that_are_no_text_go(tmp_path: Path) -> None:
    text = "bell\x07 and escape\x1b[1m " + "words " * 100 + "\ufffe\uffff\x7f end"
    assert text_of(given(tmp_path, "a.txt", text)) == "bell and escape[1m " + "words " * 100 + " end"


NOISE = random.Random(7).randbytes(6000)


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n" + NOISE, b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + NOISE],
    ids=["PNG", "JPEG"],
)
@pytest.mark.parametrize("name", ["a.txt", "a.log", "a.md", "a.html", "a.pdf"])
def test_a_picture_is_one_by_any_name(tmp_path: Path, content: bytes, name: str) -> None:
    assert "broken picture" in fails(given(tmp_path, name, content), ReadError).message


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(NOISE), b"\x7fELF\x02\x01\x01" + NOISE,
        zipped({"x.txt": "hello " * 50}), b"SQLite format 3\x00" + NOISE, b"GIF89a" + NOISE, bytes(5000), NOISE, b"\xd0\xcf\x11\xe0" + NOISE,
    ],
    ids=["gzip", "ELF", "zip", "SQLite", "GIF", "zeros", "noise", "OLE"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.txt", "a.log", "a.md", "a.html", "a.pdf"])
def test_a_binary_file_is_refused_by_any_name(tmp_path: Path, content: bytes, name: str) -> None:
    error = fails(given(tmp_path, name, content), UnsupportedFormatError)
    assert "There are readers for: pdf, epub, mobi, docx, " in (error.hint or "")


@pytest.mark.parametrize("content", [bytes(4000), b"words " * 800])
@pytest.mark.parametrize(
    ("name", "what", "instead"),
    [
        ("a.doc", "an old binary Word file", ".docx"), ("A.XLS", "an old binary Excel file", ".xlsx"),
        ("a.ppt", "an old binary PowerPoint file", ".pptx"), ("a.msg", "a binary file as old Office programs wrote it", ".eml"),
    ],
)  # fmt: skip
def test_an_old_office_file_says_what_it_is_and_what_to_do(
    tmp_path: Path, content: bytes, name: str, what: str, instead: str
) -> None:
    path = given(tmp_path, name, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + content)
    with pytest.raises(UnsupportedFormatError) as caught:
        reader_for(path)
    assert what in caught.value.message
    assert instead in caught.value.message
    assert "LibreOffice" in str(caught.value)
