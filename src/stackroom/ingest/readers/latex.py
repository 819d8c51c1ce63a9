"""LaTeX: a section for each \\section; commands give way to what they are applied to, formulas stay as they are written.

A file that \\input or \\include names is a document of its own: nothing is opened but the file itself, and its name stands where its text would.

pylatexenc reads more of it, at 0.04 MB/s, and flattens headings and tables.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from stackroom.errors import NoTextError, ReadError
from stackroom.ingest.readers.common import tables
from stackroom.ingest.readers.common.headings import HeadingPath
from stackroom.ingest.readers.common.limits import clean
from stackroom.ingest.readers.plaintext import encoding_of, looks_like_text
from stackroom.protocols import Reading, Section

_LARGEST = 64 * 1024 * 1024
_NESTED = 20
_LONGEST_TITLE = 400
_QUOTED = 50
_NAMED = 5

_LEVELS = {"part": 1, "chapter": 2, "section": 3, "subsection": 4, "subsubsection": 5, "paragraph": 6}
_HEADING = re.compile(rf"\\({'|'.join(_LEVELS)})\*?[ \t]*(?:\[[^\[\]]*\])?[ \t]*\{{")
# What TeX reads by other rules, and comments; one after the other, since each may quote the others.
_RAW = re.compile(
    r"%.*(?:\n[ \t]*(?=\S))?"
    r"|\\begin\{(?P<block>verbatim\*?|Verbatim|lstlisting|minted)\}"
    r"|\\(?:url|path|nolinkurl|lstinline)\{(?P<address>[^{}\n]*)\}"
    r"|\\href\{[^{}\n]*\}"
    r"|\\(?:verb|lstinline)\*?(?P<mark>[^\sA-Za-z*{])"
    r"|\\(?P<off>iffalse)(?![A-Za-z])"
    r"|\\."
)
_ON_AGAIN = re.compile(r"\\(?:else|fi)(?![A-Za-z])")
_UNSEEN_COMMANDS = re.compile(
    r"\\(?:label|cite\w*|[vp]?ref|eqref|autoref|cref|pageref|index|glsadd|includegraphics|vspace|hspace|input|include|bibliography\w*|"
    r"usepackage|documentclass|setlength|addtolength|setcounter|pagestyle|thispagestyle|color|"
    r"fontsize|selectfont|linespread|hyphenation|graphicspath|definecolor|let)(?![A-Za-z])\*?(?:\[[^\[\]]*\])*(?:\{[^{}]*\})*"
)
_INPUT = re.compile(
    r"\\(?:(?:input|include|subfile|subfileinclude)|(?:import|subimport|includefrom)\{(?P<folder>[^{}\n]*)\})[ \t]*\{(?P<name>[^{}\n]+)\}"
)
_DEFINITION = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand|(?:re)?newenvironment|newtheorem|DeclareMathOperator|[egx]?def)(?![A-Za-z])\*?"
    r"(?:\\[A-Za-z@]+)?(?:\[[^\[\]]*\]|#\d|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*"
)
# Arguments that say how the last one looks, not what it says.
_MANNER = re.compile(
    r"\\(?:multicolumn\{[^{}]*\}\{(?:[^{}]|\{[^{}]*\})*\}|multirow(?:\[[^\[\]]*\])?\{[^{}]*\}(?:\[[^\[\]]*\])?\{[^{}]*\}"
    r"|(?:textcolor|colorbox|rotatebox|scalebox|raisebox|parbox)(?:\[[^\[\]]*\])*\{[^{}]*\}|(?:fcolorbox|resizebox\*?)\{[^{}]*\}\{[^{}]*\})"
)
_UNSEEN_BLOCKS = ("comment", "tikzpicture", "pgfpicture", "filecontents", "filecontents*", "thebibliography")
_TABULAR = ("tabular", "tabular*", "tabularx", "longtable", "array")
_FORMULAS = tuple(name + star for name in ("equation", "align", "gather", "multline", "eqnarray") for star in ("", "*"))
_ARGUMENTS = re.compile(r"(?:\[[^\[\]]*\]|\{(?:[^{}]|\{[^{}]*\})*\})*")
_RULES = re.compile(
    r"\\(?:hline|toprule|midrule|bottomrule|endhead|endfirsthead|endfoot|cline\{[^{}]*\}|cmidrule(?:\([^()]*\))?\{[^{}]*\})"
)
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[A-Za-z*]+\}(?:\[[^\[\]]*\])?")
_ACCENT = re.compile(
    r"\\([`'^\"~=.uvHcdbr])(?:[ \t]*\{\\?([A-Za-z])\}|(?<=[`'^\"~=.])[ \t]*(?:\\([ij])(?![A-Za-z])[ \t]*|([A-Za-z])))"
)
_TABBED_LINE = re.compile(r"(.*?)(\\\\|\\kill(?![A-Za-z])|\Z)", re.DOTALL)
_TABS = re.compile(r"\\[=><+\-'`]")
_APPLIED = re.compile(r"\\([A-Za-z]+)\*?(?:\[[^\[\]]*\])?\{([^{}]*)\}")
_AND = re.compile(r"\s*\\and(?![A-Za-z])\s*")
_BRACKETED = re.compile(r"\[[^\[\]\n]+\]")
_COMMAND = re.compile(r"\\[A-Za-z]+\*?[ \t]*")
_COMBINING = dict(
    zip(
        "`'^\"~=.uvHcdbr",
        "\u0300\u0301\u0302\u0308\u0303\u0304\u0307\u0306\u030c\u030b\u0327\u0323\u0331\u030a",
        strict=True,
    )
)
_SYMBOLS = {
    "ss": "ß", "ae": "æ", "AE": "Æ", "oe": "œ", "OE": "Œ", "o": "ø", "O": "Ø", "l": "ł", "L": "Ł", "aa": "å", "AA": "Å",
    "i": "i", "j": "j", "dots": "…", "ldots": "…", "textendash": "–", "textemdash": "—", "LaTeX": "LaTeX", "TeX": "TeX",
    "textbackslash": "\\", "S": "§", "P": "¶", "copyright": "©", "pounds": "£", "euro": "€", "quad": " ", "qquad": " ",
}  # fmt: skip
_SYMBOL = re.compile(rf"\\({'|'.join(sorted(_SYMBOLS, key=len, reverse=True))})(?![A-Za-z])[ \t]*(?:\{{\}})?")
_ESCAPED = re.compile(r"\\([&%$#_{}])")
_ITEM = re.compile(r"[ \t]*\\item\b[ \t]*(?:\[([^\[\]]*)\])?[ \t]*")
_MATH = re.compile(r"\$\$.{0,2000}?\$\$|(?<!\\)\$[^$]*?(?<!\\)\$|\\\(.{0,500}?\\\)|\\\[.{0,2000}?\\\]", re.DOTALL)
_BRACE = re.compile(r"[{}]|\\.")
_BLANK = re.compile(r"(?<![ \t])[ \t]*\n(?:[ \t]*\n)+")


class LatexReader:
    name = "latex"
    version = 5
    suffixes: tuple[str, ...] = (".tex", ".ltx", ".latex")

    def accepts(self, path: Path, head: bytes) -> bool:
        if not looks_like_text(head):
            return False
        return (
            path.suffix.lower() in self.suffixes
            or re.match(rb"\s*(?:%[^\n]*\n\s*)*\\documentclass\b", head) is not None
        )

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        if path.stat().st_size > _LARGEST:
            raise ReadError(f"{path} is too large for LaTeX.", hint="Split it.", path=path)
        text = clean(path.read_bytes().decode(encoding_of(path), "replace").removeprefix("\ufeff"))
        kept = _Kept()
        text = _without_raw(text.replace("\x00", ""), kept)
        facts: dict[str, Any] = {}
        title = _argument(text, "title", kept)
        for name in ("author", "date"):
            if said := _argument(text, name, kept):
                facts[name] = said
        body, inputs = _with_inputs(_body(text), kept)
        found = list(_sections(body, kept))
        told = "".join(section.text for section in found)
        if inputs and not _BRACKETED.sub(lambda one: "" if one[0] in inputs else one[0], told).strip():
            named = ", ".join(name[1:-1] for name in islice(inputs, _NAMED)) + (" ..." if len(inputs) > _NAMED else "")
            raise NoTextError(
                f"{path} holds no text of its own. It names the files that do: {named}.", hint="Add those.", path=path
            )
        if not told.strip():
            raise NoTextError(f"{path} holds no text.", hint="Are there only commands in it?", path=path)
        return Reading("latex", found, title or None, facts)


class _Kept:
    """Pieces that are put aside, so that no rule changes them, and come back as they were."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def put(self, piece: str) -> str:
        self._pieces.append(piece)
        return f"\x00{len(self._pieces) - 1}\x00"

    def back(self, text: str) -> str:
        # What was put aside may itself hold what was put aside before.
        for _ in range(3):
            text = re.sub("\x00(\\d+)\x00", lambda found: self._pieces[int(found[1])], text)
        return text.replace("\x00", "")


def _without_raw(text: str, kept: _Kept) -> str:
    """The text without comments and what is switched off; what is quoted word for word, and addresses, are put aside."""
    parts: list[str] = []
    at = 0
    never_closed: set[str] = set()
    while found := _RAW.search(text, at):
        parts.append(text[at : found.start()])
        at = found.end()
        block, mark, address = found["block"], found["mark"], found["address"]
        if block and block not in never_closed:
            closing = f"\\end{{{block}}}"
            if (end := text.find(closing, at)) >= 0:
                parts.append("\n" + kept.put(_inside(text[at:end]).strip("\n")) + "\n")
                at = end + len(closing)
                continue
            never_closed.add(block)
        elif mark:
            end = text.find(mark, at, at + _LONGEST_TITLE)
            if end >= 0 and "\n" not in text[at:end]:
                parts.append(kept.put(text[at:end]))
                at = end + 1
                continue
        elif address is not None:
            parts.append(kept.put(address))
            continue
        elif found["off"] and "fi" not in never_closed:
            if on := _ON_AGAIN.search(text, at):
                at = on.end()
                continue
            never_closed.add("fi")
        elif found[0].startswith(("%", "\\href")):
            continue
        parts.append(found[0])
    return "".join(parts) + text[at:]


def _body(text: str) -> str:
    """What stands between `\\begin{document}` and its end; all of a chapter, which may quote both as an example."""
    start = _outside(text, "\\begin{document}", 0)
    if start is None:
        return text
    end = _outside(text, "\\end{document}", start)
    return text[start + len("\\begin{document}") : end]


def _with_inputs(body: str, kept: _Kept) -> tuple[str, dict[str, None]]:
    """The body with the names of other files where they would be read, in brackets, and these names."""
    names: dict[str, None] = {}

    def named(found: re.Match[str]) -> str:
        name = " ".join(kept.back(posixpath.join((found["folder"] or "").strip(), found["name"].strip())).split())
        said = f"[{name if posixpath.splitext(name)[1] else name + '.tex'}]"
        names[said] = None
        return kept.put(said)

    return _INPUT.sub(named, body), names


def _outside(text: str, words: str, start: int) -> int | None:
    """Where these words stand first, not quoted between bars; only so many of them are looked at."""
    at = start - 1
    for _ in range(_QUOTED):
        at = text.find(words, at + 1)
        if at < 0:
            return None
        if text.count("|", text.rfind("\n", 0, at) + 1, at) % 2 == 0:
            return at
    return None


def _argument(text: str, command: str, kept: _Kept) -> str:
    at = re.search(rf"\\{command}[ \t]*(?:\[[^\[\]]*\])?\{{", text)
    raw = _braced(text, at.end()) if at else None
    return " ".join(_plain(_AND.sub(", ", raw), kept).split()) if raw else ""


def _braced(text: str, start: int) -> str | None:
    """What stands up to the brace that closes the one before `start`; None where none does soon."""
    depth = 1
    held = text[start : start + _LONGEST_TITLE]
    for brace in _BRACE.finditer(held):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if not depth:
            return held[: brace.start()]
    return None


def _sections(body: str, kept: _Kept) -> Iterator[Section]:
    path = HeadingPath()
    start = 0
    title = ""
    for found in _HEADING.finditer(body):
        raw = _braced(body, found.end())
        if raw is None:
            continue
        if text := _section_text(title, body[start : found.start()], kept):
            yield Section(text, path.path)
        title = " ".join(_plain(raw, kept).split())
        path.enter(_LEVELS[found[1]], title)
        start = found.end() + len(raw) + 1
    if text := _section_text(title, body[start:], kept):
        yield Section(text, path.path)


def _section_text(title: str, raw: str, kept: _Kept) -> str:
    text = _BLANK.sub("\n\n", _plain(raw, kept)).strip()
    return "\n\n".join(part for part in (title, text) if part) + "\n\n" if title or text else ""


def _plain(text: str, kept: _Kept) -> str:
    """Text without commands. Formulas and tables are put aside first."""
    text = _blocks(text, _UNSEEN_BLOCKS, lambda _: "")
    text = _blocks(text, ("tabbing",), _without_tabs)
    text = _blocks(text, _FORMULAS, lambda inner: kept.put(inner.strip()))
    text = _MATH.sub(lambda found: kept.put(found[0]), text)
    text = _blocks(text, _TABULAR, lambda inner: kept.put("\n" + _table(_inside(inner))))
    return kept.back(_without_commands(text))


def _blocks(text: str, names: tuple[str, ...], make: Callable[[str], str]) -> str:
    """What stands between `\\begin` and `\\end` of these names, made into something else; in time that grows with the text alone."""
    for name in names:
        begin, end = f"\\begin{{{name}}}", f"\\end{{{name}}}"
        parts: list[str] = []
        at = 0
        while (start := text.find(begin, at)) >= 0 and (stop := text.find(end, start)) >= 0:
            parts += text[at:start], make(text[start + len(begin) : stop])
            at = stop + len(end)
        text = "".join(parts) + text[at:]
    return text


def _without_tabs(lines: str) -> str:
    """Lines of `tabbing`, where accents are tabs, without those that only set them."""
    return "".join(_TABS.sub(" ", line) + end for line, end in _TABBED_LINE.findall(lines) if end != "\\kill")


def _inside(block: str) -> str:
    """A block without the arguments that it begins with."""
    arguments = _ARGUMENTS.match(block)
    return block[arguments.end() :] if arguments else block


def _table(rows: str) -> str:
    cells = (
        [" ".join(_without_commands(cell).split()) for cell in re.split(r"(?<!\\)&", row)]
        for row in re.split(r"\\\\(?:\[[^\[\]]*\])?", _RULES.sub("", rows))
    )
    return tables.text(cells)


def _without_commands(text: str) -> str:
    text = _DEFINITION.sub("", text)
    text = _UNSEEN_COMMANDS.sub("", _MANNER.sub("", text))
    text = _ACCENT.sub(_accented, text)
    text = _SYMBOL.sub(lambda found: _SYMBOLS[found[1]], text)
    text = _ITEM.sub(lambda found: f"\n- {found[1]} " if found[1] else "\n- ", text)
    text = _ENVIRONMENT.sub("\n", text)
    text = _ESCAPED.sub(lambda found: chr(0xE000 + ord(found[1])), text)
    text = re.sub(r"\\\\(?:\[[^\[\]]*\])?", "\n", text).replace("~", " ").replace("---", "—").replace("--", "–")
    text = text.replace("``", "“").replace("''", "”")
    text = text.replace("}{", "} {")
    for _ in range(_NESTED):
        shorter = _APPLIED.sub(_applied, text)
        if shorter == text:
            break
        text = shorter
    text = _COMMAND.sub("", text)
    text = text.replace("{", "").replace("}", "").replace("\\", "")
    return re.sub("[\ue023-\ue07d]", lambda found: chr(ord(found[0]) - 0xE000), text)


def _applied(found: re.Match[str]) -> str:
    """A command gives way to what it is applied to; a note stands in brackets where it is called."""
    command, text = found.groups()
    return f" [{text.strip()}]" if command == "footnote" else "" if command == "thanks" else text


def _accented(found: re.Match[str]) -> str:
    return unicodedata.normalize("NFC", (found[2] or found[3] or found[4]) + _COMBINING[found[1]])
