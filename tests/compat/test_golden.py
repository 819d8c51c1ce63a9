"""Every store that a pinned release wrote: it migrates, is proven, answers, and goes back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stackroom
from old_index import contents
from stackroom import migration
from stackroom.errors import DamagedError, UnknownStoreError
from stackroom.types import Passage

GOLDEN = Path(__file__).parent / "golden"
STORES = sorted(path.name for path in GOLDEN.iterdir() if not path.name.endswith("-evil"))
NEWEST = "llamaindex-0.14.25"


def copy_of(name: str, tmp_path: Path) -> Path:
    """The store as a user would name it: its folder, or its only file."""
    written = tmp_path / "old"
    shutil.copytree(GOLDEN / name / "written", written)
    files = list(written.iterdir())
    alone = len(files) == 1 and files[0].is_file() and files[0].name != "docstore.json"
    return files[0] if alone else written


def expected(name: str) -> dict[str, Any]:
    return dict(json.loads((GOLDEN / name / "expected.json").read_text(encoding="utf-8")))


def passages(index: stackroom.Index) -> dict[str, tuple[Passage, stackroom.Source]]:
    return {passage.chunk_id: (passage, source) for source in index.sources() for passage in index.get(source.id)}


@pytest.mark.parametrize("name", STORES)
def test_a_store_arrives_whole(name: str, tmp_path: Path) -> None:
    old, wanted = copy_of(name, tmp_path), expected(name)
    before = contents(tmp_path / "old")
    report = migration.migrate(old, library=tmp_path / "library")

    assert report.proof is not None
    assert report.proof.ok
    assert report.chunks == len(wanted["chunks"])
    assert report.vectors == sum(chunk["vector"] is not None for chunk in wanted["chunks"])
    assert report.embedded == 0
    assert contents(tmp_path / "old") == before
    with stackroom.open(tmp_path / "library") as index:
        assert index.verify().ok
        found = passages(index)
        texts = {passage.text: passage.chunk_id for passage, _ in found.values()}
        for chunk in wanted["chunks"]:
            chunk_id = chunk["chunk_id"] or texts[chunk["text"]]
            passage, source = found[chunk_id]
            assert passage.text == chunk["text"]
            if chunk["document_id"] is not None:
                assert passage.document_id == chunk["document_id"]
            if chunk["metadata"] and "file_path" in chunk["metadata"]:
                assert source.path == chunk["metadata"]["file_path"]
                page = chunk["metadata"].get("page_label")
                assert passage.place.page_label == page
            if chunk["vector"] is not None and not wanted.get("lossy"):
                stored = index.vectors([chunk_id])[0]
                assert stored.tobytes() == np.array(chunk["vector"], dtype=np.float64).astype(np.float32).tobytes()
                assert index.search(stored, k=1)[0].chunk_id == chunk_id
        for path in wanted.get("inactive", ()):
            assert not next(source for source in index.sources() if source.path == path).active


@pytest.mark.parametrize("name", STORES)
def test_filters_see_the_metadata_that_a_passage_had(name: str, tmp_path: Path) -> None:
    old, wanted = copy_of(name, tmp_path), expected(name)
    migration.migrate(old, library=tmp_path / "library")
    with stackroom.open(tmp_path / "library") as index:
        for chunk in wanted["chunks"]:
            metadata = chunk["metadata"] or {}
            if chunk["vector"] is None or "number" not in metadata or wanted.get("lossy"):
                continue
            vector = np.array(chunk["vector"], dtype=np.float32)
            hits = index.search(vector, where={"key": "number", "op": "==", "value": metadata["number"]})
            assert [hit.text for hit in hits] == [chunk["text"]]


@pytest.mark.parametrize("name", STORES)
def test_current_llamaindex_opens_the_export(name: str, tmp_path: Path) -> None:
    old, wanted = copy_of(name, tmp_path), expected(name)
    migration.migrate(old, library=tmp_path / "library")
    with stackroom.open(tmp_path / "library") as index:
        assert index.export(tmp_path / "export") == len(wanted["chunks"])
    program = Path(__file__).parent / "open_in_llamaindex.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program), str(tmp_path / "export")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    by_text = {node["text"]: node for node in told["nodes"].values()}
    for chunk in wanted["chunks"]:
        node = told["nodes"][chunk["chunk_id"]] if chunk["chunk_id"] else by_text[chunk["text"]]
        assert node["text"] == chunk["text"]
        if chunk["metadata"] is not None:
            assert node["metadata"] == chunk["metadata"]
        if chunk["chunk_id"] and chunk["vector"] is not None and not wanted.get("lossy"):
            assert told["best"][chunk["chunk_id"]] == chunk["chunk_id"]
    for index_id, members in wanted.get("indexes", {}).items():
        assert told["indexes"][index_id] == sorted(members)


@pytest.mark.parametrize(
    "name", [name for name in STORES if name.startswith(NEWEST) and "-" not in name[len(NEWEST) :]]
)
def test_what_came_from_the_newest_release_goes_back_equal(name: str, tmp_path: Path) -> None:
    same_after_round_trip(name, tmp_path)


@pytest.mark.parametrize(
    "name", ["llamaindex-0.12.52", "llamaindex-0.14.25-two-indexes", "llamaindex-0.14.25-namespaces"]
)
def test_so_does_every_variant_that_has_its_shape(name: str, tmp_path: Path) -> None:
    same_after_round_trip(name, tmp_path)


def same_after_round_trip(name: str, tmp_path: Path) -> None:
    old = copy_of(name, tmp_path)
    migration.migrate(old, library=tmp_path / "library")
    with stackroom.open(tmp_path / "library") as index:
        index.export(tmp_path / "export")
    for path in old.iterdir():
        assert comparable(path.name, tmp_path / "export" / path.name) == comparable(path.name, path), path.name


def comparable(name: str, path: Path) -> Any:
    """A file's content, with vectors as float32 and JSON within JSON parsed."""
    value = json.loads(path.read_text(encoding="utf-8"))
    if name.endswith("vector_store.json"):
        value["embedding_dict"] = {
            node: np.array(vector, dtype=np.float64).astype(np.float32).tolist()
            for node, vector in value["embedding_dict"].items()
        }
    if name == "docstore.json":
        for node in value["docstore/data"].values():
            if node["__data__"]["embedding"] is not None:
                node["__data__"]["embedding"] = np.array(node["__data__"]["embedding"], dtype=np.float32).tolist()
    if name == "index_store.json":
        for entry in value["index_store/data"].values():
            entry["__data__"] = json.loads(entry["__data__"])
    return value


def test_a_pickle_that_would_run_a_command_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    old = copy_of("langchain-faiss-evil", tmp_path)
    with pytest.raises(DamagedError, match="system"):
        migration.migrate(old, library=tmp_path / "library")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


def test_other_namespaces_become_collections_with_vectors_of_their_own(tmp_path: Path) -> None:
    name = "llamaindex-0.14.25-namespaces"
    old, wanted = copy_of(name, tmp_path), expected(name)
    migration.migrate(old, library=tmp_path / "library")
    with stackroom.open(tmp_path / "library", mode="r") as index:
        for namespace, vectors in wanted["others"].items():
            for chunk_id, vector in vectors.items():
                query = np.array(vector, dtype=np.float32)
                assert index.search(query, k=1, collection=namespace)[0].chunk_id == chunk_id


def test_one_of_several_indexes_can_be_taken(tmp_path: Path) -> None:
    name = "llamaindex-0.14.25-two-indexes"
    old, wanted = copy_of(name, tmp_path), expected(name)
    report = migration.migrate(old, library=tmp_path / "library", index_id="notes")
    assert report.chunks == len(wanted["indexes"]["notes"])
    with stackroom.open(tmp_path / "library", mode="r") as index:
        assert sorted(passages(index)) == sorted(wanted["indexes"]["notes"])


def test_several_indexes_become_collections_that_share_their_passages(tmp_path: Path) -> None:
    name = "llamaindex-0.14.25-two-indexes"
    old, wanted = copy_of(name, tmp_path), expected(name)
    migration.migrate(old, library=tmp_path / "library")
    with stackroom.open(tmp_path / "library", mode="r") as index:
        query = np.array(wanted["chunks"][0]["vector"], dtype=np.float32)
        for index_id, members in wanted["indexes"].items():
            hits = index.search(query, k=20, collection=index_id)
            assert sorted(hit.chunk_id for hit in hits) == sorted(members)
        assert len(index.search(query, k=20)) == len(wanted["chunks"])


def test_quantised_vectors_are_named(tmp_path: Path) -> None:
    report = migration.migrate(copy_of("llamaindex-faiss-sq8", tmp_path), library=tmp_path / "library")
    assert "vectors were quantised" in {anomaly.kind for anomaly in report.anomalies}


def test_colliding_ids_are_not_believed(tmp_path: Path) -> None:
    report = migration.migrate(copy_of("llamaindex-faiss-map-collided", tmp_path), library=tmp_path / "library")
    counts = {anomaly.kind: anomaly.count for anomaly in report.anomalies}
    assert counts["ids that share a vector"] == 2


def test_matrices_that_were_embedded_in_two_ways_are_named(tmp_path: Path) -> None:
    old = copy_of("airunner-c", tmp_path)
    kind = "embedded in more than one way"
    assert kind not in {anomaly.kind for anomaly in migration.inventory(old).anomalies}
    next(old.rglob("index_metadata.json")).unlink()
    assert kind in {anomaly.kind for anomaly in migration.inventory(old).anomalies}


def test_a_registry_whose_folders_are_gone_is_no_success(tmp_path: Path) -> None:
    old = copy_of("registry", tmp_path)
    for folder in (old / "doc_indexes").iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    with pytest.raises(UnknownStoreError, match="holds no passages; 2 x a document whose folder is missing"):
        migration.migrate(old)
    assert not (old / "stackroom").exists()
