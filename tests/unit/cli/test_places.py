"""Places as a person reads them."""

from __future__ import annotations

import pytest

from stackroom.cli.commands.search import where_text
from stackroom.types import Place


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(page=3, page_end=4), "p. 3-4"),
        (Place(section=("Sheet1",), unit="row", first=2, last=1_048_576), "rows 2-1048576, Sheet1"),
        (Place(unit="line", first=7, last=7), "line 7"),
        (Place(unit="second", first=72.4, last=3700.0), "0:01:12-1:01:40"),
        (Place(unit="second", first=72.4, last=72.9), "0:01:12"),
    ],
)
def test_a_place_in_words(place: Place, text: str) -> None:
    assert where_text(place) == text
