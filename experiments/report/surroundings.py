"""The figure of what the world was like: weather, occasions and trends on one axis of dates.

Made from the results alone, and computes no statistic. Knows nothing of the page around the figure.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from experiments.report import drawing, words
from experiments.report.drawing import Figure, Numbers

MOST_CITIES: Final = 6
"""Cities that the figure has room for; of more, so many from all over the list are shown."""
STRONGEST: Final = 12
"""Rows of occasions, and of trends, that the figure has room for."""


def present(results: Mapping[str, Any]) -> bool:
    """Whether the world had any weather, occasion or trend."""
    return context(results) is not None


def charts(results: Mapping[str, Any]) -> dict[str, Figure]:
    """The one figure, ``context``."""
    figure = context(results)
    return {} if figure is None else {"context": figure}


def numbers(results: Mapping[str, Any]) -> Numbers:
    """What the figure shows, a row a day: each city's weather, and the occasions and trends that were up."""
    found = results["context"]
    cities = dict(_cities(found))
    kinds = {
        head: rows
        for head, rows in (
            ("Occasions", heat_rows(found.get("occasions"), "title")),
            ("Trends", heat_rows(found.get("trends"), "topic")),
        )
        if rows
    }
    return Numbers(
        heads=("Day", *(words.place(name) for name in cities), *kinds),
        rows=tuple(
            (
                words.day(date),
                *(_weather_words(city, index) for city in cities.values()),
                *(_up(rows, index) for rows in kinds.values()),
            )
            for index, date in enumerate(found["dates"])
        ),
        texts=1 + len(cities) + len(kinds),
    )


def note(results: Mapping[str, Any]) -> str:
    """How many of the cities are shown, where it is not all, after a space; else empty."""
    whole, shown = len(results["context"].get("cities") or {}), len(_cities(results["context"]))
    return f" {words.count(shown)} of {words.count(whole)} cities are shown." if shown < whole else ""


def _cities(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The cities that are shown, with their weather."""
    known = [(name, city) for name, city in (found.get("cities") or {}).items() if city and _has(city)]
    return known[:: -(-len(known) // MOST_CITIES)] if known else []


def context(results: Mapping[str, Any]) -> Figure | None:
    """Weather of each city, occasions and trends on one axis of dates; ``None`` for a world without any."""
    found = results.get("context") or {}
    dates = found.get("dates") or []
    cities = _cities(found)
    heats = [
        (title, name, rows)
        for title, name, rows in (
            ("Occasions", "@heat-occasion", heat_rows(found.get("occasions"), "title")),
            ("Trends", "@heat-trend", heat_rows(found.get("trends"), "topic")),
        )
        if rows
    ]
    if not dates or not (cities or heats):
        return None
    heights = [132] * len(cities) + [8 + 40 * len(rows) for _, _, rows in heats]
    gap = 40
    total = sum(heights) + gap * len(heights)
    layout = drawing.layout(height=total + 70)
    layout["showlegend"] = False
    layout["margin"]["t"] = 44
    layout["barmode"] = "overlay"
    layout["annotations"] = []
    data: list[Figure] = []
    top = 1.0
    axis = 0
    for index, height in enumerate(heights):
        top -= gap / total
        domain = [max(0.0, top - height / total), top]
        heading: str
        if index < len(cities):
            heading = words.place(cities[index][0])
            data += _weather(cities[index][1], dates, axis)
            # Rain takes the lower third of the panel, hanging from nothing and never above the temperatures.
            split = domain[0] + 0.3 * (domain[1] - domain[0])
            layout[drawing.nth("yaxis", axis)] = drawing.axis(domain=[split, domain[1]], title="°C", nticks=4)
            layout[drawing.nth("yaxis", axis + 1)] = drawing.axis(
                domain=[domain[0], split - 0.05 * (domain[1] - domain[0])],
                title="mm",
                nticks=2,
                rangemode="tozero",
            )
            axis += 2
        else:
            heading, colorscale, rows = heats[index - len(cities)]
            data.append(_heat(rows, dates, colorscale, axis))
            layout[drawing.nth("yaxis", axis)] = {
                "visible": False,
                "domain": domain,
                "range": [-len(rows) + 0.7, 0.7],
                "fixedrange": True,
            }
            layout["annotations"] += [
                drawing.label(
                    name,
                    x=0,
                    y=0.18 - row,
                    yref=drawing.nth("y", axis),
                    yanchor="bottom",
                    size=11,
                    color="@muted",
                )
                for row, (name, _) in enumerate(rows)
            ]
            axis += 1
        layout["annotations"].append(
            drawing.label(heading, x=0, y=domain[1] + 6 / total, yref="paper", yanchor="bottom", size=13)
        )
        top = domain[0]
    # Half a day of margin keeps bars and cells of the first and last day whole.
    layout["xaxis"] = drawing.axis(
        type="date",
        grid=False,
        anchor=drawing.nth("y", axis - 1),
        range=[_half(dates[0], -1), _half(dates[-1], 1)],
    )
    start = results["horizon"].get("experiment_start")
    if start and dates[0] <= start[:10] <= dates[-1]:
        layout["shapes"] = [
            {
                "type": "line",
                "xref": "x",
                "yref": "paper",
                "x0": _half(start[:10], -1),
                "x1": _half(start[:10], -1),
                "y0": 0,
                "y1": 1,
                "line": {"color": "@ink", "width": 1.2, "dash": "dash"},
            }
        ]
        layout["annotations"].append(
            {
                **drawing.label("experiment starts", x=_half(start[:10], -1), y=1, yref="paper", yanchor="bottom"),
                "xref": "x",
                "xanchor": "right" if start[:10] > dates[len(dates) // 2] else "left",
            }
        )
    return {"data": data, "layout": layout}


def heat_rows(entries: Sequence[Mapping[str, Any]] | None, label: str) -> list[tuple[str, Sequence[float | None]]]:
    """The strongest entries that are ever above zero, in their own order: (label, levels by day)."""
    alive = [
        (str(entry.get(label, "")), entry["level"])
        for entry in entries or []
        if any(words.known(each) and each > 0 for each in entry.get("level") or [])
    ]
    if len(alive) <= STRONGEST:
        return alive
    mass = [sum(each for each in levels if words.known(each)) for _, levels in alive]
    keep = sorted(sorted(range(len(alive)), key=lambda i: (-mass[i], i))[:STRONGEST])
    return [alive[i] for i in keep]


def _weather(city: Mapping[str, Any], dates: Sequence[str], axis: int) -> list[Figure]:
    low, high = city.get("temp_min") or [], city.get("temp_max") or []
    rain, condition = city.get("precipitation") or [], city.get("condition") or []
    traces: list[Figure] = []
    axes = {"xaxis": "x", "yaxis": drawing.nth("y", axis)}
    if low and high:
        hover = [
            f"{words.day(each)}<br>{words.number(low[i])} to {words.number(high[i])} °C"
            + (f"<br>{drawing.plain(condition[i])}" if i < len(condition) and condition[i] else "")
            for i, each in enumerate(dates)
        ]
        line = {"color": "@temperature", "width": 1}
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": dates,
                "y": low,
                "line": line,
                "hoverinfo": "skip",
                **axes,
            }
        )
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": dates,
                "y": high,
                "line": line,
                "fill": "tonexty",
                "fillcolor": "@temperature-band",
                "hovertext": hover,
                "hoverinfo": "text",
                **axes,
            }
        )
    if rain:
        traces.append(
            {
                "type": "bar",
                "x": dates,
                "y": rain,
                "marker": {"color": "@rain"},
                "hovertext": [
                    f"{words.day(each)}<br>{words.number(mm)} mm" for each, mm in zip(dates, rain, strict=False)
                ],
                "hoverinfo": "text",
                "xaxis": "x",
                "yaxis": drawing.nth("y", axis + 1),
            }
        )
    return traces


def _heat(
    rows: Sequence[tuple[str, Sequence[float | None]]], dates: Sequence[str], colorscale: str, axis: int
) -> Figure:
    return {
        "type": "heatmap",
        "x": dates,
        "y": [-row for row in range(len(rows))],
        "z": [list(levels) for _, levels in rows],
        "zmin": 0,
        "colorscale": colorscale,
        "showscale": False,
        "xgap": 0,
        "ygap": 26,
        "hovertext": [
            [
                f"{drawing.plain(name)}<br>{words.day(each)}<br>level {words.number(value)}"
                for each, value in zip(dates, levels, strict=False)
            ]
            for name, levels in rows
        ],
        "hoverinfo": "text",
        "xaxis": "x",
        "yaxis": drawing.nth("y", axis),
    }


def _weather_words(city: Mapping[str, Any], index: int) -> str:
    low, high = city.get("temp_min") or [], city.get("temp_max") or []
    rain, condition = city.get("precipitation") or [], city.get("condition") or []
    parts = [str(condition[index])] if index < len(condition) and condition[index] else []
    if index < min(len(low), len(high)):
        parts.append(f"{words.short(low[index])} to {words.short(high[index])} °C")
    if index < len(rain):
        parts.append(f"{words.short(rain[index])} mm")
    return ", ".join(parts) or words.NOTHING


def _up(rows: Sequence[tuple[str, Sequence[float | None]]], index: int) -> str:
    """Names and levels of what is above zero on a day."""
    up = [
        f"{name} {words.short(level)}"
        for name, levels in rows
        if index < len(levels) and (level := levels[index]) is not None and words.known(level) and level > 0
    ]
    return ", ".join(up) or words.NOTHING


def _has(city: Mapping[str, Any]) -> bool:
    return bool((city.get("temp_min") and city.get("temp_max")) or city.get("precipitation"))


def _half(iso: str, sign: int) -> str:
    """Noon before (-1) or after (+1) a date, in the form Plotly reads."""
    noon = date.fromisoformat(iso[:10]).toordinal() - (1 if sign < 0 else 0)
    return f"{date.fromordinal(noon).isoformat()} 12:00"
