"""Words that a line's end breaks, in a manual and in texts of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.readers import pdf_of
from reader_support import given, text_of
from stackroom.ingest.readers.common.hyphens import MARK, mended


@pytest.mark.parametrize(
    ("elsewhere", "left", "right", "expected"),
    [
        ("an expression", "expres", "sion", "expression"),
        ("a well-known thing", "well", "known", "well-known"),
        ("Well-Known", "well", "known", "well-known"),
        ("a nonzero and a non-zero one, or a nonzero one", "non", "zero", "nonzero"),
        ("nothing of it", "expres", "sion", "expression"),
        # Both are words by themselves, and nowhere one: a compound.
        ("a network that is mounted", "network", "mounted", "network-mounted"),
        ("so be it, and low", "be", "low", "below"),
        ("case by", "case", "by-case", "case-by-case"),
        ("", "Überset", "zung", "Übersetzung"),
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_the_document_says_how_it_writes_a_word(elsewhere: str, left: str, right: str, expected: str, end: str) -> None:
    assert list(mended([f"the {left}{MARK}{end}{right}.", elsewhere])) == [f"the {expected}.", elsewhere]


def test_a_mark_without_a_word() -> None:
    assert list(mended([MARK, f"1{MARK}\n2", f"a{MARK}", f"{MARK}\nb"])) == ["", "12", "a", "b"]


def test_pages_are_as_many_and_in_order() -> None:
    assert list(mended(f"page {n}" for n in range(200))) == [f"page {n}" for n in range(200)]


def test_pdfium_marks_what_is_broken(tmp_path: Path) -> None:
    lines = ["all expres-", "sions of a well-", "known kind; the well-known one"]
    shown = " T* ".join(f"({line}) Tj" for line in lines)
    stream = f"BT /F1 12 Tf 14 TL 72 720 Td {shown} ET".encode()
    path = given(
        tmp_path,
        "a.pdf",
        pdf_of(
            [
                b"<</Type/Catalog/Pages 2 0 R>>",
                b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
                b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
                b"<</Length %d>>\nstream\n%s\nendstream" % (len(stream), stream),
                b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
            ]
        ),
    )
    assert text_of(path).split() == ["all", "expressions", "of", "a", "well-known", "kind;", "the", "well-known", "one"]
