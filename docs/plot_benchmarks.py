"""Draw what `python -m benchmarks --json docs/recorded/benchmarks.json` found: `python docs/plot_benchmarks.py`.

Writes the plots `docs/benchmarks-*.svg` and the tables in docs/benchmarks.md. With --check it only compares the tables.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
SOURCE: Final = HERE / "recorded" / "benchmarks.json"
TARGET: Final = HERE / "benchmarks.md"
BEGIN: Final = "<!-- begin: written by docs/plot_benchmarks.py -->\n"
END: Final = "<!-- end: written by docs/plot_benchmarks.py -->\n"

OURS: Final = "#0b6e99"
PEER: Final = "#c2571a"
THIRD: Final = "#777777"
GOAL: Final = "#222222"

GROWTH: Final = {
    "a string in segments of 1,460 bytes": "KB",
    "small messages in one buffer": "MB",
    "two lists in one buffer": "elements",
}

Figure = dict[str, Any]


def short(value: float) -> str:
    """Return a number with three digits that count, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}".rstrip(".")


# -- the tables


def page(report: dict[str, Any]) -> str:
    """Return the generated part of the page."""
    machine, load = report["machine"], report["load"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines = [
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gb']} GB, {machine['system']}, Python"
        f" {machine['python']}; {packages}; {', '.join(machine['peers'])}. {report['options']['runs']} runs in turns,"
        f" medians, {report['seconds'] // 60} minutes. Load average before: {load['before']}, after: {load['after']}.",
        "",
        "| # | Work | Unit | Medians | Ratio | Goal | |",
        "|---|---|---|---|---|---|---|",
        *(line for figure in report["figures"] if not _is_step_of_growth(figure) for line in _lines(figure)),
        "",
    ]
    return "\n".join(lines)


def _is_step_of_growth(figure: Figure) -> bool:
    """One of many sizes; they are in the plot."""
    return figure["row"] == 3 and not figure["comparisons"]


def _lines(figure: Figure) -> Iterator[str]:
    medians = "; ".join(f"{who} {short(value)}" for who, value in figure["medians"].items())
    for number, comparison in enumerate(figure["comparisons"]):
        name = comparison["over"] + (f" / {comparison['under']}" if comparison["under"] else "")
        first = (figure["row"], figure["work"], figure["unit"], medians) if number == 0 else ("",) * 4
        cells = (*first, f"{name}: {short(comparison['value'])}", _goal(comparison), _verdict(comparison))
        yield "| " + " | ".join(map(str, cells)) + " |"


def _goal(comparison: dict[str, Any]) -> str:
    bounds = (("at least", comparison["least"]), ("at most", comparison["most"]))
    return ", ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


def _verdict(comparison: dict[str, Any]) -> str:
    value, least, most = comparison["value"], comparison["least"], comparison["most"]
    if comparison["met"] is None:
        return ""
    if least is not None and value < least:
        return f"**not met**: {short(least / value)} x too little"
    if most is not None and value > most:
        return f"**not met**: {short(value / most)} x too much"
    return "met"


# -- the plots


def overview(plt: Any, figures: Sequence[Figure]) -> Any:
    """Every goal that is so many times less than a peer: how many times it is."""
    rows = [
        (f"{figure['row']}  {figure['work']}", comparison)
        for figure in figures
        for comparison in figure["comparisons"]
        if comparison["least"] is not None and comparison["under"] is not None
    ][::-1]
    drawing, axes = plt.subplots(figsize=(9, 0.28 * len(rows) + 1.1))
    for place, (_, comparison) in enumerate(rows):
        axes.barh(place, comparison["value"], color=OURS if comparison["met"] else PEER, height=0.65)
        axes.plot([comparison["least"]] * 2, [place - 0.42, place + 0.42], color=GOAL, linewidth=2)
        axes.text(
            max(comparison["value"], comparison["least"]) * 1.08,
            place,
            short(comparison["value"]),
            va="center",
            fontsize=7,
        )
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=7)
    axes.set_xscale("log")
    axes.set_xlim(left=0.2)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.axvline(1, color=THIRD, linewidth=0.8)
    axes.set_xlabel("times less than the peer (black: the goal; blue: met)")
    return drawing


def growth(plt: Any, figures: Sequence[Figure]) -> Any:
    """Row 3: time over size."""
    drawing, places = plt.subplots(1, len(GROWTH), figsize=(10, 3.4))
    for axes, (name, unit) in zip(places, GROWTH.items(), strict=True):
        found = [figure for figure in figures if figure["row"] == 3 and figure["work"].endswith(f"{unit}: {name}")]
        for who, colour in (("ours", OURS), ("Twisted", PEER)):
            points = [(figure["size"], figure["medians"][who]) for figure in found if who in figure["medians"]]
            axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=3, label=who)
        axes.set(xscale="log", yscale="log", xlabel=unit, ylabel="CPU ms" if axes is places[0] else "")
        ends = [found[0]["size"], found[-1]["size"]]
        axes.set_xticks(ends, [short(size) for size in ends])
        axes.minorticks_off()
        axes.set_title(name, fontsize=9)
    places[0].legend(frameon=False)
    return drawing


def many_slaves(plt: Any, figures: Sequence[Figure]) -> Any:
    """Row 7: costs over the number of slaves."""
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure["row"] == 7 and figure["size"] is not None:
            found.setdefault(figure["work"].partition(": ")[2], []).append(figure)
    drawing, places = plt.subplots(1, len(found), figsize=(3 * len(found), 3.2))
    for axes, (name, series) in zip(places, found.items(), strict=True):
        sizes = [figure["size"] for figure in series]
        for who, colour in (("ours", OURS), ("Twisted PB", PEER)):
            axes.plot(sizes, [figure["medians"][who] for figure in series], color=colour, marker="o", label=who)
        if (goal := series[0]["comparisons"][0]["least"]) is not None:
            goals = [figure["medians"]["Twisted PB"] / goal for figure in series]
            axes.plot(sizes, goals, color=GOAL, linestyle=":", label="goal")
        axes.set(xscale="log", xlabel="slaves", xticks=sizes, xticklabels=sizes)
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_title(f"{name},\n{series[0]['unit']}", fontsize=8)
    # Room for it above the lines.
    places[0].set_ylim(top=places[0].get_ylim()[1] * 1.5)
    places[0].legend(frameon=False, fontsize=8, loc="upper left")
    return drawing


def log_lines(plt: Any, figures: Sequence[Figure]) -> Any:
    """Row 5: three pairs of programs."""
    found = [figure for figure in figures if figure["row"] == 5]
    drawing, places = plt.subplots(1, len(found), figsize=(3 * len(found), 2.4), sharey=True)
    for axes, figure in zip(places, found, strict=True):
        names = list(figure["medians"])[::-1]
        values = [figure["medians"][name] for name in names]
        axes.barh(range(len(names)), values, color=[OURS, THIRD, PEER])
        for place, value in enumerate(values):
            axes.text(value, place, f" {short(value)}", va="center", fontsize=8)
        comparison = figure["comparisons"][0]
        if comparison["least"] is not None:
            axes.axvline(figure["medians"][comparison["over"]] / comparison["least"], color=GOAL, linestyle=":")
        elif comparison["most"] is not None:
            axes.axvline(comparison["most"], color=GOAL, linestyle=":")
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.margins(x=0.25)
        axes.set_title(f"{figure['work'].partition(': ')[2]}, {figure['unit']}", fontsize=9)
    return drawing


PLOTS: Final[dict[str, Callable[[Any, Sequence[Figure]], Any]]] = {
    "overview": overview,
    "growth": growth,
    "log-lines": log_lines,
    "many-slaves": many_slaves,
}


def draw(figures: Sequence[Figure]) -> None:
    """Write all plots."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    # Text stays text, and the same figures give the same file.
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "slaveproto", "font.size": 9})
    for name, plot in PLOTS.items():
        drawing = plot(plt, figures)
        for axes in drawing.axes:
            axes.spines[["top", "right"]].set_visible(False)
        drawing.tight_layout()
        drawing.savefig(HERE / f"benchmarks-{name}.svg", metadata={"Date": None})


def main() -> int:
    """Write, or compare; returns the exit code."""
    report = json.loads(SOURCE.read_text())
    before, _, rest = TARGET.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    text = before + BEGIN + page(report) + END + after
    if "--check" in sys.argv[1:]:
        if TARGET.read_text() != text:
            print(f"{TARGET.name} does not show what {SOURCE.name} says: run docs/plot_benchmarks.py", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text)
    draw(report["figures"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
