"""What a run that randomised clusters says of it: how many, what that cost, and what could not be told.

Returns plain text. Reads a results dictionary and never computes a statistic.
"""

from collections.abc import Mapping
from typing import Any

from experiments.report import words


def randomised(results: Mapping[str, Any]) -> str:
    """What was randomised, in the plural: users, the units of a table, or the clusters that the results name."""
    alone = "units" if results["world"]["kind"] == "table" else "users"
    return str((results.get("clusters") or {}).get("word") or alone)


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
    if clusters["left_out"]:
        found.append(clusters["left_out"])
    return found + _switchback(results)


def _switchback(results: Mapping[str, Any]) -> list[str]:
    """How cities switched, and what users carried over from block to block."""
    design = results.get("switchback")
    if not design:
        return []
    burn_in = design["burn_in_hours"]
    not_counted = f", of which the first {words.count(burn_in)} are not counted" if burn_in else ""
    found = [
        f"Each of {words.count(design['cities'])} cities changed arms by blocks of {words.count(design['hours'])} "
        f"hours{not_counted}."
    ]
    known = [row for row in design["effects"] if row["while_switching"]]
    if not known:
        return [
            *found,
            "What users carry over from one block to the next biases such estimates, and no number of blocks removes "
            "that; with oracle: true the size of it is told.",
        ]
    primary = results["analysis"]["primary"]
    always = {(row["metric"], row["treatment"]): row["truth"] for row in results["comparisons"] if row.get("truth")}
    for row in known:
        truth = always.get((row["metric"], row["treatment"]))
        if row["metric"] != primary or not truth or not words.known(truth["lift"]):
            continue
        who = f" of {row['treatment']}" if len(words.treatments(results)) > 1 else ""
        found.append(
            f"While cities switch, the true lift{who} on {words.title(results, primary)} is "
            f"{words.percent(row['while_switching']['lift'])}, which is what this design estimates; with one arm for "
            f"everybody all the time it is {words.percent(truth['lift'])}. The difference is what users carry over "
            "from one block to the next, a bias that no number of blocks removes."
        )
    held = [bool(row["while_switching"]["covered"]) for row in known]
    lasting = [bool(truth["covered"]) for truth in always.values()]
    return [
        *found,
        f"Of {words.count(len(held))} intervals {words.count(sum(held))} hold the effect while cities switch, and "
        f"{words.count(sum(lasting))} that of one arm for everybody, which is the truth of the table.",
    ]


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
