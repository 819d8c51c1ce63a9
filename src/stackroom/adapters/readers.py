"""LlamaIndex's file readers and LangChain's loaders as readers of Stackroom's own. Neither framework is imported here.

# myapp/readers.py, in a module that is installed
from llama_index.readers.file import HWPReader
from stackroom.adapters.readers import LlamaIndexReader

hwp = LlamaIndexReader("hwp", HWPReader(), suffixes=(".hwp",))

index.add("folder", readers=["myapp.readers:hwp"])
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from stackroom.errors import NoTextError, ReadError, StackroomError
from stackroom.protocols import Reading, Section

_TOLD = frozenset({"page", "page_label", "source", "file_path", "file_name", "total_pages"})


class _Wrapped:
    """Asked for files of these suffixes. Raise `version` when it would give other text."""

    def __init__(self, name: str, *, suffixes: tuple[str, ...], version: int = 1) -> None:
        self.name = name
        self.version = version
        self.suffixes = tuple(suffix.lower() for suffix in suffixes)

    def accepts(self, path: Path, head: bytes) -> bool:
        del head
        return path.suffix.lower() in self.suffixes

    def read(self, path: Path) -> Reading:
        """Raises NoTextError, ReadError."""
        try:
            found = list(self._load(path))
            sections = list(_sections(found))
        except StackroomError:
            raise
        except Exception as error:  # what a reader of somebody else's raises, nobody knows
            raise ReadError(
                f"{path} can't be read by {self.name}: {type(error).__name__}: {error}.",
                hint="Ask those who made the reader.",
                path=path,
            ) from error
        if not any(section.text.strip() for section in sections):
            raise NoTextError(f"{path} holds no text.", hint="Nothing to do.", path=path)
        metadata = _plain(found[0].metadata)
        title = metadata.pop("title", None)
        return Reading(self.name, sections, title if isinstance(title, str) else None, metadata)

    def _load(self, path: Path) -> Iterable[Any]:
        raise NotImplementedError


class LlamaIndexReader(_Wrapped):
    """`reader.load_data(path)`; each of its documents is a section, on its page where it says one."""

    def __init__(self, name: str, reader: Any, *, suffixes: tuple[str, ...], version: int = 1) -> None:
        super().__init__(name, suffixes=suffixes, version=version)
        self._reader = reader

    def _load(self, path: Path) -> Iterable[Any]:
        return list(self._reader.load_data(path))


class LangChainLoader(_Wrapped):
    """`loader(path)` makes the loader of one file: a class, or a function; each of its documents is a section."""

    def __init__(self, name: str, loader: Callable[[str], Any], *, suffixes: tuple[str, ...], version: int = 1) -> None:
        super().__init__(name, suffixes=suffixes, version=version)
        self._loader = loader

    def _load(self, path: Path) -> Iterable[Any]:
        return list(self._loader(str(path)).lazy_load())


def _sections(documents: list[Any]) -> Iterator[Section]:
    for document in documents:
        text = document.page_content if hasattr(document, "page_content") else document.text
        page, label = document.metadata.get("page"), document.metadata.get("page_label")
        if isinstance(page, int) and not isinstance(page, bool):
            page += 1  # LangChain counts from 0
        elif isinstance(label, str) and label.isdecimal():
            page = int(label)
        else:
            page = None
        ending = "\n\n" if text else ""
        yield Section(f"{text}{ending}", (), page, label if isinstance(label, str) else None)


def _plain(metadata: Any) -> dict[str, Any]:
    """What JSON can hold of the first document's metadata, without what a place says."""
    found = {}
    for name, value in dict(metadata).items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            continue
        if name not in _TOLD:
            found[str(name)] = value
    return found
