"""What is gained for what: two quantities of every run and arm against each other, and which arms nobody beats on both.

Made from a comparison (see ``experiments.comparison``) alone. An arm is beaten by another that is at least as good on
both and better on one, by the estimates, whatever their intervals. Knows nothing of the page around the figures.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from experiments.report import beside, drawing, words
from experiments.report.drawing import Figure, Numbers

Comparison = Mapping[str, Any]

COSTS: Final = {
    "gflop_a_user": ("Operations of thinking, GFLOP a user", "counted from the plan of calls"),
    "projected_gpu_hours_a_day": ("GPU-hours of work a day, projected", "projected for the simulated cards"),
}
"""Quantities that are better when they are smaller: what they are called, and how they are known."""


class Point(NamedTuple):
    """An arm in a figure.

    Attributes:
        name: what it is called.
        look: colour and marker.
        at: the two quantities, [2].
        spans: their intervals, ``None`` where there is none, [2].
        truth: the true quantities, ``None`` where they are not known, [2].
        control: whether it is the arm that the others are held against.
    """

    name: str
    look: tuple[str, str]
    at: tuple[float, float]
    spans: tuple[tuple[float, float] | None, tuple[float, float] | None]
    truth: tuple[float, float] | None
    control: bool


def present(comparison: Comparison) -> bool:
    """Whether effects of all runs may stand in one figure, and there are two quantities to hold against each other."""
    return comparable(comparison) and bool(axes(comparison))


def comparable(comparison: Comparison) -> bool:
    """Whether all effects are over the same control in the same kind of world."""
    return bool(comparison["same"]["population"] and comparison["same"]["control"])


def charts(comparison: Comparison) -> dict[str, Figure]:
    """``pareto-0`` and on, in the order of ``axes``."""
    return {f"pareto-{index}": figure(comparison, across) for index, across in enumerate(axes(comparison))}


def axes(comparison: Comparison) -> list[str]:
    """What the primary metric is held against: costs that were counted, then the other metrics with enough lifts."""
    costs = [cost for cost in COSTS if len(_points(comparison, cost)) > 1]
    others = [name for name in beside.metrics(comparison)[1:] if len(_points(comparison, name)) > 1]
    return costs + others


def title(comparison: Comparison, across: str) -> str:
    """The quantity of the horizontal axis for people."""
    return COSTS[across][0] if across in COSTS else f"Lift of {words.title(comparison, across)}"


def sentence(comparison: Comparison, across: str) -> str:
    """Which arms nobody beats on both quantities, by the estimates and by the truth."""
    points = _points(comparison, across)
    best = words.listing([each.name for each in unbeaten(comparison, across, points)])
    if any(each.truth is None for each in points):
        return f"By the estimates, no other arm beats {best} on both."
    true = [each._replace(at=each.truth) for each in points if each.truth is not None]
    truly = words.listing([each.name for each in unbeaten(comparison, across, true)])
    return f"By the estimates, no other arm beats {best} on both; by the truth, none beats {truly}."


def unbeaten(comparison: Comparison, across: str, points: Sequence[Point]) -> list[Point]:
    """The points that no other point is at least as good as on both quantities, and better than on one."""
    signs = (_sign(comparison, across), _sign(comparison, comparison["primary"]))
    good = [tuple(sign * value for sign, value in zip(signs, each.at, strict=True)) for each in points]
    return [
        each
        for each, mine in zip(points, good, strict=True)
        if not any(all(o >= m for o, m in zip(other, mine, strict=True)) and other != mine for other in good)
    ]


def numbers(comparison: Comparison, across: str) -> Numbers:
    """What a figure shows, a row for each arm."""
    points = _points(comparison, across)
    best = {each.name for each in unbeaten(comparison, across, points)}
    primary = words.title(comparison, comparison["primary"])

    def quantity(value: float, name: str) -> str:
        return words.number(value) if name in COSTS else words.percent(value)

    return Numbers(
        heads=(
            "Run and arm",
            title(comparison, across),
            f"Lift of {primary}",
            f"{title(comparison, across)}, true",
            f"Lift of {primary}, true",
            "Beaten on both",
        ),
        rows=tuple(
            (
                each.name,
                quantity(each.at[0], across),
                words.percent(each.at[1]),
                quantity(each.truth[0], across) if each.truth else words.NOTHING,
                words.percent(each.truth[1]) if each.truth else words.NOTHING,
                "no" if each.name in best else "yes",
            )
            for each in points
        ),
    )


def figure(comparison: Comparison, across: str) -> Figure:
    """The primary metric's lift against another quantity, a mark for each arm and a line through the unbeaten ones."""
    points = _points(comparison, across)
    front = sorted(unbeaten(comparison, across, points), key=lambda each: each.at)
    data: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "not beaten on both",
            "legendrank": 1900,
            "x": [each.at[0] for each in front],
            "y": [each.at[1] for each in front],
            "hoverinfo": "skip",
            "line": {"color": "@muted", "width": 1.4, "dash": "dash"},
        }
    ]
    primary = words.title(comparison, comparison["primary"])
    for each in points:
        color, shape = each.look
        bars = {
            key: {
                "type": "data",
                "symmetric": False,
                "array": [span[1] - value],
                "arrayminus": [value - span[0]],
                "color": color,
                "thickness": 1.4,
                "width": 0,
            }
            for key, span, value in zip(("error_x", "error_y"), each.spans, each.at, strict=True)
            if span is not None
        }
        across_words = words.number(each.at[0]) if across in COSTS else words.percent(each.at[0])
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": drawing.plain(each.name),
                "x": [each.at[0]],
                "y": [each.at[1]],
                "hovertext": [
                    "<br>".join(
                        [
                            drawing.plain(each.name),
                            drawing.plain(f"{title(comparison, across)} {across_words}"),
                            drawing.plain(f"Lift of {primary} {words.percent(each.at[1])}"),
                        ]
                    )
                ],
                "hoverinfo": "text",
                "marker": {"color": color, "symbol": shape, "size": 11},
                **bars,
            }
        )
    true = [(*each.truth, f"{drawing.plain(each.name)}<br>truth") for each in points if each.truth and not each.control]
    if true:
        data.append(drawing.truths(true))
    layout = drawing.layout(height=430)
    cost = across in COSTS
    layout["xaxis"] = drawing.axis(
        title=drawing.plain(title(comparison, across)),
        zeroline=not cost,
        tickformat="~g" if cost else "+.3~%",
        nticks=6,
        rangemode="tozero" if cost else "normal",
    )
    layout["yaxis"] = drawing.axis(
        title=drawing.plain(f"lift of {primary}"), zeroline=True, tickformat="+.3~%", nticks=7
    )
    return {"data": data, "layout": layout}


def _sign(comparison: Comparison, name: str) -> int:
    """1 where more is better, -1 where less is."""
    if name in COSTS:
        return -1
    return 1 if comparison["metrics"][name].get("higher_is_better", True) else -1


def _points(comparison: Comparison, across: str) -> list[Point]:
    """The arms with both quantities, the control first."""
    rows = {(row["run"], row["treatment"], row["metric"]): row for row in comparison["rows"]}
    primary = comparison["primary"]
    found = [] if (control := _control(comparison, across)) is None else [control]
    for (run, arm), look in beside.looks(comparison).items():
        up = rows.get((run, arm, primary))
        if up is None or not words.known(up["lift"]):
            continue
        row = rows.get((run, arm, across))
        value: float
        if across in COSTS:
            cost = _cost(comparison, run, arm, across)
            if cost is None:
                continue
            value, span = cost
            true: float | None = value
        elif row is not None and words.known(row["lift"]):
            value, span, true = row["lift"], words.pair(row["lift_ci"]), (row.get("truth") or {}).get("lift")
        else:
            continue
        # Known or not together, as a pair of ends is.
        truth = words.pair((true, (up.get("truth") or {}).get("lift")))
        spans = (span, words.pair(up["lift_ci"]))
        found.append(Point(beside.name(comparison, up), look, (value, up["lift"]), spans, truth, control=False))
    return found


def _control(comparison: Comparison, across: str) -> Point | None:
    """The arm that the others are held against, whose lifts are 0; ``None`` where its cost was not counted."""
    run = comparison["runs"][0]
    value: float = 0.0
    if across in COSTS:
        costs = [_cost(comparison, each["label"], each["control"], across) for each in comparison["runs"]]
        known = next((cost for cost in costs if cost is not None), None)
        if known is None:
            return None
        value = known[0]
    at = (value, 0.0)
    return Point(str(run["control"]), ("@muted", "x"), at, (None, None), at, control=True)


def _cost(comparison: Comparison, run: str, arm: str, cost: str) -> tuple[float, tuple[float, float] | None] | None:
    found = comparison["costs"].get(run, {}).get(arm, {}).get(cost)
    if isinstance(found, Mapping):
        value, span = found.get("value"), words.pair((found.get("low"), found.get("high")))
        return (value, span) if words.known(value) and value is not None else None
    return (found, None) if words.known(found) else None
