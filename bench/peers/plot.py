"""Each store's figures as dots on logarithmic scales, the smallest first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PANELS = (
    ("search median", "Search", "ms"),
    ("five median", "Search in five active documents", "ms"),
    ("words median", "Search for words", "ms"),
    ("add median", "Add a document of 240 passages", "ms"),
    ("answer process", "Process start to ten printed hits", "s"),
    ("open anon", "Memory that can't be given back", "MB"),
    ("build bytes", "Disk", "MB"),
    ("build seconds", "Build", "s"),
)
_SCALE = {"ms": 1e3, "s": 1.0, "MB": 1e-6}
_OURS, _PEER, _LESS, _TEXT, _LINE = "#c2410c", "#334155", "#94a3b8", "#0f172a", "#e2e8f0"
_ROW, _COLUMNS, _WIDTH = 0.2, 2, 9.6


def draw(
    path: Path, title: str, figures: Mapping[str, Mapping[str, float]], notes: Mapping[str, Mapping[str, str]]
) -> bool:
    """False where matplotlib is missing. `notes`: what a store gives less of, by figure; its dot is hollow there."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "peers", "font.size": 8, "font.family": "DejaVu Sans"})
    from matplotlib import pyplot

    panels = [panel for panel in PANELS if any(panel[0] in values for values in figures.values())]
    dots = [sum(name in values for values in figures.values()) for name, _, _ in panels]
    rows = [max(dots[at : at + _COLUMNS]) for at in range(0, len(dots), _COLUMNS)]
    height = 0.6 + sum(0.6 + _ROW * row for row in rows)
    sheet, fields = pyplot.subplots(
        len(rows), _COLUMNS, figsize=(_WIDTH, height), squeeze=False, facecolor="white", height_ratios=rows
    )
    for field in fields.flat[len(panels) :]:
        field.remove()
    for number, (field, (name, label, unit)) in enumerate(zip(fields.flat, panels, strict=False)):
        found = sorted(
            (max(values[name], 1e-9) * _SCALE[unit], store) for store, values in figures.items() if name in values
        )
        _panel(
            field,
            f"{label}, {unit}",
            found,
            {store: notes[store].get(name, "") for _, store in found},
            rows[number // _COLUMNS],
        )
    top = 1 - 0.3 / height
    sheet.text(0.012, top, f"{title}: less is better", fontsize=11, fontweight="bold", color=_TEXT, va="center")
    sheet.text(0.988, top, "scales are logarithmic   \u25cb gives less than Stackroom here: the note says what",
               fontsize=8, color=_PEER, ha="right", va="center")  # fmt: skip
    sheet.tight_layout(rect=(0, 0, 1, 1 - 0.5 / height), h_pad=1.6, w_pad=2.0)
    sheet.savefig(path, metadata={"Date": None})
    pyplot.close(sheet)
    return True


def _panel(field: Any, title: str, found: list[tuple[float, str]], notes: Mapping[str, str], most: int) -> None:
    smallest, largest = found[0][0], found[-1][0]
    left, right = smallest / 1.6, largest * max(4.0, (largest / smallest) ** 0.55)
    for place, (value, store) in enumerate(found):
        ours = store == "Stackroom"
        colour = _OURS if ours else _LESS if notes[store] else _PEER
        field.plot([left, value], [place, place], color=_LINE, linewidth=1.6, zorder=1, solid_capstyle="butt")
        field.plot(
            [value], [place], marker="o", markersize=6 if ours else 5, color=colour, zorder=2,
            markerfacecolor="white" if notes[store] else colour, markeredgewidth=1.4,
        )  # fmt: skip
        shown = f"{value:,.2f}" if value < 1 else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
        weight = "bold" if ours else "normal"
        field.annotate(
            shown + (f"  {notes[store]}" if notes[store] else ""), (value, place), xytext=(7, 0), textcoords="offset points",
            va="center", fontsize=7.5, color=_OURS if ours else _PEER, fontweight=weight,
        )  # fmt: skip
    field.set_xscale("log")
    field.set_xlim(left, right)
    field.set_ylim(most - 0.4, -0.6)
    field.set_yticks(range(len(found)), [store for _, store in found])
    for text in field.get_yticklabels():
        ours = text.get_text() == "Stackroom"
        text.set(color=_OURS if ours else _TEXT, fontweight="bold" if ours else "normal")
    field.xaxis.set_visible(False)
    field.tick_params(axis="y", length=0)
    field.set_title(title, loc="left", fontsize=9, color=_TEXT, fontweight="bold")
    for edge in field.spines.values():
        edge.set_visible(False)
