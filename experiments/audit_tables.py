"""An audit in a terminal: the scorecard's methods, reading every day, and what else was promised.

Readable at 80 columns, without colour and without Unicode. Says with the report's words what ``audit.json`` holds;
prints text from a config as text, never as markup.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.report import audit_words as told
from experiments.report import words

_MARKS: Final = {"defect": " !!", "outside": " *", "differs": " !!", "": ""}
_STYLES: Final = {"defect": "bold red", "differs": "bold red", "outside": "yellow", "": ""}
_ASCII: Final = str.maketrans({words.NOTHING: "-", "−": "-"})


def print_audit(console: Console, audit: Mapping[str, Any]) -> None:
    """Print what an audit found.

    Args:
        console: where to; its width decides how the tables are laid out.
        audit: the contents of ``audit.json``.
    """
    _line(console, f"audit of {audit['name']}", "bold")
    _line(console, told.paragraph(audit))
    several = len(told.treatments(audit)) > 1
    for treatment in told.treatments(audit):
        console.print()
        _line(console, f"Methods of the scorecard, {treatment}" if several else "Methods of the scorecard", "bold")
        headings = [f"{heading}\n{promise}" for heading, promise in told.columns(audit)]
        _methods(console, headings, told.scorecard(audit, treatment))
        if audit["effects_known"]:
            console.print()
            _line(console, "Effect covered, with users drawn from the table and with the table's own", "bold")
            _methods(console, ["users drawn", "table's users"], told.fixed(audit, treatment))
    console.print()
    _line(console, f"{words.title(audit, audit['analysis']['primary'])} read before the end, no effect", "bold")
    _promises(console, "Read", "stopped", told.peeking(audit))
    console.print()
    _line(console, "Other promises, no effect", "bold")
    _promises(console, "What", "false alarms", told.others(audit))
    _line(console, "below each rate its 95% interval; * promise outside of it, !! outside of the corrected one", "dim")
    sentences = [*told.gave_way(audit), *told.predictions(audit), *told.doubtful(audit)]
    if sentences:
        console.print()
    for sentence in sentences:
        _line(console, sentence, "dim")
    console.print()
    _line(console, told.headline(audit), "bold red" if audit["defects"] else "bold")
    for sentence in told.defects(audit):
        _line(console, sentence, "red")


def _methods(console: Console, headings: Sequence[str], lines: Sequence[told.Line]) -> None:
    """Rates by metric and method; a metric's name stands above its methods, since 80 columns are few."""
    table = _table("Metric, method", headings)
    before = ""
    for line in lines:
        if line.about[0] != before:
            before = line.about[0]
            table.add_row(Text(_plain(before), style="bold"))
        table.add_row(Text(f"  {_plain(line.about[1])}"), *(_cell(each) for each in line.cells))
    console.print(table)


def _promises(console: Console, about: str, heading: str, lines: Sequence[told.Line]) -> None:
    table = _table(about, ["promised", heading])
    for line in lines:
        what, promised = line.about
        table.add_row(Text(_plain(what)), Text(_plain(promised)), *(_cell(each) for each in line.cells))
    console.print(table)


def _table(first: str, headings: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    table.add_column(first, overflow="fold", vertical="top")
    for heading in headings:
        table.add_column(Text(_plain(heading)), justify="right", no_wrap=True)
    return table


def _cell(cell: told.Cell) -> Text:
    beneath = "\n".join(part for part in (cell.interval.removesuffix("%"), cell.note) if part)
    text = Text(f"{_plain(cell.rate)}{_MARKS[cell.mark]}", style=_STYLES[cell.mark])
    return Text.assemble(text, (f"\n{beneath}" if beneath else "", "dim"))


def _plain(text: str) -> str:
    return text.translate(_ASCII)


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(_plain(text), style=style), width=min(console.width, 100), highlight=False)
