"""The figures of an open-loop evaluation: a dot and an interval for each policy.

Made from the contents of ``evaluation.json`` alone, and computes no statistic. Knows nothing of the page around them.
"""

from collections.abc import Mapping
from typing import Any

from experiments.report import drawing, open_loop, words
from experiments.report.drawing import Figure


def present(evaluation: Mapping[str, Any]) -> bool:
    """Always: an evaluation has policies."""
    return bool(evaluation["policies"])


def charts(evaluation: Mapping[str, Any]) -> dict[str, Figure]:
    """``dots-0`` and on, in the order of ``drawn``."""
    return {f"dots-{index}": dots(evaluation, metric) for index, metric in enumerate(drawn(evaluation))}


def drawn(evaluation: Mapping[str, Any]) -> list[str]:
    """The metrics with a figure: all but what thoughts cost."""
    return [name for name, metric in evaluation["metrics"].items() if metric["group"] != "cost"]


def panel(evaluation: Mapping[str, Any], metric: str) -> int:
    """Which table holds the numbers of a metric's figure."""
    found = open_loop.panels(evaluation)
    return next((number for number, each in enumerate(found) if metric in each.metrics), 0)


def dots(evaluation: Mapping[str, Any], metric: str) -> Figure:
    """One metric of an open-loop evaluation: a dot and an interval for each policy, over all visits and by stratum."""
    names = list(evaluation["policies"])
    parts = ["", *open_loop.parts(evaluation)]
    pitch = 0.65 + 0.35 * len(parts)
    data: list[Figure] = []
    for number, part in enumerate(parts):
        xs, ys, plus, minus, hover = [], [], [], [], []
        for index, name in enumerate(names):
            entry = open_loop.entry(evaluation, name, metric, part)
            if not words.known(entry.get("value")):
                continue
            ends = words.pair(entry.get("ci"))
            xs.append(entry["value"])
            ys.append(-index * pitch - 0.4 - 0.35 * number)
            plus.append(ends[1] - entry["value"] if ends else None)
            minus.append(entry["value"] - ends[0] if ends else None)
            spread = f"<br>{words.number(ends[0])} to {words.number(ends[1])}" if ends else ""
            hover.append(f"{drawing.plain(name)}<br>{words.number(entry['value'])}{spread}")
        color = f"@series{number % drawing.SERIES}"
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": drawing.plain(part.replace("_", " ") or "all visits"),
                "x": xs,
                "y": ys,
                "hovertext": hover,
                "hoverinfo": "text",
                "marker": {"color": color, "symbol": drawing.symbol(number), "size": 9},
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": plus,
                    "arrayminus": minus,
                    "color": color,
                    "thickness": 2,
                    "width": 0,
                },
            }
        )
    several = len(parts) > 1
    layout = drawing.layout(height=int(70 + 46 * pitch * len(names)))
    layout["showlegend"] = several
    layout["margin"]["b"] = 28
    layout["xaxis"] = drawing.axis(tickformat="~g", nticks=5, rangemode="normal")
    layout["yaxis"] = {"visible": False, "range": [-len(names) * pitch + 0.2, 0.4], "fixedrange": True}
    layout["annotations"] = [
        drawing.label(name, x=0, y=-index * pitch, yref="y", size=12) for index, name in enumerate(names)
    ]
    return {"data": data, "layout": layout}
