"""What an audit found of each method, drawn: false alarms, coverage, power, and how uniform p-values are.

Reads the contents of ``audit.json`` and computes no statistic.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from experiments.report import audit_words as told
from experiments.report import drawing, words
from experiments.report.drawing import Figure, Numbers

Audit = Mapping[str, Any]
Row = Mapping[str, Any]

_KOLMOGOROV: Final = 1.3581
"""95% of samples of size n from a uniform distribution stay within this over the root of n (Smirnov 1948)."""


def present(audit: Audit) -> bool:
    """Whether there is anything to show."""
    return bool(audit["findings"])


def charts(audit: Audit) -> dict[str, Figure]:
    """Every figure of the section by name."""
    found: dict[str, Figure] = {}
    for number, arm in enumerate(told.treatments(audit)):
        found[f"alarms-{number}"] = rates(audit, arm, [("false_alarms", None)], audit["alpha"])
        if audit["effects_known"]:
            designs = [("coverage", "drawn"), ("coverage", "fixed")]
            found[f"coverage-{number}"] = rates(audit, arm, designs, 1.0 - audit["alpha"])
            found[f"power-{number}"] = power(audit, arm)
        found |= {f"uniform-{number}-{k}": uniformity(audit, arm, name) for k, name in enumerate(audit["methods"])}
    return found


def distances(audit: Audit, treatment: str, method: str) -> Numbers:
    """The largest distance of each metric's p-values from uniform, with the p-value of that distance."""
    rows = [
        (words.title(audit, row["metric"]), words.number(row["ks"]), words.p_value(row["ks_p_value"]))
        for row in audit["findings"]
        if row["check"] == "false_alarms" and (row["treatment"], row["method"]) == (treatment, method)
    ]
    return Numbers(("Metric", "Largest distance", "p-value (Kolmogorov-Smirnov)"), tuple(rows))


def rates(audit: Audit, treatment: str, series: Sequence[tuple[str, str | None]], nominal: float) -> Figure:
    """Rates of every metric and method with their intervals: thick at 95%, thin corrected for all promises.

    Args:
        audit: the contents of ``audit.json``.
        treatment: the arm.
        series: check and design of each kind of dot.
        nominal: where the line of the promise stands.
    """
    found = {
        (row["check"], row.get("design"), row["metric"], row["method"]): row
        for row in audit["findings"]
        if row["check"] in {check for check, _ in series} and row["treatment"] == treatment
    }
    asked = list(dict.fromkeys((metric, method) for _, _, metric, method in found))
    data: list[Figure] = []
    for number, (check, design) in enumerate(series):
        rows = [(place, found.get((check, design, *each))) for place, each in enumerate(asked)]
        known = [(-place - 0.3 * number, row) for place, row in rows if row is not None and row["rate"] is not None]
        name = {"drawn": "users drawn from the table", "fixed": "the table's own users"}.get(design or "", "rate")
        color = f"@series{number % drawing.SERIES}"
        for interval, width, first in (("interval_corrected", 1.0, True), ("interval", 3.5, False)):
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": drawing.plain(name),
                    "legendgroup": name,
                    "showlegend": not first and len(series) > 1,
                    "x": [row["rate"] for _, row in known],
                    "y": [y for y, _ in known],
                    "hovertext": [_hover(audit, row) for _, row in known],
                    "hoverinfo": "skip" if first else "text",
                    "marker": {
                        "color": color,
                        "size": 1 if first else 9,
                        "symbol": ["x" if row["defect"] else drawing.symbol(number) for _, row in known],
                    },
                    "error_x": {
                        "type": "data",
                        "symmetric": False,
                        "array": [row[interval][1] - row["rate"] for _, row in known],
                        "arrayminus": [row["rate"] - row[interval][0] for _, row in known],
                        "color": color,
                        "thickness": width,
                        "width": 0,
                    },
                }
            )
    layout = drawing.layout(height=int(110 + 30 * len(asked) * (1 + 0.25 * (len(series) - 1))))
    layout["showlegend"] = len(series) > 1
    layout["xaxis"] = drawing.axis(tickformat=".1~%", title="share of experiments")
    layout["yaxis"] = drawing.axis(
        grid=False,
        tickvals=[-place - 0.15 * (len(series) - 1) for place in range(len(asked))],
        ticktext=[
            drawing.plain(f"{words.title(audit, metric)}, {audit['methods'][method]}") for metric, method in asked
        ],
        range=[-len(asked) + 0.4, 0.6],
    )
    layout["shapes"] = [drawing.dashed(x0=nominal, x1=nominal, yref="paper", y0=0, y1=1)]
    return {"data": data, "layout": layout}


def uniformity(audit: Audit, treatment: str, method: str) -> Figure:
    """How far the share of p-values at or below p is from p where nothing differs, for every metric."""
    rows = [
        row
        for row in audit["findings"]
        if row["check"] == "false_alarms" and row["treatment"] == treatment and row["method"] == method
    ]
    grid = audit["p_value_grid"]
    data: list[Figure] = []
    known = [row for row in rows if row["p_values"]]
    if known:
        most = _KOLMOGOROV / math.sqrt(min(row["trials"] for row in known))
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "95% of uniform samples stay within",
                "x": [0, 1, 1, 0],
                "y": [most, most, -most, -most],
                "fill": "toself",
                "fillcolor": "@band0",
                "line": {"width": 0, "color": "@series0"},
                "hoverinfo": "skip",
                "legendrank": 2000,
            }
        )
    for number, row in enumerate(known):
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": drawing.plain(words.title(audit, row["metric"])),
                "x": [0, *grid],
                "y": [0, *(share - p for share, p in zip(row["p_values"], grid, strict=True))],
                "hovertemplate": f"p %{{x:.2f}}: %{{y:+.3f}}<extra>{drawing.plain(row['metric'])}</extra>",
                "line": {
                    "color": f"@series{number % drawing.SERIES}",
                    "width": 1.8,
                    "dash": ("solid", "dash", "dot")[number // drawing.SERIES % 3],
                },
            }
        )
    layout = drawing.layout(height=390)
    layout["xaxis"] = drawing.axis(title="p", range=[0, 1])
    layout["yaxis"] = drawing.axis(zeroline=True, title="share of p-values up to p, minus p", tickformat="+.2~f")
    return {"data": data, "layout": layout}


def power(audit: Audit, treatment: str) -> Figure:
    """Power found against power predicted; on the diagonal they agree."""
    data: list[Figure] = []
    for number, method in enumerate(audit["methods"]):
        rows = [
            row
            for row in audit["power"]
            if row["method"] == method
            and row["treatment"] == treatment
            and row["nominal"] is not None
            and row["interval"]
        ]
        if not rows:
            continue
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": drawing.plain(audit["methods"][method]),
                "x": [row["nominal"] for row in rows],
                "y": [row["rate"] for row in rows],
                "hovertext": [_hover(audit, row) for row in rows],
                "hoverinfo": "text",
                "marker": {
                    "color": f"@series{number % drawing.SERIES}",
                    "symbol": drawing.symbol(number),
                    "size": 9,
                },
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [row["interval"][1] - row["rate"] for row in rows],
                    "arrayminus": [row["rate"] - row["interval"][0] for row in rows],
                    "color": f"@series{number % drawing.SERIES}",
                    "thickness": 1.6,
                    "width": 0,
                },
            }
        )
    layout = drawing.layout(height=420)
    layout["xaxis"] = drawing.axis(tickformat=".0%", title="predicted", range=[-0.03, 1.03])
    layout["yaxis"] = drawing.axis(tickformat=".0%", title="found", range=[-0.03, 1.03])
    layout["shapes"] = [drawing.dashed(x0=0, x1=1, y0=0, y1=1)]
    return {"data": data, "layout": layout}


def _hover(audit: Audit, row: Row) -> str:
    promised = told.promise(row)
    return (
        f"{drawing.plain(words.title(audit, row['metric']))}, {drawing.plain(audit['methods'][row['method']])}<br>"
        f"{told.percent(row['rate'])} of {words.count(row['trials'])}, {told.interval(row['interval'])} at 95%<br>"
        f"corrected {told.interval(row['interval_corrected'])}"
        + (f"<br>{'predicted' if row['check'] == 'power' else 'promised'} {promised}" if promised else "")
    )
