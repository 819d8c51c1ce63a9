"""What is in a message: its head, its text, its attachments; and a mailbox as a stream of messages."""

from __future__ import annotations

import email
import email.utils
import hashlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from email.header import decode_header, make_header
from email.message import Message
from email.policy import Compat32
from pathlib import Path
from typing import Any

from stackroom.errors import EncryptedError, MissingExtraError, ReadError
from stackroom.ingest.readers import html
from stackroom.ingest.readers.common.limits import NESTING, clean
from stackroom.ingest.readers.mail import BEGINS
from stackroom.ingest.readers.plaintext import guess_encoding
from stackroom.protocols import Reading, Section

LARGEST = 256 * 1024 * 1024
_PARTS = 1000
_MESSAGES_DEEP = 5
_LONGEST_FIELD = 32 * 1024

_WORD = r"=\?[^\s?]+\?[bBqQ]\?[^?]*\?="
_ENCODED = re.compile(rf"{_WORD}(?:\s+{_WORD})*")
"""Words as RFC 2047 encodes them; spaces between two of them are none."""

_SPACES = re.compile(r"[ \t]*\n[ \t\n]*\n")


class _AsWritten(Compat32):
    """Fields as they are written: the standard library's policy makes question marks of letters that nobody encoded."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        del name
        if not any("\udc80" <= character <= "\udcff" for character in value):
            return value
        data = value.encode("utf-8", "surrogateescape")
        return data.decode(guess_encoding(data, whole=True), "replace")


def documents(path: Path) -> Iterator[Reading]:
    """Every message as it comes. One that can't be read is left out: the others go on."""
    seen: dict[str, int] = {}
    read = failed = 0
    for data in _messages(path):
        try:
            message = parse(data, path)
            found = reading(message, path)
        except ReadError:
            failed += 1
            continue
        name = _header(message, "message-id") or hashlib.blake2b(data, digest_size=12).hexdigest()
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            name = f"{name} #{seen[name]}"
        read += 1
        found.part, found.title = name, found.title or "(no subject)"
        yield found
    if failed and not read:
        raise ReadError(
            f"{path} holds no message that can be read ({failed:,} can't).", hint="Get a fresh copy.", path=path
        )


def _messages(path: Path) -> Iterator[bytes]:
    """A mailbox cut where messages begin: after an empty line."""
    held: list[bytes] = []
    size = 0
    blank = True
    with path.open("rb") as file:
        while line := file.readline(LARGEST):
            if blank and line.startswith(b"From ") and BEGINS.match(line):
                if held:
                    yield b"".join(held)
                held, size = [], 0
                blank = False
                continue
            blank = not line.strip()
            if line.startswith(b">") and line.lstrip(b">").startswith(b"From "):
                line = line[1:]
            held.append(line)
            size += len(line)
            if size > LARGEST:
                raise ReadError(f"{path} has a message that is too large.", hint="Is it a mailbox?", path=path)
    if held and b"".join(held).strip():
        yield b"".join(held)


def parse(data: bytes, path: Path) -> Message:
    try:
        return email.message_from_bytes(data, policy=_AsWritten())
    except Exception as error:  # RecursionError for parts within parts, and whatever a broken header trips over
        raise ReadError(f"{path} is a broken message: {error}.", hint="Get a fresh copy.", path=path) from error


def reading(message: Message, path: Path) -> Reading:
    """One message as a document. Raises EncryptedError, ReadError."""
    return Reading("eml", list(_sections(message, path)), _header(message, "subject") or None, _facts(message))


def _header(message: Message, name: str) -> str:
    """A field's text, decoded; headers lie about their encoding as often as not."""
    value: Any = message.get(name)
    if value is None:
        return ""
    # Each word that is encoded by itself takes as long as those before it together.
    value = value[:_LONGEST_FIELD] if isinstance(value, str) else value
    return " ".join(clean(_ENCODED.sub(_decoded_words, str(value))).split())


def _decoded_words(found: re.Match[str]) -> str:
    try:
        return str(make_header(decode_header(found[0])))
    except Exception:  # LookupError, UnicodeError, binascii.Error, ValueError: then as it is
        return found[0]


def _facts(message: Message) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name in ("from", "to", "cc"):
        if text := _header(message, name):
            facts[name] = text
    if date := _date(_header(message, "date")):
        facts["date"] = date
    if identity := _header(message, "message-id"):
        facts["message_id"] = identity
    if names := [name for part in _attachments(message) if (name := _file_name(part))]:
        facts["attachments"] = names
    return facts


def _date(text: str) -> str:
    for known in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        try:
            return known(text).isoformat()
        except (TypeError, ValueError, OverflowError, IndexError):
            continue
    return ""


def _sections(message: Message, path: Path, deep: int = 0) -> Iterator[Section]:
    """Head, text and attachments; messages within the message are read in their place."""
    if message.get_content_type() in ("application/pkcs7-mime", "application/x-pkcs7-mime") or (
        message.get_content_type() == "multipart/encrypted"
    ):
        raise EncryptedError(f"{path} is encrypted.", hint="Save a copy without encryption, and add that.", path=path)
    fields = ((name, _header(message, name)) for name in ("subject", "from", "to", "cc", "date"))
    head = "".join(f"{name.capitalize()}: {text}\n" for name, text in fields if text)
    bodies = list(_bodies(message))
    body = "".join(text for text, _ in bodies).strip()
    yield Section(
        f"{head}\n{body}\n\n" if body else f"{head}\n" if head else "", hidden=sum(gone for _, gone in bodies)
    )
    for part in _attachments(message):
        if part.get_content_type() == "message/rfc822":
            inner = part.get_payload(0) if part.is_multipart() else None
            if isinstance(inner, Message) and deep < _MESSAGES_DEEP:
                title = _header(inner, "subject") or "Message"
                for section in _sections(inner, path, deep + 1):
                    yield _under(section, title)
            continue
        yield from _attached(part, path, deep)


def _walk(message: Message) -> Iterator[Message]:
    """The parts of a message, but not those of messages within it; of alternatives the plainest."""
    pending = [(message, 0)]
    count = 0
    while pending:
        part, depth = pending.pop()
        count += 1
        if count > _PARTS or depth > NESTING:
            return
        if part.get_content_type() == "message/rfc822" or not part.is_multipart():
            yield part
            continue
        children = [child for child in part.get_payload() if isinstance(child, Message)]
        if part.get_content_type() == "multipart/alternative":
            children = _plainest(children)
        pending.extend((child, depth + 1) for child in reversed(children))


def _plainest(children: list[Message]) -> list[Message]:
    """The plain text of alternatives, unless it is empty; else what is richest of the rest."""
    plain = [child for child in children if child.get_content_type() == "text/plain"]
    if any(_decoded(child).strip() for child in plain):
        return plain[:1]
    return [child for child in children if child not in plain][-1:] or plain[:1]


def _is_attached(part: Message) -> bool:
    kind = part.get_content_type()
    if part.get_content_disposition() == "attachment" or kind == "message/rfc822":
        return True
    return kind not in ("text/plain", "text/html") or bool(_file_name(part))


def _attachments(message: Message) -> Iterator[Message]:
    return (part for part in _walk(message) if part is not message and _is_attached(part))


def _bodies(message: Message) -> Iterator[tuple[str, int]]:
    """The texts of a message, and how many characters each hides."""
    for part in _walk(message):
        gone = 0
        if part is not message and _is_attached(part):
            continue
        text = _decoded(part)
        if part.get_content_type() == "text/html":
            tree = html.parse(text)
            root = tree.body or tree.root
            page = list(html.sections(root)) if root is not None else []
            gone = sum(section.hidden for section in page)
            text = "".join(section.text for section in page)
        elif part.get_content_maintype() != "text":
            continue
        yield _SPACES.sub("\n\n", clean(text)).strip() + "\n\n", gone


def _decoded(part: Message) -> str:
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    guessed = guess_encoding(data, whole=True)
    declared = part.get_content_charset() or ""
    # What is UTF-8 from end to end is that, whatever the message says.
    if declared and not guessed.startswith("utf-8"):
        try:
            return data.decode(declared)
        except (LookupError, UnicodeError):
            pass
    elif declared.startswith(("iso-2022", "hz-", "utf-7", "utf-16", "utf-32")):
        return data.decode(declared, "replace")
    return data.decode(guessed, "replace")


def _file_name(part: Message) -> str:
    try:
        name = _ENCODED.sub(_decoded_words, part.get_filename() or "")
    except Exception:  # as with headers
        return ""
    return " ".join(clean(name).split())


def _attached(part: Message, path: Path, deep: int) -> Iterator[Section]:
    """An attachment, by the reader that knows it; pictures and what is broken are only named."""
    from stackroom.ingest.readers import reader_for

    name = _file_name(part)
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes) or not data or part.get_content_maintype() in ("image", "audio", "video"):
        return
    suffix = Path(name).suffix.lower()
    with tempfile.TemporaryDirectory(prefix="stackroom-") as folder:
        # Nothing of the name but a harmless suffix: it is the sender's.
        file = Path(folder, "attachment" + (suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""))
        file.write_bytes(data)
        try:
            reader = reader_for(file)
            if reader.name == "eml":
                # A message as any other: a file within a file within a file has an end.
                if deep < _MESSAGES_DEEP:
                    inner = _sections(parse(data, path), path, deep + 1)
                    yield from (_under(section, name or "Message") for section in inner)
                return
            reading = reader.read(file)
            if reading.documents is not None:
                return
            for section in reading.sections:
                yield _under(section, name or "Attachment")
        except MissingExtraError:
            raise
        except ReadError:
            return


def _under(section: Section, title: str) -> Section:
    incomplete = section.incomplete and f"{title}: {section.incomplete}"
    return replace(section, headings=(title, *section.headings), incomplete=incomplete)
