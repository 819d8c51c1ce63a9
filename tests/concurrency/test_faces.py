"""The page, an agent and the terminal on one library at once, and that the checker can fail."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import faces
from faces import Answer, Change, State

import stackroom


def both(work: Path, *, seconds: float, seed: int) -> faces.Log:
    log, found = faces.run(work, seconds=seconds, seed=seed)
    assert found == []
    assert {answer.face for answer in log.answers} == {"page", "agent", "terminal"}
    assert {change.name.partition("-")[0] for change in log.changes} == {"page", "terminal"}
    with stackroom.open(work / "library") as index:
        assert index.verify().ok
    return log


def test_the_page_an_agent_and_the_terminal(tmp_path: Path) -> None:
    both(tmp_path, seconds=5, seed=1)


@pytest.mark.slow
def test_the_page_an_agent_and_the_terminal_for_half_a_minute(tmp_path: Path) -> None:
    both(tmp_path, seconds=30, seed=2)


ADDED = Change("a", 1.0, 2.0, State(1, True))
AGAIN = Change("a", 5.0, 6.0, State(2, True))
OFF = Change("a", 8.0, 9.0, State(2, False))


def answer(began: float, stamps: list[int], *, active: bool = False) -> Answer:
    return Answer("page", began, began + 0.5, active, {"a": stamps} if stamps else {})


def test_what_is_right_passes() -> None:
    right = [
        answer(0.1, []),
        answer(1.2, []),
        answer(1.2, [1, 1, 1]),
        answer(3, [1, 1, 1]),
        answer(5.2, [1, 1, 1]),
        answer(5.2, [2, 2, 2]),
        answer(8.2, [2, 2, 2], active=True),
        answer(9.5, [], active=True),
        answer(9.5, [2, 2, 2]),
    ]
    assert faces.problems([ADDED, AGAIN, OFF], right) == []


@pytest.mark.parametrize(
    "wrong",
    [
        answer(3, []),
        answer(3, [1, 1]),
        answer(5.2, [1, 1, 2]),
        answer(7, [1, 1, 1]),
        answer(3, [2, 2, 2]),
        answer(9.5, [2, 2, 2], active=True),
        answer(3, [1, 1, 1, 1]),
    ],
)
def test_what_is_wrong_is_said(wrong: Answer) -> None:
    assert len(faces.problems([ADDED, AGAIN, OFF], [wrong])) == 1
