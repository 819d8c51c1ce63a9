"""Source code: by definition, with line numbers; and only on request."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

import stackroom.progress
from reader_support import FILES, chunk_with, fails, given, read, survives
from stackroom.errors import NoTextError, UnsupportedFormatError, UsageError
from stackroom.index import Index
from stackroom.ingest.discovery import Discovery
from stackroom.ingest.readers import SUFFIXES

REAL = FILES / "code"
PYTHON = Path(stackroom.progress.__file__)


def line_of(path: Path, words: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), start=1) if words in line)


def names(path: Path) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(section.headings for section in read(path)[1]))


def test_a_real_module_of_python_by_definition() -> None:
    reading, sections = read(PYTHON)
    assert (reading.type, reading.metadata) == ("code", {"language": "python"})
    assert "".join(section.text for section in sections) == PYTHON.read_text()
    assert ("CancelToken", "cancelled") in names(PYTHON)
    place = chunk_with(PYTHON, "class CancelToken", limit=20).place
    assert place.unit == "line"
    assert place.section == ("CancelToken",)
    assert place.first == line_of(PYTHON, "class CancelToken")


def test_real_java_and_javascript_by_rule() -> None:
    assert names(REAL / "testJAVA.java") == [(), ("HelloWorld",), ("HelloWorld", "main")]
    assert chunk_with(REAL / "testJAVA.java", "println", limit=40).place.first in (9, 10)
    script = REAL / "debugger.js"
    for name in ("promptForPin", "wrapPlainTraceback", "openShell"):
        section = next(section for section in read(script)[1] if section.headings == (name,))
        assert section.text.startswith(("function ", "/**", "//"))
        assert section.marks[0][1] <= line_of(script, f"function {name}(") <= section.marks[-1][1]


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("a.go", "package main\n\n// Get gets.\nfunc (s *Store) Get(key string) (int, error) {\n\tif s.a > 0 {\n\t}\n}\n", [(), ("Get",)]),
        ("a.rs", "pub struct A;\nimpl A {\n    pub fn new() -> A { A }\n}\n", [("A",), ("A", "new")]),
        ("a.c", "#include <a.h>\n/* adds */\nstatic int add(int a,\n               int b)\n{\n    if (a) {\n    }\n}\nint x = f(a);\n", [(), ("add",)]),
        ("a.rb", "module M\n  def self.call(x)\n  end\n  def empty?\n  end\nend\n", [("M",), ("M", "self.call"), ("M", "empty?")]),
        ("a.sql", "CREATE TABLE IF NOT EXISTS people (id int);\n\ncreate view v as select 1;\n", [("people",), ("v",)]),
        ("a.ts", "export const add = (a: number) => a;\nexport default class Box<T> {\n  size(): number {\n  }\n}\n", [("add",), ("Box",), ("Box", "size")]),
        ("a.py", "print 'of yesterday'\n\ndef old(x):\n    return `x`\n", [(), ("old",)]),
        ("b.rs", "impl A {\n    fn new() {}\n}\n\nmod inner {\n    fn deep() {}\n}\nconst X: u8 = 1;\n", [("A",), ("A", "new"), ("inner",), ("inner", "deep"), ()]),
        ("b.c", "struct s { int x; };\n\n/* adds */\nstatic int\nadd(int a,\n    char *b)\n{\n  if (a)\n    {\n    }\n}\n\nint total;\n", [("s",), ("add",), ()]),
        ("b.ts", "class A {\n  private async get<T>(id: string): Promise<T> {\n    return x;\n  }\n  y = 1;\n}\nlet z = 2;\n", [("A",), ("A", "get"), ()]),
        ("A.java", "class A {\n  static <T> List<T> list(Map<String, T> m) {\n    return null;\n  }\n  int y;\n}\n", [("A",), ("A", "list")]),
        ("a.r", "add <- function(x) {\n  x\n}\n\nmin.of = function(x) x\n", [("add",), ("min.of",)]),
        ("b.lua", "function a()\nend\nprint(x)\n", [("a",), ()]),
        ("a.lua", "M.go = function(a)\n  if a then\n  end\nend\nreturn M\n", [("M.go",), ()]),
        ("a.swift", "extension Store: Codable {\n  func size() {\n  }\n}\n", [("Store",), ("Store", "size")]),
        ("a.cpp", "namespace n {\nclass V {\n public:\n  int x;\n};\nint V::size() {\n  return 0;\n}\n}\n", [("n",), ("V",), ("V::size",)]),
        ("a.ex", "defmodule Shop.Cart do\n  def add(x) do\n    x\n  end\n  @limit 3\nend\n", [("Shop.Cart",), ("Shop.Cart", "add")]),
        ("run", "#!/bin/sh\nset -e\nbuild() {\n  make\n}\n", [(), ("build",)]),
    ],
)  # fmt: skip
def test_languages_by_rule(tmp_path: Path, name: str, text: str, wanted: list[tuple[str, ...]]) -> None:
    path = given(tmp_path, name, text)
    assert names(path) == wanted
    assert "".join(section.text for section in read(path)[1]) == text


def test_comments_and_decorators_belong_to_what_they_stand_above(tmp_path: Path) -> None:
    text = "x = 1\n\n# Says hello.\n@cache\ndef hello():\n    pass\n"
    section = read(given(tmp_path, "a.py", text))[1][-1]
    assert section.text.startswith("# Says hello.\n@cache\ndef hello")
    assert section.marks[0] == (0, 3, 3)


# A folder walk


def test_a_folder_of_programs_gives_its_documents_unless_code_is_asked_for(index: Index, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "node_modules").mkdir(parents=True)
    for name in ("a.py", "package.json", "pom.xml", "notes.md", "node_modules/b.js"):
        given(
            project,
            name,
            '{"a": 1}' if name.endswith("json") else "<a>b</a>" if name.endswith("xml") else "words = 1\n",
        )
    found = [item.path.name for item in Discovery([project])]
    assert found == ["notes.md"]
    assert [item.path.name for item in Discovery([project], also=["code", "json"])] == [
        "a.py",
        "notes.md",
        "package.json",
    ]
    assert [item.path.name for item in Discovery([project / "a.py", str(project / "*.xml")])] == ["a.py", "pom.xml"]
    with pytest.raises(UsageError, match="no kind 'pictures'"):
        Discovery([project], also=["pictures"])
    assert not SUFFIXES & {".py", ".json", ".xml"}
    assert index.add(project, also="code").added == 2


# Broken and hostile


def test_broken_code(tmp_path: Path) -> None:
    survives(PYTHON.read_bytes(), tmp_path / "a.py")
    survives((REAL / "debugger.js").read_bytes(), tmp_path / "a.js")
    fails(given(tmp_path, "b.py", "\n\n"), NoTextError)
    fails(given(tmp_path, "c.py", b"\x7fELF" + bytes(range(256)) * 20), UnsupportedFormatError)


def test_hostile_code(tmp_path: Path) -> None:
    deep = given(tmp_path, "a.py", "(" * 100_000)
    assert read(deep)[0].type == "code"
    deep = given(tmp_path, "b.py", "".join(" " * n + "class A:\n" for n in range(90)) + " " * 90 + "pass\n")
    assert max(len(section.headings) for section in read(deep)[1]) <= 5
    begun = time.monotonic()
    letters = "".join(random.Random(1).choices("ab <>*&:,.[]?(", k=2_000_000))
    for name in ("c.c", "d.js", "e.sql"):
        read(given(tmp_path, name, letters + "\n" + "\n".join(letters[n : n + 900] for n in range(0, 200_000, 900))))
    assert time.monotonic() - begun < 30
    fails(given(tmp_path, "f.js", b"x" * (17 * 2**20)), words="too large")
