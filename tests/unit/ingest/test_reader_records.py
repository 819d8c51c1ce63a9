"""JSON, JSONL and XML: records as `name: value`, under their numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reader_support import FILES, chunk_with, fails, given, read, survives, text_of
from stackroom.errors import NoTextError, ReadError

REAL = FILES / "data"


def test_real_records_of_json() -> None:
    reading, sections = read(REAL / "arbitrary-records.json")
    assert reading.type == "json"
    assert sections[0].text.splitlines()[1] == "sku: GRD-1290; name: Watering Can; price: 18; in_stock: false"
    place = chunk_with(REAL / "arbitrary-records.json", "Pruning Shears", limit=25).place
    assert (place.unit, place.first, place.last) == ("record", 3, 3)


def test_real_lines_of_json() -> None:
    path = REAL / "simple.ndjson"
    reading, sections = read(path)
    assert reading.type == "jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [mark[1] for mark in sections[0].marks] == list(range(1, len(records) + 1))
    wanted = records[3]["text"]
    place = chunk_with(path, wanted, limit=200).place
    assert place.first is not None
    assert place.last is not None
    assert place.first <= 4 <= place.last


def test_lines_are_known_whatever_they_are_called(tmp_path: Path) -> None:
    lines = '{"a": "one"}\n{"a": "two"}\n'
    for name in ("a.json", "a.txt", "a", "a.jsonl"):
        assert read(given(tmp_path, name, lines))[0].type == "jsonl"
    assert read(given(tmp_path, "b.txt", "[1] a reference\n{not} json\n"))[0].type == "text"
    assert read(given(tmp_path, "c.md", '{"a": 1}'))[0].type == "markdown"


def test_an_object_by_its_members(tmp_path: Path) -> None:
    value = {
        "title": "Stock",
        "of": {"shop": {"town": "Ulm"}},
        "tags": ["a", "b"],
        "items": [{"n": 1}, {"n": 2, "deep": [{"x": None}, {"x": True}]}],
    }
    reading, sections = read(given(tmp_path, "a.json", json.dumps(value)))
    assert reading.title == "Stock"
    assert [(section.headings, section.text) for section in sections] == [
        ((), "title: Stock; tags: a, b\n"), (("of",), "of.shop.town: Ulm\n"), (("items",), "n: 1\nn: 2; deep.x: true\n"),
    ]  # fmt: skip


def test_long_records_have_lines(tmp_path: Path) -> None:
    value = [{"name": "a", "text": "word " * 60}]
    assert text_of(given(tmp_path, "a.json", json.dumps(value))) == f"name: a\ntext: {('word ' * 60).strip()}\n\n"


def test_broken_and_hostile_json(tmp_path: Path) -> None:
    for name in ("arbitrary-records.json", "simple.ndjson"):
        survives((REAL / name).read_bytes(), tmp_path / name)
    fails(given(tmp_path, "a.json", '{"a": ' + "[" * 100_000), words="without end")
    fails(given(tmp_path, "b.json", '{"a": ' + '{"a":' * 300 + "1" + "}" * 301), words="levels deep")
    fails(given(tmp_path, "d.json", "{}"), NoTextError)
    assert read(given(tmp_path, "e.json", "only words"))[0].type == "text"
    for value in ('{"a": 1e999}', '{"a": NaN}', '{"a": 123456789012345678901234567890}'):
        assert text_of(given(tmp_path, "f.json", value)).startswith("a: ")
    fails(given(tmp_path, "g.json", '{"a": "\\ud800"}'), NoTextError)


# XML


@pytest.mark.parametrize("name", ["factbook.xml", "factbook-utf-16.xml"])
def test_real_records_of_xml(name: str) -> None:
    reading, sections = read(REAL / name)
    assert reading.type == "xml"
    assert sections[0].text.splitlines()[1] == "name: Canada; capital: Ottawa; leader: Justin Trudeau; sport: Hockey"
    place = chunk_with(REAL / name, "Ottawa", limit=30).place
    assert (place.unit, place.first) == ("record", 2)


def test_a_real_document_of_xml() -> None:
    reading, sections = read(REAL / "testTEI.xml")
    assert reading.title == "Bi-criteria Algorithm for Scheduling Jobs on Cluster Platforms *"
    assert sections[-1].headings[0] == reading.title
    assert "Permission to make digital or hard copies" in sections[-1].text


def test_a_feed(tmp_path: Path) -> None:
    items = "".join(
        f"<item><title>Post {n}</title><description>&lt;p&gt;Text &lt;b&gt;{n}&lt;/b&gt;&lt;/p&gt;</description></item>"
        for n in (1, 2)
    )
    feed = f'<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>{items}</channel></rss>'
    reading, sections = read(given(tmp_path, "feed", feed))
    assert (reading.type, reading.title) == ("xml", "News")
    assert [section.text for section in sections] == [
        "title: News\n",
        "title: Post 1; description: Text 1\ntitle: Post 2; description: Text 2\n",
    ]


def test_pages_are_no_xml(tmp_path: Path, samples: Path) -> None:
    page = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>T</title></head><body><p>words</p></body></html>'
    assert read(given(tmp_path, "a.xml", page))[0].type == "html"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        # Feeds are full of HTML's names for characters.
        (b"<rss><item><title>2 &minus; 1 &LT; 3 &amp; &Euml;</title></item></rss>", "2 − 1 < 3 & Ë"),
        (
            '<?xml version="1.0" encoding="iso-8859-1"?><a><title>Ünter &nbsp;&acirc;</title></a>'.encode("latin-1"),
            "Ünter â",
        ),
        ("<?xml version='1.0' encoding='cp857'?><a><title>İyi</title></a>".encode("cp857"), "İyi"),
        ("<?xml version='1.0' encoding='windows_1254'?><a><title>İyi</title></a>".encode("cp1254"), "İyi"),
        (b'<n:foo xmlns:n="http://z" xml:id="23"><n:bar>data</n:bar></n:foo>', "data"),
    ],
)
def test_xml_that_the_parser_knows_no_name_of(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in " ".join(text_of(given(tmp_path, "a.xml", content)).split())


@pytest.mark.parametrize(
    "content",
    [
        b"<a>&unknown;</a>",
        b"<?xml version='1.0' encoding='base64'?><a>b&minus;</a>",
        b"<?xml version='1.0' encoding='no-such'?><a>b</a>",
    ],
)
def test_xml_that_stays_broken(tmp_path: Path, content: bytes) -> None:
    fails(given(tmp_path, "a.xml", content), ReadError, "markup is broken")


def test_broken_and_hostile_xml(tmp_path: Path) -> None:
    for name in ("factbook.xml", "testTEI.xml"):
        survives((REAL / name).read_bytes(), tmp_path / name)
    (tmp_path / "secret.txt").write_text("the secret")
    outside = (
        f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret.txt">]><x><y>words &e;</y></x>'
    )
    assert text_of(given(tmp_path, "a.xml", outside)) == "words &e;\n\n"
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(12))
    fails(given(tmp_path, "b.xml", f'<?xml version="1.0"?><!DOCTYPE x [{laughs}]><x>&l11;</x>'), words="broken")
    fails(given(tmp_path, "c.xml", "<?xml version='1.0'?>" + "<a>" * 50_000), words="broken")
    fails(given(tmp_path, "d.xml", "<?xml version='1.0'?><a/>"), NoTextError)
    assert read(given(tmp_path, "e.xml", "only words"))[0].type == "text"


def test_listings_tables_and_names_of_docbook(tmp_path: Path) -> None:
    book = (
        '<?xml version="1.0"?><book><info><title>B</title><author><firstname>Ada</firstname><surname>Lovelace</surname></author></info>'
        "<chapter><title>One</title><para>Some <b>bold</b> text.</para><programlisting>def f():\n    return <b>1</b>\n</programlisting>"
        "<table><title>Prices</title><tgroup><thead><row><entry>Name</entry><entry>Price</entry></row></thead>"
        "<tbody><row><entry>Rope</entry><entry>12</entry></row></tbody></tgroup></table></chapter></book>"
    )
    path = given(tmp_path, "a.xml", book)
    reading, sections = read(path)
    assert (reading.title, reading.metadata["author"]) == ("B", "Ada Lovelace")
    assert sections[-1].headings == ("One",)
    assert sections[-1].text == (
        "One\n\nSome bold text.\n\ndef f():\n    return 1\n\nPrices\nName | Price\nName: Rope; Price: 12\n\n"
    )


def test_a_long_article_of_a_wiki_says_in_each_passage_which_it_is(tmp_path: Path) -> None:
    def article(title: str, text: str) -> str:
        return f"<page><title>{title}</title><ns>0</ns><revision><id>1</id><text xml:space='preserve'>{text}</text></revision></page>"

    long = " ".join(f"Sentence {n} of the harbour." for n in range(200))
    pages = article("Mole", "Short.") + article("Harbour", long) + article("Light", "Short too.")
    path = given(tmp_path, "a.xml", f"<mediawiki xml:lang='en'>{pages}</mediawiki>")
    place = chunk_with(path, "Sentence 150 of").place
    assert (place.section, place.unit, place.first, place.last) == (("Harbour",), "record", 2, 2)
    place = chunk_with(path, "Short too.").place
    assert (place.section, place.first) == ((), 3)
