"""What the command line says of modes, places, collections and mistakes, and that its advice can be pasted."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

import stackroom
from old_index import OldIndex
from stackroom import Chunk, Document
from stackroom.backend import DocumentRecord
from stackroom.cli.main import cli
from stackroom.errors import DamagedError, EmbedderMismatchError, UnavailableError, UsageError
from stackroom.storage.store import LocalStore
from support import WordEmbedder, write_files

TEXTS = ["cats purr at night", "dogs bark at night", "logs rotate weekly"]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], standalone_mode=False)


def told(*arguments: str | Path) -> Any:
    result = run("--json", *arguments)
    assert result.exception is None, result.exception
    assert result.stderr == ""
    return json.loads(result.stdout)


@pytest.fixture
def unknown(library: Path) -> Path:
    """Vectors of a model that nobody named."""
    model = WordEmbedder()
    with stackroom.open(library) as index:
        index.add_documents([Document("d", chunks=[Chunk(text, embedding=model.embed_query(text)) for text in TEXTS])])
    return library


@pytest.fixture
def private(library: Path) -> Path:
    """Vectors of an application's own model."""
    with stackroom.open(library, embedder=WordEmbedder()) as index:
        index.add_documents([Document("d", chunks=[Chunk(text) for text in TEXTS])])
    return library


@pytest.fixture
def gone(library: Path) -> Path:
    """The model's folder is no more."""
    with stackroom.open(library, embedder=WordEmbedder("onnx:/nowhere/at all")) as index:
        index.add_documents([Document("d", chunks=[Chunk(text) for text in TEXTS])])
    return library


@pytest.fixture
def textual(tmp_path: Path) -> Path:
    """Texts without vectors."""
    old = OldIndex()
    old.embeddings.clear()
    old.write(tmp_path / "old")
    (tmp_path / "old" / "default__vector_store.json").unlink()
    stackroom.migrate(tmp_path / "old", library=tmp_path / "textual")
    return tmp_path / "textual"


LIBRARIES = pytest.mark.parametrize(
    ("which", "reason"),
    [
        ("unknown", "does not say which model"),
        ("private", "an application's own"),
        ("gone", "nowhere"),
        ("textual", "No passage"),
    ],
)


@LIBRARIES
def test_without_a_model_the_default_searches_words_and_says_so(
    which: str, reason: str, request: pytest.FixtureRequest
) -> None:
    library = request.getfixturevalue(which)
    word = "subject" if which == "textual" else "night"
    result = run("--library", library, "search", "--explain", word)
    assert result.exception is None
    first, *rest = result.stderr.splitlines()
    assert reason in first
    assert first.endswith("Words alone were searched.")
    assert len(rest) == 1
    assert "meaning" not in result.stdout
    assert "words: rank 1" in result.stdout
    found = told("--library", library, "search", word)
    assert found["mode"] == "text"
    assert found["hits"]
    # Who asks for words hears nothing of models.
    assert "Words alone" not in run("--library", library, "search", "--mode", "text", word).stderr
    with stackroom.open(library, mode="r") as index:
        mode, why = index.resolve_mode()
        assert mode == "text"
        assert reason in (why or "")
        assert index.resolve_mode("text") == ("text", None)


@LIBRARIES
@pytest.mark.parametrize("mode", ["hybrid", "vector"])
def test_meaning_without_a_model_is_an_error(
    which: str, reason: str, mode: str, request: pytest.FixtureRequest
) -> None:
    error = run("--library", request.getfixturevalue(which), "search", "--mode", mode, "night").exception
    assert isinstance(error, UnavailableError if which == "gone" else UsageError)
    assert reason in error.message
    assert "--mode text" in (error.hint or "")
    assert "embedder=" in (error.hint or "")


def test_with_its_model_the_default_is_hybrid(private: Path) -> None:
    with stackroom.open(private, mode="r", embedder=WordEmbedder()) as index:
        assert index.resolve_mode() == ("hybrid", None)
        assert index.resolve_mode("vector") == ("vector", None)


def test_adding_without_the_model_is_a_mismatch(private: Path, folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha"})
    error = run("--library", private, "add", folder).exception
    assert isinstance(error, EmbedderMismatchError)
    assert "embedder=" in (error.hint or "")
    assert "stackroom rebuild --embedder NAME" in (error.hint or "")


def test_what_only_python_can_do_is_said_to_be_python() -> None:
    """Hints are for the terminal too: `open(..., embedder=...)` alone is nothing to type there."""
    sources = Path(stackroom.__file__).parent
    own = [path for path in sources.rglob("*.py") if "adapters" not in path.parts]
    told = [line for path in own for line in path.read_text(encoding="utf-8").splitlines() if "open(...," in line]
    assert told
    assert [line for line in told if "Python" not in line] == []


def test_a_single_leg_does_not_speak_of_the_other(library: Path, folder: Path) -> None:
    write_files(folder, {"a.txt": "alpha", "b.txt": "beta"})
    run("--library", library, "add", folder)
    assert "meaning" not in run("--library", library, "search", "--mode", "text", "--explain", "alpha").stdout
    assert "words" not in run("--library", library, "search", "--mode", "vector", "--explain", "alpha").stdout
    both = run("--library", library, "search", "--explain", "alpha").stdout
    assert "meaning: rank" in both
    assert "words: not among its best" in both


def test_a_page_that_is_known_by_its_label_alone(tmp_path: Path) -> None:
    old = OldIndex()
    old.nodes["node-3"] = old.node("node-3", "Text of node-3, about ferries.", page_label="iv")
    stackroom.migrate(old.write(tmp_path / "old"))
    assert "  p. iv" in run("--library", tmp_path / "old", "search", "--mode", "text", "ferries").stdout
    assert "] p. iv" in run("--library", tmp_path / "old", "show", "/nowhere/doc-1.txt").stdout


def test_collections_are_listed_and_searched(tmp_path: Path) -> None:
    old = OldIndex()
    old.listed = {"first": {node: node for node in old.ids[:2]}, "second": {node: node for node in old.ids[2:]}}
    other = {
        "embedding_dict": {"node-0": [1.0, 0.0]},
        "text_id_to_ref_doc_id": {"node-0": "doc-0"},
        "metadata_dict": {},
    }
    old.other_stores["image__vector_store.json"] = other
    library = tmp_path / "old"
    stackroom.migrate(old.write(library))
    with stackroom.open(library, mode="r") as index:
        listed = index.collections()
        assert {item.name: (item.chunks, item.dim, item.own_vectors) for item in listed} == {
            "default": (6, 4, False), "first": (2, 4, False), "second": (4, 4, False), "image": (1, 2, True),
        }  # fmt: skip
        assert tuple(listed) == index.stats().collections
        with pytest.raises(UsageError, match="collection 'image' does not say"):
            index.search("subject", mode="vector", collection="image")
        assert index.search(np.array([1, 0], np.float32), collection="image")[0].chunk_id == "node-0"
    status = run("--library", library, "status").stdout
    assert "first: 2 passages, 4 dimensions" in status
    assert "image: 1 passage, 2 dimensions, of its own" in status
    assert {"name": "first", "chunks": 2, "dim": 4, "own_vectors": False} in told("--library", library, "status")[
        "collections"
    ]
    hits = told("--library", library, "search", "subject", "--collection", "first")["hits"]
    assert {hit["chunk_id"] for hit in hits} == {"node-0", "node-1"}
    error = run("--library", library, "search", "subject", "--collection", "third").exception
    assert "status" in (getattr(error, "hint", "") or "")


@pytest.mark.parametrize(
    "arguments", [("search", ""), ("search", "  "), ("search", "-k", "0", "x"), ("search", "--per-document", "0", "x")]
)
def test_what_can_not_be_meant_is_wrong_usage(unknown: Path, arguments: tuple[str, ...]) -> None:
    error = run("--library", unknown, *arguments).exception
    assert isinstance(error, click.UsageError)
    assert error.exit_code == 2


def test_an_active_set_of_nothing_is_named(unknown: Path) -> None:
    run("--library", unknown, "active", "none")
    result = run("--library", unknown, "search", "--active", "night")
    assert "No source is active" in result.stderr
    assert "active on" in result.stderr


def test_another_model_says_what_it_did(unknown: Path) -> None:
    result = run("--library", unknown, "rebuild", "--embedder", "minilm")
    assert result.stderr.startswith("3 passages embedded anew in ")
    assert "0.0 s" not in result.stderr or "Nothing" not in result.stderr
    assert told("--library", unknown, "status")["embedder"]["name"] == "minilm"


def test_numbers_agree_with_their_nouns(unknown: Path) -> None:
    assert run("--library", unknown, "search", "-k", "1", "night").stderr.splitlines()[-1].startswith("1 hit in ")
    assert run("--library", unknown, "search", "-k", "2", "night").stderr.splitlines()[-1].startswith("2 hits in ")
    (vectors,) = (unknown / "vectors").iterdir()
    content = bytearray(vectors.read_bytes())
    content[4096] ^= 1
    vectors.write_bytes(content)
    assert "1 thing is damaged." in run("--library", unknown, "verify").stderr


def test_a_catalogue_that_cannot_be_read_leads_to_repair(unknown: Path) -> None:
    """What can't be verified said: see what is hit, verify."""
    catalogue = unknown / "catalogue.db"
    catalogue.write_bytes(bytes(16) + catalogue.read_bytes()[16:])
    error = run("--library", unknown, "verify").exception
    assert isinstance(error, DamagedError)
    assert (error.hint or "").endswith("stackroom repair --dry-run")


def test_a_purge_that_is_refused_removes_nothing(unknown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an engine: it said that it could not, and the sources were gone."""

    def refuse(_self: LocalStore, capability: str) -> None:
        raise UsageError(f"There is no {capability} here.")

    monkeypatch.setattr(LocalStore, "require", refuse)
    before = told("--library", unknown, "list")["sources"]
    error = run("--library", unknown, "remove", "--purge", "--yes", before[0]["id"]).exception
    assert isinstance(error, UsageError)
    assert told("--library", unknown, "list")["sources"] == before
    with stackroom.open(unknown) as index, pytest.raises(UsageError):
        index.remove_documents([document.document_id for document in _documents(index)][:1], purge=True)
    assert told("--library", unknown, "list")["sources"] == before


def _documents(index: stackroom.Index) -> list[DocumentRecord]:
    with index.backend.view() as view:
        return list(view.each_document())


def test_a_broken_pdf_is_told_in_one_sentence(library: Path, folder: Path) -> None:
    write_files(folder, {"b.pdf": "%PDF-1.4 broken"})
    text = run("--library", library, "add", folder).stderr
    assert "broken PDF" in text
    assert ".." not in text.replace(str(folder), "")
    assert ".)." not in text


def test_commands_in_messages_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "my documents"
    write_files(folder, {"a.txt": "alpha"})
    library = tmp_path / "my library"
    text = run("--library", library, "add", folder).stderr
    assert f"stackroom --library {shlex.quote(str(library))} search" in text
    old = OldIndex().write(tmp_path / "my index")
    error = run("--library", old, "list").exception
    assert shlex.quote(str(old)) in (getattr(error, "hint", "") or "")
    text = run("migrate", old).stderr
    assert f"stackroom --library {shlex.quote(str(old))} search" in text
    assert f"stackroom migrate {shlex.quote(str(old))} --roll-back" in text


def test_the_bar_begins_again_where_another_stage_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import rich.progress

    from stackroom.cli import meter
    from stackroom.cli.session import Session
    from stackroom.progress import ProgressEvent

    bars: list[Any] = []

    class Bar(rich.progress.Progress):
        def __init__(self, *columns: Any, **options: Any) -> None:
            super().__init__(*columns, **options)
            bars.append(self)

    monkeypatch.setattr(rich.progress, "Progress", Bar)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    seen = []
    with meter.meter(Session(None, False, False), "Converting") as progress:
        for stage, done, total in (("scan", 3, None), ("migrate", 5, 5), ("verify", 2, 5)):
            progress(ProgressEvent(stage, done=done, total=total))
            task = bars[0].tasks[0]
            seen.append((task.description, task.completed, task.total))
    assert seen == [("Looking", 3, None), ("Converting", 5, 5), ("Proving", 2, 5)]
