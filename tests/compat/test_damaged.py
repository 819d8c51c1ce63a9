"""Frozen libraries, sound and damaged: what opening, `verify` and `repair` make of each must not change."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

import stackroom
from stackroom.errors import StackroomError
from support import WordEmbedder

FROZEN = Path(__file__).parent / "damaged"
NAMES = sorted(path.name.removesuffix(".tar.xz") for path in FROZEN.glob("*.tar.xz"))
EXPECTED: dict[str, Any] = json.loads((FROZEN / "expected.json").read_text(encoding="utf-8"))


def unpacked(name: str, library: Path) -> Path:
    with tarfile.open(FROZEN / f"{name}.tar.xz") as archive:
        archive.extractall(library, filter="data")
    return library


def verified(library: Path) -> list[str] | str:
    """The structures that are named, or the error of opening it."""
    try:
        with stackroom.open(library, mode="r") as index:
            return sorted({damage.structure for damage in index.verify().damage})
    except StackroomError as error:
        return type(error).__name__


def seen(library: Path) -> dict[str, list[str]]:
    with stackroom.open(library, mode="r", embedder=WordEmbedder(dim=8)) as index:
        return {source.path: [passage.text for passage in index.get(source.id)] for source in index.sources()}


def looked_at(name: str, library: Path) -> dict[str, Any]:
    unpacked(name, library)
    told: dict[str, Any] = {"verify": verified(library)}
    try:
        done = stackroom.repair(library, embedder=WordEmbedder(dim=8))
    except StackroomError as error:
        return {**told, "repair": type(error).__name__}
    told["repair"] = "everything" if done.ok else sorted({damage.structure for damage in done.lost})
    told["embedded"] = done.embedded
    told["after"] = verified(library)
    told["passages"] = {path: len(texts) for path, texts in seen(library).items()}
    return told


def test_each_has_its_expectation() -> None:
    assert sorted(EXPECTED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_library(name: str, tmp_path: Path) -> None:
    assert looked_at(name, tmp_path / "library") == EXPECTED[name]
    if "after" in EXPECTED[name]:
        texts = {text for held in seen(tmp_path / "library").values() for text in held}
        assert texts <= {f"passage {part} of document {n} about lanterns" for n in range(3) for part in range(3)}
