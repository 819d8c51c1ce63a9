"""CSV and TSV: rows with their header, under their numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from reader_support import FILES, chunk_with, fails, given, read, survives, text_of
from stackroom.errors import NoTextError, UnsupportedFormatError
from stackroom.ingest.readers.common import limits

REAL = FILES / "csv"


def test_a_real_table_says_in_each_row_what_it_means() -> None:
    path = REAL / "iowa-electricity.csv"
    reading, sections = read(path)
    assert reading.type == "csv"
    assert sections[0].text.startswith(
        "year | source | net_generation\nyear: 2001-01-01; source: Fossil Fuels; net_generation: 35361\n"
    )
    place = chunk_with(path, "year: 2009-01-01; source: Nuclear Energy").place
    lines = path.read_text().splitlines()
    wanted = next(n for n, line in enumerate(lines, start=1) if line.startswith("2009-01-01,Nuclear"))
    assert place.unit == "row"
    assert place.first is not None
    assert place.last is not None
    assert place.first <= wanted <= place.last


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("stanley-cups-utf-16.csv", "Team: Blues; Location: STL; Stanley Cups: 1"),
        ("stanley-cups.tsv", "Team: Maple Leafs; Location: TOR; Stanley Cups: 13"),
        ("table-semicolon-delimiter.csv", "Year: 2023; Month: 2; Revenue: 143,1; Costs: -814,38"),
        ("test_mskanji.csv", "名前: 佐藤太郎; 年齢: 30; 住所: 東京"),
        ("testCSV.csv", "14 | 196"),
    ],
)
def test_real_tables_in_their_encodings_and_dialects(name: str, line: str) -> None:
    assert line + "\n" in text_of(REAL / name)


def test_the_title_above_a_header_is_no_header() -> None:
    text = text_of(REAL / "stanley-cups.tsv")
    assert text.startswith("Stanley Cups\nTeam | Location | Stanley Cups\nTeam: Blues")


def test_cells_of_several_lines_and_quoted_marks(tmp_path: Path) -> None:
    path = given(tmp_path, "a.csv", 'name,note\n"Smith, A.","first\nsecond ""quoted"""\nB,\n')
    assert text_of(path) == 'name | note\nname: Smith, A.; note: first second "quoted"\nB\n'
    assert read(path)[1][0].marks == [(0, 1, 1), (12, 2, 2), (57, 3, 3)]


def test_a_table_without_a_header(tmp_path: Path) -> None:
    assert text_of(given(tmp_path, "a.csv", "1,2\n3,4\n")) == "1 | 2\n3 | 4\n"


def test_excels_own_word_for_the_delimiter(tmp_path: Path) -> None:
    path = given(tmp_path, "a.csv", "sep=;\nname;note\na,b,c,d;2\n")
    assert text_of(path) == "name | note\nname: a,b,c,d; note: 2\n"


# By content


def test_a_table_called_text_is_known_and_prose_is_not(tmp_path: Path) -> None:
    table = "".join(f"{n},name{n},{n * 2}\n" for n in range(10))
    assert read(given(tmp_path, "a.txt", "id,name,size\n" + table))[0].type == "csv"
    assert read(given(tmp_path, "table", "id\tname\tsize\n" + table.replace(",", "\t")))[0].type == "csv"
    prose = "We came, we saw, we left.\nIt was late, and cold, and dark.\nNobody spoke, or ate, or slept.\nThen, at last, it was day.\n"
    assert read(given(tmp_path, "b.txt", prose))[0].type == "text"
    assert read(given(tmp_path, "c.log", "id,name,size\n" + table))[0].type == "text"


def test_what_is_no_table_under_this_suffix(tmp_path: Path, samples: Path) -> None:
    pdf = (samples / "debian/packaging-tutorial.pdf").read_bytes()
    assert read(given(tmp_path, "a.csv", pdf))[0].type == "pdf"
    fails(given(tmp_path, "b.csv", b"\x7fELF" + bytes(range(256)) * 20), UnsupportedFormatError)
    assert text_of(given(tmp_path, "c.csv", "only words\nand more\n")) == "only words\nand more\n"


# Broken and hostile


def test_empty_tables(tmp_path: Path) -> None:
    fails(given(tmp_path, "a.csv", "\n\n,,\n"), NoTextError)


def test_damaged_tables(tmp_path: Path) -> None:
    for name in ("iowa-electricity.csv", "stanley-cups-utf-16.csv"):
        survives((REAL / name).read_bytes(), tmp_path / name)


def test_a_quotation_mark_that_is_never_closed(tmp_path: Path) -> None:
    fails(given(tmp_path, "a.csv", 'a,b\n1,"' + "x,y\n" * 2_000_000), words="quotation mark")


def test_a_line_without_end(tmp_path: Path) -> None:
    fails(given(tmp_path, "a.csv", "a,b\n" + "x" * 5_000_000), words="too long")


def test_too_many_columns_and_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(given(tmp_path, "a.csv", "a,b\n" + "," * 20_000 + "\n"), words="too many cells (row 2)")
    monkeypatch.setattr(limits, "CELLS", 10)
    fails(given(tmp_path, "b.csv", "a,b\n" + "1,2\n" * 5), words="too many cells (row 6)")


def test_long_names_can_not_make_terabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header of long names is repeated in each of many short rows."""
    monkeypatch.setattr(limits, "EXPANSION", 10)
    header = ",".join(f"{n:0>115}x" for n in range(100))
    row = ",".join("1" * 100) + "\n"
    fails(given(tmp_path, "a.csv", header + "\n" + row * 2000), words="far more text")


@pytest.mark.parametrize("mark", [",", ";", "\t", "|", "^", "~"])
def test_every_delimiter(tmp_path: Path, mark: str) -> None:
    rows = [["id", "word", "place"], ["1", "harbour, old", "Kiel"], ["2", "mole", "Emden"]]
    text = "".join(mark.join(f'"{cell}"' if mark in cell else cell for cell in row) + "\n" for row in rows)
    assert "id: 1; word: harbour, old; place: Kiel\n" in text_of(given(tmp_path, "a.csv", text))


def test_years_are_names_of_columns(tmp_path: Path) -> None:
    text = "Country,2019,2020,2021\nFrance,1,2,3\n"
    assert text_of(given(tmp_path, "a.csv", text)).endswith("Country: France; 2019: 1; 2020: 2; 2021: 3\n")
    lives = "Noether,1882,1935\nCurie,1867,1934\n"
    assert text_of(given(tmp_path, "b.csv", lives)) == "Noether | 1882 | 1935\nCurie | 1867 | 1934\n"


@pytest.mark.parametrize("rows", [2, 500])
def test_a_zero_that_a_program_left_in_an_export_is_no_character_of_it(tmp_path: Path, rows: int) -> None:
    table = "name,town\nAn\x00na,Oslo\n" + "Bert,Rome\n" * (rows - 1)
    text = text_of(given(tmp_path, "a.csv", table))
    assert text.startswith("name | town\nname: Anna; town: Oslo\nname: Bert; town: Rome\n")


def test_zeros_all_over_are_no_table(tmp_path: Path) -> None:
    fails(given(tmp_path, "a.csv", "name,town\n" + "An\x00na,Os\x00lo\n" * 20), UnsupportedFormatError)


def test_a_cell_of_several_lines_may_part_them_by_vertical_tabs(tmp_path: Path) -> None:
    table = given(tmp_path, "a.csv", "name,note\nPump,old\vand worn\nValve,new\vand red\v\n")
    assert read(table)[0].type == "csv"
    assert text_of(table) == "name | note\nname: Pump; note: old and worn\nname: Valve; note: new and red\n"
