"""Runs beside each other: every metric of every arm in one figure, as dots with intervals.

Made from a comparison (see ``experiments.comparison``) alone, and computes no statistic. Knows nothing of the page
around the figures.
"""

from collections.abc import Mapping
from typing import Any

from experiments.report import drawing, words
from experiments.report.drawing import Figure, Numbers

Comparison = Mapping[str, Any]


def present(comparison: Comparison) -> bool:
    """Whether anything was compared."""
    return bool(comparison["rows"])


def charts(comparison: Comparison) -> dict[str, Figure]:
    """``beside-0`` and on, in the order of ``metrics``."""
    return {f"beside-{index}": effects(comparison, metric) for index, metric in enumerate(metrics(comparison))}


def metrics(comparison: Comparison) -> list[str]:
    """The primary metric of the first run, then the others in their order."""
    primary = comparison["primary"]
    return [primary, *(name for name in comparison["metrics"] if name != primary)]


def name(comparison: Comparison, row: Mapping[str, Any]) -> str:
    """What a treatment is called: its run and itself, as far as needed to tell it from the others."""
    runs = comparison["runs"]
    if len(runs) == 1:
        return str(row["treatment"])
    if all(len(run["arms"]) == 2 for run in runs):
        return str(row["run"])
    return f"{row['run']}, {row['treatment']}"


def looks(comparison: Comparison) -> dict[tuple[str, str], tuple[str, str]]:
    """Colour and marker of each run's treatments, the same in every figure."""
    keys = [(run["label"], arm) for run in comparison["runs"] for arm in run["arms"] if arm != run["control"]]
    return {key: (f"@series{number % drawing.SERIES}", drawing.symbol(number)) for number, key in enumerate(keys)}


def truth_words(row: Mapping[str, Any], unit: str) -> str:
    """The true effect with a mark for whether the interval holds it."""
    truth = row.get("truth")
    if not truth:
        return words.NOTHING
    return words.truth_beside(row, unit) + {True: " ✓", False: " ✗"}.get(truth.get("covered"), "")


def effect_words(row: Mapping[str, Any], unit: str) -> tuple[str, str]:
    """The lift and its interval, or the difference and its own where there is no lift."""
    if words.known(row["lift"]):
        return words.percent(row["lift"]), words.interval(row["lift_ci"])
    if words.known(row["effect"]):
        return words.signed(row["effect"], unit), words.interval(row["ci"], unit)
    return words.NOTHING, words.NOTHING


def p_words(row: Mapping[str, Any]) -> str:
    """The p-value that decides."""
    return words.p_value(row["p_adjusted"] if words.known(row["p_adjusted"]) else row["p_value"])


def numbers(comparison: Comparison, metric: str) -> Numbers:
    """What the figure of a metric shows, a row for each run and treatment."""
    unit = words.unit(comparison, metric)
    return Numbers(
        heads=("Run and arm", "Control", "Treatment", "Effect", "Interval", "Adjusted p", "Truth", "Decision"),
        rows=tuple(
            (
                name(comparison, row),
                words.number(row["control_value"], unit),
                words.number(row["treatment_value"], unit),
                *effect_words(row, unit),
                p_words(row),
                truth_words(row, unit),
                row["decision"],
            )
            for row in comparison["rows"]
            if row["metric"] == metric
        ),
    )


def effects(comparison: Comparison, metric: str) -> Figure:
    """Lift and interval of one metric for each run and treatment, with a diamond where the truth is known."""
    rows = [row for row in comparison["rows"] if row["metric"] == metric]
    relative = any(words.known(row["lift"]) for row in rows)
    value, ends = ("lift", "lift_ci") if relative else ("effect", "ci")
    unit, look = words.unit(comparison, metric), looks(comparison)
    data: list[Figure] = []
    labels = []
    truths: list[tuple[float, float, str]] = []
    for number, row in enumerate(rows):
        called, y = drawing.plain(name(comparison, row)), -1.0 * number
        labels.append(drawing.label(name(comparison, row), x=0, y=y + 0.34, yref="y"))
        if not words.known(row[value]):
            labels.append(drawing.label("no estimate", x=0.5, y=y, yref="y", color="@muted"))
            continue
        color, shape = look[row["run"], row["treatment"]]
        span = words.pair(row[ends])
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": called,
                "x": [row[value]],
                "y": [y],
                "hovertext": ["<br>".join([called, " ".join(effect_words(row, unit)), words.p_phrase(row)])],
                "hoverinfo": "text",
                "marker": {"color": color, "symbol": shape, "size": 10},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [span[1] - row[value] if span else None],
                    "arrayminus": [row[value] - span[0] if span else None],
                    "color": color,
                    "thickness": 2,
                    "width": 0,
                },
            }
        )
        truth = (row.get("truth") or {}).get(value)
        if truth is not None and words.known(truth):
            truths.append((truth, y, f"{called}<br>truth {truth_words(row, unit)}"))
    if truths:
        data.append(drawing.truths(truths))
    layout = drawing.layout(height=70 + 58 * len(rows))
    layout["showlegend"] = False
    title = words.title(comparison, metric)
    layout["xaxis"] = drawing.axis(
        tickformat="+.3~%" if relative else "+~g",
        title=drawing.plain(f"{value} of {title}" + ("" if relative else f", {unit}")),
        zeroline=True,
    )
    layout["yaxis"] = {"visible": False, "range": [-len(rows) + 0.4, 0.75], "fixedrange": True}
    layout["annotations"] = labels
    return {"data": data, "layout": layout}
