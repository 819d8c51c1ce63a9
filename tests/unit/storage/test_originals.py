"""Attachments by the beginnings of their names, whatever code points those hold, and how many there are."""

from __future__ import annotations

import pytest

from stackroom.progress import CancelToken, silent
from stackroom.storage.catalogue import originals
from stackroom.storage.store import LocalStore

LAST = "\U0010ffff"
NAMES = [
    "a", "a/", "a/b", f"a/{LAST}", f"a/{LAST}{LAST}x", "a0", "b", LAST, f"{LAST}z", "",
    "a/\ud800", "a/\udfff/x", "\ud800", "\ud800\udc00", "\U00010000", "a/\x00", "\x00", "\ud7ff", "\ud7ffx", "\ue000",
]  # fmt: skip


@pytest.fixture
def named(store: LocalStore) -> LocalStore:
    with store.commit() as commit:
        for name in NAMES:
            commit.attach(name, name.encode("utf-8", "surrogatepass"))
    return store


@pytest.mark.parametrize("prefix", [*NAMES, "absent", "a/\ud800\ud800", f"{LAST}{LAST}"])
def test_a_prefix_finds_every_name_that_begins_so(named: LocalStore, prefix: str) -> None:
    with named.view() as view:
        found = list(view.attachments(prefix))
    assert sorted(name for name, _ in found) == sorted(name for name in NAMES if name.startswith(prefix))
    assert all(data == name.encode("utf-8", "surrogatepass") for name, data in found)


def test_a_prefix_reads_only_its_own(named: LocalStore) -> None:
    with named.exclusive() as writer:
        plan = writer.connection.rows(f"EXPLAIN QUERY PLAN {originals._BEGINNING_SO}", ("a", "b", b"a", b"b"))
    searches = [row[-1] for row in plan if "attachments" in row[-1]]
    assert len(searches) == 2
    assert all("name>? AND name<?" in search for search in searches)
    assert not any("TEMP B-TREE" in row[-1] for row in plan)


def test_an_attachment_that_is_gone_is_missed_also_after_the_next_commit(named: LocalStore) -> None:
    with named.exclusive() as writer:
        writer.connection.execute("DELETE FROM attachments WHERE name = 'a/b'")
    for change in (lambda commit: None, lambda commit: commit.attach("c", b"new"), lambda commit: commit.detach("c")):
        with named.commit() as commit:
            change(commit)
        assert any("1 is gone" in one.message for one in named.verify(progress=silent, cancel=CancelToken()).damage)


@pytest.mark.parametrize("older", [False, True])
def test_their_number_follows_what_is_attached_and_detached(named: LocalStore, older: bool) -> None:
    if older:
        with named.exclusive() as writer:
            writer.connection.execute("DELETE FROM settings WHERE name = 'attachments'")
    with named.commit() as commit:
        assert not commit.detach("absent")
    for _ in range(2):
        with named.commit() as commit:
            commit.attach("a", b"anew")
            commit.attach("c", b"new")
            assert commit.detach("b")
            commit.attach("b", b"again")
    with named.view() as view:
        assert originals.stored_number(view.connection) == len(NAMES) + 1
    named.purge(progress=silent, cancel=CancelToken())
    with named.view() as view:
        assert originals.stored_number(view.connection) == originals.number(view.connection) == len(NAMES) + 1
    assert named.verify(progress=silent, cancel=CancelToken()).ok
