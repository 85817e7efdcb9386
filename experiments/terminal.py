"""The verdict of a finished run in a terminal.

Readable at 80 columns, without colour and without Unicode. Says with the report's words what the results
hold; does not know how they came about, and prints text from a config as text, never as markup.
"""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from experiments.console import line as _line
from experiments.console import table as _table
from experiments.console import text as _text
from experiments.report import (
    checks,
    daily,
    designs,
    few_units,
    open_loop,
    retention,
    segments,
    serving,
    thinking,
    words,
)

_WIDE: Final = 110
_LONGEST_NAME: Final = 22
_COLUMN: Final = 18
"""Of an evaluation: letters of a policy's name, and of most intervals."""
_STYLES: Final = {"better": "bold green", "worse": "bold red", "void": "bold red"}


def print_verdict(console: Console, results: Mapping[str, Any]) -> None:
    """Print what an experiment found.

    Args:
        console: where to; its width decides how the table is laid out.
        results: the contents of ``results.json``.
    """
    _line(console, results["name"], "bold")
    _line(console, words.setting(results), "dim")
    console.print()
    console.print(_arms(console, results))
    _line(console, words.srm_sentence(results), "" if results["srm"]["ok"] else "bold red")
    few = few_units.sentence(results)
    if few:
        _line(console, few, "bold red")
    for sentence in designs.sentences(results):
        _line(console, sentence)
    if results["world"]["kind"] == "table":
        for check in checks.outcomes_missing(results):
            _line(console, check.sentence)
    for verdict in words.verdicts(results):
        console.print()
        console.print(_metrics(console, results, verdict.treatment))
        if any(row.get("truth") for row in words.rows_of(results, verdict.treatment)):
            _line(console, "✓ or ✗: the truth lies inside or outside the interval", "dim")
        console.print()
        _line(console, verdict.headline, "bold" if verdict.trusted else "bold red")
        _line(console, verdict.paragraph)
        decision = words.decision_sentence(results, verdict.treatment)
        if decision is not None:
            _line(console, decision, "bold")
    for sentences in (
        [*daily.trends(results), *(segments.sentences(results) if segments.present(results) else [])],
        retention.sentences(results) if retention.present(results) else [],
        thinking.sentences(results),
        serving.sentences(results),
    ):
        if sentences:
            console.print()
        for sentence in sentences:
            _line(console, sentence)


def print_evaluation(console: Console, evaluation: Mapping[str, Any]) -> None:
    """Print what an open-loop evaluation found.

    Args:
        console: where to.
        evaluation: the contents of ``evaluation.json``.
    """
    _line(console, evaluation["name"], "bold")
    _line(console, f"open-loop evaluation, {open_loop.coverage(evaluation)}", "dim")
    level = words.level(evaluation["alpha"])
    _line(
        console,
        f"under each value the {level} interval of its difference to the policy named above the column; where that is "
        "the policy itself, of the value",
        "dim",
    )
    for sentence in open_loop.family(evaluation) + open_loop.elsewhere(evaluation):
        _line(console, sentence, "dim")
    for panel in open_loop.panels(evaluation):
        if panel.title:
            console.print()
            _line(console, panel.title, "bold")
        if panel.note:
            _line(console, panel.note, "dim")
        for columns in _chunks(console, panel):
            console.print(_panel(console, panel, columns))


def _chunks(console: Console, panel: open_loop.Panel) -> list[list[int]]:
    """The columns of a panel in as many tables as the terminal's width asks for, at least one column in each."""
    longest = max((len(policy) for policy, _ in panel.rows), default=0)
    chunks: list[list[int]] = []
    room = 0
    for column, metric in enumerate(panel.metrics):
        wide = max(_COLUMN, len(metric)) + 1
        if wide > room:
            chunks.append([])
            room = console.width - min(longest, _LONGEST_NAME)
        chunks[-1].append(column)
        room -= wide
    return chunks


def _panel(console: Console, panel: open_loop.Panel, columns: list[int]) -> Table:
    table = _table()
    table.padding = (0, 0, 0, 0)
    table.add_column("", max_width=_LONGEST_NAME, overflow="fold")
    for column in columns:
        metric, against = panel.metrics[column], panel.references[column]
        heading = _text(console, f"{metric}\nvs {against}" if against else metric)
        table.add_column(heading, justify="right", max_width=max(_COLUMN, len(metric)), overflow="fold")
    for policy, cells in panel.rows:
        shown = [
            f"{cell.mark} {cell.value}".lstrip() + f"\n{cell.interval or cell.span}"
            for cell in (cells[column] for column in columns)
        ]
        if any(cells[column].span != words.NOTHING for column in columns):
            table.add_row(_text(console, policy), *(_text(console, each) for each in shown))
    return table


def _arms(console: Console, results: Mapping[str, Any]) -> Padding:
    grid = Table.grid(padding=(0, 2))
    for justify in ("left", "left", "left", "right"):
        grid.add_column(justify=justify)
    for name, arm in results["arms"].items():
        params = words.params(arm.get("params"))
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
    has_truth = any(row.get("truth") for row in rows)
    if has_truth:
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
            *([_text(console, _truth(row, unit))] if has_truth else []),
            _text(console, word, _STYLES.get(word, "dim")),
        )
    return table


def _lift(row: Mapping[str, Any], unit: str, glue: str) -> str:
    if words.known(row["lift"]):
        return f"{words.percent(row['lift'])}{glue}[{words.interval(row['lift_ci'])}]"
    if words.known(row["effect"]):
        return f"{words.signed(row['effect'], unit)} (difference){glue}[{words.interval(row['ci'], unit)}]"
    return str(row["method"] or "no estimate")


def _truth(row: Mapping[str, Any], unit: str) -> str:
    truth = row.get("truth")
    if not truth:
        return words.NOTHING
    return words.truth_beside(row, unit) + {True: " ✓", False: " ✗"}.get(truth.get("covered"), "")
