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
        _print(console, ("Metric", "Method"), headings, told.scorecard(audit, treatment))
        if audit["effects_known"]:
            console.print()
            _line(console, "Interval of the difference in two designs", "bold")
            _print(console, ("Metric", "Method"), ["users drawn", "table's users"], told.fixed(audit, treatment))
    console.print()
    _line(console, f"{words.title(audit, audit['analysis']['primary'])} read before the end, no effect", "bold")
    _print(console, ("Read", "Promised"), ["Stopped"], told.peeking(audit))
    console.print()
    _line(console, "Other promises, no effect", "bold")
    _print(console, ("What", "Promised"), ["False alarms"], told.others(audit))
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


def _print(console: Console, about: Sequence[str], headings: Sequence[str], lines: Sequence[told.Line]) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    for heading in about:
        table.add_column(_text(heading), overflow="fold", max_width=34)
    for heading in headings:
        table.add_column(_text(heading), justify="right")
    before = ""
    for line in lines:
        first = "" if len(about) > 1 and line.about[0] == before and about[0] == "Metric" else line.about[0]
        before = line.about[0]
        table.add_row(_text(first), *(_text(each) for each in line.about[1:]), *(_cell(each) for each in line.cells))
    console.print(table)


def _cell(cell: told.Cell) -> Text:
    beneath = "\n".join(part for part in (cell.interval, cell.note) if part)
    text = _text(f"{cell.rate}{_MARKS[cell.mark]}")
    text.stylize(_STYLES[cell.mark])
    return Text.assemble(text, (f"\n{beneath}" if beneath else "", "dim"))


def _text(text: str) -> Text:
    """Text that is no markup."""
    return Text(text.translate(_ASCII))


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text.translate(_ASCII), style=style), width=min(console.width, 100), highlight=False)
