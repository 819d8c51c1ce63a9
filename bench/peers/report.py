"""The page that shows what `run.py` measured: for each collection tables with stores as rows, what was better than Stackroom, and a plot."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import plot
from peer import Store

import machine

OURS = "stackroom"
BETTER = 0.5
"""Nearer to each other is noise on a busy machine."""

Line = Mapping[str, Any]


def _milliseconds(value: float) -> str:
    return f"{value * 1000:,.1f}" if value < 0.1 else f"{value * 1000:,.0f}"


def _seconds(value: float) -> str:
    return f"{value:,.2f}" if value < 10 else f"{value:,.0f}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f}"


def _share(value: float) -> str:
    return f"{value:.3f}"


def _whole(value: float) -> str:
    return f"{value:.0f}"


class Column(NamedTuple):
    label: str
    figure: str
    shown: Callable[[float], str]


class Table(NamedTuple):
    title: str
    guarantee: str
    """the attribute of Store that says what stands behind these figures"""

    columns: tuple[Column, ...]


SEARCHING = Table(
    "Searching",
    "finds",
    (
        Column("search, ms", "search median", _milliseconds),
        Column("99th of 100, ms", "search p99", _milliseconds),
        Column("recall@10", "search recall", _share),
        Column("in five documents, ms", "five median", _milliseconds),
        Column("recall@10 there", "five recall", _share),
        Column("for words, ms", "words median", _milliseconds),
        Column("agrees with BM25 over words", "words recall", _share),
        Column("over stems", "words stems", _share),
    ),
)
TABLES = (
    SEARCHING,
    Table(
        "Starting and keeping",
        "keeps",
        (
            Column("start to ten printed hits, s", "answer process", _seconds),
            Column("open, ms", "open open", _milliseconds),
            Column("open and ten hits, ms", "open first", _milliseconds),
            Column("memory, MB", "open anon", _megabytes),
            Column("threads", "open threads", _whole),
            Column("disk, MB", "build bytes", _megabytes),
            Column("build, s", "build seconds", _seconds),
        ),
    ),
    Table(
        "Changing",
        "changes",
        (
            Column("add 240 passages, ms", "add median", _milliseconds),
            Column("99th of 100, ms", "add p99", _milliseconds),
            Column("remove them, ms", "remove median", _milliseconds),
            Column("99th of 100, ms", "remove p99", _milliseconds),
            Column("syncs for one added", "add-one syncs", _whole),
        ),
    ),
)
NO_RATIO = (_share, _whole)

Figures = dict[str, dict[str, float]]
"""of a store, by the name of a figure"""


class Found(NamedTuple):
    """What was measured on one collection."""

    size: int
    dim: int
    medians: Figures
    ratios: Figures
    """to Stackroom's figure in the same pair"""

    errors: list[tuple[str, str, str]]


def page(path: Path, lines: Sequence[Line], stores: Mapping[str, type[Store]]) -> None:
    sets: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        sets[line["set"]].append(line)
    found = {name: _found(several) for name, several in sorted(sets.items(), key=lambda item: item[1][0]["size"])}
    synthetic = {name: one for name, one in found.items() if name.isdigit()}
    text = [
        "# Stackroom beside others",
        "",
        f"Made by `make bench-peers`, from {path.stem}.jsonl. Every store is used as its documentation says, in the releases that [requirements.txt](../../bench/peers/requirements.txt) pins, on the same passages and vectors, each measurement in "
        "a process of its own. A store and Stackroom take turns. A figure is the median of the processes; in brackets, the median of its ratios to Stackroom in the same turn: 2.0× took twice as long or as much. "
        f"**Bold**: half of Stackroom's or less; a gap below that is noise on a busy machine. {machine.described(list(lines))}.",
        "",
        "- What asks questions has one core, and so one thread at a time, whatever pools a store keeps. Where it has a setting for one thread, that is set: OMP_NUM_THREADS and OPENBLAS_NUM_THREADS (FAISS, txtai, numpy), `threads=1` (usearch), "
        "`max_search_threads=1` (qdrant-edge), `query_threads=1` (zvec), LANCE_CPU_THREADS, LANCE_IO_THREADS and TOKIO_WORKER_THREADS (LanceDB), RAYON_NUM_THREADS and TOKIO_WORKER_THREADS (Chroma). *Threads* counts those of the process after its searches. Building and changing may use all cores.",
        "- A search hands out text and metadata of ten hits, for a vector that is at hand. Recall is of the exact search in float64.",
        "- *In five documents*: those documents alone are active, and none of them holds any of the ten best of all. The recall there is of the ten best in them.",
        "- *Agrees with BM25*: the share of ten hits that score as well as the tenth best of an exact BM25 (k1 1.2, b 0.75, no stop words) over the same texts, once over words as they stand, once over their stems (Porter). Other weights of frequent words (those of FTS5, which Stackroom has too), stop words, and other ways to cut text into words lower it. A store keeps words or stems; the higher figure says how alike the answers are whose times are compared.",
        "- *Memory* can't be given back (RssAnon): after all searches, above that after the imports. *Syncs* ask the disk to keep what was written, while a process opens, adds a document and closes; with none, a power cut can take what was added.",
        "- With fewer than a hundred questions or changes, *99th of 100* is the slowest; a store makes changes for 20 seconds at most.",
        "- An empty field: the store has no way to do it. The last column says what stands behind the figures.",
        "- A store that took a minute for a stage has no more rounds of it: LlamaIndex's SimpleVectorStore was opened once for each stage. [dropin.md](dropin.md) has it at 1,000 and 100,000 passages.",
    ]
    for name, one in synthetic.items():
        title = f"{one.size:,} synthetic passages, {one.dim:,} dimensions"
        about = "About 2 KB of text with metadata each, in documents of 240; 96 latent dimensions and noise; questions of three words."
        text += [*_section(title, about, path, name, one, TABLES, stores)]
    for name, one in found.items():
        if name not in synthetic:
            title = f"Real passages: {name}, {one.size:,} of {one.dim:,} dimensions"
            about = "Texts that people wrote, embedded with Stackroom's default model; questions likewise, which are searched for by meaning and by all of their words."
            text += [*_section(title, about, path, name, one, (SEARCHING,), stores)]
    if len(synthetic) == len(found):
        text += ["", "Real passages were not measured: `make bench-peers DATA=...` names some."]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def _section(
    title: str,
    about: str,
    path: Path,
    name: str,
    one: Found,
    tables: Sequence[Table],
    stores: Mapping[str, type[Store]],
) -> Iterator[str]:
    yield from ("", f"## {title}", "", about)
    picture = path.with_name(f"{path.stem}-{name}.svg")
    names = {store: kind.name for store, kind in stores.items() if store in one.medians}
    notes = {store: _less(one.medians[store], stores[store]) for store in names}
    drawn = {column.figure for table in tables for column in table.columns}
    figures = {
        shown: {figure: value for figure, value in one.medians[store].items() if figure in drawn}
        for store, shown in names.items()
    }
    heading = f"{'' if name.isdigit() else f'{name}: '}{one.size:,} passages, {one.dim:,} dimensions"
    if plot.draw(picture, heading, figures, {names[store]: notes[store] for store in names}):
        yield from ("", f"![Each store's figures, sorted, on logarithmic scales]({picture.name})")
    for table in tables:
        columns = [column for column in table.columns if any(column.figure in one.medians[store] for store in names)]
        if not columns:
            continue
        yield from ("", f"### {table.title}", "")
        yield "| | " + " | ".join(column.label for column in columns) + " | |"
        yield "|---" * (len(columns) + 2) + "|"
        for store, shown in names.items():
            cells = [_cell(one, store, column) for column in columns]
            yield f"| {shown} | " + " | ".join(cells) + f" | {getattr(stores[store], table.guarantee)} |"
    better = list(_better(one, names, notes, tables))
    if better:
        yield from ("", "### Better than Stackroom", "", *better)
    if one.errors:
        yield from ("", "### What failed", "")
        yield from (f"- {stores[store].name}, {stage}: {error}" for store, stage, error in one.errors)


def _cell(one: Found, store: str, column: Column) -> str:
    value = one.medians[store].get(column.figure)
    if value is None:
        return ""
    ratio = one.ratios.get(store, {}).get(column.figure)
    if ratio is None or column.shown in NO_RATIO:
        return column.shown(value)
    text = f"{column.shown(value)} ({_ratio(ratio)})"
    return f"**{text}**" if ratio <= BETTER else text


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 1 else f"{ratio:.1f}×" if ratio < 10 else f"{ratio:,.0f}×"


def _better(
    one: Found, names: Mapping[str, str], notes: Mapping[str, Mapping[str, str]], tables: Sequence[Table]
) -> Iterator[str]:
    for column in [column for table in tables for column in table.columns if column.shown not in NO_RATIO]:
        ahead = sorted(
            (one.ratios[store][column.figure], store)
            for store in names
            if one.ratios.get(store, {}).get(column.figure, 1.0) <= BETTER
        )
        if ahead:
            said = [
                f"{names[store]} {column.shown(one.medians[store][column.figure])} ({'; '.join(filter(None, (_ratio(ratio), notes[store].get(column.figure))))})"
                for ratio, store in ahead
            ]
            yield f"- {column.label} (Stackroom {column.shown(one.medians[OURS][column.figure])}): {', '.join(said)}."


def _less(figures: Mapping[str, float], store: type[Store]) -> dict[str, str]:
    """By figure, what a store gives less of there than an exact, synced store with an index of words does."""
    found: dict[str, list[str]] = defaultdict(list)

    def note(text: str, *names: str) -> None:
        for name in names:
            found[name].append(text)

    for kind, names in (
        ("search", ("search median", "search p99", "open first", "answer process")),
        ("five", ("five median",)),
    ):
        recall = figures.get(f"{kind} recall", 1.0)
        if recall < 0.99:
            note(f"finds {recall:.0%}", *names)
    agreed = max(figures.get("words recall", 1.0), figures.get("words stems", 0.0))
    if agreed < 0.8:
        note(f"{agreed:.0%} as BM25", "words median")
    if not store.lossless:
        note("vectors changed", "build bytes", "build seconds")
    if store.matching is Store.matching:
        note("no words", "build bytes", "build seconds", "add median", "add p99", "remove median", "remove p99")
    if not store.synced:
        note("not synced", "add median", "add p99", "remove median", "remove p99")
    return {name: ", ".join(said) for name, said in found.items()}


def _found(lines: Sequence[Line]) -> Found:
    medians: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    ratios: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    turns: dict[tuple[str, str, int], dict[str, dict[str, float]]] = defaultdict(dict)
    errors: dict[tuple[str, str, str], None] = {}
    for line in lines:
        store, stage = line["store"], line["stage"]
        if "error" in line:
            errors[store, stage, line["error"]] = None
            continue
        figures = _flat(line)
        turns[line["pair"], stage, line["round"]][store] = figures
        for name, value in figures.items():
            medians[store][name].append(value)
    for (peer, _, _), turn in turns.items():
        ours = turn.get(OURS, {})
        for name, value in turn.get(peer, {}).items():
            if peer != OURS and ours.get(name, 0) > 0:
                ratios[peer][name].append(value / ours[name])
    size, dim = lines[0]["size"], lines[0]["dim"]
    return Found(size, dim, _medians(medians), _medians(ratios), list(errors))


def _flat(line: Line) -> dict[str, float]:
    stage, found = line["stage"], {}
    for name, value in line.items():
        if isinstance(value, dict):
            found |= {f"{name} {inner}": number for inner, number in value.items()}
        elif isinstance(value, int | float) and name not in ("size", "dim", "round", "added"):
            found[f"{stage} {name}"] = value
    return found


def _medians(figures: Mapping[str, Mapping[str, Sequence[float]]]) -> Figures:
    return {
        store: {name: statistics.median(values) for name, values in several.items()}
        for store, several in figures.items()
    }
