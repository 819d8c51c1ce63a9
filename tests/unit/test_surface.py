"""What an application sees: names, errors, what is imported when."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import stackroom
from old_index import OldIndex
from stackroom import Chunk, Document, errors, filters, migration
from stackroom.errors import InvalidFilterError, UsageError

HEAVY = ("faiss", "onnxruntime", "tokenizers", "torch", "rich", "pypdfium2", "lxml", "docx", "selectolax")


def modules_after(code: str, *, cwd: Path | None = None) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True, text=True, check=True, cwd=cwd,
    )  # fmt: skip
    return set(done.stdout.split())


def test_every_exported_name_is_there_and_nothing_else_shows() -> None:
    assert dir(stackroom) == sorted(stackroom.__all__)
    for name in stackroom.__all__:
        assert getattr(stackroom, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        stackroom.nothing  # noqa: B018


def test_import_is_light() -> None:
    loaded = modules_after("import stackroom")
    assert not loaded & {*HEAVY, "numpy", "apsw", "click", "zstandard", "json", "asyncio"}


def test_opening_and_listing_load_no_model(tmp_path: Path) -> None:
    code = """
import stackroom
with stackroom.open('library') as index:
    index.sources(); index.stats()
"""
    assert not modules_after(code, cwd=tmp_path) & set(HEAVY)


def test_a_question_by_vector_loads_what_knows_words_neither_then_nor_at_closing(tmp_path: Path) -> None:
    with stackroom.open(tmp_path / "library") as index:
        index.add_documents([Document("d", chunks=[Chunk("words", embedding=np.ones(4, dtype=np.float32))])])
    code = """
import numpy, stackroom
with stackroom.open('library') as index:
    assert index.search(numpy.ones(4, dtype=numpy.float32))[0].text == 'words'
"""
    words = {name for name in modules_after(code, cwd=tmp_path) if name.startswith("stackroom.storage.words.")}
    assert words == set()


def test_the_command_line_help_loads_no_index() -> None:
    loaded = modules_after("from stackroom.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass")
    assert not loaded & {*HEAVY, "numpy", "apsw", "zstandard", "stackroom.index", "stackroom.opening"}


def test_the_status_needs_no_numpy(tmp_path: Path) -> None:
    stackroom.open(tmp_path / "library").close()
    code = "from stackroom.cli.main import main\ntry: main(['--library', 'library', 'status'])\nexcept SystemExit: pass"
    loaded = modules_after(code, cwd=tmp_path)
    assert "stackroom.storage.catalogue.summary" in loaded
    assert not loaded & {*HEAVY, "numpy"}
    old = OldIndex()
    old.listed = {}  # several collections are counted with numpy
    old.write(tmp_path / "library2")
    migration.migrate(tmp_path / "library2")
    loaded = modules_after(code.replace("'library'", "'library2'"), cwd=tmp_path)
    assert "stackroom.migration.origin" in loaded
    assert not loaded & {*HEAVY, "numpy"}


def every_error() -> list[type[errors.StackroomError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.StackroomError)]


def test_the_tree_is_drawn_with_every_error() -> None:
    for kind in every_error():
        assert kind.__name__ in (errors.__doc__ or "")
        assert kind.__doc__


def test_exit_codes_are_those_of_the_surface() -> None:
    codes = {
        errors.ReadError: 1, errors.StorageError: 1, errors.UsageError: 2, errors.InvalidFilterError: 2,
        errors.NotFoundError: 3, errors.NotALibraryError: 3, errors.BusyError: 4, errors.DamagedError: 5,
        errors.FormatVersionError: 5, errors.EmbedderMismatchError: 6, errors.MissingExtraError: 7, errors.EngineAwayError: 7,
    }  # fmt: skip
    for kind, code in codes.items():
        assert kind("m").exit_code == code


@pytest.mark.parametrize("kind", every_error())
def test_errors_survive_a_process_border(kind: type[errors.StackroomError]) -> None:
    error = kind("what happened", hint="what to do", path=Path("where"), expected=1, actual=2)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own object
        assert type(again) is kind
        assert (again.message, again.hint, again.path) == ("what happened", "what to do", "where")
        assert (again.expected, again.actual, str(again)) == (1, 2, "what happened what to do")


def test_a_foreign_database_is_not_taken_for_a_library(tmp_path: Path) -> None:
    import apsw

    connection = apsw.Connection(str(tmp_path / "catalogue.db"))
    connection.execute("CREATE TABLE settings(name, value)")
    connection.close()
    with pytest.raises(errors.NotALibraryError, match="another program"):
        stackroom.open(tmp_path)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(errors.NotALibraryError):
        stackroom.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.NotFoundError, match=f"stackroom --library {tmp_path}/library add PATH"):
        stackroom.open(tmp_path / "library", mode="r")
    monkeypatch.setenv("STACKROOM_LIBRARY", str(tmp_path / "library"))
    with pytest.raises(errors.NotFoundError, match="stackroom add PATH"):
        stackroom.open(mode="r")
    assert not (tmp_path / "library").exists()
    stackroom.open(tmp_path / "library", mode="x").close()
    assert (tmp_path / "library").stat().st_mode & 0o777 == 0o700
    with pytest.raises(errors.NotALibraryError, match="already"):
        stackroom.open(tmp_path / "library", mode="x")
    with stackroom.open(tmp_path / "library", mode="r") as index, pytest.raises(errors.ReadOnlyError):
        index.set_active(None, True)
    with pytest.raises(errors.UsageError):
        stackroom.open(tmp_path / "library", mode="w")  # type: ignore[arg-type]


def test_the_library_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKROOM_LIBRARY", str(tmp_path / "mine"))
    with stackroom.open() as index:
        assert index.stats().library == str(tmp_path / "mine")


def test_a_newer_format_is_refused_with_the_way_out(tmp_path: Path) -> None:
    from stackroom.storage.catalogue.sql import Connection

    stackroom.open(tmp_path / "library").close()
    for statement, mode in (
        ("UPDATE settings SET value = 2 WHERE name = 'format_version'", "r"),
        ("UPDATE settings SET value = 4 WHERE name = 'reader_flags'", "r"),
        ("UPDATE settings SET value = 4 WHERE name = 'writer_flags'", "a"),
    ):
        connection = Connection(str(tmp_path / "library" / "catalogue.db"))
        before = connection.rows("SELECT * FROM settings")
        connection.execute(statement)
        connection.close()
        with pytest.raises(errors.FormatVersionError, match="Upgrade"):
            stackroom.open(tmp_path / "library", mode=mode)  # type: ignore[arg-type]
        if mode == "a":
            stackroom.open(tmp_path / "library", mode="r").close()
        connection = Connection(str(tmp_path / "library" / "catalogue.db"))
        connection.executemany("UPDATE settings SET value = ?2 WHERE name = ?1", before)
        connection.close()


@pytest.mark.parametrize(
    "expression",
    [
        "year => 2020",
        "year =< 2020",
        "year >> 3",
        "year == 2001 and kind == manual",
        "a == b or c >= 3",
        "a == b && c == d",
    ],
)
def test_what_is_no_single_condition_is_an_error(expression: str) -> None:
    with pytest.raises(InvalidFilterError):
        filters.parse(expression)


@pytest.mark.parametrize(
    ("expression", "value"),
    [("title == war and peace", "war and peace"), ('title == "a and b == c"', "a and b == c"), ("a == x = y", "x = y")],
)
def test_a_text_may_look_a_little_like_one(expression: str, value: str) -> None:
    assert filters.parse(expression).value == value


def test_keys_of_metadata_are_text(tmp_path: Path) -> None:
    with stackroom.open(tmp_path / "library") as index:
        for spoiled in (
            stackroom.Document("m", text="aaa", metadata={1: "b"}),  # type: ignore[dict-item]
            stackroom.Document("m", chunks=[stackroom.Chunk("aaa", metadata={None: "b"})]),  # type: ignore[dict-item]
        ):
            with pytest.raises(UsageError, match="Keys are text"):
                index.add_documents([spoiled])
