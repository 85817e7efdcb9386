"""How the effect answers to what a sweep varied: a curve along each axis, one line for each other combination.

Made from the contents of ``sweep.json`` alone, and computes no statistic. Knows nothing of the page around the figures.
"""

import json
from collections.abc import Mapping
from typing import Any

from experiments.report import drawing, words
from experiments.report.drawing import Figure, Numbers

Sweep = Mapping[str, Any]


def present(sweep: Sweep) -> bool:
    """Whether the sweep has an axis; one over seeds alone has none."""
    return bool(sweep["axes"])


def charts(sweep: Sweep) -> dict[str, Figure]:
    """``response-0`` and on, in the order of ``views``."""
    return {f"response-{index}": curves(sweep, *view) for index, view in enumerate(views(sweep))}


def views(sweep: Sweep) -> list[tuple[str, str]]:
    """What can be looked at: each metric along each axis, the primary metric first."""
    primary = sweep["primary"]
    metrics = [primary, *(name for name in sweep["metrics"] if name != primary)]
    return [(metric, axis["key"]) for metric in metrics for axis in sweep["axes"]]


def title(sweep: Sweep, metric: str, key: str) -> str:
    """What a view is called."""
    name = words.title(sweep, metric)
    return name if len(sweep["axes"]) == 1 else f"{name} by {short(sweep, key)}"


def short(sweep: Sweep, key: str) -> str:
    """As much of a dotted key, from its end, as tells it from the other axes."""
    others = [axis["key"] for axis in sweep["axes"] if axis["key"] != key]
    parts = key.split(".")
    for count in range(1, len(parts)):
        tail = ".".join(parts[-count:])
        if not any(other == tail or other.endswith(f".{tail}") for other in others):
            return tail
    return key


def curves(sweep: Sweep, metric: str, key: str) -> Figure:
    """The lift of a metric along one axis, with intervals, and the truth as diamonds."""
    values = next(axis["values"] for axis in sweep["axes"] if axis["key"] == key)
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    shown = {json.dumps(value): value if numeric else words.configured(value) for value in values}
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in sweep["curves"]:
        if row["metric"] == metric:
            lines.setdefault(_line(sweep, row, key), []).append(row)
    data: list[Figure] = []
    truths: list[tuple[Any, float, str]] = []
    for number, (name, rows) in enumerate(lines.items()):
        order = [json.dumps(value) for value in (sorted(values) if numeric else values)]
        rows = sorted(rows, key=lambda row: order.index(json.dumps(row["values"][key])))
        known = [row for row in rows if words.known(row["lift"])]
        xs = [shown[json.dumps(row["values"][key])] for row in known]
        spans = [words.pair(row["ci"]) for row in known]
        color = f"@series{number % drawing.SERIES}"
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if numeric else "markers",  # what has no order has no way from one to the next
                "name": drawing.plain(name),
                "x": xs,
                "y": [row["lift"] for row in known],
                "hovertext": [drawing.plain(f"{name}, {_point_words(sweep, row, key)}") for row in known],
                "hoverinfo": "text",
                "line": {"color": color, "width": 2},
                "marker": {"color": color, "symbol": drawing.symbol(number), "size": 8},
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [span[1] - row["lift"] if span else None for span, row in zip(spans, known, strict=True)],
                    "arrayminus": [
                        row["lift"] - span[0] if span else None for span, row in zip(spans, known, strict=True)
                    ],
                    "color": color,
                    "thickness": 1.6,
                    "width": 0,
                },
            }
        )
        truths += [
            (x, row["truth"], drawing.plain(f"{name}, truth {words.percent(row['truth'])}"))
            for x, row in zip(xs, known, strict=True)
            if words.known(row["truth"])
        ]
    if truths:
        data.append(drawing.truths(truths))
    layout = drawing.layout(height=400)
    axis = {"tickvals": sorted(values)} if numeric and len(values) <= 12 else {} if numeric else {"type": "category"}
    layout["xaxis"] = {**drawing.axis(title=drawing.plain(short(sweep, key)), grid=False), **axis}
    layout["yaxis"] = drawing.axis(
        title=f"lift of {drawing.plain(words.title(sweep, metric))}", zeroline=True, tickformat="+.3~%", nticks=7
    )
    return {"data": data, "layout": layout}


def numbers(sweep: Sweep, metric: str, key: str) -> Numbers:
    """What a figure shows, a row for each combination and treatment."""
    treatments = {row["treatment"] for row in sweep["curves"]}
    heads = [short(sweep, axis["key"]) for axis in sweep["axes"]]
    heads = [short(sweep, key), *(head for head in heads if head != short(sweep, key))]
    keys = [key, *(axis["key"] for axis in sweep["axes"] if axis["key"] != key)]
    rows = [row for row in sweep["curves"] if row["metric"] == metric]
    orders = {axis["key"]: [json.dumps(value) for value in axis["values"]] for axis in sweep["axes"]}
    rows.sort(key=lambda row: [orders[each].index(json.dumps(row["values"][each])) for each in keys])
    several = len(treatments) > 1
    return Numbers(
        heads=(*heads, *(["Arm"] if several else []), "Lift", "Interval", "True lift", "Seeds"),
        rows=tuple(
            (
                *(words.configured(row["values"][each]) for each in keys),
                *([row["treatment"]] if several else []),
                words.percent(row["lift"]),
                words.interval(row["ci"]),
                words.percent(row["truth"]),
                words.count(row["seeds"]),
            )
            for row in rows
        ),
        texts=len(keys) + several,
    )


def _line(sweep: Sweep, row: Mapping[str, Any], key: str) -> str:
    """What stays the same along a line: the other values, and the treatment where there are several."""
    parts = [
        f"{short(sweep, axis['key'])} {words.configured(row['values'][axis['key']])}"
        for axis in sweep["axes"]
        if axis["key"] != key
    ]
    several = len({each["treatment"] for each in sweep["curves"]}) > 1
    return ", ".join([*([row["treatment"]] if several or not parts else []), *parts])


def _point_words(sweep: Sweep, row: Mapping[str, Any], key: str) -> str:
    at = f"{short(sweep, key)} {words.configured(row['values'][key])}"
    over = f", {row['seeds']} seeds" if row["seeds"] > 1 else ""
    return f"{at}: {words.percent(row['lift'])} ({words.interval(row['ci'])}){over}"
