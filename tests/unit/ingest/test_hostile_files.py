"""Hostile files of every format in one folder: the run ends, the honest file is found, and the ledger says what became of each."""

from __future__ import annotations

import base64
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz.readers import pdf_of, template
from reader_support import FILES, given, zipped
from stackroom.errors import ReadError
from stackroom.index import Index
from stackroom.ingest.file_facts import hash_file
from stackroom.ingest.readers import reader_for
from stackroom.ingest.readers.common import limits
from stackroom.ingest.splitter import TokenSplitter
from stackroom.ingest.workers import Job, ParserPool
from stackroom.progress import CancelToken

MAIN = {
    "docx": "word/document.xml", "xlsx": "xl/worksheets/sheet1.xml", "pptx": "ppt/slides/slide1.xml", "odt": "content.xml",
    "ods": "content.xml", "odp": "content.xml", "epub": "chapter.xhtml",
}  # fmt: skip
"""The part that holds the text, in each format that is an archive."""

DEEP = 20_000
SECRET = "the secret of somebody else"

Made = Callable[[Path], bytes]
READ = "read"
"""Read within limits; other outcomes are the reason's words."""


def packed(name: str, content: bytes) -> bytes:
    return zipped({**template(name), MAIN[name]: content})


def original(name: str) -> str:
    part = template(name)[MAIN[name]]
    text = part if isinstance(part, str) else part.decode()
    return text.partition("?>")[2] if text.startswith("<?xml") else text


def with_entity(name: str, declared: str, before: str = "") -> bytes:
    """The format's own text with `&x;` in it, and these declarations in front."""
    text = original(name)
    for words in (">words<", ">one ", ">a<", ">T<"):
        text = text.replace(words, f">&x;{words[1:]}")
    root = text.split("<", 1)[1].split(None, 1)[0].rstrip(">")
    return packed(name, f'<?xml version="1.0"?>{before}<!DOCTYPE {root} [{declared}]>{text}'.encode())


def laughs(last: str = "x") -> str:
    lines = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha" * 10}">' for n in range(9))
    return lines + f'<!ENTITY {last} "&l8;">'


def quadratic() -> str:
    return f'<!ENTITY a "{"A" * 50_000}"><!ENTITY x "{"&a;" * 10_000}">'


def many_members(name: str) -> bytes:
    """More entries than an archive may have, all of them one and the same."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for part, content in template(name).items():
            archive.writestr(part, content)
        archive.writestr("x", b"")
    data = held.getvalue()
    (directory,) = struct.unpack_from("<I", data, data.rindex(b"PK\x05\x06") + 16)
    last = data.rindex(b"PK\x01\x02")
    entry = data[last : data.rindex(b"PK\x05\x06")]
    size, count = last - directory + len(entry) * 70_000, 70_000
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, directory)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, directory + size, 1)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:last] + entry * count + end64 + locator + end


def lying(name: str) -> bytes:
    """A part that is larger than its entry says."""
    data = bytearray(packed(name, b"<a>" + b"y" * 100_000 + b"</a>"))
    part = MAIN[name].encode()
    struct.pack_into("<I", data, data.find(part) - 30 + 22, 10)
    struct.pack_into("<I", data, data.rfind(part) - 46 + 24, 10)
    return bytes(data)


def picture() -> bytes:
    """A PNG of 100,000 by 100,000 points: ten thousand million bytes, for whoever unpacks it."""

    def part(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", size) + part(b"IDAT", zlib.compress(bytes(1_000_000))) + part(b"IEND", b"")
    )


def archives() -> dict[str, tuple[Made, str]]:
    files: dict[str, tuple[Made, str]] = {}
    for name in MAIN:
        for what, made, outcome in (
            ("bomb", lambda _, name=name: packed(name, b" " * 20_000_000), "unpacks to far more"),
            ("nested", lambda _, name=name: zipped({**template(name), "a.zip": zipped({"b.zip": zipped({"c": bytes(1_000_000)})})}), READ),
            ("members", lambda _, name=name: many_members(name), "70,0"),
            ("lying", lambda _, name=name: lying(name), ""),
            ("laughs", lambda _, name=name: with_entity(name, laughs()), ""),
            ("quadratic", lambda _, name=name: with_entity(name, quadratic()), ""),
            ("late", lambda _, name=name: with_entity(name, laughs(), f"<!--{'x' * 6000}-->"), ""),
            ("outside", lambda folder, name=name: with_entity(name, f'<!ENTITY x SYSTEM "file://{folder}/secret">'), ""),
            ("dtd", lambda folder, name=name: with_entity(name, f'<!ENTITY % p SYSTEM "file://{folder}/secret"> %p;<!ENTITY x "y">'), ""),
            ("deep", lambda _, name=name: packed(name, b"<a>" * DEEP + b"x" + b"</a>" * DEEP), ""),
            ("escape", lambda _, name=name: zipped({**template(name), "../../evil": b"x", "/etc/evil": b"y", "a\x1b[31m\n": b"z"}), READ),
            ("picture", lambda _, name=name: zipped({**template(name), "media/image1.png": picture(), "Pictures/a.png": picture()}), READ),
            ("encoding", lambda _, name=name: packed(name, b'<?xml version="1.0" encoding="utf-7"?><a>\xff\xfe</a>'), ""),
        ):  # fmt: skip
            files[f"{what}.{name}"] = made, outcome
    return files


def attached(levels: int) -> bytes:
    data = b"From: a@b\nSubject: s\nDate: x\n\nwords\n"
    for n in range(levels):
        part = (
            b"--b%d\nContent-Type: application/octet-stream\nContent-Disposition: attachment; filename=a.eml\nContent-Transfer-Encoding: base64\n\n"
            % n
        )
        data = (
            b"From: a@b\nSubject: s\nDate: x\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b%d\n\n" % n
            + ((part + base64.encodebytes(data) + b"\n") * 2 + b"--b%d--\n" % n)
        )
    return data


def texts() -> dict[str, tuple[Made, str]]:
    xml = '<?xml version="1.0"?>'
    mail = "From: a@b\nSubject: s\nDate: x\n"
    mixed = f"{mail}MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
    long = b"word " * 40_000
    made: dict[str, tuple[Callable[[Path], bytes | str], str]] = {
        "laughs.xml": (lambda _: f"{xml}<!DOCTYPE a [{laughs()}]><a>words &x;</a>", "broken"),
        "outside.xml": (lambda f: f'{xml}<!DOCTYPE a [<!ENTITY x SYSTEM "file://{f}/secret">]><a><b>words</b> &x;</a>', READ),
        "include.xml": (lambda f: f'{xml}<a xmlns:xi="http://www.w3.org/2001/XInclude">words <xi:include href="{f}/secret" parse="text"/></a>', READ),
        "deep.xml": (lambda _: xml + "<a>" * DEEP + "x" + "</a>" * DEEP, "broken"),
        "laughs.fodt": (lambda _: f"{xml}<!DOCTYPE a [{laughs()}]>" + original("odt").replace("<office:document-content", "<office:document office:mimetype='application/vnd.oasis.opendocument.text'", 1).replace("office:document-content", "office:document").replace(">one", ">&x;one"), "broken"),
        "deep.html": (lambda _: "<html><body>" + "<div>" * 5000 + "words" + "</div>" * 5000, READ),
        "headings.html": (lambda _: "<html><body>" + "<div><h1>head" * 3000, READ),
        "deep.json": (lambda _: "[" * DEEP + "]" * DEEP, "without end"),
        "digits.json": (lambda _: '{"a": ' + "9" * 100_000 + "}", "broken JSON"),
        "halves.json": (lambda _: '{"a\\ud800": "lone \\udfff text \\u0000 nul \\u001b[31m"}', READ),
        "deep.ipynb": (lambda _: '{"cells": ' + "[" * DEEP + "]" * DEEP + "}", "without end"),
        "deep.rtf": (lambda _: "{\\rtf1 " + "{" * DEEP + "words" + "}" * DEEP + "}", READ),
        "numbers.rtf": (lambda _: "{\\rtf1 words \\bin999999999 \\u99999999999? \\u-70000? \\'zz \\uc99999999 \\u55357?}", ""),
        "deep.tex": (lambda _: "\\documentclass{a}\\begin{document}words " + "{\\emph{" * DEEP + "x" + "}}" * DEEP, READ),
        "include.tex": (lambda f: f"\\documentclass{{a}}\\begin{{document}}words \\input{{{f}/secret}} \\include{{{f}/secret}}", READ),
        "include.rst": (lambda f: f"words\n\n.. include:: {f}/secret\n\n.. raw:: html\n   :file: {f}/secret\n", READ),
        "include.org": (lambda f: f'words\n#+INCLUDE: "{f}/secret"\n#+SETUPFILE: {f}/secret\n', READ),
        "deep.org": (lambda _: "".join("*" * n + " head\nwords\n" for n in range(1, 500)), READ),
        "drawers.org": (lambda _: "words\n" + ":X:\n" * 50_000, READ),
        "brackets.md": (lambda _: "# " + "[" * 100_000 + "\n\nwords\n", READ),
        "quotes.md": (lambda _: ">" * 50_000 + " words\n", READ),
        "front.md": (lambda _: "---\na: [" + '"' * 50_000 + "]\n---\nwords", READ),
        "deep.py": (lambda _: "x = " + "(" * DEEP, READ),
        "minus.py": (lambda _: "x = " + "-" * DEEP + "1\n", READ),
        "parts.eml": (lambda _: mixed + "".join(f"--b\nContent-Type: text/plain\n\npart {n}\n" for n in range(10_000)) + "--b--\n", READ),
        "deep.eml": (lambda _: mail + "".join(f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n' for n in range(DEEP)), "broken message"),
        "within.eml": (lambda _: attached(8), READ),
        "words.eml": (lambda _: "From: a@b\nDate: x\nSubject: " + "=?utf-8?q?x?= " * 20_000 + "\n\nbody", READ),
        "receivers.eml": (lambda _: mail + "".join(f"To: x{n}@y\n" for n in range(20_000)) + "\nbody", READ),
        "name.eml": (lambda _: f'{mixed}--b\nContent-Type: text/plain\nContent-Disposition: attachment; filename="../../evil\x1b[31m.txt"\n\nwords\n--b--\n', READ),
        "uu.eml": (lambda _: f"{mail}MIME-Version: 1.0\nContent-Transfer-Encoding: x-uuencode\n\nbegin 644 ../../evil\n#0V%T\n`\nend", READ),
        "times.srt": (lambda _: "".join(f"{n}\n99:59:59,999 --> 00:00:00,000\nwords{n}\n\n" for n in range(5000)), READ),
        "title.html": (lambda _: f"<html><head><title>{'T ' * 100_000}</title><meta name=author content='{'A' * 500_000}'></head><body>words", READ),
        "halves.html": (lambda _: "<html><body>&#xd800; &#0; &#x110000; words &#xfffe;</body></html>", READ),
        "utf7.html": (lambda _: "<html><meta charset=utf-7><body>+ADw-script+AD4- words</body></html>", READ),
        "commas.csv": (lambda _: "a,b\n" + "," * 100_000 + "\n", "too many cells"),
        "quote.csv": (lambda _: 'a,b\n"' + "x\n" * 100_000, READ),
        "nuls.txt": (lambda _: b"text" + bytes(100) + b"more text here " * 200, "no reader knows"),
        "half.txt": (lambda _: ("Some words. " * 50).encode("utf-16")[:-1], READ),
        "lone.txt": (lambda _: b"\xff\xfe" + ("text " * 20).encode("utf-16-le") + b"\x00\xd8" + "more".encode("utf-16-le"), READ),
        "overlong.txt": (lambda _: b"text \xc0\xaf \xed\xa0\x80 \xf8\x88\x80\x80\x80 \xff\xfe more text " * 100, READ),
        "mark.txt": (lambda _: b"\xef\xbb\xbf", "no text"),
        "wide.txt": (lambda _: b"\xff\xfe\x00\x00\x00\x00\x11\x00abc", ""),
        "controls.txt": (lambda _: "text \x1b[31m red \x1b]0;t\x07 \x9b31m \u202e " + "words " * 50, READ),
        "line.txt": (lambda _: b"w" * 200_000, READ), "line.md": (lambda _: b"# head\n" + long, READ), "line.html": (lambda _: b"<html><body>" + long, READ),
        "line.json": (lambda _: b'{"a": "' + long + b'"}', READ), "line.c": (lambda _: b"int f(int " + b"a, " * 50_000, READ),
        "line.tex": (lambda _: b"\\documentclass{a}\\begin{document}" + long, READ), "line.rtf": (lambda _: b"{\\rtf1 " + long + b"}", READ),
        "line.eml": (lambda _: b"From: a@b\nDate: x\nSubject: " + long + b"\n\nbody", READ), "line.org": (lambda _: b"* " + long, READ),
        "line.rst": (lambda _: long + b"\n====\n" + long, READ), "line.srt": (lambda _: b"1\n00:00:01,000 --> 00:00:02,000\n" + long, READ),
    }  # fmt: skip

    def as_bytes(make: Callable[[Path], bytes | str]) -> Made:
        def called(folder: Path) -> bytes:
            content = make(folder)
            return content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")

        return called

    return {name: (as_bytes(make), outcome) for name, (make, outcome) in made.items()}


PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F 4 0 R>>>>/Contents 5 0 R>>"
FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
WORDS = b"BT /F 12 Tf 72 720 Td (Hello there) Tj ET"
ONE = b"<</Type/Pages/Kids[3 0 R]/Count 1>>"


def stream(content: bytes, extra: bytes = b"") -> bytes:
    return b"<</Length %d%s>>stream\n%s\nendstream" % (len(content), extra, content)


def pdf(
    catalogue: bytes = b"", pages: bytes = ONE, page: bytes = PAGE, content: bytes | None = None, *more: bytes
) -> Made:
    head = b"<</Type/Catalog/Pages 2 0 R%s>>" % catalogue
    return lambda _: pdf_of([head, pages, page, FONT, stream(WORDS) if content is None else content, *more])


def forms(levels: int, fan: int) -> tuple[bytes, ...]:
    """Forms that draw each the next one several times: `fan ** levels` texts."""
    found = []
    for n in range(levels):
        inner = b"/X Do " * fan if n < levels - 1 else b"BT /F 12 Tf 50 50 Td (hi there) Tj ET"
        extra = b"/Type/XObject/Subtype/Form/BBox[0 0 900 900]/Resources<</XObject<</X %d 0 R>>/Font<</F 4 0 R>>>>" % (
            7 + n
        )
        found.append(stream(inner, extra))
    return tuple(found)


WITH_FORM = PAGE.replace(b"/Font", b"/XObject<</X 6 0 R>>/Font")


def pdfs() -> dict[str, tuple[Made, str]]:
    squeezed = zlib.compress(b"BT /F 12 Tf 72 720 Td " + b"(Hello there you) Tj " * 1000 + b"ET", 9)
    own = pdf()(Path())
    return {
        "pages in a circle.pdf": (pdf(pages=b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2>>"), "seems to be a scan"),
        "parent in a circle.pdf": (pdf(pages=b"<</Type/Pages/Kids[3 0 R]/Count 10>>", page=b"<</Type/Pages/Kids[2 0 R]/Parent 2 0 R/Count 10>>"), "seems to be a scan"),
        "two thousand million pages.pdf": (pdf(pages=b"<</Type/Pages/Kids[3 0 R]/Count 2000000000>>"), ""),
        "one page often.pdf": (pdf(pages=b"<</Type/Pages/Kids[" + b"3 0 R " * 2000 + b"]/Count 2000>>"), ""),
        "large pages.pdf": (pdf(b"", b"<</Type/Pages/Kids[" + b" ".join(b"%d 0 R" % n for n in range(6, 406)) + b"]/Count 400>>", PAGE, stream(squeezed, b"/Filter/FlateDecode"), *[PAGE] * 400), "far more text"),
        "its own table before it.pdf": (lambda _: own.replace(b"/Root 1 0 R>>", b"/Root 1 0 R/Prev %d>>" % own.rfind(b"xref\n0")), READ),
        "forms within forms.pdf": (pdf(b"", ONE, WITH_FORM, stream(WORDS + b" /X Do"), *forms(4, 8)), READ),
        "bookmarks in a circle.pdf": (pdf(b"/Outlines 6 0 R", ONE, PAGE, None, b"<</Type/Outlines/First 7 0 R/Last 7 0 R/Count 1>>", b"<</Title(a)/Parent 6 0 R/Next 7 0 R/First 7 0 R/Dest[3 0 R/Fit]>>"), READ),
        "labels in a circle.pdf": (pdf(b"/PageLabels 6 0 R", ONE, PAGE, None, b"<</Kids[6 0 R]>>"), "died"),
        "a long label.pdf": (pdf(b"/PageLabels<</Nums[0<</S/r/St 20000000>>]>>"), READ),
        "a large page.pdf": (pdf(page=PAGE.replace(b"612 792", b"1e30 9e37")), ""),
        "a large picture.pdf": (pdf(b"", ONE, WITH_FORM, stream(WORDS + b" /X Do"), stream(b"x", b"/Type/XObject/Subtype/Image/Width 2000000000/Height 2000000000/BitsPerComponent 8/ColorSpace/DeviceRGB")), READ),
        "deep lists.pdf": (pdf(b"/X " + b"[" * DEEP + b"]" * DEEP), ""),
        "deep states.pdf": (pdf(content=stream(b"q " * 200_000 + WORDS)), READ),
        "a stream of objects.pdf": (pdf(page=b"<</Type/ObjStm/N 999999999/First 0/Length 10>>stream\n0123456789\nendstream"), "seems to be a scan"),
        "a length of itself.pdf": (pdf(content=b"<</Length 5 0 R>>stream\nBT ET\nendstream"), "seems to be a scan"),
        "a bomb.pdf": (pdf(content=stream(zlib.compress(bytes(50_000_000), 9), b"/Filter/FlateDecode")), "seems to be a scan"),
    }  # fmt: skip


NEWER, OLDER = "mobi/backup.azw3", "mobi/backup.mobi"


def records_of(book: bytes) -> list[bytes]:
    """The records of a Palm database, which books are."""
    (count,) = struct.unpack_from(">H", book, 76)
    starts = [struct.unpack_from(">L", book, 78 + 8 * n)[0] for n in range(count)]
    return [book[start:end] for start, end in zip(starts, [*starts[1:], len(book)], strict=True)]


def book_of(like: bytes, records: list[bytes], starts: list[int] | None = None) -> bytes:
    at, found = 80 + 8 * len(records), []
    for record in records:
        found.append(at)
        at += len(record)
    table = b"".join(struct.pack(">LL", start, 2 * n) for n, start in enumerate(starts or found))
    return like[:76] + struct.pack(">H", len(records)) + table + b"\0\0" + b"".join(records)


def with_font(book: bytes, font: bytes) -> bytes:
    """A record that nobody reads, and a packed font in its place."""
    records = records_of(book)
    at = next(n for n, record in enumerate(records) if record[:4] == b"FLIS")
    records[at] = b"FONT" + struct.pack(">LLLLL", len(font), 1, 24, 0, 0) + zlib.compress(font)
    return book_of(book, records)


def with_phrases(book: bytes, levels: int) -> bytes:
    """Text in the packing of dictionaries, in which each phrase is the one before it twice."""
    records = records_of(book)
    codes = struct.pack(">4sLLL", b"HUFF", 24, 24, 24 + 1024) + bytes(8) + struct.pack(">L", 0xFF88) * 256 + bytes(256)
    phrases = [b"words and more " * 4] + [bytes([255 - n, 255 - n]) for n in range(levels)]
    places, held = [], b""
    for n, phrase in enumerate(phrases):
        places.append(2 * len(phrases) + len(held))
        held += struct.pack(">H", len(phrase) | (0 if n else 0x8000)) + phrase
    entries = struct.pack(f">{len(places)}H", *places)
    head = bytearray(records[0])
    struct.pack_into(">HHLHH", head, 0, 0x4448, 0, 4096, 1, 4096)
    struct.pack_into(">LL", head, 112, len(records), 2)
    struct.pack_into(">H", head, 242, 0)  # nothing stands behind a text
    records[0], records[1] = bytes(head), bytes([255 - levels])
    return book_of(book, [*records, codes, struct.pack(">4sLLL", b"CDIC", 16, len(phrases), 8) + entries + held])


def books() -> dict[str, tuple[Made, str]]:
    newer, older = (FILES / NEWER).read_bytes(), (FILES / OLDER).read_bytes()
    overlapping = [80 if n % 2 else len(newer) for n in range(60_000)]

    def changed(book: bytes, at: int, value: bytes, record: int = 0) -> bytes:
        start = struct.unpack_from(">L", book, 78 + 8 * record)[0] + at
        return book[:start] + value + book[start + len(value) :]

    made = {
        "a copy.azw3": (newer, READ), "a copy.mobi": (older, READ),
        "half.azw3": (newer[: len(newer) // 2], "not where it says"), "half.mobi": (older[: len(older) // 2], "not where it says"),
        "records within each other.azw3": (book_of(newer, [b""] * len(overlapping), overlapping), "not where it says"),
        "a font bomb.azw3": (with_font(newer, bytes(100_000_000)), READ), "phrases.mobi": (with_phrases(older, 40), "more memory"),
        "phrases of itself.mobi": (with_phrases(older, 40)[:-2] + b"\xd7\xd7", "broken book"),
        "drm.azw": (changed(newer, 12, b"\0\2"), "DRM"), "more text than there is.mobi": (changed(older, 8, b"\xff\xff"), ""),
        "a header without end.mobi": (changed(older, 20, b"\xff\xff\xff\xff"), ""), "more facts than there are.mobi": (changed(older, 16 + struct.unpack_from(">L", older, struct.unpack_from(">L", older, 78)[0] + 20)[0] + 8, b"\xff\xff\xff\xff"), ""),
        "an index elsewhere.mobi": (changed(older, 244, b"\0\0\0\1"), ""), "resources elsewhere.mobi": (changed(older, 108, b"\0\0\0\0"), ""),
        "no records.mobi": (book_of(newer, []), "broken"),
    }  # fmt: skip
    return {name: (lambda _, content=content: content, outcome) for name, (content, outcome) in made.items()}


def tiff(*frames: tuple[int, bytes], size: int = 100) -> bytes:
    """Frames, each with where the next one is said to be, and its pixels."""
    data = b"II*\0" + struct.pack("<L", 8)
    for after, pixels in frames:
        start = len(data) + 2 + 9 * 12 + 4
        fields = [
            (256, size),
            (257, size),
            (258, 8),
            (259, 1),
            (262, 1),
            (273, start),
            (277, 1),
            (278, size),
            (279, len(pixels)),
        ]
        data += struct.pack("<H", 9) + b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in fields)
        data += struct.pack("<L", after) + pixels
    return data


def pictures() -> dict[str, tuple[Made, str]]:
    """Pictures, and PDFs of nothing else, as they are where text in them is to be recognised."""
    whole = tiff((0, bytes([255]) * 10_000))
    long = bytes(2_000_000)
    note = b"zTXt" + b"Author\0\0" + zlib.compress(bytes(50_000_000), 9)
    noted = len(note[4:]).to_bytes(4, "big") + note + zlib.crc32(note).to_bytes(4, "big")
    drawing = stream(b"10 10 100 100 re f")
    form = stream(b"/X Do", b"/Type/XObject/Subtype/Form/BBox[0 0 900 900]/Resources<</XObject<</X 6 0 R>>>>")
    image = b"/Type/XObject/Subtype/Image/Width 2000000000/Height 2000000000/BitsPerComponent 8/ColorSpace/DeviceRGB"
    made: dict[str, tuple[Made, str]] = {
        "bomb.png": (lambda _: picture(), "100000 by 100000 pixels"),
        "a long note.png": (lambda _: picture()[:33].replace(struct.pack(">II", 100_000, 100_000), struct.pack(">II", 10, 10)) + noted, "broken picture"),
        "half.png": (lambda _: picture()[:30], "broken picture"),
        "a frame after itself.tif": (lambda _: tiff((8, bytes([255]) * 10_000)), "no text was recognised"),
        "half.tif": (lambda _: whole[:5000], "no text was recognised"),
        "head.jpg": (lambda _: b"\xff\xd8\xff" + long, "broken picture"),
        "head.webp": (lambda _: b"RIFF\xff\xff\xff\xffWEBPVP8X" + long, "broken picture"),
        "a large drawing.pdf": (pdf(page=PAGE.replace(b"612 792", b"1e30 9e37"), content=drawing), ""),
        "pages in a circle.pdf": (pdfs()["pages in a circle.pdf"][0], "no text was recognised"),
        "a form of itself.pdf": (pdf(b"", ONE, WITH_FORM, drawing, form), ""),
        "a large picture.pdf": (pdf(b"", ONE, WITH_FORM, stream(b"/X Do"), stream(b"x", image)), "no text was recognised"),
    }  # fmt: skip
    return made


@pytest.mark.parametrize("kinds", [archives, texts, pdfs, books, pytest.param(pictures, marks=pytest.mark.slow)])
def test_a_folder_of_hostile_files(
    index: Index, folder: Path, tmp_path: Path, kinds: Callable[[], dict[str, tuple[Made, str]]]
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    outcomes = {}
    for name, (make, outcome) in kinds().items():
        given(folder, name, make(tmp_path))
        outcomes[str(folder / name)] = outcome
    given(folder, "zzz.txt", "honest words")
    report = index.add(folder, also=["code", "json", "xml", "picture"], ocr=kinds is pictures)
    assert not report.cancelled
    (honest,) = index.search("honest", mode="text")
    assert Path(honest.document.path).name == "zzz.txt"
    sources = {source.path: source for source in index.sources()}
    assert set(sources) == {*outcomes, str(folder / "zzz.txt")}
    for path, outcome in outcomes.items():
        source = sources[path]
        if outcome == READ:
            assert source.error is None, (path, source.error)
        elif outcome:
            assert source.error is not None, path
            assert outcome.replace(",", "") in source.error, (path, source.error)
        if source.error is not None:
            assert path in source.error
            assert outcome == "died" or "died" not in source.error, (path, source.error)
            assert "longer than" not in source.error, (path, source.error)
            assert "can't be read: " not in source.error, (path, source.error)
    for source in sources.values():
        for passage in index.get(source.id):
            told = passage.text + "".join(passage.place.section) + str(passage.metadata)
            assert SECRET not in told
            assert not any(ord(character) < 32 and character not in "\n\t" for character in passage.text)
            assert len(passage.place.section) <= limits.HEADINGS
            assert all(len(heading) <= limits.HEADING for heading in passage.place.section)
    for hit in index.search("words", k=500):
        assert len(hit.document.title) <= limits.HEADING
        assert len(str(hit.document.metadata)) <= 2 * limits.DESCRIPTION
    assert not list(tmp_path.rglob("evil*"))
    assert index.verify().ok


# Lines that are as long as a file

WORD, LETTER = b"word " * 2_000_000, b"w" * 10_000_000
LINES = {
    "a.txt": WORD, "b.txt": LETTER, "a.md": b"# head\n" + WORD, "b.md": LETTER, "a.html": b"<html><body>" + WORD,
    "b.html": b"<html><body><p " + LETTER, "a.json": b'{"a": "' + WORD + b'"}', "a.csv": b"a,b\n" + WORD,
    "a.eml": b"From: a@b\nDate: x\nSubject: " + WORD + b"\n\nbody", "b.eml": b"From: a@b\nDate: x\nSubject: s\n\n" + WORD,
    "a.rtf": b"{\\rtf1 " + WORD + b"}", "a.tex": b"\\documentclass{a}\\begin{document}" + WORD, "a.org": b"* " + WORD,
    "a.rst": WORD + b"\n====\n" + WORD, "a.srt": b"1\n00:00:01,000 --> 00:00:02,000\n" + WORD, "a.c": b"int f(int " + b"a, " * 3_000_000,
    "a.xml": b'<?xml version="1.0"?><a>' + WORD + b"</a>", "a.ipynb": b'{"nbformat":4,"cells":[{"cell_type":"markdown","source":"' + WORD + b'"}]}',
}  # fmt: skip
REFUSED = {"b.html": "holds no text", "a.csv": "too long for a row"}


@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
def test_a_line_of_ten_megabytes(folder: Path, name: str) -> None:
    """It is cut into passages like any other, by a process with its usual limits."""
    job = Job(given(folder, name, LINES[name]))
    longest = count = 0
    with ParserPool(TokenSplitter(None, 200, 0)) as pool:
        for document in pool.stream([job], CancelToken()):
            try:
                document.open()
                for chunks in document.chunks():
                    count += len(chunks)
                    longest = max(longest, *(len(chunk.text) for chunk in chunks))
            except ReadError as error:
                assert REFUSED[name] in str(error)
                return
    assert name not in REFUSED
    assert count >= 20
    assert longest < 10_000


# Files that change while they are read


def test_a_file_that_became_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "a.txt")
    with pytest.raises(OSError, match="no file"):
        hash_file(str(folder / "a.txt"))
    with pytest.raises(ReadError, match="no file"):
        reader_for(folder / "a.txt")


def test_a_file_that_grows_while_it_is_hashed_is_hashed_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stackroom.ingest import file_facts

    path = given(folder, "a.log", b"x" * 1000)
    before = hash_file(str(path))
    monkeypatch.setattr(file_facts, "_BLOCK", 100)
    looks = 0

    class Growing:
        """Somebody writes more than is read, at every read."""

        def __init__(self, data: bytes) -> None:
            nonlocal looks
            looks += 1
            with path.open("ab") as file:
                file.write(b"y" * 1000)
            assert looks < 100

    import hashlib

    digest = hashlib.blake2b(digest_size=16)

    class Watched:
        def update(self, data: bytes) -> None:
            Growing(data)
            digest.update(data)

        def digest(self) -> bytes:
            return digest.digest()

    monkeypatch.setattr(file_facts.hashlib, "blake2b", lambda **_: Watched())
    assert hash_file(str(path)) == before
    assert looks == 10


# The whole time of a file


def test_a_parser_that_goes_on_and_on_is_ended(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page comes in good time, and there is no end of them."""
    import shlex
    import sys

    from stackroom.ingest import workers

    program = tmp_path / "python"
    script = (
        "import json, sys, time\n"
        "out = sys.stdout.buffer\n"
        "def send(message):\n"
        "    data = json.dumps(message).encode()\n"
        "    out.write(len(data).to_bytes(4, 'big') + data)\n"
        "    out.flush()\n"
        "send({'job': 1, 'open': {'reader': 'r', 'type': 't', 'title': None, 'metadata': {}}})\n"
        "while True:\n"
        "    send({'job': 1, 'chunks': [['words', 0, 5, None, None, None, [], None, None, None, False]]})\n"
        "    time.sleep(0.01)\n"
    )
    (tmp_path / "endless.py").write_text(script)
    program.write_text(
        f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -P {shlex.quote(str(tmp_path / 'endless.py'))}\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(workers, "_PATIENCE", 0.01)
    given(folder, "a.txt", "words")
    with ParserPool(TokenSplitter(None, 20, 0), timeout=30) as pool:
        (document,) = pool.stream([Job(folder / "a.txt")], CancelToken())
    with ParserPool(TokenSplitter(None, 20, 0), timeout=30) as pool:
        for document in pool.stream([Job(folder / "a.txt")], CancelToken()):
            document.open()
            with pytest.raises(ReadError, match="took longer than 0 seconds"):
                for _ in document.chunks():
                    pass


def test_a_message_without_end_is_none(folder: Path) -> None:
    from stackroom.ingest.workers import read_message

    with pytest.raises(ValueError, match="longer than any"):
        read_message(io.BytesIO(b"\xff\xff\xff\xff" + b"x" * 100))


def test_what_a_reader_trips_over_is_a_failed_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stackroom.ingest import parser

    class Odd(Exception):
        pass

    def broken(*_: object) -> None:
        raise Odd("of a library's own")

    monkeypatch.setattr(parser, "reader_for", broken)
    (told,) = parser._attempt(given(folder, "a.txt", "words"), None)
    assert told["error"]["kind"] == "ReaderCrashedError"
    assert "Odd: of a library's own" in told["error"]["message"]
