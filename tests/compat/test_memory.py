"""Memory does not follow the size of the old files."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from old_index import OldIndex

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is Linux's"),
]

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


def anonymous(pid: int) -> float:
    """RssAnon of a process and its children, in MB."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    own = sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
    return own / 1024 + sum(anonymous(int(child)) for child in children)


def peak_of_migrating(folder: Path) -> float:
    process = subprocess.Popen([sys.executable, "-c", CODE, str(folder)])
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.01)
    assert process.returncode == 0
    return peak


def test_five_hundred_megabytes_take_less_than_two_hundred(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    assert write(small, 3_000) > 60e6
    assert write(large, 24_000) > 500e6
    peaks = [peak_of_migrating(small), peak_of_migrating(large)]
    assert max(peaks) < 200
    # Eight times the file: what grows is the offsets, 32 bytes an entry.
    assert peaks[1] < peaks[0] + 60
