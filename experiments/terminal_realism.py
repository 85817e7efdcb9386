"""A realism scorecard in a terminal: every row beside its noise, and in the end the two worst.

Readable at 80 columns. Says with the report's words what ``realism.json`` holds.
"""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from experiments.console import line, table, text
from experiments.report import realism_words as told


def print_realism(console: Console, found: Mapping[str, Any]) -> None:
    """Print a scorecard.

    Args:
        console: where to.
        found: the contents of ``realism.json``.
    """
    line(console, f"realism of {found['name']}", "bold")
    line(console, told.subject(found))
    line(console, told.caution(found), "dim")
    console.print()
    shown = table()
    shown.add_column("row", overflow="fold")
    for head in ("", "distance", "floor", "95% below", "times floor"):
        shown.add_column(head, justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    for row in found["rows"]:
        mark, style = ("", "") if row["within_noise"] else ("*", "bold")
        shown.add_row(
            text(console, row["title"]),
            row["measure"],
            told.distance(row["distance"]),
            told.distance(row["floor"]),
            told.distance(row["floor_high"]),
            text(console, told.ratio(row["ratio"]), style),
            text(console, mark, style),
        )
    console.print(shown)
    line(console, "*: further apart than 19 of 20 floors", "dim")
    console.print()
    totals = table()
    for number, head in enumerate(told.totals(found).heads):
        totals.add_column(head.lower(), justify="left" if number == 0 else "right")
    for cells in told.totals(found).rows:
        totals.add_row(*(text(console, cell) for cell in cells))
    console.print(totals)
    for sentences in (told.two_sample(found), told.calibrations(found), told.alone(found)):
        console.print()
        for sentence in sentences:
            line(console, sentence)
    console.print()
    for sentence in told.worst(found):
        line(console, sentence, "bold")
