"""Every kind of FAISS file that LlamaIndex's users have: its vectors, or an error that says why there are none."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from stackroom import migration
from stackroom.errors import DamagedError
from stackroom.migration.stores import faiss_file
from stackroom.migration.stores.llamaindex_faiss import claims_in
from support import unit_rows

DIM = 8
ROWS = unit_rows(300, DIM, seed=7)


def written(index: object, folder: Path) -> Path:
    path = folder / "default__vector_store.json"
    faiss.write_index(index, str(path))
    return path


def filled(index: object) -> object:
    index.train(ROWS)  # type: ignore[attr-defined]
    index.add(ROWS)  # type: ignore[attr-defined]
    return index


def with_ids(index: object) -> object:
    index.add_with_ids(ROWS, np.arange(1000, 1000 + len(ROWS)))  # type: ignore[attr-defined]
    return index


EXACT: dict[str, Callable[[], object]] = {
    "flat": lambda: filled(faiss.IndexFlatL2(DIM)),
    "flat, inner product": lambda: filled(faiss.IndexFlatIP(DIM)),
    "ids": lambda: with_ids(faiss.IndexIDMap(faiss.IndexFlatIP(DIM))),
    "ids, both ways": lambda: with_ids(faiss.IndexIDMap2(faiss.IndexFlatIP(DIM))),
    "inverted lists": lambda: filled(faiss.index_factory(DIM, "IVF4,Flat")),
    "graph": lambda: filled(faiss.IndexHNSWFlat(DIM, 8)),
}
LOSSY = {
    "scalar quantiser": lambda: filled(faiss.index_factory(DIM, "SQ8")),
    "product quantiser": lambda: filled(faiss.index_factory(DIM, "PQ4x4")),
    "inverted lists, scalar quantiser": lambda: filled(faiss.index_factory(DIM, "IVF4,SQ8")),
}


@pytest.mark.parametrize("kind", EXACT)
def test_what_is_stored_whole_comes_back_bit_for_bit(kind: str, tmp_path: Path) -> None:
    found = faiss_file.read(written(EXACT[kind](), tmp_path))
    try:
        assert not found.lossy
        assert np.asarray(found.rows).tobytes() == ROWS.tobytes()
        first = 1000 if kind.startswith("ids") else 0
        assert found.ids.tolist() == list(range(first, first + len(ROWS)))
    finally:
        found.close()


@pytest.mark.parametrize("kind", LOSSY)
def test_what_is_quantised_comes_back_nearly_and_says_so(kind: str, tmp_path: Path) -> None:
    found = faiss_file.read(written(LOSSY[kind](), tmp_path))
    try:
        assert found.lossy
        assert found.rows.shape == ROWS.shape
        assert np.abs(found.rows - ROWS).max() < 0.5
    finally:
        found.close()


def test_ids_are_right_after_some_were_removed(tmp_path: Path) -> None:
    index = with_ids(faiss.IndexIDMap(faiss.IndexFlatIP(DIM)))
    index.remove_ids(np.array([1000, 1005]))  # type: ignore[attr-defined]
    found = faiss_file.read(written(index, tmp_path))
    try:
        by_id = dict(zip(found.ids.tolist(), found.rows, strict=True))
        assert sorted(by_id) == [number for number in range(1000, 1300) if number not in (1000, 1005)]
        assert all(row.tobytes() == ROWS[number - 1000].tobytes() for number, row in by_id.items())
    finally:
        found.close()


def test_transformed_and_binary_vectors_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="transformed"):
        faiss_file.read(written(filled(faiss.index_factory(DIM, "PCA4,Flat")), tmp_path))
    index = faiss.IndexBinaryFlat(64)
    index.add(np.zeros((3, 8), dtype=np.uint8))
    path = tmp_path / "binary.index"
    faiss.write_index_binary(index, str(path))
    with pytest.raises(DamagedError, match=r"binary\.index"):
        faiss_file.read(path)


def spoiled(data: bytes, how: str) -> bytes:
    if how == "cut off":
        return data[: len(data) // 2]
    if how == "only a name":
        return data[:4]
    if how == "more vectors than bytes":
        return data[:8] + struct.pack("<q", 2**40) + data[16:]
    if how == "a dimension without end":
        return data[:4] + struct.pack("<i", 2**30) + data[8:]
    return data[:4] + os.urandom(200)


@pytest.mark.parametrize(
    "how", ["cut off", "only a name", "more vectors than bytes", "a dimension without end", "noise behind the name"]
)
def test_a_spoiled_file_is_an_error_that_names_it_and_leaves_nothing(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(EXACT["flat"](), tmp_path)
    path.write_bytes(spoiled(path.read_bytes(), how))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with pytest.raises(DamagedError, match="default__vector_store"):
        faiss_file.read(path)
    assert list(temporary.iterdir()) == []


def test_an_id_map_in_pythons_notation_is_read_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "id_map.json"
    forward, backward = {"one": 0, "two": 1}, {0: "one", 1: "two"}
    path.write_text(str({"node_id_to_faiss_id_map": forward, "faiss_id_to_node_id_map": backward}))
    assert set(claims_in(path)) == {("one", 0), ("two", 1)}
    path.write_text(json.dumps({"node_id_to_faiss_id_map": forward, "faiss_id_to_node_id_map": {"0": "one"}}))
    assert set(claims_in(path)) == {("one", 0), ("two", 1)}
    path.write_text(f"__import__('pathlib').Path({str(tmp_path / 'made')!r}).touch()")
    assert claims_in(path) == []
    assert not (tmp_path / "made").exists()


def test_a_matrix_that_is_a_pickle_is_not_read(tmp_path: Path) -> None:
    old, library = tmp_path / "old", tmp_path / "library"
    old.mkdir()
    (old / "documents.json").write_text(json.dumps([{"page_content": "a text", "metadata": {}}]))
    pickled: NDArray[np.object_] = np.array([{"an": "object"}], dtype=object)
    np.save(old / "embeddings.npy", pickled, allow_pickle=True)
    with pytest.raises(DamagedError, match=r"embeddings\.npy"):
        migration.migrate(old, library=library)
    assert not library.exists()
