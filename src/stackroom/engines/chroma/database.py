"""Chroma as the shared room asks a database: tables are collections, and rows their records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom.engines.chroma import postings
from stackroom.engines.chroma.choosing import TELLING, Few, Known, Leaf, few, meets, met, others, unknown
from stackroom.engines.chroma.client import LostError, Server, TakenError, place_of
from stackroom.engines.chroma.gates import Gates
from stackroom.engines.chroma.rows import (
    METADATA,
    Columns,
    deaths,
    from_metadata,
    indexed,
    metadata,
    of_length_one,
    record_id,
)
from stackroom.engines.vectors import stacked
from stackroom.engines.versioned.conditions import Among, Condition
from stackroom.engines.versioned.database import Bounds, Database, Row
from stackroom.engines.versioned.tables import FOREVER, RECORDS, kind_of
from stackroom.storage.vectors.scan import score_exactly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.types import Metric

EFFORT = 1_000
"""Rows that an ordinary search asks Chroma's index for, unless `set_candidates` says otherwise."""

_AT_ONCE = 1_000
"""Records that are read with their metadata, or deleted, at once."""
_LOOKED_UP = 200
"""Numbers whose rows are asked for with their metadata: Chroma fails where an answer has more than 32,766 records with metadata."""
_SPACES = {"cosine": "ip", "dot": "ip", "l2": "l2"}
"""Chroma's distances. Vectors whose angle counts are indexed with length 1: its own cosine would do the same, and keep the length beside."""
_NO_VECTOR = 2
"""The dimension of vectors that say nothing: Chroma has no record without one."""


class ChromaDatabase(Database):
    name = "Chroma"
    bounds = Bounds(rows=100_000, dimensions=32_768)
    index = None
    indexes = ("",)
    finds_words = False

    def __init__(self, url: str) -> None:
        self.url = url
        self._server = Server(place_of(url))
        self._gates = Gates(self._server)

    def version(self) -> str:
        return self._server.version()

    def names(self) -> list[str]:
        return self._gates.names()

    def put_name(self, name: str) -> None:
        self._gates.put(name)

    def rename(self, old: str, new: str) -> None:
        self._gates.rename(old, new)

    def drop_name(self, name: str) -> None:
        self._gates.drop(name)

    def tables(self) -> list[str]:
        return [name for name in self._server.names() if name == RECORDS or name.startswith(("chunks_", "space_"))]

    def make(self, table: str, *, dim: int, metric: Metric, index: str) -> bool:
        del index
        try:
            self._create(table, dim or _NO_VECTOR, metric)
        except TakenError:
            return False
        if kind_of(table) == "chunks":
            # There may be those of a table of that name whose dropping was interrupted.
            self._server.drop(_postings_of(table))
            self._create(_postings_of(table), _NO_VECTOR, "l2")
        return True

    def _create(self, table: str, dim: int, metric: Metric) -> None:
        self._server.create(table, space=_SPACES[metric], dim=dim, metric=metric)

    def drop(self, table: str) -> None:
        self._server.drop(table)
        if kind_of(table) == "chunks":
            self._server.drop(_postings_of(table))

    def put(self, table: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        if kind_of(table) == "chunks":
            found = postings.records(rows)
            vectors = [indexed(said["first"] + said["slot"], None, _NO_VECTOR, is_cosine=False) for _, said in found]
            self._upsert(_postings_of(table), found, vectors)
        about = self._server.about(table)
        is_cosine = about["metric"] == "cosine"
        vectors = [indexed(row["id"], row.get("embedding"), about["dim"], is_cosine=is_cosine) for row in rows]
        self._upsert(table, [(record_id(table, row), metadata(table, row)) for row in rows], vectors)

    def _upsert(self, table: str, records: Sequence[postings.Record], vectors: Sequence[str]) -> None:
        if records:
            ids, said = zip(*records, strict=True)
            self._server.ask(table, "upsert", ids=ids, metadatas=said, embeddings=vectors)

    def end(self, table: str, ids: Sequence[int], version: int) -> None:
        found = self._where(table, {"id": {"$in": list(ids)}}) if ids else []
        if found:
            died = None if version == FOREVER else version
            self._server.ask(table, "update", ids=found, metadatas=[{"died": died}] * len(found))

    def delete(self, table: str, condition: Condition) -> None:
        gone = self._choose(table, condition)
        if kind_of(table) == "chunks" and len(gone):
            self._forget(_postings_of(table), gone.column("id"))
        for first in range(0, len(gone), _AT_ONCE):
            self._server.ask(table, "delete", ids=gone.ids[first : first + _AT_ONCE])

    def _forget(self, table: str, ids: NDArray[np.int64]) -> None:
        """Take rows out of the postings."""
        near = self._where(table, {"$and": [{"first": {"$lte": int(ids.max())}}, {"last": {"$gte": int(ids.min())}}]})
        for found in self._said(table, near):
            left = {its_id: postings.without(said["postings"], ids) for its_id, said in found.items()}
            gone = [its_id for its_id in found if not left[its_id]]
            changed = [its_id for its_id in found if left[its_id] not in ("", found[its_id]["postings"])]
            if gone:
                self._server.ask(table, "delete", ids=gone)
            if changed:
                self._server.ask(
                    table, "update", ids=changed, metadatas=[{"postings": left[its_id]} for its_id in changed]
                )

    def _where(self, table: str, where: dict[str, Any] | None) -> list[str]:
        """The ids of the records that meet it; None: of all."""
        asked = {} if where is None else {"where": where}
        found: list[str] = self._server.ask(table, "get", include=[], **asked)["ids"]
        return found

    def _said(self, table: str, ids: Sequence[str], at_once: int = _AT_ONCE) -> Iterator[dict[str, dict[str, Any]]]:
        """The metadata of these records, in portions; those that are gone are left out."""
        for first in range(0, len(ids), at_once):
            found = self._server.ask(table, "get", ids=ids[first : first + at_once], include=["metadatas"])
            yield dict(zip(found["ids"], found["metadatas"], strict=True))

    def _known(self, table: str, condition: Condition, words: dict[int, dict[int, int]] | None = None) -> Known:
        """What of a condition is not in the numbers of rows: who was removed, and who has a number in an array.

        `words`, by the ids of rows, gets how often they have each of the words that the condition asks for.
        """
        known: dict[Leaf, NDArray[np.int64]] = {}
        for leaf in unknown(table, condition):
            if leaf.field == "died":
                known[leaf] = Columns(table, self._where(table, _died(leaf))).column("id")
                continue
            found = self._postings(table, leaf)
            known[leaf] = np.unique(found["id"])
            if words is not None and leaf.field == "terms":
                for number, id_, count in found.tolist():
                    words.setdefault(id_, {})[number] = count
        return known

    def _postings(self, table: str, leaf: Leaf) -> NDArray[Any]:
        numbers = leaf.numbers if isinstance(leaf, Among) else ()
        wanted = postings.slots(leaf.field, numbers)
        there: list[str] = []
        for first in range(0, len(wanted), _AT_ONCE):
            there += self._where(_postings_of(table), {"slot": {"$in": wanted[first : first + _AT_ONCE]}})
        found = self._said(_postings_of(table), there)
        return postings.of(numbers, (one["postings"] for part in found for one in part.values()))

    def _choose(self, table: str, condition: Condition, known: Known | None = None) -> Columns:
        """The rows that meet it."""
        known = self._known(table, condition) if known is None else known
        asked = few(table, condition, known)
        if asked is not None and not asked[1]:
            return Columns(table, [])
        found = Columns(table, self._where(table, None if asked is None else _among(asked)))
        return found.those(meets(found, condition, known))

    def rows(self, table: str, condition: Condition, fields: Sequence[str], *, limit: int | None = None) -> list[Row]:
        if "terms" in fields and "data" not in fields:
            return self._with_terms(table, condition, fields)
        found = self._looked_up(table, condition, fields) if _are_said(fields) else None
        if found is not None:
            return found[:limit]
        chosen = self._choose(table, condition).first(limit)
        return [row for part in self._read(table, chosen, fields, _AT_ONCE) for row in part]

    def _looked_up(self, table: str, condition: Condition, fields: Sequence[str]) -> list[Row] | None:
        """The rows in one request, where the condition names some of them, and their metadata tell the rest; None where it does not."""
        leaves = list(unknown(table, condition))
        asked = few(table, condition, {})
        if (
            asked is None
            or asked[0] not in TELLING
            or not 0 < len(asked[1]) <= _LOOKED_UP
            or any(leaf.field != "died" for leaf in leaves)
        ):
            return None
        answer = self._server.ask(table, "get", where=_among(asked), include=["metadatas"])
        found = Columns(table, answer["ids"])
        died = deaths(answer["metadatas"])
        known = {leaf: found.column("id")[met(died, leaf) != others(leaf)] for leaf in leaves}
        said = dict(zip(found.ids, answer["metadatas"], strict=True))
        return _rows(found.those(meets(found, condition, known)), said, fields)

    def each(self, table: str, condition: Condition, fields: Sequence[str], *, at_once: int) -> Iterator[Row]:
        for part in self._read(table, self._choose(table, condition), fields, min(at_once, _AT_ONCE)):
            yield from part

    def _read(self, table: str, chosen: Columns, fields: Sequence[str], at_once: int) -> Iterator[list[Row]]:
        """These rows, in portions. Those that are gone meanwhile are left out."""
        if not _are_said(fields):
            yield chosen.rows(fields)
            return
        for said in self._said(table, chosen.ids, at_once):
            yield _rows(Columns(table, [its_id for its_id in chosen.ids if its_id in said]), said, fields)

    def _with_terms(self, table: str, condition: Condition, fields: Sequence[str]) -> list[Row]:
        """Rows with those of their words that the condition asks for, which stand in the postings."""
        words: dict[int, dict[int, int]] = {}
        chosen = self._choose(table, condition, self._known(table, condition, words))
        return [
            {**row, "terms": list(words.get(id_, ())), "counts": list(words.get(id_, {}).values())}
            for id_, row in zip(chosen.column("id").tolist(), chosen.rows(fields), strict=True)
        ]

    def most(self, fields: Sequence[str]) -> int:
        del fields
        return _AT_ONCE

    def count(self, table: str, condition: Condition) -> int:
        return len(self._choose(table, condition))

    def nearest(
        self,
        table: str,
        query: NDArray[np.float32],
        limit: int,
        condition: Condition,
        fields: Sequence[str],
        *,
        metric: Metric,
        index: str,
        exact: bool,
        candidates: int | None,
    ) -> list[Row]:
        """Asked for all records, Chroma's index compares all that it reaches: those that it does not reach are read.

        Asked for fewer, it looks at no more than is asked for, and at more where too few of them meet the condition. One that was lost is asked for all.
        """
        del index
        known = self._known(table, condition)
        total = self._server.count(table)
        asked = total if exact or self._has_lost(table) else max(limit, candidates or EFFORT)
        while True:
            asked = min(asked, total)
            found = self._query(table, of_length_one(query) if metric == "cosine" else query, asked)
            chosen = found.those(meets(found, condition, known))
            if asked == total or len(chosen) >= limit or len(found) < asked:
                break
            asked *= 4
        rows = [row for part in self._read(table, chosen.first(limit), fields, _AT_ONCE) for row in part]
        if len(found) < asked:
            there = self._choose(table, condition, known)
            missed = there.those(~np.isin(there.column("id"), found.column("id")))
            for part in self._read(table, missed, fields, _AT_ONCE):
                rows = _by_score([*rows, *part], query, metric)[:limit]
        return rows

    def _has_lost(self, table: str) -> bool:
        """Whether its index was lost, and has only what was written since.

        A library has one writer, who sends one portion after the other: the oldest row is missing if any is. Chroma lists rows in that order, and
        takes vectors from the index.
        """
        try:
            self._server.ask(table, "get", limit=1, include=["embeddings"])
        except LostError:
            return True
        return False

    def _query(self, table: str, query: NDArray[np.float32], n: int) -> Columns:
        if not n:
            return Columns(table, [])
        said = self._server.ask(table, "query", query_embeddings=[query.tolist()], n_results=n, include=[])
        return Columns(table, said["ids"][0])

    def heaviest(
        self, table: str, query: dict[int, float], limit: int, condition: Condition, fields: Sequence[str]
    ) -> list[Row]:
        """There is none: see `finds_words`."""
        del table, query, limit, condition, fields
        raise NotImplementedError

    def seal(self, table: str) -> None:
        """Chroma indexes what is written before it answers."""

    def close(self) -> None:
        self._server.close()


def _by_score(rows: Sequence[Row], query: NDArray[np.float32], metric: Metric) -> list[Row]:
    """Best first."""
    if not rows:
        return []
    vectors = stacked([row["embedding"] for row in rows], len(query)).astype(np.float64)
    scores = score_exactly(vectors, query.astype(np.float64), metric)
    return [rows[at] for at in np.argsort(-scores, kind="stable")]


def _rows(chosen: Columns, said: dict[str, dict[str, Any]], fields: Sequence[str]) -> list[Row]:
    """With what their metadata say."""
    numbers = zip(chosen.ids, chosen.rows(fields), strict=True)
    return [{**row, **from_metadata(said[its_id], fields)} for its_id, row in numbers]


def _postings_of(table: str) -> str:
    return f"postings_of_{table}"


def _are_said(fields: Sequence[str]) -> bool:
    """Whether some of these fields are metadata."""
    return any(name in METADATA for name in fields)


def _among(asked: Few) -> dict[str, Any]:
    return {asked[0]: {"$in": sorted(asked[1])}}


def _died(leaf: Leaf) -> dict[str, Any]:
    """The condition on `died` as Chroma has it, of those that don't meet it where those are fewer."""
    if isinstance(leaf, Among):
        return {"died": {"$in": list(leaf.numbers)}}
    return {"died": {"$lt": leaf.least if others(leaf) else leaf.below}}
