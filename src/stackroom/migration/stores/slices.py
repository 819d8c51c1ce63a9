"""JSON cut into slices in a mapped file, without parsing it: memory does not follow the file's size.

An index as JSON is one object with a few members of up to gigabytes. Here it is walked with searches for the next
bracket or quote; what is found are offsets. A caller then parses the slices it wants, one at a time, so that one bad
value costs that value. What the json module accepts is accepted: NaN and Infinity, a BOM, lone surrogates.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import simdjson

from stackroom.errors import DamagedError
from stackroom.migration.stores.object_runs import Runs
from stackroom.migration.stores.spill import LARGE, Offsets, Spill, settled
from stackroom.storage.disk import fsio

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_DEPTH = 12
"""Brackets within brackets that one match can pass; deeper values are walked member by member."""


def _nested(depth: int) -> bytes:
    inner = rb"|" + _nested(depth - 1) if depth else b""
    return rb'[\[{](?:[^\[\]{}"]++|' + _STRING + inner + rb")*+[\]}]"


_SPACE = re.compile(rb"[ \t\r\n]*+")
_KEY = re.compile(rb'[ \t\r\n]*+("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\r\n]*+:[ \t\r\n]*+', re.DOTALL)
_VALUE = re.compile(_STRING + rb"|[-+.\w]++|" + _nested(_DEPTH), re.DOTALL)
# A whole member in one step, unless its value is a list: that one is found faster by its closing bracket.
_MEMBER = re.compile(
    rb"[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+(?!\[)(" + _VALUE.pattern + rb")[ \t\r\n]*+[,}]",
    re.DOTALL,
)
_EMPTY = re.compile(rb"\{[ \t\r\n]*+\}")
_AFTER = re.compile(rb"[ \t\r\n]*+[,}]")
_CLOSING_BRACE = ord("}")
_COMMA = ord(",")
_SECTIONS = 2
"""Levels of objects whose members are remembered: the file's own, and those of its sections."""
_MOST_LEVELS = 200
_SHORT = 64
_BOM = b"\xef\xbb\xbf"
_DECODER = json.JSONDecoder()
_ENCODER = json.JSONEncoder(check_circular=False)


class Slice(NamedTuple):
    """A value in a file: the bytes from `start` to `end`."""

    file: JsonFile
    start: int
    end: int

    @property
    def kind(self) -> str:
        """The value's first character: `{`, `[`, `"`, or that of a number or word."""
        return chr(self.file.data[self.start])

    def raw(self) -> bytes:
        return self.file.data[self.start : self.end]

    def load(self) -> Any:
        """The value, as the json module reads it. Raises DamagedError with the file and the offset."""
        # Bytes that are no UTF-8 can only stand in strings: they become replacement characters.
        text = self.raw().decode("utf-8", "replace")
        try:
            # What json.loads does, without its look for space around the value: a slice has none.
            value, end = _DECODER.raw_decode(text)
            return value if end == len(text) else json.loads(text)
        except json.JSONDecodeError as error:
            offset = self.start + len(text[: error.pos].encode())
            raise self.file.damaged(offset, error.msg) from error
        except RecursionError as error:
            raise self.file.damaged(self.start, "It is nested too deeply") from error
        except ValueError as error:
            raise self.file.damaged(self.start, str(error)) from error

    def is_plainly(self, value: Any) -> bool:
        """Whether this is how the json module writes a value; False may also mean that it is written in another way."""
        return self.raw() == _ENCODER.encode(value).encode()

    def members(self) -> Members:
        """The members of an object. Raises DamagedError where it is none."""
        return Members(self)

    def numbers(self) -> NDArray[np.float64] | None:
        """A list of numbers as float64 of shape `(n,)`; None where it is none, or holds something else."""
        if self.kind != "[":
            return None
        raw = self.raw()
        if raw.find(b"[", 1) >= 0:
            return None
        try:
            # The numbers go from simdjson's tape to the array without becoming objects.
            found = self.file.parser.parse(raw)
            return np.frombuffer(found.as_buffer(of_type="d"), dtype=np.float64)  # type: ignore[union-attr]
        except (ValueError, TypeError, RuntimeError):
            return self._any_numbers()

    def _any_numbers(self) -> NDArray[np.float64] | None:
        """The slow way, for what simdjson refuses: NaN, Infinity, integers beyond 64 bits, an empty list."""
        value = self.load()
        if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
            return None
        try:
            return np.array(value, dtype=np.float64)
        except OverflowError:
            return None

    def count_numbers(self) -> int:
        """How many numbers a flat list holds, judged by its commas."""
        size = self.end - self.start
        if size <= _SHORT and not self.raw()[1:-1].strip():
            return 0
        return int(np.count_nonzero(np.frombuffer(self.file.data, np.uint8, size, self.start) == _COMMA)) + 1

    def inner(self) -> JsonFile:
        """JSON that is within this string, unescaped piece by piece. Raises DamagedError."""
        data, at, end = self.file.data, self.start + 1, self.end - 1
        spill = Spill()
        while at < end:
            # No escape sequence, nor a pair of them, goes across a comma.
            cut = data.rfind(b",", at, at + LARGE) + 1 if at + LARGE < end else end
            cut = cut or data.find(b",", at, end) + 1 or end
            piece = b'"' + data[at:cut] + b'"'
            spill.write(
                Slice(JsonFile.of(piece, self.file.path), 0, len(piece)).load().encode("utf-8", "surrogatepass")
            )
            at = cut
        return JsonFile.of(spill.done(), self.file.path)


class Members:
    """The members of an object: keys and values as offsets, 32 bytes each, in the order of the file."""

    def __init__(self, value: Slice) -> None:
        self.file = value.file
        self._spans = self.file.spans(value)
        self._n = len(self._spans) // 4
        self._sorted: tuple[NDArray[np.int64], NDArray[np.int64], bool] | None = None
        self._next = 0

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[tuple[str, Slice]]:
        for row in range(self._n):
            yield self.key(row), self.value(row)

    def each_key(self) -> Iterator[str]:
        """In the order of the file; keys that occur twice come twice."""
        data, spans, text = self.file.data, self._spans, self.file.text
        for at in range(0, 4 * self._n, 4):
            raw = data[spans[at] + 1 : spans[at + 1] - 1]
            yield raw.decode() if raw.isascii() and b"\\" not in raw else text(spans[at], spans[at + 1])

    def key(self, row: int) -> str:
        return self.file.text(self._spans[4 * row], self._spans[4 * row + 1])

    def value(self, row: int) -> Slice:
        return Slice(self.file, self._spans[4 * row + 2], self._spans[4 * row + 3])

    def get(self, key: str) -> Slice | None:
        """The value of a key; of keys that occur twice the last one, as in the json module."""
        row = self.row(key)
        return None if row is None else self.value(row)

    def row(self, key: str) -> int | None:
        if not self._n:
            return None
        hashes, order, unique = self._lookup()
        # Sections list their nodes in the same order, so that the next one is nearly always the one that is wanted.
        if unique and self._next < self._n and self._is_plainly(self._next, key):
            self._next += 1
            return self._next - 1
        wanted = hash(key)
        last = int(hashes.searchsorted(wanted, side="right"))
        while last and hashes[last - 1] == wanted:
            last -= 1
            row = int(order[last])
            if self.key(row) == key:
                self._next = row + 1
                return row
        return None

    def _is_plainly(self, row: int, key: str) -> bool:
        """Whether a row has this key, judged by the bytes alone: False may also mean that it is written in another way."""
        start, end = self._spans[4 * row], self._spans[4 * row + 1]
        return "\\" not in key and self.file.data[start + 1 : end - 1] == key.encode("utf-8", "surrogatepass")

    def __contains__(self, key: str) -> bool:
        return self.row(key) is not None

    def hashes(self) -> NDArray[np.int64]:
        """Of the keys, in ascending order."""
        return self._lookup()[0]

    def superseded(self) -> list[int]:
        """The rows whose key occurs again further on."""
        hashes, order, unique = self._lookup()
        if unique:
            return []
        same = np.flatnonzero(hashes[1:] == hashes[:-1])
        rows = (int(order[at]) for at in same.tolist())
        return [row for row in rows if self.row(self.key(row)) != row]

    def _lookup(self) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
        """Hashes of the keys in ascending order, the rows they belong to (equal ones in the file's order), and whether all differ."""
        if self._sorted is None:
            hashes = np.fromiter(map(hash, self.each_key()), dtype=np.int64, count=self._n)
            order = np.argsort(hashes, kind="stable")
            hashes = hashes[order]
            unique = not bool((hashes[1:] == hashes[:-1]).any())
            self._sorted = settled(hashes), settled(order), unique
        return self._sorted


class JsonFile:
    """A JSON file, mapped read-only; a context manager."""

    def __init__(self, path: Path) -> None:
        """Raises StorageError; DamagedError for a file that is empty or no UTF-8."""
        self.path = path
        self.parser = simdjson.Parser()
        self._walked: dict[int, memoryview] = {}
        with fsio.translated(path), path.open("rb") as file:
            self.size = path.stat().st_size
            self.data: mmap.mmap | bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else b""
        if self.data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise self.damaged(0, "It is UTF-16, where UTF-8 was expected")

    @classmethod
    def of(cls, data: mmap.mmap | bytes, path: Path) -> JsonFile:
        """JSON that was within a string of a file."""
        file = cls.__new__(cls)
        file.path, file.data, file.size = path, data, len(data)
        file.parser, file._walked = simdjson.Parser(), {}
        return file

    def __enter__(self) -> JsonFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if isinstance(self.data, mmap.mmap):
            self.data.close()
            self.data = b""

    def root(self) -> Slice:
        """The one value of the file. Raises DamagedError with the offset where it breaks off."""
        start = self._after_space(len(_BOM) if self.data[:3] == _BOM else 0)
        end = self._value_end(start)
        rest = self._after_space(end)
        if rest != self.size:
            raise self.damaged(rest, "Something follows the end of the JSON value")
        return Slice(self, start, end)

    def damaged(self, offset: int, what: str) -> DamagedError:
        where = f"{what[:1].lower()}{what[1:]} at byte {offset:,} of {self.size:,}"
        return DamagedError(
            f"{self.path} is not whole: {where if self.size else 'it is empty'}.",
            hint="Nothing was changed. Restore the file from a backup.",
            path=self.path,
            actual=offset,
        )

    def text(self, start: int, end: int) -> str:
        """The string between these quotes."""
        raw = self.data[start:end]
        if b"\\" in raw:
            value = Slice(self, start, end).load()
            return value if isinstance(value, str) else ""
        return raw[1:-1].decode("utf-8", "replace")

    def spans(self, value: Slice) -> memoryview:
        """Four offsets for each member of an object: its key's start and end, its value's start and end."""
        found = self._walked.get(value.start)
        if found is None:
            spans = Offsets()
            self._walk(value.start, spans, _SECTIONS)
            found = spans.done()
        return found

    def _walk(self, start: int, spans: Offsets, level: int) -> int:
        """Append the members of the object at `start`; returns the offset after the object."""
        data = self.data
        if data[start : start + 1] != b"{":
            raise self.damaged(start, "An object was expected")
        opening = _EMPTY.match(data, start)
        if opening is not None:
            return opening.end()
        at = start + 1
        runs = Runs(data) if level + 1 == _SECTIONS else None
        while True:
            many = None if runs is None else runs.next(at)
            if many is not None:
                spans.extend(many.reshape(-1).tolist())
                at = int(many[-1, 3]) + 1
            member = _MEMBER.match(data, at) if level + 1 >= _SECTIONS else None
            if member is not None:
                if runs is not None:
                    runs.saw(data[member.start(2)])
                at = member.end()
                spans.extend((*member.span(1), *member.span(2)))
                if data[at - 1] == _CLOSING_BRACE:
                    return at
                continue
            key = _KEY.match(data, at)
            if key is None:
                raise self.damaged(at, "It breaks off")
            value = key.end()
            end = self._value_end(value, level + 1)
            if runs is not None:
                runs.saw(data[value])
            spans.extend((key.start(1), key.end(1), value, end))
            mark = _AFTER.match(data, end)
            if mark is None:
                raise self.damaged(end, "It breaks off" if end >= self.size else "A comma was expected")
            at = mark.end()
            if data[at - 1] == _CLOSING_BRACE:
                return at

    def _after_space(self, at: int) -> int:
        found = _SPACE.match(self.data, at)
        return at if found is None else found.end()

    def _value_end(self, start: int, level: int = 0) -> int:
        """The offset after the value at `start`."""
        data = self.data
        first = data[start : start + 1]
        if first == b"{" and level < _SECTIONS:
            # The large ones: an index's sections, walked once, member by member, so that no one search spans them.
            spans = Offsets()
            end = self._walk(start, spans, level)
            self._walked[start] = spans.done()
            return end
        if first == b"[":
            end = data.find(b"]", start)
            # A flat list of numbers, as every vector is: the next bracket ends it.
            if end >= 0 and data.find(b'"', start, end) < 0 and data.find(b"[", start + 1, end) < 0:
                return end + 1
        found = _VALUE.match(data, start)
        if found is not None:
            return found.end()
        if first in (b"{", b"["):
            return self._walk_deep(start, level)
        raise self.damaged(start, "It breaks off")

    def _walk_deep(self, start: int, level: int) -> int:
        """A value that one search could not pass: too deep, or broken, which is then found where it breaks."""
        if level > _MOST_LEVELS:
            raise self.damaged(start, "It is nested too deeply")
        if self.data[start : start + 1] == b"{":
            return self._walk(start, Offsets(), level)
        at = self._after_space(start + 1)
        if self.data[at : at + 1] == b"]":
            return at + 1
        while True:
            at = self._after_space(self._value_end(at, level + 1))
            mark = self.data[at : at + 1]
            if mark == b"]":
                return at + 1
            if mark != b",":
                raise self.damaged(at, "It breaks off" if not mark else "A comma was expected")
            at = self._after_space(at + 1)
