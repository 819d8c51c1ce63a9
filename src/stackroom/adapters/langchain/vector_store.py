"""LangChain's vector store over a library: texts, vectors and metadata in one commit, and every kind of search."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from stackroom.adapters.langchain import documents, searching, writing
from stackroom.adapters.langchain.embeddings import StackroomEmbeddings, as_vector, require_like
from stackroom.adapters.langchain.filters import to_filter
from stackroom.adapters.langchain.retriever import OWN, StackroomRetriever
from stackroom.adapters.langchain.searching import AnyFilter, Found, Query
from stackroom.adapters.opening import AnyLibrary, Migrate, obtain
from stackroom.backend import Scope
from stackroom.errors import EmbedderMismatchError, NotFoundError, UsageError
from stackroom.identity import require_same
from stackroom.index import Index
from stackroom.protocols import Embedder
from stackroom.types import EmbedderIdentity, Mode

if TYPE_CHECKING:
    pass


class StackroomVectorStore(VectorStore):
    """A LangChain vector store in a library: a folder that opens in milliseconds, and is never half written.

    `library` is its path, or an open `Index`; a LangChain FAISS folder there is migrated first (`migrate`: as in `stackroom.open`).
    `embedding` None is the library's own model (a new library's is the shipped one). `mode` is how `similarity_search` and all that
    is built on it search, where a call does not say: "vector", "hybrid" (words and vectors) or "text". `identity` names the model
    of `embedding`, so that other faces of the library may embed queries; `StackroomEmbeddings` brings its own.

    Every search takes `filter` (a dict, or a function of a Document) and the options `mode`, `active` (only the active set),
    `sources` (names, titles or globs), `score_threshold` (the least score) and `fetch_k`. Scores are cosines in [-1, 1] in the mode "vector", in
    [0, 1] in "hybrid", BM25 in "text": higher is better, unlike the distances of LangChain's FAISS. Usable from several threads.

    Raises what `stackroom.open` raises, and EmbedderMismatchError where the library has another model.
    """

    def __init__(
        self,
        library: AnyLibrary,
        embedding: Embeddings | None = None,
        *,
        mode: Mode = "vector",
        identity: EmbedderIdentity | None = None,
        migrate: Migrate = "auto",
    ) -> None:
        if embedding is not None and not isinstance(embedding, Embeddings):
            raise UsageError(
                f"{type(embedding).__name__} is no embedding model.",
                hint="Give an object of langchain_core's Embeddings.",
            )
        searching.query_of(None, 0, mode, None, {})
        self._index = obtain(library, migrate=migrate)
        self._embedding = embedding
        self._mode = mode
        self._identity = identity if identity is not None else getattr(embedding, "stackroom_identity", None)
        self._warned = False
        self._tried = embedding is None or self._identity is not None
        if self._identity is not None:
            with self._view() as view:
                if view.identity is not None:
                    require_same(view.identity, self._identity)

    def __getstate__(self) -> dict[str, Any]:
        if self._index.path is None:
            raise UsageError("A store is pickled by the path of its library, and this one has none.")
        return {
            "library": str(self._index.path),
            "embedding": self._embedding,
            "mode": self._mode,
            "identity": self._identity,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        library: AnyLibrary | None = None,
        **kwargs: Any,
    ) -> Self:
        """A store over `library` with these texts added to what is there; `kwargs` are those of the constructor."""
        if library is None:
            raise UsageError("Where is the library?", hint='Give its folder: library="library/"')
        store = cls(library, embedding, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    def from_existing(cls, library: AnyLibrary, embedding: Embeddings | None = None, **kwargs: Any) -> Self:
        """A store over a library that is there already. Raises NotFoundError where nothing is."""
        if not isinstance(library, Index) and not Path(library).expanduser().exists():
            raise NotFoundError(f"There is no library at {library}.", path=library)
        return cls(library, embedding, **kwargs)

    @property
    def index(self) -> Index:
        """The `stackroom.Index` underneath: files, active sources, backups."""
        return self._index

    @property
    def embeddings(self) -> Embeddings | None:
        """The model that embeds; None where the library does not say which one made its vectors, and none was given."""
        try:
            return self._model()
        except EmbedderMismatchError:
            return None

    def _model(self) -> Embeddings:
        if self._embedding is not None:
            return self._embedding
        try:
            return StackroomEmbeddings(self._index.embedder())
        except EmbedderMismatchError as error:
            error.hint = "Give the model that made its vectors: StackroomVectorStore(..., embedding=...)"
            raise

    def _tried_model(self) -> Embeddings:
        """The model, tried where the library names one and the application does not. Raises EmbedderMismatchError."""
        model = self._model()
        if not self._tried:
            require_like(self._index, model)
            self._tried = True
        return model

    def _view(self) -> Any:
        return self._index.backend.view()

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Embed texts and insert them, or replace those of the same ids, in one durable commit; returns the ids.

        Metadata comes back as it was given; tuples come back as lists. Of an id that stands twice the last one counts. `batch_size`
        is accepted and ignored: all of one call is one commit. Raises ValueError for lists of other lengths, for metadata that is no JSON, and
        for vectors of another dimension; nothing is stored then.
        """
        _only(kwargs, "batch_size")
        return self._add(writing.plan(texts, metadatas, ids))

    def add_documents(self, documents: list[Document], *, ids: list[str] | None = None, **kwargs: Any) -> list[str]:
        """As `add_texts`, with the Documents' own ids where `ids` is None; a Document without one gets a new one."""
        _only(kwargs, "batch_size")
        return self._add(_of_documents(documents, ids))

    def add_embeddings(
        self,
        text_embeddings: Iterable[tuple[str, Sequence[float]]],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
    ) -> list[str]:
        """As `add_texts`, with vectors that are there already: `(text, vector)`, each vector of shape (dim,)."""
        pairs = list(text_embeddings)
        return self._write(writing.plan([text for text, _ in pairs], metadatas, ids), [row for _, row in pairs])

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        _only(kwargs, "batch_size")
        return await self._aadd(writing.plan(texts, metadatas, ids))

    async def aadd_documents(
        self, documents: list[Document], *, ids: list[str] | None = None, **kwargs: Any
    ) -> list[str]:
        _only(kwargs, "batch_size")
        return await self._aadd(_of_documents(documents, ids))

    def _add(self, plan: writing.Plan) -> list[str]:
        return self._write(plan, self._tried_model().embed_documents(plan.texts) if plan.texts else [])

    async def _aadd(self, plan: writing.Plan) -> list[str]:
        if not plan.texts:
            return []
        model = await asyncio.to_thread(self._tried_model)
        return await asyncio.to_thread(self._write, plan, await model.aembed_documents(plan.texts))

    def _write(self, plan: writing.Plan, vectors: Sequence[Any]) -> list[str]:
        if not plan.texts:
            return []
        identity = self._identity
        if identity is None and self._embedding is None:
            identity = self._index.embedder().identity
        return writing.write(self._index, plan, vectors, identity)

    def delete(self, ids: list[str] | None = None, *, filter: dict[str, Any] | None = None, **kwargs: Any) -> bool:
        """Remove the Documents of these ids that pass the filter, in one commit; ids that are not there are no error.

        Raises ValueError where neither ids nor a filter says anything.
        """
        _only(kwargs)
        where = to_filter(filter) if filter is not None else None
        if ids is None and where is None:
            raise UsageError("This would delete everything.", hint="Give ids, or a filter.")
        with self._view() as view:
            keys = None if ids is None else searching.keys_of(view, ids)
            if where is not None:
                passing = view.select(Scope(where)).tolist()
                keys = passing if keys is None else [key for key in passing if key in set(keys)]
        if keys:
            with self._index.backend.commit() as commit:
                commit.discard(keys)
        return True

    async def adelete(
        self, ids: list[str] | None = None, *, filter: dict[str, Any] | None = None, **kwargs: Any
    ) -> bool:
        return await asyncio.to_thread(self.delete, ids, filter=filter, **kwargs)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The Documents of these ids that there are, each once, in the order asked."""
        with self._view() as view:
            return documents.of_keys(view, searching.keys_of(view, ids))

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        return await asyncio.to_thread(self.get_by_ids, ids)

    def search(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        """Search types: "similarity", "similarity_score_threshold", "mmr", "hybrid" and "text"."""
        if search_type in OWN:
            return self.similarity_search(query, **{**kwargs, "mode": search_type})
        return super().search(query, search_type, **kwargs)

    async def asearch(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        if search_type in OWN:
            return await self.asimilarity_search(query, **{**kwargs, "mode": search_type})
        return await super().asearch(query, search_type, **kwargs)

    def similarity_search(self, query: str, k: int = 4, filter: AnyFilter = None, **kwargs: Any) -> list[Document]:
        """The `k` best Documents, best first. `kwargs` are the options that the class names.

        Raises UsageError, InvalidFilterError, NotFoundError, DimensionMismatchError, DamagedError.
        """
        return _bare(self.similarity_search_with_score(query, k, filter, **kwargs))

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: AnyFilter = None, **kwargs: Any
    ) -> list[Document]:
        return _bare(await self.asimilarity_search_with_score(query, k, filter, **kwargs))

    def similarity_search_with_score(self, query: str, k: int = 4, filter: AnyFilter = None, **kwargs: Any) -> Found:
        """As `similarity_search`, with the scores: higher is better."""
        return self._find(self._embedded(self._query(query, k, filter, kwargs)))

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: AnyFilter = None, **kwargs: Any
    ) -> Found:
        prepared = await self._aembedded(self._query(query, k, filter, kwargs))
        return await asyncio.to_thread(self._find, prepared)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: AnyFilter = None, **kwargs: Any
    ) -> list[Document]:
        """The `k` nearest to a vector of shape (dim,)."""
        return _bare(self.similarity_search_with_score_by_vector(embedding, k, filter, **kwargs))

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: AnyFilter = None, **kwargs: Any
    ) -> Found:
        """As `similarity_search_by_vector`, with the cosines."""
        return self._find(self._by_vector(embedding, k, filter, kwargs))

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        with self._view() as view:
            return searching.relevance_of(view.identity.metric if view.identity else "cosine")

    def _similarity_search_with_relevance_scores(self, query: str, k: int = 4, **kwargs: Any) -> Found:
        return self._relevant(self._embedded(self._query(query, k, kwargs.pop("filter", None), kwargs)))

    async def _asimilarity_search_with_relevance_scores(self, query: str, k: int = 4, **kwargs: Any) -> Found:
        prepared = await self._aembedded(self._query(query, k, kwargs.pop("filter", None), kwargs))
        return await asyncio.to_thread(self._relevant, prepared)

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: AnyFilter = None,
        **kwargs: Any,
    ) -> list[Document]:
        """`k` of the `fetch_k` nearest that are near the query and not near each other (Carbonell and Goldstein 1998).

        `lambda_mult` 1 looks at the query alone, 0 at how much they differ.
        """
        prepared = self._embedded(self._query(query, _most(k, fetch_k), filter, _by_vectors(kwargs)))
        return _bare(self._diverse(prepared, k, lambda_mult))

    async def amax_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: AnyFilter = None,
        **kwargs: Any,
    ) -> list[Document]:
        prepared = await self._aembedded(self._query(query, _most(k, fetch_k), filter, _by_vectors(kwargs)))
        return _bare(await asyncio.to_thread(self._diverse, prepared, k, lambda_mult))

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: AnyFilter = None,
        **kwargs: Any,
    ) -> list[Document]:
        found = self.max_marginal_relevance_search_with_score_by_vector(
            embedding, k=k, fetch_k=fetch_k, lambda_mult=lambda_mult, filter=filter, **kwargs
        )
        return _bare(found)

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: AnyFilter = None,
        **kwargs: Any,
    ) -> list[Document]:
        return await asyncio.to_thread(
            self.max_marginal_relevance_search_by_vector, embedding, k, fetch_k, lambda_mult, filter, **kwargs
        )

    def max_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: list[float],
        *,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: AnyFilter = None,
        **kwargs: Any,
    ) -> Found:
        """With the cosines to the query, in the order of choosing."""
        return self._diverse(self._by_vector(embedding, fetch_k, filter, kwargs), k, lambda_mult)

    def as_retriever(self, **kwargs: Any) -> StackroomRetriever:
        """LangChain's retriever; its `search_type` may be "hybrid" and "text" as well."""
        tags = kwargs.pop("tags", None) or self._get_retriever_tags()
        return StackroomRetriever(vectorstore=self, tags=[*tags], **kwargs)

    def _query(self, text: str, k: int, filter: AnyFilter, options: dict[str, Any]) -> Query:
        if not isinstance(text, str):
            raise UsageError(f"{type(text).__name__} is no query.", hint="Give text, or search by vector.")
        query = searching.query_of(text, k, self._mode, filter, options)
        if query.keep is not None and not self._warned:
            self._warned = True
            warnings.warn(
                "A filter function runs on one candidate after the other, after the search; a filter dict is part of it.",
                stacklevel=4,
            )
        return query

    def _by_vector(self, embedding: Any, k: int, filter: AnyFilter, options: dict[str, Any]) -> Query:
        query = self._query("", k, filter, _by_vectors(options))
        return replace(query, text=None, vector=as_vector(embedding))

    def _embedded(self, query: Query) -> Query:
        if query.mode == "text" or query.k <= 0:
            return query
        return replace(query, vector=as_vector(self._tried_model().embed_query(query.text or "")))

    async def _aembedded(self, query: Query) -> Query:
        if query.mode == "text" or query.k <= 0:
            return query
        model = await asyncio.to_thread(self._tried_model)
        return replace(query, vector=as_vector(await model.aembed_query(query.text or "")))

    def _tokenized(self) -> Embedder | None:
        """The model, where its tokens tell how well it knows a language."""
        model = self._model() if self._embedding is None else self._embedding
        return model.embedder if isinstance(model, StackroomEmbeddings) else None

    def _find(self, query: Query) -> Found:
        embedder = self._tokenized() if query.mode == "hybrid" else None
        with self._view() as view:
            return searching.find(view, query, embedder)

    def _relevant(self, query: Query) -> Found:
        embedder = self._tokenized() if query.mode == "hybrid" else None
        with self._view() as view:
            return searching.relevant(view, query, embedder)

    def _diverse(self, query: Query, k: int, lambda_mult: float) -> Found:
        with self._view() as view:
            return searching.diverse(view, query, searching.number("k", k), lambda_mult)


def _most(k: int, fetch_k: int) -> int:
    return max(searching.number("k", k), searching.number("fetch_k", fetch_k))


def _by_vectors(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a search that knows no other mode, whatever the store's own is."""
    if options.get("mode", "vector") not in (None, "vector"):
        raise UsageError(f"This search is by vectors, not in the mode {options['mode']!r}.", hint="Leave mode out.")
    return {**options, "mode": "vector"}


def _bare(found: Found) -> list[Document]:
    return [document for document, _ in found]


def _of_documents(given: Iterable[Document], ids: list[str] | None) -> writing.Plan:
    listed = list(given)
    for document in listed:
        if not isinstance(document, Document):
            raise UsageError(f"{type(document).__name__} is not a Document.", hint="Give texts to add_texts.")
    named: Any = [document.id for document in listed] if ids is None else ids
    return writing.plan([item.page_content for item in listed], [item.metadata for item in listed], named)


def _only(given: dict[str, Any], *known: str) -> None:
    """Raises UsageError for a keyword that means nothing: it would be lost without a word."""
    for name in given:
        if name not in known:
            raise UsageError(f"There is no argument {name!r} here.")
