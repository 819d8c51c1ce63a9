"""EPUB: the chapters in reading order, each under its title in the table of contents."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from stackroom._optional import require
from stackroom.errors import EncryptedError, NoTextError, ReadError
from stackroom.ingest.readers import html
from stackroom.ingest.readers.common import limits
from stackroom.ingest.readers.common.limits import SafeArchive, clean
from stackroom.protocols import Reading, Section

_FONT_ALGORITHMS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


class EpubReader:
    name = "epub"
    version = 3
    suffixes: tuple[str, ...] = (".epub",)

    def accepts(self, path: Path, head: bytes) -> bool:
        zipped = head.startswith(b"PK")
        return zipped and (b"application/epub+zip" in head[:200] or path.suffix.lower() in self.suffixes)

    def read(self, path: Path) -> Reading:
        """Raises EncryptedError, NoTextError, ReadError."""
        require("lxml.etree", extra="documents")
        with SafeArchive(path) as archive:
            if "META-INF/encryption.xml" in archive.names:
                _refuse_encrypted(archive.read("META-INF/encryption.xml"), path)
            container = parsed(archive.read("META-INF/container.xml"), path)
            roots = [name for name in attributes(container, "rootfile", "full-path") if name]
            if not roots:
                raise ReadError(f"{path} names no content.", hint="Get a fresh copy.", path=path)
            package = parsed(archive.read(roots[0]), path)
            folder = posixpath.dirname(roots[0])
            title, metadata = facts(package)
            chapters = list(_chapters(archive, package, folder, path))
        if not any(section.text.strip() for section in chapters):
            raise NoTextError(
                f"{path} holds no text: its pages are pictures.", hint="Recognise their text first.", path=path
            )
        return Reading("epub", chapters, title, metadata)


def _chapters(archive: SafeArchive, package: Any, folder: str, path: Path) -> Iterator[Section]:
    """Every file of the spine once, however often it is named."""
    manifest = {item.get("id"): item for item in package.iter() if local(item) == "item"}
    titles = _table_of_contents(archive, manifest, folder, path)
    seen: set[str] = set()
    for reference in attributes(package, "itemref", "idref"):
        item = manifest.get(reference)
        if item is None or "html" not in (item.get("media-type") or "html"):
            continue
        name = _resolve(folder, item.get("href") or "")
        if name in seen or name not in archive.names:
            continue
        seen.add(name)
        tree = html.parse(html.decode(archive.read(name)))
        root = tree.body or tree.root
        if root is not None:
            yield from html.sections(root, titles.get(name, ()))


def _table_of_contents(
    archive: SafeArchive, manifest: dict[str, Any], folder: str, path: Path
) -> dict[str, tuple[str, ...]]:
    """The first title that the table of contents gives each file, from the navigation document or the older NCX."""
    titles: dict[str, tuple[str, ...]] = {}
    for item in manifest.values():
        name = _resolve(folder, item.get("href") or "")
        if name not in archive.names:
            continue
        base = posixpath.dirname(name)
        if "nav" in (item.get("properties") or "").split():
            tree = html.parse(html.decode(archive.read(name)))
            links = [(a.attributes.get("href") or "", a.text(deep=True)) for a in tree.css("nav a[href]")]
        elif item.get("media-type") == "application/x-dtbncx+xml":
            points = [node for node in parsed(archive.read(name), path).iter() if local(node) == "navPoint"]
            links = [(next(iter(attributes(point, "content", "src")), "") or "", label_of(point)) for point in points]
        else:
            continue
        for href, label in links:
            target, label = _resolve(base, href), " ".join(clean(label).split())
            if label and target not in titles:
                titles[target] = (label[: limits.HEADING],)
    return titles


def label_of(point: Any) -> str:
    """What a point of an NCX is called."""
    for node in point.iter():
        if local(node) == "text":
            return node.text or ""
    return ""


def facts(package: Any) -> tuple[str | None, dict[str, Any]]:
    """The title, and what else a package document says of its book."""
    found: dict[str, Any] = {}
    for node in package.iter():
        name, text = local(node), clean(node.text or "").strip()
        if name in ("title", "creator", "language", "date", "publisher", "subject") and text:
            if name == "subject":
                found.setdefault("subject", []).append(text)
            else:
                found.setdefault("author" if name == "creator" else name, text)
    return found.pop("title", None), found


def _refuse_encrypted(data: bytes, path: Path) -> None:
    """Scrambled fonts are no hindrance; anything else is encryption."""
    algorithms = attributes(parsed(data, path), "EncryptionMethod", "Algorithm")
    if any(algorithm not in _FONT_ALGORITHMS for algorithm in algorithms):
        raise EncryptedError(f"{path} is encrypted (DRM).", hint="Add a copy without it.", path=path)


def parsed(data: bytes, path: Path) -> Any:
    """Parsed without entities or network: a hostile file can't grow or call home."""
    etree = require("lxml.etree", extra="documents")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=True)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise ReadError(f"{path}: its description is broken ({error}).", hint="Get a fresh copy.", path=path) from error
    if root is None:
        raise ReadError(f"{path}: its description is empty.", hint="Get a fresh copy.", path=path)
    return root


def local(node: Any) -> str:
    """An element's name without its namespace."""
    return str(node.tag).rpartition("}")[2]


def attributes(root: Any, name: str, attribute: str) -> list[str]:
    """One attribute of all elements of a name."""
    return [node.get(attribute) or "" for node in root.iter() if local(node) == name]


def _resolve(folder: str, href: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0])))
