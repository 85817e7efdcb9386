"""The verdict of a finished run in a terminal.

Readable at 80 columns, without colour and without Unicode. Says with the report's words what the results
hold; does not know how they came about, and prints text from a config as text, never as markup.
"""

from collections.abc import Mapping
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from experiments.report import words

_WIDE: Final = 110
_STYLES: Final = {"better": "bold green", "worse": "bold red", "void": "bold red"}
_ASCII: Final = str.maketrans({"−": "-", "–": "-", "✓": "in", "✗": "out", "→": "->"})


def print_verdict(console: Console, results: Mapping[str, Any]) -> None:
    """Print what an experiment found.

    Args:
        console: where to; its width decides how the table is laid out.
        results: the contents of ``results.json``.
    """
    horizon, world = results["horizon"], results["world"]
    _line(console, results["name"], "bold")
    _line(
        console,
        f"{words.day(horizon['experiment_start'])} to {words.last_day(horizon['experiment_end'])}, "
        f"{words.count(world['users'])} users, {words.count(world['items'])} items, {world['kind']} world",
        "dim",
    )
    console.print()
    console.print(_arms(console, results))
    _line(console, words.srm_sentence(results), "" if results["srm"]["ok"] else "bold red")
    for verdict in words.verdicts(results):
        console.print()
        console.print(_metrics(console, results, verdict.treatment))
        if any(row.get("truth") for row in words.rows_of(results, verdict.treatment)):
            _line(console, "✓ or ✗: the truth lies inside or outside the interval", "dim")
        console.print()
        _line(console, verdict.headline, "bold" if verdict.trusted else "bold red")
        _line(console, verdict.paragraph)


def print_evaluation(console: Console, evaluation: Mapping[str, Any]) -> None:
    """Print what an open-loop evaluation found.

    Args:
        console: where to.
        evaluation: the contents of ``evaluation.json``.
    """
    _line(console, evaluation["name"], "bold")
    size = f"{words.count(evaluation['requests'])} requests of {words.count(evaluation['users'])} users"
    _line(console, f"open-loop evaluation, {size}", "dim")
    console.print()
    policies = evaluation["policies"]
    names = list(dict.fromkeys(name for policy in policies.values() for name in policy))
    table = _table()
    for heading in ("Metric", "Policy", "Value", "Interval"):
        table.add_column(heading, justify="right" if heading in ("Value", "Interval") else "left")
    for name in names:
        for number, (policy, values) in enumerate(policies.items()):
            entry = values.get(name) or {}
            table.add_row(
                _text(console, name if number == 0 else ""),
                _text(console, policy),
                _text(console, words.number(entry.get("value"))),
                _text(console, words.span(entry.get("ci"))),
                end_section=number == len(policies) - 1,
            )
    console.print(table)
    if not evaluation["comparisons"]:
        return
    console.print()
    pairs = _table()
    for heading in ("Metric", "Second − first", "Difference", "p"):
        pairs.add_column(_text(console, heading), justify="right" if heading in ("Difference", "p") else "left")
    for row in evaluation["comparisons"]:
        pairs.add_row(
            _text(console, row["metric"]),
            _text(console, f"{row['b']} − {row['a']}"),
            _text(console, f"{words.signed(row['effect'])}\n{words.interval(row['ci'], '')}"),
            _text(console, words.p_value(row["p_value"])),
        )
    console.print(pairs)


def _arms(console: Console, results: Mapping[str, Any]) -> Padding:
    grid = Table.grid(padding=(0, 2))
    for justify in ("left", "left", "left", "right"):
        grid.add_column(justify=justify)
    for name, arm in results["arms"].items():
        params = ", ".join(f"{key} {value}" for key, value in (arm.get("params") or {}).items())
        role = "control" if name == results["analysis"]["control"] else "treatment"
        grid.add_row(
            _text(console, name),
            "" if name == role else role,
            _text(console, f"{arm['policy']} ({params})" if params else arm["policy"]),
            f"{words.count(arm['users'])} users",
        )
    return Padding(grid, (0, 0, 1, 0))


def _metrics(console: Console, results: Mapping[str, Any], treatment: str) -> Table:
    control = results["analysis"]["control"]
    rows = words.rows_of(results, treatment)
    wide = console.width >= _WIDE
    glue = "  " if wide else "\n"
    table = _table(_text(console, f"{treatment} against {control}"))
    table.add_column("Metric", ratio=1, overflow="fold")
    for heading in ("control", "treatment") if wide else ("control\ntreatment",):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("lift [interval]" if wide else "lift\n[interval]", justify="right")
    table.add_column("p adj.", justify="right", no_wrap=True)
    table.add_column("truth", justify="right", no_wrap=True)
    table.add_column("verdict", max_width=None if wide else 11)
    for row in rows:
        unit = words.unit(results, row["metric"])
        word = words.decide(results, row)
        values = [
            words.number(row["control_value"], unit),
            words.number(row["treatment_value"], unit),
        ]
        primary = row["metric"] == results["analysis"]["primary"]
        table.add_row(
            _text(console, words.title(results, row["metric"]), "bold" if primary else ""),
            *(_text(console, value) for value in (values if wide else ["\n".join(values)])),
            _text(console, _lift(row, unit, glue)),
            _text(
                console,
                words.p_value(row["p_adjusted"] if words.known(row["p_adjusted"]) else row["p_value"]),
            ),
            _text(console, _truth(row, unit)),
            _text(console, word, _STYLES.get(word, "dim")),
        )
    return table


def _lift(row: Mapping[str, Any], unit: str, glue: str) -> str:
    if words.known(row["lift"]):
        return f"{words.percent(row['lift'])}{glue}[{words.interval(row['lift_ci'])}]"
    if words.known(row["effect"]):
        return f"{words.signed(row['effect'], unit)}{glue}[{words.interval(row['ci'], unit)}]"
    return str(row["method"] or "no estimate")


def _truth(row: Mapping[str, Any], unit: str) -> str:
    truth = row.get("truth")
    if not truth:
        return words.NOTHING
    value = words.percent(truth["lift"]) if words.known(truth.get("lift")) else words.signed(truth.get("effect"), unit)
    return value + {True: " ✓", False: " ✗"}.get(truth.get("covered"), "")


def _table(title: Text | None = None) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="dim",
        show_edge=False,
    )


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(_text(console, text, style), width=min(console.width, 100), highlight=False)


def _text(console: Console, text: Any, style: str = "") -> Text:
    """Text that is no markup, in ASCII where the terminal knows nothing else."""
    plain = str(text)
    if console.options.ascii_only:
        plain = plain.translate(_ASCII).encode("ascii", "replace").decode()
    return Text(plain, style=style)
