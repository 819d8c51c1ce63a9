"""Which model made the vectors: found by trying, and a claim is checked before it is believed."""

from __future__ import annotations

from pathlib import Path

import pytest

import stackroom
from old_index import OldIndex
from stackroom import migration
from stackroom.errors import EmbedderMismatchError, UsageError
from stackroom.ingest.embedders import resolve
from stackroom.migration.probe import with_metadata
from support import WordEmbedder

SENTENCES = [
    "Rotate the logs every week, and keep seven of them.",
    "The market opens in the morning, and prices are called out.",
    "A cache keeps what was asked for, close to who asks.",
    "Rivers carry sand to the sea and leave it there.",
    "The printer takes paper of two sizes.",
    "Bread rises slowly where it is cold.",
]


def made_by_minilm(prefix: str = "", *, metadata: bool = False) -> OldIndex:
    model = resolve("minilm")
    old = OldIndex(dim=384)
    for node, sentence in zip(old.ids, SENTENCES, strict=True):
        body = old.nodes[node]["__data__"]
        body["text"] = sentence
        text = with_metadata(body, sentence, body["metadata"]) if metadata else sentence
        old.embeddings[node] = [float(value) for value in model.embed_passages([prefix + text])[0]]
    return old


def test_the_shipped_model_is_recognised(tmp_path: Path) -> None:
    folder = made_by_minilm().write(tmp_path / "old")
    found = migration.inventory(folder)
    assert (found.models[0].name, found.models[0].text, found.models[0].agrees) == ("minilm", "text", True)
    with stackroom.open(folder, migrate="auto") as index:
        assert index.search("how do I rotate logs", k=1)[0].text == SENTENCES[0]
        identity = index.stats().embedder
        assert identity is not None
        assert identity.name == "minilm"


def test_the_model_can_be_named_by_a_second_run(tmp_path: Path) -> None:
    old = OldIndex()
    model = WordEmbedder(dim=4)
    for node in old.ids:
        text = old.nodes[node]["__data__"]["text"]
        old.embeddings[node] = [float(value) for value in model.embed_passages([text])[0]]
    folder = old.write(tmp_path / "old")
    assert migration.migrate(folder).model is None
    with pytest.raises(EmbedderMismatchError):
        migration.migrate(folder, embedder="minilm")
    assert migration.migrate(folder, embedder=model).model == model.identity.name
    assert migration.migrate(folder, embedder=model).already

    class Impostor(WordEmbedder):
        def embed_query(self, text: str):  # type: ignore[no-untyped-def]
            return super().embed_query(text)[::-1].copy()

    with pytest.raises(EmbedderMismatchError, match="likeness"):
        migration.migrate(folder, embedder=Impostor(dim=4))
    with pytest.raises(EmbedderMismatchError):
        migration.migrate(folder, embedder="minilm")


def test_so_is_llamaindex_embedding_metadata_above_the_text(tmp_path: Path) -> None:
    best = migration.inventory(made_by_minilm(metadata=True).write(tmp_path / "old")).models[0]
    assert (best.text, best.agrees) == ("text with metadata", True)


def test_prefixes_are_part_of_the_model(tmp_path: Path) -> None:
    folder = made_by_minilm("passage: ").write(tmp_path / "old")
    best = migration.inventory(folder).models[0]
    assert (best.query_prefix, best.passage_prefix, best.agrees) == ("query: ", "passage: ", True)
    with stackroom.open(folder, migrate="auto") as index:
        identity = index.stats().embedder
        assert identity is not None
        assert identity.passage_prefix == "passage: "
    with stackroom.open(folder) as index:
        assert index.search("how do I rotate logs", mode="vector", k=1)[0].text == SENTENCES[0]


def test_vectors_of_another_model_are_not_claimed(tmp_path: Path) -> None:
    folder = OldIndex(dim=384).write(tmp_path / "old")
    assert not any(guess.agrees for guess in migration.inventory(folder).models)
    with stackroom.open(folder, migrate="auto") as index:
        identity = index.stats().embedder
        assert identity is not None
        assert identity.name == ""
        # Without a model words still find, and so does a vector.
        assert index.search("subject 3", k=1)[0].text.startswith("Text of node-3")
        with pytest.raises(UsageError, match="which model"):
            index.search("subject 3", mode="vector")


@pytest.mark.parametrize("dim", [4, 384])
def test_a_false_claim_is_refused(tmp_path: Path, dim: int) -> None:
    folder = OldIndex(dim=dim).write(tmp_path / "old")
    with pytest.raises(UsageError, match="did not make these vectors"):
        migration.migrate(folder, embedder="minilm")
    assert not (folder / "stackroom").exists()


def test_a_true_claim_of_an_application_is_believed(tmp_path: Path) -> None:
    embedder = WordEmbedder(dim=8)
    old = OldIndex(dim=8)
    for node in old.ids:
        text = old.nodes[node]["__data__"]["text"]
        old.embeddings[node] = [float(value) for value in embedder.embed_query(text)]
    report = migration.migrate(old.write(tmp_path / "old"), embedder=embedder)
    assert report.model == "words"


def test_a_template_is_data() -> None:
    node = {"metadata_template": "{key}={value} {key.__class__}", "text_template": "{content} {0} {metadata_str}"}
    assert with_metadata(node, "text", {"a": "{content}"}) == "text {0} a={content} {key.__class__}"


def test_excluded_keys_are_not_embedded() -> None:
    node = {"excluded_embed_metadata_keys": ["size"], "metadata_seperator": " | "}
    assert with_metadata(node, "text", {"size": 1, "a": 2, "b": 3}) == "a: 2 | b: 3\n\ntext"
    assert with_metadata(node, "text", {"size": 1}) == "text"
