"""ZIM (offline Wikipedia and its kin), by libzim: one document an article, as a stream. An extra: libzim is under the GPL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stackroom._optional import require
from stackroom.errors import ReadError
from stackroom.ingest.readers import html
from stackroom.ingest.readers.common.limits import clean
from stackroom.protocols import Reading

_MAGIC = b"ZIM\x04"
_LARGEST = 64 * 1024 * 1024


class ZimReader:
    name = "zim"
    version = 2
    suffixes: tuple[str, ...] = (".zim",)
    asked_only = True

    def accepts(self, path: Path, head: bytes) -> bool:
        del path
        return head.startswith(_MAGIC)

    def read(self, path: Path) -> Reading:
        """Raises ReadError, also while iterating."""
        reader = require("libzim.reader", extra="zim")
        try:
            archive = reader.Archive(path)
            count = int(archive.all_entry_count)
        except Exception as error:  # libzim raises RuntimeError for all that it finds amiss
            raise ReadError(f"{path} is a broken ZIM file: {error}.", hint="Get a fresh copy.", path=path) from error
        return Reading("zim", documents=_articles(archive, count, path), title=_about(archive, "Title") or None)


def _articles(archive: Any, count: int, path: Path) -> Iterator[Reading]:
    """Every page that is no redirect; one that can't be read is left out, and a file of such is broken."""
    language = _about(archive, "Language")
    facts = {"language": language} if language else {}
    read = 0
    why: Exception | None = None
    for number in range(count):
        try:
            entry = archive._get_entry_by_id(number)
            if entry.is_redirect:
                continue
            item = entry.get_item()
            if not item.mimetype.startswith("text/html") or item.size > _LARGEST:
                continue
            name, title = str(entry.path), str(entry.title)
            tree = html.parse(html.decode(bytes(item.content)))
        except Exception as error:  # as above: a cluster that can't be unpacked, an entry out of bounds
            why = error
            continue
        root = tree.body or tree.root
        found = list(html.sections(root)) if root is not None else []
        if any(section.text.strip() for section in found):
            read += 1
            yield Reading("html", found, " ".join(clean(title).split()) or name, dict(facts), part=name)
    if why is not None and not read:
        raise ReadError(f"No article of {path} can be read: {why}.", hint="Get a fresh copy.", path=path) from why


def _about(archive: Any, name: str) -> str:
    try:
        return clean(bytes(archive.get_metadata(name)).decode("utf-8", "replace")).strip()
    except Exception:  # what a file does not say of itself is no reason to leave it
        return ""
