"""Whether what processes saw of a library is snapshot isolation in the order of real time; all from their logs, afterwards.

1. Commits are totally ordered: no two have one number, and one that began when another had ended has a higher one.
2. Each view equals exactly one committed state: the one that its number names, in all that was asked of it.
3. Who opens a view sees every commit that had ended by then, and no older state than any view that was open before: its own or another's.
4. Nothing is seen that was not yet begun, and no error is of another kind than those that are documented for what was done.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

SIZE = 4

Event = dict[str, Any]
State = dict[int, dict[str, Any]]


def problems(events: Iterable[Event]) -> list[str]:
    """What is wrong, a sentence each; empty when nothing is."""
    listed = list(events)
    commits = sorted((event for event in listed if event["kind"] == "commit"), key=lambda event: event["version"])
    views = [event for event in listed if event["kind"] == "view"]
    found = [
        f"{event['role']}: {event['type']}: {event['said']}"
        for event in listed
        if event["kind"] == "error" and event["type"] != "BusyError"
    ]
    found += _twice(commits)
    found += _states(commits, views)
    found += _order(commits, views)
    return found


def _twice(commits: Sequence[Event]) -> list[str]:
    return [f"two commits have the number {a['version']}" for a, b in pairwise(commits) if a["version"] == b["version"]]


def replay(commits: Sequence[Event]) -> list[tuple[int, State]]:
    """The state after each commit, given by number. A state is shared with its neighbours where nothing changed."""
    state: State = {}
    states = [(0, state)]
    for commit in commits:
        group, change = commit["group"], commit["change"]
        now = dict(state)
        if change == "stamp":
            lit = now[group]["active"] if group in now else True
            now[group] = {"stamp": commit["version"], "active": lit, "touched": 0}
        elif change == "remove":
            now.pop(group, None)
        elif group in now:
            key, value = ("active", commit["flag"]) if change == "active" else ("touched", commit["version"])
            now[group] = {**now[group], key: value}
        state = now
        states.append((commit["version"], state))
    return states


def _states(commits: Sequence[Event], views: Sequence[Event]) -> list[str]:
    states = replay(commits)
    numbers = [number for number, _ in states]
    found = []
    for view in views:
        # Compaction counts as a commit and changes nothing that is seen.
        state = states[bisect_left(numbers, view["version"] + 1) - 1][1]
        saw = view["saw"]
        found += [f"a view of {view['version']}: {wrong}" for wrong in saw["wrong"]]
        for group in sorted({*state, *map(int, saw["stamps"]), *map(int, saw["active"])}):
            there = state.get(group)
            shown = {
                what: saw[what].get(str(group), saw[what].get(group, [])) for what in ("stamps", "touched", "active")
            }
            expected = {
                "stamps": [there["stamp"]] * SIZE if there else [],
                "touched": [there["touched"]] * SIZE if there else [],
                "active": [there["active"]] * SIZE if there else [],
            }
            if shown != expected:
                found.append(f"a view of {view['version']} shows group {group} as {shown} instead of {expected}")
    return found


def _order(commits: Sequence[Event], views: Sequence[Event]) -> list[str]:
    """In real time: whoever begins after another has ended stands behind it."""
    found = []
    ends = sorted((event["ended"], event["version"], event["kind"]) for event in (*commits, *views))
    times = [ended for ended, _, _ in ends]
    highest: list[tuple[int, str]] = []
    for _, version, kind in ends:
        highest.append(max(highest[-1], (version, kind)) if highest else (version, kind))
    for event in (*commits, *views):
        before = bisect_left(times, event["began"])
        if not before:
            continue
        version, kind = highest[before - 1]
        if event["version"] < version or (event["kind"] == "commit" and event["version"] == version):
            found.append(f"a {event['kind']} of {event['version']} began when a {kind} of {version} had ended")
    begins = {event["version"]: event["began"] for event in commits}
    found += [
        f"a view of {view['version']} had opened before that commit began"
        for view in views
        if begins.get(view["version"], view["ended"]) > view["ended"]
    ]
    return found
