"""The report's figures of what was measured, as plain dictionaries in Plotly's JSON form.

Made from the results alone: knows nothing of the page around them, and computes no statistic.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import drawing, open_loop, words
from experiments.report.drawing import Figure


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
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "truth",
                "legendrank": 2000,
                "x": [x for x, _, _ in truths],
                "y": [y for _, y, _ in truths],
                "hovertext": [text for _, _, text in truths],
                "hoverinfo": "text",
                "marker": {
                    "symbol": "diamond-open",
                    "size": 13,
                    "color": "@ink",
                    "line": {"width": 1.6, "color": "@ink"},
                },
            }
        )
    layout = drawing.layout(height=int(100 + 62 * pitch * len(names)))
    control = drawing.plain(results["analysis"]["control"])
    layout["xaxis"] = drawing.axis(tickformat="+.3~%", title=f"lift over {control}", zeroline=True)
    layout["yaxis"] = {
        "visible": False,
        "range": [-len(names) * pitch + 0.1, 0.45],
        "fixedrange": True,
    }
    layout["annotations"] = labels
    return {"data": data, "layout": layout}


def daily(results: Mapping[str, Any], metric: str) -> Figure:
    """The effect of each day on its own, with its interval and the truth; one panel for each treatment."""
    mine = [row for row in results["daily"] if row["metric"] == metric]
    arms = [arm for arm in words.treatments(results) if any(row["treatment"] == arm for row in mine)]
    relative = any(words.known(row.get("lift")) for row in mine)
    value, ends, unit = "lift", "lift_ci", words.unit(results, metric)
    if not relative:
        value, ends = "effect", "ci"
    data: list[Figure] = []
    layout = drawing.layout(height=110 + 220 * max(1, len(arms)))
    layout["margin"]["t"] = 44 if len(arms) < 2 else 60
    layout["annotations"] = []
    for number, arm in enumerate(arms):
        rows = sorted((row for row in mine if row["treatment"] == arm), key=lambda row: row["day"])
        dates = [row["date"] for row in rows]
        intervals = [words.pair(row.get(ends)) for row in rows]
        color = f"@series{number % drawing.SERIES}"
        axes = {"xaxis": "x", "yaxis": drawing.nth("y", number)}
        for run in _runs(intervals):
            band = [intervals[i] for i in run]
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines" if len(run) > 1 else "markers",
                    "x": [dates[i] for i in run] + [dates[i] for i in reversed(run)],
                    "y": [pair[1] for pair in band if pair] + [pair[0] for pair in reversed(band) if pair],
                    "fill": "toself",
                    "fillcolor": f"@band{number % drawing.SERIES}",
                    "line": {"width": 0, "color": color},
                    "marker": {"symbol": "line-ew-open", "size": 8, "color": color},
                    "hoverinfo": "skip",
                    "showlegend": False,
                    **axes,
                }
            )
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": drawing.plain(arm),
                "x": dates,
                "y": [row[value] if words.known(row.get(value)) else None for row in rows],
                "hovertext": [_daily_hover(row, value, ends, unit, drawing.plain(arm)) for row in rows],
                "hoverinfo": "text",
                "showlegend": len(arms) == 1,
                "line": {"color": color, "width": 2},
                "marker": {"size": 5, "color": color, "symbol": drawing.symbol(number)},
                **axes,
            }
        )
        truth = [(row.get("truth") or {}).get(value) for row in rows]
        if any(words.known(each) for each in truth):
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": "truth",
                    "legendgroup": "truth",
                    "legendrank": 2000,
                    "showlegend": number == 0,
                    "x": dates,
                    "y": truth,
                    "hovertext": [f"truth {_amount(each, value, unit)}" for each in truth],
                    "hoverinfo": "text",
                    "line": {"color": "@ink", "width": 1.6, "dash": "dot"},
                    **axes,
                }
            )
        low, high = _panel(number, len(arms), gap=0.08)
        layout[drawing.nth("yaxis", number)] = drawing.axis(
            domain=[low, high], zeroline=True, tickformat="+.3~%" if relative else "+~g"
        )
        if len(arms) > 1:
            layout["annotations"].append(drawing.label(arm, x=0, y=high, yref="paper", yanchor="bottom"))
    name = f"{value} of {drawing.plain(words.title(results, metric))}" + (
        "" if relative else f", {drawing.plain(unit)}"
    )
    layout["xaxis"] = drawing.axis(type="date", grid=False, title=name, anchor=drawing.nth("y", max(0, len(arms) - 1)))
    return {"data": data, "layout": layout}


def daily_metrics(results: Mapping[str, Any]) -> list[str]:
    """The metrics that have a value each day, the primary metric first."""
    present = {row["metric"] for row in results["daily"]}
    primary = results["analysis"]["primary"]
    names = [name for name in results["analysis"]["metrics"] if name in present and name != primary]
    return ([primary] if primary in present else []) + names


def look(results: Mapping[str, Any], arm: str) -> tuple[str, str]:
    """Colour and marker of an arm, the same in every figure; the control, which has none in some, is muted."""
    arms = words.treatments(results)
    if arm not in arms:
        return "@muted", "x"
    return f"@series{arms.index(arm) % drawing.SERIES}", drawing.symbol(arms.index(arm))


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
    layout = drawing.layout(height=int(70 + 46 * pitch * len(names)) + 20 * several)
    layout["showlegend"] = several
    layout["margin"] |= {"t": 44 if several else 24, "b": 28}
    layout["xaxis"] = drawing.axis(tickformat="~g", nticks=5, rangemode="normal")
    layout["yaxis"] = {"visible": False, "range": [-len(names) * pitch + 0.2, 0.4], "fixedrange": True}
    layout["annotations"] = [
        drawing.label(name, x=0, y=-index * pitch, yref="y", size=12) for index, name in enumerate(names)
    ]
    return {"data": data, "layout": layout}


def _daily_hover(row: Mapping[str, Any], value: str, ends: str, unit: str, arm: str) -> str:
    spread = words.interval(row.get(ends), None if value == "lift" else unit)
    return (
        f"{words.day(row['date'])}, {arm}<br>{_amount(row.get(value), value, unit)} ({spread})<br>"
        f"{words.number(row.get('control_value'), unit)} → {words.number(row.get('treatment_value'), unit)}"
    )


def _amount(value: float | None, kind: str, unit: str) -> str:
    return words.percent(value) if kind == "lift" else words.signed(value, unit)


def _runs(intervals: Sequence[tuple[float, float] | None]) -> list[list[int]]:
    """Indices of the unbroken stretches of known intervals, so that a band never spans an unknown day."""
    runs: list[list[int]] = []
    for index, ends in enumerate(intervals):
        if ends is None:
            continue
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def _panel(number: int, panels: int, gap: float) -> tuple[float, float]:
    height = (1.0 - gap * (panels - 1)) / panels
    top = 1.0 - number * (height + gap)
    return max(0.0, top - height), top
