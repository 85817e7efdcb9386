"""A comparison of runs in a terminal: one table, metric by metric, and what must be known before reading it.

Readable at 80 columns. Says with the report's words what the runs hold; does not know how it came about.
"""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console

from experiments.console import line, table, text
from experiments.report import beside, pareto, words

_STYLES: Final = {"better": "bold green", "worse": "bold red", "void": "bold red"}
_NARROW: Final = 100


def print_comparison(console: Console, comparison: Mapping[str, Any]) -> None:
    """Print runs and their arms beside each other.

    Args:
        console: where to.
        comparison: as ``compare_runs`` gives it.
    """
    for caution in comparison["cautions"]:
        line(console, caution)
    for run in comparison["runs"]:
        arms = "; ".join(_arm_words(name, arm) for name, arm in run["arms"].items())
        line(console, f"{run['label']}: {arms}", "dim")
    console.print()
    shown = table()
    shown.add_column("metric, run and arm", ratio=1, overflow="fold")
    narrow = console.width < _NARROW
    for head in ("lift\n[interval]",) if narrow else ("lift", "[interval]"):
        shown.add_column(head, justify="right", no_wrap=True)
    for head in ("p adj.", "truth"):
        shown.add_column(head, justify="right", no_wrap=True)
    shown.add_column("verdict")
    for metric in beside.metrics(comparison):
        unit = words.unit(comparison, metric)
        shown.add_row(text(console, words.title(comparison, metric), "bold"))
        for row in comparison["rows"]:
            if row["metric"] != metric:
                continue
            lift, interval = beside.effect_words(row, unit)
            estimate = [f"{lift}\n[{interval}]"] if narrow else [lift, f"[{interval}]"]
            shown.add_row(
                text(console, f"  {beside.name(comparison, row)}"),
                *(text(console, each) for each in estimate),
                text(console, beside.p_words(row)),
                text(console, beside.truth_words(row, unit)),
                text(console, row["decision"], _STYLES.get(row["decision"], "dim")),
            )
    console.print(shown)
    if pareto.present(comparison):
        console.print()
        across = pareto.axes(comparison)[0]
        primary = words.title(comparison, comparison["primary"])
        line(console, f"{primary} against {pareto.title(comparison, across)}: {pareto.sentence(comparison, across)}")


def _arm_words(name: str, arm: Mapping[str, Any]) -> str:
    settings = words.params(arm["params"])
    policy = f" {arm['policy']}" if arm["policy"] else ""
    return f"{name}{policy} ({settings})" if settings else f"{name}{policy}"
