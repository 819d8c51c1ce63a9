"""XML that nobody has to trust: no entities, no network, no endless depth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stackroom._optional import require
from stackroom.errors import ReadError
from stackroom.ingest.readers.common.limits import NESTING, clean


def parse(data: bytes, path: Path, *, recover: bool = False) -> Any:
    """The root element. `recover` takes what can be had of broken markup. Raises ReadError."""
    etree = require("lxml.etree", extra="documents")
    # lxml refuses more than 256 levels by itself, unless it is told to take huge trees.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=recover, remove_comments=True,
        remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ReadError(f"{path}: its markup is broken ({error}).", hint="Get a fresh copy.", path=path) from error
    if root is None:
        raise ReadError(f"{path}: its markup is empty.", hint="Get a fresh copy.", path=path)
    return root


def local(node: Any) -> str:
    """An element's name without its namespace; comments, entities and the like have none."""
    return str(node.tag).rpartition("}")[2] if isinstance(node.tag, str) else ""


def attribute(node: Any, name: str) -> str:
    """An attribute by its name, whatever its namespace; "" where there is none."""
    for key, value in node.attrib.items():
        if str(key).rpartition("}")[2] == name:
            return str(value)
    return ""


def named(root: Any, *names: str) -> Iterator[Any]:
    """All elements below that have one of these names, in order."""
    return (node for node in root.iter() if local(node) in names)


def first_text(root: Any, name: str) -> str:
    """The text of the first element of that name."""
    node = next(named(root, name), None)
    return "" if node is None else clean("".join(node.itertext())).strip()


def too_deep(path: Path) -> ReadError:
    return ReadError(
        f"{path} has parts within parts, more than {NESTING} levels deep.", hint="Get a fresh copy.", path=path
    )
