"""RapidOCR: PP-OCR's models, which are part of its package, by onnxruntime. Latin letters, Chinese and Japanese, no Cyrillic. Nothing is fetched."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stackroom._optional import require
from stackroom.errors import UnavailableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    """RGB, of shape `(height, width, 3)`."""

EXTRA = "ocr"

_SURE = 0.6
"""What is less certain is bullets, lines and specks."""

_DOUBTFUL = 0.85
"""A page's letters are less certain where it is upside down, or in a script that is not known."""

_UPRIGHT = 1.5
"""Times as high as it is wide: a line of a page that lies on its side."""

_NEARLY = 0.9
"""As sure as before it was turned, or nearly: then it is right for a page that lies on its side."""


class Line(NamedTuple):
    """A piece of a line of text, and where it stands, in pixels from the upper left corner."""

    left: float
    top: float
    right: float
    bottom: float
    text: str


def lines_in(picture: Picture) -> list[Line]:
    """What is written in a picture, in no order; where that lies on its side or upside down, as it stands when it is turned.

    Raises MissingExtraError, UnavailableError.
    """
    import numpy as np

    lines, sure = _read(picture)
    turns = _turns_needed(lines, sure)
    if turns:
        turned, surer = _read(np.rot90(picture, turns))
        # By one quarter the lines were read before as well, and only their order was lost.
        if surer > (_NEARLY * sure if turns == 1 else sure):
            return turned
    return lines


def _read(picture: Picture) -> tuple[list[Line], float]:
    """Lines, and how many of their letters are sure."""
    # It wants blue first, as OpenCV does.
    found = _engine()(picture[:, :, ::-1], use_cls=False)
    if found.boxes is None or not found.txts:
        return [], 0.0
    lines = []
    sure = 0.0
    for box, said, score in zip(found.boxes, found.txts, found.scores, strict=True):
        across, down = [float(point[0]) for point in box], [float(point[1]) for point in box]
        if text := " ".join(str(said).split()):
            lines.append(Line(min(across), min(down), max(across), max(down), text))
            sure += float(score) * len(text)
    return lines, sure


def _turns_needed(lines: list[Line], sure: float) -> int:
    """By how many quarters, counter-clockwise, a page probably has to be turned.

    Most of one that lies on its side stands upright. The engine turns such lines by a quarter, each for itself: what makes
    no sense then lies on the other side.
    """
    letters = sum(len(line.text) for line in lines)
    upright = sum(len(line.text) for line in lines if line.bottom - line.top > _UPRIGHT * (line.right - line.left))
    doubtful = sure < _DOUBTFUL * letters
    if 2 * upright > letters:
        return 3 if doubtful else 1
    return 2 if doubtful else 0


def start() -> None:
    """Load the models, which takes a second or two. Raises MissingExtraError, UnavailableError."""
    _engine()


@cache
def _engine() -> Any:
    """Its models by their paths: by their names it would look for them on a server where they are missing."""
    package = require("rapidocr", extra=EXTRA)
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    folder = Path(package.__file__ or "").parent / "models"
    parameters: dict[str, Any] = {"Global.text_score": _SURE, "Global.log_level": "error"}
    for step, name in (("Det", "*_det_*.onnx"), ("Rec", "*_rec_*.onnx"), ("Cls", "*_cls_*.onnx")):
        models = sorted(folder.glob(name))
        if not models:
            raise UnavailableError(
                f"The package rapidocr at {folder.parent} lacks its models.",
                hint="Install it anew: pip install --force-reinstall 'rapidocr>=3.10'",
                path=folder,
            )
        parameters[f"{step}.model_path"] = str(models[-1])
    return package.RapidOCR(params=parameters)
