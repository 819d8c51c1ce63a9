"""JSON in slices: what the json module reads, at the same offsets, whatever the file does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackroom.errors import DamagedError
from stackroom.migration.stores import object_runs, slices, spill
from stackroom.migration.stores.slices import JsonFile, Slice


def sliced(tmp_path: Path, data: bytes) -> Slice:
    path = tmp_path / "some.json"
    path.write_bytes(data)
    return JsonFile(path).root()


def test_members_are_found_without_parsing_them(tmp_path: Path) -> None:
    root = sliced(tmp_path, b' { "a" : [1, 2] , "b":{"c": "}"}, "d": "x\\"y", "e": null }\n')
    assert [key for key, _ in root.members()] == ["a", "b", "d", "e"]
    assert [value.load() for _, value in root.members()] == [[1, 2], {"c": "}"}, 'x"y', None]
    found = root.members().get("b")
    assert found is not None
    assert [key for key, _ in found.members()] == ["c"]
    assert root.members().get("missing") is None


def test_how_a_value_is_written_is_told_by_its_bytes(tmp_path: Path) -> None:
    value = {"a": "ä", "b": [1, 2.5, None]}
    assert sliced(tmp_path, json.dumps(value).encode()).is_plainly(value)
    assert not sliced(tmp_path, json.dumps(value, indent=1).encode()).is_plainly(value)
    assert not sliced(tmp_path, json.dumps({**value, "b": [1.0, 2.5, None]}).encode()).is_plainly(value)


def test_of_keys_that_occur_twice_the_last_one_counts(tmp_path: Path) -> None:
    members = sliced(tmp_path, b'{"a": 1, "b": 2, "a": 3, "c": 4, "a": 5}').members()
    found = members.get("a")
    assert found is not None
    assert found.load() == 5
    assert members.superseded() == [0, 2]


def test_members_are_found_in_any_order(tmp_path: Path) -> None:
    members = sliced(tmp_path, json.dumps({f"k{n}": n for n in range(50)}).encode()).members()
    for n in [3, 4, 5, 40, 2, 49, 0, 0]:
        value = members.get(f"k{n}")
        assert value is not None
        assert value.load() == n


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("[1, 2.5, -3e2]", [1.0, 2.5, -300.0]),
        ("[0.1]", [0.1]),
        ("[ ]", []),
        ("[NaN, Infinity, -Infinity, 1]", [float("nan"), float("inf"), float("-inf"), 1.0]),
        ("[123456789012345678901234567890]", [1.2345678901234568e29]),
        ("[1e400]", [float("inf")]),
    ],
)
def test_numbers_are_those_of_the_json_module(tmp_path: Path, written: str, wanted: list[float]) -> None:
    numbers = sliced(tmp_path, written.encode()).numbers()
    assert numbers is not None
    assert numbers.dtype == np.float64
    np.testing.assert_array_equal(numbers, np.array(wanted))


@pytest.mark.parametrize("written", ['["a"]', "[1, null]", "[true]", "[[1]]", '{"a": 1}', '"a"', "[1, false]"])
def test_what_is_no_list_of_numbers_is_none(tmp_path: Path, written: str) -> None:
    assert sliced(tmp_path, written.encode()).numbers() is None


def test_a_bom_is_passed_over_and_utf16_is_named(tmp_path: Path) -> None:
    assert sliced(tmp_path, b"\xef\xbb\xbf" + b'{"a": "\xc3\xa4"}').load() == {"a": "ä"}
    with pytest.raises(DamagedError, match="UTF-16"):
        sliced(tmp_path, '{"a": 1}'.encode("utf-16"))


def test_lone_surrogates_and_bytes_that_are_no_utf8_survive(tmp_path: Path) -> None:
    root = sliced(tmp_path, b'{"\\ud800": "a\\udfff", "b": "\xff"}')
    assert [(key, value.load()) for key, value in root.members()] == [("\ud800", "a\udfff"), ("b", "�")]


@pytest.mark.parametrize("large", [1, 7, 64, 10**6])
def test_json_within_a_string_is_unescaped_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr(spill, "LARGE", large)
    monkeypatch.setattr(slices, "LARGE", large)
    value = {'quoted "key"\\': ["\U0001f600,\U0001f600", "lone \udfff", "ä,,\\n"], "number": [1.5, None], "": {}}
    for ascii_only in (True, False):
        inner = json.dumps(value, ensure_ascii=ascii_only)
        written = json.dumps({"data": inner}).encode()
        found = sliced(tmp_path, written).members().value(0).inner().root()
        assert json.loads(found.raw().decode("utf-8", "surrogatepass")) == value


def test_what_is_within_a_string_and_no_json_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=r"some\.json"):
        sliced(tmp_path, b'{"data": "{\\"a\\": "}').members().value(0).inner().root()


def test_large_tables_leave_memory_and_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "LARGE", 100)
    written = {f"key {at} ä": [at] for at in range(500)}
    written_twice = json.dumps(written)[:-1] + ', "key 7 ä": "again"}'
    members = sliced(tmp_path, written_twice.encode()).members()
    assert len(members) == 501
    assert [key for key, _ in members][:500] == list(written)
    assert members.superseded() == [7]
    last = members.get("key 7 ä")
    assert last is not None
    assert last.load() == "again"
    assert sorted(members.hashes().tolist()) == sorted(hash(key) for key, _ in members)


def test_a_file_that_breaks_off_is_named_with_the_offset(tmp_path: Path) -> None:
    whole = json.dumps({"a": {"b": [1.5, 2.5], "c": {"d": "text"}}, "e": [[1], {"f": None}]}).encode()
    for length in range(len(whole)):
        with pytest.raises(DamagedError) as caught:
            sliced(tmp_path, whole[:length]).load()
        assert "some.json" in caught.value.message
        assert isinstance(caught.value.actual, int)
        assert caught.value.actual <= length


def test_what_follows_the_end_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="at byte 3"):
        sliced(tmp_path, b"{} {}")


def test_deep_values_are_passed_or_refused(tmp_path: Path) -> None:
    deep = b"[" * 60 + b"1" + b"]" * 60
    assert sliced(tmp_path, b'{"a": ' + deep + b', "b": 2}').members().key(1) == "b"
    with pytest.raises(DamagedError, match="deeply"):
        sliced(tmp_path, b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150)
@given(value=st.dictionaries(st.text(), JSON, max_size=5), indent=st.sampled_from([None, 1]), ascii=st.booleans())
def test_slices_agree_with_the_json_module(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any], indent: int | None, ascii: bool
) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=ascii).encode("utf-8", "replace")
    root = sliced(tmp_path_factory.mktemp("slices"), data)
    again = json.loads(data)
    assert json.dumps({key: part.load() for key, part in root.members()}) == json.dumps(again)


def spans_of(root: Slice) -> list[list[int]]:
    return [list(root.file.spans(value)) for _, value in root.members() if value.kind == "{"]


def walked(tmp_path: Path, data: bytes, *, many: bool, block: int = 0) -> list[list[int]] | int:
    """Where the members of a file's sections are, or the offset where it breaks off."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_runs, "PATIENCE", 0 if many else 1 << 60)
        patch.setattr(object_runs, "FIRST_LOOK", block)
        try:
            return spans_of(sliced(tmp_path, data))
        except DamagedError as error:
            assert isinstance(error.actual, int)
            return error.actual


RECORDS = st.dictionaries(st.text(), st.dictionaries(st.text(), JSON, max_size=3), max_size=8)


@settings(max_examples=300)
@given(
    value=st.dictionaries(st.text(), RECORDS | JSON, max_size=3),
    separators=st.sampled_from([(", ", ": "), (",", ":"), (" , ", ": ")]),
    ascii=st.booleans(),
    block=st.integers(1, 300),
    spoilt=st.none() | st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(b'{}[]",:\\ x')),
)
def test_many_members_at_once_are_those_of_one_search_after_another(
    tmp_path_factory: pytest.TempPathFactory,
    value: dict[str, Any],
    separators: tuple[str, str],
    ascii: bool,
    block: int,
    spoilt: tuple[float, int] | None,
) -> None:
    data = bytearray(json.dumps(value, separators=separators, ensure_ascii=ascii).encode("utf-8", "replace"))
    if spoilt is not None:
        data[int(spoilt[0] * len(data))] = spoilt[1]
    folder = tmp_path_factory.mktemp("members")
    assert walked(folder, bytes(data), many=True, block=block) == walked(folder, bytes(data), many=False)


@pytest.mark.parametrize("depth", [5, 11, 12, 13, 14, 100, 190, 300, 900])
def test_how_deep_a_member_may_be_does_not_depend_on_its_neighbours(depth: int, tmp_path: Path) -> None:
    deep = b'{"a": ' * depth + b"1" + b"}" * depth
    plain = b", ".join(b'"k%d": {"a": 1}' % n for n in range(60))
    data = b'{"data": {' + plain + b', "deep": ' + deep + b", " + plain.replace(b"k", b"l") + b"}}"
    assert walked(tmp_path, data, many=True, block=4096) == walked(tmp_path, data, many=False)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ({"data": {f"k{n}": {"a": n} for n in range(50_000)}}, 1, 20),
        ({"data": {f"k{n}": {"a": n} if n % 2 else [n] for n in range(5000)}}, 0, 0),
        ({"data": {f"k{n}": {"a": n} if n % 40 else [n] for n in range(5000)}}, 1, 10),
        ({"data": {f"k{n}": {f"m{m}": {} for m in range(40)} for n in range(50)}}, 0, 4),
        ([{f"m{m}": {} for m in range(40)} for _ in range(50)], 0, 60),
    ],
    ids=["plain", "lists between", "a list now and then", "small sections", "a list of objects"],
)
def test_looks_at_many_bytes_are_few(
    value: Any, least: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they cost must not grow beyond what they find, whatever the file is like."""
    looks = []
    found = object_runs.object_members

    def counted(data: Any, at: int, look: int) -> Any:
        looks.append(at)
        return found(data, at, look)

    monkeypatch.setattr(object_runs, "object_members", counted)
    root = sliced(tmp_path, json.dumps(value).encode())
    if isinstance(value, dict):
        for _, section in root.members():
            for _, record in section.members():
                if record.kind == "{":
                    len(record.members())
    assert least <= len(looks) <= most


def test_many_plain_members_are_found_at_once() -> None:
    """Not by the search that stands in for it."""
    written = {f"node {n}": {"text": 'a "quote" \\ and {', "list": [{"deep": [n]}]} for n in range(100)}
    data = json.dumps({"data": written}).encode()
    start = data.index(b'"node 0"')
    found = object_runs.object_members(data, start, len(data))
    assert len(found) == 99
    for row, (key, value) in zip(found.tolist(), written.items(), strict=False):
        assert json.loads(data[row[0] : row[1]]) == key
        assert json.loads(data[row[2] : row[3]]) == value


@settings(max_examples=300)
@given(data=st.binary(max_size=40) | st.text(alphabet='{}[]",:0123456789 \\ntrue-eE.', max_size=60).map(str.encode))
def test_anything_else_is_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    try:
        root = sliced(tmp_path_factory.mktemp("slices"), data)
        for _, part in root.members():
            part.load()
            part.numbers()
    except DamagedError as error:
        assert error.path is not None
