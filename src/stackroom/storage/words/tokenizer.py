"""From text to what the full-text index holds, and from a query to what it is asked.

The tokenizer is SQLite's: Unicode words, folded case, no diacritics, Porter's stems (Porter 1980). It finds no words where
a script writes no spaces; runs of such scripts are indexed as overlapping pairs of characters, as Lucene's CJK
analyzer does, so that any two neighbouring characters of a query are found. Vowel signs of Arabic and Hebrew, which most
texts leave out, are left out, and letters that are written now one way and now another are one, as in Lucene's normalizers.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

import apsw

from stackroom.backend import TextStatistics
from stackroom.storage.catalogue.sql import Connection

TOKENIZER = "porter unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
_TOKENIZER_PARTS = ("unicode61", "remove_diacritics", "2", "categories", "L* N* Co Mn Mc")

_MOST_TERMS = 64
_MOST_CHARACTERS = 20_000
_LONGEST_TERM = 256

UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u200b\u3005-\u3007\u3041-\u3096\u309d-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003134f]+"
)
"""Runs of Thai, Lao, Myanmar, Khmer, Kana, Han (with its iteration mark and zero) and Hangul, and the space without width that some put between their words."""

# Signs that no one types: hyphens for a line's end, marks of direction, joiners, variants of a letter's shape.
_UNTYPED = [0x00AD, 0x061C, 0x200D, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF]
_VARIANTS = [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
_HEBREW_POINTS = [*range(0x0591, 0x05BE), 0x05BF, 0x05C1, 0x05C2, 0x05C4, 0x05C5, 0x05C7]
_ARABIC_SIGNS = [
    0x0640,
    *range(0x064B, 0x0660),
    0x0670,
    *range(0x06D6, 0x06DD),
    *range(0x06DF, 0x06E5),
    0x06E7,
    0x06E8,
    *range(0x06EA, 0x06EE),
]
_LETTERS = str.maketrans("آأإٱةىکی", "ااااهيكي")
"""Alefs with what they carry, and the last letters and Persian forms that stand for others."""
_FOLDED: dict[int, int | None] = {**dict.fromkeys(_UNTYPED + _VARIANTS + _HEBREW_POINTS + _ARABIC_SIGNS), **_LETTERS}

_PIECES = re.compile(r'(?P<minus>(?<!\S)-(?!-))?(?:"(?P<phrase>[^"]*)"|(?P<word>[^\s"]+))')

_ASCII_WORDS = re.compile("[0-9A-Za-z]+")

# The words of a question that carry none of it. They cost most of a query's time and add nothing to its ranking.
_ENGLISH = """
a about all also am an and any are as at be been but by can could did do does for from had has have he her his how i if in
into is it its just me my no not of on or our she should so some such than that the their them then there these they this
those to under up us was we were what when where which who whom whose why will with would you your
"""
_GERMAN = """
der das und ist ein eine einer eines einem einen im den dem des zu wie wer wann warum welche welcher welches wurde wurden
sind nicht mit auf von für sich
"""
_SPANISH = """
el la los las un una unos unas del al y en es por para con que qué cuál cuáles quién cuándo dónde cómo fue son se
"""
_FRENCH = """
le les du et est dans sur quel quelle quels quelles une au aux
"""
STOP_WORDS = frozenset((_ENGLISH + _GERMAN + _SPANISH + _FRENCH).split())


def indexed_form(text: str) -> str:
    """What is given to the full-text index for this text."""
    if text.isascii():
        return text
    return UNSPACED.sub(_spread, folded(text))


def folded(text: str) -> str:
    """Compatible forms (NFKC) and ways of writing that say the same, as one."""
    return unicodedata.normalize("NFKC", text).translate(_FOLDED)


def _spread(run: re.Match[str]) -> str:
    """A run without spaces as pairs; its last character alone too, so that a single one is found by prefix."""
    units = _units(run[0])
    return f" {' '.join(pairs(run[0]))} {units[-1]} " if units else " "


def pairs(run: str) -> list[str]:
    units = _units(run)
    return [first + second for first, second in pairwise(units)]


NO_WIDTH = "\u200b"


def _units(run: str) -> list[str]:
    """Characters with the marks that belong to them (Thai vowels above, for example)."""
    units: list[str] = []
    for character in run:
        if character == NO_WIDTH:
            continue
        if units and unicodedata.category(character) in ("Mn", "Mc"):
            units[-1] += character
        else:
            units.append(character)
    return units


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A query as the index understands it: alternatives of which any may match, and what must not."""

    terms: tuple[str, ...]
    """FTS5 strings, unquoted: a word, a phrase of words, or one character ending in *"""
    excluded: tuple[str, ...] = ()
    phrases: Mapping[str, str] = field(default_factory=dict)
    """What was quoted and must stand in a passage: each as an FTS5 string, and as it was written. Ranking counts it as any other term."""

    def match_expression(self) -> str | None:
        """The FTS5 expression, or None when nothing can be looked for."""
        if not self.terms:
            return None
        wanted = any_of(self.terms)
        return f"({wanted}) NOT ({any_of(self.excluded)})" if self.excluded else wanted


def any_of(terms: Iterable[str]) -> str:
    """The FTS5 expression that any of these terms meets."""
    return " OR ".join(map(_quoted, terms))


def all_of(terms: Iterable[str]) -> str:
    """The FTS5 expression that all of these terms meet."""
    return " AND ".join(map(_quoted, terms))


def _quoted(term: str) -> str:
    # Every character inside an FTS5 string stands for itself, but for the quote, which is doubled.
    prefix = "*" if term.endswith("*") else ""
    body = term.removesuffix("*").replace('"', '""')
    return f'"{body}"{prefix}'


def parse_query(query: str) -> TextQuery:
    """Words are alternatives; a "quoted phrase" must stand as it is; -word excludes (--word does not: it is an option's name)."""
    return _parsed(query[:_MOST_CHARACTERS])


# One search asks twice: what is excluded, and what is wanted.
@functools.lru_cache(maxsize=16)
def _parsed(query: str) -> TextQuery:
    wanted: dict[str, None] = {}
    excluded: dict[str, None] = {}
    phrases: dict[str, str] = {}
    query = folded(query)
    for piece in _PIECES.finditer(query):
        target = excluded if piece["minus"] else wanted
        if piece["phrase"] is not None:
            phrase = _phrase(piece["phrase"])
            if phrase:
                target[phrase] = None
                # Behind a letter or number the mark is one of inches, or of nothing: 7" single, 12" vinyl.
                if target is wanted and not query[: piece.start()][-1:].isalnum():
                    phrases[phrase] = " ".join(piece["phrase"].split())
        else:
            target.update(dict.fromkeys(_terms(piece["word"])))
    terms = list(wanted)
    content = [term for term in terms if term.casefold() not in STOP_WORDS] or terms
    # A pasted page must not take seconds: its longest words are its rarest.
    if len(content) > _MOST_TERMS:
        longest = set(sorted(content, key=len, reverse=True)[:_MOST_TERMS])
        content = [term for term in content if term in longest][:_MOST_TERMS]
    return TextQuery(tuple(content), tuple(excluded), phrases)


def without_excluded(query: str) -> str:
    """The query without its -words: what it asks for, in the words that it was asked in."""
    kept = _PIECES.sub(lambda piece: "" if piece["minus"] else piece[0], query)
    return query if kept == query or not kept.strip() else " ".join(kept.split())


def _phrase(text: str) -> str:
    """The words of a phrase, with pairs where there are no spaces; consecutive in the index as they are here."""
    parts: list[str] = []
    for word in _words(text):
        for part in _split_scripts(word):
            parts += (pairs(part) or [part]) if UNSPACED.fullmatch(part) else [part]
    return " ".join(parts)[:_LONGEST_TERM]


def _terms(word: str) -> list[str]:
    """The terms of one word between spaces: its parts, and the whole as a phrase where there are several."""
    terms: list[str] = []
    spaced: list[str] = []
    for plain in _words(word):
        for part in _split_scripts(plain):
            if UNSPACED.fullmatch(part):
                terms += pairs(part) or [f"{unit}*" for unit in _units(part)]
            else:
                spaced.append(part[:_LONGEST_TERM])
    if len(spaced) > 1 and sum(map(len, spaced)) <= _LONGEST_TERM:
        terms.append(" ".join(spaced))
    return terms + spaced


def _words(text: str) -> list[str]:
    """Runs of letters, numbers and marks: the tokenizer's own categories."""
    if text.isascii():
        return _ASCII_WORDS.findall(text)
    marked = "".join(c if unicodedata.category(c)[0] in "LNM" or c == NO_WIDTH else " " for c in text)
    return marked.split()


def _split_scripts(word: str) -> list[str]:
    """A word cut where a script without spaces begins or ends."""
    parts: list[str] = []
    end = 0
    for run in UNSPACED.finditer(word):
        parts += [word[end : run.start()], run[0]]
        end = run.end()
    return [part for part in [*parts, word[end:]] if part]


def statistics(
    connection: Connection, query: TextQuery, chunks: int, known: Mapping[str, int] | None = None
) -> TextStatistics:
    """In how many chunks each term of the query occurs, as far as it is not `known`. A phrase counts as its rarest word."""
    known = known or {}
    unknown = [term for term in query.terms if term not in known]
    if unknown:
        connection.execute("CREATE VIRTUAL TABLE IF NOT EXISTS temp.vocabulary USING fts5vocab(main, words, row)")
    by_term = dict(zip(unknown, stems(connection, [term.removesuffix("*") for term in unknown]), strict=True))
    frequencies = []
    for term in query.terms:
        if term in known:
            frequencies.append(known[term])
            continue
        counts = [
            row[0]
            for word in by_term[term]
            for row in connection.execute("SELECT doc FROM temp.vocabulary WHERE term = ?", (word,))
        ]
        frequencies.append(min(counts) if counts and len(counts) == len(by_term[term]) else 0)
    return TextStatistics(query.terms, tuple(frequencies), chunks)


def stems(connection: Connection, texts: Sequence[str]) -> list[list[str]]:
    """The tokens that the index makes of each text."""
    if not texts:
        return []
    tokenizer = of(connection)
    return [tokens_of(tokenizer, text.encode("utf-8", "replace")) for text in texts]


def stem(connection: Connection, text: str) -> list[str]:
    """The tokens that the index makes of this text."""
    return stems(connection, [text])[0]


def indexed(connection: Connection, text: str) -> list[str]:
    """The tokens of a passage, in order, as the index has them."""
    return stem(connection, indexed_form(text))


def of(connection: Connection) -> apsw.FTS5Tokenizer:
    """The index's tokenizer. It needs its connection, and keeps it open."""
    return connection.fts5_tokenizer("porter", list(_TOKENIZER_PARTS))


def tokens_of(tokenizer: apsw.FTS5Tokenizer, data: bytes) -> list[str]:
    """The tokens of a text in UTF-8, in order."""
    found = tokenizer(data, apsw.FTS5_TOKENIZE_DOCUMENT, None, include_offsets=False, include_colocated=False)
    return cast(list[str], found)


def tokens(connection: Connection, text: str) -> list[tuple[int, int, str]]:
    """`(start, end, token)` as the index makes them; positions are bytes of the UTF-8 text."""
    found = of(connection)(text.encode("utf-8", "replace"), apsw.FTS5_TOKENIZE_DOCUMENT, None, include_colocated=False)
    return [(int(start), int(end), str(token)) for start, end, token in cast(list[tuple[int, int, str]], found)]
