"""One user's program on LlamaIndex's own stores and on a library: the same nodes, the same scores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import stackroom

SCRIPT = Path(__file__).with_name("user_script.py")


def transcript(kind: str, folder: Path) -> dict[str, Any]:
    told = folder.with_suffix(".json")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), kind, str(folder), str(told)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(told.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def simple(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return transcript("simple", tmp_path_factory.mktemp("simple") / "storage")


@pytest.mark.parametrize("kind", ["stackroom", "self-contained"])
def test_the_same_program_gives_the_same_answers(kind: str, simple: dict[str, Any], tmp_path: Path) -> None:
    library = tmp_path / "library"
    ours = transcript(kind, library)
    assert ours.keys() == simple.keys()
    for step, expected in simple.items():
        if expected and isinstance(expected, list) and isinstance(expected[0], list):
            assert [item[0] for item in ours[step]] == [item[0] for item in expected], step
            for mine, theirs in zip(ours[step], expected, strict=True):
                assert mine[1] == pytest.approx(theirs[1], abs=1e-6), step
                assert mine[2:] == theirs[2:], step
        else:
            assert ours[step] == expected, step
    with stackroom.open(library) as index:
        assert index.verify().ok
        assert index.search("gull anchor", mode="text")


def test_an_old_folder_goes_on_as_a_library(simple: dict[str, Any], tmp_path: Path) -> None:
    """The program's first day was on the Simple stores, the later ones are on ours: migrated on the way."""
    folder = tmp_path / "storage"
    told = tmp_path / "told.json"
    arguments = [sys.executable, "-W", "ignore", str(SCRIPT)]
    code = (
        "import sys, runpy; sys.argv = sys.argv[1:]; program = runpy.run_path(sys.argv[0]);"
        "program['subprocess'].run = lambda *a, **k: None; program['main']()"
    )
    subprocess.run(
        [*arguments[:3], "-c", code, str(SCRIPT), "simple", str(folder), str(told)], check=True, capture_output=True
    )
    assert (folder / "docstore.json").exists()
    subprocess.run([*arguments, "stackroom", str(folder), str(told), "later"], check=True, capture_output=True)
    ours = json.loads(told.read_text(encoding="utf-8"))
    for step, expected in simple.items():
        if step != "asked":
            assert [item[0] if isinstance(item, list) else item for item in ours[step]] == [
                item[0] if isinstance(item, list) else item for item in expected
            ], step
    assert (folder / "stackroom" / "catalogue.db").exists()
