"""Embedding objects of LangChain and LlamaIndex, and models of fastembed and sentence-transformers, wherever an embedder is accepted."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from llama_index.core.base.embeddings.base import BaseEmbedding

import stackroom
import tiny_models
from stackroom import Document
from stackroom.errors import EmbedderMismatchError, MissingExtraError, UnavailableError, UsageError
from stackroom.ingest.embedders import resolve
from stackroom.ingest.embedders.fastembed import FastEmbedder
from support import WordEmbedder

TEXTS = ["cats purr on the sofa", "dogs bark at the moon", "the ship leaves the harbour"]


class OfLangChain(Embeddings):
    """Not of unit length, as many are not."""

    def __init__(self, model: str = "words", dim: int = 24, scale: float = 3.0) -> None:
        self.model = model
        self._inner = WordEmbedder(model, dim)
        self._scale = scale
        self.asked: list[list[str]] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked.append(texts)
        rows: list[list[float]] = (self._scale * self._inner.embed_passages(texts)).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class OfLlamaIndex(BaseEmbedding):
    query_instruction: str = "query: "
    text_instruction: str = "passage: "
    max_length: int = 128

    def _get_text_embedding(self, text: str) -> list[float]:
        return [float(value) for value in WordEmbedder(dim=24).embed_passages([text])[0]]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


@pytest.mark.parametrize("model", [OfLangChain(), OfLlamaIndex(model_name="words")], ids=["langchain", "llamaindex"])
def test_a_library_is_made_and_searched_with_the_object(tmp_path: Path, model: Any) -> None:
    with stackroom.open(tmp_path / "library", embedder=model) as index:
        index.add_documents([Document(str(at), text=text) for at, text in enumerate(TEXTS)])
        identity = index.embedder().identity
    asked = len(getattr(model, "asked", []))
    with stackroom.open(tmp_path / "library", embedder=model) as index:
        # Opening asks a model nothing.
        assert len(getattr(model, "asked", [])) == asked
        assert index.search("the ship", mode="vector", k=1)[0].text == TEXTS[2]
        assert np.allclose(np.linalg.norm(index.vectors([hit.chunk_id for hit in index.search("cats")]), axis=1), 1)
        assert index.embedder().identity == identity
    # Nobody makes it of its name: words are searched, and it is said.
    with stackroom.open(tmp_path / "library") as index:
        assert index.search("ship", k=1)[0].text == TEXTS[2]
        mode, reason = index.resolve_mode()
        assert mode == "text"
        assert identity.name in (reason or "")


def test_what_it_tells_of_itself_is_its_identity() -> None:
    ours = resolve(OfLangChain("mine")).identity
    assert (ours.name, ours.model, ours.revision, ours.dim) == ("langchain:OfLangChain:mine", "mine", "", 24)
    theirs = resolve(OfLlamaIndex(model_name="words")).identity
    assert theirs.name == "llamaindex:OfLlamaIndex:words"
    assert (theirs.query_prefix, theirs.passage_prefix, theirs.max_tokens) == ("query: ", "passage: ", 126)
    assert resolve(OfLlamaIndex()).identity.name == "llamaindex:OfLlamaIndex"


def test_nothing_is_put_before_a_text_of_a_framework() -> None:
    model = OfLangChain("intfloat/multilingual-e5-large")
    embedder = resolve(model)
    assert embedder.identity.passage_prefix == ""
    embedder.embed_passages(["a text"])
    assert model.asked[-1] == ["a text"]


def test_another_model_of_the_same_name_is_refused(tmp_path: Path) -> None:
    with stackroom.open(tmp_path / "library", embedder=OfLangChain()) as index:
        index.add_documents([Document(str(at), text=text) for at, text in enumerate(TEXTS)])
    other = OfLangChain()
    other._inner = WordEmbedder("another", 24)
    other._inner.embed_passages = lambda texts: np.random.default_rng(1).normal(size=(len(texts), 24))  # type: ignore[method-assign, assignment, return-value]
    with (
        stackroom.open(tmp_path / "library", embedder=other) as index,
        pytest.raises(EmbedderMismatchError, match="likeness"),
    ):
        index.search("cats", mode="vector")
    with pytest.raises(EmbedderMismatchError):
        stackroom.open(tmp_path / "library", embedder=OfLangChain("another")).close()


def test_its_failures_are_told_as_ours() -> None:
    class Failing(OfLangChain):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            if texts == ["."]:
                return [[1.0, 0.0]]
            raise ConnectionError("the line is cut")

    class Ragged(Failing):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[1.0] * (1 + at) for at in range(len(texts))]

    with pytest.raises(UnavailableError, match=r"Failing failed: ConnectionError: the line is cut"):
        resolve(Failing()).embed_passages(["a", "b"])
    with pytest.raises(UnavailableError, match="not vectors of one length"):
        resolve(Ragged()).embed_passages(["a", "b"])
    with pytest.raises(UsageError, match="not an embedder"):
        resolve(object())  # type: ignore[arg-type]


def test_our_own_model_dressed_for_a_framework_is_itself() -> None:
    from stackroom.adapters.langchain import StackroomEmbeddings
    from stackroom.adapters.llamaindex import StackroomEmbedding

    assert resolve(StackroomEmbeddings()).identity.name == "minilm"
    assert resolve(StackroomEmbedding()).identity.name == "minilm"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    pytest.importorskip("onnx")
    return tiny_models.embedding_model(tmp_path / "tiny", " ".join(TEXTS).split())


@pytest.mark.skipif(importlib.util.find_spec("fastembed") is None, reason="the extra fastembed is not installed")
def test_a_model_of_fastembed(tmp_path: Path, tiny: Path) -> None:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    name = "test/tiny-e5-small"
    if name not in {model["model"] for model in TextEmbedding.list_supported_models()}:
        TextEmbedding.add_custom_model(
            name,
            pooling=PoolingType.MEAN,
            normalization=True,
            sources=ModelSource(hf=name),
            dim=4,
            model_file="model.onnx",
        )
    model = FastEmbedder(name, specific_model_path=str(tiny))
    assert model.identity == stackroom.EmbedderIdentity(
        name=f"fastembed:{name}", dim=4, model=name, revision="fastembed", query_prefix="query: ", passage_prefix="passage: ",
        max_tokens=40 - 2 - 2,
    )  # fmt: skip
    with stackroom.open(tmp_path / "library", embedder=model) as index:
        (tmp_path / "files").mkdir()
        for at, text in enumerate(TEXTS):
            (tmp_path / "files" / f"{at}.txt").write_text(text)
        assert index.add(tmp_path / "files").added == 3
        assert index.search("the ship leaves the harbour", k=1)[0].text == TEXTS[2]
    # The library's word alone has nothing fetched.
    with stackroom.open(tmp_path / "library") as index, pytest.raises(UnavailableError, match="can't load"):
        index.search("ship", mode="vector")
    with pytest.raises(UnavailableError, match="no-such-model"):
        resolve("fastembed:no-such-model").identity  # noqa: B018


class _Fake:
    """In place of sentence_transformers.SentenceTransformer, which needs torch: what is called of it, and nothing else."""

    prompts: dict[str, str] = {"query": "", "document": ""}  # noqa: RUF012
    max_seq_length = 64
    tokenizer = staticmethod(
        lambda text, **_: {"offset_mapping": [(at, at + 1) for at, letter in enumerate(text) if letter != " "]}
    )

    def __init__(self, name: str) -> None:
        if "missing" in name:
            raise OSError("no such model")
        self.encoded: list[str] = []

    def __getitem__(self, at: int) -> Any:
        config = types.SimpleNamespace(_commit_hash="abc123")
        return types.SimpleNamespace(auto_model=types.SimpleNamespace(config=config))

    def get_sentence_embedding_dimension(self) -> int:
        return 24

    def encode(self, texts: Sequence[str], *, prompt: str, **options: Any) -> Any:
        assert options["normalize_embeddings"] is True
        self.encoded += [prompt + text for text in texts]
        return WordEmbedder(dim=24).embed_passages(list(texts))


def test_a_model_of_sentence_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in; the real library is tried by hand, since torch is gigabytes."""
    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = _Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    model: Any = resolve("sentence-transformers:intfloat/multilingual-e5-large")
    identity = model.identity
    assert (identity.query_prefix, identity.passage_prefix) == ("query: ", "passage: ")
    assert (identity.revision, identity.dim, identity.max_tokens) == ("abc123", 24, 64 - 2 - len("passage:"))
    model.embed_passages(["one"])
    model.embed_query("two")
    assert model._model.encoded == ["passage: one", "query: two"]
    with stackroom.open(tmp_path / "library", embedder=model) as index:
        index.add_documents([Document(str(at), text=text) for at, text in enumerate(TEXTS)])
        assert index.search("the ship", mode="vector", k=1)[0].text == TEXTS[2]
    # A model's folder may hold code: a library's word is not enough.
    with stackroom.open(tmp_path / "library") as index, pytest.raises(UnavailableError, match="nobody has allowed"):
        index.search("ship", mode="vector")
    monkeypatch.setenv("STACKROOM_EMBEDDER", "sentence-transformers:intfloat/multilingual-e5-large")
    with stackroom.open(tmp_path / "library") as index:
        assert index.search("the ship", mode="vector", k=1)[0].text == TEXTS[2]
    with pytest.raises(UnavailableError, match="no such model"):
        resolve("sentence-transformers:missing").identity  # noqa: B018


def test_without_these_libraries_it_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, extra in (("fastembed", "fastembed"), ("sentence_transformers", "sentence-transformers")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError) as told:
            resolve(f"{extra}:any").identity  # noqa: B018
        assert f"stackroom[{extra}]" in (told.value.hint or "")
