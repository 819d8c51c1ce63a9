"""Jupyter notebooks: cells under the headings of their Markdown."""

from __future__ import annotations

import json
from pathlib import Path

from reader_support import FILES, chunk_with, fails, given, read, survives, text_of
from stackroom.errors import NoTextError

REAL = FILES / "data/test_notebook.ipynb"


def test_a_real_notebook_gives_cells_and_headings() -> None:
    reading, sections = read(REAL)
    assert (reading.type, reading.title, reading.metadata) == ("ipynb", "Test Notebook Title", {"language": "python"})
    assert [section.headings for section in sections] == [("Test Notebook",), ("Test Notebook", "Code Cell Below")]
    assert "# comment in code\nprint(42)\n\n42\n" in sections[1].text
    place = chunk_with(REAL, "print(42)").place
    assert (place.unit, place.first, place.last) == ("cell", 3, 5)


def notebook(*cells: dict[str, object]) -> str:
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def test_outputs_without_pictures_and_colours(tmp_path: Path) -> None:
    outputs = [
        {"output_type": "stream", "text": ["\x1b[31mred\x1b[0m\n", "more"]},
        {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": "<Figure size 640x480>"}},
        {"output_type": "error", "ename": "ValueError", "evalue": "no"},
    ]
    path = given(tmp_path, "a.ipynb", notebook({"cell_type": "code", "source": "x()", "outputs": outputs}))
    assert text_of(path) == "x()\n\nred\nmore\n\nValueError: no\n\n"


def test_a_cells_headings_are_those_of_markdown(tmp_path: Path) -> None:
    source = "Top\n===\n\n```\n# no heading\n```\n\nOne *more*\n---\ntext"
    path = given(tmp_path, "a.ipynb", notebook({"cell_type": "markdown", "source": source}))
    sections = read(path)[1]
    assert [section.headings for section in sections] == [("Top",), ("Top", "One more")]
    assert "".join(section.text for section in sections) == source + "\n\n"


def test_what_is_displayed_as_markdown(tmp_path: Path) -> None:
    data = {"text/plain": ["<IPython.core.display.Markdown object>"], "text/markdown": ["**Seven** of nine"]}
    outputs = [{"output_type": "display_data", "data": data}]
    path = given(tmp_path, "a.ipynb", notebook({"cell_type": "code", "source": "show()", "outputs": outputs}))
    assert text_of(path) == "show()\n\n**Seven** of nine\n\n"


def test_the_third_version_of_the_format(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Old"]},
        {"cell_type": "code", "input": ["y = 1"], "outputs": []},
    ]
    (section,) = read(given(tmp_path, "a.ipynb", json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]})))[1]
    assert (section.headings, section.text) == (("Old",), "## Old\n\ny = 1\n\n")


def test_known_by_its_content(tmp_path: Path) -> None:
    assert read(given(tmp_path, "a.json", REAL.read_bytes()))[0].type == "ipynb"


def test_broken_and_hostile_notebooks(tmp_path: Path) -> None:
    survives(REAL.read_bytes(), tmp_path / "a.ipynb")
    fails(given(tmp_path, "b.ipynb", '{"cells": ['), words="broken JSON")
    fails(given(tmp_path, "c.ipynb", '{"cells": ' + "[" * 100_000), words="without end")
    for held in ('{"cells": 3}', '{"cells": [1, null, "x", {"cell_type": []}]}', '{"other": 1}'):
        fails(given(tmp_path, "d.ipynb", held), NoTextError)
    assert read(given(tmp_path, "e.ipynb", "only words"))[0].type == "text"
