"""Readers: one file for each format, behind one protocol. A file is judged by its content, then by its suffix."""

from __future__ import annotations

from pathlib import Path

from stackroom.errors import NoTextError, ReadError, UnsupportedFormatError
from stackroom.ingest.readers.code import CodeReader
from stackroom.ingest.readers.common.limits import OLE
from stackroom.ingest.readers.csv import CsvReader
from stackroom.ingest.readers.docx import DocxReader
from stackroom.ingest.readers.epub import EpubReader
from stackroom.ingest.readers.html import HtmlReader
from stackroom.ingest.readers.json_records import JsonReader
from stackroom.ingest.readers.latex import LatexReader
from stackroom.ingest.readers.mail import EmlReader, MboxReader
from stackroom.ingest.readers.markdown import MarkdownReader
from stackroom.ingest.readers.mobi import MobiReader
from stackroom.ingest.readers.notebook import NotebookReader
from stackroom.ingest.readers.odf import OdfReader
from stackroom.ingest.readers.org import OrgReader
from stackroom.ingest.readers.pdf import PdfReader
from stackroom.ingest.readers.picture import PictureReader
from stackroom.ingest.readers.plaintext import PlainTextReader
from stackroom.ingest.readers.pptx import PptxReader
from stackroom.ingest.readers.rst import RstReader
from stackroom.ingest.readers.rtf import RtfReader
from stackroom.ingest.readers.subtitles import SubtitleReader
from stackroom.ingest.readers.xlsx import XlsxReader
from stackroom.ingest.readers.xml import XmlReader
from stackroom.ingest.readers.zim import ZimReader
from stackroom.protocols import Reader
from stackroom.storage.disk import fsio

HEAD_BYTES = 4096

_OLD_OFFICE = {
    "Word": ((".doc", ".dot"), ".docx"),
    "Excel": ((".xls", ".xlt"), ".xlsx"),
    "PowerPoint": ((".ppt", ".pps", ".pot"), ".pptx"),
}

# In the order in which they are asked: the one that knows its content best comes first.
READERS: tuple[Reader, ...] = (
    PdfReader(),
    EpubReader(),
    MobiReader(),
    DocxReader(),
    XlsxReader(),
    PptxReader(),
    OdfReader(),
    ZimReader(),
    PictureReader(),
    RtfReader(),
    MboxReader(),
    EmlReader(),
    NotebookReader(),
    CodeReader(),
    JsonReader(),
    XmlReader(),
    SubtitleReader(),
    HtmlReader(),
    MarkdownReader(),
    RstReader(),
    OrgReader(),
    LatexReader(),
    CsvReader(),
    PlainTextReader(),
)

ON_REQUEST: dict[str, frozenset[str]] = {
    reader.name: frozenset(reader.suffixes) for reader in READERS if getattr(reader, "asked_only", False)
}
"""Kinds that a folder walk picks up only where they are asked for, with their suffixes: a folder of programs, or of what programs
write for themselves, holds thousands of files that nobody wants to find among documents."""

SUFFIXES: frozenset[str] = frozenset(
    suffix for reader in READERS if reader.name not in ON_REQUEST for suffix in reader.suffixes
)
"""Suffixes (lower case, with the dot) that a folder walk picks up."""

NAMES = frozenset(
    {
        "authors", "changelog", "changes", "copying", "copyright", "faq", "history", "install", "license", "licence", "news",
        "notes", "notice", "readme", "thanks", "todo",
    }
)  # fmt: skip
"""Names without a suffix (lower case) that a folder walk picks up too: by custom these are texts."""


def reader_for(path: Path, plugged: tuple[Reader, ...] = ()) -> Reader:
    """The reader of this file; those that an application brings are asked first. Raises NoTextError (empty), UnsupportedFormatError, ReadError (not readable)."""
    try:
        with fsio.open_regular(path, follow=True) as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ReadError(f"{path} can't be read: {error.strerror}.", hint="Check its permissions.", path=path) from error
    if not head:
        raise NoTextError(f"{path} is empty.", hint="Nothing to do.", path=path)
    for reader in (*plugged, *READERS):
        if reader.accepts(path, head):
            return reader
    if head.startswith(OLE):
        raise UnsupportedFormatError(
            f"{path} {_old_office(path.suffix.lower())}",
            hint="LibreOffice does it for many at once: soffice --headless --convert-to docx FILE...",
            path=path,
        )
    raise UnsupportedFormatError(
        f"{path} is of a kind that no reader knows.",
        hint=f"There are readers for: {', '.join(reader.name for reader in READERS)}.",
        path=path,
    )


def _old_office(suffix: str) -> str:
    """What a file of Microsoft's compound format is, and what to do: that stands in a failure, where hints do not."""
    for program, (old, new) in _OLD_OFFICE.items():
        if suffix in old:
            return f"is an old binary {program} file, which is not read: save it as {new}, with LibreOffice for example, and add that."
    return (
        "is a binary file as old Office programs wrote it (.doc, .xls, .ppt, .msg), which is not read: "
        "save it as .docx, .xlsx, .pptx or .eml, and add that."
    )


def recipe_of(readers: tuple[Reader, ...] = READERS) -> str:
    """All readers with their versions: part of what decides whether a file must be read again."""
    return " ".join(f"{reader.name}:{reader.version}" for reader in readers)
