"""What a run that randomised clusters says of it: how many, what that cost, and what could not be told.

Returns plain text. Reads a results dictionary and never computes a statistic.
"""

from collections.abc import Mapping
from typing import Any

from experiments.report import words


def randomised(results: Mapping[str, Any]) -> str:
    """What was randomised, in the plural: ``users`` unless the results say otherwise."""
    return str((results.get("clusters") or {}).get("word") or "users")


def sentences(results: Mapping[str, Any]) -> list[str]:
    """What was randomised and what that cost; nothing where it was users."""
    clusters = results.get("clusters")
    if not clusters:
        return []
    word = clusters["word"]
    each = words.listing([f"{words.count(number)} in {arm}" for arm, number in clusters["by_arm"].items()])
    found = [
        f"{word.capitalize()} were randomised, and they are the unit of every test: {each}, with "
        f"{words.number(round(clusters['units'], 1))} {clusters['of']} each on average."
    ]
    primary = results["analysis"]["primary"]
    found += [
        _cost(results, clusters, row)
        for row in clusters["design_effects"]
        if row["metric"] == primary and words.known(row["design_effect"])
    ]
    return [*found, clusters["left_out"]] if clusters["left_out"] else found


def _cost(results: Mapping[str, Any], clusters: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    who = f" ({row['treatment']})" if len(words.treatments(results)) > 1 else ""
    alike = (
        f"; the correlation within {clusters['word']} is {row['correlation']:.4f}".replace("-", "−")
        if words.known(row["correlation"])
        else ""
    )
    return (
        f"The variance of the effect on {words.title(results, row['metric'])}{who} is "
        f"{words.short(row['design_effect'])} times that of as many {clusters['of']} randomised one by one (design "
        f"effect){alike}. Both are estimates from {words.count(clusters['count'])} {clusters['word']}, so they are "
        "rough where these are few."
    )
