"""Columns of a PDF's pages: read one after the other, however they are drawn; tables and notes stay as they are."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from fuzz.readers import pdf_of
from reader_support import given, text_of
from stackroom.ingest.readers.common import columns

Drawn = Sequence[tuple[float, float, str]]
"""x and y in points, and what is written there."""

APPLES = [
    "The first column tells of apples, which grow on trees",
    "and are picked in autumn, when they are ripe. Who wants",
    "to keep them puts them into a cellar, looks after them",
    "each week of the winter that follows, and turns them, so",
    "that none of them rots. The others are for cider, which",
    "is a drink that is made wherever apples grow, and sold.",
]
ORANGES = [
    "Oranges are another thing: they come from the south in",
    "ships, and are eaten within the month. Their peel is for",
    "marmalade, which is boiled with sugar until it is thick,",
    "and kept in jars for years. There is a saying that sets",
    "one against the other, but nobody who has ever tasted",
    "them would do so; least of all a grower of either kind.",
]
PEARS = [
    "Pears are for those who wait. They are picked while they",
    "are hard, and ripen on a shelf in the dark, from within,",
    "so that the day on which they are good is hard to tell",
    "from the day before it, when they are like turnips, and",
    "from the day after it, when they are brown inside. There",
    "are, it is said, ten minutes in the life of each of them.",
]


def pdf(folder: Path, drawn: Drawn, *, size: float = 8, font: bytes = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>") -> Path:  # fmt: skip
    """A page on which each line is drawn by itself, in this order."""
    stream = b"".join(
        b"BT /F1 %g Tf %g %g Td [(%s)] TJ ET\n" % (size, x, y, text.encode("latin-1")) for x, y, text in drawn
    )
    return given(
        folder,
        "a.pdf",
        pdf_of(
            [
                b"<</Type/Catalog/Pages 2 0 R>>",
                b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
                b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
                b"<</Length %d>>\nstream\n%s\nendstream" % (len(stream), stream),
                font,
                *([HEBREW] if font is RIGHT_TO_LEFT else []),
            ]
        ),
    )


def column(x: float, lines: Sequence[str], y: float = 700) -> list[tuple[float, float, str]]:
    return [(x, y - 11 * row, line) for row, line in enumerate(lines)]


def row_by_row(*sides: Drawn) -> list[tuple[float, float, str]]:
    return [line for row in zip(*sides, strict=True) for line in row]


def lines_of(path: Path) -> list[str]:
    return text_of(path).split("\n")[:-1]


def test_columns_drawn_row_by_row(tmp_path: Path) -> None:
    path = pdf(tmp_path, row_by_row(column(60, APPLES), column(320, ORANGES)))
    assert lines_of(path) == [*APPLES, *ORANGES]


def test_three_columns(tmp_path: Path) -> None:
    drawn = row_by_row(*(column(x, lines) for x, lines in ((30, APPLES), (220, ORANGES), (410, PEARS))))
    assert lines_of(pdf(tmp_path, drawn, size=7)) == [*APPLES, *ORANGES, *PEARS]


def test_the_lines_of_columns_are_not_level(tmp_path: Path) -> None:
    drawn = row_by_row(column(60, APPLES), column(320, ORANGES, y=696))
    assert lines_of(pdf(tmp_path, drawn)) == [*APPLES, *ORANGES]


def test_the_right_column_is_drawn_first(tmp_path: Path) -> None:
    assert lines_of(pdf(tmp_path, [*column(320, ORANGES), *column(60, APPLES)])) == [*APPLES, *ORANGES]


def test_lines_of_two_columns_drawn_in_one_piece(tmp_path: Path) -> None:
    """With a jump of 18 points within the string, as the forms of a tax office have them."""
    drawn = row_by_row(*(column(x, lines) for x, lines in ((30, APPLES), (220, ORANGES), (410, PEARS))))
    for row in (1, 3):
        (x, y, left), (_, _, right) = drawn[3 * row + 1 : 3 * row + 3]
        drawn[3 * row + 1 : 3 * row + 3] = [(x, y, f"{left}) -2570 ({right}"), (x, y, "")]
    assert lines_of(pdf(tmp_path, drawn, size=7)) == [*APPLES, *ORANGES, *PEARS]


def test_headlines_across_the_columns_stay_in_their_place(tmp_path: Path) -> None:
    drawn = [
        (200, 740, "Of apples and oranges, a headline that stands across both"),
        *row_by_row(column(60, APPLES), column(320, ORANGES)),
        (200, 615, "Of pears and apples, a headline that stands across both"),
        *row_by_row(column(60, PEARS, y=590), column(320, APPLES, y=590)),
    ]
    assert lines_of(pdf(tmp_path, drawn)) == [drawn[0][2], *APPLES, *ORANGES, drawn[13][2], *PEARS, *APPLES]


def test_heads_and_feet_stand_across_the_columns(tmp_path: Path) -> None:
    drawn = [
        (60, 760, "The Journal of Fruit"),
        (500, 760, "volume 12"),
        *row_by_row(column(60, APPLES), column(320, ORANGES)),
        (540, 30, "page 34"),
    ]
    lines = lines_of(pdf(tmp_path, drawn))
    assert lines == ["The Journal of Fruit volume 12", *APPLES, *ORANGES, "page 34"]


def test_a_word_that_a_line_of_a_column_breaks_is_mended(tmp_path: Path) -> None:
    left, right = list(APPLES), list(ORANGES)
    left[2:4] = [
        "to keep them puts them into a cellar that is dark-",
        "ened by a curtain, looks after them each week, and turns",
    ]
    right[3:5] = [
        "and kept in jars for years. There is a saying that com-",
        "pares one with the other, but nobody who ever tasted",
    ]
    text = text_of(pdf(tmp_path, row_by_row(column(60, left), column(320, right))))
    assert "that is darkened by" in text
    assert "that compares one" in text


@pytest.mark.parametrize(
    "rows",
    [
        [("Fruit", "Harvest"), ("Apple", "autumn"), ("Pear", "late summer"), ("Orange", "winter"), ("Plum", "summer"), ("Cherry", "June")],
        # Cells of prose, each of one line, as long as they happen to be.
        [
            ("Where is the station?", "It is behind the church, on the left."), ("Does this train go to the sea?", "Yes."),
            ("How much is a ticket?", "Four for children, and seven for all others."), ("Is there anything to eat?", "Not on Sundays, no."),
            ("When do we arrive?", "If nothing happens, at noon."), ("And if something happens?", "Then somewhat later."),
        ],
        # All of one length.
        [(f"The name of article {n}", f"The price of article {n}") for n in range(10, 30)],
        # A dictionary: the words are narrow, what is said of them is not.
        list(zip(("apple", "cider", "cellar", "winter", "week", "tree"), APPLES, strict=True)),
    ],
)  # fmt: skip
def test_tables_are_read_row_by_row(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    left, right = zip(*rows, strict=True)
    path = pdf(tmp_path, row_by_row(column(60, left), column(320, right)))
    assert lines_of(path) == [f"{first} {second}" for first, second in rows]


def test_a_table_of_figures(tmp_path: Path) -> None:
    """Its columns are as wide and as full as those of prose."""
    drawn = random.Random(0)
    rows = [[" ".join(str(drawn.randrange(10_000, 99_999)) for _ in range(6)) for _ in range(3)] for _ in range(20)]
    path = pdf(tmp_path, row_by_row(*(column(x, cells) for x, cells in zip((30, 220, 410), zip(*rows, strict=True), strict=True))))  # fmt: skip
    assert lines_of(path) == [" ".join(row) for row in rows]


def test_cells_of_several_lines_stay_with_their_row(tmp_path: Path) -> None:
    drawn = []
    for row in range(4):
        drawn += [*column(60, APPLES[:3], y=700 - 40 * row), *column(320, ORANGES[:3], y=700 - 40 * row)]
    assert lines_of(pdf(tmp_path, drawn)) == [*APPLES[:3], *ORANGES[:3]] * 4


def test_a_table_of_contents(tmp_path: Path) -> None:
    titles = [f"{number}. {title[:30]}" for number, title in enumerate(APPLES, start=1)]
    pages = ["3", "17", "20", "45", "101", "120"]
    path = pdf(tmp_path, row_by_row(column(60, titles), column(540, pages)))
    assert (
        text_of(path).split() == " ".join(f"{title} {page}" for title, page in zip(titles, pages, strict=True)).split()
    )


def test_notes_in_the_margin_stay_where_they_are_drawn(tmp_path: Path) -> None:
    notes = ["of apples", "and autumn", "a cellar", "each week", "the others", "is cider"]
    drawn = row_by_row(column(60, notes), column(160, [f"{line} {line}" for line in APPLES]))
    assert lines_of(pdf(tmp_path, drawn)) == [f"{note} {line} {line}" for note, line in zip(notes, APPLES, strict=True)]


def test_one_column(tmp_path: Path) -> None:
    lines = [f"{first} {second}" for first, second in zip(APPLES, ORANGES, strict=True)]
    assert lines_of(pdf(tmp_path, column(60, lines))) == lines


@pytest.mark.parametrize("far", [math.inf, -math.inf, math.nan, 1e300])
def test_boxes_that_no_page_has(far: float) -> None:
    lines = [columns.Box(x, y, x + 200, y + 9) for y in range(700, 500, -12) for x in (60, 300)]
    assert columns.gutters(lines)
    assert columns.gutters([*lines, columns.Box(60, 400, far, 409)]) == []
    assert columns.gutters([columns.Box(60, 400, 60, 400)] * 20) == []


def test_lines_that_overlap_like_stairs(tmp_path: Path) -> None:
    """No row of the page is one by itself, from its top to its bottom."""
    drawn = row_by_row(
        *(column(x, lines, y) for x, y, lines in ((30, 700, APPLES), (220, 697, ORANGES), (410, 693, PEARS)))
    )
    assert lines_of(pdf(tmp_path, drawn, size=7)) == [*APPLES, *ORANGES, *PEARS]


# Hebrew, as a producer writes it: glyphs from left to right, the last letter of a line first.

RIGHT_TO_LEFT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 6 0 R>>"
_MAP = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /H def /CMapType 2 def
1 begincodespacerange <00> <FF> endcodespacerange
2 beginbfchar <20> <0020> <2E> <002E> endbfchar
1 beginbfrange <61> <7A> <05D0> endbfrange
endcmap end end"""
HEBREW = b"<</Length %d>>\nstream\n%s\nendstream" % (len(_MAP), _MAP)


def hebrew(text: str) -> str:
    """Letters of Hebrew, as many as there are of the alphabet in small letters, in the order in which they are read."""
    return "".join(chr(ord(letter) - ord("a") + 0x5D0) if letter.isalpha() else letter for letter in text.lower())


def test_columns_from_right_to_left(tmp_path: Path) -> None:
    first, second = (
        [line.lower().translate({ord(c): None for c in ",:;."}) for line in lines] for lines in (APPLES, ORANGES)
    )
    drawn = row_by_row(column(320, [line[::-1] for line in first]), column(60, [line[::-1] for line in second]))
    assert lines_of(pdf(tmp_path, drawn, font=RIGHT_TO_LEFT)) == [hebrew(line) for line in [*first, *second]]


def test_one_column_from_right_to_left(tmp_path: Path) -> None:
    lines = [line.lower().translate({ord(c): None for c in ",:;."}) for line in APPLES]
    path = pdf(tmp_path, column(60, [line[::-1] for line in lines]), font=RIGHT_TO_LEFT)
    assert lines_of(path) == [hebrew(line) for line in lines]


def test_a_page_whose_columns_can_not_be_told_keeps_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(columns, "gutters", fails)
    text = text_of(pdf(tmp_path, [(50, 700, "What is written"), (50, 680, "on a page")]))
    assert text.split() == ["What", "is", "written", "on", "a", "page"]
