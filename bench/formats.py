"""How fast each format is read, from the file to sections, on real files: those of the tests and samples, Python's own library, and
some Debian packages. In this process, on one core; what `add` does beside it (splitting, embedding) is not in it.

python bench/formats.py [--report docs/benchmarks/formats.md]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pypdfium2
from PIL import Image

import machine
from stackroom.errors import StackroomError
from stackroom.ingest.readers import ON_REQUEST, SUFFIXES, reader_for
from stackroom.ingest.recognition import engine
from stackroom.ingest.recognition.pages import recognised

ROOT = Path(__file__).parents[1]
PACKAGES = [
    "live-manual-odf",
    "live-manual-epub",
    "bash-doc",
    "debian-refcard",
    "ieee-data",
    "iso-codes",
    "docutils-doc",
    "sqlite3-doc",
]
SECONDS = 1.0
MOST_FILES = 60
LARGEST = 8 * 2**20
DRAWN = (10, 40, 70)
DOTS_PER_INCH = 150


@dataclass
class Speed:
    files: int = 0
    bytes: int = 0
    characters: int = 0
    pages: int = 0
    seconds: float = 0.0


def fetch(folder: Path) -> Path:
    """Unpack Debian's packages there; without apt the rest is measured."""
    for package in PACKAGES:
        subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=False, capture_output=True)
    for file in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(file), str(folder / "unpacked")], check=True)
    for file in (folder / "unpacked").rglob("*.pdf.gz"):
        subprocess.run(["gunzip", "-kf", str(file)], check=True)
    return folder / "unpacked"


def files_of(folders: list[Path]) -> list[Path]:
    wanted = SUFFIXES.union(*ON_REQUEST.values())
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if (
                path.suffix.lower() in wanted
                and path.is_file()
                and not path.is_symlink()
                and path.stat().st_size <= LARGEST
            ):
                found.append(path)
    return found


def read_once(path: Path) -> tuple[str, int, int]:
    """The type, the characters and the pages of a file."""
    reading = reader_for(path).read(path)
    characters = pages = 0
    for document in [reading] if reading.documents is None else reading.documents:
        for section in document.sections:
            characters += len(section.text)
            pages += section.page is not None
    return reading.type, characters, pages


def measure(path: Path, found: dict[str, Speed]) -> None:
    """Read it again and again, for the largest share of a second."""
    try:
        kind, characters, pages = read_once(path)
    except StackroomError:
        return
    speed = found[kind]
    if speed.files >= MOST_FILES:
        return
    speed.files += 1
    begun = time.process_time()
    while True:
        read_once(path)
        speed.bytes += path.stat().st_size
        speed.characters += characters
        speed.pages += pages
        if time.process_time() - begun > SECONDS / MOST_FILES * 4:
            break
    speed.seconds += time.process_time() - begun


def drawn(manual: Path, folder: Path) -> list[Path]:
    """Pages of a manual as a scanner gives them: a picture of each, and a PDF of all."""
    with pypdfium2.PdfDocument(manual) as document:
        pictures: list[Image.Image] = [
            document[number - 1].render(scale=DOTS_PER_INCH / 72).to_pil().convert("L") for number in DRAWN
        ]
    for number, picture in zip(DRAWN, pictures, strict=True):
        picture.save(folder / f"page-{number}.png", dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    first, *others = pictures
    first.save(folder / "pages.pdf", save_all=True, append_images=others, resolution=DOTS_PER_INCH)
    return sorted(folder.glob("page*"))


def measure_recognition(paths: list[Path], found: dict[str, Speed]) -> None:
    """Each once: a page takes seconds."""
    engine.start()
    for path in paths:
        reading = reader_for(path).read(path)
        speed = found[f"{reading.type}, recognised"]
        speed.files += 1
        speed.bytes += path.stat().st_size
        begun = time.process_time()
        for section in recognised(reading.sections, path, reading.type, lambda _: None):
            speed.characters += len(section.text)
            speed.pages += 1
        speed.seconds += time.process_time() - begun


def pace(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.2f}" if amount >= 0.1 else f"{amount:.1g}"


def page(found: dict[str, Speed]) -> str:
    lines = [
        "# How fast formats are read",
        "",
        f"{machine.describe()}. Made by `make bench-formats`.",
        "",
        "From the file to its sections, by seconds of one core (CPU time, so that a busy machine says the same): real files of at most 8 MB, those of the tests and samples, Python's own library,",
        f"and Debian's {', '.join(PACKAGES)}. Small files say more of a reader's first steps than of its pace. Embedding takes far longer:",
        "the shipped model reads some twenty passages, or 20 KB of text, a second and core. What is recognised (OCR) is pages of bash's manual,",
        f"drawn in grey at {DOTS_PER_INCH} dots an inch as a scanner gives them: a PNG each, and a PDF of them all.",
        "",
        "| format | files | MB/s of file | MB/s of text | pages/s |",
        "|---|---|---|---|---|",
    ]
    for kind, speed in sorted(found.items()):
        pages = pace(speed.pages / speed.seconds) if speed.pages else ""
        megabytes = (pace(size / 2**20 / speed.seconds) for size in (speed.bytes, speed.characters))
        lines.append(f"| {kind} | {speed.files} | {' | '.join(megabytes)} | {pages} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Speed] = defaultdict(Speed)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(json.__file__).parents[1]
        folders = [
            ROOT / "tests/unit/ingest/files",
            ROOT / "samples",
            library / "json",
            library / "email",
            fetch(Path(folder)),
        ]
        for path in files_of(folders):
            measure(path, found)
        manual = next(iter(sorted(Path(folder).rglob("bash.pdf"))), None)
        if manual is not None:
            scans = Path(folder) / "scans"
            scans.mkdir()
            measure_recognition(drawn(manual, scans), found)
    report = page(found)
    print(report)
    if arguments.report:
        arguments.report.write_text(report)


if __name__ == "__main__":
    main()
