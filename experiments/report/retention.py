"""How long users stay: the share not yet gone, arm by arm, and the share who come on each day after exposure.

Made from the results alone, and computes no statistic. Knows nothing of the page around the figures.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import drawing, words
from experiments.report.appearance import look
from experiments.report.drawing import Figure, Numbers


def present(results: Mapping[str, Any]) -> bool:
    """Whether anybody watched how long users stay."""
    return any(curve["points"] for curve in (results.get("retention") or {}).get("curves") or [])


def charts(results: Mapping[str, Any]) -> dict[str, Figure]:
    """``stayed`` and, where it was counted, ``returned``."""
    found = {"stayed": stayed(results)}
    if results["retention"].get("returns"):
        found["returned"] = returned(results)
    return found


def sentences(results: Mapping[str, Any]) -> list[str]:
    """How many are gone by arm, and whether arms differ by the log-rank test."""
    retention = results["retention"]
    gone = words.listing(
        [f"{each['arm']} {words.count(each['gone'])} of {words.count(each['users'])}" for each in retention["curves"]]
    )
    found = [f"Gone for {words.count(retention['churn_days'])} days or more: {gone}."]
    for test in retention["tests"]:
        if words.known(test["p_value"]):
            found.append(
                f"{test['treatment']} against {results['analysis']['control']}: log-rank chi-square "
                f"{words.number(test['chi_square'])}, {words.p_named(test['p_value'])}, not corrected."
            )
        else:
            found.append(f"{test['treatment']}: nobody went, so there is nothing to test.")
    truths = [
        f"{each['arm']} {words.percent(each['truth']['share'], sign=False)}"
        for each in retention["curves"]
        if each.get("truth")
    ]
    if truths:
        found.append(f"True share still there on the last day: {words.listing(truths)}.")
    return found


def stayed(results: Mapping[str, Any]) -> Figure:
    """The Kaplan-Meier curve of each arm with its pointwise interval; a step down is a day on which users went."""
    data: list[Figure] = []
    for curve in results["retention"]["curves"]:
        color, shape = look(results, curve["arm"])
        name = drawing.plain(curve["arm"])
        days = [0, *(point["day"] for point in curve["points"])]
        shares = [1.0, *(point["share"] for point in curve["points"])]
        spans = [(1.0, 1.0), *(words.pair(point["ci"]) or (None, None) for point in curve["points"])]
        band = _steps(days, [low for low, _ in spans], [high for _, high in spans])
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": band[0],
                "y": band[1],
                "fill": "toself",
                "fillcolor": color.replace("@series", "@band") if color.startswith("@series") else "@grid",
                "opacity": 0.6,
                "line": {"width": 0, "color": color},
                "hoverinfo": "skip",
                "showlegend": False,
                "legendgroup": name,
            }
        )
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "legendgroup": name,
                "x": days,
                "y": shares,
                "hovertext": [
                    f"day {day}, {name}<br>{words.percent(share, sign=False)} still there"
                    for day, share in zip(days, shares, strict=True)
                ],
                "hoverinfo": "text",
                "line": {"color": color, "width": 2, "shape": "hv"},
                "marker": {"color": color, "symbol": shape, "size": 6},
            }
        )
    layout = drawing.layout(height=340)
    layout["xaxis"] = drawing.axis(title="days since exposure", grid=False, rangemode="tozero")
    layout["yaxis"] = drawing.axis(title="not yet gone", tickformat="~%", nticks=6)
    return {"data": data, "layout": layout}


def returned(results: Mapping[str, Any]) -> Figure:
    """The share of users who come on each day after exposure, of those who were watched that long."""
    data: list[Figure] = []
    for each in results["retention"]["returns"]:
        color, shape = look(results, each["arm"])
        name = drawing.plain(each["arm"])
        points = each["points"]
        spans = [words.pair(point["ci"]) for point in points]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [point["day"] for point in points],
                "y": [point["share"] for point in points],
                "hovertext": [
                    f"day {point['day']}, {name}<br>{words.percent(point['share'], sign=False)} of "
                    f"{words.count(point['users'])} came"
                    for point in points
                ],
                "hoverinfo": "text",
                "line": {"color": color, "width": 2},
                "marker": {"color": color, "symbol": shape, "size": 7},
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [span[1] - p["share"] if span else None for span, p in zip(spans, points, strict=True)],
                    "arrayminus": [
                        p["share"] - span[0] if span else None for span, p in zip(spans, points, strict=True)
                    ],
                    "color": color,
                    "thickness": 1.2,
                    "width": 0,
                },
            }
        )
    layout = drawing.layout(height=340)
    layout["xaxis"] = drawing.axis(title="days since exposure", grid=False)
    layout["yaxis"] = drawing.axis(title="came that day", tickformat="~%", nticks=6)
    return {"data": data, "layout": layout}


def stayed_numbers(results: Mapping[str, Any]) -> Numbers:
    """The curves, a row for each arm and day on which users went."""
    return Numbers(
        heads=("Arm", "Day", "At risk", "Not yet gone", "Interval"),
        rows=tuple(
            (
                curve["arm"],
                words.count(point["day"]),
                words.count(point["at_risk"]),
                words.percent(point["share"], sign=False),
                _span(point["ci"]),
            )
            for curve in results["retention"]["curves"]
            for point in curve["points"]
        ),
    )


def returned_numbers(results: Mapping[str, Any]) -> Numbers:
    """The shares who came, a row for each arm and day."""
    return Numbers(
        heads=("Arm", "Day", "Watched that long", "Came", "Interval"),
        rows=tuple(
            (
                each["arm"],
                words.count(point["day"]),
                words.count(point["users"]),
                words.percent(point["share"], sign=False),
                _span(point["ci"]),
            )
            for each in results["retention"]["returns"]
            for point in each["points"]
        ),
    )


def _span(ci: Sequence[float | None] | None) -> str:
    ends = words.pair(ci)
    if ends is None:
        return words.NOTHING
    return f"{words.percent(ends[0], sign=False)} to {words.percent(ends[1], sign=False)}"


def _steps(
    days: Sequence[int], low: Sequence[float | None], high: Sequence[float | None]
) -> tuple[list[float], list[float]]:
    """The outline of a band between two step curves: forth along the upper one, back along the lower."""
    known = [
        (day, least, most)
        for day, least, most in zip(days, low, high, strict=True)
        if least is not None and most is not None
    ]
    upper: list[tuple[float, float]] = []
    lower: list[tuple[float, float]] = []
    for index, (day, least, most) in enumerate(known):
        if index:
            upper.append((day, known[index - 1][2]))
            lower.append((day, known[index - 1][1]))
        upper.append((day, most))
        lower.append((day, least))
    outline = upper + lower[::-1]
    return [x for x, _ in outline], [y for _, y in outline]
