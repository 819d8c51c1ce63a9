"""A page of HTML made harmless: known tags without what they could do or fetch, written anew, with one passage marked.

Nothing of the page's own markup is copied: elements are chosen from a list, texts are escaped. The answer is sent sandboxed besides.
"""

from __future__ import annotations

import bisect
import html
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from stackroom.ingest.readers.html import decode, parse

_KEPT = frozenset(
    [
        "a",
        "abbr",
        "address",
        "article",
        "aside",
        "b",
        "bdi",
        "bdo",
        "blockquote",
        "br",
        "caption",
        "cite",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "details",
        "dfn",
        "div",
        "dl",
        "dt",
        "em",
        "figcaption",
        "figure",
        "footer",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hgroup",
        "hr",
        "i",
        "ins",
        "kbd",
        "li",
        "main",
        "mark",
        "ol",
        "p",
        "pre",
        "q",
        "rp",
        "rt",
        "ruby",
        "s",
        "samp",
        "section",
        "small",
        "span",
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "time",
        "tr",
        "u",
        "ul",
        "var",
        "wbr",
        "center",
        "tt",
    ]
)
_VOID = frozenset({"br", "col", "hr", "wbr"})
_DROPPED = frozenset(
    [
        "script",
        "style",
        "template",
        "noscript",
        "iframe",
        "object",
        "embed",
        "svg",
        "math",
        "head",
        "title",
        "link",
        "meta",
        "base",
        "form",
        "button",
        "select",
        "option",
        "textarea",
        "input",
        "video",
        "audio",
        "source",
        "track",
        "canvas",
        "applet",
        "frame",
        "frameset",
        "map",
        "area",
        "portal",
        "dialog",
    ]
)
"""Whose text goes with them; of all others that are not kept the text stays."""
_ATTRIBUTES = {"dir": re.compile(r"ltr|rtl|auto"), "lang": re.compile(r"[A-Za-z0-9-]{1,35}")}
_CELLS = {"colspan": re.compile(r"[0-9]{1,3}"), "rowspan": re.compile(r"[0-9]{1,3}")}
_LISTS = {"start": re.compile(r"-?[0-9]{1,6}"), "value": re.compile(r"-?[0-9]{1,6}")}
_OF = {"td": _CELLS, "th": _CELLS, "ol": _LISTS, "li": _LISTS}

_SPACE = re.compile(r"\s+")
_BULLET = re.compile(r"^\s*-(?:\s+|$)")
_ADDED = re.compile(rf"{_BULLET.pattern}| \| *|\s+")
"""What the reader wrote between a page's own characters: bullets, cells, white space."""

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.6 Charter,"Iowan Old Style",Georgia,"Noto Serif",serif;max-width:44rem;margin:2rem auto;padding:0 1.25rem;overflow-wrap:break-word}
pre,code,kbd,samp,tt{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.875em}
pre{overflow-x:auto;padding:.75rem;border-radius:6px;background:#8881}
table{border-collapse:collapse;display:block;overflow-x:auto}td,th{border:1px solid #8884;padding:.25rem .5rem;text-align:start}
mark{background:#fdf0c4;color:inherit;border-radius:2px}h1,h2,h3,h4{line-height:1.25}a{color:inherit}
@media(prefers-color-scheme:dark){body{background:#16181d;color:#dfe2e8}mark{background:#43371a}}
"""


class _Text(NamedTuple):
    parent: int
    text: str


def cleaned(data: bytes, passage: str | None = None) -> str:
    """A whole page. Where `passage` is found in it, it is marked, and its beginning has the id `here`. Raises MissingExtraError."""
    tree = parse(decode(data))
    root = tree.body or tree.root
    texts = [text for kind, text in _walk(root) if kind == "text"]
    marked = _find(texts, passage) if passage else {}
    parts: list[str] = []
    number = -1
    here = ' id="here"'
    for kind, value in _walk(root):
        if kind != "text":
            parts.append(value)
            continue
        number += 1
        if number not in marked:
            parts.append(html.escape(value))
            continue
        start, end = marked[number]
        parts.append(
            f"{html.escape(value[:start])}<mark{here}>{html.escape(value[start:end])}</mark>{html.escape(value[end:])}"
        )
        here = ""
    return f"<!doctype html><html><head><meta charset=utf-8><title>Document</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>"


def _walk(root: Any) -> Iterator[tuple[str, str]]:
    """("tag", markup) and ("text", characters), in order; without recursion, however deep the page is."""
    pending: list[Any] = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, str):
            yield "tag", node
            continue
        tag = node.tag
        if tag == "-text":
            yield "text", node.text_content or ""
            continue
        if not tag or tag.startswith("-") or tag in _DROPPED:
            continue
        if tag in _KEPT:
            yield "tag", f"<{tag}{_attributes(node, tag)}>"
            if tag in _VOID:
                continue
            pending.append(f"</{tag}>")
        children = []
        child = node.child
        while child is not None:
            children.append(child)
            child = child.next
        pending.extend(reversed(children))


def _attributes(node: Any, tag: str) -> str:
    given = node.attributes
    allowed = {**_ATTRIBUTES, **_OF.get(tag, {})}
    return "".join(
        f' {name}="{given[name]}"' for name, fits in allowed.items() if given.get(name) and fits.fullmatch(given[name])
    )


def _find(texts: list[str], passage: str) -> dict[int, tuple[int, int]]:
    """Of each text that a passage is made of: which characters. Its lines are looked for one after the other, without white space."""
    solid: list[str] = []
    begins: list[int] = []
    total = 0
    for text in texts:
        begins.append(total)
        solid.append(_SPACE.sub("", text))
        total += len(solid[-1])
    whole = "".join(solid)
    found: dict[int, tuple[int, int]] = {}
    at = _first(whole, passage)
    for line in passage.splitlines():
        for cell in line.split(" | "):
            wanted = _SPACE.sub("", _BULLET.sub("", cell))
            start = whole.find(wanted, at, at + 20_000) if wanted else -1
            if start < 0:
                continue
            at = start + len(wanted)
            _mark(found, texts, begins, start, at)
    return found


def _first(whole: str, passage: str) -> int:
    """Where the longest line of a passage stands, less what is before it: short lines may stand anywhere."""
    before = 0
    best, place = "", 0
    for line in passage.splitlines():
        solid = _ADDED.sub("", line)
        if len(solid) > len(best):
            best, place = solid, before
        before += len(solid)
    start = whole.find(_SPACE.sub("", best)) if best else -1
    return max(start - place, 0)


def _mark(found: dict[int, tuple[int, int]], texts: list[str], begins: list[int], start: int, end: int) -> None:
    number = max(bisect.bisect_right(begins, start) - 1, 0)
    while number < len(texts) and begins[number] < end:
        first, last = max(start - begins[number], 0), end - begins[number]
        places = [i for i, character in enumerate(texts[number]) if not character.isspace()]
        inside = places[first:last]
        if inside:
            known = found.get(number, (inside[0], inside[-1] + 1))
            found[number] = min(known[0], inside[0]), max(known[1], inside[-1] + 1)
        number += 1
