"""Sets of keys as ranges, against Python's own sets."""

from __future__ import annotations

import itertools
from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stackroom.storage.catalogue import keysets, metadata
from stackroom.storage.catalogue.keysets import KeySet

keys = st.sets(st.integers(0, 60), max_size=40)


def made(of: set[int]) -> KeySet:
    return KeySet.from_keys(np.array(sorted(of), dtype=np.int64))


def marked(of: set[int]) -> KeySet:
    """The same set, kept as marks whatever its ranges; one without a change among its marks has no need of them."""
    first = min(of, default=0)
    marks = np.zeros(max(of, default=-1) + 1 - first + 2, dtype=np.bool_)
    marks[[key - first for key in of]] = True
    with mock.patch.object(keysets, "_MARKS_A_RANGE", 1 << 30):
        found = KeySet.from_marks(marks, first)
    assert found.is_marked or not of
    return found


@given(
    keys,
    keys | st.builds(lambda first, n: set(range(first, first + n)), st.integers(0, 60), st.integers(1, 30)),
    st.sampled_from([0, 10**12]),
    st.sampled_from([1, 1 << 30]),
)
def test_they_are_joined_cut_and_taken_away_as_sets_are(
    left: set[int], right: set[int], away: int, kept_as_marks: int
) -> None:
    right = {key + away for key in right}
    with mock.patch.object(keysets, "_MARKS_A_RANGE", kept_as_marks):
        for mine, theirs in itertools.product((made(left), marked(left)), (made(right), marked(right))):
            for one, one_has, other, other_has in ((mine, left, theirs, right), (theirs, right, mine, left)):
                assert one.intersection(other) == made(one_has & other_has)
                assert one.difference(other) == made(one_has - other_has)
                assert one.union(other) == made(one_has | other_has)
                assert one.union(other).difference(one) == made(other_has - one_has)


@given(keys, st.integers(0, 1000))
def test_marks_make_the_same_set_and_are_given_back(of: set[int], first: int) -> None:
    marks = np.zeros(max(of, default=-1) + 1, dtype=np.bool_)
    marks[sorted(of)] = True
    for found in (KeySet.from_marks(marks, first), marked({first + key for key in of})):
        assert found == made({first + key for key in of})
        assert found.marks(first, first + len(marks)).tolist() == marks.tolist()
        assert found.marks(first - 5, first + 80).tolist() == [key in of for key in range(-5, 80)]


@given(keys, st.lists(st.integers(-5, 70)))
def test_they_say_what_they_hold(of: set[int], asked: list[int]) -> None:
    for found in (made(of), marked(of)):
        assert (found.count, bool(found)) == (len(of), bool(of))
        assert found.keys().tolist() == sorted(of)
        assert found.first(3) == sorted(of)[:3]
        assert found.contains(np.array(asked, dtype=np.int64)).tolist() == [key in of for key in asked]
        assert all(found.start <= key < found.end for key in of)
        assert hash(found) == hash(made(of))


@given(keys, st.integers(0, 60), st.integers(0, 60))
def test_many_ranges_are_marked_as_few_are(of: set[int], first: int, end: int) -> None:
    for few in (0, 64):
        with mock.patch.object(keysets, "_FEW", few):
            assert made(of).marks(first, end).tolist() == [key in of for key in range(first, end)]


@given(st.dictionaries(st.integers(0, 3), st.sets(st.integers(0, 300), min_size=1, max_size=60), min_size=1))
def test_blocks_of_the_filter_index_make_the_same_set_marked_or_listed(blocks: dict[int, set[int]]) -> None:
    # Bitmaps and arrays as the index keeps them, several values in one block.
    rows = []
    for block, members in blocks.items():
        short = np.array(sorted(members)[:5], dtype="<u2")
        bits = np.zeros(1 << 16, dtype=np.uint8)
        bits[sorted(members)] = 1
        rows += [(block, short.tobytes()), (block, np.packbits(bits, bitorder="little").tobytes())]
    expected = made({(block << 16) + member for block, members in blocks.items() for member in members})
    for dense in (0, 1 << 30):
        with (
            mock.patch.object(metadata, "_DENSE", dense),
            mock.patch.object(metadata, "_marked", wraps=metadata._marked) as marked,
        ):
            assert metadata._to_keys(rows) == expected
        assert marked.called is bool(dense)
