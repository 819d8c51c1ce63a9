"""SIGKILL between any two steps of a commit: the library is as before it, or as after it, and never in between."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from old_index import contents
from stackroom import migration
from stackroom.backend import Scope
from stackroom.progress import CancelToken, silent
from stackroom.storage.store import LocalStore

STEPPER = Path(__file__).with_name("stepper.py")


def state(library: Path) -> Any:
    """All that can be seen of a library, after `verify`."""
    store = LocalStore(library)
    try:
        assert store.verify(progress=silent, cancel=CancelToken()).damage == ()
        with store.view() as view:
            return [
                view.version,
                [
                    (source.path, source.active, sorted(item.chunk.text for d in view.documents(view.source(source.path).key) for item in view.chunks(d.key, vectors=True)))
                    for source in view.listing()
                ],
                [
                    sorted(passage.text for passage in view.passages(view.matching(word, 100, Scope())[0].keys.tolist()))
                    for word in ("old", "new", "kept")
                ],
            ]  # fmt: skip
    finally:
        store.close()


def run(work: Path, change: str) -> list[tuple[Path, int]]:
    """Every library that a kill left: (folder, step); the last one is of the run that was not killed."""
    done = subprocess.run(
        [sys.executable, str(STEPPER), str(work), change], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["signals"] == [signal.SIGKILL] * (told["steps"] - 1) + [0]
    return [(work / f"{change}{step}", step) for step in range(1, told["steps"] + 1)]


def test_a_migration_killed_at_every_step(tmp_path: Path) -> None:
    """The old files stay, no half library appears, and the next run finishes what was begun."""
    runs = run(tmp_path, "migrate")
    before = contents(tmp_path / "before")
    after = state(runs[-1][0] / "stackroom")
    continued = 0
    for old, step in runs[:-1]:
        left = contents(old)
        assert {name: left[name][0] for name in before} == {name: data for name, (data, _) in before.items()}, step
        if (old / "stackroom").exists():
            assert state(old / "stackroom")[1:] == after[1:], step
        continued += any(name.startswith(".stackroom.tmp/catalogue.db") for name in left)
        if step % 3 == 0:
            migration.migrate(old)
            assert state(old / "stackroom")[1:] == after[1:], step
            assert sorted(path.name for path in old.iterdir()) == sorted([*before, "stackroom"]), step
    assert continued


@pytest.mark.parametrize("change", ["create", "commit", "compact", "reembed"])
def test_killed_at_every_step(tmp_path: Path, change: str) -> None:
    libraries = run(tmp_path, change)
    assert len(libraries) > 5
    after = state(libraries[-1][0])
    before = state(tmp_path / "before") if change != "create" else None
    seen_before = seen_after = 0
    for library, step in libraries[:-1]:
        if not (library / "catalogue.db").exists():
            assert change == "create"
            seen_before += 1
            LocalStore(library).close()
            assert state(library) == after
            continue
        found = state(library)
        # A long piece of work has commits of its own on the way; what it means is the same before and after.
        assert found[1:] in ([] if before is None else before[1:], after[1:]), f"step {step}"
        if change == "commit":
            assert found in (before, after), f"step {step}"
        seen_before += found[1:] != after[1:]
        seen_after += found[1:] == after[1:]
        store = LocalStore(library)
        with store.commit() as commit:
            commit.set_active(None, True)
        store.close()
    assert seen_before
    assert seen_after
