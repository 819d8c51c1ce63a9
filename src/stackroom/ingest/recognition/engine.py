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


class Line(NamedTuple):
    """A piece of a line of text, and where it stands, in pixels from the upper left corner."""

    left: float
    top: float
    right: float
    bottom: float
    text: str


def lines_in(picture: Picture) -> list[Line]:
    """What is written in a picture, in no order. Raises MissingExtraError, UnavailableError."""
    # It wants blue first, as OpenCV does.
    found = _engine()(picture[:, :, ::-1], use_cls=False)
    if found.boxes is None or not found.txts:
        return []
    lines = []
    for box, text in zip(found.boxes, found.txts, strict=True):
        across, down = [float(point[0]) for point in box], [float(point[1]) for point in box]
        lines.append(Line(min(across), min(down), max(across), max(down), " ".join(str(text).split())))
    return [line for line in lines if line.text]


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
