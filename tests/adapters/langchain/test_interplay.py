"""One library, several faces: the command line, `Index.add`, LlamaIndex, old FAISS folders, and the shipped model."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.vector_stores.types import VectorStoreQuery

import llamaindex_support
import stackroom
from langchain_support import WordEmbeddings, document, ids
from stackroom.adapters.langchain import StackroomEmbeddings, StackroomVectorStore
from stackroom.adapters.llamaindex import StackroomVectorStore as LlamaIndexStore
from stackroom.errors import DamagedError, EmbedderMismatchError, MigrationNeeded
from support import write_files

GOLDEN = Path(__file__).parents[2] / "compat" / "golden" / "langchain-faiss"


def command(library: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "stackroom", "--json", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "STACKROOM_LIBRARY": str(library)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_the_command_line_reads_what_langchain_wrote(library: Path) -> None:
    """With the shipped model: the whole way, and queries on the command line are embedded."""
    store = StackroomVectorStore(library, StackroomEmbeddings())
    store.add_documents(
        [
            document("logrotate rotates and compresses old log files.", "logs", source="logs.md", page=2, title="Logs"),
            document("A cat is a small animal that purrs and hunts mice.", "cat", source="cats.md"),
            document("Bread rises slowly where it is cold.", "bread"),
        ]
    )
    assert ids(store.similarity_search("which pet catches rodents?", k=1)) == ["cat"]
    assert ids(store.as_retriever(search_type="hybrid", search_kwargs={"k": 1}).invoke("baking dough")) == ["bread"]
    (hit,) = command(library, "search", "-k", "1", "--mode", "vector", "get rid of old records of a program")["hits"]
    assert (hit["chunk_id"], hit["document"]["path"], hit["place"]["page"]) == ("logs", "logs.md", 3)
    assert {source["path"] for source in command(library, "list")["sources"]} == {"logs.md", "cats.md", "bread"}
    shown = command(library, "show", "cats.md")
    assert "purrs" in json.dumps(shown)
    # The library's own model does, where none is given.
    assert ids(StackroomVectorStore(library).similarity_search("which pet catches rodents?", k=1)) == ["cat"]
    again = pickle.loads(pickle.dumps(StackroomEmbeddings()))  # noqa: S301
    assert again.embed_query("a") == StackroomEmbeddings().embed_documents(["a"])[0]
    assert StackroomEmbeddings().embed_documents([]) == []


def test_langchain_reads_what_add_made(library: Path, folder: Path, samples: Path) -> None:
    write_files(folder, {"cats.md": "# Cats\n\nA cat purrs and hunts mice.\n"})
    pdf = min(samples.rglob("*.pdf"), key=lambda path: path.stat().st_size)
    with stackroom.open(library) as index:
        index.add([folder, pdf])
        store = StackroomVectorStore(index)
        (found,) = store.similarity_search("which animal purrs?", k=1)
        path = str(folder / "cats.md")
        assert found.page_content.endswith("A cat purrs and hunts mice.")
        assert found.metadata["source"] == path
        assert found.metadata["file_name"] == "cats.md"
        assert ids(store.similarity_search("purrs", filter={"source": path})) == [found.id]
        assert store.get_by_ids([str(found.id)]) == [found]
        (page,) = store.similarity_search("anything", k=1, sources=[str(pdf)])
        (hit,) = index.search("anything", mode="vector", k=1, sources=[str(pdf)])
        assert hit.place.page is not None
        assert (page.metadata["source"], page.metadata["page"]) == (str(pdf), hit.place.page - 1)
        assert page.metadata.get("page_label") == hit.place.page_label


def test_add_and_langchain_about_one_file(library: Path, folder: Path) -> None:
    write_files(folder, {"cats.txt": "A cat purrs and hunts mice.\n", "gone.txt": "Gone soon.\n"})
    path, gone = str(folder / "cats.txt"), str(folder / "gone.txt")
    with stackroom.open(library) as index:
        store = StackroomVectorStore(index)
        store.add_documents([document("LangChain's view of cats", "lc", source=path)])
        store.add_documents([document("of a file that is not there", "elsewhere", source=str(folder / "never.txt"))])
        # A passage of LangChain's does not make `add` believe that it has read the file; then the file is `add`'s.
        report = index.add(folder)
        assert (report.failed, len(index.get(path))) == (0, 1)
        assert index.get(path)[0].text.startswith("A cat purrs")
        # What joins a file that was read stays as long as that file does not change.
        store.add_documents([document("a remark on cats", "remark", source=path)])
        assert index.add(folder).unchanged == 2
        assert ids(store.similarity_search("a remark on cats", k=1)) == ["remark"]
        os.remove(gone)
        index.add(folder, prune=True, confirm=lambda *_: True)
        assert {source.path for source in index.sources()} == {path, str(folder / "never.txt")}
        assert index.verify().ok


def test_llamaindex_reads_what_langchain_wrote(library: Path) -> None:
    StackroomVectorStore(library, WordEmbeddings()).add_texts(
        ["cats purr", "dogs bark"], [{"source": "pets.md", "n": 1}, {"n": 2}], ids=["cats", "dogs"]
    )
    store = LlamaIndexStore(library)
    query = VectorStoreQuery(query_embedding=llamaindex_support.vector_of("cats purr"), similarity_top_k=2)
    result = store.query(query)
    assert result.ids == ["cats", "dogs"]
    cats, dogs = result.nodes or []
    assert (cats.get_content(), cats.metadata["n"], cats.ref_doc_id) == ("cats purr", 1, "pets.md")
    assert dogs.ref_doc_id == "dogs"
    store.delete("pets.md")
    assert ids(StackroomVectorStore(library, WordEmbeddings()).similarity_search("cats", k=5)) == ["dogs"]


def test_langchain_reads_what_llamaindex_wrote(library: Path) -> None:
    nodes = [
        llamaindex_support.node(
            "n1", "cats purr", "A", {"n": 1, "page_label": "iv"}, llamaindex_support.vector_of("cats purr")
        ),
        llamaindex_support.node("n2", "dogs bark", None, {"n": 2}, llamaindex_support.vector_of("dogs bark")),
    ]
    LlamaIndexStore(library).add(nodes)
    store = StackroomVectorStore(library, WordEmbeddings())
    cats, dogs = store.similarity_search("cats purr", k=2)
    assert cats == document("cats purr", "n1", n=1, page_label="iv", source="A")
    assert dogs == document("dogs bark", "n2", n=2)
    assert store.get_by_ids(["n2", "n1"]) == [dogs, cats]
    # A Document that joins another framework's document keeps its own metadata, and only that.
    store.add_documents([document("more on cats", "n3", source="A", n=None, own=True)])
    assert store.get_by_ids(["n3"]) == [document("more on cats", "n3", source="A", n=None, own=True)]


def test_metadata_of_a_document_is_not_lent_to_what_joins_it(library: Path) -> None:
    with stackroom.open(library) as index:
        index.add_documents(
            [stackroom.Document("A", "A", metadata={"year": 2020, "by": "me"}, chunks=[stackroom.Chunk("an old text")])]
        )
        store = StackroomVectorStore(index)
        joined = document("a new text", "new", source="A", year=2021)
        store.add_documents([joined])
        assert store.get_by_ids(["new"]) == [joined]
        old = next(item for item in store.similarity_search("text", k=2) if item.id != "new")
        assert old.metadata == {"year": 2020, "by": "me", "source": "A"}
        assert ids(store.similarity_search("text", filter={"by": {"$exists": False}})) == ["new"]
        assert ids(store.similarity_search("text", filter={"year": 2020})) == [old.id]


def test_a_faiss_folder_is_migrated_on_the_way(tmp_path: Path) -> None:
    old = tmp_path / "faiss"
    shutil.copytree(GOLDEN / "written", old)
    expected = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))["chunks"]
    with pytest.raises(MigrationNeeded):
        StackroomVectorStore(old, WordEmbeddings(), migrate="ask")
    store = StackroomVectorStore(old, WordEmbeddings())
    for chunk in expected:
        (found,) = store.similarity_search_by_vector(chunk["vector"], k=1)
        assert (found.id, found.page_content) == (chunk["chunk_id"], chunk["text"])
        assert found.metadata == chunk["metadata"]
    assert StackroomVectorStore(old, WordEmbeddings()).index.stats().chunks == len(expected)
    assert sorted(path.name for path in old.iterdir() if path.is_file()) == ["index.faiss", "index.pkl"]


class _Runs:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "faiss"
    shutil.copytree(GOLDEN / "written", old)
    (old / "index.pkl").write_bytes(pickle.dumps((_Runs(), {})))
    with pytest.raises(DamagedError, match="refused"):
        StackroomVectorStore(old, WordEmbeddings())


class OtherEmbeddings(WordEmbeddings):
    """Of the same length, and another model."""

    def embed_query(self, text: str) -> list[float]:
        return super().embed_query(" ".join(f"other{word}" for word in text.split()))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


def test_another_model_is_noticed_though_nobody_names_one(library: Path) -> None:
    StackroomVectorStore(library, WordEmbeddings()).add_texts(["cats hunt mice", "bread rises slowly"])
    with pytest.raises(EmbedderMismatchError, match="the likeness is"):
        StackroomVectorStore(library, OtherEmbeddings()).similarity_search("cats")
    with pytest.raises(EmbedderMismatchError):
        StackroomVectorStore(library, OtherEmbeddings()).add_texts(["of the wrong model"])
    assert len(StackroomVectorStore(library, WordEmbeddings()).similarity_search("cats", k=9)) == 2
