"""The documentation says what is so: commands, errors, tables, and examples that run."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stackroom import errors
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.store import LocalStore

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def test_every_command_is_documented_with_its_help() -> None:
    spec = importlib.util.spec_from_file_location("command_pages", ROOT / "tools" / "command_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "commands.md").read_text() == module.page(), "run: make docs"


def test_every_error_is_documented_with_its_exit_code() -> None:
    table = dict(re.findall(r"^\| `(\w+)`.*? \| (\d+) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE))
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.StackroomError) and kind is not errors.StackroomError:
            assert table.get(name) == str(kind.exit_code), name


def test_every_table_and_column_is_specified(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "format.md").read_text()
    LocalStore(tmp_path / "library").close()
    connection = Connection(str(tmp_path / "library" / "catalogue.db"))
    tables = connection.rows(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'words_%'"
    )
    assert len(tables) > 10
    for (table,) in tables:
        assert re.search(rf"\b{table}\b", page), table
        for _, column, *_ in connection.rows(f"PRAGMA table_info({table})"):
            assert re.search(rf"\b{column}\b", page), f"{table}.{column}"
    for (name,) in connection.rows("SELECT name FROM settings"):
        assert f"`{name}`" in page
    connection.close()


def test_every_format_is_in_the_matrix_with_its_test() -> None:
    from stackroom.ingest.readers import ON_REQUEST, READERS

    page = (ROOT / "docs" / "formats.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and "test_" in line]
    assert len(rows) == len(READERS)
    for reader in READERS:
        shown = reader.suffixes if reader.name != "code" else (".py", ".js", ".java")
        (row,) = [row for row in rows if all(f"`{suffix}`" in row for suffix in shown)]
        assert ("on request" in row) == (reader.name in ON_REQUEST)
        for test in re.findall(r"`(test_\w+\.py)`", row):
            assert (ROOT / "tests/unit/ingest" / test).exists(), test


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md"])
def test_examples_run(page: str, tmp_path: Path) -> None:
    """All of a page's Python, in order, in a folder that holds the samples."""
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Rotating" in done.stdout or "logs" in done.stdout.lower()


def test_commands_in_the_quickstart_are_real(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from stackroom.cli.main import VERBS, cli

    text = (ROOT / "docs" / "quickstart.md").read_text() + (ROOT / "README.md").read_text()
    used = set(re.findall(r"\bstackroom (?:--\w+ )?([a-z]+)", text)) & {
        *VERBS,
        *re.findall(r"^stackroom (\w+)", text, re.MULTILINE),
    }
    assert used >= set(VERBS) - {"active"}
    assert used <= set(VERBS)
    for verb, option in re.findall(r"stackroom (\w+)[^\n`]*? (--[a-z-]+)", text):
        if verb in VERBS:
            assert option in CliRunner().invoke(cli, [verb, "--help"]).output + "--library --json", (verb, option)


def test_figures_at_a_million_are_those_of_their_page() -> None:
    """`docs/performance.md` quotes `docs/benchmarks/scale.md`, which a run writes whole."""
    measured = _column(ROOT / "docs" / "benchmarks" / "scale.md", "1,000,000")
    said = dict(
        re.findall(r"^\| (.+?) \| .+? \| (.+?) \|", (ROOT / "docs" / "performance.md").read_text(), re.MULTILINE)
    )
    for row, figure in (
        ("the same at 1,000,000 of 1,024 dimensions, synthetic", "vector"),
        ("search for words, 25,000 and 1,000,000 passages", "words"),
        ("search for words, 25,000 and 1,000,000 passages", "words, the same filter"),
        ("memory that can't be given back, open and search", "searching, above that"),
        ("add a document of 240 passages, durable, text indexed", "add a document of 240 passages"),
        ("remove it, durable", "remove it"),
    ):
        assert re.search(rf"\b{re.escape(measured[figure])}\b", said[row]), f"{row}: {figure} is {measured[figure]}"


def _column(page: Path, head: str) -> dict[str, str]:
    """Of all tables of a page, the cells under `head` by the first cell of their row."""
    found, place = {}, 0
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if head in cells:
            place = cells.index(head)
        elif line.startswith("| ") and place:
            found.setdefault(cells[0], cells[place])
    return found


def test_the_repository_names_nothing_of_this_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in listed:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".sh", ".svg") and path.exists():
            assert os.path.expanduser("~") + "/" not in path.read_text().replace("~/", ""), name
