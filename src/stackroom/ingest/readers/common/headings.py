"""The heading path as a document goes by: HTML, Markdown and DOCX share it."""

from __future__ import annotations

from stackroom.ingest.readers.common.limits import HEADING


class HeadingPath:
    """Headings of levels 1 to n; a heading ends all that are as deep or deeper."""

    def __init__(self, above: tuple[str, ...] = ()) -> None:
        self._above = above
        self._stack: list[tuple[int, str]] = []

    def enter(self, level: int, title: str) -> None:
        while self._stack and self._stack[-1][0] >= level:
            self._stack.pop()
        title = " ".join(title[: 2 * HEADING].split())[:HEADING]
        if title:
            self._stack.append((level, title))

    @property
    def path(self) -> tuple[str, ...]:
        titles = tuple(title for _, title in self._stack)
        # A chapter's own heading often repeats its title in the table of contents.
        return self._above + titles[1:] if titles and self._above[-1:] == titles[:1] else self._above + titles
