"""Old stores, mutated: a migration ends well or with an error of ours, and leaves nothing behind when it fails."""

from __future__ import annotations

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from old_index import OldIndex
from stackroom import migration
from stackroom.errors import StackroomError

GOLDEN = Path(__file__).parents[1] / "compat" / "golden"
# What needs a process of its own for FAISS is slow, and its files are binary: fewer rounds, in a test of their own.
TEXTUAL = sorted(path.name for path in GOLDEN.iterdir() if "faiss" not in path.name and "registry" not in path.name)
FUZZ = settings(max_examples=12, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def attempt(old: Path, library: Path) -> None:
    """Dry run and migration; whatever the files are, only errors of ours may come, and no library with them."""
    try:
        migration.inventory(old)
        report = migration.migrate(old, library=library)
    except StackroomError as error:
        assert error.message
        assert not library.exists()
        assert not list(library.parent.glob(".*stackroom*"))
    else:
        assert report.proof is not None
        assert report.proof.ok
    finally:
        shutil.rmtree(library, ignore_errors=True)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled, or the file cut short."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not changed:
            break
        at = rng.randrange(len(changed))
        span = rng.randint(1, 1 + min(200, len(changed) // 4))
        match rng.randrange(6):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at : at + span]
            case 2:
                changed[at:at] = changed[at : at + span]
            case 3:
                del changed[at:]
            case 4:
                changed[at:at] = rng.choice(
                    [b"{", b"}", b"[", b"]", b'"', b",", b"null", b"NaN", b"\\ud800", b"\xff", b"1e999", b"\x00"]
                )
            case _:
                changed[at : at + 1] = bytes([rng.randrange(256)])
    return bytes(changed)


def spoil(folder: Path, rng: random.Random) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in rng.sample(files, min(len(files), rng.randint(1, 2))):
        path.write_bytes(mutated(path.read_bytes(), rng))


@pytest.mark.parametrize("name", TEXTUAL)
@FUZZ
@given(seed=st.integers(0, 2**32))
def test_bytes_that_were_changed(name: str, tmp_path: Path, seed: int) -> None:
    work = tmp_path / str(seed)
    shutil.copytree(GOLDEN / name / "written", work / "old", dirs_exist_ok=True)
    spoil(work / "old", random.Random(seed))
    files = list((work / "old").iterdir())
    alone = len(files) == 1 and files[0].is_file() and files[0].name != "docstore.json"
    attempt(files[0] if alone else work / "old", work / "library")
    shutil.rmtree(work)


@pytest.mark.parametrize("name", ["langchain-faiss", "llamaindex-faiss-map"])
@settings(FUZZ, max_examples=4)
@given(seed=st.integers(0, 2**32))
def test_bytes_of_faiss_and_pickle_that_were_changed(name: str, tmp_path: Path, seed: int) -> None:
    work = tmp_path / str(seed)
    shutil.copytree(GOLDEN / name / "written", work / "old", dirs_exist_ok=True)
    spoil(work / "old", random.Random(seed))
    attempt(work / "old", work / "library")
    shutil.rmtree(work)


ODD = st.sampled_from(
    [None, True, 0, -1, 10**30, 1.5, float("nan"), "", "None", "x", "\ud800", [], {}, [1], ["1"], {"a": 1}, [[]]]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something could be replaced in a JSON value."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


@settings(FUZZ, max_examples=60)
@given(data=st.data())
def test_values_that_were_exchanged(tmp_path: Path, data: st.DataObject) -> None:
    """JSON that is whole and means something else than it should: any value in place of any other."""
    old = OldIndex(chunks=3, documents=1)
    stores = {
        "default__vector_store.json": old.vector_store(),
        "docstore.json": old.docstore(),
        "index_store.json": old.index_store(),
    }
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(stores)))
        paths = places(stores[name])
        if not paths:
            continue
        *parents, last = data.draw(st.sampled_from(paths))
        holder: Any = stores[name]
        for key in parents:
            holder = holder[key]
        holder[last] = copy.deepcopy(data.draw(ODD))
    work = tmp_path / str(random.getrandbits(60))
    (work / "old").mkdir(parents=True)
    for name, value in stores.items():
        (work / "old" / name).write_text(json.dumps(value))
    attempt(work / "old", work / "library")
    shutil.rmtree(work)
