"""A change of model: compared before the switch, taken back, and given up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import stackroom
from stackroom import Chunk, Document, Index
from stackroom.cli.main import cli
from stackroom.errors import NotFoundError, UsageError
from stackroom.ingest import fitting, splitter
from stackroom.reports import Comparison, LengthEstimate
from stackroom.search import comparing
from support import WordEmbedder, write_files

TEXTS = [
    f"The {n}th report is about topic{n}. It says that item{n} costs coin{n}. Its author is person{n}."
    for n in range(60)
]


class Blind(WordEmbedder):
    """Sees the same in every text."""

    def embed_query(self, text: str) -> NDArray[np.float32]:
        row = np.zeros(self.identity.dim, dtype=np.float32)
        row[0] = 1
        return row

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded += texts
        return np.stack([self.embed_query(text) for text in texts])


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return tmp_path / "library"


@pytest.fixture
def old() -> WordEmbedder:
    return WordEmbedder("old", dim=64)


@pytest.fixture
def index(library: Path, old: WordEmbedder) -> Iterator[Index]:
    with stackroom.open(library, embedder=old) as opened:
        opened.add_documents([Document(str(n), text=text) for n, text in enumerate(TEXTS)])
        yield opened


def answers(index: Index) -> list[tuple[str, float]]:
    return [
        (hit.text, hit.score) for n in range(0, 60, 7) for hit in index.search(f"item{n} costs", mode="vector", k=5)
    ]


def test_both_models_are_compared_before_the_switch(index: Index) -> None:
    seen: list[Comparison] = []

    def confirm(comparison: Comparison) -> bool:
        assert index.stats().embedder is not None
        assert index.stats().embedder.name == "old"
        seen.append(comparison)
        return True

    report = index.rebuild(embedder=WordEmbedder("new", dim=96), confirm=confirm)
    (comparison,) = seen
    assert report.comparison == comparison
    assert report.switched
    assert (comparison.before, comparison.after, comparison.questions) == ("old", "new", comparing.QUESTIONS)
    # Each question is a sentence with words that one passage alone has.
    assert comparison.found_before is not None
    assert comparison.overlap is not None
    assert comparison.found_before > 0.95
    assert comparison.found_after > 0.95
    assert 0.1 < comparison.overlap < 1
    assert not comparison.is_worse


def test_a_model_that_finds_less_can_be_refused(index: Index) -> None:
    before = answers(index)
    blind = Blind("blind", dim=8)
    report = index.rebuild(embedder=blind, confirm=lambda comparison: not comparison.is_worse)
    assert report.comparison is not None
    assert report.comparison.is_worse
    assert not report.switched
    assert answers(index) == before
    # It is there all the same: who wants it has it at once.
    report = index.rebuild(embedder=blind)
    assert (report.embedded, report.switched) == (0, True)
    assert len(blind.embedded) == 60


def test_going_back_gives_the_same_answers(index: Index, old: WordEmbedder, library: Path) -> None:
    before = answers(index)
    index.rebuild(embedder=WordEmbedder("new", dim=96))
    assert answers(index) != before
    index.close()
    embedded = len(old.embedded)
    # What has its vectors needs no model.
    with stackroom.open(library) as again:
        report = again.rebuild(back=True)
        assert (report.embedded, report.switched) == (0, True)
    assert len(old.embedded) == embedded
    with stackroom.open(library, embedder=old) as again:
        assert answers(again) == before
        assert again.verify().ok


def test_what_was_added_since_is_embedded_with_the_old_model(index: Index, old: WordEmbedder) -> None:
    index.rebuild(embedder=WordEmbedder("new", dim=96))
    index.add_documents([Document("since", text="something about a zebra")])
    # By name nobody makes an application's own model; given again, it goes on with the vectors that it made.
    embedded = len(old.embedded)
    report = index.rebuild(embedder=old)
    assert (report.embedded, report.switched) == (1, True)
    assert old.embedded[embedded:] == ["something about a zebra"]
    assert index.search("a zebra", mode="vector", k=1)[0].document.id == "since"


def test_a_second_change_keeps_the_one_before_it_alone(index: Index, library: Path) -> None:
    for name in ("second", "third", "fourth"):
        assert index.rebuild(embedder=WordEmbedder(name, dim=32)).switched
    assert index.stats().former is not None
    assert index.stats().former.name == "third"
    assert len(list((library / "vectors").iterdir())) == 2


def test_giving_up_the_way_back(index: Index, library: Path) -> None:
    with pytest.raises(NotFoundError, match="no model to go back to"):
        index.rebuild(back=True)
    assert not index.discard_former()
    index.rebuild(embedder=WordEmbedder("new", dim=96))
    assert len(list((library / "vectors").iterdir())) == 2
    assert index.discard_former()
    assert len(list((library / "vectors").iterdir())) == 1
    with pytest.raises(NotFoundError, match="no model to go back to"):
        index.rebuild(back=True)
    for wrong in ({"back": True, "embedder": "minilm"}, {"back": True, "sources": ["x"]}):
        with pytest.raises(UsageError):
            index.rebuild(**wrong)  # type: ignore[arg-type]


def test_removed_for_good_is_removed_from_the_kept_vectors_too(index: Index, library: Path) -> None:
    row = index.vectors([index.search("item7 costs", mode="text", k=1)[0].chunk_id])[0].tobytes()
    index.rebuild(embedder=WordEmbedder("new", dim=96))
    assert any(row in path.read_bytes() for path in library.rglob("*") if path.is_file())
    index.remove_documents(["7"], purge=True)
    assert not any(row in path.read_bytes() for path in library.rglob("*") if path.is_file())
    assert index.stats().former is not None


def told(*args: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli, list(args), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.return_value, done.stdout, done.stderr


def test_the_command_line(index: Index, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index.close()
    at = ("--library", str(library))
    code, _, said = told(*at, "rebuild", "--embedder", "minilm")
    assert code == 0, said
    assert "not at hand to compare with" in said
    assert "minilm serves now" in said
    assert "rebuild --back" in said
    assert "old" in told(*at, "status")[1]
    assert json.loads(told(*at, "--json", "status")[1])["former"]["name"] == "old"
    code, _, said = told(*at, "rebuild", "--back")
    assert code == 0, said
    assert "0 passages embedded anew" in said
    assert "old serves now" in said
    assert json.loads(told(*at, "--json", "status")[1])["embedder"]["name"] == "old"

    def worse(*_: Any, **__: Any) -> Comparison:
        return Comparison("old", "minilm", 50, 0.2, 0.9, 0.5)

    assert told(*at, "rebuild", "--discard")[0] == 0
    monkeypatch.setattr(comparing, "compare", worse)
    code, _, said = told(*at, "rebuild", "--embedder", "minilm")
    assert code == 1
    assert "old finds the passage of 90%, minilm finds the passage of 50%; they share 20%" in said
    assert "--yes" in said
    code, out, _ = told(*at, "--json", "rebuild", "--embedder", "minilm", "--yes")
    assert code == 0
    assert json.loads(out)["comparison"]["found_after"] == 0.5
    assert json.loads(out)["embedded"] == 0
    with pytest.raises(click.UsageError):
        told(*at, "rebuild", "--back", "--discard")


# A model that reads less


def test_passages_that_are_longer_than_the_new_model_reads_are_told_first(library: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(TEXTS))
    small = WordEmbedder("small", max_tokens=12)
    asked: list[LengthEstimate] = []

    def agree(estimate: LengthEstimate) -> bool:
        asked.append(estimate)
        assert small.embedded == []
        return len(asked) > 1

    with stackroom.open(library, embedder=WordEmbedder("old", max_tokens=40)) as index:
        index.add(tmp_path / "a.txt")
        chunks = index.stats().chunks
        refused = index.rebuild(embedder=small, agree=agree)
        assert (refused.switched, refused.embedded, refused.too_long) == (False, 0, asked[0])
        assert asked[0] == LengthEstimate("small", 12, chunks, chunks, chunks)
        assert index.rebuild(embedder=small, agree=agree).switched
        # What was split for the old model is whole for words, and is split anew from the files.
        assert index.stats().chunks == chunks
        index.rebuild()
        assert index.stats().chunks > 2 * chunks
        again = index.rebuild(embedder=WordEmbedder("another", max_tokens=12), agree=lambda _: False)
        assert (again.switched, again.too_long) == (True, None)


def test_of_many_passages_some_are_looked_at(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_LOOKED_AT", 20)
    texts = ["one word more " * 20 if n % 4 else "short" for n in range(200)]
    with stackroom.open(library, embedder=WordEmbedder("old", max_tokens=400)) as index:
        index.add_documents([Document(str(n), text=text) for n, text in enumerate(texts)])
        report = index.rebuild(embedder=WordEmbedder("small", max_tokens=12))
        assert report.switched
        assert report.too_long is not None
        assert (report.too_long.chunks, report.too_long.looked_at) == (200, 20)
        assert 110 <= report.too_long.longer <= 190


def test_a_model_without_a_limit_and_an_empty_library_have_nothing_to_tell(library: Path) -> None:
    with stackroom.open(library, embedder=WordEmbedder("old")) as index:
        assert index.rebuild(embedder=WordEmbedder("small", max_tokens=1)).too_long is None
        index.add_documents([Document("a", text="words " * 30)])
        assert index.rebuild(embedder=WordEmbedder("endless", max_tokens=None)).too_long is None


def test_the_command_line_says_before_it_embeds_what_will_be_cut(library: Path) -> None:
    long = "Logs rotate weekly, and backups are kept for a month. " * 40
    with stackroom.open(library, embedder=WordEmbedder("old", max_tokens=500)) as index:
        index.add_documents([Document("a", chunks=[Chunk(long)]), Document("b", chunks=[Chunk("cats purr at night")])])
    at = ("--library", str(library))
    code, _, said = told(*at, "rebuild", "--embedder", "minilm")
    assert code == 0, said
    lines = said.splitlines()
    assert lines[0] == (
        "1 of 2 passages is longer than minilm reads (254 tokens): it sees only the beginning. Once it serves, a rebuild splits files anew."
    )
    assert lines[-1] == f"To split files anew, into passages that it reads whole: stackroom --library {library} rebuild"
    assert told(*at, "rebuild", "--discard")[0] == 0
    code, out, _ = told(*at, "--json", "rebuild", "--embedder", "minilm")
    assert json.loads(out)["too_long"] == {
        "model": "minilm",
        "max_tokens": 254,
        "chunks": 2,
        "longer": 1,
        "looked_at": 2,
    }


def test_going_back_tells_what_is_longer_than_the_old_model_reads(library: Path) -> None:
    long = "Logs rotate weekly, and backups are kept for a month. " * 40
    with stackroom.open(library, embedder="minilm") as index:
        index.add_documents([Document("before", chunks=[Chunk("dogs bark"), Chunk(long)])])
        index.rebuild(embedder=WordEmbedder("new", max_tokens=500))
        index.add_documents([Document("since", chunks=[Chunk(long), Chunk("cats purr at night")])])
        asked: list[LengthEstimate] = []

        def refuse(estimate: LengthEstimate) -> bool:
            asked.append(estimate)
            return False

        refused = index.rebuild(back=True, agree=refuse)
        # What has its vectors of that model is not cut anew.
        assert asked == [LengthEstimate("minilm", 254, 2, 1, 2)]
        assert (refused.switched, refused.embedded, refused.too_long) == (False, 0, asked[0])
        assert index.stats().embedder == WordEmbedder("new", max_tokens=500).identity
    code, _, said = told("--library", str(library), "rebuild", "--back")
    assert code == 0, said
    lines = said.splitlines()
    assert lines[0] == (
        "1 of 2 passages that were added since is longer than minilm reads (254 tokens): it sees only the beginning. "
        "Once it serves, a rebuild splits files anew."
    )
    assert lines[-1] == f"To split files anew, into passages that it reads whole: stackroom --library {library} rebuild"


# What `add` makes of files that did not change


def test_add_leaves_files_alone_that_did_not_change(library: Path, folder: Path) -> None:
    """How long a passage may be follows the model; a change of model is no change of a file."""
    write_files(folder, {"a.txt": "\n\n".join(TEXTS[:20]), "b.txt": "cats purr at night"})
    (folder / "c.txt").write_bytes(bytes(range(32)) * 20)
    old, small = WordEmbedder("old", max_tokens=40), WordEmbedder("small", max_tokens=12)
    with stackroom.open(library, embedder=old) as index:
        index.add(folder)
        chunks = index.stats().chunks
        assert index.rebuild(embedder=small).switched
        small.embedded.clear()
        report = index.add(folder)
        assert (report.unchanged, report.updated, report.failed, report.embedded) == (2, 0, 1, 0)
        assert report.failures[0].before
        (folder / "b.txt").touch()
        (folder / "a.txt").rename(folder / "moved.txt")
        write_files(folder, {"again.txt": "\n\n".join(TEXTS[:20])})
        report = index.add(folder)
        assert (report.unchanged, report.moved, report.added, report.embedded) == (1, 1, 1, 0)
        assert index.stats().chunks == 2 * chunks - 1
        # A rebuild is asked for it, and what is new or has changed is split for the model that serves.
        write_files(folder, {"new.txt": "\n\n".join(TEXTS[20:40])})
        index.add(folder)
        assert len(index.get("new.txt")) > 2 * len(index.get("moved.txt"))
        index.rebuild()
        assert len(index.get("new.txt")) == len(index.get("moved.txt"))
        assert index.rebuild(embedder=old).switched
        report = index.add(folder)
        assert (report.unchanged, report.updated, report.embedded) == (4, 0, 0)


def test_another_version_of_the_splitter_reads_files_again(
    library: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(folder, {"a.txt": "cats purr at night"})
    with stackroom.open(library, embedder=WordEmbedder("old")) as index:
        index.add(folder)
        monkeypatch.setattr(splitter, "VERSION", splitter.VERSION + 1)
        assert index.add(folder).updated == 1
        assert index.add(folder).unchanged == 1
