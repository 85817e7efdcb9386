"""The effect in parts: by what users were, and by what their days were like, with the test of whether parts differ.

Made from the results alone, and computes no statistic. Knows nothing of the page around the figures, nor of how parts
are told apart.
"""

from collections.abc import Mapping
from typing import Any, Final

from experiments.report import drawing, words
from experiments.report.appearance import look
from experiments.report.drawing import Figure, Numbers

DIMENSIONS: Final = {
    "rain": "Rain",
    "cold": "Cold",
    "holiday": "Holidays",
    "trend": "Trends",
    "activity": "Earlier activity",
    "newcomer": "New or returning",
    "city": "City",
}
"""What the testbed's own splits are called; others bear the name of their column."""


def present(results: Mapping[str, Any]) -> bool:
    """Whether the effect was looked at in parts."""
    return bool(results.get("segments"))


def charts(results: Mapping[str, Any]) -> dict[str, Figure]:
    """``segments-0`` and on, one for each treatment."""
    return {f"segments-{index}": parts(results, arm) for index, arm in enumerate(arms(results))}


def arms(results: Mapping[str, Any]) -> list[str]:
    """The treatments that were looked at in parts."""
    having = {row["treatment"] for row in results["segments"]}
    return [arm for arm in words.treatments(results) if arm in having]


def dimension(key: str) -> str:
    """A split for people."""
    return DIMENSIONS.get(key, key.replace("_", " "))


def level(row: Mapping[str, Any]) -> str:
    """A part for people."""
    return words.place(row["level"]) if row["dimension"] == "city" else str(row["level"])


def sentences(results: Mapping[str, Any]) -> list[str]:
    """The claims that the tests of difference allow: one for each split whose parts differ, or that none does."""
    alpha = results["analysis"]["alpha"]
    tested = [row for row in results.get("interactions") or [] if words.known(row["p_adjusted"])]
    found = []
    for row in tested:
        if row["p_adjusted"] > alpha:
            continue
        mine = [
            each
            for each in results["segments"]
            if (each["dimension"], each["treatment"]) == (row["dimension"], row["treatment"])
            and words.known(each["lift"])
        ]
        each = words.listing([f"{words.percent(part['lift'])} {_where(part)}" for part in mine])
        found.append(
            f"{dimension(row['dimension'])}: the effect of {row['treatment']} differs ({each}; adjusted "
            f"{words.p_named(row['p_adjusted'])})."
        )
    if tested and not found:
        found.append(f"No split shows an effect that differs between its parts, of {words.count(len(tested))} tested.")
    return found


def numbers(results: Mapping[str, Any], treatment: str) -> Numbers:
    """What the figure of a treatment shows, a row for each part, and the test of each split beside its first part."""
    rows = [row for row in results["segments"] if row["treatment"] == treatment]
    tests = {row["dimension"]: row for row in results.get("interactions") or [] if row["treatment"] == treatment}
    unit = words.unit(results, rows[0]["metric"])
    has_truth = any(row.get("truth") for row in rows)
    cells = []
    before = None
    for row in rows:
        test = tests.get(row["dimension"]) or {}
        first = row["dimension"] != before
        before = row["dimension"]
        cells.append(
            (
                f"{dimension(row['dimension'])}: {level(row)}",
                words.count(row["users"]),
                words.number(row["control_value"], unit),
                words.number(row["treatment_value"], unit),
                words.percent(row["lift"]),
                words.interval(row["lift_ci"]),
                *([words.percent((row.get("truth") or {}).get("lift"))] if has_truth else []),
                words.p_value(test.get("p_value")) if first else "",
                words.p_value(test.get("p_adjusted")) if first else "",
            )
        )
    heads = ("Part", "Users", results["analysis"]["control"], treatment, "Lift", "Interval")
    heads = (*heads, *(["True lift"] if has_truth else []), "p of a difference", "Adjusted")
    return Numbers(heads=heads, rows=tuple(cells))


def parts(results: Mapping[str, Any], treatment: str) -> Figure:
    """Lift and interval in each part, split by split, with the truth and the whole effect as a line."""
    rows = [row for row in results["segments"] if row["treatment"] == treatment]
    tests = {row["dimension"]: row for row in results.get("interactions") or [] if row["treatment"] == treatment}
    color, shape = look(results, treatment)
    labels: list[Figure] = []
    points: list[tuple[float, float, tuple[float, float] | None, str]] = []
    truths: list[tuple[float, float, str]] = []
    y, before = 0.0, None
    for row in rows:
        if row["dimension"] != before:
            y -= 0.55 if before is not None else 0.0
            before = row["dimension"]
            p = (tests.get(before) or {}).get("p_adjusted")
            told = f", difference {words.p_named(p)}" if words.known(p) else ""
            labels.append(drawing.label(f"{dimension(before)}{told}", x=0, y=y, yref="y", size=13))
            y -= 0.95
        labels.append(drawing.label(level(row), x=0.02, y=y + 0.36, yref="y", size=11, color="@muted"))
        name = drawing.plain(f"{dimension(row['dimension'])}: {level(row)}")
        if words.known(row["lift"]):
            text = f"{name}<br>{words.percent(row['lift'])} ({words.interval(row['lift_ci'])})"
            points.append((row["lift"], y, words.pair(row["lift_ci"]), f"{text}<br>{words.count(row['users'])} users"))
            true = (row.get("truth") or {}).get("lift")
            if true is not None and words.known(true):
                truths.append((true, y, f"{name}<br>truth {words.percent(true)}"))
        else:
            labels.append(drawing.label("no lift to show", x=0.5, y=y, yref="y", color="@muted"))
        y -= 0.95
    data: list[Figure] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": drawing.plain(treatment),
            "x": [x for x, _, _, _ in points],
            "y": [at for _, at, _, _ in points],
            "hovertext": [text for _, _, _, text in points],
            "hoverinfo": "text",
            "marker": {"color": color, "symbol": shape, "size": 9},
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [span[1] - x if span else None for x, _, span, _ in points],
                "arrayminus": [x - span[0] if span else None for x, _, span, _ in points],
                "color": color,
                "thickness": 2,
                "width": 0,
            },
        }
    ]
    if truths:
        data.append(drawing.truths(truths))
    whole = next(
        (
            row["lift"]
            for row in results["comparisons"]
            if rows and (row["metric"], row["treatment"]) == (rows[0]["metric"], treatment)
        ),
        None,
    )
    if words.known(whole):
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "all users",
                "x": [whole, whole],
                "y": [0.4, y + 0.4],
                "hoverinfo": "skip",
                "line": {"color": "@muted", "width": 1.4, "dash": "dash"},
            }
        )
    layout = drawing.layout(height=int(80 - 36 * y))
    title = words.title(results, rows[0]["metric"])
    layout["xaxis"] = drawing.axis(tickformat="+.3~%", title=drawing.plain(f"lift of {title}"), zeroline=True)
    layout["yaxis"] = {"visible": False, "range": [y + 0.3, 0.5], "fixedrange": True}
    layout["annotations"] = labels
    return {"data": data, "layout": layout}


def _where(row: Mapping[str, Any]) -> str:
    return f"in {level(row)}" if row["dimension"] == "city" else f"for {level(row)}"
