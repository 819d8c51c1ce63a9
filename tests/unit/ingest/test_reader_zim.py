"""ZIM: one document an article. The file is made by libzim's own writer: real ones are larger, or of no stated licence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from libzim.writer import Creator, Hint, Item, StringProvider

from reader_support import given
from stackroom.errors import MissingExtraError
from stackroom.index import Index
from stackroom.ingest.readers import reader_for
from stackroom.progress import CancelToken, ProgressEvent
from stackroom.protocols import Reading, Section
from support import WordEmbedder


class Page(Item):  # type: ignore[misc]
    def __init__(self, path: str, title: str, content: str, kind: str = "text/html") -> None:
        super().__init__()
        self._path, self._title, self._content, self._kind = path, title, content, kind

    def get_path(self) -> str:
        return self._path

    def get_title(self) -> str:
        return self._title

    def get_mimetype(self) -> str:
        return self._kind

    def get_contentprovider(self) -> Any:
        return StringProvider(self._content)

    def get_hints(self) -> dict[Any, Any]:
        return {Hint.FRONT_ARTICLE: True}


def page(n: int) -> Page:
    return Page(
        f"A/page{n}", f"Page {n}", f"<html><body><h1>Page {n}</h1><h2>Part</h2><p>word{n} text</p></body></html>"
    )


@pytest.fixture
def wiki(tmp_path: Path) -> Path:
    return made(tmp_path / "wiki.zim", 3)


def made(path: Path, articles: int) -> Path:
    with Creator(path).config_indexing(False, "eng") as creator:
        creator.set_mainpath("A/page0")
        creator.add_metadata("Title", "A wiki")
        creator.add_metadata("Language", "eng")
        for n in range(articles):
            creator.add_item(page(n))
        creator.add_item(Page("style.css", "", "body {}", "text/css"))
        creator.add_redirection("A/other", "Other", "A/page1", {})
    return path


def articles(path: Path) -> list[tuple[Reading, list[Section]]]:
    documents = reader_for(path).read(path).documents
    assert documents is not None
    return [(document, list(document.sections)) for document in documents]


def test_articles_with_their_headings(wiki: Path) -> None:
    found = articles(wiki)
    assert [(document.part, document.title) for document, _ in found] == [(f"A/page{n}", f"Page {n}") for n in range(3)]
    assert found[1][1][-1].headings == ("Page 1", "Part")
    assert "word1 text" in found[1][1][-1].text
    assert found[0][0].metadata == {"language": "eng"}


def test_in_a_library(index: Index, wiki: Path) -> None:
    assert index.add(wiki).added == 1
    (source,) = index.sources()
    assert (source.documents, source.title) == (3, "A wiki")
    hit = index.search("word2", k=1, where="language == eng")[0]
    assert (hit.document.title, hit.place.section, hit.document.metadata["part"]) == (
        "Page 2",
        ("Page 2", "Part"),
        "A/page2",
    )


def test_an_interrupted_file_goes_on_without_embedding_anything_twice(
    index: Index, tmp_path: Path, embedder: WordEmbedder
) -> None:
    path = made(tmp_path / "large.zim", 400)
    cancel = CancelToken()

    def stop(event: ProgressEvent) -> None:
        if event.chunks >= 150:
            cancel.cancel()

    assert index.add(path, progress=stop, cancel=cancel).cancelled
    (source,) = index.sources()
    assert source.state == "partial"
    assert 0 < source.documents < 400
    kept, begun = source.chunks, len(embedder.embedded)
    report = index.add(path)
    (source,) = index.sources()
    assert (source.state, source.documents) == ("indexed", 400)
    assert (report.reused, len(embedder.embedded) - begun) == (kept, source.chunks - kept)
    assert index.verify().ok


def test_articles_come_one_by_one(wiki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the second article is touched while the first one is at work: the file may be of any size."""
    from stackroom.ingest.readers import html

    parsed: list[str] = []
    parse = html.parse
    monkeypatch.setattr(html, "parse", lambda text: parsed.append(text) or parse(text))
    documents = reader_for(wiki).read(wiki).documents
    assert documents is not None
    for number, _ in enumerate(documents, start=1):
        assert len(parsed) == number


def test_known_by_its_content(wiki: Path, tmp_path: Path) -> None:
    assert reader_for(given(tmp_path, "a.bin", wiki.read_bytes())).name == "zim"


def test_broken_files(wiki: Path, tmp_path: Path) -> None:
    whole = wiki.read_bytes()
    path = given(tmp_path, "a.zim", whole[:40])
    with pytest.raises(Exception, match="broken ZIM"):
        articles(path)
    path.write_bytes(whole[:200] + bytes(len(whole) - 200))
    with pytest.raises(Exception, match=r"broken ZIM|No article"):
        articles(path)


def test_without_the_extra(wiki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libzim.reader", None)
    with pytest.raises(MissingExtraError, match=r"stackroom\[zim\]"):
        reader_for(wiki).read(wiki)
