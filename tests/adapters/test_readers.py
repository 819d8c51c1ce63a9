"""Readers of LlamaIndex and loaders of LangChain, plugged in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document as LangChainDocument
from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import Document as LlamaDocument

from stackroom.adapters.readers import LangChainLoader, LlamaIndexReader
from stackroom.errors import NoTextError, ReadError, UsageError
from stackroom.index import Index
from stackroom.protocols import Reader


class Pages(BaseReader):
    """As LlamaIndex's PDF reader does: a document a page."""

    def load_data(self, file: Path) -> list[LlamaDocument]:  # type: ignore[override]
        pages = file.read_text().split("\f")
        return [
            LlamaDocument(text=text, metadata={"page_label": str(n), "colour": "red", "odd": {1}})
            for n, text in enumerate(pages, 1)
        ]


class Lines(BaseLoader):
    def __init__(self, path: str) -> None:
        self._path = path

    def lazy_load(self) -> Iterator[LangChainDocument]:
        for n, text in enumerate(Path(self._path).read_text().split("\f")):
            yield LangChainDocument(page_content=text, metadata={"page": n, "source": self._path, "title": "Its title"})


def test_a_reader_of_llamaindex(tmp_path: Path) -> None:
    (tmp_path / "a.pages").write_text("one\ftwo")
    reader = LlamaIndexReader("pages", Pages(), suffixes=(".PAGES",))
    assert isinstance(reader, Reader)
    assert reader.accepts(tmp_path / "a.pages", b"")
    reading = reader.read(tmp_path / "a.pages")
    assert reading.metadata == {"colour": "red"}
    assert [(section.text, section.page, section.page_label) for section in reading.sections] == [
        ("one\n\n", 1, "1"),
        ("two\n\n", 2, "2"),
    ]


def test_a_loader_of_langchain(tmp_path: Path) -> None:
    (tmp_path / "a.lines").write_text("one\ftwo")
    reading = LangChainLoader("lines", Lines, suffixes=(".lines",)).read(tmp_path / "a.lines")
    assert (reading.title, reading.metadata) == ("Its title", {})
    assert [(section.text, section.page) for section in reading.sections] == [("one\n\n", 1), ("two\n\n", 2)]


def test_what_they_trip_over(tmp_path: Path) -> None:
    reader = LlamaIndexReader("pages", Pages(), suffixes=(".pages",))
    with pytest.raises(ReadError, match=r"can't be read by pages: FileNotFoundError"):
        reader.read(tmp_path / "missing.pages")
    (tmp_path / "a.pages").write_text(" ")
    with pytest.raises(NoTextError):
        reader.read(tmp_path / "a.pages")


PLUGIN = """
from types import SimpleNamespace
from stackroom.adapters.readers import LangChainLoader

class Loader:
    def __init__(self, path):
        self.path = path
    def lazy_load(self):
        yield SimpleNamespace(page_content=open(self.path).read().upper(), metadata={"page": 6})

shouting = LangChainLoader("shouting", Loader, suffixes=(".shout",))
nothing = 3
"""


def test_in_a_library(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plug").mkdir()
    (tmp_path / "plug/shouting_plugin.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plug"))
    monkeypatch.syspath_prepend(str(tmp_path / "plug"))
    folder = tmp_path / "held"
    folder.mkdir()
    (folder / "a.shout").write_text("alpha words")
    assert index.add(folder).added == 0
    assert index.add(folder, readers="shouting_plugin:shouting").added == 1
    (hit,) = index.search("alpha", k=1)
    assert (hit.text, hit.place.page) == ("ALPHA WORDS", 7)
    assert index.add(folder, readers=["shouting_plugin:shouting"]).unchanged == 1
    # Without it, its files stay as they are: another reader would make something else of them.
    (folder / "a.shout").write_text("beta words, and some more of them for a reader of plain text " * 9)
    for report in (index.rebuild(), index.add(folder / "a.shout")):
        assert [failure.kind for failure in report.failures] == ["UsageError"]
        assert "read by 'shouting', a reader of your own" in report.failures[0].reason
    assert index.search("alpha", k=1)[0].text == "ALPHA WORDS"
    assert index.sources()[0].error is None
    assert index.rebuild(readers="shouting_plugin:shouting").updated == 1
    assert index.search("beta", k=1)[0].text.startswith("BETA WORDS")
    for name in ("shouting_plugin:nothing", "shouting_plugin:missing", "no.such:thing", "bare"):
        with pytest.raises(UsageError, match="reader"):
            index.add(folder, readers=[name])
    sys.modules.pop("shouting_plugin", None)
