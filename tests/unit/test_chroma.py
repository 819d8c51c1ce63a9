"""How rows on Chroma are chosen and their arrays looked up, without a server."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackroom.engines.chroma import postings
from stackroom.engines.chroma.choosing import MOST, few, meets, others, unknown
from stackroom.engines.chroma.rows import Columns, fields_of, from_metadata, indexed, metadata, record_id
from stackroom.engines.records import UnreadableError
from stackroom.engines.versioned.conditions import All, Among, Condition, Either, Not, Within
from stackroom.engines.versioned.tables import ARRAYS, FOREVER, NUMBERS

SMALL = st.integers(0, 3)
FIELDS = ("id", "key", "source_key", "embedded", "died", "born")
LISTS = ("listed", "facts", "terms")

leaves = st.one_of(
    st.builds(lambda field, numbers: Among(field, tuple(sorted(numbers))), st.sampled_from(FIELDS + LISTS), st.sets(SMALL, min_size=1)),
    st.builds(lambda field, least: Within(field, least=least), st.sampled_from(FIELDS), SMALL),
    st.builds(lambda field, below: Within(field, below=below), st.sampled_from(FIELDS), SMALL),
)  # fmt: skip
conditions = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.builds(lambda parts: All(tuple(parts)), st.lists(part, max_size=3)),
        st.builds(lambda parts: Either(tuple(parts)), st.lists(part, max_size=3)),
        st.builds(Not, part),
    ),
    max_leaves=6,
)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    ids = draw(st.lists(SMALL, unique=True, min_size=1))
    return [
        {
            **{name: draw(SMALL) for name in NUMBERS["chunks"]},
            "id": id_,
            "died": draw(st.one_of(SMALL, st.just(FOREVER))),
            **{name: draw(st.lists(SMALL, unique=True, max_size=3)) for name in LISTS},
        }
        for id_ in ids
    ]


def holds(row: dict[str, Any], condition: Condition) -> bool:
    """The reference."""
    if isinstance(condition, Not):
        return not holds(row, condition.part)
    if isinstance(condition, All):
        return all(holds(row, part) for part in condition.parts)
    if isinstance(condition, Either):
        return any(holds(row, part) for part in condition.parts)
    value = row[condition.field]
    if isinstance(condition, Among):
        return bool(set(condition.numbers) & set(value if isinstance(value, list) else [value]))
    return (condition.least is None or value >= condition.least) and (
        condition.below is None or value < condition.below
    )


@given(tables(), conditions)
def test_the_client_decides_as_the_reference_does(rows: list[dict[str, Any]], condition: Condition) -> None:
    found = Columns("chunks_1", [record_id("chunks_1", row) for row in rows])
    known = {
        leaf: np.array([row["id"] for row in rows if holds(row, leaf) != others(leaf)], dtype=np.int64)
        for leaf in unknown("chunks_1", condition)
    }
    wanted = [row["id"] for row in rows if holds(row, condition)]
    assert found.those(meets(found, condition, known)).column("id").tolist() == wanted
    asked = few("chunks_1", condition, known)
    if asked is not None:
        field, numbers = asked
        assert set(wanted) <= {row["id"] for row in rows if row[field] in numbers}


def test_the_server_is_asked_by_what_tells_rows_apart() -> None:
    alive = All((Within("born", below=9), Within("died", least=9)))
    known = {Within("died", least=9): np.arange(3)}
    key, source = Among("key", (1, 2, 3)), Among("source_key", (4,))
    assert few("chunks_1", All((alive, source, key)), known) == ("key", frozenset((1, 2, 3)))
    assert few("chunks_1", All((alive, source)), known) == ("source_key", frozenset((4,)))
    assert few("chunks_1", All((alive, Not(source))), known) is None
    assert few("chunks_1", All((alive, Among("key", tuple(range(MOST + 1))))), known) is None
    assert few("chunks_1", Either(()), known) == ("id", frozenset())


def row_of(**changed: Any) -> dict[str, Any]:
    numbers = {name: 2**62 - at for at, name in enumerate(fields_of("chunks_1"))}
    lists = {name: [at, -at, 2**62] for at, name in enumerate(ARRAYS)}
    return {**numbers, "died": FOREVER, "data": 'a "text" \\u0000 ü', "embedding": None, **lists, **changed}


def test_a_row_comes_back_as_it_was() -> None:
    vector = np.array([-0.0, 1e-45, 3e38, 1 / 3], dtype=np.float32)
    row = row_of(embedding=vector)
    (numbers,) = Columns("chunks_1", [record_id("chunks_1", row)]).rows(tuple(row))
    back = {**numbers, **from_metadata(metadata("chunks_1", row), tuple(row))}
    assert back.pop("embedding").tobytes() == vector.tobytes()
    assert back == {name: value for name, value in row.items() if name != "embedding"}
    assert from_metadata(metadata("chunks_1", row_of()), ("embedding",)) == {"embedding": None}


def test_a_record_that_cannot_be_read_is_damage() -> None:
    """It was a TypeError of what was to name it."""
    with pytest.raises(UnreadableError, match="a record of Chroma's can't be read"):
        from_metadata({"arrays": "@@"}, ["terms"])
    assert from_metadata({}, ["data"]) == {"data": ""}


def test_what_is_indexed_has_the_length_that_counts() -> None:
    def read(text: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(text), dtype="<f4")

    vector = np.array([3e38, 0, 4e37, 0], dtype=np.float32)
    assert np.linalg.norm(read(indexed(1, vector, 4, is_cosine=True))) == np.float32(1)
    assert read(indexed(1, vector, 4, is_cosine=False)).tobytes() == vector.tobytes()
    assert not read(indexed(1, np.zeros(4, dtype=np.float32), 4, is_cosine=True)).any()
    without = [read(indexed(id_, None, 4, is_cosine=True)) for id_ in (1, 2)]
    assert np.abs(without).max() < 1e-5
    assert without[0].tobytes() != without[1].tobytes()


def test_postings_say_which_rows_have_a_number() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {
            "id": int(id_),
            "listed": [-1, 1],
            "facts": rng.choice(2**62, 5).tolist(),
            "terms": np.unique(rng.zipf(1.3, 200) % 997 * 2**40 + rng.integers(0, 50, 200)).tolist(),
        }
        for id_ in rng.permutation(300) + 2**40
    ]
    for row in rows:
        row["counts"] = rng.integers(1, 9, len(row["terms"])).tolist()
    made = postings.records(rows)
    assert made == postings.records(rows)
    assert len({its_id for its_id, _ in made}) == len(made)
    assert len(made) > 50
    for field in postings.FIELDS:
        there = sorted({number for row in rows for number in row[field]})
        for wanted in ([there[0]], there[::97], [there[-1], 5]):
            slots = postings.slots(field, wanted)
            # Twice: what is written again over other portions.
            packed = 2 * [said["postings"] for _, said in made if said["slot"] in slots]
            found = {(number, id_): count for number, id_, count in postings.of(wanted, packed).tolist()}
            counts = {row["id"]: row["counts"] if field == "terms" else [1] * len(row[field]) for row in rows}
            assert found == {
                (number, row["id"]): counts[row["id"]][row[field].index(number)]
                for row in rows
                for number in wanted
                if number in row[field]
            }


def test_removed_rows_are_in_no_postings() -> None:
    rows = [{"id": id_, "listed": [], "facts": [7], "terms": [8, 9], "counts": [1, 2]} for id_ in (1, 2)]
    facts, terms = (said["postings"] for _, said in postings.records(rows))
    left = postings.without(terms, np.array([1]))
    assert postings.of([8, 9], [left]).tolist() == [(8, 2, 1), (9, 2, 2)]
    assert postings.without(left, np.array([5])) == left
    assert postings.without(facts, np.array([1, 2])) == ""
