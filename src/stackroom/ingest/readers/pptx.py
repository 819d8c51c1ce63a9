"""PPTX: slide by slide, its title, texts, tables, charts and notes; a slide is a page.

By zipfile and lxml: python-pptx reads the same, and brings an imaging library and a spreadsheet writer along.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stackroom.errors import EncryptedError, NoTextError, ReadError
from stackroom.ingest.readers.common import hidden, markup, tables
from stackroom.ingest.readers.common.limits import OLE, Expansion, SafeArchive, clean, names_in
from stackroom.ingest.readers.common.markup import attribute, local, named
from stackroom.protocols import Reading, Section

_MAIN = "ppt/presentation.xml"
# What a master puts on every slide, and the second copy of a shape for programs that can't draw the first.
_REPEATED = frozenset({"sldNum", "dt", "ftr", "hdr"})
_NO_TITLE = "PowerPoint Presentation"


class PptxReader:
    name = "pptx"
    version = 2
    suffixes: tuple[str, ...] = (".pptx", ".pptm", ".ppsx", ".ppsm", ".potx")

    def accepts(self, path: Path, head: bytes) -> bool:
        if path.suffix.lower() in self.suffixes and head.startswith((b"PK", OLE)):
            return True
        return _MAIN in names_in(path, head)

    def read(self, path: Path) -> Reading:
        """Raises EncryptedError, NoTextError, ReadError."""
        with path.open("rb") as file:
            if file.read(8) == OLE:
                raise EncryptedError(
                    f"{path} needs a password (or is an old .ppt).", hint="Save it as .pptx without one.", path=path
                )
        with SafeArchive(path) as archive:
            deck = _Deck(archive, path)
            slides = deck.slides()
            expansion = Expansion(path, path.stat().st_size)
            found = []
            for number, name in enumerate(slides, start=1):
                section = deck.section(name, number)
                expansion.took(len(section.text))
                found.append(section)
            title, metadata = _facts(archive, path)
        if not any(section.text.strip() for section in found):
            raise NoTextError(f"None of the slides of {path} holds text.", hint="Are they pictures?", path=path)
        return Reading("pptx", found, title, {**metadata, "pages": len(found)})


def _facts(archive: SafeArchive, path: Path) -> tuple[str | None, dict[str, Any]]:
    if "docProps/core.xml" not in archive.names:
        return None, {}
    core = markup.parse(archive.read("docProps/core.xml"), path, recover=True)
    names = (
        ("author", "creator"),
        ("subject", "subject"),
        ("keywords", "keywords"),
        ("language", "language"),
        ("created", "created"),
    )
    facts = {ours: text for ours, theirs in names if (text := markup.first_text(core, theirs))}
    if "created" in facts:
        facts["created"] = facts["created"][:10]
    title = markup.first_text(core, "title")
    return None if title == _NO_TITLE else title or None, facts


class _Deck:
    """The parts of one presentation, followed by their relationships."""

    def __init__(self, archive: SafeArchive, path: Path) -> None:
        self._archive = archive
        self._path = path

    def slides(self) -> list[str]:
        """The slides' parts in their order."""
        root = markup.parse(self._archive.read(_MAIN), self._path)
        targets = self._targets(_MAIN)
        # A slide is shown once; a list that names one a million times is hostile.
        found = list(dict.fromkeys(targets.get(_relation(node), ("", ""))[1] for node in named(root, "sldId")))
        slides = [name for name in found if name in self._archive.names]
        if len(slides) < len(found):
            raise ReadError(f"{self._path} lacks one of its slides.", hint="Get a fresh copy.", path=self._path)
        return slides

    def section(self, name: str, number: int) -> Section:
        root = markup.parse(self._archive.read(name), self._path, recover=True)
        targets = self._targets(name)
        gone = _remove_unseen(root)
        title = ""
        blocks: list[str] = []
        for shape in _shapes(root):
            kind = _placeholder(shape)
            if kind in _REPEATED:
                continue
            text = self._shape(shape, targets)
            if kind in ("title", "ctrTitle") and not title:
                title = " ".join(text.split())
                blocks.insert(0, text)
            else:
                blocks.append(text)
        for kind, target in targets.values():
            if kind == "notesSlide" and target in self._archive.names:
                notes = markup.parse(self._archive.read(target), self._path, recover=True)
                text = "".join(_paragraphs(shape) for shape in _shapes(notes) if _placeholder(shape) == "body")
                blocks.append(f"Notes: {text}" if text.strip() else "")
        text = "\n".join(block for block in blocks if block.strip())
        return Section(text + "\n" if text else "", (title,) if title else (), number, hidden=gone)

    def _shape(self, shape: Any, targets: dict[str, tuple[str, str]]) -> str:
        parts = []
        if local(shape) == "graphicFrame":
            for node in named(shape, "tbl", "chart", "relIds"):
                if local(node) == "tbl":
                    parts.append(tables.text(_cells(node)))
                    continue
                target = targets.get(_relation(node), ("", ""))[1]
                if target in self._archive.names:
                    root = markup.parse(self._archive.read(target), self._path, recover=True)
                    parts.append(_chart(root) if local(node) == "chart" else _paragraphs(root))
        else:
            parts.append(_paragraphs(shape))
        return "".join(parts)

    def _targets(self, name: str) -> dict[str, tuple[str, str]]:
        """Where a part's relationships lead: id -> (kind, part)."""
        folder, base = posixpath.split(name)
        relations = f"{folder}/_rels/{base}.rels"
        if relations not in self._archive.names:
            return {}
        found = {}
        for node in named(markup.parse(self._archive.read(relations), self._path), "Relationship"):
            if node.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/" + folder, node.get("Target") or ""))
                found[node.get("Id") or ""] = ((node.get("Type") or "").rpartition("/")[2], target.lstrip("/"))
        return found


def _remove_unseen(root: Any) -> int:
    """Take out shapes and groups that are switched off (in PowerPoint's selection pane); returns how many characters they held."""
    switched_off = [node for node in named(root, "cNvPr") if node.get("hidden") in ("1", "true")]
    shapes = [node.getparent().getparent() for node in switched_off if node.getparent() is not None]
    return sum(hidden.remove(shape) for shape in shapes if shape is not None and local(shape) != "spTree")


def _relation(node: Any) -> str:
    """The id of the relationship that an element speaks of: it has a namespace, the element's own id has none."""
    for key, value in node.attrib.items():
        space, _, name = str(key).rpartition("}")
        if space and name in ("id", "dm"):
            return str(value)
    return ""


def _shapes(root: Any) -> Iterator[Any]:
    """Shapes and frames in order, those in groups too."""
    pending = [root]
    while pending:
        node = pending.pop()
        name = local(node)
        if name in ("sp", "graphicFrame", "cxnSp"):
            yield node
        elif name != "Fallback":
            pending.extend(reversed(node))


def _placeholder(shape: Any) -> str:
    node = next(named(shape, "ph"), None)
    return "" if node is None else node.get("type") or "body"


def _paragraphs(root: Any) -> str:
    lines = []
    for paragraph in named(root, "p"):
        text = _text(paragraph)
        if text.strip():
            lines.append(text.strip() + "\n")
    return "".join(lines)


def _text(paragraph: Any) -> str:
    parts = []
    for node in named(paragraph, "t", "br", "tab"):
        parts.append(node.text or "" if local(node) == "t" else "\n" if local(node) == "br" else "\t")
    return clean("".join(parts)).replace("\xad", "")  # a hyphen that is only seen at a line's end


def _cells(table: Any) -> Iterator[list[str]]:
    for row in named(table, "tr"):
        yield [" ".join(_paragraphs(cell).split()) for cell in row if local(cell) == "tc"]


def _chart(root: Any) -> str:
    """A chart as its title, and as the table that it draws."""
    titles = "".join(_paragraphs(title) for title in named(root, "title"))
    names: list[str] = []
    rows: dict[str, list[str]] = {}
    for at, series in enumerate(named(root, "ser")):
        parts = {local(child): child for child in series}
        names.append(markup.first_text(parts["tx"], "v") if "tx" in parts else "")
        labels = _points(parts.get("cat", parts.get("xVal")))
        for index, value in _points(parts.get("val", parts.get("yVal"))).items():
            row = rows.setdefault(labels.get(index, index), [])
            row += [""] * (at - len(row)) + [_rounded(value)]
    return titles + tables.text([["", *names], *([label, *values] for label, values in rows.items())])


def _points(node: Any) -> dict[str, str]:
    if node is None:
        return {}
    return {attribute(point, "idx"): markup.first_text(point, "v") for point in named(node, "pt")}


def _rounded(value: str) -> str:
    try:
        return tables.number_text(float(value))
    except ValueError:
        return value
