"""Compression of what the catalogue keeps: zstd frames, with dictionaries trained on the library's own content.

A frame names the dictionary it needs, so that frames of several generations live side by side. Method: zstd (RFC 8878)
with COVER-trained dictionaries, which is what makes passages of 2 KB compress like one large file.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import zstandard

from stackroom.errors import DamagedError, UsageError
from stackroom.storage.catalogue.sql import Connection
from stackroom.types import Metadata, Place

Kind = Literal["text", "details", "original"]

_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_COMPACT_ASCII = json.JSONEncoder(separators=(",", ":"))

LEVEL = 3
DICTIONARY_BYTES = 110 * 1024
LARGEST = 256 * 1024 * 1024
_WORTH_THREADS = 1024 * 1024
"""Bytes up to which threads cost more than they bring: that much takes 10 ms, and a busy machine lets a thread wait as long."""
_THREADS = min(4, os.cpu_count() or 1)


class Codec:
    """Encodes and decodes the blobs of one connection; a lock makes it usable from several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {}
        self._compressors: dict[Kind, zstandard.ZstdCompressor] = {}
        self._version: int | None = None

    def encode(self, kind: Kind, data: bytes) -> bytes:
        """Raises UsageError where it is longer than `decode` takes."""
        _require_readable(data)
        with self._lock:
            return self._compressor_of(kind).compress(data)

    def _compressor_of(self, kind: Kind) -> zstandard.ZstdCompressor:
        compressor = self._compressors.get(kind)
        if compressor is None:
            compressor = self._compressors[kind] = self._compressor(kind)
        return compressor

    def encode_many(self, kind: Kind, items: Sequence[bytes]) -> list[bytes]:
        """The same frames as `encode` gives; many are made on every core."""
        # Not every build of zstandard can, and none where all items are empty.
        together = any(items) and "multi_compress_to_buffer" in zstandard.backend_features
        if not together:
            return [self.encode(kind, data) for data in items]
        for data in items:
            _require_readable(data)
        threads = _THREADS if sum(map(len, items)) > _WORTH_THREADS else 1
        with self._lock:
            frames = self._compressor_of(kind).multi_compress_to_buffer(list(items), threads=threads)
        return [frames[at].tobytes() for at in range(len(frames))]

    def decode(self, frame: bytes) -> bytes:
        try:
            parameters = zstandard.get_frame_parameters(frame)
            # A hostile frame may promise anything; what we wrote is far below this.
            if parameters.content_size > LARGEST:
                raise DamagedError("A compressed passage claims an impossible size.", hint="Run: stackroom verify")
            with self._lock:
                decompressor = self._decompressors.get(parameters.dict_id)
                if decompressor is None:
                    decompressor = self._decompressors[parameters.dict_id] = self._decompressor(parameters.dict_id)
                return decompressor.decompress(frame)
        except zstandard.ZstdError as error:
            raise DamagedError(
                f"A compressed passage can't be read ({error}).", hint="See what is hit: stackroom verify"
            ) from error

    def forget_compressors(self) -> None:
        """Have the next `encode` look for the newest dictionary again."""
        with self._lock:
            self._compressors.clear()

    def follow(self) -> None:
        """Called within a transaction that writes: what another connection did since the last one may have been a purge, which takes dictionaries away."""
        version = self._connection.value("PRAGMA data_version")
        if version != self._version:
            self._version = version
            self.forget_compressors()

    def _compressor(self, kind: Kind) -> zstandard.ZstdCompressor:
        row = self._connection.row(
            "SELECT data FROM dictionaries WHERE kind = ? ORDER BY dictionary_id DESC LIMIT 1", (kind,)
        )
        dictionary = zstandard.ZstdCompressionDict(row[0]) if row else None
        if dictionary is not None:
            dictionary.precompute_compress(level=LEVEL)
        return zstandard.ZstdCompressor(
            level=LEVEL, dict_data=dictionary, write_content_size=True, write_checksum=False, write_dict_id=True
        )

    def _decompressor(self, dictionary_id: int) -> zstandard.ZstdDecompressor:
        if dictionary_id == 0:
            return zstandard.ZstdDecompressor()
        row = self._connection.row("SELECT data FROM dictionaries WHERE dictionary_id = ?", (dictionary_id,))
        if row is None:
            raise DamagedError(
                f"Dictionary {dictionary_id}, which some passages need, is missing.", hint="Run: stackroom verify"
            )
        return zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(row[0]))


def _require_readable(data: bytes) -> None:
    if len(data) > LARGEST:
        raise UsageError(
            f"A passage, its metadata or a record of another program is longer than {LARGEST // 1024**2:,} MB.",
            hint="Split it.",
            actual=len(data),
        )


def train(samples: Sequence[bytes]) -> bytes | None:
    """A dictionary for content like these samples, or None where they are too few or too alike to train one."""
    total = sum(map(len, samples))
    size = min(DICTIONARY_BYTES, total // 16)
    if size < 4096:
        return None
    try:
        # Fixed segment and dmer size (zstd's fast path): the search for the best ones takes a hundred times longer.
        return zstandard.train_dictionary(size, list(samples), k=200, d=8, f=20, accel=4).as_bytes()
    except zstandard.ZstdError:
        return None


def dictionary_id(data: bytes) -> int:
    """The id by which frames name this dictionary."""
    return zstandard.ZstdCompressionDict(data).dict_id()


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def to_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def dump_details(place: Place, metadata: Metadata) -> bytes | None:
    """Place and metadata of a chunk as one JSON array, trailing empty fields left out; None when all are empty."""
    fields: list[Any] = [
        place.start,
        place.end,
        place.page,
        place.page_end,
        place.page_label,
        list(place.section) or None,
        dict(metadata) or None,
        place.unit,
        place.first,
        place.last,
    ]
    while fields and fields[-1] is None:
        fields.pop()
    return dump_json(fields) if fields else None


def load_details(data: bytes | None) -> tuple[Place, dict[str, Any]]:
    fields = json.loads(data.decode()) if data else []
    fields += [None] * (10 - len(fields))
    start, end, page, page_end, label, section, metadata, unit, first, last = fields[:10]
    return Place(start, end, page, page_end, label, tuple(section or ()), unit, first, last), metadata or {}


def dump_json(value: object) -> bytes:
    """JSON as it is stored: no spaces; lone surrogates survive as escapes; key order is kept."""
    try:
        return _COMPACT.encode(value).encode()
    except UnicodeEncodeError:
        return _COMPACT_ASCII.encode(value).encode()


def chunk_checksum(chunk_id: str, text: bytes, details: bytes | None) -> int:
    """CRC-32 over a chunk's id, text and details, so that no other chunk's text can pass for it."""
    return zlib.crc32(details or b"", zlib.crc32(text, zlib.crc32(to_bytes(chunk_id) + b"\x00")))


def row_checksum(key: int, row: memoryview | bytes) -> int:
    """CRC-32 over a chunk's key and the bytes of its vector."""
    return zlib.crc32(row, zlib.crc32(key.to_bytes(8, "little")))


def record_checksum(*fields: object) -> int:
    """CRC-32 over the fields of a source or document, each with its kind and length in front."""
    return zlib.crc32(framed(fields))


def framed(fields: Iterable[object]) -> bytes:
    """The fields of a record, each with its kind and length in front."""
    # Every hit's document and source are checked: a fifth of a search, if a field cost a call.
    parts: list[bytes] = []
    for field in fields:
        if field is None:
            parts.append(b"n\x00\x00\x00\x00")
            continue
        if isinstance(field, str):
            kind, data = b"t", field.encode("utf-8", "surrogatepass")
        elif isinstance(field, int):
            kind, data = b"i", b"%d" % field
        elif isinstance(field, bytes):
            kind, data = b"b", field
        else:  # what nobody wrote here: its checksum is no other's
            kind, data = b"?", repr(field).encode()
        parts += kind, len(data).to_bytes(4, "little"), data
    return b"".join(parts)
