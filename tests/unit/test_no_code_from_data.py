"""What no module may do, read from the source itself: run code that comes from data, open the catalogue elsewhere, use the network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import stackroom
from stackroom.errors import StorageError
from stackroom.storage.catalogue import database
from stackroom.storage.store import LocalStore

SOURCE = Path(stackroom.__file__).parent

RUNS_CODE = frozenset(
    [
        "pickle",
        "cPickle",
        "dill",
        "cloudpickle",
        "joblib",
        "shelve",
        "marshal",
        "runpy",
        "code",
        "codeop",
        "imp",
        "yaml",
        "sqlite3",
        "ctypes",
        "cffi",
    ]
)
NETWORK = frozenset(
    [
        "socket",
        "ssl",
        "http",
        "urllib.request",
        "ftplib",
        "smtplib",
        "requests",
        "httpx",
        "aiohttp",
        "urllib3",
        "websockets",
        "xmlrpc",
        "socketserver",
    ]
)
CALLS = frozenset(["eval", "exec", "compile", "__import__"])

KNOWN = {
    # To the server that a library's URL names, and to no other.
    ("engines/chroma/client.py", "httpx"),
    # LangChain keeps its documents in a pickle: an unpickler that knows four names, and runs none.
    ("migration/stores/langchain.py", "pickle"),
    # Between a process and its own child, over their pipe.
    ("migration/reader_process.py", "marshal"),
    # One call of libc: a parser's process ends with its parent.
    ("ingest/parser.py", "ctypes"),
    # A question whose server is silent is cut off by its connection; and where the page listens.
    ("chat/served.py", "socket"),
    ("web/listening.py", "socket"),
    # Reading a cookie, which asks nobody.
    ("web/guard.py", "http"),
    # Numbers that pdfium fills in.
    ("ingest/readers/pdf.py", "ctypes"),
}

DYNAMIC = {
    # The name is written in the code.
    "__init__.py",
    "_optional.py",
    "cli/main.py",
    "storage/vectors/sketches.py",
    # `add --reader module:object`: named by the user with each call, never by a library.
    "ingest/readers/common/plugged.py",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """What is called, as it is written: `eval`, `importlib.import_module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def forbidden(name: str, tree: ast.AST) -> Iterator[str]:
    for module in imported(tree):
        found = {module, module.partition(".")[0]} & (RUNS_CODE | NETWORK)
        yield from (f"imports {one}" for one in found if (name, one) not in KNOWN)
    for called, call in calls(tree):
        if called in CALLS:
            yield f"calls {called}"
        if called.endswith("import_module") and name not in DYNAMIC:
            yield "imports what it is told to"
        if called.endswith((".allow_pickle", ".enable_load_extension", ".load_extension")):
            yield f"calls {called}"
        if called.endswith(".load") and called.startswith("np"):
            pickles = [word.value for word in call.keywords if word.arg == "allow_pickle"]
            if not pickles or ast.unparse(pickles[0]) != "False":
                yield "lets numpy unpickle"


def test_no_module_runs_code_from_data_or_uses_the_network() -> None:
    assert [f"{name}: {what}" for name, tree in modules() for what in forbidden(name, tree)] == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import marshal",
        "import sqlite3",
        "from urllib import request",
        "import socket as s",
        "eval(text)",
        "exec(text)",
        "importlib.import_module(name)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "connection.enable_load_extension(True)",
    ],
)
def test_such_a_line_is_found(line: str) -> None:
    assert list(forbidden("storage/store.py", ast.parse(line))) != []


def opens_a_catalogue(tree: ast.AST) -> bool:
    return any(
        called in ("Connection", "apsw.Connection", "sql.Connection") and ast.unparse(call.args[0]) != "':memory:'"
        for called, call in calls(tree)
    )


def test_one_room_opens_the_catalogue() -> None:
    """Whoever opens its file otherwise drops SQLite's locks when he closes it, and has none of its defences.

    A backup makes its own copy, which nobody else has open, and so does a repair; what is only in memory is no catalogue.
    """
    found = {name for name, tree in modules() if opens_a_catalogue(tree)}
    assert found == {"storage/catalogue/database.py", "storage/upkeep/backup.py", "storage/upkeep/repair.py"}


def test_the_reset_of_the_log_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sqlite.org/wal.html: a WAL that was reset could be taken for the one before, fixed in 3.51.3."""
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)
    LocalStore(tmp_path / "library").close()
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    for opening in (database.open_reader, database.open_writer, database.create):
        with pytest.raises(StorageError, match="can corrupt a library"):
            opening(tmp_path / "library")
