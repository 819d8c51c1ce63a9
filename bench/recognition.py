"""Recognised text beside printed text: real pages of PDFs, drawn at the resolution of a scan and recognised (OCR).

    python bench/recognition.py [--tree DIR] [--report docs/benchmarks/recognition.md]

Of each language a page of a manual (Debian's installation-guide-amd64), or the first of a reference card (debian-refcard). A word counts as found where the page's own text
has it too, as often.
"""

from __future__ import annotations

import argparse
import gzip
import re
import resource
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import pypdfium2

import machine
from stackroom.ingest.recognition import engine
from stackroom.ingest.recognition.pages import text_of_page

MANUALS = ("en", "de", "fr", "cs", "vi", "zh_CN", "ja", "ko", "ru")
CARDS = ("en",)
PAGES = (20,)
_WORD = re.compile(r"\w+")


def fetch(folder: Path) -> Path:
    for package in ("installation-guide-amd64", "debian-refcard"):
        subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=False, capture_output=True)
    for file in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(file), str(folder / "unpacked")], check=True)
    return folder / "unpacked"


def found(tree: Path, pattern: str, folder: Path) -> Path | None:
    """The file of that name, unpacked."""
    for path in sorted(tree.rglob(pattern)):
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        if data.startswith(b"%PDF"):
            unpacked = folder / path.name.removesuffix(".gz")
            unpacked.write_bytes(data)
            return unpacked
    return None


def words(text: str) -> Counter[str]:
    """Words of a text; letters, where they stand without spaces."""
    spread = re.sub(r"([\u3040-\u30ff\u3400-\u9fff])", r" \1 ", text.lower())
    return Counter(_WORD.findall(spread))


def measure(path: Path, pages: tuple[int, ...]) -> tuple[int, int, float, float, float] | None:
    """Pages, printed words, seconds a page (of all cores), the share of printed words that were found, and of found ones that are printed."""
    printed: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    spent = 0.0
    with pypdfium2.PdfDocument(path) as document:
        pages = tuple(page for page in pages if page <= len(document))
        for page in pages:
            text = document[page - 1].get_textpage().get_text_range()
            printed += words(text.replace("\ufffe\r\n", "").replace("\ufffe", ""))
    if not printed:
        return None
    for page in pages:
        begun = time.process_time()
        seen += words(text_of_page(path, "pdf", page))
        spent += time.process_time() - begun
    both = (printed & seen).total()
    return len(pages), printed.total(), spent / len(pages), both / printed.total(), both / max(seen.total(), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, help="a folder of unpacked packages; fetches nothing")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    lines = [
        "# Recognised text",
        "",
        f"{machine.describe()}. Made by `make bench-recognition`.",
        "",
        "Real pages, drawn at 150 dots an inch as a scanner would give them at its best, recognised, and compared with their own text: manuals of prose, "
        "and reference cards (three columns of tables in small print). CPU seconds, the models' start left out. A scan on paper has dust, and is worse.",
        "",
        "| pages | language | words | seconds a page | printed words that were found | words that are printed so |",
        "|---|---|---|---|---|---|",
    ]
    engine.start()
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        tree = arguments.tree or fetch(folder)
        for kind, languages, pattern, pages in (
            ("a page of a manual", MANUALS, "install.{}.pdf*", PAGES),
            ("a card", CARDS, "refcard-{}-a4.pdf*", (1,)),
        ):
            for language in languages:
                path = found(tree, pattern.format(language), folder)
                measured = measure(path, pages) if path is not None else None
                if measured is not None:
                    _, total, seconds, recall, precision = measured
                    lines.append(
                        f"| {kind} | {language} | {total:,} | {seconds:.1f} | {recall:.1%} | {precision:.1%} |"
                    )
                    print(lines[-1], flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines += ["", f"The process held {peak:.0f} MB at most.", ""]
    if arguments.report:
        arguments.report.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
