"""LlamaIndex's ingestion pipeline and refresh on our stores: nothing is embedded twice, and nothing is lost half-way."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import llama_index.core
import pytest
from llama_index.core import VectorStoreIndex, load_index_from_storage
from llama_index.core.ingestion import DocstoreStrategy, IngestionCache, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, Document, TextNode, TransformComponent

import stackroom
from llamaindex_support import WordEmbedding, node
from stackroom.adapters.llamaindex import (
    StackroomDocumentStore,
    StackroomKVStore,
    StackroomVectorStore,
    storage_context,
)

GOLDEN = Path(__file__).parents[2] / "compat" / "golden"
UPSERTS, DELETE, DUPLICATES = (
    DocstoreStrategy.UPSERTS,
    DocstoreStrategy.UPSERTS_AND_DELETE,
    DocstoreStrategy.DUPLICATES_ONLY,
)


class Failing(TransformComponent):
    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        raise ConnectionError("the model is away")


def documents(*texts: str) -> list[Document]:
    return [Document(id_=f"d{i}", text=text, metadata={"i": i}) for i, text in enumerate(texts)]


@pytest.fixture(params=["one docstore", "its own namespace"])
def docstore(request: pytest.FixtureRequest, library: Path, vectors: StackroomVectorStore) -> StackroomDocumentStore:
    namespace = "docstore" if request.param == "one docstore" else "pipeline"
    return StackroomDocumentStore(library, namespace=namespace)


def pipeline(
    vectors: StackroomVectorStore,
    docstore: StackroomDocumentStore,
    embed_model: TransformComponent,
    strategy: DocstoreStrategy = UPSERTS,
) -> IngestionPipeline:
    return IngestionPipeline(
        transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0), embed_model],
        vector_store=vectors,
        docstore=docstore,
        docstore_strategy=strategy,
        disable_cache=True,
    )


def stored(vectors: StackroomVectorStore) -> dict[str, str]:
    """Texts by document."""
    found = vectors.get_nodes(limit=1000)
    return {str(item.ref_doc_id): item.get_content() for item in found}


@pytest.mark.parametrize("strategy", [UPSERTS, DELETE, DUPLICATES])
def test_a_second_run_transforms_nothing(
    strategy: DocstoreStrategy,
    vectors: StackroomVectorStore,
    docstore: StackroomDocumentStore,
    embed_model: WordEmbedding,
    library: Path,
) -> None:
    given = documents("one", "two", "three")
    assert len(pipeline(vectors, docstore, embed_model, strategy).run(documents=given)) == 3
    assert pipeline(vectors, docstore, embed_model, strategy).run(documents=given) == []
    vectors.client.close()
    again = StackroomVectorStore(library), StackroomDocumentStore(library, namespace=docstore._namespace)
    assert pipeline(*again, embed_model, strategy).run(documents=given) == []
    assert len(embed_model.embedded) == 3
    assert set(again[1].docs) >= {"d0", "d1", "d2"}
    assert again[0].client.verify().ok
    vectors._shared = again[0]._shared


def test_only_what_changed_is_embedded(
    vectors: StackroomVectorStore, docstore: StackroomDocumentStore, embed_model: WordEmbedding
) -> None:
    texts = [f"text number {i}" for i in range(30)]
    run = pipeline(vectors, docstore, embed_model)
    run.run(documents=documents(*texts))
    embed_model.embedded.clear()
    texts[7] = "another text"
    run.run(documents=documents(*texts))
    assert len(embed_model.embedded) == 1
    assert stored(vectors)["d7"] == "another text"
    assert len(stored(vectors)) == 30


def test_what_is_not_in_the_run_is_deleted(
    vectors: StackroomVectorStore, docstore: StackroomDocumentStore, embed_model: WordEmbedding
) -> None:
    vectors.add([node("other", "of another program", None)])
    run = pipeline(vectors, docstore, embed_model, DELETE)
    run.run(documents=documents("one", "two", "two"))
    run.run(documents=documents("one", "new"))
    assert stored(vectors) == {"None": "of another program", "d0": "one", "d1": "new"}
    assert set(docstore.get_all_document_hashes().values()) == {"d0", "d1"}


def test_deletion_that_was_interrupted_is_done_by_the_next_run(
    vectors: StackroomVectorStore,
    docstore: StackroomDocumentStore,
    embed_model: WordEmbedding,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if docstore._namespace != "docstore":
        pytest.skip("the hash is in another namespace than the vectors, and goes first: as in LlamaIndex's own stores")
    run = pipeline(vectors, docstore, embed_model, DELETE)
    run.run(documents=documents("one", "two"))
    with monkeypatch.context() as patched, pytest.raises(OSError, match="gone"):
        patched.setattr(StackroomVectorStore, "delete", _raise)
        run.run(documents=documents("one"))
    run.run(documents=documents("one"))
    assert stored(vectors) == {"d0": "one"}


def _raise(*_: Any, **__: Any) -> None:
    raise OSError("the disk is gone")


@pytest.mark.parametrize("strategy", [UPSERTS, DELETE, DUPLICATES])
def test_a_run_that_fails_is_repaired_by_the_next(
    strategy: DocstoreStrategy,
    vectors: StackroomVectorStore,
    docstore: StackroomDocumentStore,
    embed_model: WordEmbedding,
    library: Path,
) -> None:
    pipeline(vectors, docstore, embed_model, UPSERTS).run(documents=documents("one", "two"))
    with pytest.raises(ConnectionError):
        pipeline(vectors, docstore, Failing(), strategy).run(documents=documents("changed", "two", "three"))
    # Another program starts: nothing of the failed run may have been kept.
    vectors.client.close()
    again = StackroomVectorStore(library), StackroomDocumentStore(library, namespace=docstore._namespace)
    pipeline(*again, embed_model, strategy).run(documents=documents("changed", "two", "three"))
    assert "three" in stored(again[0]).values()
    assert "changed" in [item.get_content() for item in again[0].get_nodes(limit=100)]
    vectors._shared = again[0]._shared


KILLED = """
    import os, signal, sys
    from llama_index.core.schema import Document, TransformComponent
    from test_pipeline import UPSERTS, pipeline
    from stackroom.adapters.llamaindex import StackroomDocumentStore, StackroomVectorStore

    class Dying(TransformComponent):
        def __call__(self, nodes, **kwargs):
            os.kill(os.getpid(), signal.SIGKILL)

    library = sys.argv[1]
    run = pipeline(StackroomVectorStore(library), StackroomDocumentStore(library), Dying())
    run.run(documents=[Document(id_="d0", text="changed", metadata={"i": 0}), Document(id_="d1", text="two", metadata={"i": 1})])
"""


def test_a_program_that_is_killed_between_delete_and_add_is_repaired_by_the_next(
    vectors: StackroomVectorStore, embed_model: WordEmbedding, library: Path
) -> None:
    docstore = StackroomDocumentStore(library)
    run = pipeline(vectors, docstore, embed_model)
    run.run(documents=documents("one", "two"))
    here = Path(__file__)
    path = os.pathsep.join([str(here.parent), str(here.parents[2]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(library)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert stored(vectors) == {"d1": "two"}
    assert vectors.client.verify().ok
    run.run(documents=documents("changed", "two"))
    assert stored(vectors) == {"d0": "changed", "d1": "two"}


def test_failed_documents_are_not_kept_by_a_later_success(
    vectors: StackroomVectorStore, embed_model: WordEmbedding, library: Path
) -> None:
    context = storage_context(library)
    with pytest.raises(ConnectionError):
        VectorStoreIndex.from_documents(
            documents("lost"), storage_context=context, transformations=[Failing()], embed_model=embed_model
        )
    VectorStoreIndex.from_documents(
        [Document(id_="other", text="words")], storage_context=context, embed_model=embed_model
    )
    vectors.client.close()
    context = storage_context(library)
    assert context.docstore.get_document_hash("d0") is None
    index = load_index_from_storage(context, embed_model=embed_model)
    assert index.refresh_ref_docs(documents("lost")) == [True]
    vectors._shared = context.docstore._shared  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["refresh", "pipeline"])
def test_a_document_of_which_a_repair_has_lost_passages_is_stored_again(
    vectors: StackroomVectorStore, embed_model: WordEmbedding, library: Path, how: str
) -> None:
    """Its hash said that nothing had changed."""
    given = documents("One lantern burns. " * 20, "two lanterns")
    split = SentenceSplitter(chunk_size=30, chunk_overlap=0)
    context = storage_context(library)
    VectorStoreIndex.from_documents(given, storage_context=context, embed_model=embed_model, transformations=[split])
    before = sorted(passage.text for passage in vectors.client.get("d0"))
    assert len(before) > 2
    vectors.client.close()
    with contextlib.closing(apsw.Connection(str(library / "catalogue.db"))) as connection:
        connection.execute("UPDATE chunks SET text = zeroblob(30) WHERE key = 1")
    assert stackroom.repair(library).lost
    context = storage_context(library)
    if how == "refresh":
        index = load_index_from_storage(context, embed_model=embed_model, transformations=[split])
        assert index.refresh_ref_docs(given) == [True, False]
    else:
        run = pipeline(context.vector_store, context.docstore, embed_model)  # type: ignore[arg-type]
        run.transformations = [split, embed_model]
        run.run(documents=given)
    vectors._shared = context.docstore._shared  # type: ignore[attr-defined]
    assert sorted(passage.text for passage in vectors.client.get("d0")) == before
    found = vectors.client.verify()
    assert (found.ok, found.incomplete) == (True, ())


def test_nodes_that_were_split_before_are_compared_one_by_one(
    vectors: StackroomVectorStore, embed_model: WordEmbedding, library: Path
) -> None:
    docstore = StackroomDocumentStore(library)
    parts = SentenceSplitter(chunk_size=20, chunk_overlap=0).get_nodes_from_documents(
        [Document(id_="A", text="One sentence of some words. " * 20)]
    )
    half = len(parts) // 2
    for batch in (parts[:half], parts[half:]):
        IngestionPipeline(
            transformations=[embed_model], vector_store=vectors, docstore=docstore, disable_cache=True
        ).run(nodes=batch)
    assert len(vectors.get_nodes(limit=1000)) == len(parts)


def test_single_nodes_are_duplicates_the_second_time(
    vectors: StackroomVectorStore, embed_model: WordEmbedding, library: Path
) -> None:
    given = [TextNode(id_="a", text="one"), TextNode(id_="b", text="two")]
    for _ in range(2):
        docstore = StackroomDocumentStore(library)
        run = IngestionPipeline(
            transformations=[embed_model],
            vector_store=StackroomVectorStore(library),
            docstore=docstore,
            docstore_strategy=DUPLICATES,
            disable_cache=True,
        )
        run.run(nodes=[item.model_copy() for item in given])
    assert embed_model.embedded == ["one", "two"]


def test_a_docstore_alone_keeps_what_it_has_seen(library: Path, embed_model: WordEmbedding) -> None:
    docstore = StackroomDocumentStore(library)
    run = IngestionPipeline(transformations=[embed_model], docstore=docstore, docstore_strategy=DUPLICATES)
    assert len(run.run(documents=documents("one", "two"))) == 2
    assert run.run(documents=documents("one", "two")) == []


def test_two_processes_share_a_cache(
    vectors: StackroomVectorStore, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Unpickled in a fresh process, a splitter looks for its tokenizer before LlamaIndex has said where it is.
    packaged = Path(llama_index.core.__file__).parent / "_static" / "tiktoken_cache"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(packaged))
    cache = IngestionCache(cache=StackroomKVStore(library))
    run = IngestionPipeline(transformations=[SentenceSplitter(chunk_size=64, chunk_overlap=0)], cache=cache)
    first = run.run(documents=documents("one", "two"), num_workers=2)
    assert {item.get_content() for item in first} == {"one", "two"}
    assert len(StackroomKVStore(library).get_all(cache.collection)) == 2
    again = run.run(documents=documents("one", "two"), num_workers=2)
    assert [item.node_id for item in again] == [item.node_id for item in first]


def test_persist_and_load_in_the_library_change_no_store(
    vectors: StackroomVectorStore, docstore: StackroomDocumentStore, embed_model: WordEmbedding, library: Path
) -> None:
    run = pipeline(vectors, docstore, embed_model)
    run.run(documents=documents("one"))
    run.persist(str(library))
    assert not {"docstore.json", "default__vector_store.json"} & set(os.listdir(library))
    other = pipeline(vectors, docstore, embed_model)
    other.load(str(library))
    assert other.docstore is docstore
    assert other.run(documents=documents("one")) == []


async def test_an_async_run_is_the_same(
    vectors: StackroomVectorStore, docstore: StackroomDocumentStore, embed_model: WordEmbedding
) -> None:
    run = pipeline(vectors, docstore, embed_model, DELETE)
    await run.arun(documents=documents("one", "two"))
    await run.arun(documents=documents("one"))
    assert stored(vectors) == {"d0": "one"}


@pytest.mark.parametrize("release", ["0.9.48", "0.10.68", "0.14.25"])
@pytest.mark.parametrize("told", [False, True], ids=["by itself", "with the documents"])
def test_documents_that_an_older_release_hashed_are_not_embedded_again(
    release: str, told: bool, tmp_path: Path, embed_model: WordEmbedding
) -> None:
    old = tmp_path / "old"
    shutil.copytree(GOLDEN / f"llamaindex-{release}-documents" / "written", old)
    given = [Document(**item) for item in json.loads((GOLDEN.parent / "documents.json").read_text(encoding="utf-8"))]
    context = storage_context(old)
    if told:
        context.docstore.recognise_documents(given)  # type: ignore[attr-defined]
    index = load_index_from_storage(context, embed_model=embed_model)
    refreshed = index.refresh_ref_docs(given)
    assert not any(refreshed), [given[i].id_ for i, changed in enumerate(refreshed) if changed]
    assert embed_model.embedded == []
    assert context.docstore._shared.index.verify().ok  # type: ignore[attr-defined]
