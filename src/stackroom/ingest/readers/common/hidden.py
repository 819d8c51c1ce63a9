"""Text that a file holds and nobody sees who opens it: left out, and counted, so that it is neither searched nor handed to a model unseen.

Only what can be told for sure, and without drawing the page, is taken for hidden; docs/formats.md lists it by format. What a
text says makes no difference: there is no telling instructions from other words.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from stackroom.protocols import Section

# Tags spell ASCII that no font shows; three regions have flags that are written with them. Marks without width have their places in
# many scripts and in emoji, one or a few at a time; a row of them says something that is not for readers.
_FLAG = "\U0001f3f4[\U000e0020-\U000e007e]{1,6}\U000e007f"
_UNSEEN = re.compile(
    f"({_FLAG})|[\U000e0000-\U000e007f]+|[\u200b-\u200f\u2060-\u2064\ufeff\ufe00-\ufe0f\U000e0100-\U000e01ef]{{8,}}"
)
_LENGTH = re.compile(r"(-?[\d.]+)(?:px|pt|em|rem|%)?")
_FAR = -500.0
"""Where a page's left or upper margin is out of sight, in whatever unit."""


def without_unseen(section: Section) -> Section:
    """The section without characters that nothing shows; their number is added to `hidden`."""
    text = section.text
    # Hardly any text has any: a look is ten times as quick as a search.
    if text.isascii() or not (found := [match for match in _UNSEEN.finditer(text) if match[1] is None]):
        return section
    ends = [match.end() for match in found]
    gone = [0]
    for match in found:
        gone.append(gone[-1] + len(match[0]))
    marks = []
    for at, first, last in section.marks:
        # A mark within such a row comes to stand where the row was.
        before = bisect.bisect_right(ends, at)
        inside = max(0, at - found[before].start()) if before < len(found) else 0
        marks.append((at - gone[before] - inside, first, last))
    kept = _UNSEEN.sub(lambda match: match[1] or "", text)
    return replace(section, text=kept, marks=marks, hidden=section.hidden + gone[-1])


def hides(node: Any) -> bool:
    """Whether an element of a page (selectolax) is hidden with all that is in it, by its own attributes."""
    attributes = node.attributes
    if not attributes:
        return False
    if "hidden" in attributes and (attributes["hidden"] or "").lower() != "until-found":
        return True
    style = attributes.get("style")
    return bool(style) and node.tag not in ("html", "body") and _is_unseen(style, node)


def _is_unseen(style: str, node: Any) -> bool:
    """Whether these declarations hide all that is within the element. What a child may take back counts only where there is none."""
    rules = dict(_declarations(style))
    if rules.get("display") == "none" or _length(rules.get("opacity")) == 0:
        return True
    away = rules.get("position") in ("absolute", "fixed")
    if away and any((_length(rules.get(side)) or 0) < _FAR for side in ("left", "top")):
        return True
    colour = rules.get("color")
    alone = (
        rules.get("visibility") in ("hidden", "collapse")
        or _length(rules.get("font-size")) == 0
        or colour == "transparent"
        or (colour is not None and colour in (rules.get("background"), rules.get("background-color")))
    )
    return alone and not any(child.tag not in ("-text", "br") for child in node.iter())


def _declarations(style: str) -> Iterator[tuple[str, str]]:
    for declaration in style.lower().split(";"):
        name, _, value = declaration.partition(":")
        yield name.strip(), value.replace("!important", "").strip()


def _length(value: str | None) -> float | None:
    found = _LENGTH.fullmatch(value or "")
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None


def remove(node: Any) -> int:
    """Take an element out of its tree (lxml), but not the text that follows it; returns how many characters it held."""
    parent, tail = node.getparent(), node.tail
    count = sum(len(text) for text in node.itertext())
    if parent is None:
        return 0
    if tail:
        before = node.getprevious()
        if before is None:
            parent.text = (parent.text or "") + tail
        else:
            before.tail = (before.tail or "") + tail
    node.tail = None
    parent.remove(node)
    return count
