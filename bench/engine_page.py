"""The page of engine_scale.py: what was measured, what cluster.py makes of it, and where each limit and assumption is from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

import cluster
import machine
from cluster import Layout, Node, Outcome, Passage, Push, Rates

SIZES = (100_000_000, 1_000_000_000)
INDEXES = ("FLAT", "IVF_FLAT")
NODE = Node("r8g.4xlarge", memory=128 * 2**30, processors=16, dollars=0.9426)
STORAGE = ((50_000, 0.023), (500_000, 0.022), (math.inf, 0.021))
SHARDS = {100_000_000: 4, 1_000_000_000: 8}
SEED, TIMES = 7, 10
BANDWIDTHS = (1e9, 0.25e9)
NAMES = ("CreateCollection", "RenameCollection", "DropCollection")
READS = ("Query", "Search")
DAY = 86_400

SOURCES = (
    ("16 shards, 64 MB a request, 16,384 hits, data to load below 90 % of the memory of all query nodes", "https://milvus.io/docs/limitations.md"),
    ("segments of 1,024 MB, sealed from 12 % of that on", "https://milvus.io/docs/configure_datacoord.md"),
    ("65,536 units of shards times partitions in an instance", "https://milvus.io/docs/limit_collection_counts.md"),
    ("what replicas are, and that a failed node's segments are loaded again without them", "https://milvus.io/docs/replica.md"),
    ("what memory mapping leaves in memory", "https://milvus.io/docs/mmap.md"),
    ("an interim index takes 1.15 times the memory until the index is there", "https://milvus.io/docs/configure_querynode.md"),
    ("a lease of 30 s for each node (`common.session.ttl`)", "https://github.com/milvus-io/milvus/blob/master/configs/milvus.yaml"),
    ("a time tick every 200 ms, for which strongly consistent reads wait", "https://github.com/milvus-io/milvus/discussions/32726"),
    ("the message log lies in the object storage", "https://milvus.io/docs/woodpecker_architecture.md"),
    ("4 to 8 shards for 1.5 billion vectors, as Milvus's makers advise", "https://github.com/milvus-io/milvus/issues/35441"),
    ("Milvus's own calculator, for the nodes that are not counted here", "https://zilliz.com/sizing-tool"),
    ("recovery is linear in the segments where all query nodes were killed", "https://github.com/milvus-io/milvus/issues/29423"),
    ("a node that came back was asked two minutes before its segments were loaded, which took eight", "https://github.com/milvus-io/milvus/issues/30313"),
    ("searches went on to a replica that had lost a segment", "https://github.com/milvus-io/milvus/issues/25679"),
    ("searches for words found nothing after a node was killed; with the next version they took a minute in place of 0.3 s", "https://github.com/milvus-io/milvus/issues/37364"),
    ("`503 node offline: channel not available` while a node is away", "https://github.com/milvus-io/milvus/issues/31029"),
    ("3.5 billion vectors that loaded by 1 % an hour with default settings", "https://github.com/milvus-io/milvus/issues/36318"),
    ("inserting got stuck at 600 million of a billion (2021)", "https://github.com/milvus-io/milvus/issues/12753"),
    ("$0.9426 an hour for a node of 16 processors and 128 GiB (r8g.4xlarge)", "https://instances.vantage.sh/aws/ec2/r8g.4xlarge"),
    ("$0.023 a GB and month of object storage, 0.022 from 50 TB on, 0.021 from 500 TB on", "https://aws.amazon.com/s3/pricing/"),
)  # fmt: skip


def passage_of(line: dict[str, Any]) -> Passage:
    means = line["means"]
    return Passage(line["dim"], means["text"], means["words"], means["facts"], line["row bytes"]["chunks"])


def rates_of(line: dict[str, Any]) -> Rates:
    scan = line["scan"]
    return Rates(scan["flat"] / 1e9, scan["cells"] / 1e9, scan["condition"] / 1e9)


def push_of(line: dict[str, Any]) -> Push:
    """Of the commits after the first: what a library needs once says nothing; but every source is looked up in the first."""
    later = line["later"]
    n, calls = later["passages"], later["calls"]
    sources = line["documents"] / line["passages"]
    return Push(
        client=later["processor"] / n,
        reads=sum(calls.get(verb, 0) for verb in READS) / n + sources * line["reads a source"],
        names=sum(calls.get(verb, 0) for verb in NAMES) / n,
        sent=line["sent"] / line["passages"],
    )


def _of_a_commit(line: dict[str, Any], verbs: Sequence[str]) -> float:
    later = line["later"]
    return sum(later["calls"].get(verb, 0) for verb in verbs) / later["commits"]


def page(lines: Sequence[dict[str, Any]]) -> str:
    by_dim = {line["dim"]: line for line in lines}
    if len(by_dim) < 2:
        raise SystemExit("There is nothing to calculate from: run it with --documents 60 first.")
    found = [
        "# A hundred million and a billion passages on Milvus, on paper",
        "",
        "Made by `bench/engine_scale.py`. **Nothing here was run on a cluster.** The sizes of rows, the requests of a push and of a search, and the speed of comparing vectors are measured; "
        "the rest is calculated from them and from limits that Milvus publishes, and failures of nodes are simulated. A GB is a thousand million bytes. "
        f"{machine.described(list(lines))}; other programs used the machine at the same time.",
        "",
        *_short(by_dim),
        *_rows(lines),
        *_layouts(lines),
        *_costs(lines),
        *_searches(lines),
        *_pushes(lines),
        *_failures(by_dim),
        *_limits(by_dim),
        *_assumed(),
    ]
    return "\n".join(found) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _layout(line: dict[str, Any], size: int, index: str = "FLAT", *, replicas: int = 1, mapped: bool = False) -> Layout:
    return Layout(size, passage_of(line), index, NODE, replicas, mapped)


def _short(by_dim: dict[int, dict[str, Any]]) -> list[str]:
    small, large = by_dim[min(by_dim)], by_dim[max(by_dim)]
    hundred, billion = SIZES
    first = push_of(small).seconds(billion)
    cost = {size: sum(_layout(small, size, replicas=2).dollars(STORAGE)) for size in SIZES}
    searched = {size: _layout(small, size).seconds(rates_of(small), exact=True) * 1000 for size in SIZES}
    waiting = small["searches"]["hybrid"]["next"]["reads"] * cluster.TICK / 2
    return [
        "## In short",
        "",
        f"- A passage of {small['dim']} dimensions takes {passage_of(small).memory('FLAT') / 1000:.1f} KB of the query nodes' memory, and one of {large['dim']:,} {passage_of(large).memory('FLAT') / 1000:.1f}. A hundred million are {_layout(small, hundred).memory / 1e9:,.0f} and {_layout(large, hundred).memory / 1e9:,.0f} GB, a billion ten times that.",
        f"- That is {_layout(small, hundred).nodes} nodes of 128 GiB for a replica of a hundred million of {small['dim']} dimensions, and {_layout(small, billion).nodes} of a billion; with two replicas ${cost[hundred]:,.0f} and ${cost[billion]:,.0f} a month for query nodes and object storage.",
        f"- Comparing all vectors takes these nodes {searched[hundred]:,.0f} and {searched[billion]:,.0f} ms a search: about the same at both sizes, since nodes grow with them. Waiting for consistency takes a hybrid search {waiting:.1f} s besides: that is Stackroom's own design, and the larger part.",
        f"- **A first push breaks first.** One writer brings a hundred million in {sum(push_of(small).seconds(hundred).values()) / DAY:,.0f} days and a billion in {sum(first.values()) / DAY:,.0f}, and the proof after it wants {small['memory']['a key'] * hundred / 1e9:,.0f} and {small['memory']['a key'] * billion / 1e9:,.0f} GB of the client's memory. Up to some ten million passages the design holds; beyond, what stands under *What breaks first* has to change.",
        "- With one replica a lost node stops all searches, until its segments are loaded again: half a minute to minutes by this calculation, longer in reports of real clusters. With two, in racks of their own, one lost rack costs speed alone.",
        "",
    ]


def _rows(lines: Sequence[dict[str, Any]]) -> list[str]:
    def row(name: str, form: str, value: Any) -> list[str]:
        return [name, *(form.format(value(line)) for line in lines)]

    def fields(*names: str) -> Any:
        return lambda line: sum(line["row fields"].get(name, 0) for name in names)

    told = {"embedding", "terms", "counts", "sparse", "data", "facts", "listed"}
    head = [f"{line['dim']:,} dimensions, {'the shipped model' if line is lines[0] else 'synthetic'}" for line in lines]
    return [
        "## A row, measured",
        "",
        f"{lines[0]['passages']:,} passages of {lines[0]['documents']} documents of Debian's documentation, pushed to milvus-lite: a server in Python, on this busy machine. Its speed says nothing of Milvus's; bytes and requests are the same.",
        "",
        *_table(
            ["a passage", *head],
            [
                row("bytes as sent (protobuf)", "{:,.0f}", lambda line: line["row bytes"]["chunks"]),
                row("of it the vector", "{:,.0f}", fields("embedding")),
                row("its words: array, counts, sparse vector", "{:,.0f}", fields("terms", "counts", "sparse")),
                row("text, metadata, place", "{:,.0f}", fields("data")),
                row("metadata as numbers, collections", "{:,.0f}", fields("facts", "listed")),
                row("numbers", "{:,.0f}", lambda line: sum(v for k, v in line["row fields"].items() if k not in told)),
                row("bytes as read back", "{:,.0f}", lambda line: line["read back"]),
                row("distinct words", "{:.0f}", lambda line: line["means"]["words"]),
                row("bytes of text, metadata, place", "{:,.0f}", lambda line: line["means"]["text"]),
                row("numbers of its metadata", "{:.1f}", lambda line: line["means"]["facts"]),
                row("rows of `records` (documents, sources, values, digests)", "{:.3f}", lambda line: line["rows"]["records"] / line["passages"]),
                row("bytes of such a row as sent", "{:,.0f}", lambda line: line["row bytes"]["records"]),
            ],
        ),
        *_table(
            ["a push", *head],
            [
                row("passages a commit", "{:,.0f}", lambda line: line["later"]["passages"] / line["later"]["commits"]),
                row("requests a commit", "{:.0f}", lambda line: sum(line["later"]["calls"].values()) / line["later"]["commits"]),
                row("of them strongly consistent reads", "{:.1f}", lambda line: _of_a_commit(line, READS)),
                row("collections made, renamed, dropped", "{:.1f}", lambda line: _of_a_commit(line, NAMES)),
                row("strongly consistent reads for each new source, once", "{:.1f}", lambda line: line["reads a source"]),
                row("requests for 1,000 passages", "{:.0f}", lambda line: 1000 * sum(line["later"]["calls"].values()) / line["later"]["passages"]),
                row("largest request, MB", "{:.1f}", lambda line: line["largest request"] / 1e6),
                row("passages a second (milvus-lite)", "{:,.0f}", lambda line: line["passages"] / line["push"]["seconds"]),
                row("milliseconds of the client's processor a passage", "{:.2f}", lambda line: 1000 * push_of(line).client),
                row("bytes of the client's memory for each key that the proof reads", "{:,.0f}", lambda line: line["memory"]["a key"]),
                row("bytes of it for each document's digest", "{:,.0f}", lambda line: line["memory"]["a digest"]),
            ],
        ),
    ]  # fmt: skip


def _layouts(lines: Sequence[dict[str, Any]]) -> list[str]:
    small, rows = lines[0], []
    for size in SIZES:
        for line in lines:
            for index in INDEXES:
                whole, mapped = _layout(line, size, index), _layout(line, size, index, mapped=True)
                rows.append([
                    f"{size:,}", f"{line['dim']:,}", index, f"{whole.memory / 1e9:,.0f}", f"{whole.segments:,}", f"{whole.nodes}",
                    f"{mapped.memory / 1e9:,.0f}", f"{mapped.disk / 1e9:,.0f}", f"{mapped.nodes}", f"{whole.stored / 1e9:,.0f}", f"{size * line['sent'] / line['passages'] / 1e9:,.0f}",
                ])  # fmt: skip
    return [
        "## Memory, nodes and storage, calculated",
        "",
        f"Of one replica, in GB; two take twice the memory, the nodes and their disks, and the same storage. A node has {NODE.memory / 2**30:.0f} GiB ({NODE.name}), of which Milvus loads 90 %; one node more than needed, so that the others have room for what it held. *Mapped*: text, arrays and plain numbers are on the nodes' disks ([mmap](https://milvus.io/docs/mmap.md)); vectors, words and indexes stay in memory. *Log*: what a first push sends, until the message log is cut.",
        "",
        *_table(["passages", "dimensions", "index", "memory", "segments", "nodes", "mapped: memory", "disk", "nodes", "object storage", "log"], rows),
        "Segments are full ones of 1,024 MB. Milvus seals them from 12 % of that on, so that there may be eight times as many until its compaction has caught up. While it has not indexed a segment, its interim index takes 1.15 times the vectors' memory.",
        "",
        f"`records` is not in the table: {small['rows']['records'] / small['passages']:.2f} rows a passage of {small['row bytes']['records']:.0f} bytes as sent, {SIZES[1] * small['rows']['records'] / small['passages'] * small['row bytes']['records'] / 1e9:,.0f} GB at a billion, and its indexes.",
        "",
        f"**Shards.** Milvus allows 16 in a collection. They share the writing, and Stackroom has one writer, which sends one request at a time: {SHARDS[SIZES[0]]} (`shards={SHARDS[SIZES[0]]}`) are enough for a hundred million; for 1.5 billion vectors Milvus's makers advise 4 to 8, so {SHARDS[SIZES[1]]} for a billion. The number is chosen when the library is made, and never changes. `records` has one shard, and no partitions are used: a library takes {SHARDS[SIZES[1]]} of 65,536 units for its passages, and one for each other collection.",
        "",
        "**Replicas.** Two, in [resource groups](https://milvus.io/docs/resource_group.md) of racks (or zones) of their own: below is what happens otherwise. More only for more searches a second.",
        "",
    ]  # fmt: skip


def _costs(lines: Sequence[dict[str, Any]]) -> list[str]:
    rows = []
    for size in SIZES:
        for line in lines:
            one, two, mapped = (
                _layout(line, size, replicas=replicas, mapped=map_)
                for replicas, map_ in ((1, False), (2, False), (2, True))
            )
            millions = size / 1e6
            rows.append([
                f"{size:,}", f"{line['dim']:,}", f"{one.memory / 1e9 / millions:.1f}", f"{one.stored / 1e9 / millions:.1f}",
                *(f"{sum(layout.dollars(STORAGE)) / millions:.2f}" for layout in (one, two, mapped)),
                f"{two.dollars(STORAGE)[1] / millions:.2f}",
            ])  # fmt: skip
    return [
        "## Cost of a million passages, calculated",
        "",
        f"FLAT; dollars a month at list prices on demand: ${NODE.dollars} an hour for a query node, object storage from $0.023 a GB. Streaming and data nodes, coordinators, etcd, disks of mapped nodes and traffic are not in it ([Milvus's calculator](https://zilliz.com/sizing-tool) has them; they are a fixed number of small machines).",
        "",
        *_table(["passages", "dimensions", "GB of memory", "GB of storage", "$ one replica", "$ two", "$ two, mapped", "of it storage"], rows),
    ]  # fmt: skip


def _searches(lines: Sequence[dict[str, Any]]) -> list[str]:
    rows = []
    for size in SIZES:
        for line in lines:
            flat, cells, rates = _layout(line, size), _layout(line, size, "IVF_FLAT"), rates_of(line)
            rows.append([
                f"{size:,}", f"{line['dim']:,}", f"{size / flat.nodes / 1e6:,.0f}", f"{flat.segments / flat.nodes:,.0f}",
                f"{1000 * flat.seconds(rates, exact=True):,.0f}", f"{1 / flat.seconds(rates, exact=True):,.1f}",
                f"{1000 * cells.seconds(rates, exact=False):,.0f}", f"{1 / cells.seconds(rates, exact=False):,.1f}",
            ])  # fmt: skip
    small = lines[0]
    asked = small["searches"]
    return [
        "## A search",
        "",
        f"Measured on this machine, one thread's processor time, medians: a vector is compared in {' and '.join(f'''{line['scan']['flat']:.0f} ns ({line['dim']:,} dimensions)''' for line in lines)} by FAISS's flat index; with 64 of 1,024 cells in {' and '.join(f'''{line['scan']['cells']:.1f}''' for line in lines)} ns for each vector that is there; the condition that a row belongs to a version and has a vector in {small['scan']['condition']:.1f} ns. Calculated: every node does that for its rows, on {NODE.processors} processors that together are {NODE.processors * cluster.SCALING:.0f} times as fast as one (assumed). On a busy machine such figures are good to a factor of two.",
        "",
        *_table(["passages", "dimensions", "millions a node", "segments a node", "exact, ms", "searches/s", "64 of 1,024 cells, ms", "searches/s"], rows),
        "The condition is a condition on every row, which cells do not spare: Stackroom asks for the rows of a version in every search. These are the times of idle nodes; a second replica doubles the searches a second, not the speed of one.",
        "",
        *_table(
            ["a search, measured", "requests, the first", "requests, the next", "of them strongly consistent", "waiting, s"],
            [
                [mode, f"{asked[mode]['first']['calls']}", f"{asked[mode]['next']['calls']}", f"{asked[mode]['next']['reads']}", f"{asked[mode]['next']['reads'] * cluster.TICK / 2:.1f}"]
                for mode in ("vector", "text", "hybrid")
            ],
        ),
        "*The first* is that of a new process, which knows nothing of the version; *the next* has other words. A strongly consistent read waits for the next time tick: 0.2 s at most, half of it in the mean (calculated). They are asked one after the other.",
        "",
    ]  # fmt: skip


def _pushes(lines: Sequence[dict[str, Any]]) -> list[str]:
    rows = []
    for size in SIZES:
        for line in lines:
            push = push_of(line)
            parts = push.seconds(size)
            total = sum(parts.values())
            rows.append([
                f"{size:,}", f"{line['dim']:,}", *(f"{parts[name] / DAY:,.1f}" for name in ("client", "wire", "reads", "names")),
                f"{total / DAY:,.0f}", f"{size / total:,.0f}", f"{size * line['push']['seconds'] / line['passages'] / DAY:,.0f}",
            ])  # fmt: skip
    line = lines[0]
    push = push_of(line)
    per_request = 64 * 2**20 / line["row bytes"]["chunks"]
    return [
        "## A first push",
        "",
        "One writer, one commit after the other, of up to 1,000 passages or 8 MB. In days:",
        "",
        *_table(["passages", "dimensions", "the client's processor", "the wire", "waiting for ticks", "changing names", "together", "passages/s", "at the rate of milvus-lite, one busy machine"], rows),
        f"*Measured*: the client's processor time, bytes, reads and changes of names of a passage. *Assumed*: that Milvus takes what is sent as fast as it comes; 1 GB/s; half a tick for each strongly consistent read; {cluster.CHANGE_OF_A_NAME} s for each collection that is made, renamed or dropped. The vectors are there: embedding is not in it. The proof reads everything once more: {line['proof']['received'] / line['passages'] / 1000:.1f} KB and {1000 * line['proof']['calls'] / line['passages']:.0f} requests for 1,000 passages, its 40 queries among them.",
        "",
        f"Milvus takes requests of 64 MB, which have room for {per_request:,.0f} such passages; Stackroom sends 500 rows or 4 MB at once, and the largest request had {line['largest request'] / 1e6:.1f} MB. So the limit of a request is far away, and what a push waits for is its own commits: {1e6 * (push.reads * cluster.TICK / 2 + push.names * cluster.CHANGE_OF_A_NAME) / 3600:,.1f} hours for a million passages, beside {1e6 * push.client / 3600:,.1f} of work.",
        "",
    ]  # fmt: skip


def _failures(by_dim: dict[int, dict[str, Any]]) -> list[str]:
    cases = [(dim, size) for size in SIZES for dim in (by_dim if size == SIZES[1] else [min(by_dim)])]
    kinds = (
        ("one node", 1, cluster.one, False), ("two at once", 1, cluster.two, False), ("a rack of four", 1, cluster.rack, False),
        ("one node", 2, cluster.one, False), ("two at once", 2, cluster.two, False), ("a rack of four", 2, cluster.rack, False),
        ("a rack of four, replicas apart", 2, cluster.rack, True),
    )  # fmt: skip
    rows = []
    for dim, size in cases:
        for name, replicas, loss, apart in kinds:
            layout = _layout(by_dim[dim], size, replicas=replicas)
            quick, slow = cluster.simulated(layout, loss, seed=SEED, times=TIMES, apart=apart, bandwidths=BANDWIDTHS)
            rows.append([
                f"{size:,}", f"{dim:,}", f"{replicas}", name, f"{mean(one.lost for one in quick):.0f} of {replicas * layout.nodes}",
                _share(quick), f"{mean(one.whole for one in quick):.0%}", f"{mean(one.loaded for one in quick) / 1e9:,.0f}",
                f"{mean(one.waited for one in quick):.0%}", _until(quick), _until(slow), f"{mean(one.restored for one in quick):,.0f}",
            ])  # fmt: skip
    return [
        "## A node fails, simulated",
        "",
        f"Segments of half of 1,024 MB of rows to all of it are placed by size on the node of their replica that holds least; then nodes are lost. After {cluster.LEASE:.0f} s Milvus takes them for lost, and loads what they held on others of the same replica that have room, or on new nodes, which are there after {cluster.REPLACED:.0f} s (assumed). Each loads one segment after the other, at 1 GB/s; a column has 0.25 GB/s beside it. Means of {TIMES} draws with the seed {SEED}, the worst in brackets. FLAT, all in memory.",
        "",
        *_table(
            ["passages", "dimensions", "replicas", "lost", "nodes", "segments nowhere", "a whole replica is left", "GB loaded again", "waited for new nodes", "searches fail for, s", "at 0.25 GB/s", "all replicas whole after, s"],
            rows,
        ),
        "A search is answered by one replica as a whole (assumed, as Milvus's shard leaders ask the nodes of their replica): where none is whole, it fails, also for segments that are somewhere. Until the lease is over, searches may be sent to the node that is gone, and fail or take long, with replicas as well.",
        "",
        "**Reports of real clusters are worse than that**, and older: see the sources. Plan with minutes, not with seconds, and try it: kill a query node while searches run.",
        "",
        "**What Stackroom does meanwhile.** A search for which no replica is whole is an error that says so (exit code 7), as far as Milvus says so: what it leaves out silently, nobody sees (a version of 2024 answered full-text searches with nothing for a while after a node was killed). A push waits 0.5, 1, 2, 4 and 8 s, from the beginning again whenever it got further, then it ends with the same error; what was committed stays, and the next run goes on there. So a recovery of minutes outlasts a push: run it again, by a timer. A writer that gives no sign of life for a minute loses its hold. Whoever has the library that was pushed can search that one meanwhile.",
        "",
    ]  # fmt: skip


def _share(outcomes: Sequence[Outcome]) -> str:
    shares = [one.unsearchable for one in outcomes]
    return f"{mean(shares):.1%} ({max(shares):.1%})" if max(shares) else "none"


def _until(outcomes: Sequence[Outcome]) -> str:
    seconds = [one.answers for one in outcomes]
    return f"{mean(seconds):,.0f} ({max(seconds):,.0f})" if max(seconds) else "0"


def _limits(by_dim: dict[int, dict[str, Any]]) -> list[str]:
    line = by_dim[min(by_dim)]
    push, n = push_of(line), line["passages"]
    billion = SIZES[1]
    documents = billion * line["documents"] / n
    rows = billion * line["rows"]["records"] / n
    commits = billion * line["later"]["commits"] / line["later"]["passages"]
    return [
        "## What breaks first",
        "",
        "In this order, as far as it can be told without a cluster; most of it is Stackroom's own design, not Milvus's.",
        "",
        f"1. **The proof's memory.** It reads the keys of all passages into the client, and keeps them in sets: {line['memory']['a key']:,.0f} bytes each while they are read, {line['memory']['a key'] * 1e7 / 1e9:,.1f} GB at ten million, {line['memory']['a key'] * billion / 1e9:,.0f} at a billion. Counts have to be asked of the engine (`count(*)`), and keys read in portions, by ranges.",
        f"2. **One writer, many small commits.** A billion passages are {commits / 1e6:.1f} million commits, each with strongly consistent reads and an empty collection that changes its name: {(push.reads * cluster.TICK / 2 + push.names * cluster.CHANGE_OF_A_NAME) * billion / DAY:,.0f} days of waiting, beside {push.client * billion / DAY:,.0f} of one processor's work. {documents * line['reads a source'] * cluster.TICK / 2 / DAY:,.0f} of these days are for sources: each new one is looked up by itself; in portions of a thousand names they would be minutes. A first push into a target that is empty needs one commit, with rows written by several processes, each under numbers of its own; better, Milvus's [bulk import](https://milvus.io/docs/import-data.md) of files that Stackroom writes. Until then: split what is large into several libraries, each with its own writer.",
        f"3. **The origin.** `push` reads from a library on one disk, {billion * 4 * line['dim'] / 1e12:.1f} TB of vectors alone at a billion, and every run compares all documents: {documents / 1e6:,.0f} million digests, of {line['memory']['a digest']:,.0f} bytes in the client, among {rows / 1e6:,.0f} million rows of `records` in one shard. Changes since the last run have to be found by the origin's versions, not by comparing everything.",
        "4. **A commit has 2^24 numbers**, for rows and keys. A push sends sources in portions of 10,000, and documents 1,000 passages at a time; any other commit that needs more is refused.",
        "5. **A commit lives in the client's memory.** That is 8 MB of a push, but all of an `add` or of a removal that is one commit: whoever removes a source of a million passages from an engine reads their rows for it. It takes a commit in portions that become true together.",
        f"6. **Waiting for consistency.** Each step of a search waits for a tick. Since a version never changes, all but the look at the newest version could be read with a bound that is already met (`Bounded`, or the timestamp of the version's own row): one wait a search in place of {line['searches']['hybrid']['next']['reads']}.",
        "7. **Exact statistics of words.** For each new version the passages with each word of a query are counted on all nodes, over all rows. With a commit a minute hardly anything is remembered. Counts could be kept by the writer, or be allowed to be as old as an hour.",
        "8. **Lists of numbers in queries.** The active set, sources and documents of a scope stand in a condition as numbers, and distinct values of a field are read once a version: fine for thousands, and 64 MB is the end. Sets would have to be fields of the rows, a partition key or a collection.",
        "9. **16,384 hits of words, 1,000 candidates for BM25.** A word that one passage of a hundred has is in ten million of a billion, and the 1,000 that are ranked are chosen among these by a weight that takes each passage for 150 words long. What is found stays good; it is no longer what a local library would find.",
        "10. **Versions.** Every row has two numbers that every search compares, and a change writes a row anew, where the old one stays for 25 hours. A library of which a tenth changes every day is a tenth larger than these tables say.",
        "",
        "What holds: a search without a filter and a commit read as many rows at any size; the number of a version and the ids of rows have room for 2^39 attempts of 2^24 rows; a reader never waits for the writer; rows of a stopped writer are seen by nobody.",
        "",
    ]  # fmt: skip


def _assumed() -> list[str]:
    return [
        "## What is assumed",
        "",
        "- A row is in memory as it is in the schema: 8 bytes for each INT64 and each word of a sparse vector, 4 for each INT32 and FLOAT, text as UTF-8, and Milvus's own row id and timestamp. Nothing is taken off for compression, in memory or in the object storage; nothing is added for allocators, growing segments, deletions and the filters of primary keys.",
        "- Indexes of numbers (INVERTED) are as large as what they index, beside it. The sparse vector's index is what is in memory of it. FLAT is the vectors; IVF_FLAT has the number of each and 1,024 centroids a segment besides.",
        "- A node's processors scan half as fast as their number says, and as fast each as one of this machine. Merging, the network and other searches take nothing.",
        f"- {cluster.BANDWIDTH / 1e9:.0f} GB/s from object storage to a node, and from the client to the cluster; {cluster.CHANGE_OF_A_NAME} s for a change of a collection's name; {cluster.REPLACED:.0f} s until a node has a successor; {cluster.RACKS} racks.",
        "- Other libraries are like this one: longer passages, more metadata or Chinese (a word for each pair of characters) take more. `status` and the first table give the scale.",
        "",
        "## Limits and reports, with their sources",
        "",
        *(f"- {what}: <{address}>" for what, address in SOURCES),
    ]  # fmt: skip
