"""Source code: a section for each definition, with line numbers. Python by its own parser, all others by a simple rule.

The rule: a line that names a definition begins one, together with the comments right above it, and its indentation says what it
is within. A parser for each language (tree-sitter) would be exact where this is nearly so, and needs
a grammar of its own for each language.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stackroom.errors import NoTextError, ReadError
from stackroom.ingest.readers.common.limits import clean
from stackroom.ingest.readers.common.marked import LONG, Marked
from stackroom.ingest.readers.plaintext import encoding_of, looks_like_text
from stackroom.protocols import Reading, Section

_LARGEST = 16 * 1024 * 1024
_LONGEST_LINE = 1000

_LANGUAGES = {
    "python": ".py .pyi .pyw", "javascript": ".js .mjs .cjs .jsx", "typescript": ".ts .tsx .mts", "java": ".java",
    "kotlin": ".kt .kts", "scala": ".scala", "groovy": ".groovy .gradle", "c": ".c .h", "c++": ".cc .cpp .cxx .hpp .hh .hxx",
    "objective-c": ".m .mm", "c#": ".cs", "f#": ".fs", "visual basic": ".vb", "go": ".go", "rust": ".rs", "ruby": ".rb",
    "php": ".php", "perl": ".pl .pm", "lua": ".lua", "r": ".r", "julia": ".jl", "swift": ".swift", "dart": ".dart",
    "shell": ".sh .bash .zsh .fish", "powershell": ".ps1 .psm1", "sql": ".sql", "haskell": ".hs", "ocaml": ".ml .mli",
    "elixir": ".ex .exs", "erlang": ".erl", "clojure": ".clj .cljs", "lisp": ".lisp .el .scm", "zig": ".zig", "nim": ".nim",
    "protobuf": ".proto", "vue": ".vue", "svelte": ".svelte", "css": ".css .scss .less",
}  # fmt: skip
_LANGUAGE_OF = {suffix: language for language, suffixes in _LANGUAGES.items() for suffix in suffixes.split()}

_MODIFIER = (
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|override|virtual|inline|extern|unsafe|pub"
    r"(?:\([^)]*\))?|open|data|sealed|partial|const|constexpr|local|suspend|declare|readonly|case|companion)\s+)*"
)
_NAMED = re.compile(
    rf"(?P<indent>[ \t]*){_MODIFIER}(?:class|interface|struct|enum|trait|impl|module|mod|namespace|protocol|extension|object|record|"
    r"union|function|func|fun|fn|def|defp|defmodule|defmacro|defn|defun|sub|proc|procedure|message|service|rpc|"
    r"macro_rules!|type|CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP(?:ORARY)?\s+)?(?:TABLE|VIEW|FUNCTION|PROCEDURE|TRIGGER|INDEX))\b"
    r"[\s*&]*(?:IF\s+NOT\s+EXISTS\s+)?(?:<[^<>]*>\s*)?(?:\([^()]*\)\s*)?(?P<name>[A-Za-z_$](?:[\w$.]|::?(?=\w))*[?!]?)",
    re.IGNORECASE,
)
# A function of C and its kin: a type, a name, parameters, and no semicolon at the end.
_TYPED = re.compile(
    r"(?P<indent>[ \t]*)(?:[A-Za-z_][\w:<>,.\[\]?]*[\s*&]+|<[^<>]*>\s+)+(?P<name>~?[A-Za-z_][\w:~]*)\s*\([^;={}]*(?:\)[^;=]*)?\{?\s*$"
)
# The same in the manner of GNU and BSD: its type stands on the line before.
_BELOW_ITS_TYPE = re.compile(r"(?P<indent>)(?P<name>[A-Za-z_][\w:~]*)\s*\([^;={}]*$")
_TYPES_ABOVE = frozenset({"c", "c++", "objective-c"})
_TYPE = re.compile(r"[A-Za-z_][\w\s*&:<>,]*$")
_ASSIGNED = re.compile(
    r"(?P<indent>)(?:export\s+)?(?:const|let|var)\s+(?P<name>[\w$]+)\s*=\s*(?:async\s*)?(?:function\b|\(?[\w\s,{}:]*\)?\s*=>)"
    r"|(?P<indent_>)(?P<name_>[A-Za-z_$.][\w$.]*)\s*(?:<-|=)\s*(?:async\s+)?function\b"
)
# The end of what began at the same indentation.
_END = re.compile(r"(?P<indent>[ \t]*)(?:\}|end\b)")
_METHOD = re.compile(
    r"(?P<indent>[ \t]+)(?:(?:async|static|get|set|public|private|protected|readonly|override)\s+|\*\s*)*(?P<name>[#\w$]+)\s*(?:<[^<>]*>)?\s*\([^;(){}]*\)\s*(?::[^;{}()]+)?\{\s*$"
)
_SHELL = re.compile(r"(?P<indent>[ \t]*)(?P<name>[\w-]+)\s*\(\)\s*\{?\s*$")
_NO_NAMES = frozenset(
    [
        "if",
        "for",
        "while",
        "switch",
        "return",
        "else",
        "elif",
        "catch",
        "do",
        "try",
        "new",
        "throw",
        "delete",
        "case",
        "when",
        "match",
        "in",
        "with",
    ]
)
_ABOVE = re.compile(r"[ \t]*(?://|/\*|\*|#(?!include|define|if|endif)|--|;|@|\[[A-Za-z]|\"\"\"|'''|%)")


class CodeReader:
    name = "code"
    version = 2
    suffixes: tuple[str, ...] = tuple(_LANGUAGE_OF)
    asked_only = True

    def accepts(self, path: Path, head: bytes) -> bool:
        if path.suffix.lower() in self.suffixes:
            return looks_like_text(head)
        return not path.suffix and head.startswith(b"#!") and looks_like_text(head)

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        if path.stat().st_size > _LARGEST:
            raise ReadError(f"{path} is too large for source code.", hint="Is it data? Call it .txt.", path=path)
        encoding = encoding_of(path)
        text = clean(path.read_bytes().decode(encoding, "replace").removeprefix("\ufeff"))
        if not text.strip():
            raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)
        lines = text.splitlines(keepends=True)
        language = _LANGUAGE_OF.get(path.suffix.lower()) or _language_of_shebang(lines[0])
        found = _by_parser(text) if language == "python" else None
        if found is None:
            found = _by_rule(lines, types_above=language in _TYPES_ABOVE)
        return Reading("code", _sections(lines, found), None, {"language": language} if language else {})


class _Definition(NamedTuple):
    """Where a definition begins (a line, from 0), and its name with what it is within."""

    line: int
    path: tuple[str, ...]


def _language_of_shebang(line: str) -> str | None:
    for word, language in (
        ("python", "python"),
        ("node", "javascript"),
        ("perl", "perl"),
        ("ruby", "ruby"),
        ("sh", "shell"),
    ):
        if line.startswith("#!") and word in line:
            return language
    return None


def _sections(lines: list[str], definitions: list[_Definition]) -> Iterator[Section]:
    held = Marked("line")
    path: tuple[str, ...] = ()
    waiting = iter([*definitions, _Definition(len(lines), ())])
    following = next(waiting)
    for number, line in enumerate(lines):
        while number >= following.line:
            if not held.blank:
                yield held.take(path)
            path, following = following.path, next(waiting)
        held.add(line, number + 1)
        if held.size > LONG:
            yield held.take(path)
    if held.size:
        yield held.take(path)


def _by_parser(text: str) -> list[_Definition] | None:
    """The definitions of a Python module: classes, their methods, functions; None where it is no Python of today."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found: list[_Definition] = []
    lines = text.splitlines()

    def visit(body: list[ast.stmt], above: tuple[str, ...]) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
                path = (*above, node.name)
                found.append(_Definition(_with_comments(lines, first), path))
                if isinstance(node, ast.ClassDef) and len(path) < 4:
                    visit(node.body, path)
                # What follows belongs to what is around it, until the next definition.
                found.append(_Definition(node.end_lineno or node.lineno, above))

    visit(tree.body, ())
    return _in_order(found)


def _in_order(found: list[_Definition]) -> list[_Definition]:
    """One definition a line: the last that begins there."""
    by_line = {definition.line: definition for definition in found}
    return [by_line[line] for line in sorted(by_line)]


def _by_rule(lines: list[str], *, types_above: bool) -> list[_Definition]:
    """`types_above`: a line of nothing but a type may belong to the definition below it."""
    found: list[_Definition] = []
    around: list[tuple[int, str]] = []
    for number, line in enumerate(lines):
        if len(line) > _LONGEST_LINE:
            continue
        if _ABOVE.match(line):
            continue
        if around and (end := _END.match(line)) and (indent := _width(end["indent"])) <= around[-1][0]:
            around = [(deep, name) for deep, name in around if deep < indent]
            found.append(_Definition(_after_ends(lines, number), tuple(name for _, name in around)))
            continue
        match = _NAMED.match(line) or _ASSIGNED.match(line) or _typed(line)
        begins = number
        if match is None and types_above and number and _TYPE.match(lines[number - 1]):
            match, begins = _BELOW_ITS_TYPE.match(line), number - 1
        if match is None:
            continue
        parts = match.groupdict()
        name = parts["name"] or parts["name_"]
        indent = _width(parts["indent"] or "")
        around = [(deep, above) for deep, above in around if deep < indent][-3:]
        around.append((indent, name))
        found.append(_Definition(_with_comments(lines, begins), tuple(above for _, above in around)))
    return _in_order(found)


def _after_ends(lines: list[str], number: int) -> int:
    """The line after an end that belongs to what is around it: the next that neither is blank nor ends that as well."""
    number += 1
    while number < len(lines) and (not lines[number].strip() or _END.match(lines[number])):
        number += 1
    return number


def _width(indent: str) -> int:
    return len(indent.expandtabs(4))


def _typed(line: str) -> re.Match[str] | None:
    match = _TYPED.match(line) or _METHOD.match(line) or _SHELL.match(line)
    words = line.split(None, 1)
    return None if match is None or match["name"] in _NO_NAMES or words[0].rstrip("(") in _NO_NAMES else match


def _with_comments(lines: list[str], number: int) -> int:
    """The line at which the comments and annotations right above a definition begin."""
    while number > 0 and _ABOVE.match(lines[number - 1]):
        number -= 1
    return number
