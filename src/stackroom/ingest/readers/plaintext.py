"""Plain text in any encoding, as a stream: a file of a gigabyte is never in memory."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from stackroom.errors import NoTextError, ReadError, UnsupportedFormatError
from stackroom.ingest.readers.common.limits import OLE, clean
from stackroom.protocols import Reading, Section

FALLBACK = "stackroom-cp1252"
"""The error handler for bytes that are no UTF-8 in a text that otherwise is: most likely they are Windows-1252."""

_BLOCK = 64 * 1024
_SAMPLE = 256 * 1024

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


_BETWEEN_ZEROS = 500
"""Bytes of a text for each zero in it, at least; one is let pass."""


_IN_TEXTS = frozenset(b"\t\n\v\f\r\x1b")
"""Control characters that texts have: a vertical tab is a new line within a cell or a title of some programs' exports, an escape begins a colour."""


class PlainTextReader:
    name = "text"
    version = 1
    suffixes: tuple[str, ...] = (".txt", ".text", ".log", ".asc", ".nfo")

    def accepts(self, path: Path, head: bytes) -> bool:
        del path
        return looks_like_text(head)

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, UnsupportedFormatError (binary content), ReadError."""
        return Reading("text", sections(path, encoding_of(path)))


def looks_like_text(head: bytes, *, zeros: bool = False) -> bool:
    """Whether these first bytes can be text: a byte order mark, or hardly any control characters.

    A zero is in no text, but for `zeros`: one or so, which a program has left in an export, is then as any other.
    """
    if any(head.startswith(mark) for mark, _ in _MARKS):
        return True
    if head.startswith(OLE):
        return False
    if b"\x00" in head and not (zeros and head.count(0) * _BETWEEN_ZEROS <= max(len(head), _BETWEEN_ZEROS)):
        return _wide(head) is not None
    if zeros:
        head = head.replace(b"\x00", b"")
    control = sum(byte < 32 and byte not in _IN_TEXTS for byte in head)
    return control * 50 <= len(head)


def _wide(head: bytes) -> str | None:
    """UTF-16 without a mark: in Latin text every other byte is zero."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = max(len(head) // 2, 1)
    if odd > half * 0.7 and even < half * 0.05:
        return "utf-16-le"
    if even > half * 0.7 and odd < half * 0.05:
        return "utf-16-be"
    return None


def decoded_head(head: bytes) -> str:
    """The first bytes of a file as text, for a look at what kind of text it is."""
    return head.decode(guess_encoding(head, whole=False), "replace").replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(path: Path, *, zeros: bool = False) -> str:
    """The encoding of a text file, judged by a sample. Raises ReadError, UnsupportedFormatError."""
    try:
        with path.open("rb") as file:
            sample = file.read(_SAMPLE)
            whole = len(sample) < _SAMPLE
    except OSError as error:
        raise ReadError(f"{path} can't be read: {error.strerror}.", hint="Check its permissions.", path=path) from error
    if not looks_like_text(sample[:4096], zeros=zeros):
        raise UnsupportedFormatError(f"{path} is not text.", hint="Its content is binary.", path=path)
    return guess_encoding(sample, whole=whole)


def guess_encoding(sample: bytes, *, whole: bool) -> str:
    """Byte order mark, then UTF-8, then statistics; what is too short for them is read as Windows-1252."""
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    wide = _wide(sample[:4096])
    if wide is not None:
        return wide
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=whole)
    except UnicodeDecodeError as error:
        if _nearly_utf8(sample):
            return "utf-8"
        # Around the first byte that says anything: what is before it may be plain ASCII for pages.
        first = max(0, error.start - 4096)
        telling = sample[first : first + 65536]
        if _few_accents(telling):
            return "cp1252"
        import charset_normalizer

        best = charset_normalizer.from_bytes(telling).best()
        return best.encoding if best is not None and best.encoding != "ascii" else "cp1252"
    return "utf-8"


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error(FALLBACK, _as_cp1252)


def _nearly_utf8(sample: bytes) -> bool:
    """Many characters of several bytes, and hardly a byte that is none."""
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    return broken * 20 <= sum(character > "\x7f" for character in text) - broken


def _few_accents(sample: bytes) -> bool:
    """A few accented letters among plain ones: too few to tell one encoding of Europe from another."""
    accented = sum(byte > 0x7F for byte in sample)
    plain = sum(chr(byte).isalpha() for byte in sample[:8192] if byte < 0x80)
    return accented < 30 and accented <= plain


def sections(path: Path, encoding: str) -> Iterator[Section]:
    """The text in blocks cut at line ends, where there are any. Bytes that are no UTF-8 in such a text are read as
    Windows-1252; in other encodings what can't be decoded shows as U+FFFD."""
    pending = ""
    characters = 0
    try:
        # newline=None: every kind of line end becomes \n.
        errors = FALLBACK if encoding.startswith("utf-8") else "replace"
        with path.open(encoding=encoding, errors=errors, newline=None) as file:
            while block := file.read(_BLOCK):
                pending += block
                cut = max(pending.rfind("\n\n") + 2, pending.rfind("\n") + 1 if len(pending) > 2 * _BLOCK else 0)
                if cut < 2 and len(pending) > 4 * _BLOCK:
                    cut = len(pending)
                if cut > 1:
                    characters += len(pending[:cut].strip())
                    yield Section(clean(pending[:cut]))
                    pending = pending[cut:]
    except OSError as error:
        raise ReadError(f"{path} can't be read: {error.strerror}.", hint="Check the disk.", path=path) from error
    characters += len(pending.strip())
    if pending:
        yield Section(clean(pending))
    if not characters:
        raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)


def lines(path: Path, longest: int = 1_000_000) -> Iterator[str]:
    """The lines of a text file in any encoding, with their ends; longer ones come in pieces. Raises as `sections` does."""
    pending = ""
    for section in sections(path, encoding_of(path)):
        *whole, pending = (pending + section.text).split("\n")
        for line in whole:
            yield line + "\n"
        while len(pending) > longest:
            yield pending[:longest]
            pending = pending[longest:]
    if pending:
        yield pending
