"""Mail: EML (one message) and MBOX (one document a message). What reads them is in messages.py, and imported when it is needed."""

from __future__ import annotations

import re
from pathlib import Path

from stackroom.errors import NoTextError, ReadError
from stackroom.ingest.readers.plaintext import guess_encoding, looks_like_text
from stackroom.protocols import Reading

_FIELD = re.compile(rb"(?:^|\n)([A-Za-z][A-Za-z0-9-]*):")
_KNOWN = frozenset(
    b"from to cc subject date message-id received return-path mime-version delivered-to reply-to sender content-type".split()
)
_TELLING = frozenset(b"from date received message-id return-path".split())
# "From a@example.org Sat Jan  3 01:05:34 1996": the line that begins a message of a mailbox. Within a message it is
# escaped by ">", where a program remembered to.
BEGINS = re.compile(rb"From \S.*\d{1,2}:\d{2}.*\d{4}\s*$|From \S+\s*$")


class EmlReader:
    name = "eml"
    version = 4
    suffixes: tuple[str, ...] = (".eml",)

    def accepts(self, path: Path, head: bytes) -> bool:
        head = _narrow(head)
        if not looks_like_text(head):
            return False
        names = _header_names(head)
        if path.suffix.lower() in self.suffixes:
            return not _KNOWN.isdisjoint(names)
        return len(_KNOWN & names) >= 3 and not _TELLING.isdisjoint(names)

    def read(self, path: Path) -> Reading:
        """Raises EncryptedError, NoTextError, ReadError."""
        from stackroom.ingest.readers.common import messages

        if path.stat().st_size > messages.LARGEST:
            raise ReadError(f"{path} is too large for one message.", hint="Save its attachments.", path=path)
        reading = messages.reading(messages.parse(_narrow(path.read_bytes()), path), path)
        if not any(section.text.strip() for section in reading.sections):
            raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)
        return reading


class MboxReader:
    name = "mbox"
    version = 4
    suffixes: tuple[str, ...] = (".mbox", ".mbx")

    def accepts(self, path: Path, head: bytes) -> bool:
        first, _, rest = head.lstrip(b"\r\n").partition(b"\n")
        if BEGINS.match(first) is None:
            return False
        return path.suffix.lower() in self.suffixes or re.match(rb"[A-Za-z][A-Za-z0-9-]*:|>From ", rest) is not None

    def read(self, path: Path) -> Reading:
        """Raises ReadError, also while iterating."""
        from stackroom.ingest.readers.common import messages

        return Reading("mbox", documents=messages.documents(path))


def _narrow(data: bytes) -> bytes:
    """What a program saved as UTF-16, as UTF-8: the standard knows only bytes that are ASCII where it matters."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in data[:4096]:
        encoding = guess_encoding(data[:4096], whole=False)
        return data.decode(encoding, "replace").encode() if encoding.startswith("utf-16") else data
    return data.removeprefix(b"\xef\xbb\xbf")


def _header_names(head: bytes) -> set[bytes]:
    """The names of the fields at the very beginning, in lower case; none where it begins with anything else."""
    header = head.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    if not re.match(rb"[A-Za-z][A-Za-z0-9-]*:", header):
        return set()
    return {name.lower() for name in _FIELD.findall(header)}
