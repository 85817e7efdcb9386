"""Figures of a realism scorecard: every row beside its noise, and probabilities beside outcomes."""

from collections.abc import Mapping
from typing import Any

from experiments.report import drawing, words
from experiments.report import realism_words as told
from experiments.report.drawing import Figure, Numbers

Scorecard = Mapping[str, Any]


def present(found: Scorecard) -> bool:
    """Always: a scorecard has rows."""
    return bool(found["rows"])


def charts(found: Scorecard) -> dict[str, Figure]:
    """Every figure by name."""
    figures = {"distances": distances(found)}
    if reliable(found):
        figures["reliability"] = reliability(found)
    return figures


def distances(found: Scorecard) -> Figure:
    """Distance of each row over its noise floor, on a logarithmic axis; 1 is as near as real halves are."""
    rows = [row for row in found["rows"] if row["ratio"] is not None][::-1]
    titles = [drawing.plain(row["title"]) for row in rows]
    data: list[Figure] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "95% of floors below",
            "x": [row["floor_high"] / row["floor"] for row in rows],
            "y": titles,
            "hovertext": [f"{drawing.plain(row['title'])}<br>{told.distance(row['floor_high'])}" for row in rows],
            "hoverinfo": "text",
            "marker": {"size": 9, "color": "@muted", "symbol": drawing.symbol(1)},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "simulated from real",
            "x": [row["ratio"] for row in rows],
            "y": titles,
            "hovertext": [
                f"{drawing.plain(row['title'])}<br>{row['measure']} {told.distance(row['distance'])}, "
                f"{told.ratio(row['ratio'])} times the floor"
                for row in rows
            ],
            "hoverinfo": "text",
            "marker": {"size": 10, "color": "@series0", "symbol": drawing.symbol(0)},
        },
    ]
    layout = drawing.layout(height=140 + 30 * len(rows))
    layout["xaxis"] = drawing.axis(title="times the noise floor, logarithmic", type="log")
    layout["yaxis"] = drawing.axis(grid=False)
    layout["shapes"] = [drawing.dashed(x0=1, x1=1, yref="paper", y0=0, y1=1)]
    return {"data": data, "layout": layout}


def reliable(found: Scorecard) -> list[Mapping[str, Any]]:
    """Calibrations that are known."""
    return [row for row in found["calibration"] if row["error"] is not None]


def reliability(found: Scorecard) -> Figure:
    """Share of clicks over the estimate, in bins of equal size."""
    data: list[Figure] = []
    for number, row in enumerate(reliable(found)):
        color = f"@series{number % drawing.SERIES}"
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": drawing.plain(f"{row['arm']}, {row['reading']}"),
                "x": row["predicted"],
                "y": row["observed"],
                "hovertext": [
                    f"estimate {p:.2%}<br>clicks {q:.2%}"
                    for p, q in zip(row["predicted"], row["observed"], strict=True)
                ],
                "hoverinfo": "text",
                "line": {"color": color, "width": 2},
                "marker": {"size": 7, "color": color, "symbol": drawing.symbol(number)},
            }
        )
    most = max(max(*row["predicted"], *row["observed"]) for row in reliable(found))
    layout = drawing.layout(height=440)
    layout["xaxis"] = drawing.axis(title="estimated chance of a click", tickformat=".0%", rangemode="tozero")
    layout["yaxis"] = drawing.axis(title="clicked", tickformat=".0%", rangemode="tozero")
    layout["shapes"] = [drawing.dashed(x0=0, x1=most, y0=0, y1=most)]
    return {"data": data, "layout": layout}


def reliability_numbers(found: Scorecard) -> Numbers:
    """The same as a table."""
    rows = tuple(
        (
            f"{row['arm']}, {row['reading']}",
            words.percent(predicted, sign=False),
            words.percent(observed, sign=False),
        )
        for row in reliable(found)
        for predicted, observed in zip(row["predicted"], row["observed"], strict=True)
    )
    return Numbers(("Arm and reading", "Estimated", "Clicked"), rows)
