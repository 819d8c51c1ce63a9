"""LaTeX: a section for each \\section; commands give way to what they are applied to, formulas stay as they are written.

pylatexenc reads more of it, at 0.04 MB/s, and flattens headings and tables.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
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

_LEVELS = {"part": 1, "chapter": 2, "section": 3, "subsection": 4, "subsubsection": 5, "paragraph": 6}
_HEADING = re.compile(rf"\\({'|'.join(_LEVELS)})\*?[ \t]*(?:\[[^\[\]]*\])?[ \t]*\{{")
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%.*(?:\n[ \t]*(?=\S))?")
_UNSEEN_COMMANDS = re.compile(
    r"\\(?:label|cite\w*|[vp]?ref|eqref|autoref|cref|pageref|index|glsadd|includegraphics|vspace|hspace|input|include|bibliography\w*|"
    r"usepackage|documentclass|newcommand|renewcommand|setlength|addtolength|setcounter|pagestyle|thispagestyle|color|"
    r"fontsize|selectfont|linespread|hyphenation|graphicspath|DeclareMathOperator|def|let)\*?(?:\[[^\[\]]*\])*(?:\{[^{}]*\})*"
)
_UNSEEN_BLOCKS = ("comment", "tikzpicture", "pgfpicture", "filecontents", "filecontents*", "thebibliography")
_VERBATIM = ("verbatim", "verbatim*", "lstlisting", "minted")
_TABULAR = ("tabular", "tabular*", "tabularx", "longtable", "array")
_FORMULAS = tuple(name + star for name in ("equation", "align", "gather", "multline", "eqnarray") for star in ("", "*"))
_ARGUMENTS = re.compile(r"(?:\[[^\[\]]*\]|\{(?:[^{}]|\{[^{}]*\})*\})*")
_RULES = re.compile(
    r"\\(?:hline|toprule|midrule|bottomrule|endhead|endfirsthead|endfoot|cline\{[^{}]*\}|cmidrule(?:\([^()]*\))?\{[^{}]*\})"
)
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[A-Za-z*]+\}(?:\[[^\[\]]*\])?")
_ACCENT = re.compile(r"\\([`'^\"~=.uvHcdbr])(?:[ \t]*\{\\?([A-Za-z])\}|(?<=[`'^\"~=.])[ \t]*\\?([A-Za-z]))")
_APPLIED = re.compile(r"\\[A-Za-z]+\*?(?:\[[^\[\]]*\])?\{([^{}]*)\}")
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
_BLANK = re.compile(r"[ \t]*\n(?:[ \t]*\n)+")


class LatexReader:
    name = "latex"
    version = 3
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
        text = _COMMENT.sub(r"\1", text)
        facts: dict[str, Any] = {}
        title = _argument(text, "title")
        for name in ("author", "date"):
            if said := _argument(text, name):
                facts[name] = said
        found = list(_sections(_body(text)))
        if not any(section.text.strip() for section in found):
            raise NoTextError(f"{path} holds no text.", hint="Are there only commands in it?", path=path)
        return Reading("latex", found, title or None, facts)


def _body(text: str) -> str:
    """What stands between `\\begin{document}` and its end; all of a chapter, which may quote both as an example."""
    start = _outside(text, "\\begin{document}", 0)
    if start is None:
        return text
    end = _outside(text, "\\end{document}", start)
    return text[start + len("\\begin{document}") : end]


def _outside(text: str, words: str, start: int) -> int | None:
    """Where these words stand first, not quoted; only so many of them are looked at."""
    at = start - 1
    for _ in range(_QUOTED):
        at = text.find(words, at + 1)
        if at < 0:
            return None
        within = any(
            text.rfind(f"\\begin{{{name}}}", start, at) > text.rfind(f"\\end{{{name}}}", start, at)
            for name in _VERBATIM
        )
        line = text[text.rfind("\n", 0, at) + 1 : at]
        if not within and line.count("|") % 2 == 0 and not line.endswith("\\verb"):
            return at
    return None


def _argument(text: str, command: str) -> str:
    at = re.search(rf"\\{command}[ \t]*(?:\[[^\[\]]*\])?\{{", text)
    raw = _braced(text, at.end()) if at else None
    return " ".join(_plain(raw).split()) if raw else ""


def _braced(text: str, start: int) -> str | None:
    """What stands up to the brace that closes the one before `start`; None where none does soon."""
    depth = 1
    held = text[start : start + _LONGEST_TITLE]
    for brace in _BRACE.finditer(held):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if not depth:
            return held[: brace.start()]
    return None


def _sections(body: str) -> Iterator[Section]:
    path = HeadingPath()
    start = 0
    title = ""
    for found in _HEADING.finditer(body):
        raw = _braced(body, found.end())
        if raw is None:
            continue
        if text := _section_text(title, body[start : found.start()]):
            yield Section(text, path.path)
        title = " ".join(_plain(raw).split())
        path.enter(_LEVELS[found[1]], title)
        start = found.end() + len(raw) + 1
    if text := _section_text(title, body[start:]):
        yield Section(text, path.path)


def _section_text(title: str, raw: str) -> str:
    text = _BLANK.sub("\n\n", _plain(raw)).strip()
    return "\n\n".join(part for part in (title, text) if part) + "\n\n" if title or text else ""


def _plain(text: str) -> str:
    """Text without commands. Formulas and verbatim text are put aside first, and come back as they were."""
    kept: list[str] = []

    def keep(piece: str) -> str:
        kept.append(piece)
        return f"\x00{len(kept) - 1}\x00"

    text = _blocks(text, _VERBATIM, lambda inner: keep(_inside(inner).strip("\n") + "\n"))
    text = _blocks(text, _UNSEEN_BLOCKS, lambda _: "")
    text = _blocks(text, _FORMULAS, lambda inner: keep(inner.strip()))
    text = _MATH.sub(lambda found: keep(found[0]), text)
    text = _blocks(text, _TABULAR, lambda inner: keep("\n" + _table(_inside(inner))))
    text = _without_commands(text)
    # What was put aside may itself hold what was put aside before.
    for _ in range(3):
        text = re.sub("\x00(\\d+)\x00", lambda found: kept[int(found[1])], text)
    return text.replace("\x00", "")


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
    text = _UNSEEN_COMMANDS.sub("", text)
    text = _ACCENT.sub(_accented, text)
    text = _SYMBOL.sub(lambda found: _SYMBOLS[found[1]], text)
    text = _ITEM.sub(lambda found: f"\n- {found[1]} " if found[1] else "\n- ", text)
    text = _ENVIRONMENT.sub("\n", text)
    text = _ESCAPED.sub(lambda found: chr(0xE000 + ord(found[1])), text)
    text = re.sub(r"\\\\(?:\[[^\[\]]*\])?", "\n", text).replace("~", " ").replace("---", "—").replace("--", "–")
    text = text.replace("``", "“").replace("''", "”")
    text = text.replace("}{", "} {")
    for _ in range(_NESTED):
        shorter = _APPLIED.sub(r"\1", text)
        if shorter == text:
            break
        text = shorter
    text = _COMMAND.sub("", text)
    text = text.replace("{", "").replace("}", "").replace("\\", "")
    return re.sub("[\ue023-\ue07d]", lambda found: chr(ord(found[0]) - 0xE000), text)


def _accented(found: re.Match[str]) -> str:
    return unicodedata.normalize("NFC", (found[2] or found[3]) + _COMBINING[found[1]])
