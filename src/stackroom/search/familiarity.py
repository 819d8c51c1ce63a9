"""How well a model knows the language of a text, judged by how its tokenizer cuts it.

A vocabulary that was learnt on a language has whole words and long pieces of it; of a script that it was not, it has
letters. English gives the shipped model 4.5 letters a token, German and Spanish 2.8, Russian and Arabic 1.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stackroom.storage.words.tokenizer import UNSPACED

if TYPE_CHECKING:
    from stackroom.protocols import Tokenizer

_SAMPLE = 400

# Letters a token: from none of the language known, to all of it.
_SPACED = (1.1, 4.2)
_UNSPACED = (1.1, 1.5)  # one character of these scripts says as much as three letters


def familiarity(tokenizer: Tokenizer | None, texts: Iterable[str]) -> float:
    """In [0, 1], the mean over the texts; 1 where there is nothing to judge by."""
    if tokenizer is None:
        return 1.0
    found = [_of_text(tokenizer, text[:_SAMPLE]) for text in texts]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else 1.0


def _of_text(tokenizer: Tokenizer, text: str) -> float | None:
    unspaced = [run.span() for run in UNSPACED.finditer(text)]
    letters = sum(character.isalnum() for character in text)
    low, high = _SPACED
    spans = [span for span in tokenizer.spans(text) if any(c.isalnum() for c in text[span[0] : span[1]])]
    if unspaced and sum(end - start for start, end in unspaced) * 2 > letters:
        low, high = _UNSPACED
        spans = [span for span in spans if any(start <= span[0] < end for start, end in unspaced)]
    if not spans:
        return None
    per_token = sum(end - start for start, end in spans) / len(spans)
    return min(max((per_token - low) / (high - low), 0.0), 1.0)
