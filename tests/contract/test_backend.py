"""What every engine must do, told by examples; tests/property compares it with a model."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from stackroom import filters
from stackroom.backend import Backend, DocumentRecord, Scope, SourceRecord
from stackroom.errors import (
    ClosedError,
    DamagedError,
    DimensionMismatchError,
    EmbedderMismatchError,
    NotFoundError,
    UsageError,
)
from stackroom.index import Index
from stackroom.progress import CancelToken, silent
from stackroom.types import Chunk, EmbedderIdentity, Place
from support import DIM, WordEmbedder, chunks, put, unit_rows

QUERY = unit_rows(1, seed=99)[0]


def found(backend: Backend, query: str, **scope: object) -> list[str]:
    with backend.view() as view:
        hits, _ = view.matching(query, 100, Scope(**scope))
        return [passage.text for passage in view.passages(hits.keys.tolist())]


def nearest(backend: Backend, k: int = 100, **scope: object) -> list[int]:
    with backend.view() as view:
        return view.nearest(QUERY, k, Scope(**scope)).keys.tolist()


def ids(backend: Backend) -> dict[str, str]:
    with backend.view() as view:
        return {record.name: record.source_id for record in view.each_source()}


def test_a_scope_of_ids_is_what_is_there_of_them(backend: Backend) -> None:
    keys = {name: put(backend, name, [f"{name} text", f"{name} more text"]) for name in ("one", "two", "three")}
    known = ids(backend)
    assert sorted(nearest(backend, source_ids=[known["one"], known["three"], "gone"])) == sorted(
        keys["one"] + keys["three"]
    )
    assert found(backend, "more", source_ids=[known["two"]]) == ["two more text"]
    assert nearest(backend, source_ids=[known["one"], known["two"]], sources=["two"]) == nearest(
        backend, sources=["two"]
    )
    assert nearest(backend, source_ids=[]) == []
    assert nearest(backend, source_ids=["gone"]) == []


def test_named_sets_are_kept_and_lose_what_is_removed(backend: Backend, opener) -> None:
    for name in ("one", "two", "three"):
        put(backend, name, [f"{name} text"])
    with Index(backend, embedder=WordEmbedder()) as index:
        assert index.save_set("papers", ["one", "three"]) == 2
        assert index.save_set("papers", ["two"], join=True) == 3
        assert index.save_set("papers", ["t*"]) == 2
        assert index.save_set("wörter ; % _", ["one"]) == 1
    with Index(opener(), embedder=WordEmbedder()) as index:
        assert [(one.name, len(one.source_ids)) for one in index.sets()] == [("papers", 2), ("wörter ; % _", 1)]
        assert [source.path for source in index.sources(set_name="papers")] == ["three", "two"]
        assert [hit.document.path for hit in index.search("text", mode="text", set_name="wörter ; % _")] == ["one"]
        index.remove(["one"])
        assert index.search("text", mode="text", set_name="wörter ; % _") == []
        assert index.sets()[1].source_ids == ()
        index.set_active(["two"], False)
        assert [hit.document.path for hit in index.search("text", mode="text", set_name="papers", active=True)] == [
            "three"
        ]
        assert [hit.document.path for hit in index.search("text", mode="text", set_name="active")] == ["three"]
        index.delete_set("papers")
        for call in (
            lambda: index.search("text", mode="text", set_name="papers"),
            lambda: index.sources(set_name="papers"),
            lambda: index.delete_set("papers"),
            lambda: index.save_set("new", ["nobody"]),
        ):
            with pytest.raises(NotFoundError):
                call()
        for name in ("", " ", "active", "a\x1b[2J", "x" * 201):
            with pytest.raises(UsageError):
                index.save_set(name, ["two"])
        assert [one.name for one in index.sets()] == ["wörter ; % _"]


@pytest.mark.parametrize("data", [b"no list", b"[7]", b"{}", b"[" * 100_000], ids=lambda data: data[:9].decode())
def test_a_set_that_is_no_list_is_damage_and_can_be_forgotten(backend: Backend, data: bytes) -> None:
    put(backend, "one", ["one text"])
    with backend.commit() as commit:
        commit.attach("set/my papers", data)
    with Index(backend, embedder=WordEmbedder()) as index:
        for call in (index.sets, lambda: index.search("text", mode="text", set_name="my papers")):
            with pytest.raises(DamagedError, match="'my papers'") as caught:
                call()
            assert caught.value.hint == "Forget it: stackroom set 'my papers' --delete"
        index.delete_set("my papers")
        assert index.sets() == []


def test_a_source_says_on_how_many_pages_text_was_recognised(backend: Backend) -> None:
    told: dict[str, object] = {"scan": 12, "printed": 0, "odd": "many", "huge": 1e300, "minus": -4}
    for name, pages in told.items():
        put(backend, name, [f"{name} text"], **({"recognised_pages": pages} if pages else {}))
    with backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="two documents"))
        for number in (1, 2):
            commit.put_document(DocumentRecord(f"doc {number}", source, metadata={"recognised_pages": number}))
    with backend.view() as view:
        found = {one.path: one.recognised_pages for one in view.listing()}
        assert found == {"scan": 12, "printed": 0, "odd": 0, "huge": 10**9, "minus": 0, "two documents": 3}
        (only,) = view.listing([view.source("scan")])
        assert only.recognised_pages == 12
    assert backend.stats().recognised == 6


def test_what_was_not_read_to_its_end_is_counted(backend: Backend) -> None:
    with backend.commit() as commit:
        commit.put_source(SourceRecord(name="whole"))
        commit.put_source(SourceRecord(name="begun", state="partial", pages_without_text=1))
        commit.put_source(
            SourceRecord(name="given up", state="partial", error="It can't be read.", error_kind="ReadError")
        )
    stats = backend.stats()
    assert (stats.unfinished, stats.failed_count, stats.pages_without_text, stats.active_sources) == (1, 1, 1, 3)


@pytest.mark.capability("purge")
def test_a_purge_leaves_no_id_of_what_was_removed_in_a_set(backend: Backend) -> None:
    for name in ("one", "two"):
        put(backend, name, [f"{name} text"])
    gone = ids(backend)["one"]
    with Index(backend, embedder=WordEmbedder()) as index:
        index.save_set("papers", ["one", "two"])
        index.remove(["one"], purge=True)
        with backend.view() as view:
            assert gone.encode() not in view.attachment("set/papers")


def test_what_was_committed_is_read_back_exactly(backend: Backend, opener) -> None:
    rows = unit_rows(3)
    place = Place(start=5, end=17, page=2, page_end=3, page_label="ii", section=("One", "Two"))
    metadata = {
        "year": 2020,
        "tags": ["a", "b"],
        "ratio": 0.1,
        "none": None,
        "deep": {"x": [1]},
        "": True,
        "é\x00": "\ud800",
    }
    given = [
        Chunk("plain", "c1", metadata, place, rows[0]),
        Chunk("nul \x00 surrogate \ud83d emoji \U0001f600 rtl \u202e", "weird \x00\ud800 id", {}, Place(), rows[1]),
        Chunk("without a vector", "c3"),
    ]
    with backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="s\ud800", title="T", type="record"))
        document = commit.put_document(DocumentRecord("d1", source, "Title", {"author": "A"}))
        keys = commit.add_chunks(document, given)
    backend.close()
    again = opener()
    with again.view() as view:
        stored = list(view.chunks(document, vectors=True))
        assert [item.key for item in stored] == keys
        for item, expected in zip(stored, given, strict=True):
            assert (item.chunk.text, item.chunk.chunk_id) == (expected.text, expected.chunk_id)
            assert (item.chunk.place, item.chunk.metadata) == (expected.place, expected.metadata)
        assert list(stored[0].chunk.metadata) == list(metadata)
        assert stored[0].chunk.embedding.tobytes() == rows[0].tobytes()
        assert stored[2].chunk.embedding is None
        assert view.vectors(keys[:2]).tobytes() == rows[:2].tobytes()
        record = view.document("d1")
        assert (record.title, record.metadata, record.chunks) == ("Title", {"author": "A"}, 3)
        assert view.source("s\ud800").title == "T"
        assert again.stats().needs_embedding == 1
    again.close()


@pytest.mark.parametrize("texts", [[""] * 40, ["", *(f"Text {n}." for n in range(600))]])
def test_many_chunks_and_empty_ones_come_back(backend: Backend, texts: list[str]) -> None:
    keys = put(backend, "many", texts)
    with backend.commit() as commit:
        commit.keep("chunk", [(key, text.encode()) for key, text in zip(keys, texts, strict=True)])
    with backend.view() as view:
        assert [passage.text for passage in view.passages(keys)] == texts
        assert [record.decode() for record in view.kept("chunk", keys).values()] == texts


def test_a_commit_that_raises_leaves_no_trace(backend: Backend) -> None:
    put(backend, "kept", ["one"])
    with backend.view() as view:
        before = backend.stats(), view.version
    with pytest.raises(RuntimeError, match="stop"), backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="lost"))
        document = commit.put_document(DocumentRecord("", source))
        commit.add_chunks(document, chunks(["two", "three"]))
        raise RuntimeError("stop")
    with backend.view() as view:
        assert (backend.stats().chunks, view.version) == (before[0].chunks, before[1])
        assert view.source("lost") is None
    assert found(backend, "two") == []
    put(backend, "next", ["two"], seed=3)
    assert found(backend, "two") == ["two"]
    if "verify" in backend.capabilities:
        assert backend.verify(progress=silent, cancel=CancelToken()).ok


def test_a_view_does_not_see_later_commits(backend: Backend) -> None:
    put(backend, "a", ["first"])
    with backend.view() as view:
        version = view.version
        thread = threading.Thread(target=put, args=(backend, "b", ["second"]))
        thread.start()
        thread.join()
        assert view.version == version
        assert len(view.nearest(QUERY, 10, Scope()).keys) == 1
        assert view.matching("second", 10, Scope())[0].keys.tolist() == []
    assert found(backend, "second") == ["second"]


def test_keys_are_never_used_again(backend: Backend) -> None:
    first = put(backend, "a", ["one", "two"])
    with backend.commit() as commit:
        commit.remove_chunks(first)
    second = put(backend, "a", ["three"])
    assert min(second) > max(first)


def test_a_chunk_id_belongs_to_one_chunk(backend: Backend) -> None:
    rows = unit_rows(4)
    with backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="s"))
        one = commit.put_document(DocumentRecord("one", source))
        two = commit.put_document(DocumentRecord("two", source))
        commit.add_chunks(one, [Chunk("old", "same", embedding=rows[0]), Chunk("other", "other", embedding=rows[1])])
        commit.add_chunks(two, [Chunk("first", "same", embedding=rows[2]), Chunk("last", "same", embedding=rows[3])])
    with backend.view() as view:
        assert [item.chunk.text for item in view.chunks(one)] == ["other"]
        assert [item.chunk.text for item in view.chunks(two)] == ["last"]
        (key,) = view.chunk_keys(["same"])
        assert view.vectors([key])[0].tobytes() == rows[3].tobytes()


def test_removing_a_document_removes_all_of_it(backend: Backend) -> None:
    put(backend, "a", ["alpha beta", "gamma"], seed=1, lang="en")
    put(backend, "b", ["alpha delta"], seed=2, lang="de")
    with backend.view() as view:
        document = view.document("doc:a")
    with backend.commit() as commit:
        commit.remove_document(document.key)
    assert found(backend, "alpha") == ["alpha delta"]
    assert len(nearest(backend)) == 1
    assert nearest(backend, where=filters.Condition("lang", "==", "en")) == []
    with backend.view() as view:
        assert view.document("doc:a") is None
        assert view.source("a") is not None
    with backend.commit() as commit:
        commit.remove_source(view_source(backend, "a").key)
    with backend.view() as view:
        assert [source.path for source in view.listing()] == ["b"]


def view_source(backend: Backend, name: str) -> SourceRecord:
    with backend.view() as view:
        record = view.source(name)
        assert record is not None
        return record


def test_a_renamed_source_keeps_id_passages_and_switch(backend: Backend) -> None:
    from dataclasses import replace

    keys = put(backend, "old", ["text"])
    record = view_source(backend, "old")
    with backend.commit() as commit:
        commit.set_active([record.key], False)
        commit.put_source(replace(record, name="new"))
    renamed = view_source(backend, "new")
    assert renamed.source_id == record.source_id
    with backend.view() as view:
        (listed,) = view.listing()
        assert (listed.active, listed.chunks) == (False, 1)
    assert nearest(backend, sources=["new"]) == keys
    assert nearest(backend, where=filters.Condition("source", "==", "new")) == keys
    assert nearest(backend, where=filters.Condition("source", "==", "old")) == []


def test_scopes_are_met_before_the_ranking(backend: Backend) -> None:
    many = [
        put(backend, f"many{n}", [f"word filler {n} {i}" for i in range(20)], seed=n, kind="many") for n in range(8)
    ]
    (rare,) = put(backend, "rare", ["word needle"], seed=50, kind="rare", year=1999)
    every = sorted(key for keys in many for key in keys)
    assert nearest(backend, 1, where=filters.Condition("kind", "==", "rare")) == [rare]
    assert nearest(backend, 5, sources=["rare"]) == [rare]
    assert nearest(backend, 5, where=filters.Condition("year", "<", 2000)) == [rare]
    assert found(backend, "word", where=filters.Condition("kind", "==", "rare")) == ["word needle"]
    assert sorted(nearest(backend, 500, sources=["many*"])) == every
    with backend.commit() as commit:
        commit.set_active(None, False)
    assert nearest(backend, active=True) == []
    with backend.commit() as commit:
        commit.set_active([view_source(backend, "many3").key, view_source(backend, "rare").key], True)
    assert sorted(nearest(backend, active=True)) == sorted([*many[3], rare])
    assert nearest(backend, active=True, where=filters.Condition("kind", "!=", "many")) == [rare]
    with backend.commit() as commit:
        commit.set_active(None, True)
        commit.set_active([view_source(backend, "rare").key], False)
    assert sorted(nearest(backend, 500, active=True)) == every
    # The last two are no paths, found by a fuzzer.
    for nobody in ("nobody", "~\0", "~\ud800"):
        with pytest.raises(NotFoundError):
            nearest(backend, sources=[nobody])


def test_a_chunks_own_metadata_hides_its_documents(backend: Backend) -> None:
    with backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="s"))
        document = commit.put_document(DocumentRecord("d", source, metadata={"lang": "en", "year": 2000}))
        own, inherited = commit.add_chunks(
            document,
            [
                Chunk("a", metadata={"lang": "de"}, embedding=unit_rows(1)[0]),
                Chunk("b", embedding=unit_rows(1, seed=1)[0]),
            ],
        )
    assert nearest(backend, where=filters.Condition("lang", "==", "en")) == [inherited]
    assert nearest(backend, where=filters.Condition("lang", "==", "de")) == [own]
    assert nearest(backend, where=filters.Condition("lang", "!=", "en")) == [own]
    assert sorted(nearest(backend, where=filters.Condition("year", ">=", 2000))) == [own, inherited]
    assert sorted(nearest(backend, where=filters.Condition("doc_id", "==", "d"))) == [own, inherited]


def test_collections_keep_apart(backend: Backend) -> None:
    with backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="s"))
        document = commit.put_document(DocumentRecord("d", source))
        (here,) = commit.add_chunks(document, chunks(["word here"]))
        (there,) = commit.add_chunks(document, chunks(["word there"], seed=1), position=1, collection="other")
    assert nearest(backend) == [here]
    assert nearest(backend, collection="other") == [there]
    assert found(backend, "word", collection="other") == ["word there"]
    with pytest.raises(NotFoundError):
        nearest(backend, collection="third")


def test_a_source_is_in_the_collections_that_list_a_chunk_of_it(backend: Backend) -> None:
    with backend.commit() as commit:
        one, two = (commit.put_source(SourceRecord(name=name)) for name in ("one", "two"))
        first = commit.add_chunks(commit.put_document(DocumentRecord("a", one)), chunks(["a", "b", "c"]))
        second = commit.add_chunks(commit.put_document(DocumentRecord("b", two)), chunks(["d"]))
        commit.enlist("some", first[1:2])
        commit.enlist("all", [*first, *second])
        assert sorted(commit.listings(one)) == ["all", "some"]
        assert commit.listings(two) == ["all"]
        commit.remove_chunks(first[1:2])
        assert commit.listings(one) == ["all"]


def test_a_scope_may_be_without_words(backend: Backend) -> None:
    with backend.commit() as commit:
        document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="s"))))
        keys = commit.add_chunks(document, chunks(["red apple", "green apple", "red car"]))
    assert sorted(nearest(backend, without=("red",))) == [keys[1]]
    assert sorted(nearest(backend, without=("red apple", "green"))) == [keys[2]]
    assert found(backend, "apple", without=("green",)) == ["red apple"]


def test_a_scope_may_ask_for_phrases(backend: Backend) -> None:
    with backend.commit() as commit:
        document = commit.put_document(DocumentRecord("d", commit.put_source(SourceRecord(name="s"))))
        keys = commit.add_chunks(document, chunks(["red apple", "green apple", "apple red", "red car"]))
    assert sorted(nearest(backend, phrases=("red",))) == [keys[0], keys[2], keys[3]]
    assert sorted(nearest(backend, phrases=("red apple",))) == [keys[0]]
    assert sorted(nearest(backend, phrases=("apple", "red"))) == [keys[0], keys[2]]
    assert sorted(nearest(backend, phrases=("red",), without=("red apple",))) == [keys[2], keys[3]]
    assert sorted(nearest(backend, phrases=("car apple",))) == []
    assert sorted(nearest(backend, phrases=("red", "blue"))) == []
    assert found(backend, "apple car", phrases=("apple red",)) == ["apple red"]


def test_moved_chunks_keep_text_and_vector(backend: Backend) -> None:
    with backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="s"))
        document = commit.put_document(DocumentRecord("d", source))
        keys = commit.add_chunks(document, [Chunk("a", "a", {"m": 1}, Place(0, 1)), Chunk("b", "b")])
        commit.move_chunks([(keys[0], 5, Place(10, 11, 3))])
    with backend.view() as view:
        second, first = view.chunks(document)
        assert (first.chunk.text, first.position, first.chunk.place, first.chunk.metadata) == (
            "a",
            5,
            Place(10, 11, 3),
            {"m": 1},
        )
        assert second.chunk.text == "b"
        before, after = view.neighbours(keys[0], 3)
        assert ([passage.text for passage in before], after) == (["b"], [])


def test_vectors_of_another_length_are_refused(backend: Backend) -> None:
    put(backend, "s", ["a"])
    with pytest.raises(DimensionMismatchError) as caught, backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="t"))
        commit.add_chunks(
            commit.put_document(DocumentRecord("", source)), [Chunk("x", embedding=np.ones(7, np.float32))]
        )
    assert (caught.value.expected, caught.value.actual) == (DIM, 7)
    with pytest.raises(DimensionMismatchError), backend.view() as view:
        view.nearest(np.ones(7, np.float32), 3, Scope())
    with pytest.raises(UsageError, match="NaN"), backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="t"))
        bad = np.full(DIM, np.nan, np.float32)
        commit.add_chunks(commit.put_document(DocumentRecord("", source)), [Chunk("x", embedding=bad)])
    assert len(nearest(backend)) == 1


def test_rows_of_any_length_are_kept_and_ranked(backend: Backend) -> None:
    """Unit rows first, then others: cosine must not care, and nothing is normalised behind the caller's back."""
    keys = put(backend, "unit", [f"u{i}" for i in range(30)])
    rows = unit_rows(30, seed=7) * np.linspace(0.1, 9, 30, dtype=np.float32)[:, None]
    rows[4] = 0
    with backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="long"))
        document = commit.put_document(DocumentRecord("", source))
        keys += commit.add_chunks(document, [Chunk(f"l{i}", embedding=row) for i, row in enumerate(rows)])
    stored = np.concatenate([unit_rows(30), rows]).astype(np.float64)
    lengths = np.linalg.norm(stored, axis=1)
    cosine = (
        stored @ QUERY.astype(np.float64) / np.where(lengths > 0, lengths, 1) / np.linalg.norm(QUERY.astype(np.float64))
    )
    with backend.view() as view:
        assert view.vectors(keys[30:]).tobytes() == rows.tobytes()
        got = view.nearest(QUERY, 60, Scope())
    assert got.keys.tolist() == [keys[i] for i in np.lexsort((np.arange(60), -np.round(cosine, 12)))]
    assert np.allclose(got.scores, np.sort(cosine)[::-1], atol=1e-9)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_each_metric_ranks_best_first(backend: Backend, metric: str) -> None:
    rows = np.random.default_rng(3).standard_normal((200, DIM)).astype(np.float32)
    with backend.commit() as commit:
        commit.use_embedder(EmbedderIdentity("m", DIM, metric=metric, normalised=False))
        source = commit.put_source(SourceRecord(name="s"))
        document = commit.put_document(DocumentRecord("", source))
        keys = commit.add_chunks(document, [Chunk(str(i), embedding=row) for i, row in enumerate(rows)])
    wide, query = rows.astype(np.float64), QUERY.astype(np.float64)
    expected = {
        "cosine": wide @ query / np.linalg.norm(wide, axis=1) / np.linalg.norm(query),
        "dot": wide @ query,
        "l2": -((wide - query) ** 2).sum(axis=1),
    }[metric]
    with backend.view() as view:
        got = view.nearest(QUERY, 10, Scope())
        assert got.keys.tolist() == [keys[i] for i in np.argsort(-expected)[:10]]
        assert np.allclose(got.scores, np.sort(expected)[::-1][:10])
        assert np.allclose(view.scores(QUERY, keys), expected)


def test_ties_go_to_the_older_chunk(backend: Backend) -> None:
    row = unit_rows(1)[0]
    with backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="s"))
        document = commit.put_document(DocumentRecord("", source))
        keys = commit.add_chunks(document, [Chunk("same words", embedding=row) for _ in range(40)])
    assert nearest(backend, 7) == keys[:7]
    with backend.view() as view:
        assert view.matching("same", 7, Scope())[0].keys.tolist() == keys[:7]


def test_the_model_is_remembered_and_defended(backend: Backend, opener) -> None:
    identity = EmbedderIdentity("one", DIM, "cosine", "weights", "abc", query_prefix="query: ", max_tokens=100)
    with backend.commit() as commit:
        commit.use_embedder(identity)
        source = commit.put_source(SourceRecord(name="s"))
        commit.add_chunks(commit.put_document(DocumentRecord("", source)), chunks(["a"]))
    backend.close()
    again = opener()
    with again.view() as view:
        assert view.identity == identity
    with pytest.raises(EmbedderMismatchError, match="rebuild --embedder other") as caught, again.commit() as commit:
        commit.use_embedder(EmbedderIdentity("other", DIM, revision="xyz"))
    assert caught.value.exit_code == 6
    with again.commit() as commit:
        commit.use_embedder(
            EmbedderIdentity("another name", DIM, "cosine", "weights", "abc", query_prefix="query: ", max_tokens=99)
        )
    again.close()


@pytest.mark.capability("reembed")
def test_reembedding_serves_the_old_space_until_the_switch(backend: Backend) -> None:
    put(backend, "s", [f"text number {i}" for i in range(70)])
    with backend.commit() as commit:
        commit.use_embedder(EmbedderIdentity("old", DIM))
    new = WordEmbedder("new", dim=8)
    cancel = CancelToken()
    calls = 0

    def embed(texts):
        nonlocal calls
        calls += 1
        with backend.view() as view:
            assert view.identity.name == "old"
            assert len(view.nearest(QUERY, 100, Scope()).keys) >= 70
        if calls == 2:
            cancel.cancel()
        return new.embed_passages(texts)

    first, switched = backend.reembed(new.identity, embed, progress=silent, cancel=cancel)
    assert 0 < first < 70
    assert not switched
    put(backend, "later", ["added meanwhile"], seed=5)
    second, switched = backend.reembed(new.identity, embed, progress=silent, cancel=CancelToken())
    assert first + second == 71
    assert switched
    assert len(new.embedded) == len(set(new.embedded)) == 71
    with backend.view() as view:
        assert view.identity == new.identity
        got = view.nearest(new.embed_query("text number 7"), 1, Scope())
        assert view.passages(got.keys.tolist())[0].text == "text number 7"
    assert backend.verify(progress=silent, cancel=CancelToken()).ok


@pytest.mark.capability("reembed")
def test_the_space_before_is_kept_for_going_back(backend: Backend) -> None:
    put(backend, "s", [f"text number {i}" for i in range(70)])
    with backend.commit() as commit:
        commit.use_embedder(EmbedderIdentity("old", DIM))
    with backend.view() as view:
        old, before = view.identity, view.nearest(QUERY, 100, Scope())
        keys = view.live_keys().tolist()
        rows = view.vectors(keys)
        assert view.former is None
    new = WordEmbedder("new", dim=8)
    assert backend.reembed(new.identity, new.embed_passages, progress=silent, cancel=CancelToken()) == (70, True)
    with backend.commit() as commit:
        source = commit.put_source(SourceRecord(name="later"))
        document = commit.put_document(DocumentRecord("later", source))
        commit.add_chunks(document, chunks(["added meanwhile", "and this"], dim=8))
    with backend.commit() as commit:
        commit.remove_chunks(keys[:3])
    with backend.view() as view:
        assert view.former == old
        assert view.identity == new.identity
    assert backend.stats().former == old
    backend.compact(progress=silent, cancel=CancelToken())
    asked: list[str] = []

    def embed(texts):
        asked.extend(texts)
        return unit_rows(len(texts), DIM, seed=9)

    assert backend.reembed(old, embed, progress=silent, cancel=CancelToken()) == (2, True)
    assert sorted(asked) == ["added meanwhile", "and this"]
    with backend.view() as view:
        assert (view.identity, view.former) == (old, new.identity)
        # Bit for bit what it was.
        assert np.array_equal(view.vectors(keys[3:]), rows[3:])
        after = [key for key in view.nearest(QUERY, 100, Scope()).keys.tolist() if key in keys]
        assert after == [key for key in before.keys.tolist() if key not in keys[:3]]
    assert backend.verify(progress=silent, cancel=CancelToken()).ok
    assert backend.discard_former()
    assert not backend.discard_former()
    with backend.view() as view:
        assert (view.identity, view.former) == (old, None)
    assert backend.verify(progress=silent, cancel=CancelToken()).ok


@pytest.mark.capability("reembed")
def test_a_judge_is_asked_before_the_switch(backend: Backend) -> None:
    put(backend, "s", [f"text number {i}" for i in range(40)])
    new = WordEmbedder("new", dim=8)
    answers = [False, True]

    def judge(view, nearest):
        assert view.identity.dim == DIM
        assert len(view.nearest(QUERY, 10, Scope()).keys) == 10
        found = nearest(new.embed_query("text number 7"), 1)
        assert view.passages(found.keys.tolist())[0].text == "text number 7"
        return answers.pop(0)

    assert backend.reembed(new.identity, new.embed_passages, judge=judge, progress=silent, cancel=CancelToken()) == (
        40,
        False,
    )
    with backend.view() as view:
        assert view.identity.dim == DIM
    # What was embedded is not embedded again.
    assert backend.reembed(new.identity, new.embed_passages, judge=judge, progress=silent, cancel=CancelToken()) == (
        0,
        True,
    )
    with backend.view() as view:
        assert view.identity == new.identity
    assert answers == []


@pytest.mark.capability("reembed")
def test_what_lacks_a_vector_is_looked_for_once(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of n passages takes n steps, and not n * n."""
    put(backend, "s", [f"text number {i}" for i in range(200)])
    from stackroom.storage.snapshot import Snapshot

    looks = 0
    whole = Snapshot.without_row

    def without_row(self, space_key):
        nonlocal looks
        looks += 1
        return whole(self, space_key)

    monkeypatch.setattr(Snapshot, "without_row", without_row)
    new = WordEmbedder("new", dim=8)
    assert backend.reembed(new.identity, new.embed_passages, progress=silent, cancel=CancelToken()) == (200, True)
    assert looks == 2


@pytest.mark.capability("compact")
def test_compaction_drops_dead_rows_and_changes_nothing_else(backend: Backend) -> None:
    for n in range(12):
        put(backend, f"s{n}", [f"text {n} {i}" for i in range(60)], seed=n, n=n)
    for n in range(0, 12, 2):
        with backend.commit() as commit:
            commit.remove_source(view_source(backend, f"s{n}").key)
    with backend.view() as view:
        before = view.nearest(QUERY, 1000, Scope())
        rows = view.vectors(before.keys.tolist())
        assert backend.stats().dead_rows == 360
    done = backend.compact(progress=silent, cancel=CancelToken())
    assert done.rows_dropped == 360
    assert done.bytes_after < done.bytes_before
    with backend.view() as view:
        after = view.nearest(QUERY, 1000, Scope())
        assert after.keys.tolist() == before.keys.tolist()
        assert view.vectors(after.keys.tolist()).tobytes() == rows.tobytes()
        assert backend.stats().dead_rows == 0
    assert nearest(backend, where=filters.Condition("n", "==", 2)) == []
    assert len(nearest(backend, where=filters.Condition("n", "==", 3))) == 60
    assert backend.verify(progress=silent, cancel=CancelToken()).ok


def test_a_closed_backend_says_so(backend: Backend) -> None:
    backend.close()
    backend.close()
    with pytest.raises(ClosedError), backend.view():
        pass
    with pytest.raises(ClosedError), backend.commit():
        pass


def test_a_document_is_read_anew_however_often_it_is_asked_for(backend: Backend) -> None:
    """Its metadata is the caller's to change, and the next commit may change all of it."""
    put(backend, "one", ["a"], deep={"tags": ["x"]})
    put(backend, "two", ["b"])
    for _ in range(3):
        with backend.view() as view:
            documents = view.document_of(["doc:one", "doc:none", "doc:two"])
            assert list(documents) == ["doc:one", "doc:two"]
            document, source = documents["doc:one"]
            assert (document.metadata, source.name) == ({"deep": {"tags": ["x"]}}, "one")
            document.metadata["deep"]["tags"].append("changed by a caller")  # type: ignore[index,union-attr]
    put(backend, "one", ["c"], deep={"tags": ["y"]})
    with backend.view() as view:
        assert view.document_of(["doc:one"])["doc:one"][0].metadata == {"deep": {"tags": ["y"]}}
