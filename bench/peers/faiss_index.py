"""FAISS itself, with texts in SQLite beside it. It writes its file as a whole: a change costs that."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from passages import Part
from peer import Found, Store
from texts import Texts


class FaissFlat(Store):
    name = "FAISS flat"
    keeps = "vectors as given, texts in SQLite beside them; no index of words"
    finds = "exact, scans; filters before it ranks"
    changes = "its file written again and synced by this benchmark; texts synced, apart"

    def _empty(self) -> Any:
        return faiss.IndexIDMap2(faiss.IndexFlatIP(self.dim))

    def build(self, parts: Iterable[Part]) -> None:
        self.folder.mkdir(exist_ok=True)
        texts, keys, rows = Texts(self.folder / "texts.db"), [], []
        for part in parts:
            keys.append(np.array(texts.add(part), dtype=np.int64))
            rows.append(part.vectors)
        index = self._empty()
        together = np.concatenate(rows)
        if not index.is_trained:
            index.train(together)
        index.add_with_ids(together, np.concatenate(keys))
        self._write(index)
        texts.close()

    def _write(self, index: Any) -> None:
        path, new = self.folder / "vectors.faiss", self.folder / "vectors.new"
        faiss.write_index(index, str(new))
        descriptor = os.open(new, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        new.rename(path)

    def open(self) -> None:
        self._texts = Texts(self.folder / "texts.db")
        self._index = faiss.read_index(str(self.folder / "vectors.faiss"))

    def _parameters(self, selector: Any) -> Any:
        return faiss.SearchParameters(sel=selector)

    def nearest(self, query: NDArray[np.float32], k: int) -> Found:
        return self._texts.found(self._index.search(query[None], k)[1][0].tolist())

    def nearest_in(self, query: NDArray[np.float32], k: int, documents: Sequence[str]) -> Found:
        selector = faiss.IDSelectorBatch(np.array(self._texts.keys_of(documents), dtype=np.int64))
        return self._texts.found(self._index.search(query[None], k, params=self._parameters(selector))[1][0].tolist())

    def add(self, part: Part) -> None:
        self._index.add_with_ids(part.vectors, np.array(self._texts.add(part), dtype=np.int64))
        self._write(self._index)

    def remove(self, document: str) -> None:
        self._index.remove_ids(np.array(self._texts.keys_of([document]), dtype=np.int64))
        self._texts.remove(document)
        self._write(self._index)

    def close(self) -> None:
        self._texts.close()


class FaissMapped(FaissFlat):
    name = "FAISS mapped"
    changes = "can't change what is mapped"

    def open(self) -> None:
        self._texts = Texts(self.folder / "texts.db")
        self._index = faiss.read_index(str(self.folder / "vectors.faiss"), faiss.IO_FLAG_MMAP_IFC)

    def add(self, part: Part) -> None:
        raise NotImplementedError

    def remove(self, document: str) -> None:
        raise NotImplementedError


class FaissHnsw(FaissFlat):
    name = "FAISS HNSW"
    finds = "approximate (HNSW); filters while it searches"
    changes = "as FAISS flat; can't remove"

    def _empty(self) -> Any:
        index = faiss.IndexHNSWFlat(self.dim, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 200, 128
        return faiss.IndexIDMap2(index)

    def open(self) -> None:
        super().open()
        faiss.downcast_index(self._index.index).hnsw.efSearch = 128

    def _parameters(self, selector: Any) -> Any:
        return faiss.SearchParametersHNSW(sel=selector, efSearch=128)

    def remove(self, document: str) -> None:
        raise NotImplementedError


class FaissIvfSq8(FaissFlat):
    name = "FAISS IVF-SQ8"
    keeps = "8 bits a dimension, not the vectors; texts in SQLite beside them; no index of words"
    finds = "approximate (32 of 256 lists); filters while it searches"
    changes = "as FAISS flat"
    lossless = False

    def _empty(self) -> Any:
        quantiser = faiss.IndexFlatIP(self.dim)
        index = faiss.IndexIVFScalarQuantizer(
            quantiser, self.dim, 256, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        self._keep = quantiser
        return index

    def open(self) -> None:
        super().open()
        self._index.nprobe = 32

    def _parameters(self, selector: Any) -> Any:
        return faiss.SearchParametersIVF(sel=selector, nprobe=32)
