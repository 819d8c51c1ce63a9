"""Places as they are stored: every field comes back, and what was written before a field was known reads on."""

from __future__ import annotations

import pytest

from stackroom.storage.catalogue import codec
from stackroom.types import Place


@pytest.mark.parametrize(
    "place",
    [
        Place(),
        Place(1, 2, 3, 4, "iii", ("A", "B")),
        Place(1, 2, section=("Sheet",), unit="row", first=2, last=9),
        Place(0, 5, unit="second", first=1.25, last=3.5),
    ],
)
@pytest.mark.parametrize("metadata", [{}, {"a": 1}])
def test_a_place_comes_back(place: Place, metadata: dict[str, object]) -> None:
    assert codec.load_details(codec.dump_details(place, metadata)) == (place, metadata)


def test_details_of_an_earlier_version_and_of_a_later_one() -> None:
    place = Place(1, 2, 3, 4, "iii", ("A",))
    assert codec.load_details(b'[1,2,3,4,"iii",["A"],{"a":1}]') == (place, {"a": 1})
    assert codec.load_details(b'[1,2,3,4,"iii",["A"],{"a":1},null,null,null,"new"]') == (place, {"a": 1})
    assert codec.dump_details(place, {"a": 1}) == b'[1,2,3,4,"iii",["A"],{"a":1}]'
