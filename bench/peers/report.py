"""The page that shows what `run.py` measured: a table for each size, and plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Figures = Mapping[tuple[int, str], Mapping[str, Any]]


def _milliseconds(value: float) -> str:
    return f"{value * 1000:,.1f}" if value < 0.1 else f"{value * 1000:,.0f}"


def _seconds(value: float) -> str:
    return f"{value:,.2f}" if value < 10 else f"{value:,.0f}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f}"


ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("process start to ten printed hits, s", "answer process", _seconds),
    ("open, ms", "open open", _milliseconds),
    ("open and the first ten hits, ms", "open first", _milliseconds),
    ("search, ms", "search median", _milliseconds),
    ("the 99th of 100, ms", "search p99", _milliseconds),
    ("recall@10", "search recall", lambda value: f"{value:.3f}"),
    ("search in five documents, ms", "five median", _milliseconds),
    ("recall@10 in them", "five recall", lambda value: f"{value:.3f}"),
    ("search by three words, ms", "words median", _milliseconds),
    ("add a document of 240 passages, ms", "add median", _milliseconds),
    ("the slowest but one of a hundred, ms", "add p99", _milliseconds),
    ("remove it, ms", "remove median", _milliseconds),
    ("syncs to disk for one added", "syncs syncs", lambda value: f"{value:.0f}"),
    ("memory that can't be given back, MB", "open anon", _megabytes),
    ("disk, MB", "build bytes", _megabytes),
    ("build, s", "build seconds", _seconds),
)

PLOTS = (
    ("search median", "search, ms", 1000.0),
    ("five median", "search in five documents, ms", 1000.0),
    ("answer process", "process start to ten hits, s", 1.0),
    ("add median", "add a document, ms", 1000.0),
    ("open anon", "memory, MB", 1e-6),
    ("build bytes", "disk, MB", 1e-6),
)


def page(path: Path, machine: str, figures: Figures, about: Mapping[str, tuple[str, str]], dim: int) -> None:
    sizes = sorted({size for size, _ in figures})
    lines = [
        "# Stackroom beside others",
        "",
        f"Made by `bench/peers/run.py`: synthetic passages of about 2 KB with metadata, {dim:,} dimensions, 240 a document; every store through its documented "
        "use, in a process of its own, on one thread. Each figure is a median over processes that took turns. A search hands out text and metadata of ten hits. The five documents "
        "are others than those that hold the ten best of all. Recall is of an exact search in float64. *Syncs* are the calls that ask the disk to keep what was "
        "written, while a process opens, adds a document and closes; without one, a power cut can take what was added. Memory is RssAnon after a hundred searches, above that after the imports. "
        f"A gap under 2x is noise on a busy machine. {machine}.",
        "",
        "An empty field: the store has no way to do it.",
    ]
    for size in sizes:
        stores = [store for store in about if (size, store) in figures]
        lines += ["", f"## {size:,} passages", ""]
        lines += ["| | " + " | ".join(about[store][0] for store in stores) + " |", "|---" * (len(stores) + 1) + "|"]
        for label, name, shown in ROWS:
            values = [figures[size, store].get(name) for store in stores]
            if any(value is not None for value in values):
                lines.append(
                    f"| {label} | " + " | ".join("" if value is None else shown(value) for value in values) + " |"
                )
        failed = [
            f"- {about[store][0]}: {text}"
            for store in stores
            for name, text in figures[size, store].items()
            if name.endswith("error")
        ]
        lines += ["", "What failed:", "", *failed] if failed else []
        picture = path.with_name(f"{path.stem}-{size}.svg")
        if _plot(picture, {about[store][0]: figures[size, store] for store in stores}):
            lines += ["", f"![Bars of the table above, on a logarithmic scale]({picture.name})"]
    lines += ["", "## What they give up", ""]
    lines += [f"- {name}: {remarks}." for name, remarks in about.values() if remarks]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _recall(values: Mapping[str, Any], name: str) -> str:
    """Beside a store that finds less than the exact search does: how much."""
    recall = values.get(name.replace("median", "recall"), 1.0)
    return f" (finds {recall:.0%})" if recall < 0.99 else ""


def _plot(path: Path, figures: Mapping[str, Mapping[str, Any]]) -> bool:
    """Bars, shortest first, on a logarithmic scale. False where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "peers", "font.size": 8, "svg.fonttype": "none"})
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    grid, fields = pyplot.subplots(2, 3, figsize=(11, 6.2))
    for field, (name, label, scale) in zip(fields.flat, PLOTS, strict=True):
        found = sorted(
            (values[name] * scale, store + _recall(values, name)) for store, values in figures.items() if name in values
        )
        colours = ["#c2410c" if store == "Stackroom" else "#94a3b8" for _, store in found]
        field.barh([store for _, store in found], [value for value, _ in found], color=colours)
        field.set_xscale("log")
        field.xaxis.set_minor_formatter(NullFormatter())
        field.invert_yaxis()
        field.set_title(label, loc="left", fontsize=9)
        for edge in ("top", "right"):
            field.spines[edge].set_visible(False)
        for place, (value, _) in enumerate(found):
            field.text(
                value * 1.08, place, f"{value:,.1f}" if value < 100 else f"{value:,.0f}", va="center", fontsize=7
            )
    grid.tight_layout()
    grid.savefig(path, metadata={"Date": None})
    pyplot.close(grid)
    return True
