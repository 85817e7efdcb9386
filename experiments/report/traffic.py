"""The figures and tables of traffic allocation: what it bought, what it showed each day, and what it paid.

Made from the results alone. Days are averaged over their pages; nothing else is computed. Knows nothing of the page
around the figures, nor of how shares and exposures are solved for.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from experiments.report import drawing, words
from experiments.report.appearance import look
from experiments.report.drawing import Figure, Numbers

STATUSES: Final = ("start", "optimal", "relaxed", "fallback")
"""How a day's split came about, in the order of the table."""

_KNOWN: Final = {
    "ctr": ("Click-through rate", "share"),
    "ner": ("Novelty exposure rate", "share"),
    "tv": ("Transaction value", "currency a user"),
}
_PRICES: Final = ("gpu_hour", "conversion", "novelty_point")
_NO_PRICE: Final = 1e-6
_LONGEST_LABEL: Final = 26
# What a panel measures on a wide page, in pixels; labels are kept apart on a panel of this size.
_WIDTH, _HEIGHT = 820.0, 290.0
_ROW: Final = 34

Box = tuple[float, float, float, float]


class Prices(NamedTuple):
    """What one arm's split cost: days by status, limits that gave way, and prices on the last solved day.

    Attributes:
        arm: the arm.
        statuses: days of each of ``STATUSES``.
        gave_way: (limit, days), the most frequent first.
        date: ISO date of the prices, ``None`` if no day was solved.
        prices: clicks a day for one more GPU-hour a day, one more conversion that may be given up, and one point
            off the novelty floor, as text.
    """

    arm: str
    statuses: tuple[int, ...]
    gave_way: tuple[tuple[str, int], ...]
    date: str | None
    prices: tuple[str, ...]


class Paid(NamedTuple):
    """What one arm's exposure program paid: mean over the pages and (lowest day, highest day).

    Attributes:
        arm: the arm.
        solver: how the program was solved.
        penalty: lambda.
        alpha: the price of conversion.
        r: the price of total exposure.
        gave_way: share of pages on which a constraint was not met.
    """

    arm: str
    solver: str
    penalty: float | None
    alpha: tuple[float | None, tuple[float, float] | None]
    r: tuple[float | None, tuple[float, float] | None]
    gave_way: tuple[float | None, tuple[float, float] | None]


def present(results: Mapping[str, Any]) -> bool:
    """Whether a run has anything to show here."""
    return bool(results.get("allocation") or results.get("frontier"))


def charts(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Every figure of the section by name: ``frontier-ner``, ``frontier-tv``, ``cognitive``, ``split-0`` and on."""
    found: dict[str, Figure] = {}
    if results.get("frontier"):
        found |= {f"frontier-{metric}": frontier(results, metric) for metric in ("ner", "tv")}
    if results.get("allocation"):
        found["cognitive"] = cognitive(results)
        found |= {f"split-{index}": shares(results, arm) for index, arm in enumerate(split_arms(results))}
    return found


def split_arms(results: Mapping[str, Any]) -> list[str]:
    """The arms that decide a share for each segment every day."""
    found = results.get("allocation") or {}
    return [arm for arm, diary in found.items() if (diary.get("split") or {}).get("days")]


def title(results: Mapping[str, Any], metric: str) -> str:
    """The name of a metric of the frontier, which the analysis itself may lack."""
    return words.title(results, metric) if metric in results["metrics"] else _KNOWN[metric][0]


def unit(results: Mapping[str, Any], metric: str) -> str:
    """The unit of a metric of the frontier, which the analysis itself may lack."""
    if metric in results["metrics"]:
        return words.unit(results, metric)
    return _KNOWN[metric][1].replace("currency", str(results.get("currency") or "currency"))


def frontier(results: Mapping[str, Any], metric: str) -> Figure:
    """True click-through rate against another true metric, along lambda, with the other arms as marks."""
    found = results["frontier"]
    points = [each for each in found["points"] if words.known(each["ctr"]) and words.known(each[metric])]
    others = [each for each in found["others"] if words.known(each["ctr"]) and words.known(each[metric])]
    arm = str(found["arm"])
    color, _ = look(results, arm)
    units = unit(results, metric), unit(results, "ctr")

    def hover(name: str, each: Mapping[str, Any]) -> str:
        values = ((metric, units[0]), ("ctr", units[1]))
        return "<br>".join(
            [drawing.plain(name)]
            + [f"{drawing.plain(title(results, m))} {words.number(each[m], u)}" for m, u in values]
        )

    data: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": [each[metric] for each in points],
            "y": [each["ctr"] for each in points],
            "hovertext": [hover(f"{arm}, λ {each['lambda']:g}", each) for each in points],
            "hoverinfo": "text",
            "line": {"color": color, "width": 1.6},
            "marker": {
                "color": color,
                "opacity": 1,
                "size": [15 if each["chosen"] else 7 for each in points],
                "symbol": ["diamond" if each["chosen"] else "circle" for each in points],
                "line": {"color": "@ink", "width": [1.6 if each["chosen"] else 0 for each in points]},
            },
        }
    ]
    for each in others:
        color, shape = look(results, each["arm"])
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [each[metric]],
                "y": [each["ctr"]],
                "hovertext": [hover(each["arm"], each)],
                "hoverinfo": "text",
                "marker": {"color": color, "symbol": shape, "size": 11},
            }
        )
    layout = drawing.layout(height=380)
    layout["showlegend"] = False
    ranges = [_range([each[name] for each in (*points, *others)]) for name in (metric, "ctr")]
    for key, name, span, of in zip(("xaxis", "yaxis"), (metric, "ctr"), ranges, units, strict=True):
        text = drawing.plain(title(results, name) + ("" if of == "share" else f", {of}"))
        layout[key] = drawing.axis(title=text, range=span, tickformat="~%" if of == "share" else "~g", nticks=5)
    ends = {0, len(points) - 1}
    # The first to be placed lies closest to its mark: what a reader looks for first.
    wanted = [(0 if p["chosen"] else 2 if i in ends else 3, p, f"λ {p['lambda']:g}") for i, p in enumerate(points)]
    wanted += [(1, each, _short(each["arm"])) for each in others]
    wanted.sort(key=lambda each: each[0])
    at = [_pixels(each, metric, ranges) for _, each, _ in wanted]
    line = [_pixels(each, metric, ranges) for each in points]
    texts = [f"{_short(arm)}, {text}" if rank == 0 else text for rank, _, text in wanted]
    layout["annotations"] = [
        {
            **drawing.label(text, x=each[metric], y=each["ctr"], yref="y", size=12 if rank < 2 else 11),
            "xref": "x",
            "xanchor": "center",
            "showarrow": True,
            "arrowhead": 0,
            "arrowwidth": 0.8,
            "arrowcolor": "@muted",
            "standoff": 5,
            "ax": offset[0],
            "ay": offset[1],
            "font": {"size": 12 if rank < 2 else 11, "color": "@ink" if rank < 2 else "@muted"},
        }
        for (rank, each, _), text, offset in zip(wanted, texts, _apart(at, texts, line), strict=True)
    ]
    return {"data": data, "layout": layout}


def cognitive(results: Mapping[str, Any]) -> Figure:
    """Cognitive items on a page by day, one line for each arm."""
    data: list[Figure] = []
    for arm, diary in results["allocation"].items():
        color, shape = look(results, arm)
        days = diary.get("days") or []
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": drawing.plain(arm),
                "x": [day["date"] for day in days],
                "y": [day["cognitive_a_page"] for day in days],
                "hovertext": [
                    f"{words.day(day['date'])}, {drawing.plain(arm)}<br>{words.number(day['cognitive_a_page'])} a page"
                    f"<br>{words.count(day['pages'])} pages"
                    for day in days
                ],
                "hoverinfo": "text",
                "line": {"color": color, "width": 2},
                "marker": {"size": 7, "color": color, "symbol": shape},
            }
        )
    layout = drawing.layout(height=320)
    layout["xaxis"] = drawing.axis(type="date", grid=False)
    layout["yaxis"] = drawing.axis(title="cognitive items a page", rangemode="tozero", nticks=6)
    return {"data": data, "layout": layout}


def shares(results: Mapping[str, Any], arm: str) -> Figure:
    """The share of each segment's requests that may draw on the cognitive channel: a row a segment, a cell a day."""
    split = results["allocation"][arm]["split"]
    names, days = split["segments"], split["days"]
    height = _ROW * len(names)
    layout = drawing.layout(height=height + 62)
    layout["showlegend"] = False
    layout["xaxis"] = drawing.axis(type="date", grid=False)
    layout["yaxis"] = {"visible": False, "range": [-len(names) + 0.6, 0.7], "fixedrange": True}
    layout["annotations"] = [
        {
            **drawing.label(text, x=x, y=0.2 - row, yref="y", yanchor="bottom", size=11, color="@muted"),
            "xanchor": anchor,
        }
        for row, name in enumerate(names)
        for text, x, anchor in ((name, 0, "left"), (_first_and_last(days, row), 1, "right"))
    ]
    heat: Figure = {
        "type": "heatmap",
        "x": [day["date"] for day in days],
        "y": [-row for row in range(len(names))],
        "z": [[day["share"][row] for day in days] for row in range(len(names))],
        "zmin": 0,
        "zmax": 1,
        "colorscale": "@heat-trend",
        "showscale": False,
        "xgap": 1,
        "ygap": 22,
        "hovertext": [[_cell(name, day, row) for day in days] for row, name in enumerate(names)],
        "hoverinfo": "text",
    }
    return {"data": [heat], "layout": layout}


def cognitive_numbers(results: Mapping[str, Any]) -> Numbers:
    """Cognitive items on a page, a row a day and a column an arm."""
    diaries = results["allocation"]
    by_date: dict[str, dict[str, float]] = {}
    for arm, diary in diaries.items():
        for day in diary.get("days") or []:
            by_date.setdefault(day["date"], {})[arm] = day["cognitive_a_page"]
    return Numbers(
        heads=("Day", *diaries),
        rows=tuple(
            (words.day(date), *(words.number(by_date[date].get(arm)) for arm in diaries)) for date in sorted(by_date)
        ),
    )


def shares_numbers(results: Mapping[str, Any], arm: str) -> Numbers:
    """The share of each segment, a row a day and a column a segment."""
    split = results["allocation"][arm]["split"]
    return Numbers(
        heads=("Day", *split["segments"]),
        rows=tuple(
            (words.day(day["date"]), *(words.percent(share, sign=False) for share in day["share"]))
            for day in split["days"]
        ),
    )


def prices(results: Mapping[str, Any]) -> list[Prices]:
    """A row for each arm with a split."""
    rows = []
    for arm in split_arms(results):
        days = results["allocation"][arm]["split"]["days"]
        counted = Counter(day["status"] for day in days)
        limits = Counter(limit for day in days for limit in day.get("gave_way") or [])
        last = next((day for day in reversed(days) if day.get("prices") and day["status"] != "fallback"), None)
        rows.append(
            Prices(
                arm=arm,
                statuses=tuple(counted[status] for status in STATUSES),
                gave_way=tuple(limits.most_common()),
                date=last["date"] if last else None,
                prices=tuple(_price(last["prices"].get(name) if last else None) for name in _PRICES),
            )
        )
    return rows


def paid(results: Mapping[str, Any]) -> list[Paid]:
    """A row for each arm that solves an exposure program."""
    return [
        Paid(
            arm=arm,
            solver=str(diary.get("solver") or words.NOTHING),
            penalty=diary.get("lambda"),
            alpha=_over_days(diary["days"], "mean_alpha"),
            r=_over_days(diary["days"], "mean_r"),
            gave_way=_over_days(diary["days"], "gave_way"),
        )
        for arm, diary in (results.get("allocation") or {}).items()
        if any(words.known(day.get("mean_alpha")) for day in diary.get("days") or [])
    ]


def _first_and_last(days: Sequence[Mapping[str, Any]], row: int) -> str:
    first, last = (words.percent(day["share"][row], sign=False) for day in (days[0], days[-1]))
    return f"{first} → {last}"


def _cell(name: str, day: Mapping[str, Any], row: int) -> str:
    lines = [
        drawing.plain(name),
        words.day(day["date"]),
        f"share {words.percent(day['share'][row], sign=False)}, {words.count(day['visits'][row])} visits",
    ]
    gain, sd = day.get("gain"), day.get("gain_sd")
    if gain and sd and words.known(gain[row]) and words.known(sd[row]):
        lines.append(f"gain {words.signed(gain[row])} clicks a visit, standard deviation {words.number(sd[row])}")
    return "<br>".join([*lines, drawing.plain(day["status"])])


def _price(value: float | None) -> str:
    return "0" if value is not None and abs(value) < _NO_PRICE else words.number(value)


def _over_days(days: Sequence[Mapping[str, Any]], key: str) -> tuple[float | None, tuple[float, float] | None]:
    """Mean over the pages of the days that have a value, and the lowest and highest day."""
    found = [(float(day[key]), day["pages"]) for day in days if words.known(day.get(key))]
    pages = sum(weight for _, weight in found)
    if not pages:
        return None, None
    values = [value for value, _ in found]
    return sum(value * weight for value, weight in found) / pages, (min(values), max(values))


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "…"


def _range(values: Sequence[float]) -> list[float]:
    """The values' span with room for the labels at its edges."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.16 * (high - low) or 0.05 * abs(high) or 1.0
    return [low - room, high + room]


def _pixels(point: Mapping[str, Any], metric: str, ranges: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Where a point lies on a panel of the nominal size, from its upper left corner."""
    across, up = ((point[name] - low) / (high - low) for name, (low, high) in zip((metric, "ctr"), ranges, strict=True))
    return across * _WIDTH, (1 - up) * _HEIGHT


def _apart(
    points: Sequence[tuple[float, float]], texts: Sequence[str], line: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Offsets in pixels from each point to its label; neither labels nor their leaders cover what they need not."""
    taken = [_square(point, 6) for point in points]
    for one, other in pairwise(line):
        taken += [_square(each, 1.5) for each in _between(one, other, max(1, int(math.dist(one, other) / 6)))]
    offsets: list[tuple[float, float]] = []
    for (x, y), text in zip(points, texts, strict=True):
        # A mark that hides this one hides its leader too.
        foreign = [box for box in taken if not (box[0] <= x <= box[2] and box[1] <= y <= box[3])]
        half = 3.4 * len(text) + 3
        best, cheapest = (0.0, 0.0), math.inf
        for distance, dx, dy in _around(half):
            label = (x + dx - half, y + dy - 8, x + dx + half, y + dy + 8)
            leader = [_square(each, 1.5) for each in _between((x, y), (x + dx, y + dy), 8)]
            cost = _outside(label) + distance + sum(_overlap(label, box) for box in taken)
            cost += 4 * sum(_overlap(step, box) for step in leader for box in foreign)
            if round(cost, 6) < cheapest:
                best, cheapest = (dx, dy), round(cost, 6)
        taken.append((x + best[0] - half, y + best[1] - 8, x + best[0] + half, y + best[1] + 8))
        taken += [_square(each, 1.5) for each in _between((x, y), (x + best[0], y + best[1]), 8)]
        offsets.append((round(best[0], 1), round(best[1], 1)))
    return offsets


def _around(half: float) -> Iterator[tuple[float, float, float]]:
    """(distance, right, down) from near to far, all directions at each distance; ``half`` is half a label's width."""
    for distance in (16, 28, 42, 58, 76, 96):
        for step in range(16):
            angle = math.pi * (step / 8 - 0.5)
            yield distance, math.cos(angle) * (distance + half - 6), math.sin(angle) * distance


def _between(one: tuple[float, float], other: tuple[float, float], steps: int) -> list[tuple[float, float]]:
    """Points that cut a line into this many steps, without its ends."""
    return [
        (one[0] + (other[0] - one[0]) * step / steps, one[1] + (other[1] - one[1]) * step / steps)
        for step in range(1, steps)
    ]


def _square(centre: tuple[float, float], half: float) -> Box:
    return centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half


def _outside(box: Box) -> float:
    """Area that sticks out of the panel."""
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, (0.0, 0.0, _WIDTH, _HEIGHT))


def _overlap(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0.0) * max(down, 0.0)
