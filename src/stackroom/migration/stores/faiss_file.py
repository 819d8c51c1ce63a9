"""A FAISS file's vectors as float32 rows, whatever kind of index it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.errors import DamagedError, UnknownStoreError
from stackroom.types import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SECONDS = 600
_KINDS = {
    b"IxFI", b"IxF2", b"IxFl", b"IxMp", b"IxM2", b"IwFl", b"IwFd", b"IvFl", b"IwSq", b"IwSQ", b"IwPQ", b"IHNf", b"IHNs", b"IHNp",
    b"IHN2", b"IxSQ", b"IxPT", b"IxPq", b"IxPQ", b"IwQR", b"IxLS", b"IvPQ", b"IBxF",
}  # fmt: skip


def is_faiss(path: Path) -> bool:
    """Judged by the first four bytes: LlamaIndex gives the file a JSON name."""
    try:
        with path.open("rb") as file:
            return file.read(4) in _KINDS
    except OSError:
        return False


@dataclass(slots=True)
class FaissRows:
    """`rows` is float32 of shape `(n, dim)`, mapped; `ids` is int64 of shape `(n,)`, the ids that FAISS knows them by."""

    rows: NDArray[np.float32]
    ids: NDArray[np.int64]
    metric: Metric
    kind: str
    lossy: bool
    _folder: Path

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def read(path: Path) -> FaissRows:
    """Read it in a process of its own. Raises DamagedError, UnknownStoreError, MissingExtraError."""
    folder = Path(tempfile.mkdtemp(prefix="stackroom-faiss-"))
    try:
        told = _told(path, folder)
        n, dim = int(told["n"]), int(told["dim"])
        if not n or not dim:
            raise UnknownStoreError(f"{path} holds no vectors.", hint="There is nothing to migrate.", path=path)
        return FaissRows(
            np.memmap(folder / "rows", dtype="<f4", mode="r", shape=(n, dim)),
            np.fromfile(folder / "ids", dtype="<i8"),
            "dot" if told["metric"] == "dot" else "l2",
            str(told["kind"]),
            bool(told["lossy"]),
            folder,
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _told(path: Path, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "stackroom.migration.stores.faiss_worker", str(path), str(folder)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_SECONDS, check=False)
        told = json.loads(done.stdout or b"{}")
    except (subprocess.TimeoutExpired, ValueError):
        told = {}
    if "n" in told:
        return dict(told)
    raise DamagedError(
        f"{path} can't be read as a FAISS index: {told.get('error', 'the reader died')}.",
        hint="Nothing was changed. Restore the file from a backup.",
        path=path,
    )
