"""How often a test that is read every day stops for an effect that is not there, drawn. Computes no statistic."""

from collections.abc import Mapping
from typing import Any

from experiments.report import audit_words as told
from experiments.report import drawing
from experiments.report.drawing import Figure

Audit = Mapping[str, Any]


def present(audit: Audit) -> bool:
    """Whether looks were tried."""
    return any(row["check"] == "peeking" for row in audit["findings"])


def charts(audit: Audit) -> dict[str, Figure]:
    """Every figure of the section by name."""
    return {"peeking": peeking(audit)}


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
    layout["xaxis"] = drawing.axis(title="day of the experiment", grid=False)
    layout["yaxis"] = drawing.axis(tickformat=".0%", title="stopped so far", rangemode="tozero")
    layout["shapes"] = [drawing.dashed(xref="paper", x0=0, x1=1, y0=audit["alpha"], y1=audit["alpha"])]
    return {"data": data, "layout": layout}
