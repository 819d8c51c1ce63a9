"""PPTX: a slide is a page, under its title."""

from __future__ import annotations

from pathlib import Path

import pytest

from reader_support import FILES, chunk_with, fails, given, read, survives, unzipped, zipped
from stackroom.errors import EncryptedError, NoTextError
from stackroom.ingest.readers.common import limits

REAL = FILES / "pptx"
SPACES = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'


def test_a_real_deck_gives_its_slides() -> None:
    reading, sections = read(REAL / "sample-presentation.pptx")
    assert (reading.type, reading.metadata["pages"]) == ("pptx", 4)
    assert [section.page for section in sections] == [1, 2, 3, 4]
    assert sections[2].headings == ("This is the second content slide",)
    assert sections[2].text.startswith("This is the second content slide\n\nWhat happens when")
    assert "Table: 2; A: A2; B: B2; C: C2\n" in sections[3].text
    place = chunk_with(REAL / "sample-presentation.pptx", "sub-sub-bullet").place
    assert (place.page, place.page_end, place.section) == (2, 2, ("This is the first content slide",))


def test_groups_diagrams_and_word_art() -> None:
    reading, sections = read(REAL / "testPPT_groups.pptx")
    assert (sections[0].page, sections[0].text) == (1, "")
    assert sections[1].headings == ("MyTitle",)
    for words in ("Text box3", "smart5", "WordArt1", "Text box5 tika link"):
        assert words.lower() in sections[1].text.lower()
    assert reading.metadata["author"] == "Allison, Timothy B."


def test_a_chart_is_the_table_that_it_draws() -> None:
    text = read(REAL / "testPPT_charts.pptx")[1][0].text
    assert "wants a peach\nNUMBER\nJanuary | 5\nFebruary | 8\n" in text


def with_notes() -> dict[str, str | bytes]:
    parts = unzipped(REAL / "fake-power-point-table.pptx")
    relations = parts["ppt/slides/_rels/slide1.xml.rels"]
    assert isinstance(relations, bytes)
    relation = b'<Relationship Id="rId99" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/notesSlide"'
    parts["ppt/slides/_rels/slide1.xml.rels"] = relations.replace(
        b"</Relationships>", relation + b' Target="../notesSlides/notesSlide1.xml"/></Relationships>'
    )
    body = '<p:sp><p:nvSpPr><p:nvPr><p:ph type="{}"/></p:nvPr></p:nvSpPr><p:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></p:txBody></p:sp>'
    parts["ppt/notesSlides/notesSlide1.xml"] = (
        f"<p:notes {SPACES}><p:cSld><p:spTree>{body.format('body', 'Say it slowly.')}{body.format('sldNum', '17')}</p:spTree></p:cSld></p:notes>"
    )
    return parts


def test_notes_are_read_and_the_slides_number_is_not(tmp_path: Path) -> None:
    text = read(given(tmp_path, "a.pptx", zipped(with_notes())))[1][0].text
    assert text.endswith("Notes: Say it slowly.\n\n")
    assert "17" not in text


def test_known_by_its_content(tmp_path: Path) -> None:
    assert read(given(tmp_path, "deck.zip", (REAL / "testPPT_charts.pptx").read_bytes()))[0].type == "pptx"


# Broken and hostile


def test_a_password(tmp_path: Path) -> None:
    fails(given(tmp_path, "a.pptx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000)), EncryptedError, "password")


def test_damaged_decks(tmp_path: Path) -> None:
    survives((REAL / "testPPT_charts.pptx").read_bytes(), tmp_path / "a.pptx")
    fails(given(tmp_path, "b.pptx", zipped({"readme.txt": "hello"})), words="lacks its part")
    assert read(given(tmp_path, "c.pptx", "only words"))[0].type == "text"


@pytest.mark.parametrize("part", ["ppt/presentation.xml", "ppt/_rels/presentation.xml.rels", "ppt/slides/slide1.xml"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01", None])
def test_broken_parts(tmp_path: Path, part: str, content: bytes | None) -> None:
    parts = unzipped(REAL / "testPPT_charts.pptx")
    if content is None:
        del parts[part]
    else:
        parts[part] = content
    fails(given(tmp_path, "a.pptx", zipped(parts)))


def test_slides_without_text(tmp_path: Path) -> None:
    parts = unzipped(REAL / "testPPT_charts.pptx")
    parts["ppt/slides/slide1.xml"] = f"<p:sld {SPACES}><p:cSld><p:spTree/></p:cSld></p:sld>"
    fails(given(tmp_path, "a.pptx", zipped(parts)), NoTextError)


def slide(xml: str, head: str = "") -> bytes:
    parts = unzipped(REAL / "testPPT_charts.pptx")
    parts["ppt/slides/slide1.xml"] = f"{head}<p:sld {SPACES}><p:cSld><p:spTree>{xml}</p:spTree></p:cSld></p:sld>"
    return zipped(parts)


def test_entities_neither_grow_nor_reach_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("the secret")
    head = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret.txt"><!ENTITY a "{"ha" * 1000}"><!ENTITY b "{"&a;" * 1000}">]>'
    text = "<p:sp><p:txBody><a:p><a:r><a:t>&e;&b; words</a:t></a:r></a:p></p:txBody></p:sp>"
    try:
        found = repr(read(given(tmp_path, "a.pptx", slide(text, head))))
    except Exception as error:
        found = str(error)
    assert "secret" not in found.replace(str(tmp_path), "")
    assert len(found) < 10_000


def test_endless_groups(tmp_path: Path) -> None:
    deep = "<p:grpSp>" * 5000 + "</p:grpSp>" * 5000
    fails(given(tmp_path, "a.pptx", slide(deep)), NoTextError)


def test_a_part_that_unpacks_to_too_much(tmp_path: Path) -> None:
    fails(given(tmp_path, "a.pptx", slide(" " * 20_000_000)), words="far more")


def test_one_slide_named_many_times(tmp_path: Path) -> None:
    parts = unzipped(REAL / "testPPT_charts.pptx")
    main = parts["ppt/presentation.xml"]
    assert isinstance(main, bytes)
    start, end = main.index(b"<p:sldId "), main.index(b"</p:sldIdLst>")
    parts["ppt/presentation.xml"] = main[:end] + main[start:end] * 20_000 + main[end:]
    assert len(read(given(tmp_path, "a.pptx", zipped(parts)))[1]) == 1


def test_one_chart_drawn_many_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_FORGIVEN", 10)
    monkeypatch.setattr(limits, "EXPANSION", 1)
    parts = unzipped(REAL / "testPPT_charts.pptx")
    main = parts["ppt/slides/slide1.xml"]
    assert isinstance(main, bytes)
    start, end = main.index(b"<p:graphicFrame"), main.index(b"</p:graphicFrame>") + len(b"</p:graphicFrame>")
    parts["ppt/slides/slide1.xml"] = main[:end] + main[start:end] * 1000 + main[end:]
    fails(given(tmp_path, "a.pptx", zipped(parts)), words="far more text")
