"""A disk that fills up: a small tmpfs, really full. Nothing that was there is lost, and the error says so."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import stackroom
from old_index import OldIndex, contents
from stackroom import migration
from stackroom.errors import DiskFullError
from stackroom.migration import run
from support import WordEmbedder, write_files


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if os.name == "nt" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield disk
    # Lazily: the errors that were caught keep frames, and these keep maps.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, leave: int) -> Path:
    filler = disk / "filler"
    free = os.statvfs(disk)
    filler.write_bytes(b"\0" * max(0, free.f_bavail * free.f_frsize - leave))
    return filler


@pytest.mark.parametrize("leave", [40_000, 200_000, 500_000, 900_000])
def test_a_migration_that_runs_out_of_space(small_disk: Path, leave: int, monkeypatch: pytest.MonkeyPatch) -> None:
    old = OldIndex(chunks=300, dim=64).write(small_disk / "old")
    before = contents(old)
    filler = fill(small_disk, leave)
    with pytest.raises(DiskFullError, match="are free"):
        migration.migrate(old)
    monkeypatch.setattr(run, "require_space", lambda target, needed: None)
    with pytest.raises(DiskFullError):
        migration.migrate(old)
    left = contents(old)
    assert {name: left[name] for name in before} == before
    assert not (old / "stackroom").exists()

    filler.unlink()
    report = migration.migrate(old)
    assert report.chunks == 300
    assert report.proof is not None
    assert report.proof.ok


def test_an_add_that_runs_out_of_space(small_disk: Path, folder: Path) -> None:
    write_files(folder, {f"{n}.txt": f"Document {n}. " + "word " * 500 for n in range(60)})
    embedder = WordEmbedder(dim=64)
    with stackroom.open(small_disk / "library", embedder=embedder) as index:
        index.add(folder / "0.txt")
        filler = fill(small_disk, 150_000)
        with pytest.raises(DiskFullError, match="Nothing that was committed is lost"):
            index.add(folder)
    filler.unlink()
    with stackroom.open(small_disk / "library", embedder=embedder) as index:
        assert index.verify().ok
        report = index.add(folder)
        assert report.failed == 0
        assert index.stats().sources == 60
