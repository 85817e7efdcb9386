"""Every metric of an experiment: the forest plot, and what stands beside the table of effects.

Made from the results alone, and computes no statistic. Knows nothing of the page around it.
"""

from collections.abc import Mapping
from typing import Any, Final

from experiments.report import drawing, words
from experiments.report.drawing import Figure

STATES: Final = {
    "passed": "a loss beyond the margin is ruled out",
    "failed": "lost more than the margin",
    "open": "a loss beyond the margin is not ruled out",
}
"""What becomes of a guardrail, in words."""


def present(results: Mapping[str, Any]) -> bool:
    """Whether anything was compared."""
    return bool(results["comparisons"])


def charts(results: Mapping[str, Any]) -> dict[str, Figure]:
    """The one figure, ``forest``."""
    return {"forest": forest(results)}


def capped(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The comparisons that were made again with heavy tails cut."""
    return [row for row in results["comparisons"] if row.get("capped")]


def forest(results: Mapping[str, Any]) -> Figure:
    """Lift and interval of every metric and treatment, with a diamond where the truth is known."""
    arms = words.treatments(results)
    names = [results["analysis"]["primary"]]
    names += [name for name in results["analysis"]["metrics"] if name not in names]
    names += sorted({row["metric"] for row in results["comparisons"]} - set(names))
    pitch = 0.62 + 0.38 * len(arms)
    rows = {(row["metric"], row["treatment"]): row for row in results["comparisons"]}
    data: list[Figure] = []
    truths: list[tuple[float, float, str]] = []
    labels = []
    for index, name in enumerate(names):
        labels.append(drawing.label(words.title(results, name), x=0, y=-index * pitch, yref="y", size=13))
        if not any(words.known(rows.get((name, arm), {}).get("lift")) for arm in arms):
            labels.append(drawing.label("no lift to show", x=0.5, y=-index * pitch - 0.4, yref="y", color="@muted"))
    for number, arm in enumerate(arms):
        xs, ys, plus, minus, hover = [], [], [], [], []
        for index, name in enumerate(names):
            row = rows.get((name, arm))
            if row is None or not words.known(row.get("lift")):
                continue
            y = -index * pitch - 0.42 - 0.38 * number
            ends = words.pair(row.get("lift_ci"))
            title = drawing.plain(words.title(results, name))
            xs.append(row["lift"])
            ys.append(y)
            plus.append(ends[1] - row["lift"] if ends else None)
            minus.append(row["lift"] - ends[0] if ends else None)
            hover.append(
                f"{title}, {drawing.plain(arm)}<br>{words.percent(row['lift'])} "
                f"({words.interval(row.get('lift_ci'))})<br>{words.p_phrase(row)}"
            )
            truth = row.get("truth") or {}
            if words.known(truth.get("lift")):
                truths.append(
                    (
                        truth["lift"],
                        y,
                        f"{title}, {drawing.plain(arm)}<br>truth {words.percent(truth['lift'])}",
                    )
                )
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": drawing.plain(arm),
                "x": xs,
                "y": ys,
                "hovertext": hover,
                "hoverinfo": "text",
                "marker": {
                    "color": f"@series{number % drawing.SERIES}",
                    "symbol": drawing.symbol(number),
                    "size": 9,
                },
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": plus,
                    "arrayminus": minus,
                    "color": f"@series{number % drawing.SERIES}",
                    "thickness": 2,
                    "width": 0,
                },
            }
        )
    if truths:
        data.append(drawing.truths(truths))
    layout = drawing.layout(height=int(70 + 62 * pitch * len(names)))
    control = drawing.plain(results["analysis"]["control"])
    layout["xaxis"] = drawing.axis(tickformat="+.3~%", title=f"lift over {control}", zeroline=True)
    layout["yaxis"] = {
        "visible": False,
        "range": [-len(names) * pitch + 0.1, 0.45],
        "fixedrange": True,
    }
    layout["annotations"] = labels
    return {"data": data, "layout": layout}
