"""SIGKILL at random during `add`: nothing that was committed is lost, and nothing is embedded twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import stackroom
from stackroom.progress import CancelToken, silent
from stackroom.storage.store import LocalStore
from support import WordEmbedder

ADDER = Path(__file__).with_name("adder.py")
SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "no", "pi", "ru", "sa", "te", "vi", "wo", "zu")


def document(random_: random.Random, name: str) -> str:
    """A few paragraphs, each with a word that no other has."""
    return "\n\n".join(
        f"{name}x{i} " + " ".join("".join(random_.choices(SYLLABLES, k=3)) for _ in range(30)) + "."
        for i in range(random_.randint(1, 12))
    )


def start(library: Path, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(ADDER), str(library), str(folder), str(log)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def committed(library: Path) -> dict[str, str]:
    """Every chunk in the library by id, after checks that hold whatever happened before."""
    store = LocalStore(library)
    try:
        assert store.verify(progress=silent, cancel=CancelToken()).damage == ()
        with store.view() as view:
            held = {}
            for source in view.each_source():
                assert source.error is None
                for described in view.documents(source.key):
                    stored = list(view.chunks(described.key, vectors=True))
                    assert all(item.chunk.embedding is not None for item in stored)
                    if source.state == "indexed":
                        assert [item.position for item in stored] == list(range(len(stored)))
                        assert stored
                    held.update({item.chunk.chunk_id: item.chunk.text for item in stored})
            assert store.stats().needs_embedding == 0
            return held
    finally:
        store.close()


def every_document_answers(library: Path, held: dict[str, str], sample: int) -> None:
    embedder = WordEmbedder()
    with stackroom.open(library, mode="r", embedder=embedder) as index:
        for chunk_id, text in random.Random(0).sample(sorted(held.items()), min(sample, len(held))):
            phrase = f'"{" ".join(text.replace(".", "").split()[:5])}"'
            assert chunk_id in [hit.chunk_id for hit in index.search(phrase, mode="text", k=3)]
            assert chunk_id in [hit.chunk_id for hit in index.search(embedder.embed_query(text), k=3)]


def kill_many_times(tmp_path: Path, rounds: int, seed: int) -> None:
    random_ = random.Random(seed)
    folder, library, log = tmp_path / "documents", tmp_path / "library", tmp_path / "embedded.log"
    folder.mkdir()
    for n in range(60):
        (folder / f"d{n}.txt").write_text(document(random_, f"d{n}v0"), encoding="utf-8")
    started = time.monotonic()
    assert start(tmp_path / "first", folder, tmp_path / "first.log").wait() == 0
    whole = time.monotonic() - started
    killed = finished = 0
    held: dict[str, str] = {}
    while killed < rounds:
        before = log.stat().st_size if log.exists() else 0
        held_before = held
        process = start(library, folder, log)
        try:
            process.wait(timeout=random_.uniform(0.15, 1.1) * whole)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        else:
            assert process.returncode == 0
            finished += 1
        if not (library / "catalogue.db").exists():
            continue
        held = committed(library)
        every_document_answers(library, held, 20)
        if log.exists():
            again = set(log.read_bytes()[before:].decode().splitlines())
            assert not again & {" ".join(text.split()) for text in held_before.values()}
        if process.returncode == 0:
            # All is there: edit some files, move and remove others, so that the next rounds have work of every kind.
            names = sorted(folder.iterdir())
            random_.shuffle(names)
            for path in names[:25]:
                text = path.read_text(encoding="utf-8")
                path.write_text(text + "\n\n" + document(random_, f"{path.stem}v{killed}"), encoding="utf-8")
            for path in names[25:30]:
                path.rename(path.with_name(f"m{killed}{path.name}"))
            for n in range(10):
                path = folder / f"n{killed}x{n}.txt"
                path.write_text(document(random_, f"n{killed}x{n}"), encoding="utf-8")
    assert start(library, folder, log).wait() == 0
    final = committed(library)
    every_document_answers(library, final, 100)
    with stackroom.open(library, mode="r", embedder=WordEmbedder()) as index:
        indexed = {Path(source.path).name for source in index.sources()}
        assert {path.name for path in folder.iterdir()} <= indexed
        for path in folder.iterdir():
            expected = path.read_text(encoding="utf-8").split()[0]
            assert index.search(expected, mode="text", sources=[str(path)], k=1)
    assert finished or killed


def test_killed_a_few_times(tmp_path: Path) -> None:
    kill_many_times(tmp_path, rounds=6, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_a_hundred_times(tmp_path: Path, seed: int) -> None:
    kill_many_times(tmp_path, rounds=50, seed=10 + seed)
