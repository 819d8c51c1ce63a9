"""What files say of themselves, under the same names for every format: author, date, language, tags."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from typing import Any

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMED = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_ISO = re.compile(r"[<\[]?(\d{4}-\d\d-\d\d)(T[\d:.+Z-]+)?", re.ASCII)
_NUMBERS = re.compile(r"(\d{4})[:/.](\d{1,2})[:/.](\d{1,2})(?!\d)", re.ASCII)
_DAY_FIRST = re.compile(rf"(\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:of\s+)?{_NAMED},?\s+(\d{{4}})(?!\d)", re.ASCII | re.I)
_MONTH_FIRST = re.compile(rf"{_NAMED}\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(\d{{4}})(?!\d)", re.ASCII | re.I)
_BETWEEN_TAGS = re.compile(r"[,;]")
_LONGEST_DATE = 100


def uniform(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of itself, and beside it the names that filters may rely on, where another one says the same.

    `author` of `authors` or a mail's `from`; `date` of `created`, as ISO 8601 where that is one; `language` of `lang`; `tags`, a list, of
    `keywords` and of a list of subjects.
    """
    found = dict(said)
    for ours, theirs in (("author", "authors"), ("author", "from"), ("date", "created"), ("language", "lang")):
        if ours not in found and theirs in found:
            found[ours] = found[theirs]
    if isinstance(found.get("date"), str):
        found["date"] = iso_date(found["date"])
    for theirs in ("tags", "keywords", "subject"):
        value = found.get(theirs)
        if isinstance(value, str) and theirs != "subject":
            value = [tag.strip() for tag in _BETWEEN_TAGS.split(value) if tag.strip()]
        if isinstance(value, list) and value:
            found["tags"] = value
            break
    return found


def iso_date(text: str) -> str:
    """A date as ISO 8601, with its time where it is written so, or in a mail's way; what is none that is known as it is."""
    text = text.strip()
    if len(text) > _LONGEST_DATE:
        return text
    if known := _ISO.match(text):
        return known[1] + (known[2] or "")
    for pattern, places in ((_NUMBERS, (1, 2, 3)), (_DAY_FIRST, (3, 2, 1)), (_MONTH_FIRST, (3, 1, 2))):
        if known := pattern.match(text):
            year, month, day = (known[place].lower() for place in places)
            with suppress(ValueError):
                number = int(month) if month.isdecimal() else _MONTHS.index(month[:3]) + 1
                return date(int(year), number, int(day)).isoformat()
    with suppress(TypeError, ValueError, OverflowError, IndexError):
        return email.utils.parsedate_to_datetime(text).isoformat()
    return text
