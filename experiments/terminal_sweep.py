"""A sweep in a terminal: a line for each experiment as it ends, and the table of all.

Readable at 80 columns. Says with the report's words what the experiments hold.
"""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console

from experiments.console import line, table, text
from experiments.report import response, words
from experiments.sweep import Done

_STYLES: Final = {"better": "bold green", "worse": "bold red", "void": "bold red"}
_NARROW: Final = 100


def print_done(console: Console, done: Done, number: int, total: int, seconds: float) -> None:
    """Print one experiment when it is there.

    Args:
        console: where to.
        done: the experiment.
        number: its place among all.
        total: how many there are.
        seconds: it took; of one that was found again, nothing is said of time.
    """
    primary = done.results["analysis"]["primary"]
    effects = [
        f"{row['treatment']} {words.percent(row['lift'])} ({words.interval(row['lift_ci'])}), "
        f"{words.decide(done.results, row)}"
        for row in done.results["comparisons"]
        if row["metric"] == primary
    ]
    took = "found again" if done.found else f"{seconds:.0f} s"
    head = f"[{number:>{len(str(total))}}/{total}] {done.point.words}: {'; '.join(effects)}, {took}"
    console.print(text(console, head), soft_wrap=True, highlight=False)


def print_sweep(console: Console, sweep: Mapping[str, Any]) -> None:
    """Print all experiments of a sweep, with the primary metric of each.

    Args:
        console: where to.
        sweep: the contents of ``sweep.json``.
    """
    console.print()
    line(console, f"{sweep['name']}: {words.title(sweep, sweep['primary'])}", "bold")
    narrow = console.width < _NARROW
    shown = table()
    for axis in sweep["axes"]:
        shown.add_column(text(console, response.short(sweep, axis["key"])), overflow="fold")
    several = len({row["treatment"] for row in sweep["curves"]}) > 1
    for head in ("seed", *(["arm"] if several else [])):
        shown.add_column(head, justify="left", overflow="fold")
    for head in ("lift\n[interval]",) if narrow else ("lift", "[interval]"):
        shown.add_column(head, justify="right", no_wrap=True)
    shown.add_column("truth", justify="right", no_wrap=True)
    shown.add_column("verdict")
    for point in sweep["points"]:
        for row in point["comparisons"]:
            if row["metric"] != sweep["primary"]:
                continue
            lift, interval = words.percent(row["lift"]), f"[{words.interval(row['lift_ci'])}]"
            truth = (row["truth"] or {}).get("lift")
            shown.add_row(
                *(text(console, words.configured(point["values"][axis["key"]])) for axis in sweep["axes"]),
                str(point["seed"]),
                *([text(console, row["treatment"])] if several else []),
                *(text(console, each) for each in ([f"{lift}\n{interval}"] if narrow else [lift, interval])),
                text(console, words.percent(truth)),
                text(console, row["decision"], _STYLES.get(row["decision"], "dim")),
            )
    console.print(shown)
