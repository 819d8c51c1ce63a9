"""One passage of each text, and where else it stands."""

from __future__ import annotations

from stackroom import Chunk, Document, Index
from stackroom.search.copies import different
from stackroom.types import Hit

TEXTS = ["alpha beta", "alpha  beta", "alpha\nbeta", "alpha gamma delta", "alpha delta epsilon zeta"]


def asked(index: Index, k: int) -> tuple[list[list[str]], list[int]]:
    """The documents of each text, and how many hits were asked for."""
    depths: list[int] = []

    def search(wanted: int) -> list[Hit]:
        depths.append(wanted)
        return index.search("alpha", k=wanted, mode="text")

    return [[hit.document.id for hit in (best, *copies)] for best, copies in different(search(k), k, search)], depths


def test_a_search_looks_once_more_where_copies_fill_it(index: Index) -> None:
    index.add_documents([Document(f"d{n}", chunks=[Chunk(text)]) for n, text in enumerate(TEXTS)])
    assert asked(index, 1) == ([["d0"]], [1])
    assert asked(index, 2) == ([["d0", "d1", "d2"], ["d3"]], [2, 8])
    assert asked(index, 3) == ([["d0", "d1", "d2"], ["d3"], ["d4"]], [3, 12])
    # There are no more: nothing is asked twice.
    assert asked(index, 9) == ([["d0", "d1", "d2"], ["d3"], ["d4"]], [9])


def test_what_stands_everywhere_is_not_looked_through_to_its_end(index: Index) -> None:
    index.add_documents([Document(f"d{n}", chunks=[Chunk("alpha beta")]) for n in range(30)])
    ((first, *copies),), depths = asked(index, 2)
    assert (first, len(copies), depths) == ("d0", 7, [2, 8])
