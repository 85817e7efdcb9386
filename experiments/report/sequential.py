"""Reading a test before its end: the statistic and its bounds at each look, and the estimate of that day.

Made from the results alone, and computes no statistic. Knows nothing of the page around the figures, nor of how bounds
are found.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.report import drawing, words
from experiments.report.appearance import look
from experiments.report.drawing import Figure, Numbers

Path = Mapping[str, Any]


def present(results: Mapping[str, Any]) -> bool:
    """Whether a test was read more than once."""
    return bool(paths(results))


def paths(results: Mapping[str, Any]) -> list[Path]:
    """The tests that were read more than once, one for each treatment."""
    return [path for path in results.get("sequential") or [] if len(path["looks"]) > 1]


def charts(results: Mapping[str, Any]) -> dict[str, Figure]:
    """For each path its statistic, ``looks-0-z`` and on, and its estimate, ``looks-0-effect`` and on."""
    found: dict[str, Figure] = {}
    for number, path in enumerate(paths(results)):
        found[f"looks-{number}-z"] = statistic(results, path)
        found[f"looks-{number}-effect"] = estimates(results, path)
    return found


def sentence(results: Mapping[str, Any], path: Path) -> str:
    """Whether and where the test would have stopped."""
    looks = path["looks"]
    metric = words.title(results, path["metric"])
    method = f"Read at {words.count(len(looks))} looks ({path['method']})"
    if path["stopped"] is None:
        return f"{method}, {metric} reached no bound."
    at = looks[path["stopped"]]
    side = "higher" if at["z"] > 0 else "lower"
    where = f"at look {at['look']} of {len(looks)}, {_when(at)}"
    early = "" if path["stopped"] < len(looks) - 1 else ", which is its end"
    return f"{method}, {metric} reached its bound {where}{early}: {path['treatment']} is {side}."


def statistic(results: Mapping[str, Any], path: Path) -> Figure:
    """The statistic of every look between the bounds that would stop the test."""
    color, shape = look(results, path["treatment"])
    looks = path["looks"]
    xs = _places(looks)
    bounded = [(x, each["bound"]) for x, each in zip(xs, looks, strict=True) if words.known(each["bound"])]
    data: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "bound",
            "legendgroup": "bound",
            "showlegend": sign > 0,
            "x": [x for x, _ in bounded],
            "y": [sign * bound for _, bound in bounded],
            "hovertext": [f"bound {words.signed(sign * bound)}" for _, bound in bounded],
            "hoverinfo": "text",
            "line": {"color": "@muted", "width": 1.6, "dash": "dash"},
            "marker": {"color": "@muted", "size": 7, "symbol": "triangle-down" if sign > 0 else "triangle-up"},
        }
        for sign in (1, -1)
    ]
    data.append(
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": drawing.plain(path["treatment"]),
            "x": xs,
            "y": [each["z"] if words.known(each["z"]) else None for each in looks],
            "hovertext": [
                f"look {each['look']}, {drawing.plain(_when(each))}<br>z {words.number(each['z'])}, "
                f"bound {words.number(each['bound'])}"
                for each in looks
            ],
            "hoverinfo": "text",
            "line": {"color": color, "width": 2},
            "marker": {"color": color, "size": 8, "symbol": shape},
        }
    )
    if path["stopped"] is not None:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "bound reached",
                "x": [xs[path["stopped"]]],
                "y": [looks[path["stopped"]]["z"]],
                "hoverinfo": "skip",
                "marker": {
                    "symbol": "diamond-open",
                    "size": 17,
                    "color": "@ink",
                    "line": {"width": 1.8, "color": "@ink"},
                },
            }
        )
    layout = _layout(looks)
    layout["yaxis"] = drawing.axis(title="statistic, standard normal", zeroline=True, nticks=7)
    return {"data": data, "layout": layout}


def estimates(results: Mapping[str, Any], path: Path) -> Figure:
    """The estimate of every look with an interval that holds at all of them together, and the truth of that day."""
    color, shape = look(results, path["treatment"])
    looks = path["looks"]
    value, ends = _scale(looks)
    unit = words.unit(results, path["metric"])
    xs, spans = _places(looks), [words.pair(each[ends]) for each in looks]
    shown = [
        each[value] if words.known(each[value]) and span else None for each, span in zip(looks, spans, strict=True)
    ]
    data: list[Figure] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": drawing.plain(path["treatment"]),
            "x": xs,
            "y": shown,
            "hovertext": [
                f"look {each['look']}, {drawing.plain(_when(each))}<br>{_amount(each[value], value, unit)} "
                f"({words.interval(each[ends], None if value == 'lift' else unit)})"
                for each in looks
            ],
            "hoverinfo": "text",
            "marker": {"color": color, "size": 9, "symbol": shape},
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [
                    span[1] - y if span and y is not None else None for span, y in zip(spans, shown, strict=True)
                ],
                "arrayminus": [
                    y - span[0] if span and y is not None else None for span, y in zip(spans, shown, strict=True)
                ],
                "color": color,
                "thickness": 2,
                "width": 0,
            },
        }
    ]
    truth = [(each.get("truth") or {}).get(value) for each in looks]
    if any(words.known(each) for each in truth):
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "truth",
                "legendrank": 2000,
                "x": xs,
                "y": truth,
                "hovertext": [f"truth {_amount(each, value, unit)}" for each in truth],
                "hoverinfo": "text",
                "line": {"color": "@ink", "width": 1.6, "dash": "dot"},
            }
        )
    layout = _layout(looks)
    name = f"{value} of {drawing.plain(words.title(results, path['metric']))}"
    layout["yaxis"] = drawing.axis(
        title=name, zeroline=True, tickformat="+.3~%" if value == "lift" or unit == "share" else "+~g", nticks=7
    )
    return {"data": data, "layout": layout}


def numbers(results: Mapping[str, Any], path: Path) -> Numbers:
    """What both figures of a path show."""
    looks = path["looks"]
    value, ends = _scale(looks)
    unit = words.unit(results, path["metric"])
    has_truth = any(each.get("truth") for each in looks)
    heads = ("Look", "Information", "Statistic", "Bound", "Level spent", value.capitalize(), "Interval at all looks")
    return Numbers(
        heads=(*heads, *(["Truth"] if has_truth else []), "Bound reached"),
        rows=tuple(
            (
                f"{each['look']}, {_when(each)}",
                words.percent(each["information"], sign=False),
                words.number(each["z"]),
                words.number(each["bound"]),
                words.number(each["alpha_spent"]),
                _amount(each[value], value, unit),
                words.interval(each[ends], None if value == "lift" else unit),
                *([_amount((each.get("truth") or {}).get(value), value, unit)] if has_truth else []),
                "yes" if each["crossed"] else "no",
            )
            for each in looks
        ),
    )


def _scale(looks: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Which estimate is shown: lifts where there are any, else differences."""
    return ("lift", "lift_ci") if any(words.known(each["lift"]) for each in looks) else ("effect", "ci")


def _amount(value: float | None, kind: str, unit: str) -> str:
    return words.percent(value) if kind == "lift" else words.signed(value, unit)


def _when(at: Mapping[str, Any]) -> str:
    """The date of a look, or how much of the planned time had passed where it has none."""
    return words.day(at["date"]) if at.get("date") else f"{words.percent(at['time'], sign=False)} of the time"


def _places(looks: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [each["date"] if all(one.get("date") for one in looks) else each["time"] for each in looks]


def _layout(looks: Sequence[Mapping[str, Any]]) -> Figure:
    layout = drawing.layout(height=330)
    if all(each.get("date") for each in looks):
        layout["xaxis"] = drawing.axis(type="date", grid=False)
    else:
        layout["xaxis"] = drawing.axis(title="share of the planned time", grid=False, tickformat="~%")
    return layout
