"""What stands on page after page is said once, and nothing else is lost."""

from __future__ import annotations

from pathlib import Path

from reader_support import read
from stackroom.ingest.readers.common import running_heads

WORDS = [
    "ash",
    "birch",
    "cedar",
    "elm",
    "fir",
    "gum",
    "hazel",
    "ivy",
    "juniper",
    "larch",
    "maple",
    "oak",
    "pine",
    "rowan",
    "spruce",
    "teak",
    "willow",
    "yew",
]


def body(n: int) -> str:
    """Five lines that no other page has."""
    return "\n".join(f"{WORDS[n % 18]} {WORDS[n // 18]} {word}" for word in ("one", "two", "three", "four", "five"))


def clean(pages: list[str]) -> list[str]:
    return list(running_heads.without(pages))


def test_a_real_deck_loses_its_foot_and_keeps_its_titles(samples: Path) -> None:
    pages = [section.text for section in read(samples / "debian/packaging-tutorial.pdf")[1]]
    assert len([text for text in pages if "Debian Packaging Tutorial" in text]) <= 4
    assert sum("rules" in text for text in pages) > 5
    assert len(pages) == 89


def test_heads_feet_and_numbers_of_pages() -> None:
    pages = [f"Guide to things {n}\n{body(n)}\n- {n} -" for n in range(1, 30)]
    assert clean(pages) == [f"Guide to things 1\n{body(1)}", *(body(n) for n in range(2, 30))]


def test_heads_of_two_sides_and_of_chapters() -> None:
    pages = [
        (f"{n} The book" if n % 2 == 0 else f"Chapter {n // 20 + 1}: {'One' if n < 20 else 'Two'} {n}") + "\n" + body(n)
        for n in range(40)
    ]
    left = [text for text in clean(pages) if "The book" in text or "Chapter" in text]
    assert len(left) <= 8  # where a chapter begins, some stay


def test_roman_numbers() -> None:
    numbers = ["ii", "iii", "iv", "v", "vi", "vii"]
    assert clean([f"{body(n)}\n{number}" for n, number in enumerate(numbers)]) == [body(n) for n in range(6)]


def test_what_only_seems_to_be_repeated_stays() -> None:
    """A line within the page, a line on a few pages, short pages, and a document of two pages."""
    inside = [f"{WORDS[n]} top\n{WORDS[n]} more\nThe same\nand\n{WORDS[n]} more\n{WORDS[n]} end" for n in range(10)]
    assert clean(inside) == inside
    second = [f"{WORDS[n]} top\nThe same\n{body(n)}" for n in range(10)]
    assert clean(second) == second
    few = [f"See Also\n{body(n)}" if n % 3 == 0 else body(n) for n in range(12)]
    assert clean(few) == few
    two = [f"Head {n}\n{body(n)}" for n in range(2)]
    assert clean(two) == two
    titles = ["Only a title"] * 10
    assert clean(titles) == titles
    assert clean([]) == []
    assert clean([""] * 20) == [""] * 20
