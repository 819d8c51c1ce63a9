"""Memory does not follow the size of the old files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from memory_support import linux_only, peak_of
from old_index import OldIndex

pytestmark = [pytest.mark.slow, linux_only]

CODE = "import sys; from stackroom import migration; migration.migrate(sys.argv[1])"


def write(folder: Path, chunks: int, dim: int = 1024) -> int:
    """A folder whose vectors are written as they are made."""
    old = OldIndex(chunks=chunks, documents=chunks // 200)
    embeddings, old.embeddings = old.embeddings, {}
    old.write(folder)
    rng = np.random.default_rng(1)
    with (folder / "default__vector_store.json").open("w") as file:
        file.write('{"embedding_dict": {')
        for at, node in enumerate(embeddings):
            row = rng.standard_normal(dim, dtype=np.float32)
            file.write(f"{', ' if at else ''}{json.dumps(node)}: {json.dumps((row / np.linalg.norm(row)).tolist())}")
        file.write('}, "text_id_to_ref_doc_id": {}, "metadata_dict": {}}')
    return sum(path.stat().st_size for path in folder.iterdir())


def test_five_hundred_megabytes_take_less_than_two_hundred(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    assert write(small, 3_000) > 60e6
    assert write(large, 24_000) > 500e6
    # Both processes of a migration together.
    peaks = [peak_of(["-c", CODE, str(folder)]).together for folder in (small, large)]
    assert max(peaks) < 200
    # Eight times the file: what grows is the offsets, 32 bytes an entry.
    assert peaks[1] < peaks[0] + 60
