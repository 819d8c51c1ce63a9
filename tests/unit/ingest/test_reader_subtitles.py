"""Subtitles: passages with their seconds."""

from __future__ import annotations

from pathlib import Path

from reader_support import FILES, chunk_with, fails, given, read, survives, text_of
from stackroom.errors import NoTextError

REAL = FILES / "subtitles"


def test_real_subtitles_say_when() -> None:
    path = REAL / "test_subrip.srt"
    reading, sections = read(path)
    assert reading.type == "srt"
    assert sections[0].text.startswith(
        'ESSAI DE SOUS-TITRES\n"Pour tester la reconnaissance, il faut des lignes de textes."\n'
    )
    assert sections[0].marks[:2] == [(0, 74.44, 75.76), (21, 75.88, 79.52)]
    place = chunk_with(path, "On peut écrire", limit=20).place
    assert place.unit == "second"
    assert place.first is not None
    assert place.last is not None
    assert place.first <= 79.68 < 82.16 <= place.last


def test_real_webvtt_without_its_tags() -> None:
    path = REAL / "testWebVTT.vtt"
    reading, sections = read(path)
    assert reading.type == "vtt"
    assert "Like internet experiences that are rich and entertaining\n" in sections[0].text
    place = chunk_with(path, "favourite TV", limit=20).place
    assert place.first is not None
    assert 11 <= place.first <= 14.5


def test_speakers_notes_and_scrolling_captions(tmp_path: Path) -> None:
    text = (
        "WEBVTT\n\nNOTE not spoken\n\nSTYLE\n::cue {}\n\n1\n00:01.000 --> 00:02.000\n<v Ann>Hello &amp; welcome</v>\n\n"
        "00:02.000 --> 00:03.000\nHello twice\n\n00:03.000 --> 00:04.000\nHello twice\n"
    )
    assert text_of(given(tmp_path, "a.vtt", text)) == "Ann: Hello & welcome\nHello twice\n"


def test_clocks_without_leading_zeros(tmp_path: Path) -> None:
    path = given(tmp_path, "a.vtt", "WEBVTT\n\n1\n0:0:3.540 --> 0:0:7.23\nMorning.\n\n0:1:5.2 --> 1:2:7.950\nThanks.\n")
    assert [mark[1:] for section in read(path)[1] for mark in section.marks] == [(3.54, 7.23), (65.2, 3727.95)]


def test_clocks_without_fractions(tmp_path: Path) -> None:
    path = given(tmp_path, "a.srt", "1\n00:00:01 --> 00:00:10\nMorning.\n")
    assert [mark[1:] for section in read(path)[1] for mark in section.marks] == [(1.0, 10.0)]


def test_a_long_silence_begins_a_section_and_numbers_are_no_words(tmp_path: Path) -> None:
    text = (
        "1\n00:00:01,0 --> 00:00:02,0\none\n2\n00:00:02,5 --> 00:00:03,0\n1984\n\n3\n01:00:00,0 --> 01:00:01,0\ntwo\n"
    )
    sections = read(given(tmp_path, "a.srt", text))[1]
    assert [(section.text, section.marks[-1]) for section in sections] == [
        ("one\n1984\n", (4, 2.5, 3.0)),
        ("two\n", (0, 3600.0, 3601.0)),
    ]


def test_known_by_content_and_in_any_encoding(tmp_path: Path) -> None:
    data = (REAL / "test_subrip.srt").read_bytes()
    assert read(given(tmp_path, "a.txt", data))[0].type == "srt"
    assert "écrire" in text_of(given(tmp_path, "b.srt", data.decode("utf-8", "replace").encode("utf-16")))
    assert read(given(tmp_path, "c.txt", "a --> b\n"))[0].type == "text"


def test_broken_and_hostile_subtitles(tmp_path: Path) -> None:
    for name in ("test_subrip.srt", "testWebVTT.vtt"):
        survives((REAL / name).read_bytes(), tmp_path / name)
    fails(given(tmp_path, "a.vtt", "WEBVTT\n\nwords without times\n"), NoTextError)
    assert read(given(tmp_path, "b.srt", "only words"))[0].type == "text"
    endless = "1\n00:00:01,0 --> 00:00:02,0\n" + "word " * 500_000
    assert len(text_of(given(tmp_path, "c.srt", endless))) < 100_000
    backwards = "1\n00:00:09,0 --> 00:00:01,0\nword\n"
    assert read(given(tmp_path, "d.srt", backwards))[1][0].marks == [(0, 9.0, 1.0)]


def test_captions_that_roll_up_say_each_line_once(tmp_path: Path) -> None:
    text = (
        "WEBVTT\n\n00:00.000 --> 00:02.000\nhello everybody\n\n00:02.000 --> 00:02.010\nhello everybody\n \n\n"
        "00:02.010 --> 00:04.000\nhello everybody\nwelcome to the show\n\n00:04.000 --> 00:06.000\nwelcome to the show\ntoday we sail\n\n"
        "00:09.000 --> 00:10.000\ntoday we sail\nsaid the captain\n"
    )
    (section,) = read(given(tmp_path, "a.vtt", text))[1]
    assert section.text == "hello everybody\nwelcome to the show\ntoday we sail\ntoday we sail said the captain\n"
    assert [mark[1:] for mark in section.marks] == [(0, 2), (2.01, 4), (4, 6), (9, 10)]
