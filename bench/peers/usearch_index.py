from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from passages import Part
from peer import Found, Store
from texts import Texts
from usearch.index import Index


class Usearch(Store):
    name = "usearch"
    keeps = "vectors as given, texts in SQLite beside them; no index of words"
    finds = "approximate (HNSW); can't filter"
    changes = "its file written again, not synced; texts synced, apart"
    synced = False

    def _empty(self) -> Index:
        return Index(ndim=self.dim, metric="cos", dtype="f32")

    def build(self, parts: Iterable[Part]) -> None:
        self.folder.mkdir(exist_ok=True)
        self._texts, self._index = Texts(self.folder / "texts.db"), self._empty()
        for part in parts:
            self._index.add(np.array(self._texts.add(part)), part.vectors)
        self._index.save(str(self.folder / "vectors.usearch"))
        self.close()

    def open(self) -> None:
        self._texts = Texts(self.folder / "texts.db")
        self._index = Index.restore(str(self.folder / "vectors.usearch"), view=True)
        self._changeable = False

    def nearest(self, query: NDArray[np.float32], k: int) -> Found:
        return self._texts.found(self._index.search(query, k, threads=1).keys.tolist())

    def _change(self) -> None:
        if not self._changeable:
            self._index = Index.restore(str(self.folder / "vectors.usearch"))
            self._changeable = True

    def add(self, part: Part) -> None:
        self._change()
        self._index.add(np.array(self._texts.add(part)), part.vectors)
        self._index.save(str(self.folder / "vectors.usearch"))

    def remove(self, document: str) -> None:
        self._change()
        self._index.remove(np.array(self._texts.keys_of([document])))
        self._texts.remove(document)
        self._index.save(str(self.folder / "vectors.usearch"))

    def close(self) -> None:
        self._texts.close()
