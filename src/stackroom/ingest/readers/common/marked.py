"""Pieces of text gathered into sections, with what they count where they count something."""

from __future__ import annotations

from stackroom.protocols import Section

LONG = 32_000
"""Characters after which a section is worth handing on."""


class Marked:
    """Collects pieces, counted by one unit or by none; `take` makes a section of them."""

    def __init__(self, unit: str | None = None) -> None:
        self._unit = unit
        self._parts: list[str] = []
        self._marks: list[tuple[int, float, float]] = []
        self.size = 0
        self.blank = True

    def add(self, text: str, first: float | None = None, last: float | None = None) -> None:
        if text:
            if first is not None:
                self._marks.append((self.size, first, first if last is None else last))
            self._parts.append(text)
            self.size += len(text)
            self.blank = self.blank and text.isspace()

    def take(self, headings: tuple[str, ...] = (), page: int | None = None) -> Section:
        section = Section("".join(self._parts), headings, page, unit=self._unit, marks=self._marks)
        self._parts, self._marks, self.size, self.blank = [], [], 0, True
        return section
