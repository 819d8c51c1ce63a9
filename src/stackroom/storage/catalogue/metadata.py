"""An inverted index over metadata, inside the catalogue: a filter becomes the set of keys that satisfy it.

Every distinct value of a field is stored once, with the keys that have it in blocks of 65,536: a sorted u16 array, or a
bitmap where that is smaller. A condition is decided by the filter tree's own comparison on the distinct values, so that it
agrees with the reference; equality and ranges find their values by index. Long values are kept as a hash, and
read from a record that has them when a comparison needs the value itself.

Postings of chunks that are gone stay until compaction: keys are never reused, and every answer is cut to live keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.errors import DamagedError
from stackroom.filters import Condition, Filter, Group, Operator, holds, holds_when_missing
from stackroom.storage.catalogue import runs
from stackroom.storage.catalogue.ids import pack_text, unpack_text
from stackroom.storage.catalogue.keysets import KeySet, broken_numbers, unpacked
from stackroom.storage.catalogue.sql import Connection

if TYPE_CHECKING:
    from numpy.typing import NDArray

DOCUMENT = 0
CHUNK = 1

OF_DOCUMENTS = frozenset({"document_id"})
"""Fields that every document has, and that no chunk's own field of that name hides."""

_OF_CHUNKS = {f"metadata.{name}": name for name in OF_DOCUMENTS}
"""The way to a chunk's own field of such a name."""

Load = Callable[[int, int], Mapping[str, Any]]
"""(owner, key) -> that record's metadata"""

_OPPOSITES: dict[Operator, Operator] = {"!=": "==", "nin": "in"}

_SORTED = json.JSONEncoder(sort_keys=True)

_PRESENT = ""  # the value under which a field keeps every key that has it; no JSON text is empty
_LONGEST = 200
_BLOCK = 1 << 16
_BITMAP_BYTES = _BLOCK // 8
_DENSE = 16
"""One key of so many, on average: from there on they are marked in a row of all that could be there."""
_EXACT_INTEGER = 2.0**53
_CUT_AT_ONCE = 256


def add(connection: Connection, owner: int, records: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
    """Index the metadata of new keys."""
    found: dict[str, dict[str | bytes, list[int]]] = {}
    numbers: dict[tuple[str, str | bytes], float | None] = {}
    # Most values come again and again. Only of text and whole numbers does being equal mean the same JSON.
    known: dict[tuple[str, type, str | int], list[int]] = {}
    for key, metadata in records:
        for name, value in metadata.items():
            values = found.setdefault(name, {_PRESENT: []})
            values[_PRESENT].append(key)
            plain = (name, type(value), value) if type(value) in (str, int, bool) else None
            keys = known.get(plain) if plain is not None else None
            if keys is None:
                stored = _stored(value)
                numbers[name, stored] = _number(value)
                keys = values.setdefault(stored, [])
                if plain is not None:
                    known[plain] = keys
            keys.append(key)
    for name, values in found.items():
        field_key = _field(connection, name)
        value_keys = _known_values(connection, field_key, owner, list(values))
        new = [stored for stored in values if stored not in value_keys]
        for stored in new:
            value_keys[stored] = _new_value(connection, field_key, owner, stored, numbers.get((name, stored)))
        members = {
            (value_keys[stored], block): part for stored, keys in values.items() for block, part in _by_block(keys)
        }
        fresh = {value_keys[stored] for stored in new}
        _join(connection, members, known=[key for key in value_keys.values() if key not in fresh])


def _join(connection: Connection, members: dict[tuple[int, int], NDArray[np.uint16]], *, known: Sequence[int]) -> None:
    """Put these members beside those that their (value, block) has; `known` are the values that may have any."""
    blocks = [block for _, block in members]
    rows = connection.among(
        "SELECT value_key, block, members FROM postings WHERE block BETWEEN ? AND ? AND value_key IN (...)",
        known,
        (min(blocks), max(blocks)),
    )
    for value_key, block, blob in rows:
        added = members.get((value_key, block))
        if added is not None:
            before = _members(blob)
            # New keys are higher than all there were, but for a document whose metadata changed.
            newer = not len(before) or before[-1] < added[0]
            members[value_key, block] = np.concatenate([before, added]) if newer else np.union1d(before, added)
    connection.executemany(
        "INSERT OR REPLACE INTO postings VALUES(?, ?, ?)",
        ((value_key, block, _blob(joined)) for (value_key, block), joined in members.items()),
    )


def discard(connection: Connection, owner: int, key: int, metadata: Mapping[str, Any]) -> None:
    """Take a key out of the index; `metadata` is what it was indexed with."""
    block, member = divmod(key, _BLOCK)
    for name, value in metadata.items():
        for stored in (_PRESENT, _stored(value)):
            row = connection.row(
                """SELECT value_key FROM field_values JOIN fields USING(field_key)
                   WHERE name = ? AND owner = ? AND value = ?""",
                (pack_text(name), owner, stored),
            )
            if row is None:
                continue
            before = _read_block(connection, row[0], block)
            _write_block(connection, row[0], block, before[before != member])
            if connection.row("SELECT 1 FROM postings WHERE value_key = ?", row) is None:
                connection.execute("DELETE FROM field_values WHERE value_key = ?", row)


def cut(connection: Connection, living: KeySet) -> None:
    """Take the chunks that are gone out of the index, and the values and fields that nothing has any more."""
    after = (-1, -1)
    while rows := connection.rows(
        """SELECT p.value_key, p.block, p.members FROM postings p JOIN field_values USING(value_key)
           WHERE owner = ? AND (p.value_key, p.block) > (?, ?) ORDER BY p.value_key, p.block LIMIT ?""",
        (CHUNK, *after, _CUT_AT_ONCE),
    ):
        for value_key, block, blob in rows:
            members = _members(blob)
            kept = members[living.contains(members.astype(np.int64) + (block << 16))]
            if len(kept) < len(members):
                _write_block(connection, value_key, block, kept)
            after = (value_key, block)
    connection.execute("DELETE FROM field_values WHERE value_key NOT IN (SELECT value_key FROM postings)")
    connection.execute("DELETE FROM fields WHERE field_key NOT IN (SELECT field_key FROM field_values)")


def rebuild(connection: Connection, batches: Iterable[tuple[int, list[tuple[int, Mapping[str, Any]]]]]) -> None:
    """Make the index anew from `(owner, [(key, metadata), ...])` batches."""
    for table in ("postings", "field_values", "fields"):
        connection.execute(f"DELETE FROM {table}")
    for owner, batch in batches:
        add(connection, owner, batch)


def select(connection: Connection, condition: Filter, *, universe: KeySet, load: Load) -> KeySet:
    """The keys of `universe` (the live chunks) whose effective metadata satisfies the filter.

    Effective metadata is the document's, with the chunk's own fields in front of it.
    """
    return _Query(connection, universe, load).evaluate(condition)


_KINDS = {'"': "text", "[": "list", "{": "object", "t": "bool", "f": "bool", "n": "null"}


def kinds(connection: Connection, field: str) -> frozenset[str]:
    """Of which kinds this field's values are; long ones are kept as a hash, and only known to be "long"."""
    rows = connection.rows(
        """SELECT DISTINCT typeof(value), CASE typeof(value) WHEN 'text' THEN substr(value, 1, 1) END
           FROM field_values JOIN fields USING(field_key) WHERE name = ? AND value <> ?""",
        (pack_text(field), _PRESENT),
    )
    return frozenset("long" if kind == "blob" else _KINDS.get(first, "number") for kind, first in rows)


class _Query:
    def __init__(self, connection: Connection, universe: KeySet, load: Load) -> None:
        self._connection = connection
        self._universe = universe
        self._load = load

    def evaluate(self, condition: Filter) -> KeySet:
        if isinstance(condition, Condition):
            return self._leaf(condition)
        return self._group(condition)

    def _group(self, group: Group) -> KeySet:
        if not group.filters:
            return self._universe
        parts = [self.evaluate(part) for part in group.filters]
        if group.conjunction == "and":
            found = parts[0]
            for part in parts[1:]:
                found = found.intersection(part)
            return found
        found = parts[0].union(*parts[1:])
        return self._universe.difference(found) if group.conjunction == "not" else found

    def _leaf(self, condition: Condition) -> KeySet:
        opposite = _OPPOSITES.get(condition.op)
        if opposite is not None:
            return self._universe.difference(self._leaf(Condition(condition.key, opposite, condition.value)))
        name = _OF_CHUNKS.get(condition.key, condition.key)
        row = self._connection.row("SELECT field_key FROM fields WHERE name = ?", (pack_text(name),))
        if row is None:
            return self._universe if holds_when_missing(condition) else KeySet.empty()
        field_key = int(row[0])
        if condition.key in _OF_CHUNKS:
            found = self._matching(field_key, CHUNK, condition)
            if holds_when_missing(condition):
                found = found.union(self._universe.difference(self._present(field_key, CHUNK)))
            return found.intersection(self._universe)
        if condition.key in OF_DOCUMENTS:
            return self._of_documents(self._matching(field_key, DOCUMENT, condition)).intersection(self._universe)
        own = self._matching(field_key, CHUNK, condition)
        inherited = self._of_documents(self._matching(field_key, DOCUMENT, condition))
        missing = holds_when_missing(condition)
        if not missing and not inherited:
            return own.intersection(self._universe)
        having = self._present(field_key, CHUNK)
        found = own.union(inherited.difference(having))
        if missing:
            having = having.union(self._of_documents(self._present(field_key, DOCUMENT)))
            found = found.union(self._universe.difference(having))
        return found.intersection(self._universe)

    def _of_documents(self, documents: KeySet) -> KeySet:
        """The chunks of these documents."""
        if documents.count <= 256:
            return runs.of_documents(self._connection, documents.keys().tolist())
        rows = self._connection.numbers("SELECT document_key, first_key, first_key + n FROM runs", columns=3)
        ranges = rows[documents.contains(rows[:, 0]), 1:]
        return KeySet.from_ranges(ranges[np.argsort(ranges[:, 0], kind="stable")])

    def _present(self, field_key: int, owner: int) -> KeySet:
        return self._postings("v.value = ?", (field_key, owner, _PRESENT))

    def _matching(self, field_key: int, owner: int, condition: Condition) -> KeySet:
        if condition.op == "==" or (condition.op == "in" and not isinstance(condition.value, str)):
            wanted = condition.value if condition.op == "in" else (condition.value,)
            candidates = self._equal_values(field_key, owner, wanted)
        elif condition.op in (">", ">=", "<", "<=") and _number(condition.value) is not None:
            return self._in_range(field_key, owner, condition)
        else:
            candidates = self._connection.execute(
                "SELECT value_key, value FROM field_values WHERE field_key = ? AND owner = ? AND value <> ?",
                (field_key, owner, _PRESENT),
            )
        keys = [
            value_key for value_key, stored in candidates if holds(condition, self._value(owner, value_key, stored))
        ]
        return KeySet.empty() if not keys else self._union(keys)

    def _equal_values(self, field_key: int, owner: int, wanted: Any) -> Iterator[tuple[int, str | bytes]]:
        """The distinct values that may equal one of the wanted: by their number, or by their text."""
        for value in wanted:
            number = _number(value)
            column, probe = ("value", _stored(value)) if number is None else ("number", number)
            yield from self._connection.rows(
                f"SELECT value_key, value FROM field_values WHERE field_key = ? AND owner = ? AND {column} = ?",
                (field_key, owner, probe),
            )

    def _in_range(self, field_key: int, owner: int, condition: Condition) -> KeySet:
        """Numbers beyond the bound by index; those equal to it as a float are compared one by one."""
        bound = _number(condition.value) or 0.0
        strict = condition.op[0]
        inside = self._postings(f"v.number {strict} ?", (field_key, owner, bound))
        edge = [
            value_key
            for value_key, stored in self._connection.execute(
                "SELECT value_key, value FROM field_values WHERE field_key = ? AND owner = ? AND number = ?",
                (field_key, owner, bound),
            )
            if holds(condition, self._value(owner, value_key, stored))
        ]
        return inside.union(self._union(edge)) if edge else inside

    def _value(self, owner: int, value_key: int, stored: str | bytes) -> Any:
        if isinstance(stored, str):
            try:
                return json.loads(stored)
            except ValueError as error:
                raise DamagedError(
                    f"The index of metadata holds what is no value ({error}).",
                    hint="See what is hit: stackroom verify. Bring back what can be: stackroom repair",
                ) from error
        for key in self._union([value_key]).keys().tolist():
            for value in self._load(owner, key).values():
                if _stored(value) == stored:
                    return value
        return None

    def _union(self, value_keys: list[int]) -> KeySet:
        rows: list[tuple[int, bytes]] = []
        for value_key in value_keys:
            rows += self._connection.rows("SELECT block, members FROM postings WHERE value_key = ?", (value_key,))
        return _to_keys(rows)

    def _postings(self, where: str, values: tuple[Any, ...]) -> KeySet:
        return _to_keys(
            self._connection.rows(
                f"""SELECT p.block, p.members FROM field_values v JOIN postings p USING(value_key)
                    WHERE v.field_key = ? AND v.owner = ? AND {where}""",
                values,
            )
        )


def documents_with(connection: Connection, field: str) -> int:
    """How many documents have this field."""
    rows = connection.rows(
        """SELECT block, members FROM fields JOIN field_values v USING(field_key) JOIN postings USING(value_key)
           WHERE name = ? AND owner = ? AND v.value = ?""",
        (pack_text(field), DOCUMENT, _PRESENT),
    )
    return _to_keys(rows).count


def numbers_of_documents(connection: Connection, field: str) -> dict[int, float]:
    """The keys of the documents that have numbers under this field, each with the largest of them."""
    rows = connection.rows(
        """SELECT v.number, block, members FROM fields JOIN field_values v USING(field_key) JOIN postings USING(value_key)
           WHERE name = ? AND owner = ? AND v.number IS NOT NULL ORDER BY v.number""",
        (pack_text(field), DOCUMENT),
    )
    return {key: number for number, block, members in rows for key in _to_keys([(block, members)]).keys().tolist()}


def memberships(connection: Connection, owner: int) -> Iterator[tuple[str, str | bytes, KeySet]]:
    """Every (field, stored value, keys) of an owner, for verification; the field's presence has the value ""."""
    for value_key, name, value in connection.execute(
        "SELECT value_key, name, value FROM field_values JOIN fields USING(field_key) WHERE owner = ?", (owner,)
    ):
        rows = connection.rows("SELECT block, members FROM postings WHERE value_key = ?", (value_key,))
        yield unpack_text(name), value, _to_keys(rows)


def expected_memberships(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str | bytes]]:
    """The (field, stored value) pairs under which a record must be found."""
    for name, value in metadata.items():
        yield name, _PRESENT
        yield name, _stored(value)


def _stored(value: Any) -> str | bytes:
    """A value's key in the index: its JSON text, or a hash where that is long or can't be held as text."""
    text = _SORTED.encode(value)
    if len(text) <= _LONGEST:
        return text
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _number(value: Any) -> float | None:
    """A number for the index; None for what is no number, NaN, or beyond float's range."""
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if number == number else None


def _field(connection: Connection, name: str) -> int:
    packed = pack_text(name)
    row = connection.row("SELECT field_key FROM fields WHERE name = ?", (packed,))
    if row is None:
        connection.execute("INSERT INTO fields(name) VALUES(?)", (packed,))
        return connection.last_insert_rowid()
    return int(row[0])


def _known_values(
    connection: Connection, field_key: int, owner: int, stored: Sequence[str | bytes]
) -> dict[str | bytes, int]:
    """The keys of those values that are in the index."""
    statement = "SELECT value, value_key FROM field_values WHERE field_key = ? AND owner = ? AND value IN (...)"
    return dict(connection.among(statement, stored, (field_key, owner)))


def _new_value(connection: Connection, field_key: int, owner: int, stored: str | bytes, number: float | None) -> int:
    connection.execute(
        "INSERT INTO field_values(field_key, owner, number, value) VALUES(?, ?, ?, ?)",
        (field_key, owner, number, stored),
    )
    return connection.last_insert_rowid()


def _by_block(keys: list[int]) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    array = np.array(keys, dtype=np.int64)
    if not (array[1:] > array[:-1]).all():
        array = np.unique(array)
    first, last = int(array[0]) >> 16, int(array[-1]) >> 16
    ends = np.searchsorted(array, np.arange(first, last + 2) << 16)
    for block, (begin, end) in enumerate(pairwise(ends.tolist()), first):
        if begin < end:
            yield block, (array[begin:end] & (_BLOCK - 1)).astype(np.uint16)


def _read_block(connection: Connection, value_key: int, block: int) -> NDArray[np.uint16]:
    row = connection.row("SELECT members FROM postings WHERE value_key = ? AND block = ?", (value_key, block))
    return np.empty(0, dtype=np.uint16) if row is None else _members(row[0])


def _members(blob: bytes) -> NDArray[np.uint16]:
    if len(blob) == _BITMAP_BYTES:
        bits = np.unpackbits(np.frombuffer(blob, dtype=np.uint8), bitorder="little")
        return np.flatnonzero(bits).astype(np.uint16)
    return unpacked(blob, "<u2").astype(np.uint16, copy=False)


def _write_block(connection: Connection, value_key: int, block: int, members: NDArray[np.uint16]) -> None:
    if not len(members):
        connection.execute("DELETE FROM postings WHERE value_key = ? AND block = ?", (value_key, block))
    else:
        connection.execute("INSERT OR REPLACE INTO postings VALUES(?, ?, ?)", (value_key, block, _blob(members)))


def _blob(members: NDArray[np.uint16]) -> bytes:
    if len(members) * 2 < _BITMAP_BYTES:
        return members.astype("<u2").tobytes()
    bits = np.zeros(_BLOCK, dtype=np.uint8)
    bits[members] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def _to_keys(rows: list[tuple[int, bytes]]) -> KeySet:
    """The keys of many blocks; most of them short arrays, which are read together."""
    if not rows:
        return KeySet.empty()
    first, last = min(block for block, _ in rows), max(block for block, _ in rows)
    span = (last + 1 - first) * _BLOCK
    if sum(len(blob) // 2 for _, blob in rows) * _DENSE >= span:
        return _marked(rows, first, span)
    short = [(block, blob) for block, blob in rows if len(blob) != _BITMAP_BYTES]
    if any(len(blob) % 2 for _, blob in short):
        raise broken_numbers()
    members = unpacked(b"".join(blob for _, blob in short), "<u2").astype(np.int64)
    blocks = np.repeat(
        np.array([block for block, _ in short], dtype=np.int64),
        np.array([len(blob) // 2 for _, blob in short], dtype=np.int64),
    )
    parts = [(blocks << 16) + members]
    parts += [(block << 16) + _members(blob).astype(np.int64) for block, blob in rows if len(blob) == _BITMAP_BYTES]
    return KeySet.from_keys(np.concatenate(parts))


def _marked(rows: list[tuple[int, bytes]], first: int, span: int) -> KeySet:
    marks = np.zeros(span, dtype=np.bool_)
    for block, blob in rows:
        own = marks[(block - first) * _BLOCK :][:_BLOCK]
        if len(blob) == _BITMAP_BYTES:
            own |= np.unpackbits(np.frombuffer(blob, dtype=np.uint8), bitorder="little").view(np.bool_)
        else:
            own[unpacked(blob, "<u2")] = True
    return KeySet.from_marks(marks, first * _BLOCK)
