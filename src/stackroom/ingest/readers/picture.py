"""Pictures (scans, photographs of pages): as many pages as they have frames, all without text, which is recognised where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackroom._optional import require
from stackroom.errors import ReadError, ScannedError
from stackroom.ingest.readers.common.limits import clean
from stackroom.protocols import Reading, Section

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
_MOST_PIXELS = 200_000_000
"""A sheet of A0 at 150 dots an inch has a sixth of them."""


_NOTED = {"author": 0x013B, "created": 0x0132}
"""Numbers of fields in the head of a TIFF, which Exif has too."""


class PictureReader:
    name = "picture"
    version = 2
    suffixes: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
    asked_only = True

    def accepts(self, path: Path, head: bytes) -> bool:
        del path
        return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*")) or (
            head.startswith(b"RIFF") and head[8:12] == b"WEBP"
        )

    def read(self, path: Path) -> Reading:
        """Raises ScannedError after its pages, ReadError, MissingExtraError."""
        with _opened(path) as picture:
            frames = _frames(picture)
            facts = _facts(picture)
        return Reading("picture", _pages(frames, path), None, facts)


def frame(path: Path, number: int, longest: int) -> NDArray[np.uint8] | None:
    """One frame (from 1) upright in RGB, of shape `(height, width, 3)`, no side longer than `longest`; None where it can't be drawn.

    Raises ReadError.
    """
    import numpy as np

    orientation = require("PIL.ImageOps", extra="ocr")
    with _opened(path) as picture:
        try:
            if number > 1:
                picture.seek(number - 1)
                _check(picture, path)
            if number == 1:
                picture.draft("RGB", (longest, longest))  # a JPEG is unpacked at a fraction of its size
            upright = orientation.exif_transpose(picture)
            # What is transparent is paper.
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                upright = upright.convert("RGBA")
                paper = require("PIL.Image", extra="ocr").new("RGBA", upright.size, "white")
                paper.alpha_composite(upright)
                upright = paper
            upright = upright.convert("RGB")
            upright.thumbnail((longest, longest))
            return np.asarray(upright, np.uint8)
        except ReadError:
            raise
        except Exception:  # a decoder's own: struct.error, SyntaxError, EOFError, OSError
            return None


def _opened(path: Path) -> Any:
    """Raises ReadError, MissingExtraError."""
    pillow: Any = require("PIL.Image", extra="ocr")
    # The limit is ours, below: this one would be a warning first.
    pillow.MAX_IMAGE_PIXELS = None
    try:
        picture = pillow.open(path, formats=_FORMATS)
    except Exception as error:  # as above
        raise ReadError(f"{path} is a broken picture: {error}.", hint="Get a fresh copy.", path=path) from error
    try:
        _check(picture, path)
    except ReadError:
        picture.close()
        raise
    return picture


def _check(picture: Any, path: Path) -> None:
    width, height = picture.size
    if width * height > _MOST_PIXELS:
        raise ReadError(
            f"{path} is a picture of {width} by {height} pixels, which no page has.",
            hint="If you trust it, save it smaller, and add that.",
            path=path,
        )


def _facts(picture: Any) -> dict[str, Any]:
    """Who made it, and when, as cameras and scanners note it."""
    facts: dict[str, Any] = {}
    try:
        noted = picture.getexif()
        for name, at in _NOTED.items():
            value = noted.get(at)
            if isinstance(value, str) and (said := clean(value).strip("\x00 ")):
                facts.setdefault(name, said)
    except Exception:  # as above: broken notes are no reason to leave a picture
        return {}
    return facts


def _frames(picture: Any) -> int:
    try:
        return max(int(getattr(picture, "n_frames", 1)), 1)
    except Exception:  # a broken chain of frames: the first one is there
        return 1


def _pages(frames: int, path: Path) -> Iterator[Section]:
    for number in range(1, frames + 1):
        yield Section("", page=number)
    raise ScannedError(
        f"{path} is a picture: what is written in it is not known.",
        hint="Add it again with --ocr, to have it recognised.",
        path=path,
        pages=frames,
    )
