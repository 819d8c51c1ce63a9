"""Subtitles and transcripts with time codes: SRT and WebVTT. A passage says from which second to which it is spoken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from stackroom.errors import NoTextError
from stackroom.ingest.readers.common.limits import clean
from stackroom.ingest.readers.common.marked import LONG, Marked
from stackroom.ingest.readers.plaintext import decoded_head, lines, looks_like_text
from stackroom.protocols import Reading, Section

_CLOCK = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
_TIMES = re.compile(rf"[ \t]*{_CLOCK}[ \t]*-->[ \t]*{_CLOCK}")
_BEGINS_SRT = re.compile(rf"\s*\d+[ \t]*\n{_CLOCK}[ \t]*-->")
_TAGS = re.compile(r"</?(?:[bius]|font|c|v|lang|ruby|rt|\d)[^<>]*>|\{\\[^{}]*\}", re.IGNORECASE)
_SPEAKER = re.compile(r"<v(?:\.[\w.]*)?[ \t]+([^<>]{1,80})>")
_SILENCE = 10.0
"""Seconds without a word after which something new is said."""
_GAP = 0.1
"""Seconds between captions that scroll, at most."""
_LONGEST_CUE = 10_000


class SubtitleReader:
    name = "subtitles"
    version = 3
    suffixes: tuple[str, ...] = (".srt", ".vtt")

    def accepts(self, path: Path, head: bytes) -> bool:
        if not looks_like_text(head):
            return False
        start = decoded_head(head).lstrip("\ufeff")
        if re.match(r"WEBVTT(?:[ \t\n]|$)", start) or _BEGINS_SRT.match(start):
            return True
        return path.suffix.lower() in self.suffixes and "-->" in start

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        with path.open("rb") as file:
            kind = "vtt" if decoded_head(file.read(64)).lstrip("\ufeff").startswith("WEBVTT") else "srt"
        return Reading(kind, _sections(path))


def _sections(path: Path) -> Iterator[Section]:
    held = Marked("second")
    before = 0.0
    found = False
    said = ""
    shown: list[str] = []
    for begins, ends, words in _cues(path):
        # Captions that scroll say every line twice: alone, and above the next.
        rolled = len(words) > 1 and bool(shown) and words[0] == shown[-1] and begins - before < _GAP
        shown = words[rolled:]
        text = " ".join(shown)
        if text == said:
            before = max(before, ends)
            continue
        said, found = text, True
        if held.size and (begins - before > _SILENCE or held.size > LONG):
            yield held.take()
        held.add(text + "\n", round(begins, 3), round(ends, 3))
        before = ends
    if held.size:
        yield held.take()
    if not found:
        raise NoTextError(f"{path} holds no cues with text.", hint="Are its time codes intact?", path=path)


def _cues(path: Path) -> Iterator[tuple[float, float, list[str]]]:
    """Every cue with its seconds, and its lines. What stands outside of cues (notes, styles) is left out."""
    times: tuple[float, float] | None = None
    held: list[str] = []
    size = 0
    for line in lines(path, _LONGEST_CUE):
        match = _TIMES.match(line)
        if match is not None or not line.strip() or size > _LONGEST_CUE:
            if times is not None and (match is not None or held):
                # Without an empty line between them, a cue's number is what stands before its times.
                if match is not None and held and held[-1].strip().isdecimal():
                    held.pop()
                if text := _lines_of(held):
                    yield (*times, text)
            held, size = [], 0
            times = (_seconds(*match.groups()[:4]), _seconds(*match.groups()[4:])) if match else None
        elif times is not None:
            held.append(line)
            size += len(line)
    if times is not None and (text := _lines_of(held)):
        yield (*times, text)


def _lines_of(held: list[str]) -> list[str]:
    """A cue's lines that hold words, with who says them."""
    return [text for line in "".join(held).splitlines() if (text := _text(line))]


def _text(line: str) -> str:
    text = _TAGS.sub("", _SPEAKER.sub(r"\1: ", line))
    for mark, character in (
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&nbsp;", " "),
        ("&lrm;", ""),
        ("&rlm;", ""),
        ("&amp;", "&"),
    ):
        text = text.replace(mark, character)
    return " ".join(clean(text).split())


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int((fraction or "").ljust(3, "0")) / 1000
