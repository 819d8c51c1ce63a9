"""The arithmetic and the simulation behind docs/benchmarks/engine-scale.md, on numbers that can be checked by hand."""

from __future__ import annotations

import importlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "bench"
GIB = 2**30


@pytest.fixture(scope="module")
def cluster() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        yield importlib.import_module("cluster")


@pytest.fixture
def passage(cluster: ModuleType) -> object:
    return cluster.Passage(dim=256, text=1000, words=50, facts=10, sent=3000)


def test_a_row_is_its_fields(cluster: ModuleType, passage: object) -> None:
    assert passage.vector == 1024
    assert passage.sparse == 400
    # 13 numbers and 16 bytes of Milvus's own, 50 words with counts, 10 numbers of metadata, the text
    assert passage.only_read == 13 * 8 + 16 + 50 * 12 + 80 + 1000 == 1800
    assert passage.lookups == 8 * (4 + 10 + 50)
    assert passage.memory("FLAT") == 1024 + 400 + 1800 + 512
    assert passage.memory("FLAT", mapped=True) == 1024 + 400 + 512
    assert passage.stored("FLAT") == (1024 + 400 + 1800) + (1024 + 400 + 512)
    rows_of_a_segment = 1024 * 2**20 / passage.raw
    assert passage.cells("IVF_FLAT") == pytest.approx(8 + 1024 * 1024 / rows_of_a_segment)
    assert passage.cells("FLAT") == 0


def test_the_numbers_of_a_row_are_those_of_its_table(cluster: ModuleType) -> None:
    from stackroom.engines.versioned.tables import NUMBERS

    assert len(NUMBERS["chunks"]) + 1 == cluster.NUMBERS


def test_nodes_hold_nine_tenths_and_one_is_spare(cluster: ModuleType, passage: object) -> None:
    node = cluster.Node("n", memory=10 * GIB, processors=4, dollars=1.0)
    layout = cluster.Layout(10_000_000, passage, "FLAT", node, replicas=2)
    assert layout.memory == 37_360_000_000
    assert layout.nodes == 4 + 1  # 37.36 GB by 9.66
    assert layout.segments == 31  # 32.24 GB by 1,024 MB
    servers, storage = layout.dollars(((100, 0.5), (1000, 0.25)))
    assert servers == 2 * 5 * 730
    assert storage == pytest.approx(layout.stored / 1e9 * 0.5)
    mapped = cluster.Layout(10_000_000, passage, "FLAT", node, mapped=True)
    assert (mapped.disk, mapped.nodes) == (18_000_000_000, 3 + 1)


def test_prices_have_steps(cluster: ModuleType) -> None:
    assert cluster.tiered(150, ((100, 0.5), (1000, 0.25))) == 100 * 0.5 + 50 * 0.25


def test_a_search_compares_each_nodes_share(cluster: ModuleType, passage: object) -> None:
    node = cluster.Node("n", memory=10 * GIB, processors=4, dollars=1.0)
    rates = cluster.Rates(flat=100e-9, cells=10e-9, condition=1e-9)
    flat = cluster.Layout(10_000_000, passage, "FLAT", node)
    # 2 million rows a node, 101 ns each, four processors at half their speed
    assert flat.seconds(rates, exact=True) == pytest.approx(2e6 * 101e-9 / 2)
    cells = cluster.Layout(10_000_000, passage, "IVF_FLAT", node)
    assert cells.seconds(rates, exact=False) == pytest.approx(2e6 * 11e-9 / 2)
    assert cells.seconds(rates, exact=True) == flat.seconds(rates, exact=True)


def test_a_push_does_one_after_the_other(cluster: ModuleType) -> None:
    push = cluster.Push(client=1e-3, reads=0.02, names=0.004, sent=4000)
    parts = push.seconds(1_000_000, bandwidth=1e8)
    assert parts == pytest.approx({"client": 1000, "wire": 40, "reads": 2000, "names": 400})


def _machines(cluster: ModuleType, *held: list[int], room: float = 100, group: int = 0) -> list[object]:
    return [
        cluster.Machine(rack=i, group=group, room=room, segments=segments, used=10.0 * len(segments))
        for i, segments in enumerate(held)
    ]


def test_a_lost_node_is_loaded_by_the_others_one_segment_after_the_other(cluster: ModuleType) -> None:
    machines = _machines(cluster, [0, 1], [2, 3], [4, 5])
    found = cluster.failed(machines, [10.0] * 6, [0], bandwidth=2)
    assert found.lost == 1
    assert found.unsearchable == pytest.approx(2 / 6)
    assert not found.whole
    assert found.loaded == 20
    # each of the two that are left takes one segment: 10 by 2 a second, once the lease is over
    assert found.answers == found.restored == cluster.LEASE + 5
    assert found.waited == 0


def test_what_has_no_room_waits_for_a_new_node(cluster: ModuleType) -> None:
    machines = _machines(cluster, [0, 1], [2, 3], room=25)
    found = cluster.failed(machines, [10.0] * 4, [0], bandwidth=2)
    assert found.waited == 1
    assert found.answers == cluster.REPLACED + 2 * 5


def test_a_second_replica_answers(cluster: ModuleType) -> None:
    machines = _machines(cluster, [0, 1], [2, 3]) + _machines(cluster, [0, 2], [1, 3], group=1)
    found = cluster.failed(machines, [10.0] * 4, [0], bandwidth=2)
    assert (found.unsearchable, found.whole, found.answers) == (0, True, 0)
    assert found.restored > 0
    # one of each: segment 1 is nowhere, and no replica is whole
    found = cluster.failed(machines, [10.0] * 4, [0, 3], bandwidth=2)
    assert found.unsearchable == 1 / 4
    assert not found.whole
    assert found.answers > cluster.LEASE


def test_segments_fill_nodes_evenly_and_replicas_stand_apart(cluster: ModuleType, passage: object) -> None:
    node = cluster.Node("n", memory=10 * GIB, processors=4, dollars=1.0)
    layout = cluster.Layout(10_000_000, passage, "FLAT", node, replicas=2)
    rng = random.Random(1)
    sizes = cluster.sizes_of(layout, rng)
    assert sum(sizes) == pytest.approx(layout.memory)
    machines = cluster.placed(sizes, layout, rng, apart=True)
    assert len(machines) == 2 * layout.nodes
    for group in (0, 1):
        mine = [machine for machine in machines if machine.group == group]
        assert sorted(segment for machine in mine for segment in machine.segments) == list(range(len(sizes)))
        assert max(m.used for m in mine) - min(m.used for m in mine) <= max(sizes)
    racks = [{machine.rack for machine in machines if machine.group == group} for group in (0, 1)]
    assert not racks[0] & racks[1]


def test_the_same_seed_has_the_same_outcome(cluster: ModuleType, passage: object) -> None:
    node = cluster.Node("n", memory=10 * GIB, processors=4, dollars=1.0)
    layout = cluster.Layout(10_000_000, passage, "FLAT", node, replicas=2)
    runs = [cluster.simulated(layout, cluster.rack, seed=seed, times=3) for seed in (5, 5, 6)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    quick, slow = cluster.simulated(layout, cluster.rack, seed=5, times=3, apart=True, bandwidths=(2e9, 1e9))
    assert all(one.whole and one.unsearchable == 0 for one in quick + slow)
    assert [one.loaded for one in quick] == [one.loaded for one in slow]
    assert all(one.restored < other.restored for one, other in zip(quick, slow, strict=True))


def test_the_page_is_that_of_what_was_measured(cluster: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody writes figures into it by hand; the failures, which take a while, are drawn once here."""
    engine_page = importlib.import_module("engine_page")
    docs = BENCH.parent / "docs" / "benchmarks"
    lines = [json.loads(line) for line in (docs / "engine-scale.jsonl").read_text().splitlines()]
    monkeypatch.setattr(engine_page, "_failures", lambda _: [])
    made = [line for line in engine_page.page(lines).splitlines() if line]
    written = (docs / "engine-scale.md").read_text().splitlines()
    assert [line for line in made if line not in written] == []
