"""A few seconds of the campaign, and that its checker can fail: on logs that are made up, and on faults in the code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import isolation
import rivalry


def test_readers_writers_and_the_terminal(tmp_path: Path) -> None:
    events, found = rivalry.run(tmp_path, seconds=3, seed=1)
    assert found == []
    assert {event["kind"] for event in events} >= {"view", "commit", "end"}


@pytest.mark.parametrize("fault", ["no-transaction", "two-transactions", "old-views"])
def test_faults_are_found(fault: str, tmp_path: Path) -> None:
    _, found = rivalry.run(tmp_path, seconds=1.5, seed=1, teams=(("write", "read"), ("write", "read")), fault=fault)
    assert found != []


def commit(version: int, at: float, change: str = "stamp", group: int = 0, flag: bool = True) -> dict[str, Any]:
    times = {"began": at, "ended": at + 0.5}
    return {"kind": "commit", "version": version, "change": change, "group": group, "flag": flag, **times}


def view(version: int, at: float, stamps: dict[str, list[int]], active: bool = True) -> dict[str, Any]:
    saw = {
        "stamps": stamps,
        "touched": {group: [0] * len(of) for group, of in stamps.items()},
        "active": {group: [active] * len(of) for group, of in stamps.items()},
        "wrong": [],
    }
    return {"kind": "view", "version": version, "began": at, "ended": at + 0.1, "saw": saw}


TWO = [commit(1, 1.0), commit(2, 2.0, group=1), commit(3, 3.0, "active", 0, False), commit(5, 5.0)]


def test_what_is_right_passes() -> None:
    both = {"0": [1] * 4, "1": [2] * 4}
    assert (
        isolation.problems(
            [*TWO, view(0, 0.1, {}), view(2, 2.8, both), view(2, 3.2, both), view(1, 2.1, {"0": [1] * 4})]
        )
        == []
    )


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([view(1, 1.6, {"0": [1, 1, 1, 0]})], "shows group 0"),
        ([view(2, 2.6, {"0": [1] * 4})], "shows group 1"),
        ([view(1, 1.6, {"0": [1] * 3})], "shows group 0"),
        ([view(3, 3.6, {"0": [1] * 4, "1": [2] * 4})], "shows group 0"),
        ([view(1, 2.6, {"0": [1] * 4})], "began when a commit of 2 had ended"),
        (
            [view(2, 2.1, {"0": [1] * 4, "1": [2] * 4}), view(1, 2.3, {"0": [1] * 4})],
            "began when a view of 2 had ended",
        ),
        ([view(5, 4.0, {"0": [5] * 4, "1": [2] * 4}, active=False)], "before that commit began"),
        ([commit(2, 6.0, group=2)], "two commits have the number 2"),
        ([commit(4, 6.0, group=2)], "a commit of 4 began when a commit of 5 had ended"),
        ([{"kind": "error", "role": "read", "type": "DamagedError", "said": "It is damaged."}], "DamagedError"),
        ([{"kind": "error", "role": "read", "type": "foreign", "said": "KeyError"}], "foreign"),
    ],
)
def test_what_is_wrong_is_said(events: list[dict[str, Any]], said: str) -> None:
    assert any(said in problem for problem in isolation.problems([*TWO, *events]))
