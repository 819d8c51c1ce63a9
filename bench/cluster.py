"""A Milvus cluster on paper: what a passage takes there, how many nodes that fills, what a search and a push cost, and what a lost node takes away.

Nothing here asks a server. Sizes are bytes, times are seconds; a GB is a thousand million bytes. What is measured comes in as `Passage` and
`Rates`; limits that Milvus publishes, and what is assumed, are the constants below, which the page names with their sources.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SEGMENT = 1024 << 20
"""dataCoord.segment.maxSize."""
LOADED = 0.9
"""Of the memory of all query nodes, what may be loaded."""
LEASE = 30.0
"""common.session.ttl: a node that is silent for so long is taken for lost."""
TICK = 0.2
"""A strongly consistent read waits for the next time tick, half of it in the mean."""
CELLS = 1024

NUMBERS = 13
"""INT64 fields of a row of chunks: its id and those of `tables.NUMBERS`."""
LOOKED_UP = 4
"""Those of them with an index."""
OWN = 16
"""Milvus's own row id and timestamp. Assumed: they are in memory."""

SCALING = 0.5
"""Assumed: all of a node's processors scan half as fast as so many times one of them, which share the memory's bandwidth."""
BANDWIDTH = 1e9
"""Assumed: a node loads so much of the object storage in a second."""
REPLACED = 300.0
"""Assumed: after so long a lost node has a successor."""
CHANGE_OF_A_NAME = 0.1
"""Assumed: making, renaming or dropping a collection on a cluster."""
SMALLEST = 0.5
"""Assumed: sealed segments have between this share of SEGMENT and all of it."""
RACKS = 4

Prices = tuple[tuple[float, float], ...]


class Node(NamedTuple):
    name: str
    memory: float
    processors: int
    dollars: float
    """an hour"""

    @property
    def room(self) -> float:
        return LOADED * self.memory


@dataclass(frozen=True, slots=True)
class Passage:
    """Means of what was pushed."""

    dim: int
    text: float
    words: float
    facts: float
    sent: float

    @property
    def vector(self) -> float:
        return 4.0 * self.dim

    @property
    def sparse(self) -> float:
        return 8 * self.words

    @property
    def only_read(self) -> float:
        """Numbers, arrays and text: what no index keeps instead."""
        return 8 * NUMBERS + OWN + 8 * self.words + 4 * self.words + 8 * self.facts + self.text

    @property
    def lookups(self) -> float:
        """Indexes of numbers. Assumed: as large as the numbers that they index."""
        return 8 * (LOOKED_UP + self.facts + self.words)

    @property
    def raw(self) -> float:
        """By which segments are filled."""
        return self.vector + self.sparse + self.only_read

    def cells(self, index: str) -> float:
        """What IVF_FLAT has beside the vectors: the number of each, and its share of a segment's centroids."""
        return 8 + CELLS * self.vector / (SEGMENT / self.raw) if index == "IVF_FLAT" else 0.0

    def memory(self, index: str, *, mapped: bool = False) -> float:
        """`mapped`: what is only read lies on the node's disk."""
        return self.vector + self.sparse + self.lookups + self.cells(index) + (0.0 if mapped else self.only_read)

    def stored(self, index: str) -> float:
        """In the object storage: rows as they were written, and all indexes. Nothing is taken off for compression."""
        return self.raw + self.vector + self.sparse + self.lookups + self.cells(index)


class Rates(NamedTuple):
    """Seconds a row, of one processor."""

    flat: float
    cells: float
    condition: float


@dataclass(frozen=True, slots=True)
class Layout:
    """`nodes` are those of one replica, one of them so that the others have room for what it held."""

    passages: int
    passage: Passage
    index: str
    node: Node
    replicas: int = 1
    mapped: bool = False

    @property
    def memory(self) -> float:
        """Of one replica."""
        return self.passages * self.passage.memory(self.index, mapped=self.mapped)

    @property
    def disk(self) -> float:
        """Of the nodes of one replica."""
        return self.passages * self.passage.only_read if self.mapped else 0.0

    @property
    def stored(self) -> float:
        return self.passages * self.passage.stored(self.index)

    @property
    def segments(self) -> int:
        return math.ceil(self.passages * self.passage.raw / SEGMENT)

    @property
    def nodes(self) -> int:
        return math.ceil(self.memory / self.node.room) + 1

    def seconds(self, rates: Rates, *, exact: bool) -> float:
        """Of one search on an idle cluster, by the nodes alone: each compares its share of the rows."""
        rows = self.passages / self.nodes
        compared = rates.cells if self.index == "IVF_FLAT" and not exact else rates.flat
        return rows * (compared + rates.condition) / (self.node.processors * SCALING)

    def dollars(self, storage: Prices) -> tuple[float, float]:
        """A month of the query nodes, and of the object storage."""
        return self.replicas * self.nodes * self.node.dollars * 730, tiered(self.stored / 1e9, storage)


def tiered(gigabytes: float, prices: Prices) -> float:
    """`prices` are (GB up to which it holds, dollars a GB)."""
    paid, before = 0.0, 0.0
    for limit, price in prices:
        paid += max(min(gigabytes, limit) - before, 0.0) * price
        before = limit
    return paid


class Push(NamedTuple):
    """Of a first push, a passage."""

    client: float
    """seconds of the client's processor"""
    reads: float
    """strongly consistent"""
    names: float
    """collections made, renamed or dropped"""
    sent: float

    def seconds(self, passages: int, *, bandwidth: float = BANDWIDTH) -> dict[str, float]:
        """One writer does one after the other: its own work, the wire, waiting for ticks, changing names."""
        return {
            "client": passages * self.client,
            "wire": passages * self.sent / bandwidth,
            "reads": passages * self.reads * TICK / 2,
            "names": passages * self.names * CHANGE_OF_A_NAME,
        }


@dataclass(slots=True)
class Machine:
    """A query node that is in use."""

    rack: int
    group: int
    room: float
    segments: list[int]
    used: float = 0.0
    busy: float = 0.0
    """until when it loads"""

    def take(self, segment: int, size: float) -> None:
        self.segments.append(segment)
        self.used += size


class Outcome(NamedTuple):
    lost: int
    """nodes"""
    unsearchable: float
    """share of the segments without any copy, at first"""
    whole: bool
    """whether one replica has all of its segments"""
    answers: float
    """seconds until one replica has all of them again"""
    restored: float
    """seconds until all replicas have"""
    loaded: float
    """bytes"""
    waited: float
    """share of the lost copies for which no node had room, and which waited for a new one"""


def sizes_of(layout: Layout, rng: random.Random) -> list[float]:
    """What each segment takes in memory; together it is what the layout says."""
    mean = (1 + SMALLEST) / 2
    raw = [rng.uniform(SMALLEST, 1.0) for _ in range(math.ceil(layout.segments / mean))]
    return [layout.memory * one / sum(raw) for one in raw]


def placed(sizes: Sequence[float], layout: Layout, rng: random.Random, *, apart: bool = False) -> list[Machine]:
    """About the largest segment first, onto the node of its replica that holds least. `apart`: no two replicas have nodes in one rack."""
    racks = [i % RACKS for i in range(layout.replicas * layout.nodes)]
    rng.shuffle(racks)
    machines = []
    for group in range(layout.replicas):
        own = [rack for rack in range(RACKS) if rack % layout.replicas == group]
        first = len(machines)
        machines += [
            Machine(own[i % len(own)] if apart else racks[first + i], group, layout.node.room, [])
            for i in range(layout.nodes)
        ]
        by_use = [(0.0, i) for i in range(first, len(machines))]
        for segment in sorted(range(len(sizes)), key=lambda at: -sizes[at] * rng.uniform(0.9, 1.0)):
            _, i = by_use[0]
            machines[i].take(segment, sizes[segment])
            heapq.heapreplace(by_use, (machines[i].used, i))
    return machines


def failed(machines: list[Machine], sizes: Sequence[float], gone: Sequence[int], *, bandwidth: float) -> Outcome:
    """These machines are lost at once. After LEASE what they held goes to others of their replica, as far as these have room; the rest to new ones, which
    are there after REPLACED. Each machine loads one segment after the other."""
    dead = set(gone)
    left = [Machine(m.rack, m.group, m.room, [], m.used) for i, m in enumerate(machines) if i not in dead]
    missing: dict[int, dict[int, float]] = {m.group: {} for m in machines}
    loaded = waited = 0.0
    for group, back in missing.items():
        alive = [m for m in left if m.group == group]
        new = [Machine(m.rack, group, m.room, []) for i, m in enumerate(machines) if i in dead and m.group == group]
        lost = [s for i, m in enumerate(machines) if i in dead and m.group == group for s in m.segments]
        for segment in sorted(lost, key=lambda at: -sizes[at]):
            size = sizes[segment]
            fitting = [m for m in alive if m.used + size <= m.room]
            waited += not fitting
            machine = min(fitting or new, key=lambda m: m.used if fitting else m.busy)
            machine.busy = max(machine.busy, LEASE if fitting else REPLACED) + size / bandwidth
            machine.take(segment, size)
            back[segment] = machine.busy
            loaded += size
    nowhere = set.intersection(*(set(back) for back in missing.values()))
    ends = [max(back.values(), default=0.0) for back in missing.values()]
    copies = sum(len(back) for back in missing.values())
    return Outcome(
        lost=len(dead),
        unsearchable=len(nowhere) / len(sizes),
        whole=min(ends) == 0.0,
        answers=min(ends),
        restored=max(ends),
        loaded=loaded,
        waited=waited / copies if copies else 0.0,
    )


def one(machines: Sequence[Machine], rng: random.Random) -> list[int]:
    return rng.sample(range(len(machines)), 1)


def two(machines: Sequence[Machine], rng: random.Random) -> list[int]:
    return rng.sample(range(len(machines)), 2)


def rack(machines: Sequence[Machine], rng: random.Random) -> list[int]:
    chosen = rng.choice(sorted({machine.rack for machine in machines}))
    return [i for i, machine in enumerate(machines) if machine.rack == chosen]


Loss = Callable[[Sequence[Machine], random.Random], list[int]]


def simulated(
    layout: Layout,
    loss: Loss,
    *,
    seed: int,
    times: int,
    apart: bool = False,
    bandwidths: Sequence[float] = (BANDWIDTH,),
) -> list[list[Outcome]]:
    """For each bandwidth the outcomes of the same draws; the same seed has the same ones."""
    rng = random.Random(seed)
    found: list[list[Outcome]] = [[] for _ in bandwidths]
    for _ in range(times):
        sizes = sizes_of(layout, rng)
        machines = placed(sizes, layout, rng, apart=apart)
        gone = loss(machines, rng)
        for outcomes, bandwidth in zip(found, bandwidths, strict=True):
            outcomes.append(failed(machines, sizes, gone, bandwidth=bandwidth))
    return found
