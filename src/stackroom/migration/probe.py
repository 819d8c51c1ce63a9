"""Which model made these vectors? No file says so; the models at hand are tried on a few passages.

A model agrees when its vectors of the sampled passages point where the stored ones do. What was embedded may be the text alone or,
as LlamaIndex does it, with metadata above it; prefixes are tried as the model's files name them, and as the usual families have them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stackroom.backend import Backend, View
from stackroom.errors import BusyError, EmbedderMismatchError, ReadOnlyError
from stackroom.ingest.embedders import DEFAULT, checked, resolve
from stackroom.ingest.embedders.onnx import OnnxEmbedder
from stackroom.migration.records import Anomalies, MainSpace, OldChunk, OldStore, usable
from stackroom.nodes import reading as nodes
from stackroom.protocols import AnyEmbedder, Embedder
from stackroom.reports import ModelGuess
from stackroom.types import EmbedderIdentity

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAMPLES = 8
_AGREES = 0.97
"""Another model is near 0, the same one with a wrong prefix at 0.8 to 0.95; quantised weights stay above this."""

_LABELS = ("text", "text with metadata")

_PREFIXES = (("", ""), ("query: ", "passage: "), ("search_query: ", "search_document: "))
"""(query, passage): none; E5's; Nomic's."""


class Sample(NamedTuple):
    """A passage that a model may be tried on: what it may have been given, by label, and what it made of it (float64)."""

    texts: dict[str, str]
    vector: NDArray[np.float64]


def samples_of(store: OldStore, main: MainSpace) -> list[Sample]:
    """The first passages of a store that have a vector and a text."""
    return [_sample(chunk, vector) for chunk, vector in islice(_with_vector(store, main), _SAMPLES)]


def _sample(chunk: OldChunk, vector: NDArray[np.float64]) -> Sample:
    return Sample({label: embedded_text(chunk, label) for label in _LABELS}, vector)


def probe(
    samples: Sequence[Sample], main: MainSpace, named: str | AnyEmbedder | None
) -> tuple[list[ModelGuess], Embedder | None]:
    """Every model that was tried, best first, and the one that agrees.

    `named` is the user's claim, tried like any other; None tries the shipped model. Raises UsageError, UnavailableError.
    """
    embedder = resolve(DEFAULT if named is None else named)
    if embedder.identity.dim != main.dim or not samples:
        return [], None
    return _compared(embedder, samples, main.dim)


def proven(view: View, embedder: Embedder) -> Embedder:
    """The embedder that made this library's vectors, where `embedder` claims to be it: itself, or itself with other prefixes.

    Costs the embedding of a few passages. Where no passage has both text and vector there is nothing to compare, and the claim is believed.
    Raises EmbedderMismatchError.
    """
    samples = list(islice(_stored(view), _SAMPLES))
    if not samples:
        return embedder
    name, dim = embedder.identity.name, embedder.identity.dim
    guesses, model = _compared(embedder, samples, dim)
    if model is None:
        raise EmbedderMismatchError(
            f"The model {name!r} did not make this library's vectors: their likeness is {guesses[0].cosine:.2f}, "
            f"that of the same model {_AGREES} or more.",
            hint="Name the right one with --embedder (embedder=...), or none: words are then found (--mode text), and vectors are. "
            "Or embed everything anew: stackroom rebuild --embedder NAME",
            expected=_AGREES,
            actual=guesses[0].cosine,
        )
    return model


def claimed(backend: Backend, embedder: Embedder) -> Embedder:
    """As `proven`, for a library that does not say which model made its vectors: from now on it does. Raises EmbedderMismatchError."""
    with backend.view() as view:
        embedder = proven(view, embedder)
    # Read-only, or somebody writes: it is noted by the next one who can.
    with contextlib.suppress(ReadOnlyError, BusyError), backend.commit(wait=0.0) as commit:
        commit.use_embedder(embedder.identity)
    return embedder


def _stored(view: View) -> Iterator[Sample]:
    """Passages with text and vector, spread over the library."""
    keys = view.live_keys(with_vector=True)
    spread = keys[np.unique(np.linspace(0, len(keys) - 1, 4 * _SAMPLES).astype(np.int64))] if len(keys) else keys
    chosen = [int(key) for key in np.random.default_rng(0).permutation(spread)]
    records = view.kept("chunk", chosen)
    for key, passage in zip(chosen, view.passages(chosen), strict=True):
        values = view.vectors([key])[0].astype(np.float64)
        if passage.text.strip() and usable(values):
            record = json.loads(records[key]) if key in records else {}
            node = record.get("node")
            metadata = (nodes.metadata_of(node) if isinstance(node, dict) else None) or dict(passage.metadata)
            yield _sample(OldChunk(passage.chunk_id, passage.text, metadata, original=record), values)


def _compared(embedder: Embedder, samples: Sequence[Sample], dim: int) -> tuple[list[ModelGuess], Embedder | None]:
    guesses: list[tuple[ModelGuess, Embedder]] = []
    for variant in _variants(embedder):
        for label in _LABELS:
            texts = [sample.texts[label] for sample in samples]
            if label != "text" and texts == [sample.texts["text"] for sample in samples]:
                continue
            rows = checked(variant.embed_passages(texts), n=len(texts), dim=dim)
            cosine = float(np.median([_cosine(row, vector) for row, (_, vector) in zip(rows, samples, strict=True)]))
            guesses.append((_guess(variant.identity, cosine, label), variant))
    guesses.sort(key=lambda guess: -guess[0].cosine)
    best = guesses[0][1] if guesses[0][0].agrees else None
    return [guess for guess, _ in guesses], best


def _guess(identity: EmbedderIdentity, cosine: float, label: str) -> ModelGuess:
    return ModelGuess(
        identity.name,
        round(cosine, 4),
        cosine >= _AGREES,
        label,
        query_prefix=identity.query_prefix,
        passage_prefix=identity.passage_prefix,
    )


def _variants(embedder: Embedder) -> Iterator[Embedder]:
    """The embedder as it is, and with other prefixes where it can be had with them."""
    yield embedder
    if isinstance(embedder, OnnxEmbedder):
        own = (embedder.identity.query_prefix, embedder.identity.passage_prefix)
        for prefixes in _PREFIXES:
            if prefixes != own:
                yield embedder.with_prefixes(*prefixes)


def _with_vector(store: OldStore, main: MainSpace) -> Iterator[tuple[OldChunk, NDArray[np.float64]]]:
    for chunk in store.chunks(Anomalies()):
        for vector in chunk.vectors:
            values = vector.values
            if values is not None and (vector.namespace, len(values)) == main and chunk.text.strip():
                if usable(values):
                    yield chunk, values
                break


def _cosine(one: NDArray[np.float32], other: NDArray[np.float64]) -> float:
    row = one.astype(np.float64)
    scale = float(np.linalg.norm(row) * np.linalg.norm(other))
    return float(row @ other) / scale if scale else 0.0


def embedded_text(chunk: OldChunk, label: str) -> str:
    """What the old program gave its model: the text, or LlamaIndex's MetadataMode.EMBED of the node."""
    if label == "text" or not chunk.original:
        return chunk.text
    node = chunk.original.get("node")
    return with_metadata(node, chunk.text, chunk.metadata) if isinstance(node, dict) else chunk.text


def with_metadata(node: Mapping[str, Any], text: str, metadata: Mapping[str, Any]) -> str:
    """As `TextNode.get_content(MetadataMode.EMBED)` of LlamaIndex 0.10 to 0.14 has it."""
    excluded = node.get("excluded_embed_metadata_keys")
    excluded = set(map(str, excluded)) if isinstance(excluded, list) else set()
    line = _template(node.get("metadata_template"), "{key}: {value}")
    whole = _template(node.get("text_template"), "{metadata_str}\n\n{content}")
    separator = node.get("metadata_separator", node.get("metadata_seperator", "\n"))
    told = (separator if isinstance(separator, str) else "\n").join(
        _fill(line, {"key": key, "value": str(value)}) for key, value in metadata.items() if key not in excluded
    )
    return _fill(whole, {"content": text, "metadata_str": told}).strip() if told else text


def _template(value: Any, default: str) -> str:
    return value if isinstance(value, str) else default


def _fill(template: str, values: Mapping[str, str]) -> str:
    """`str.format` without its attribute and index look-ups: a template from a file is data."""
    parts: list[str] = []
    rest = template
    while rest:
        found: Sequence[tuple[int, str]] = sorted(
            (at, name) for name in values if (at := rest.find("{" + name + "}")) >= 0
        )
        if not found:
            break
        at, name = found[0]
        parts += [rest[:at], values[name]]
        rest = rest[at + len(name) + 2 :]
    return "".join(parts) + rest
