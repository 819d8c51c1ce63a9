"""One input of the fuzzer as a file of some format: its first byte says which. It is read, or refused with an error of ours."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from reader_support import FILES, unzipped, zipped
from stackroom.errors import ReadError
from stackroom.ingest import parser
from stackroom.ingest.readers import READERS
from stackroom.ingest.readers.common import limits
from stackroom.ingest.splitter import TokenSplitter

_work = Path(tempfile.mkdtemp(prefix="fuzz-"))
_splitter = TokenSplitter(None, 60, 8)

SAMPLES = Path(__file__).parents[2] / "samples"

PLAIN = (
    ".pdf", ".rtf", ".mbox", ".eml", ".ipynb", ".py", ".c", ".json", ".jsonl", ".xml", ".srt", ".vtt", ".html", ".md",
    ".rst", ".org", ".tex", ".csv", ".txt", ".fodt", ".fods", ".fodp", ".zim", ".docx", ".xlsx",
)  # fmt: skip
"""Suffixes of files whose content the input is."""

PACKED = (
    ("docx", "word/document.xml"), ("docx", "word/styles.xml"), ("docx", "word/_rels/document.xml.rels"),
    ("xlsx", "xl/worksheets/sheet1.xml"), ("xlsx", "xl/workbook.xml"), ("xlsx", "xl/styles.xml"),
    ("pptx", "ppt/slides/slide1.xml"), ("pptx", "ppt/presentation.xml"), ("pptx", "ppt/_rels/presentation.xml.rels"),
    ("odt", "content.xml"), ("odt", "META-INF/manifest.xml"), ("ods", "content.xml"), ("odp", "content.xml"),
    ("epub", "chapter.xhtml"), ("epub", "content.opf"), ("epub", "META-INF/container.xml"), ("epub", "toc.ncx"),
)  # fmt: skip
"""Parts of archives that the input replaces: mutated archives seldom get past their checksums."""


def kinds() -> int:
    return len(PLAIN) + len(PACKED)


def file_of(data: bytes) -> tuple[str, bytes]:
    """The suffix and the content of the file that an input stands for."""
    kind, content = data[0] % kinds(), data[1:]
    if kind < len(PLAIN):
        return PLAIN[kind], content
    name, part = PACKED[kind - len(PLAIN)]
    return f".{name}", zipped({**template(name), part: content})


def attempt(data: bytes) -> None:
    """Every message of the parser process can be sent, and the last one says how it ended."""
    if not data:
        return
    suffix, content = file_of(data)
    path = _work / f"a{suffix}"
    path.write_bytes(content)
    last: parser.Message = {}
    for last in told(path):
        json.dumps(last)
        for chunk in last.get("chunks", ()):
            assert chunk[0] == limits.clean(chunk[0])
    assert "done" in last or "error" in last, last


def told(path: Path) -> Iterator[parser.Message]:
    """As the parser process does; what a reader did not expect is let through, for the fuzzer to show."""
    try:
        yield from parser._read(path, _splitter, (), None)
    except ReadError as error:
        assert str(path) in error.message
        yield {"error": error.message}


@cache
def template(name: str) -> dict[str, str | bytes]:
    """The parts of a small archive of this format."""
    made = _MADE.get(name)
    return made() if made is not None else unzipped(FILES / "pptx/fake-power-point-table.pptx")


def _odf(kind: str) -> Callable[[], dict[str, str | bytes]]:
    mime = f"application/vnd.oasis.opendocument.{kind}"
    body = {
        "text": "<text:h text:outline-level='1'>Title</text:h><text:p>one <text:s text:c='3'/>two</text:p>",
        "spreadsheet": "<table:table table:name='S'><table:table-row table:number-rows-repeated='2'><table:table-cell "
        "table:number-columns-repeated='2'><text:p>a</text:p></table:table-cell></table:table-row></table:table>",
        "presentation": "<draw:page><draw:frame presentation:class='title'><draw:text-box><text:p>T</text:p>"
        "</draw:text-box></draw:frame><presentation:notes><draw:frame><text:p>n</text:p></draw:frame></presentation:notes></draw:page>",
    }[kind]
    spaces = " ".join(
        f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{short}:1.0"'
        for short in ("office", "text", "table", "draw", "presentation", "style")
    )
    content = f"<office:document-content {spaces}><office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
    manifest = '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    return lambda: {"mimetype": mime, "content.xml": content, "META-INF/manifest.xml": manifest}


def _epub() -> dict[str, str | bytes]:
    item = '<item id="{}" href="{}" media-type="{}"/>'
    return {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="content.opf"/></rootfiles></container>',
        "content.opf": "<package><metadata><title>T</title></metadata><manifest>"
        + item.format("c", "chapter.xhtml", "application/xhtml+xml")
        + item.format("n", "toc.ncx", "application/x-dtbncx+xml")
        + '</manifest><spine><itemref idref="c"/></spine></package>',
        "toc.ncx": "<ncx><navMap><navPoint><navLabel><text>One</text></navLabel><content src='chapter.xhtml'/></navPoint></navMap></ncx>",
        "chapter.xhtml": "<html><body><h1>One</h1><p>words</p></body></html>",
    }


def _docx() -> dict[str, str | bytes]:
    import io

    import docx

    document = docx.Document()
    document.add_heading("Title", 1)
    document.add_paragraph("words")
    document.add_table(1, 2).cell(0, 0).text = "cell"
    held = io.BytesIO()
    document.save(held)
    return _unpacked(held.getvalue())


def _xlsx() -> dict[str, str | bytes]:
    import io

    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in (["name", "n", "share"], ["a", 1, 0.5], ["b", 2.5, True]):
        sheet.append(row)
    sheet["C2"].number_format = "0%"
    held = io.BytesIO()
    book.save(held)
    return _unpacked(held.getvalue())


def _unpacked(data: bytes) -> dict[str, str | bytes]:
    path = _work / "template"
    path.write_bytes(data)
    return unzipped(path)


_MADE: dict[str, Callable[[], dict[str, str | bytes]]] = {
    "odt": _odf("text"), "ods": _odf("spreadsheet"), "odp": _odf("presentation"), "epub": _epub, "docx": _docx, "xlsx": _xlsx,
}  # fmt: skip

_TEXTS: dict[str, str] = {
    ".rtf": r"{\rtf1\ansi\ansicpg1252{\info{\title T}}Hello \b bold\b0\par \u8364? {\*\x y}\trowd a\cell b\cell\row}",
    ".mbox": "From a@b Sat Jan  3 01:05:34 1996\nFrom: a@b\nSubject: s\n\nbody\n\nFrom c@d Sat Jan  3 01:05:34 1996\nSubject: t\n\nx\n",
    ".eml": "From: =?utf-8?q?a?= <a@b>\nSubject: s\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n"
    "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n<p>=C3=A4</p>\n--b\n"
    "Content-Disposition: attachment; filename=a.csv\nContent-Transfer-Encoding: base64\n\nYSxiCjEsMgo=\n--b--\n",
    ".py": "# c\nclass A:\n    @d\n    def f(self): pass\n",
    ".c": "/* c */\nint main(int a) {\n}\n",
    ".json": '{"a": [1, 2.5, null, true], "b": [{"c": "d"}, {"c": "e"}], "title": "t"}',
    ".jsonl": '{"a": 1}\n{"a": {"b": ["c"]}}\n',
    ".xml": "<?xml version='1.0'?><r><title>t</title><i a='1'><b>x</b></i><i a='2'><b>&lt;p&gt;y&lt;/p&gt;</b></i></r>",
    ".srt": "1\n00:00:01,000 --> 00:00:02,000\n<i>Hello</i>\n\n2\n00:00:03,000 --> 00:00:04,500\nthere\n",
    ".vtt": "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>Hello &amp; so on\n",
    ".html": "<!doctype html><html lang=en><head><title>T</title><meta name=author content=a></head><body><h1>H</h1><p style="
    "'display:none'>x</p><ul><li>a</ul><table><tr><td>1<td>2</table><pre> p </pre></body></html>",
    ".md": "---\ntitle: T\ntags: [a, b]\nn: 1\n---\n# H\n\ntext *e* [l](u)\n\nS\n---\n```\n# no\n```\n",
    ".rst": "=====\nTitle\n=====\n\nPart\n----\n\n:ref:`x <y>` *e*\n",
    ".org": "#+TITLE: T\n* TODO H :tag:\n:PROPERTIES:\n:x: y\n:END:\n[[l][d]]\n",
    ".tex": "\\documentclass{a}\\title{T}\\begin{document}\\section{S}a \\'e $x^2$ \\begin{tabular}{l}a & b \\\\ c\\end{tabular} "
    "\\begin{verbatim}v\\end{verbatim}\\item[x] y\\cite{z}\\end{document}",
    ".csv": 'sep=;\nname;n\n"a ""b""";1\n;2\n',
    ".txt": "a line\nand another\n",
    ".ipynb": '{"cells": [{"cell_type": "markdown", "source": ["# H\\n", "x"]}, {"cell_type": "code", "source": "1", "outputs": '
    '[{"output_type": "stream", "text": "o"}]}], "metadata": {"kernelspec": {"language": "python"}}}',
}  # fmt: skip


def seeds() -> Iterator[bytes]:
    """A small whole file of each format."""
    for kind, suffix in enumerate(PLAIN):
        begin = bytes([kind])
        if suffix in _TEXTS:
            yield begin + _TEXTS[suffix].encode()
        elif suffix.startswith(".fod"):
            parts = template(suffix[1:].replace("fod", "od"))
            flat = str(parts["content.xml"]).replace("office:document-content", "office:document")
            yield (
                begin
                + flat.replace(
                    "<office:document", f'<office:document office:mimetype="{parts["mimetype"]!s}"', 1
                ).encode()
            )
        elif suffix in (".docx", ".xlsx"):
            yield begin + zipped(template(suffix[1:]))
        else:
            small = [
                path
                for folder in (FILES, SAMPLES)
                for path in folder.rglob(f"*{suffix}")
                if path.stat().st_size < 20_000
            ]
            yield from (begin + path.read_bytes() for path in small[:3])
    yield b"\x00" + small_pdf()
    for kind, (name, part) in enumerate(PACKED, start=len(PLAIN)):
        content = template(name).get(part)
        if content is not None:
            yield bytes([kind]) + (content if isinstance(content, bytes) else content.encode())


def small_pdf(*objects: bytes) -> bytes:
    """A PDF of these objects after the first six: catalogue, pages, page, font, content, outlines. Its table of objects is right."""
    content = b"BT /F 12 Tf 72 720 Td (Hello there) Tj ET"
    parts = [
        b"<</Type/Catalog/Pages 2 0 R/Outlines 6 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F 4 0 R>>>>/Contents 5 0 R>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Outlines/Count 0>>",
        *objects,
    ]
    return pdf_of(parts)


def pdf_of(parts: list[bytes]) -> bytes:
    """Objects, numbered from 1, as a file; the first is the catalogue."""
    data, offsets = b"%PDF-1.5\n", []
    for number, part in enumerate(parts, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return data + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (
        len(parts) + 1, table, len(parts) + 1, len(data),
    )  # fmt: skip


assert {suffix for reader in READERS for suffix in reader.suffixes} >= set(PLAIN)
