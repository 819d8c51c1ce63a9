"""RTF, by striprtf: its text, with tables as rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from stackroom._optional import require
from stackroom.errors import NoTextError, ReadError
from stackroom.ingest.readers.common import tables
from stackroom.ingest.readers.common.limits import clean
from stackroom.protocols import Reading, Section

_LARGEST = 128 * 1024 * 1024
_BLANK = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_FACT = re.compile(r"\{\\(title|author|subject|keywords)\s([^{}]*)\}")
_CREATED = re.compile(r"\{\\creatim\\yr(\d{4})\\mo(\d{1,2})\\dy(\d{1,2})(?!\d)", re.ASCII)
_CODE_PAGE = re.compile(r"\\ansicpg\d+")
# Pictures and embedded objects: nothing but hexadecimal digits, most of many a file.
_HEX = re.compile(r"[0-9a-fA-F\s]{2000,}")
_TOKEN = re.compile(r"\\([a-zA-Z]+)(-?\d+)? ?|\\'[0-9a-fA-F]{2}|\\.|[{}]|[^\\{}]+|.", re.DOTALL)
_SHOWN = frozenset({"u", "par", "line", "tab", "cell"})
"""Words that stand for a character."""


class RtfReader:
    name = "rtf"
    version = 3
    suffixes: tuple[str, ...] = (".rtf",)

    def accepts(self, path: Path, head: bytes) -> bool:
        del path
        return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{\\rtf")

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        striprtf = require("striprtf.striprtf", extra="documents")
        if path.stat().st_size > _LARGEST:
            raise ReadError(f"{path} is too large for one document.", hint="Save it without its pictures.", path=path)
        raw = _HEX.sub("", path.read_bytes().decode("latin-1"))
        text = _read(striprtf, _prepared(raw), path)
        facts: dict[str, Any] = {}
        pages = _CODE_PAGE.search(raw[:1000])
        for name, value in _FACT.findall(raw[:20_000]):
            if value := _read(
                striprtf, "{\\rtf1\\ansi" + (pages[0] if pages else "") + " " + value + "}", path
            ).strip():
                facts[name] = value
        if created := _CREATED.search(raw[:20_000]):
            facts["created"] = f"{int(created[1]):04}-{int(created[2]):02}-{int(created[3]):02}"
        title = facts.pop("title", None)
        body = "".join(_blocks(text))
        if not body.strip():
            raise NoTextError(f"{path} holds no text.", hint="Is it a picture?", path=path)
        return Reading("rtf", [Section(body)], title, facts)


def _prepared(raw: str) -> str:
    """What striprtf does not know: notes, which it leaves out, come in brackets; a cell of several paragraphs is one line; what was deleted goes."""
    if not any(word in raw for word in ("\\footnote", "\\intbl", "\\deleted")):
        return raw
    parts: list[str] = []
    groups: list[tuple[bool, bool]] = []
    note = deleted = in_table = False
    notes = 0
    for token in _TOKEN.finditer(raw):
        text, word = token[0], token[1]
        if text == "{":
            groups.append((note, deleted))
            note = False
        elif text == "}":
            if note:
                text, notes = "]}", notes - 1
            note, deleted = groups.pop() if groups else (False, False)
        elif word == "footnote" and not note:
            text, note, notes = " [", True, notes + 1
        elif word == "deleted":
            deleted = token[2] != "0"
        elif word in ("pard", "row", "intbl"):
            in_table = word == "intbl"
        elif deleted and (word is None or word in _SHOWN):
            continue
        elif word == "par" and (in_table or notes):
            text = " "
        parts.append(text)
    return "".join(parts)


def _read(striprtf: Any, raw: str, path: Path) -> str:
    try:
        text: str = striprtf.rtf_to_text(raw, errors="replace")
    except Exception as error:  # LookupError for an unknown code page, and what a broken escape trips over
        raise ReadError(f"{path} is broken RTF: {error}.", hint="Get a fresh copy.", path=path) from error
    # Characters beyond the basic plane are written as two halves.
    return clean(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")).replace("\xad", "")


def _blocks(text: str) -> Iterator[str]:
    """Lines as they are; those that striprtf ends with a bar are rows of a table."""
    for is_table, lines in groupby(text.split("\n"), lambda line: line.endswith("|")):
        if is_table:
            yield tables.text([line[:-1].split("|") for line in lines]) + "\n"
        else:
            yield _BLANK.sub("\n\n", "\n".join(line.rstrip() for line in lines)) + "\n"
