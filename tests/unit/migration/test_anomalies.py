"""What is not as it should be in an old store: a rule for each, counted in the report, and never the end of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import stackroom
from old_index import OldIndex
from stackroom import MigrationReport, migration
from stackroom.errors import DamagedError


def migrated(old: OldIndex, tmp_path: Path, **choices: bool) -> tuple[MigrationReport, stackroom.Index]:
    report = migration.migrate(old.write(tmp_path / "old"), library=tmp_path / "library", **choices)
    assert report.proof is not None
    assert report.proof.ok
    return report, stackroom.open(tmp_path / "library", mode="r")


def counts(report: MigrationReport) -> dict[str, int]:
    assert all(anomaly.rule for anomaly in report.anomalies)
    return {anomaly.kind: anomaly.count for anomaly in report.anomalies}


def ids(index: stackroom.Index) -> set[str]:
    return {passage.chunk_id for source in index.sources() for passage in index.get(source.id)}


def test_a_healthy_index_has_none(tmp_path: Path) -> None:
    old = OldIndex()
    report, index = migrated(old, tmp_path)
    with index:
        assert counts(report) == {}
        assert ids(index) == set(old.ids)
        assert index.vectors(old.ids).tobytes() == np.stack([old.vector(node) for node in old.ids]).tobytes()


def test_a_vector_without_text_is_left_out_unless_it_is_wanted(tmp_path: Path) -> None:
    old = OldIndex()
    del old.nodes["node-2"]
    report, index = migrated(old, tmp_path)
    with index:
        assert counts(report) == {"a vector without text": 1}
        assert "node-2" not in ids(index)


def test_orphans_can_be_kept(tmp_path: Path) -> None:
    old = OldIndex()
    del old.nodes["node-2"]
    _, index = migrated(old, tmp_path, keep_orphans=True)
    with index:
        assert index.search(old.vector("node-2"), k=1)[0].chunk_id == "node-2"


def test_text_without_a_vector_is_found_by_its_words(tmp_path: Path) -> None:
    old = OldIndex()
    del old.embeddings["node-3"]
    old.embeddings["node-4"] = []
    report, index = migrated(old, tmp_path)
    with index:
        assert counts(report) == {"no vector": 2}
        assert index.search("subject 3", mode="text", k=1)[0].chunk_id == "node-3"
        assert index.stats().needs_embedding == 2


def test_a_vector_in_no_index_is_kept(tmp_path: Path) -> None:
    old = OldIndex()
    del old.listed["the-index"]["node-1"]
    report, index = migrated(old, tmp_path)
    with index:
        assert counts(report) == {"in no index": 1}
        assert index.search(old.vector("node-1"), k=1)[0].chunk_id == "node-1"


@pytest.mark.parametrize("split", [False, True])
def test_the_commonest_dimension_counts(tmp_path: Path, split: bool) -> None:
    old = OldIndex()
    old.embeddings["node-5"] = [1.0, 0.0]
    report, index = migrated(old, tmp_path, split_dims=split)
    with index:
        assert counts(report) == {"another dimension": 1}
        assert index.search("subject 5", mode="text", k=1)[0].chunk_id == "node-5"
        if split:
            query = np.array([1, 0], dtype=np.float32)
            assert index.search(query, collection="default-2")[0].chunk_id == "node-5"


def test_nan_and_infinity_are_set_aside_and_go_back_with_an_export(tmp_path: Path) -> None:
    old = OldIndex()
    old.embeddings["node-0"][1] = float("nan")
    old.embeddings["node-1"][2] = float("inf")
    old.embeddings["node-2"][0] = 1e300
    report, index = migrated(old, tmp_path)
    with index:
        assert counts(report) == {"NaN or infinity": 3}
        assert index.stats().needs_embedding == 3
        index.export(tmp_path / "export")
    back = json.loads((tmp_path / "export" / "default__vector_store.json").read_text())["embedding_dict"]
    np.testing.assert_array_equal(back["node-0"], old.embeddings["node-0"])
    assert back["node-2"][0] == 1e300


def test_a_vector_of_zeros_is_kept(tmp_path: Path) -> None:
    old = OldIndex()
    old.embeddings["node-0"] = [0.0] * 4
    report, index = migrated(old, tmp_path)
    with index:
        assert counts(report) == {"all zeros": 1}
        hits = index.search(old.vector("node-1"), k=6)
        assert {hit.chunk_id: hit.score for hit in hits}["node-0"] == 0.0


def test_what_is_no_list_of_numbers_is_as_missing(tmp_path: Path) -> None:
    old = OldIndex()
    old.embeddings["node-0"] = "text"
    old.embeddings["node-1"] = [1, "2", 3, 4]
    old.embeddings["node-2"] = None
    report, index = migrated(old, tmp_path)
    with index:
        assert counts(report) == {"not a list of numbers": 3}
        assert len(ids(index)) == 6


def test_an_empty_vector_is_as_missing(tmp_path: Path) -> None:
    old = OldIndex()
    old.embeddings["node-0"] = []
    report, index = migrated(old, tmp_path)
    with index:
        assert counts(report) == {"no vector": 1}
        assert report.vectors == 5
        assert "node-0" in ids(index)


def test_listed_without_a_vector_is_text_that_needs_one(tmp_path: Path) -> None:
    old = OldIndex()
    del old.embeddings["node-3"]
    assert old.listed["the-index"]["node-3"] == "node-3"
    report, index = migrated(old, tmp_path)
    with index:
        assert counts(report) == {"no vector": 1}
        assert index.stats().needs_embedding == 1
        assert index.search("subject 3", k=1)[0].chunk_id == "node-3"


def test_a_namespace_may_hold_what_parts_names(tmp_path: Path) -> None:
    """LlamaIndex splits the file's name at the first of these, and loses the namespace."""
    old = OldIndex()
    row = [0.5, 0.5, 0.5]
    old.other_stores["a__b__vector_store.json"] = {"embedding_dict": {"node-1": row}}
    _, index = migrated(old, tmp_path)
    with index:
        found = index.search(np.array(row, dtype=np.float32), k=1, collection="a__b")
        assert [hit.chunk_id for hit in found] == ["node-1"]


def test_ids_are_the_same_in_any_spelling(tmp_path: Path) -> None:
    """The same id, escaped in one file and plain in another, is one id."""
    old = OldIndex()
    for table in (old.embeddings, old.references, old.nodes, old.owner):
        table["node-ä"] = table.pop("node-2")  # type: ignore[attr-defined]
    old.nodes["node-ä"]["__data__"] |= {"id_": "node-ä"}
    old.listed["the-index"] = {node: node for node in old.embeddings}
    folder = old.write(tmp_path / "old")
    path = folder / "docstore.json"
    path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False), encoding="utf-8")
    report = migration.migrate(folder, library=tmp_path / "library")
    assert report.anomalies == ()
    with stackroom.open(tmp_path / "library", mode="r") as index:
        assert index.vectors(["node-ä"])[0].tobytes() == old.vector("node-ä").tobytes()


def test_a_duplicate_key_counts_once(tmp_path: Path) -> None:
    folder = OldIndex().write(tmp_path / "old")
    path = folder / "default__vector_store.json"
    value = json.loads(path.read_text())
    first = json.dumps(value["embedding_dict"]["node-0"])
    text = json.dumps(value).replace('"embedding_dict": {', '"embedding_dict": {"node-0": [9, 9, 9, 9], ', 1)
    path.write_text(text)
    report = migration.migrate(folder, library=tmp_path / "library")
    assert counts(report) == {"written twice, the last one counts": 1}
    with stackroom.open(tmp_path / "library", mode="r") as index:
        assert index.vectors(["node-0"])[0].tobytes() == np.array(json.loads(first), dtype=np.float32).tobytes()


STRANGE = ["a/b\\c", "x" * 10_000, "  spaces ", "../../etc/passwd", "\ud800", "'; DROP TABLE chunks; --", "ключ"]


def test_ids_are_opaque(tmp_path: Path) -> None:
    old = OldIndex(chunks=len(STRANGE), documents=1)
    for plain, strange in zip(list(old.ids), STRANGE, strict=True):
        old.nodes[strange] = old.nodes.pop(plain)
        old.nodes[strange]["__data__"]["id_"] = strange
        old.embeddings[strange] = old.embeddings.pop(plain)
        old.listed["the-index"][strange] = old.listed["the-index"].pop(plain) and strange
    _, index = migrated(old, tmp_path)
    with index:
        assert ids(index) == set(STRANGE)


def test_an_empty_id_is_refused_with_its_place(tmp_path: Path) -> None:
    old = OldIndex()
    old.nodes[""] = old.nodes.pop("node-0")
    report, index = migrated(old, tmp_path)
    with index:
        assert counts(report)["a node without an id"] == 1
        assert "byte" in next(a.examples[0] for a in report.anomalies if a.kind == "a node without an id")
        assert len(ids(index)) == 5


METADATA = {
    "nested": {"a": [1, {"b": None}]},
    "list": ["x", 2, True],
    "null": None,
    "flag": True,
    "huge": 10**40,
    "nan": float("nan"),
    "text": "ä\ud800 \x00",
    "": "empty key",
    "with.dot $ and 'quote'": 1,
}


def test_metadata_of_every_kind_is_kept_and_filtered_where_it_can_be(tmp_path: Path) -> None:
    old = OldIndex()
    old.nodes["node-0"]["__data__"]["metadata"] |= METADATA
    _, index = migrated(old, tmp_path)
    with index:
        for key, value in (("flag", True), ("with.dot $ and 'quote'", 1), ("list", "x"), ("", "empty key")):
            op = "contains" if key == "list" else "=="
            found = index.search(old.vector("node-0"), where={"key": key, "op": op, "value": value})
            assert [hit.chunk_id for hit in found] == ["node-0"], key
        index.export(tmp_path / "export")
    back = json.loads((tmp_path / "export" / "docstore.json").read_text())["docstore/data"]["node-0"]["__data__"]
    assert json.dumps(back["metadata"]) == json.dumps(old.nodes["node-0"]["__data__"]["metadata"])


def test_two_documents_of_equal_hash_are_both_kept(tmp_path: Path) -> None:
    _, index = migrated(OldIndex(), tmp_path)
    with index:
        assert index.stats().documents == 2


def test_a_document_may_have_the_id_of_a_chunk(tmp_path: Path) -> None:
    old = OldIndex()
    old.owner["node-0"] = "node-1"
    old.nodes["node-0"] = old.node("node-0", "Its document is called as another chunk.")
    _, index = migrated(old, tmp_path)
    with index:
        assert index.search(old.vector("node-0"), k=1)[0].document.id == "node-1"


def test_lists_of_nodes_that_are_gone_do_no_harm(tmp_path: Path) -> None:
    old = OldIndex()
    old.owner["ghost"] = "doc-0"
    old.listed["the-index"]["ghost-2"] = "ghost-2"
    report, index = migrated(old, tmp_path)
    with index:
        assert counts(report) == {"a list of nodes that are gone": 2}
        assert ids(index) == set(old.ids)


def test_the_text_none_is_no_document(tmp_path: Path) -> None:
    old = OldIndex()
    old.nodes["node-0"]["__data__"]["relationships"] = {}
    old.references["node-0"] = "None"
    del old.owner["node-0"]
    _, index = migrated(old, tmp_path)
    with index:
        assert index.search(old.vector("node-0"), k=1)[0].document.id == "node-0"


@pytest.mark.parametrize("name", ["default__vector_store.json", "docstore.json", "index_store.json"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_named_and_nothing_is_left(tmp_path: Path, name: str, part: float) -> None:
    folder = OldIndex().write(tmp_path / "old")
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(DamagedError, match=name) as caught:
        migration.migrate(folder)
    assert ("byte" if part else "it is empty") in caught.value.message
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["default__vector_store.json", "docstore.json", "index_store.json", "graph_store.json"]
    )


def test_a_dry_run_counts_the_same_and_writes_nothing(tmp_path: Path) -> None:
    old = OldIndex()
    del old.nodes["node-2"]
    old.embeddings["node-0"][1] = float("nan")
    folder = old.write(tmp_path / "old")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    found = migration.inventory(folder)
    assert {anomaly.kind: anomaly.count for anomaly in found.anomalies} == {
        "a vector without text": 1,
        "NaN or infinity": 1,
    }
    assert (found.chunks, found.vectors, found.documents, found.sources) == (5, 4, 2, 2)
    assert found.dimensions == {"default:4": 6}
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
