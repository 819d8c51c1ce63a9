"""A process of its own that reads a FAISS file: faiss trusts its input, so it gets little memory and nothing to lose.

Called as `python -m stackroom.migration.stores.faiss_worker FILE FOLDER`. Writes the rows (float32) and their ids (int64) to FOLDER, and
prints one line of JSON: `{"n", "dim", "metric", "kind", "lossy"}`, or `{"error"}`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

_BLOCK = 4096


def main() -> None:
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    _limit_memory(4 * path.stat().st_size + 2 * 1024**3)
    try:
        told = extract(path, folder)
    except Exception as error:  # faiss raises RuntimeError for whatever it dislikes, and MemoryError beside it
        told = {"error": _reason(error)}
    print(json.dumps(told))


def _reason(error: Exception) -> str:
    said = str(error)
    # FAISS says what the system said of it, which at a file's end is nothing.
    if "read error" in said and "(Success)" in said:
        return "it breaks off"
    return said.splitlines()[0][:300] if said else type(error).__name__


def extract(path: Path, folder: Path) -> dict[str, Any]:
    import faiss

    whole = faiss.read_index(str(path))  # owns what the names below refer to
    index = faiss.downcast_index(whole)
    kind = type(index).__name__
    ids = None
    if isinstance(index, faiss.IndexIDMap):
        # IDMap can't reconstruct by id; its inner index can, by position.
        ids = faiss.vector_to_array(index.id_map).astype(np.int64)
        index = faiss.downcast_index(index.index)
        kind = f"{kind},{type(index).__name__}"
    if isinstance(index, faiss.IndexPreTransform):
        return {"error": f"vectors of {kind} were transformed and can't be had back"}
    if isinstance(index, faiss.IndexIVF):
        index.make_direct_map()
    n, dim = int(index.ntotal), int(index.d)
    with (folder / "rows").open("wb") as file:
        for first in range(0, n, _BLOCK):
            block = index.reconstruct_n(first, min(_BLOCK, n - first))
            file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
    (np.arange(n, dtype="<i8") if ids is None else ids.astype("<i8")).tofile(folder / "ids")
    exact = isinstance(index, faiss.IndexFlat | faiss.IndexHNSWFlat | faiss.IndexIVFFlat)
    metric = {faiss.METRIC_L2: "l2", faiss.METRIC_INNER_PRODUCT: "dot"}.get(index.metric_type, "other")
    return {"n": n, "dim": dim, "metric": metric, "kind": kind, "lossy": not exact}


def _limit_memory(limit: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
