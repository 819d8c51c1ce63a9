"""Words in, passages out, in every script; and no query that the index can't read."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import odd_text

from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.search.marking import mark, snippet
from stackroom.storage.store import LocalStore
from stackroom.storage.words import tokenizer
from support import chunks

TEXTS = {
    "en": "The logrotate program rotates, compresses and mails system log files. It runs daily.",
    "de": "Die Äpfel fielen im Garten; Größe und Straße wurden gemessen.",
    "fr": "L'élève préférait le café naïve à l'œuvre.",
    "zh": "北京是中华人民共和国的首都，也是全国的政治中心。",
    "ja": "東京タワーは高さ333メートルの塔で、観光客がたくさん訪れます。",
    "th": "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
    "ko": "서울은 대한민국의 수도이다.",
    "ar": "القاهرة هي عاصمة جمهورية مصر العربية.",
    "hi": "नई दिल्ली भारत की राजधानी है।",
    "code": "Call foo_bar(x) in config.yaml, see RFC-2822 and C++17; version 3.51.3.",
    "full": "ＦＵＬＬＷＩＤＴＨ　ｔｅｘｔ ﬁnal ligature",
}


@pytest.fixture
def filled(store: LocalStore) -> LocalStore:
    with store.commit() as commit:
        source = commit.put_source(SourceRecord(name="s"))
        commit.add_chunks(commit.put_document(DocumentRecord("d", source)), chunks(TEXTS.values()))
    return store


def found(store: LocalStore, query: str) -> list[str]:
    names = {text: name for name, text in TEXTS.items()}
    with store.view() as view:
        scored, _ = view.matching(query, 10, Scope())
        return [names[passage.text] for passage in view.passages(scored.keys.tolist())]


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("rotating logs", "en"), ("LOGROTATE", "en"), ("apfel", "de"), ("Strasse grosse apfel", "de"), ("cafe", "fr"), ("eleve", "fr"),
        ("首都", "zh"), ("政治", "zh"), ("中华人民共和国", "zh"), ("东京的首都在哪里", "zh"), ("心", "zh"), ("東京タワー", "ja"), ("観光", "ja"), ("塔", "ja"),
        ("เมืองหลวง", "th"), ("ประเทศไทย", "th"), ("수도", "ko"), ("대한민국", "ko"), ("عاصمة", "ar"), ("राजधानी", "hi"),
        ("foo_bar", "code"), ("config.yaml", "code"), ("rfc 2822", "code"), ("3.51.3", "code"), ("fullwidth", "full"), ("final", "full"),
    ],
)  # fmt: skip
def test_words_are_found(filled: LocalStore, query: str, wanted: str) -> None:
    assert found(filled, query)[:1] == [wanted]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("في البَدْءِ خَلَقَ اللهُ السَّمَاوَاتِ وَالأَرْضَ", "السماوات والارض"),
        ("محمـــد إلى المدرسة", "محمد المدرسه"),
        ("او به کتابخانهٔ ملی رفت", "كتابخانه ملي"),
        ("בְּרֵאשִׁית בָּרָא אֱלֹהִים", "בראשית אלהים"),
        ("人々の声を聞く時々", "人々"),
        ("二〇二四年の夏", "二〇二四"),
        ("葛\U000e0100城市", "葛城"),
        ("ภาษา\u200bไทย\u200bง่าย", "ภาษาไทย"),
        ("น้ำตก", "น้ำตก"),
        ("ក្រុង\u200bភ្នំពេញ", "ភ្នំពេញ"),
        ("ရန်ကုန်မြို့သည် မြန်မာနိုင်ငံ၏ မြို့တော်ဟောင်းဖြစ်သည်။", "မြန်မာနိုင်ငံ"),
        ("Donau\u00addampf\u00adschiff", "Donaudampfschiff"),
        ("the \u202aRFC\u202c says", "rfc"),
        ("ශ්\u200dරී ලංකාව", "ශ්රී"),
        ("用Python3写的RAG系统", "python3 系统"),
        ("文档 (PDF) מסמך وثيقة", "وثيقه"),
    ],
)  # fmt: skip
def test_ways_of_writing_that_say_the_same_find_each_other(store: LocalStore, text: str, query: str) -> None:
    others = ["A passage in English.", "其他的文字在这里", "نص آخر تماما", "טקסט אחר לגמרי", "ข้อความอื่น"]
    with store.commit() as commit:
        source = commit.put_source(SourceRecord(name="s"))
        commit.add_chunks(commit.put_document(DocumentRecord("d", source)), chunks([*others, text]))
    for asked in (query, text):
        with store.view() as view:
            scored, _ = view.matching(asked, 10, Scope())
            assert view.passages(scored.keys.tolist()[:1])[0].text == text
    # What was found is marked, signs that the query leaves out included.
    marked = [text[start:end] for start, end in mark(text, query)]
    assert marked
    assert all(part.strip() for part in marked)


def test_phrases_and_exclusions(filled: LocalStore) -> None:
    assert found(filled, '"system log files"') == ["en"]
    assert found(filled, '"log system files"') == []
    assert found(filled, '"人民共和"') == ["zh"]
    assert found(filled, "program -rotates") == []
    assert found(filled, "程序 首都 -政治") == []


def test_what_names_nothing_finds_nothing(filled: LocalStore) -> None:
    for query in ("", "   ", "!!!", '"', '""', "-", "-logrotate", "\x00", "🎉", "*", "the"):
        assert isinstance(found(filled, query), list)
    assert found(filled, "xylophone") == []


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        odd_text | st.sampled_from(['"', "-", "*", "NEAR(", "AND", "OR", "NOT", "text:", "^", "+", "中", "ก", "{x}"]),
        max_size=6,
    ).map(" ".join)
    | odd_text
)
def test_no_query_is_a_syntax_error(filled: LocalStore, query: str) -> None:
    found(filled, query)
    for text in TEXTS.values():
        for start, end in mark(text, query):
            assert 0 <= start < end <= len(text)


def test_marks_stand_on_the_words_that_matched() -> None:
    def marked(text: str, query: str) -> list[str]:
        return [text[start:end] for start, end in mark(text, query)]

    assert marked(TEXTS["en"], "rotating log file") == ["rotates", "log", "files"]
    assert marked(TEXTS["de"], "apfel strasse größe") == ["Äpfel", "Größe"]
    assert marked(TEXTS["zh"], "首都在哪") == ["首都"]
    assert marked("בְּרֵאשִׁית בָּרָא", "בראשית") == ["בְּרֵאשִׁית"]
    assert marked("Donau\u00addampf", "donaudampf") == ["Donau\u00addampf"]
    assert marked("น้ำตก", "น้ำตก") == ["น้ำตก"]
    assert marked("a \U0001f600 log \U0001f600 logs", "log") == ["log", "logs"]


def test_a_snippet_shows_the_matches() -> None:
    text = "filler words " * 50 + "the needle is here " + "more filler " * 50
    spans = mark(text, "needle")
    start, end = snippet(text, spans, 100)
    assert "needle" in text[start:end]
    assert end - start <= 100
    assert snippet("short", [], 100) == (0, 5)


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_plain_text_are_cut_as_those_of_any_other(text: str) -> None:
    letters = [piece for piece in tokenizer._words(text + " é") if piece != "é"]
    assert tokenizer._words(text) == letters
