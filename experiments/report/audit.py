"""The figures and the page of an audit: one HTML file that needs no network and no other file.

Made from ``audit.json`` and ``manifest.json`` alone. Figures are plain dictionaries in Plotly's JSON form; computes no
statistic.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from experiments.report import audit_words as told
from experiments.report import drawing, render_page, words
from experiments.report.drawing import Figure

Audit = Mapping[str, Any]
Row = Mapping[str, Any]

_KOLMOGOROV: Final = 1.3581
"""95% of samples of size n from a uniform distribution stay within this over the root of n (Smirnov 1948)."""


def render_audit(audit: Audit, manifest: Mapping[str, Any]) -> str:
    """The HTML report of an audit, from ``audit.json`` and the run's ``manifest.json`` as dictionaries."""
    arms = told.treatments(audit)
    charts: dict[str, Figure] = {"peeking": peeking(audit)}
    uniform = list(audit["methods"])
    for number, arm in enumerate(arms):
        charts[f"alarms-{number}"] = rates(audit, arm, [("false_alarms", None)], audit["alpha"])
        if audit["effects_known"]:
            designs = [("coverage", "drawn"), ("coverage", "fixed")]
            charts[f"coverage-{number}"] = rates(audit, arm, designs, 1.0 - audit["alpha"])
            charts[f"power-{number}"] = power(audit, arm)
        charts |= {f"uniform-{number}-{place}": uniformity(audit, arm, name) for place, name in enumerate(uniform)}
    return render_page("audit", audit["name"], charts, manifest, audit=audit, told=told, uniform=uniform)


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
    layout["shapes"] = [_line(x0=nominal, x1=nominal, yref="paper", y0=0, y1=1)]
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
    layout["margin"]["t"] = 84
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
    layout["margin"]["t"] = 64
    layout["xaxis"] = drawing.axis(tickformat=".0%", title="predicted", range=[-0.03, 1.03])
    layout["yaxis"] = drawing.axis(tickformat=".0%", title="found", range=[-0.03, 1.03])
    layout["shapes"] = [_line(x0=0, x1=1, y0=0, y1=1)]
    return {"data": data, "layout": layout}


def peeking(audit: Audit) -> Figure:
    """Share of experiments stopped by each day for an effect that is not there, with and without bounds."""
    rows = [row for row in audit["findings"] if row["check"] == "peeking" and row["trials"]]
    several = len(told.treatments(audit)) > 1
    data: list[Figure] = []
    for number, row in enumerate(rows):
        name = told.PLANS[row["method"]] + (f", {row['treatment']}" if several else "")
        color = "@ink" if row["method"] == "uncorrected" else f"@series{number % drawing.SERIES}"
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": drawing.plain(name),
                "x": row["days"],
                "y": row["by_look"],
                "hovertext": [
                    f"{drawing.plain(name)}<br>day {day}: {told.percent(share)}"
                    for day, share in zip(row["days"], row["by_look"], strict=True)
                ],
                "hoverinfo": "text",
                "line": {"color": color, "width": 2, "shape": "hv"},
                "marker": {"size": 6, "color": color, "symbol": drawing.symbol(number)},
            }
        )
    layout = drawing.layout(height=440)
    layout["margin"]["t"] = 120
    layout["xaxis"] = drawing.axis(title="day of the experiment", grid=False)
    layout["yaxis"] = drawing.axis(tickformat=".0%", title="stopped so far", rangemode="tozero")
    layout["shapes"] = [_line(xref="paper", x0=0, x1=1, y0=audit["alpha"], y1=audit["alpha"])]
    return {"data": data, "layout": layout}


def _line(**ends: Any) -> Figure:
    return {"type": "line", "line": {"color": "@zero", "width": 1.4, "dash": "dash"}, **ends}


def _hover(audit: Audit, row: Row) -> str:
    promised = told.promise(row)
    return (
        f"{drawing.plain(words.title(audit, row['metric']))}, {drawing.plain(audit['methods'][row['method']])}<br>"
        f"{told.percent(row['rate'])} of {words.count(row['trials'])}, {told.interval(row['interval'])} at 95%<br>"
        f"corrected {told.interval(row['interval_corrected'])}"
        + (f"<br>{'predicted' if row['check'] == 'power' else 'promised'} {promised}" if promised else "")
    )
