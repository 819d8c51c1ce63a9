"""Values as users' data has them: odd text, mixed types, deep filters."""

from __future__ import annotations

from hypothesis import strategies as st

from stackroom.filters import OPERATORS, Condition, Filter, Group

WORDS = ("apple", "banana", "cherry", "damson", "elder", "fig")

# Text that SQLite, UTF-8 or JSON may stumble over.
odd_text = st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(
    ["", "\x00", "a\x00b", "\ud800", "\ud83d\ude00", "é", "é", "' OR 1", '"', "%", "ß", "SS", "0", "1", "true"]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**53, 2**53 + 1, 2**63, -(2**70), 0.5, -0.0, 1.0, 1e308, float("inf")])
    | odd_text
)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(odd_text, scalars, max_size=2)
keys = st.sampled_from(["a", "b", "year", "", "\x00", "\ud800"])
metadata = st.dictionaries(keys, values, max_size=3)


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    op = draw(st.sampled_from(OPERATORS))
    plain = scalars.filter(lambda value: value is not None)
    if op in ("any", "all", "nin"):
        value = draw(st.lists(plain, max_size=3))
    elif op == "in":
        value = draw(st.lists(plain, max_size=3) | odd_text)
    else:
        value = draw(scalars | st.lists(plain, max_size=2))
    return Condition(draw(keys), op, value)


filters: st.SearchStrategy[Filter] = st.recursive(
    conditions(),
    lambda inner: st.builds(Group, st.sampled_from(["and", "or", "not"]), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=5,
)
