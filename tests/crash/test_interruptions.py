"""A slice of `make test-crash`: kills, power cuts and faults at the level of system calls, the same ones every time."""

from __future__ import annotations

import random
from pathlib import Path

import campaign
import pytest
from campaign import FAULTS, SCENARIOS, Asked, interrupt
from power import Disk, Entry
from shim import Action

SEED = 20261126


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_few_of_everything(harness: Asked, scenario: str) -> None:
    """A kill, a power cut and a fault in each scenario."""
    for kind in ("kill", "cut", "fault"):
        what, answer = interrupt(harness, scenario, kind, random.Random(f"{SEED} {scenario} {kind}"))
        assert answer["problems"] == [], what


def test_power_cut_after_each_confirmation(harness: Asked) -> None:
    """The moment after a call has returned: nothing of it may be lost, however little else the disk has kept."""
    for scenario in ("create", "first", "commit", "sketch", "export", "roll-back"):
        end = harness.count(scenario, "cut")
        for seed in range(3):
            answer = harness.ask("cut", scenario, end, seed)
            assert answer["problems"] == [], (scenario, seed)


def test_a_roll_back_brings_no_half_library_back(harness: Asked) -> None:
    """Its files go after the rename that takes it away is sure."""
    end = harness.count("roll-back", "cut")
    for at in range(end - 5, end - 2):
        assert harness.ask("cut", "roll-back", at, 5)["problems"] == [], at


def test_an_error_is_not_hidden_by_the_clean_up(harness: Asked) -> None:
    """Where SQLite has undone a transaction already, undoing it once more fails as well, and says nothing of a full disk."""
    for nth in range(8, 14):
        answer = harness.ask("fault", "create", "quota", nth, Action.FAIL_HALFWAY, 1)
        assert answer["problems"] == [], nth


def test_a_new_catalogue_that_has_no_room_is_a_full_disk(harness: Asked) -> None:
    """SQLite does not say why it could not make a file: the file is there before it opens it."""
    for scenario, calls in (("create", range(1, 10)), ("backup", range(16, 22)), ("repair", range(1, 6))):
        for nth in calls:
            answer = harness.ask("fault", scenario, "quota", nth, Action.FAIL, 1)
            assert answer["problems"] == [], (scenario, nth)


def test_too_many_open_files_make_no_blind_reader(harness: Asked) -> None:
    """A reader that takes that for a read-only medium would never see a commit again."""
    for nth in (2, 3):
        answer = harness.ask("fault", "commit", "handles", nth, Action.FAIL, 1)
        assert answer["problems"] == [], nth


def test_two_writers_killed_beside_a_reader(harness: Asked) -> None:
    """The first one dies when its commit is in the WAL and nowhere else, the second one when it has written over those rows."""
    for first, second in ((3, 2), (4, 2), (4, 3)):
        assert harness.ask("twice", "commit", first, second, 1)["problems"] == [], (first, second)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_and_the_last_call_fail(harness: Asked, fault: str) -> None:
    for nth in (1, harness.count("commit", fault)):
        answer = harness.ask("fault", "commit", fault, nth, Action.FAIL_FROM_HERE, 1)
        assert answer["problems"] == [], nth


def test_the_clock_jumps(harness: Asked) -> None:
    """Ten years forwards or backwards at every look at it, in all that is done."""
    for scenario in ("commit", "update", "compact-sketched", "reembed", "sketch", "backup-again", "repair", "migrate"):
        assert harness.ask("clock", scenario, 7)["problems"] == [], scenario


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["full", "broken", "unreadable"])
def test_every_call_of_a_commit_is_refused_once(harness: Asked, fault: str) -> None:
    """A disk that is full at any of its writes, and an I/O error at any write or read."""
    for nth in range(1, harness.count("commit", fault) + 1):
        answer = harness.ask("fault", "commit", fault, nth, Action.FAIL, 1)
        assert answer["problems"] == [], nth


@pytest.mark.slow
def test_hundreds_of_interruptions(shimmed: None) -> None:
    tally = campaign.campaign(SEED, range(400))
    assert tally.found == []
    assert sum(tally.done.values()) == 400


def _journal(root: Path) -> list[Entry]:
    def entry(kind: str, fd: int = 0, flags: int = 0, path: str = "", offset: int = 0, data: bytes = b"") -> Entry:
        return Entry(kind, fd, flags, f"{root}/{path}" if path else "", "", offset, data)

    create = 0o102
    return [
        entry("O", 5, create, "new"),
        entry("W", 5, data=b"a" * 6000),
        entry("B", 5),
        entry("S", 5),
        entry("W", 5, data=b"b" * 6000),
        entry("O", 6, 0, "old"),
        entry("W", 6, data=b"b" * 4096),
    ]


def test_what_a_power_cut_leaves(tmp_path: Path) -> None:
    """Of the simulator itself: every outcome that the rules allow occurs, and no other."""
    root, start = tmp_path / "root", tmp_path / "start"
    start.mkdir()
    (start / "old").write_bytes(b"a" * 4096)
    found: set[tuple[bool, str, str]] = set()
    for seed in range(300):
        disk = Disk(root, start)
        for entry in _journal(root):
            disk.do(entry)
        target = tmp_path / f"cut{seed}"
        disk.cut(random.Random(seed), target)
        new = (target / "new").read_bytes() if (target / "new").exists() else None
        old = (target / "old").read_bytes()
        assert len(old) == 4096
        assert new is None or len(new) == 6000
        found.add((new is not None, "".join(sorted(set((new or b"").decode()))), "".join(sorted(set(old.decode())))))
    assert {name for name, _, _ in found} == {True, False}
    assert {content for name, content, _ in found if name} == {"a", "b", "ab"}
    assert {content for _, _, content in found} == {"a", "b", "ab"}


def test_a_sync_keeps_what_was_written_before_it_began(tmp_path: Path) -> None:
    """Another thread may write while the disk is asked."""
    root, start = tmp_path / "root", tmp_path / "start"
    start.mkdir()
    (start / "old").write_bytes(b"a" * 8192)
    found: set[bytes] = set()
    for seed in range(50):
        disk = Disk(root, start)
        disk.do(Entry("O", 6, 0, f"{root}/old", "", 0, b""))
        for kind, offset, data in (("W", 0, b"b" * 4096), ("B", 0, b""), ("W", 4096, b"b" * 4096), ("S", 0, b"")):
            disk.do(Entry(kind, 6, 0, "", "", offset, data))
        disk.cut(random.Random(seed), tmp_path / f"cut{seed}")
        kept = (tmp_path / f"cut{seed}" / "old").read_bytes()
        assert kept[:4096] == b"b" * 4096
        found.add(kept[4096:])
    assert len(found) > 1


def test_a_synced_folder_keeps_its_names(tmp_path: Path) -> None:
    root, start = tmp_path / "root", tmp_path / "start"
    start.mkdir()
    for seed in range(50):
        disk = Disk(root, start)
        folder = (
            Entry("O", 7, 0, str(root), "", 0, b""),
            Entry("B", 7, 0, "", "", 0, b""),
            Entry("S", 7, 0, "", "", 0, b""),
        )
        for entry in (*_journal(root)[:4], *folder):
            disk.do(entry)
        disk.cut(random.Random(seed), tmp_path / f"cut{seed}")
        assert (tmp_path / f"cut{seed}" / "new").read_bytes() == b"a" * 6000
