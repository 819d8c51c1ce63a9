"""A library that was migrated, and has changed since, goes back to LlamaIndex with what is new in it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import stackroom
from stackroom import Chunk, Document, migration
from support import WordEmbedder, write_files

GOLDEN = Path(__file__).parent / "golden"


class AsItWas(WordEmbedder):
    """The model of a golden index: it knows the vectors that are stored there."""

    def __init__(self, chunks: list[dict[str, Any]]) -> None:
        super().__init__("as-it-was", dim=4)
        self.known = {chunk["text"]: np.array(chunk["vector"], dtype=np.float32) for chunk in chunks}

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return self.known[text] if text in self.known else super().embed_query(text)


def migrated(name: str, tmp_path: Path) -> tuple[Path, AsItWas, dict[str, Any]]:
    """A golden index whose files lie in `tmp_path`/files, as a library, with its model and what was expected of it."""
    old = tmp_path / "old"
    shutil.copytree(GOLDEN / name / "written", old)
    for path in old.rglob("*.json"):
        path.write_bytes(path.read_bytes().replace(b"/home/reader", str(tmp_path / "files").encode()))
    expected = json.loads((GOLDEN / name / "expected.json").read_text())
    embedder = AsItWas(expected["chunks"])
    migration.migrate(old, library=tmp_path / "library", embedder=embedder)
    return tmp_path / "library", embedder, expected


def opened(folder: Path) -> dict[str, Any]:
    """What LlamaIndex finds in an export."""
    program = Path(__file__).parent / "open_in_llamaindex.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def references(folder: Path) -> dict[str, list[str]]:
    """The nodes of each document, as the docstore lists them."""
    told = json.loads((folder / "docstore.json").read_text())["docstore/ref_doc_info"]
    return {document: info["node_ids"] for document, info in told.items()}


def change(library: Path, embedder: AsItWas, files: Path) -> dict[str, str]:
    """Edit a file that the old index knew, add one that it did not, and a document without a file; ids by text."""
    write_files(files, {"notes.md": "# Rotating logs\n\nKeep fourteen days.\n", "new.txt": "A ferry crosses at noon."})
    with stackroom.open(library, embedder=embedder) as index:
        report = index.add(files)
        assert (report.added, report.updated, report.failed) == (1, 1, 0)
        index.add_documents([Document("handed-over", chunks=[Chunk("The garage code is blue.", "garage")])])
        return {passage.text: passage.chunk_id for source in index.sources() for passage in index.get(source.id)}


def test_what_is_new_is_found_by_llamaindex(tmp_path: Path) -> None:
    library, embedder, expected = migrated("llamaindex-0.14.25", tmp_path)
    texts = change(library, embedder, tmp_path / "files")
    with stackroom.open(library) as index:
        index.export(tmp_path / "export")
    told = opened(tmp_path / "export")

    (listed,) = told["indexes"].values()
    assert sorted(texts.values()) == listed == sorted(told["nodes"]) == sorted(told["best"])
    assert all(best == node_id for node_id, best in told["best"].items())
    assert any("fourteen" in node["text"] for node in told["nodes"].values())
    assert not any("seven days" in node["text"] for node in told["nodes"].values())
    # Every passage of a document is listed under it: an edited one as well as one that was never in LlamaIndex.
    owners: dict[str, list[str]] = {}
    for node_id, node in told["nodes"].items():
        if node["ref_doc_id"] is not None:
            owners.setdefault(node["ref_doc_id"], []).append(node_id)
    assert {document: sorted(ids) for document, ids in references(tmp_path / "export").items()} == {
        document: sorted(ids) for document, ids in owners.items()
    }
    assert owners["handed-over"] == ["garage"]
    edited = next(chunk["document_id"] for chunk in expected["chunks"] if "logrotate" in chunk["text"])
    assert edited in owners


def test_no_node_points_to_one_that_is_gone(tmp_path: Path) -> None:
    library, embedder, _ = migrated("llamaindex-0.14.25", tmp_path)
    known = "# Rotating logs\n\nUse logrotate, and keep seven days."
    with stackroom.open(library, embedder=embedder) as index:
        (source,) = index.find("notes.md")
        first = index.get(source.id)[0]
        assert first.text == known
        with index.backend.view() as view:
            (key, *others) = view.chunk_keys([passage.chunk_id for passage in index.get(source.id)])
            record = view.source(source.path)
        assert record is not None
        with index.backend.commit() as commit:
            commit.remove_chunks([other for other in others if other is not None])
            commit.put_source(replace(record, recipe="read again"))
        index.export(tmp_path / "export")
    nodes = json.loads((tmp_path / "export" / "docstore.json").read_text())["docstore/data"]
    assert key is not None
    assert set(nodes[first.chunk_id]["__data__"]["relationships"]) == {"1"}


def test_with_several_indexes_an_edited_document_stays_where_it_was(tmp_path: Path) -> None:
    library, embedder, expected = migrated("llamaindex-0.14.25-two-indexes", tmp_path)
    texts = change(library, embedder, tmp_path / "files")
    with stackroom.open(library, embedder=embedder) as index:
        hits = index.search("fourteen", collection="notes", mode="text")
        assert [hit.document.path for hit in hits] == [str(tmp_path / "files" / "notes.md")]
        index.export(tmp_path / "export")
    told = opened(tmp_path / "export")["indexes"]

    new = next(chunk_id for text, chunk_id in texts.items() if "ferry" in text)
    edited = next(chunk_id for text, chunk_id in texts.items() if "fourteen" in text)
    assert edited in told["notes"]
    assert edited not in told["stackroom"]
    # What no index can claim has one of its own; what was in none before stays in none.
    assert told["stackroom"] == sorted([new, "garage"])
    known = set(expected["indexes"]["papers"])
    assert set(told["papers"]) <= known | set(texts.values())


@pytest.mark.parametrize("name", ["llamaindex-0.8.69", "llamaindex-faiss-flat-l2", "llamaindex-0.4.40"])
def test_so_it_is_with_other_releases(name: str, tmp_path: Path) -> None:
    library, embedder, _ = migrated(name, tmp_path)
    write_files(tmp_path / "files", {"new.txt": "A ferry crosses at noon."})
    with stackroom.open(library, embedder=embedder) as index:
        assert index.add(tmp_path / "files").added >= 1
        index.export(tmp_path / "export")
    told = opened(tmp_path / "export")
    new = next(node_id for node_id, node in told["nodes"].items() if "ferry" in node["text"])
    assert any(new in listed for listed in told["indexes"].values())
    assert told["best"][new] == new
