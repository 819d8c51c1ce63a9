"""Sets of keys as ranges, against Python's own sets."""

from __future__ import annotations

from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stackroom.storage.catalogue import metadata
from stackroom.storage.catalogue.keysets import KeySet

keys = st.sets(st.integers(0, 60), max_size=40)


def made(of: set[int]) -> KeySet:
    return KeySet.from_keys(np.array(sorted(of), dtype=np.int64))


@given(keys, keys, st.integers(0, 60), st.integers(1, 30))
def test_they_are_joined_cut_and_taken_away_as_sets_are(one: set[int], other: set[int], first: int, n: int) -> None:
    for left, right in ((one, other), (one, set(range(first, first + n))), (set(range(first, first + n)), other)):
        assert made(left).intersection(made(right)) == made(left & right)
        assert made(left).difference(made(right)) == made(left - right)
        assert made(left).union(made(right)) == made(left | right)


@given(keys, st.integers(0, 1000))
def test_a_mask_makes_the_same_set(of: set[int], first: int) -> None:
    mask = np.zeros(max(of, default=-1) + 1, dtype=np.bool_)
    mask[sorted(of)] = True
    assert KeySet.from_mask(mask, first) == made({first + key for key in of})


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
