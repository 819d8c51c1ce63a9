"""The store against a dictionary: whatever is done in whatever order, both say the same."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from numpy.typing import NDArray
from strategies import WORDS

import other_process
from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.filters import Condition
from stackroom.progress import CancelToken, silent
from stackroom.storage.store import LocalStore
from stackroom.types import Chunk, Place
from support import chunks, unit_rows

QUERY = unit_rows(1, seed=77)[0]

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
sources = st.sampled_from(["one", "two", "three", "vier/fünf", "\x00"])


@dataclass
class ModelChunk:
    text: str
    embedding: NDArray[np.float32] | None
    position: int
    metadata: dict[str, int]


@dataclass
class ModelDocument:
    source: str
    chunks: dict[int, ModelChunk] = field(default_factory=dict)


class StoreMachine(RuleBasedStateMachine):
    documents = Bundle("documents")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="stackroom-model-"))
        self.library = self.folder / "library"
        self.store = LocalStore(self.library)
        self.model: dict[str, ModelDocument] = {}
        self.active: dict[str, bool] = {}
        self.seed = 0
        self.highest = 0

    def teardown(self) -> None:
        assert self.store.verify(progress=silent, cancel=CancelToken()).damage == ()
        self.store.close()
        shutil.rmtree(self.folder)

    def rows(self, n: int) -> NDArray[np.float32]:
        self.seed += 1
        return unit_rows(n, seed=self.seed)

    def note(self, document: str, keys: list[int], added: list[ModelChunk]) -> None:
        assert min(keys, default=self.highest + 1) > self.highest
        self.highest = max(keys, default=self.highest)
        self.model[document].chunks.update(zip(keys, added, strict=True))

    @rule(
        target=documents,
        source=sources,
        given=st.lists(texts, max_size=5),
        has_vectors=st.lists(st.booleans(), min_size=5, max_size=5),
        value=st.integers(0, 3),
    )
    def add(self, source: str, given: list[str], has_vectors: list[bool], value: int) -> str:
        name = f"d{len(self.model)}-{self.seed}"
        rows = self.rows(5)
        added = [
            ModelChunk(text, rows[i] if has_vectors[i] else None, i, {"value": value}) for i, text in enumerate(given)
        ]
        with self.store.commit() as commit:
            source_key = commit.put_source(SourceRecord(name=source))
            document = commit.put_document(DocumentRecord(name, source_key))
            keys = commit.add_chunks(
                document, [Chunk(item.text, metadata=item.metadata, embedding=item.embedding) for item in added]
            )
        self.active.setdefault(source, True)
        self.model[name] = ModelDocument(source)
        self.note(name, keys, added)
        return name

    @rule(document=documents, given=st.lists(texts, min_size=1, max_size=3))
    def append(self, document: str, given: list[str]) -> None:
        if document not in self.model:
            return
        position = max((item.position for item in self.model[document].chunks.values()), default=-1) + 1
        rows = self.rows(len(given))
        added = [ModelChunk(text, rows[i], position + i, {}) for i, text in enumerate(given)]
        with self.store.commit() as commit:
            keys = commit.add_chunks(
                self.key(document), [Chunk(item.text, embedding=item.embedding) for item in added], position=position
            )
        self.note(document, keys, added)

    @rule(document=documents, data=st.data())
    def remove_some_and_move_one(self, document: str, data: st.DataObject) -> None:
        held = self.model[document].chunks if document in self.model else {}
        if not held:
            return
        removed = data.draw(st.lists(st.sampled_from(sorted(held)), unique=True))
        moved = data.draw(st.sampled_from([None, *(key for key in held if key not in removed)]))
        with self.store.commit() as commit:
            commit.remove_chunks(removed)
            if moved is not None:
                commit.move_chunks([(moved, 100 + self.seed, Place(1, 2))])
        for key in removed:
            del held[key]
        if moved is not None:
            held[moved].position = 100 + self.seed
            self.seed += 1

    @rule(document=consumes(documents))
    def remove_document(self, document: str) -> None:
        if document in self.model:
            with self.store.commit() as commit:
                commit.remove_document(self.key(document))
            del self.model[document]

    @rule(source=sources)
    def remove_source(self, source: str) -> None:
        if source not in self.active:
            return
        with self.store.view() as view:
            key = view.source(source).key
        with self.store.commit() as commit:
            commit.remove_source(key)
        del self.active[source]
        self.model = {name: held for name, held in self.model.items() if held.source != source}

    @rule(source=sources, on=st.booleans())
    def switch(self, source: str, on: bool) -> None:
        if source not in self.active:
            return
        with self.store.view() as view:
            key = view.source(source).key
        with self.store.commit() as commit:
            commit.set_active([key], on)
        self.active[source] = on

    @rule(on=st.booleans())
    def switch_all(self, on: bool) -> None:
        with self.store.commit() as commit:
            commit.set_active(None, on)
        self.active = dict.fromkeys(self.active, on)

    @rule(target=documents, source=sources, given=st.lists(texts, min_size=1, max_size=3))
    def another_process_adds(self, source: str, given: list[str]) -> str:
        name = f"other{self.seed}"
        self.seed += 1
        keys = other_process.ask(self.library, add=name, source=source, texts=given, seed=self.seed)
        added = [
            ModelChunk(chunk.text, chunk.embedding, i, {}) for i, chunk in enumerate(chunks(given, seed=self.seed))
        ]
        self.active.setdefault(source, True)
        self.model[name] = ModelDocument(source)
        self.note(name, keys, added)
        return name

    @rule()
    def another_process_reads(self) -> None:
        told = other_process.ask(self.library)
        expected = [
            [
                source,
                self.active[source],
                sorted(
                    item.text for held in self.model.values() if held.source == source for item in held.chunks.values()
                ),
            ]
            for source in sorted(self.active)
        ]
        assert sorted(told) == sorted(expected)

    @rule(source=sources)
    def a_commit_fails(self, source: str) -> None:
        try:
            with self.store.commit() as commit:
                key = commit.put_source(SourceRecord(name=source, title="lost"))
                commit.add_chunks(commit.put_document(DocumentRecord("lost", key)), chunks(["lost"]))
                commit.set_active(None, False)
                raise RuntimeError
        except RuntimeError:
            pass

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = LocalStore(self.library)

    @rule()
    def compact(self) -> None:
        self.store.compact(progress=silent, cancel=CancelToken())

    @rule()
    def purge(self) -> None:
        self.store.purge(progress=silent, cancel=CancelToken())

    def key(self, document: str) -> int:
        with self.store.view() as view:
            return view.document(document).key

    def expected(self, **wanted: object) -> list[tuple[int, ModelChunk]]:
        held = [
            (key, item)
            for document in self.model.values()
            if "active" not in wanted or self.active[document.source]
            if "source" not in wanted or document.source == wanted["source"]
            for key, item in document.chunks.items()
            if "value" not in wanted or item.metadata.get("value") == wanted["value"]
        ]
        return sorted(held, key=lambda pair: pair[0])

    def ranked(self, **wanted: object) -> list[int]:
        with_vectors = [(key, item) for key, item in self.expected(**wanted) if item.embedding is not None]
        scores = [
            -round(
                float(
                    item.embedding.astype(float)
                    @ QUERY.astype(float)
                    / np.linalg.norm(item.embedding.astype(float))
                    / np.linalg.norm(QUERY.astype(float))
                ),
                12,
            )
            for _, item in with_vectors
        ]
        return [with_vectors[i][0] for i in np.lexsort(([key for key, _ in with_vectors], scores))] if scores else []

    @invariant()
    def both_say_the_same(self) -> None:
        with self.store.view() as view:
            every = self.expected()
            assert sorted(source.path for source in view.listing()) == sorted(self.active)
            stats = self.store.stats()
            assert (stats.chunks, stats.documents, stats.sources) == (len(every), len(self.model), len(self.active))
            assert stats.needs_embedding == sum(item.embedding is None for _, item in every)
            for name, held in self.model.items():
                stored = list(view.chunks(view.document(name).key, vectors=True))
                in_order = sorted(held.chunks.items(), key=lambda pair: (pair[1].position, pair[0]))
                assert [(item.key, item.chunk.text, item.chunk.metadata) for item in stored] == [
                    (key, item.text, item.metadata) for key, item in in_order
                ]
                for item, (_, expected) in zip(stored, in_order, strict=True):
                    if expected.embedding is None:
                        assert item.chunk.embedding is None
                    else:
                        assert item.chunk.embedding.tobytes() == expected.embedding.tobytes()
            assert view.nearest(QUERY, 1000, Scope()).keys.tolist() == self.ranked()
            assert view.nearest(QUERY, 1000, Scope(active=True)).keys.tolist() == self.ranked(active=True)
            for value in range(2):
                scope = Scope(where=Condition("value", "==", value))
                assert view.nearest(QUERY, 1000, scope).keys.tolist() == self.ranked(value=value)
            for source in self.active:
                scope = Scope(sources=(source,))
                assert view.nearest(QUERY, 2, scope).keys.tolist() == self.ranked(source=source)[:2]
            for word in WORDS[:3]:
                got = view.matching(word, 1000, Scope(active=True))[0].keys.tolist()
                assert sorted(got) == [key for key, item in self.expected(active=True) if word in item.text.split()]


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=25, stateful_step_count=25, suppress_health_check=list(HealthCheck))
