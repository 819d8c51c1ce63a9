"""Texts as PostgreSQL holds them: whatever is asked of what is stored is answered as of the texts."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from stackroom.engines.postgresql.values import dump_value, is_plain, load_value, pack, unpack

exotic = st.text(
    st.one_of(st.sampled_from("\x00\x01\x02\x03ab0\ud7ff\ud800\ud801\udfff\ue000\U0010ffff"), st.characters())
)


@given(exotic)
def test_a_text_comes_back_and_can_be_stored(text: str) -> None:
    assert unpack(pack(text)) == text
    assert "\x00" not in pack(text)
    pack(text).encode("utf-8")
    assert load_value(dump_value({text: [text]})) == {text: [text]}


@given(exotic, exotic)
@example("\x00", "0")
@example("\ud7ffz", "\ud800")
@example("\ud800", "\ud801")
def test_what_is_stored_has_the_order_of_the_texts(one: str, other: str) -> None:
    assert (one < other) == (pack(one).encode() < pack(other).encode())
    assert (one == other) == (pack(one) == pack(other))


@given(exotic, exotic)
@example("\x01", "\x02")
@example("\x00", "0")
def test_a_plain_text_is_found_where_it_is(text: str, part: str) -> None:
    if is_plain(part):
        assert (part in text) == (part in pack(text))
