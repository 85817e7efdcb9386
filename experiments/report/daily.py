"""The effect of each day on its own: a figure and a table for every metric that has a value each day.

Made from the results alone, and computes no statistic. Knows nothing of the page around it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import drawing, words
from experiments.report.drawing import Figure, Numbers


def present(results: Mapping[str, Any]) -> bool:
    """Whether any metric has a value each day."""
    return bool(results["daily"])


def charts(results: Mapping[str, Any]) -> dict[str, Figure]:
    """``daily-0`` and on, in the order of ``metrics``."""
    return {f"daily-{index}": effects(results, metric) for index, metric in enumerate(metrics(results))}


def numbers(results: Mapping[str, Any], metric: str) -> Numbers:
    """What the figure of a metric shows, a row for each day and treatment."""
    arms, unit = words.treatments(results), words.unit(results, metric)
    several = len(arms) > 1
    rows = [row for row in results["daily"] if row["metric"] == metric]
    has_truth = any(row.get("truth") for row in rows)
    heads = ["Day", *(["Arm"] if several else []), results["analysis"]["control"]]
    heads += ["Treatment" if several else arms[0], "Difference", "Interval", "Lift", "Interval"]
    return Numbers(
        heads=(*heads, *(["True lift"] if has_truth else [])),
        rows=tuple(
            (
                words.day(row["date"]),
                *([row["treatment"]] if several else []),
                words.number(row["control_value"], unit),
                words.number(row["treatment_value"], unit),
                words.signed(row["effect"], unit),
                words.interval(row["ci"], unit),
                words.percent(row["lift"]),
                words.interval(row["lift_ci"]),
                *([words.percent((row.get("truth") or {}).get("lift"))] if has_truth else []),
            )
            for row in rows
        ),
        texts=2 if several else 1,
    )


def trends(results: Mapping[str, Any]) -> list[str]:
    """Which effects grow or fade from day to day, by the corrected test; that none does, where it was looked for."""
    tested = [row for row in results.get("trends") or [] if words.known(row["p_adjusted"])]
    found = []
    for row in tested:
        if row["p_adjusted"] > results["analysis"]["alpha"]:
            continue
        unit = words.unit(results, row["metric"])
        truth = (row.get("truth") or {}).get("slope")
        true = f", in truth {words.signed(truth, unit)}" if words.known(truth) else ""
        found.append(
            f"{words.title(results, row['metric'])} ({row['treatment']}): the difference changes by "
            f"{words.signed(row['slope'], unit)} a day ({words.interval(row['ci'], unit)}, adjusted "
            f"{words.p_named(row['p_adjusted'])}{true})."
        )
    if tested and not found:
        found.append(f"No effect grows or fades from day to day, of {words.count(len(tested))} tested.")
    return found


def effects(results: Mapping[str, Any], metric: str) -> Figure:
    """The effect of each day on its own, with its interval and the truth; one panel for each treatment."""
    mine = [row for row in results["daily"] if row["metric"] == metric]
    arms = [arm for arm in words.treatments(results) if any(row["treatment"] == arm for row in mine)]
    relative = any(words.known(row.get("lift")) for row in mine)
    value, ends, unit = "lift", "lift_ci", words.unit(results, metric)
    if not relative:
        value, ends = "effect", "ci"
    data: list[Figure] = []
    layout = drawing.layout(height=80 + 220 * max(1, len(arms)))
    layout["margin"]["t"] = 14 if len(arms) < 2 else 30
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
                    "legendgroup": drawing.plain(arm),
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
                "legendgroup": drawing.plain(arm),
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


def metrics(results: Mapping[str, Any]) -> list[str]:
    """The metrics that have a value each day, the primary metric first."""
    present = {row["metric"] for row in results["daily"]}
    primary = results["analysis"]["primary"]
    names = [name for name in results["analysis"]["metrics"] if name in present and name != primary]
    return ([primary] if primary in present else []) + names


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
