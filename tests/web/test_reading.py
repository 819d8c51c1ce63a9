"""Documents on show: at the passage, with what a file could do taken away."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

import stackroom
from stackroom import Chunk, Document, Place
from stackroom.web.cleaning import cleaned
from stackroom.web.pages import PDF_POLICY, SANDBOX
from support import write_files
from web_support import OWN, Asker

HOSTILE = """<!doctype html><html><head><title>T</title><base href="https://evil.example/"><meta http-equiv="refresh" content="0;url=https://evil.example">
<link rel="stylesheet" href="https://evil.example/a.css"><style>body{background:url(https://evil.example/b)}</style><script>steal()</script></head>
<body onload="steal()" background="https://evil.example/c"><p onclick="steal()" style="background:url(https://evil.example/d)">Before <b>bold</b></p>
<img src=x onerror="steal()"><a href="javascript:steal()">link</a><a href="https://evil.example/e" ping="https://evil.example/f">other</a>
<svg><script>steal()</script><a xlink:href="javascript:steal()"><text>x</text></a></svg><math><mtext><style><img src=x onerror=steal()></style></mtext></math>
<iframe src="https://evil.example" srcdoc="<script>steal()</script>"></iframe><object data="x"></object><embed src="x"><form action="https://evil.example"><input name=a><button>go</button></form>
<video src="https://evil.example/g"></video><template><script>steal()</script></template>
<table><td colspan="2" onmouseover="steal()">cell</td></table><p lang='en"><script>steal()</script>'>After &lt;script&gt;steal()&lt;/script&gt;</p><xss-tag>kept text</xss-tag>
<textarea></textarea><script>steal()</script><p>End</p><noscript><p title="</noscript><img src=x onerror=steal()>"></noscript></body></html>"""


def test_nothing_that_acts_or_fetches_is_left_of_a_page() -> None:
    page = cleaned(HOSTILE.encode())
    inside = page.partition("<body>")[2]
    tags = set(re.findall(r"<\s*/?\s*([\w-]+)", inside))
    assert tags <= {"p", "b", "a", "table", "tbody", "tr", "td", "body", "html"}
    attributes = re.findall(r"<\w+\s+([^>]+)>", inside)
    assert attributes == ['colspan="2"']
    assert "evil.example" not in page
    assert "javascript:" not in page
    for text in ("Before", "bold", "link", "cell", "kept text", "After &lt;script&gt;steal()&lt;/script&gt;", "End"):
        assert text in inside


def test_a_deep_page_is_walked() -> None:
    assert "deep" in cleaned(b"<div>" * 5_000 + b"deep" + b"</div>" * 5_000)


@pytest.mark.parametrize(
    ("passage", "marked"),
    [
        ("Knead the dough,\nlet it rise.", ["Knead the", "dough", ", let it rise."]),
        ("- one\n- two", ["one", "two"]),
        ("left | right | ", ["left", "right"]),
        ("nothing of it is there", []),
        ("let   it rise.", ["let it rise."]),
    ],
)
def test_a_passage_is_marked_where_it_stands(passage: str, marked: list[str]) -> None:
    page = b"<body><p>Knead the <b>dough</b>, let it rise.</p><ul><li>one<li>two</ul><table><tr><td>left<td>right</table></body>"
    made = cleaned(page, passage)
    assert re.findall(r"<mark[^>]*>([^<]*)</mark>", made) == marked
    assert made.count('id="here"') == bool(marked)
    assert re.sub(r"</?mark[^>]*>", "", made) == cleaned(page)


def test_a_bullet_on_a_line_of_its_own_is_no_hyphen_further_on() -> None:
    """So is an item read that is a paragraph in the page."""
    page = b"<p>Knead it.</p><ul><li><p>one</p><li><p>two</p></ul><p>By e-mail, and three.</p>"
    made = cleaned(page, "Knead it.\n-\none\n-\ntwo")
    assert re.findall(r"<mark[^>]*>([^<]*)</mark>", made) == ["Knead it.", "one", "two"]


def test_of_repeated_lines_those_around_the_longest_are_marked() -> None:
    page = "".join(
        f"<p>Note</p><p>The {word} is the long line of its passage.</p>" for word in ("first", "second", "third")
    )
    made = cleaned(page.encode(), "Note\nThe second is the long line of its passage.")
    before, _, after = made.partition('<mark id="here">Note</mark>')
    assert "first" in before
    assert "<mark" not in before
    assert after.startswith("</p><p><mark>The second is")
    assert "third" in after


def test_a_page_of_html_is_sent_sandboxed_and_marked(filled: Asker) -> None:
    hit = filled.search("dough")[0]
    answer = filled.client.get(
        "/original/page.html", params={"source": hit["document"]["source_id"], "chunk": hit["chunk_id"]}, headers=OWN
    )
    assert answer.headers["content-security-policy"] == SANDBOX
    assert SANDBOX.startswith("sandbox; default-src 'none'")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert '<mark id="here">' in answer.text


def test_a_pdf_opens_in_the_browsers_viewer_at_its_page(asker: Asker, samples: Path, folder: Path) -> None:
    file = folder / "packaging-tutorial.pdf"
    file.write_bytes((samples / "debian" / "packaging-tutorial.pdf").read_bytes())
    asker.added(file)
    hit = asker.search("dashboards for maintainers")[0]
    page = asker.page("/read", chunk=hit["chunk_id"], q="dashboards")
    source, number = hit["document"]["source_id"], hit["place"]["page"]
    assert f'src="/original/packaging-tutorial.pdf?source={source}#page={number}&amp;' in page
    answer = asker.client.get("/original/packaging-tutorial.pdf", params={"source": source}, headers=OWN)
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-security-policy"] == PDF_POLICY
    assert answer.headers["content-disposition"].startswith("inline")
    assert answer.content == file.read_bytes()
    part = asker.client.get(
        "/original/packaging-tutorial.pdf", params={"source": source}, headers={**OWN, "range": "bytes=0-9"}
    )
    assert (part.status_code, len(part.content)) == (206, 10)
    # What is a PDF no more is only downloaded.
    file.write_text("<script>steal()</script>")
    answer = asker.client.get("/original/packaging-tutorial.pdf", params={"source": source}, headers=OWN)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-security-policy"] == SANDBOX


def test_files_outside_of_the_library_are_not_given(filled: Asker, documents: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for source in (str(secret), "../secret.txt", str(documents / "cats.txt"), "", "cats.txt"):
        filled.page("/original/x", 404, source=source)
    filled.page("/static/../app.py", 404)
    filled.page("/static/%2e%2e/app.py", 404)
    filled.page("/static/..%2fapp.py", 404)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(asker: Asker, folder: Path) -> None:
    os.mkfifo(folder / "cats.txt")
    path = str(folder / "cats.txt")
    asker.workspace.library.index().add_documents([stackroom.Document("a", source=path, text="A cat purrs.")])
    asker.page("/original/cats.txt", 404, source=asker.get("/api/sources")["sources"][0]["id"])


def test_text_is_read_at_the_passage_with_the_words_marked(asker: Asker, folder: Path) -> None:
    write_files(folder, {"long.txt": "".join(f"Sentence number {n} speaks of thing{n}. " for n in range(400))})
    asker.added(folder)
    hit = asker.search("thing200", mode="text")[0]
    page = asker.page("/read", chunk=hit["chunk_id"], q="thing200")
    assert page.count('id="here"') == 1
    assert "<mark>thing200</mark>" in page
    shown = re.sub(r"<[^>]+>", "", page)
    numbers = [int(n) for n in re.findall(r"speaks of thing(\d+)\.", shown)]
    assert numbers == sorted(set(numbers)), "what passages share is said once"
    assert "Earlier passages" in page
    assert "Later passages" in page


def test_what_a_document_says_is_escaped(asker: Asker) -> None:
    text = "<script>steal()</script> & \"quoted\" 'so' purrs"
    asker.workspace.library.index().add_documents(
        [stackroom.Document("<b>", source="<i>\"'", title="<img src=x onerror=steal()>", text=text)]
    )
    hit = asker.search("purrs", mode="text")[0]
    page = asker.page("/read", chunk=hit["chunk_id"], q='"><script>steal()</script> purrs')
    assert "<script>steal" not in page
    assert "<img src=x" not in page
    assert "&lt;<mark>script</mark>&gt;" in page


def test_a_document_that_is_gone(filled: Asker) -> None:
    chunk = filled.search("purrs")[0]["chunk_id"]
    filled.post("/api/remove", {"sources": ["cats.txt"]})
    assert "may have been removed" in filled.page("/read", 404, chunk=chunk)


def test_a_document_from_its_beginning(filled: Asker) -> None:
    page = filled.page("/read", source=filled.source("Logs")["id"])
    assert "logrotate" in page
    filled.page("/read", 404, source="nobody")


def test_headings_say_what_is_new(asker: Asker) -> None:
    sections = [("Book", "Part", "One"), ("Book", "Part", "Two"), ("Book", "Other")]
    chunks = [
        Chunk(f"Text number {n}.", chunk_id=f"c{n}", place=Place(section=section)) for n, section in enumerate(sections)
    ]
    asker.workspace.library.index().add_documents([Document("d", source="d", title="D", chunks=chunks)])
    page = asker.page("/read", chunk="c0")
    headings = re.findall(r"<h\d[^>]*>([^<]*)</h\d>", page)
    assert [heading.strip() for heading in headings if heading.strip() != "D"] == ["Book › Part › One", "Two", "Other"]


def test_a_heading_that_the_text_begins_with_is_said_once(asker: Asker) -> None:
    told = [(("Book", "One"), "One is here."), (("Book", "Two"), "## Two\n\nMore."), (("Book", "Three"), "Three")]
    chunks = [Chunk(text, chunk_id=f"c{n}", place=Place(section=section)) for n, (section, text) in enumerate(told)]
    asker.workspace.library.index().add_documents([Document("d", source="d", title="D", chunks=chunks)])
    page = asker.page("/read", chunk="c0")
    assert re.findall(r"<h2[^>]*>([^<]*)</h2>", page) == ["Book"]


def scan(asker: Asker) -> None:
    """Page 1 was printed, page 2 is a picture."""
    chunks = [
        Chunk("Printed words.", chunk_id="one", place=Place(page=1)),
        Chunk("Recognised w0rds.", chunk_id="two", place=Place(page=2), metadata={"recognised": True}),
        Chunk("More printed words.", chunk_id="three", place=Place(page=3)),
    ]
    known = Document("scan", source="scan", title="Scan", chunks=chunks, metadata={"recognised_pages": 1})
    asker.workspace.library.index().add_documents([known])


def test_each_page_of_a_scan_says_how_its_text_was_read(asker: Asker) -> None:
    scan(asker)
    page = asker.page("/read", chunk="two")
    marks = re.findall(r'<div class="page-mark([^"]*)"[^>]*><span>([^<]*)</span>', page)
    assert marks == [("", "page 1 · printed"), (" recognised", "page 2 · recognised"), ("", "page 3 · printed")]
    said = "recognised in a picture: it may hold mistakes"
    assert said in page
    assert said not in asker.page("/read", chunk="one")


def test_pages_of_what_was_printed_say_nothing_of_it(asker: Asker) -> None:
    chunks = [Chunk(f"Words of {n}.", chunk_id=f"p{n}", place=Place(page=n)) for n in (1, 2)]
    asker.workspace.library.index().add_documents([Document("d", source="d", title="D", chunks=chunks)])
    marks = re.findall(r'<div class="page-mark[^"]*"[^>]*><span>([^<]*)</span>', asker.page("/read", chunk="p1"))
    assert marks == ["page 1", "page 2"]


def test_recognised_text_is_told_apart_by_every_answer(asker: Asker) -> None:
    scan(asker)
    assert [hit["metadata"] for hit in asker.search("w0rds", mode="text")] == [{"recognised": True}]
    assert [hit["metadata"] for hit in asker.search("more", mode="text")] == [{}]
    assert asker.source("Scan")["recognised_pages"] == 1
    assert asker.titles(state="recognised") == ["Scan"]
    assert asker.get("/api/status")["facets"]["states"]["recognised"] == 1
    answer = asker.client.post("/api/ask", json={"question": "w0rds", "keep": True}, headers=OWN)
    (told,) = [
        json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith('data: {"event": "passages"')
    ]
    assert {one["chunk_id"]: one["metadata"] for one in told["passages"]}["two"] == {"recognised": True}
    (turn,) = asker.get(f"/api/conversations/{told['conversation']}")["turns"]
    assert {one["chunk_id"]: one["metadata"] for one in turn["passages"]}["two"] == {"recognised": True}
