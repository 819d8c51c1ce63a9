"""Every format: what a real file gives, and what a broken one says."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from stackroom.errors import EncryptedError, NoTextError, ReadError, ScannedError, UnsupportedFormatError
from stackroom.ingest.readers import READERS, reader_for
from stackroom.protocols import Reader, Section

# Made with pikepdf: a blank page, and the same behind a password (AES, 128 bits).
FILES = Path(__file__).parent / "files"


def read(path: Path) -> tuple[str, str | None, dict[str, object], list[Section]]:
    reading = reader_for(path).read(path)
    return reading.type, reading.title, reading.metadata, list(reading.sections)


def text_of(path: Path) -> str:
    return "".join(section.text for section in read(path)[3])


def test_every_reader_is_one() -> None:
    for reader in READERS:
        assert isinstance(reader, Reader)
        assert reader.version >= 1
        assert all(suffix.startswith(".") and suffix.islower() for suffix in reader.suffixes)


def test_pdf_gives_pages(samples: Path) -> None:
    kind, title, metadata, sections = read(samples / "debian/packaging-tutorial.pdf")
    assert kind == "pdf"
    assert metadata["pages"] == len(sections)
    assert [section.page for section in sections] == list(range(1, len(sections) + 1))
    assert title
    assert "Debian" in sections[0].text
    assert any(section.headings for section in sections)


def test_epub_gives_chapters(samples: Path) -> None:
    kind, title, metadata, sections = read(samples / "debian/developers-reference.epub")
    assert (kind, title) == ("epub", "developers-reference")
    assert metadata["language"] == "en"
    assert len({section.headings[0] for section in sections if section.headings}) > 5


def test_html_gives_headings_and_no_scripts(samples: Path) -> None:
    kind, _, _, sections = read(samples / "handbook/system-events.html")
    assert kind == "html"
    text = "".join(section.text for section in sections)
    assert "rsyslogd" in text
    assert any(len(section.headings) > 1 for section in sections)
    assert "<" not in text[:200]


def test_docx_gives_headings_and_tables(samples: Path, tmp_path: Path) -> None:
    kind, _, _, sections = read(samples / "sqlite/when-to-use.docx")
    assert kind == "docx"
    assert any(section.headings for section in sections)
    import docx

    made = docx.Document()
    made.add_heading("Prices", 1)
    table = made.add_table(2, 2)
    for n, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"c{n}"
    made.save(str(tmp_path / "t.docx"))
    (first, *rest) = read(tmp_path / "t.docx")[3]
    text = "".join(section.text for section in (first, *rest))
    assert "c0 | c1\nc2 | c3\n" in text
    assert (first, *rest)[-1].headings == ("Prices",)


def test_markdown_keeps_its_text_and_knows_its_headings(tmp_path: Path) -> None:
    text = (
        "---\ntitle: My notes\ntags: [a, b]\nyear: 2020\n---\n# One\n\ntext\n\n```\n# no heading\n```\n\n"
        "Two\n---\n\nmore\n\n### Deep `code` [link](x)\n\nend\n"
    )
    (tmp_path / "a.md").write_text(text)
    kind, title, metadata, sections = read(tmp_path / "a.md")
    assert (kind, title, metadata["tags"]) == ("markdown", "My notes", ["a", "b"])
    assert [section.headings for section in sections] == [
        ("One",), ("One", "Two"), ("One", "Two", "Deep code link"),
    ]  # fmt: skip
    body = "".join(section.text for section in sections)
    assert body in text
    assert body.startswith("# One")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "Grüße aus Köln, 你好"), ("utf-8-sig", "Grüße mit Marke"), ("utf-16", "Grüße in sechzehn Bit"),
        ("utf-16-le", "Latin text without a mark, in pairs of bytes"), ("cp1252", "Grüße – aus dem Büro, schöne Wörter über Äpfel"),
        ("shift_jis", "日本語の文章です。これはテストの文章であり、文字コードを判定します。"),
    ],
)  # fmt: skip
def test_text_in_any_encoding(tmp_path: Path, encoding: str, text: str) -> None:
    (tmp_path / "a.txt").write_bytes((text + "\r\n").encode(encoding))
    assert text_of(tmp_path / "a.txt").strip() == text


def test_html_believes_its_declared_charset(tmp_path: Path) -> None:
    html = '<html><head><meta charset="iso-8859-2"><title>Žluť</title></head><body><p>Příliš žluťoučký kůň'
    (tmp_path / "a.html").write_bytes(html.encode("iso-8859-2"))
    _, title, _, sections = read(tmp_path / "a.html")
    assert title == "Žluť"
    assert "Příliš žluťoučký kůň" in sections[0].text


def test_html_of_any_depth(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<html><body>" + "<div>" * 20_000 + "deep inside" + "</div>" * 20_000)
    assert "deep inside" in text_of(tmp_path / "a.html")


def test_content_rules_over_the_suffix(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes((samples / "debian/packaging-tutorial.pdf").read_bytes())
    assert read(tmp_path / "a.txt")[0] == "pdf"


def fails(path: Path, kind: type[ReadError]) -> ReadError:
    with pytest.raises(ReadError) as caught:
        text_of(path)
    assert type(caught.value) is kind
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def test_what_holds_no_text_says_so(tmp_path: Path) -> None:
    for name, content in (
        ("a.txt", b""),
        ("b.txt", b" \n\t\n"),
        ("c.html", b"<html><body><script>x()</script></body></html>"),
        ("d.md", b"\n"),
    ):
        (tmp_path / name).write_bytes(content)
        fails(tmp_path / name, NoTextError)


def test_unknown_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x7fELF" + bytes(range(256)) * 20)
    fails(tmp_path / "a.txt", UnsupportedFormatError)


@pytest.mark.parametrize(
    "name", ["debian/packaging-tutorial.pdf", "debian/developers-reference.epub", "sqlite/when-to-use.docx"]
)
def test_cut_and_scrambled_files_fail_clearly_or_are_salvaged(samples: Path, tmp_path: Path, name: str) -> None:
    whole = (samples / name).read_bytes()
    path = tmp_path / Path(name).name
    for damaged in (
        whole[:200],
        whole[: len(whole) // 2],
        whole[:1000] + bytes(len(whole) - 1000),
        whole[:-1000] + b"x" * 1000,
    ):
        path.write_bytes(damaged)
        try:
            assert text_of(path).strip()
        except ReadError as error:
            assert str(path) in error.message
            assert error.hint


def test_an_encrypted_pdf_needs_its_password() -> None:
    fails(FILES / "needs-password.pdf", EncryptedError)


def test_a_scan_says_what_to_do() -> None:
    error = fails(FILES / "blank.pdf", ScannedError)
    assert isinstance(error, ScannedError)
    assert error.pages == 1
    assert error.hint is not None
    assert "--ocr" in error.hint


def test_an_encrypted_docx_needs_its_password(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000))
    fails(tmp_path / "a.docx", EncryptedError)


def epub(files: dict[str, str]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        for name, text in files.items():
            archive.writestr(name, text)
    return held.getvalue()


CONTAINER = '<container><rootfiles><rootfile full-path="o/p.opf"/></rootfiles></container>'
PACKAGE = (
    '<package xmlns:dc="d"><metadata><dc:title>T</dc:title></metadata><manifest>'
    '<item id="b" href="b.xhtml" media-type="application/xhtml+xml"/><item id="a" href="a%20b.xhtml" media-type="application/xhtml+xml"/>'
    '<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/></manifest>'
    '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
)


def test_epub_follows_spine_and_navigation(tmp_path: Path) -> None:
    (tmp_path / "a.epub").write_bytes(epub({
        "META-INF/container.xml": CONTAINER, "o/p.opf": PACKAGE,
        "o/nav.xhtml": '<html><body><nav><a href="a%20b.xhtml">First</a><a href="b.xhtml#x">Second</a></nav></body></html>',
        "o/a b.xhtml": "<html><body><p>one</p></body></html>", "o/b.xhtml": "<html><body><h1>Second</h1><h2>Sub</h2><p>two</p></body></html>",
    }))  # fmt: skip
    _, title, _, sections = read(tmp_path / "a.epub")
    assert title == "T"
    assert [(section.headings, section.text.split()[-1]) for section in sections if section.text.strip()][-1] == (
        ("Second", "Sub"),
        "two",
    )
    assert sections[0].headings == ("First",)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.epub").write_bytes(epub({"META-INF/container.xml": "x" * 50_000_000}))
    assert "far more" in fails(tmp_path / "a.epub", ReadError).message


def test_an_epub_under_drm_is_encrypted(tmp_path: Path) -> None:
    encryption = '<encryption><EncryptedData><EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></EncryptedData></encryption>'
    (tmp_path / "a.epub").write_bytes(
        epub({"META-INF/encryption.xml": encryption, "META-INF/container.xml": CONTAINER, "o/p.opf": PACKAGE})
    )
    fails(tmp_path / "a.epub", EncryptedError)


def test_entities_do_not_reach_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("the secret")
    hostile = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret.txt">]>' + PACKAGE.replace(">T<", ">&e;<")
    (tmp_path / "a.epub").write_bytes(
        epub({"META-INF/container.xml": CONTAINER, "o/p.opf": hostile, "o/b.xhtml": "<html><body>text</body></html>"})
    )
    assert "secret" not in repr(read(tmp_path / "a.epub"))
