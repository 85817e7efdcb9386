"""Whether the numbers of an experiment can be trusted: one sentence a check, and whether it raises an alarm.

Made from the results alone. Counts, and computes no statistic. Knows nothing of the page around it.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from experiments.report import designs, few_units, words
from experiments.report.drawing import Figure


class Check(NamedTuple):
    """The outcome of one check.

    Attributes:
        name: what was looked at.
        sentence: what was found.
        alarm: whether it should make a reader doubt the verdict; ``None`` where there is nothing to judge.
    """

    name: str
    sentence: str
    alarm: bool | None


def present(results: Mapping[str, Any]) -> bool:
    """Always: users were assigned."""
    return bool(results["arms"])


def charts(results: Mapping[str, Any]) -> dict[str, Figure]:
    """None."""
    return {}


def checks(results: Mapping[str, Any]) -> list[Check]:
    """All checks of which a run holds something, in the order of the page."""
    found = [Check("Sample ratio", words.srm_sentence(results), not results["srm"].get("ok"))]
    few = few_units.sentence(results)
    if few:
        found.append(Check("Number of units", few, True))
    design = designs.sentences(results)
    if design:
        found.append(Check("What was randomised", " ".join(design), None))
    found += _balance(results)
    found += _missing(results)
    found += outcomes_missing(results)
    found += _power(results)
    found += _coverage(results)
    return found


def _balance(results: Mapping[str, Any]) -> Iterator[Check]:
    rows = [
        row
        for row in (results.get("diagnostics") or {}).get("warmup_balance") or []
        if words.known(row["difference_sd"]) and words.known(row["p_value"])
    ]
    if not rows:
        return
    alpha = results["analysis"]["alpha"]
    off = [row for row in rows if row["p_value"] <= alpha]
    worst = max(rows, key=lambda row: abs(row["difference_sd"]))
    least = min(row["p_value"] for row in rows)
    size = words.deviation(worst["difference_sd"])
    by_chance = f"{words.level(1 - alpha)} of comparisons are, by chance alone"
    sentence = (
        f"{words.count(len(off))} of {words.count(len(rows))} comparisons of the warm-up are significant at "
        f"{words.level(1 - alpha)}, uncorrected ({by_chance}). The largest difference is {size} standard deviations "
        f"({words.title(results, worst['metric']).replace('_', ' ')}, {worst['treatment']})."
    )
    # Bonferroni's bound over the comparisons: an imbalance that chance does not explain.
    yield Check("Balance before the experiment", sentence, least <= alpha / len(rows))


def _missing(results: Mapping[str, Any]) -> Iterator[Check]:
    visits = {
        arm: found
        for arm, found in ((results.get("diagnostics") or {}).get("visits") or {}).items()
        if arm in results["arms"] or results.get("switchback")
    }
    never = ", ".join(
        f"{arm} {words.percent((each['assigned'] - each['users']) / each['assigned'], sign=False)}"
        for arm, each in results["arms"].items()
        if each["assigned"]
    )
    if any(each["assigned"] > each["users"] for each in results["arms"].values()):
        sentence = f"Assigned users who never came, and are not counted: {never}."
        yield Check("Users who never came", sentence, None)
    if visits:
        lost, drawn = (sum(each.get(key) or 0 for each in visits.values()) for key in ("lost", "drawn"))
        sentence = f"Of {words.count(drawn)} visits that fell due, {words.count(lost)} were lost."
        yield Check("Missing visits", sentence, lost > 0)
    for row in (results.get("diagnostics") or {}).get("missing") or []:
        shares = ", ".join(f"{arm} {words.percent(share, sign=False)}" for arm, share in row["share"].items())
        yield Check("Missing values", f"Empty in the column {row['column']}: {shares}.", None)


def outcomes_missing(results: Mapping[str, Any]) -> Iterator[Check]:
    """Of every metric that does not rest on all units, on how many it does and why."""
    table = results["world"]["kind"] == "table"
    exposed = {arm: each["users"] for arm, each in results["arms"].items()}
    if results.get("clusters"):
        return  # comparisons count clusters, and every cluster has users who were watched
    for row in results["comparisons"]:
        users = row.get("users") or {}
        seen, all_of = sum(users.values()), sum(exposed[arm] for arm in users)
        if users and seen < all_of:
            who = f"{row['treatment']} and {row['control']} together" if table else row["treatment"]
            why = "units: those with a value" if table else "exposed users: those who were watched long enough"
            sentence = (
                f"{words.title(results, row['metric'])} ({who}) rests on {words.count(seen)} of "
                f"{words.count(all_of)} {why}."
            )
            yield Check("Missing outcomes", sentence, None)


def _power(results: Mapping[str, Any]) -> Iterator[Check]:
    """What could have been noticed, which raises an alarm only where nothing was found."""
    primary, units = results["analysis"]["primary"], designs.randomised(results)
    for row in results.get("power") or []:
        if row["metric"] != primary:
            continue
        title, target = words.title(results, primary), words.percent(row["target_lift"])
        if not words.known(row["power"]):
            yield Check("Power", f"What {title} could have noticed is unknown ({row['treatment']}).", None)
            continue
        reached = row["power"] >= row["wanted"]
        found = not reached and any(
            words.decide(results, each) in ("better", "worse")
            for each in words.rows_of(results, row["treatment"])
            if each["metric"] == primary
        )
        needed = (
            f" {words.count(row['users_needed'])} {units} would have been needed, {words.count(row['users'])} were "
            "there."
            if not reached and words.known(row["users_needed"])
            else ""
        )
        smallest = (
            f" The smallest lift with a chance of {words.percent(row['wanted'], sign=False)} is "
            f"{words.percent(row['smallest_lift'])}."
            if words.known(row["smallest_lift"])
            else ""
        )
        missed = " A difference was found, so a low chance to find one is no reason to doubt it." if found else ""
        sentence = (
            f"A lift of {target} of {title} had a chance of {words.percent(row['power'], sign=False)} to be noticed "
            f"({row['treatment']}; {words.percent(row['wanted'], sign=False)} was wanted).{smallest}{needed}{missed}"
        )
        name = "Power reached" if reached else "Power" if found else "Power not reached"
        yield Check(name, sentence, None if found else not reached)


def _coverage(results: Mapping[str, Any]) -> Iterator[Check]:
    known = [row["truth"]["covered"] for row in results["comparisons"] if row.get("truth")]
    known = [each for each in known if each is not None]
    if known:
        level = words.level(results["analysis"]["alpha"])
        sentence = (
            f"{words.count(sum(known))} of {words.count(len(known))} intervals hold the true effect. Of many such "
            f"experiments' intervals {level} should; metrics of one experiment err together."
        )
        yield Check("Truth", sentence, None)
