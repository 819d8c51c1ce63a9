"""Embedding models as ONNX files, run by onnxruntime on the processor, offline.

Texts go through the model one at a time: on a processor batches gain nothing, padding costs, and dynamic quantisation
would make a text's vector depend on its neighbours. Parallel work is one session a core, each on one thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stackroom._forking import tell_in_children
from stackroom.errors import UnavailableError
from stackroom.ingest.embedders.tokens import FileTokenizer
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

    from stackroom.ingest.embedders.unigram import UnigramTokenizer

Pooling = Literal["mean", "cls", "none"]

_SHIPPED = Path(__file__).parents[2] / "models" / "minilm-l6-v2"
_SHIPPED_SHA256 = "732c6e878e0d65a6c15cc0b290ffbedc812d3507dd925e22ea2a0733a7e95a59"
_SHIPPED_TOKENIZER_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
_MOST_THREADS = 8
_MOST_CHARACTERS = 200_000
"""Of a text: no model reads as many, and to cut ten megabytes into tokens takes half a minute."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model's parts are; `sha256`, of model and tokenizer, None means unknown."""

    model: Path
    tokenizer: Path
    lowercase: bool = True
    sha256: tuple[str, str] | None = None


class OnnxEmbedder:
    """An embedder over one ONNX file.

    An empty text is embedded like any other: its special tokens alone make a unit vector. Texts longer than the model's
    limit are cut there; the splitter sees to it that none is.
    """

    def __init__(
        self,
        files: ModelFiles,
        identity: EmbedderIdentity,
        *,
        threads: int | None = None,
        tokenizer: FileTokenizer | UnigramTokenizer | None = None,
    ) -> None:
        self.identity = identity
        self.tokenizer = tokenizer or FileTokenizer(files.tokenizer, lowercase=files.lowercase)
        self._files = files
        self._threads = threads or min(os.cpu_count() or 1, _MOST_THREADS)
        self._local = threading.local()
        self.begin_anew()
        tell_in_children(self)

    def begin_anew(self) -> None:
        """Let go of threads and of what they hold: in a forked child there are none."""
        self._load = threading.Lock()
        self.__dict__.pop("_pool", None)

    def with_prefixes(self, query: str, passage: str) -> OnnxEmbedder:
        """The same model with other prefixes, which makes it another one: its vectors are not comparable."""
        if (query, passage) == (self.identity.query_prefix, self.identity.passage_prefix):
            return self
        room = self._limit - 2 - _tokens(self.tokenizer, passage)
        identity = replace(self.identity, query_prefix=query, passage_prefix=passage, max_tokens=room)
        return self._as(identity)

    def _as(self, identity: EmbedderIdentity) -> OnnxEmbedder:
        return OnnxEmbedder(self._files, identity, threads=self._threads)

    @cached_property
    def _limit(self) -> int:
        """Tokens that the model reads at once, the prefix and the special ones included."""
        return (self.identity.max_tokens or 510) + 2 + _tokens(self.tokenizer, self.identity.passage_prefix)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 of shape `(len(texts), dim)`, in the order given. Raises UnavailableError."""
        prefixed = [self.identity.passage_prefix + text for text in texts]
        vectors = np.empty((len(texts), self.identity.dim), dtype=np.float32)

        def embed(index: int) -> None:
            vectors[index] = self._embed(prefixed[index])

        # Longest first, so that no thread is left with a long text at the end.
        order = sorted(range(len(texts)), key=lambda index: -len(prefixed[index]))
        if self._threads == 1 or len(texts) < 2:
            for index in order:
                embed(index)
        else:
            for _ in self._pool.map(embed, order):
                pass
        return vectors

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """float32 of shape `(dim,)`, on one thread. Raises UnavailableError."""
        return self._embed(self.identity.query_prefix + text)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="embed")

    def _embed(self, text: str) -> NDArray[np.float32]:
        session = self._session()
        given = self._given(session, self.tokenizer.ids(text[:_MOST_CHARACTERS], self._limit))
        return self._pooled(np.asarray(session.run(None, given)[0], dtype=np.float32))

    def _given(self, session: InferenceSession, numbers: list[int]) -> Mapping[str, NDArray[Any]]:
        """What the graph takes, by name."""
        ids = np.array([numbers], dtype=np.int64)
        given: dict[str, NDArray[np.int64]] = {}
        for expected in session.get_inputs():
            if expected.name == "input_ids":
                given[expected.name] = ids
            elif expected.name == "attention_mask":
                given[expected.name] = np.ones_like(ids)
            elif expected.name in ("token_type_ids", "position_ids"):
                given[expected.name] = (
                    np.zeros_like(ids) if expected.name == "token_type_ids" else np.arange(ids.shape[1])[None]
                )
        return given

    def _pooled(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        if output.ndim == 3:
            output = output[:, 0] if self.identity.pooling == "cls" else output.mean(axis=1)
        vector: NDArray[np.float32] = output[0]
        if self.identity.normalised:
            length = float(np.linalg.norm(vector.astype(np.float64)))
            vector = vector / np.float32(length) if length > 0 else vector
        return vector

    def _session(self) -> InferenceSession:
        """This thread's session, loaded at first use."""
        session: InferenceSession | None = getattr(self._local, "session", None)
        if session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            try:
                session = onnxruntime.InferenceSession(self._weights, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # onnxruntime's own exceptions have no common base
                raise UnavailableError(
                    f"The model {self._files.model} can't be loaded: {error}.",
                    hint="Export it again for onnxruntime.",
                    path=self._files.model,
                ) from error
            self._local.session = session
        return session

    @property
    def _weights(self) -> bytes | str:
        """The model to load, checked against its hash where that is known; and before that its tokenizer, without which it is another model."""
        if self._files.sha256 is None:
            return str(self._files.model)
        of_model, of_tokenizer = self._files.sha256
        with self._load:
            _as_shipped(self._files.tokenizer, of_tokenizer)
            return _as_shipped(self._files.model, of_model)


def _as_shipped(path: Path, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _broken(path, str(error.strerror)) from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _broken(path, "it is not the file that was shipped")
    return data


def _broken(path: Path, why: str) -> UnavailableError:
    return UnavailableError(
        f"The model file {path} can't be used: {why}.",
        hint="Install it again: pip install --force-reinstall stackroom",
        path=path,
    )


def shipped(*, threads: int | None = None) -> OnnxEmbedder:
    """all-MiniLM-L6-v2, int8: 384 dimensions, 256 tokens, English first of all."""
    identity = EmbedderIdentity(
        name="minilm",
        dim=384,
        model="sentence-transformers/all-MiniLM-L6-v2",
        revision=_SHIPPED_SHA256[:16],
        pooling="mean",
        max_tokens=254,
    )
    hashes = _SHIPPED_SHA256, _SHIPPED_TOKENIZER_SHA256
    files = ModelFiles(_SHIPPED / "model.onnx", _SHIPPED / "vocab.txt", sha256=hashes)
    return OnnxEmbedder(files, identity, threads=threads)


def from_folder(folder: Path, *, threads: int | None = None) -> OnnxEmbedder:
    """A model as the usual tools export it: `model.onnx` (or `onnx/model.onnx`) beside `tokenizer.json` or `vocab.txt`.

    Pooling, limit, case and prefixes come from the configuration files of sentence-transformers where they are there; a
    model whose name says E5 gets E5's prefixes. Raises UnavailableError when a file is missing.
    """
    model = _one_of(folder, "model.onnx", "onnx/model.onnx", "model_quantized.onnx", "onnx/model_quantized.onnx")
    tokenizer = _one_of(folder, "tokenizer.json", "vocab.txt")
    config = _json(folder / "config.json")
    limits = _json(folder / "sentence_bert_config.json")
    prompts = _json(folder / "config_sentence_transformers.json").get("prompts") or {}
    pooling_config = _json(folder / "1_Pooling" / "config.json")
    e5 = "e5" in f"{folder.name} {config.get('_name_or_path', '')}".lower().replace("_", "-").split("/")[-1].split("-")
    positions = int(config.get("max_position_embeddings") or 512)
    # RoBERTa and its kin count positions from their padding token on: two of them are never used.
    positions -= 2 if "roberta" in str(config.get("model_type", "")) or positions == 514 else 0
    limit = int(limits.get("max_seq_length") or positions)
    dim = int(pooling_config.get("word_embedding_dimension") or config.get("hidden_size") or 0) or _output_dim(model)
    with model.open("rb") as file:
        revision = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    identity = EmbedderIdentity(
        name=f"onnx:{folder}",
        dim=dim,
        model=str(config.get("_name_or_path") or folder.name),
        revision=revision,
        query_prefix=str(prompts.get("query", "query: " if e5 else "")),
        passage_prefix=str(prompts.get("passage", prompts.get("document", "passage: " if e5 else ""))),
        pooling="cls" if pooling_config.get("pooling_mode_cls_token") else "mean",
        max_tokens=limit - 2,
    )
    lowercase = bool(_json(folder / "tokenizer_config.json").get("do_lower_case", True))
    # The prefix takes its part of what the model can read.
    taken = _tokens(FileTokenizer(tokenizer, lowercase=lowercase), identity.passage_prefix)
    identity = replace(identity, max_tokens=limit - 2 - taken)
    return OnnxEmbedder(ModelFiles(model, tokenizer, lowercase), identity, threads=threads)


def _tokens(tokenizer: FileTokenizer | UnigramTokenizer, prefix: str) -> int:
    return len(tokenizer.spans(prefix)) if prefix else 0


def _one_of(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UnavailableError(
        f"{folder} holds none of {', '.join(names)}.",
        hint="Give the folder of a model exported to ONNX, with its tokenizer.",
        path=folder,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _output_dim(model: Path) -> int:
    import onnxruntime

    try:
        shape = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).get_outputs()[0].shape
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise UnavailableError(
            f"The model {model} can't be loaded: {error}.", hint="Export it again for onnxruntime.", path=model
        ) from error
    if not isinstance(shape[-1], int):
        raise UnavailableError(f"{model} does not say how many dimensions it has.", hint="Add config.json.", path=model)
    return shape[-1]
