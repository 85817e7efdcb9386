"""What a run says in words: number formats, the decision on one comparison, and the verdict paragraph.

Shared by the HTML report and the terminal, so that both say the same. Returns plain text: knows neither HTML
nor terminals, so whoever shows a string here escapes it. Reads a results dictionary and never computes a
statistic.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, Literal

Decision = Literal["better", "worse", "no evidence", "not estimable", "void"]
Comparison = Mapping[str, Any]

NOTHING: Final = "–"
"""Stands where a number is not known."""

_TOTALS: Final = {
    "ipv": "Item page views",
    "atc": "Add-to-carts",
    "gmv": "Gross merchandise value",
    "tv": "Transaction value",
}


@dataclass(frozen=True)
class Verdict:
    """What the experiment says about one treatment.

    Attributes:
        treatment: the arm.
        headline: a few words.
        paragraph: the whole story: primary metric, truth, harm done elsewhere.
        trusted: false if the arms' user counts forbid any conclusion.
    """

    treatment: str
    headline: str
    paragraph: str
    trusted: bool


def known(value: float | None) -> bool:
    """Whether a number was estimated: neither ``None`` nor NaN nor infinite."""
    return value is not None and math.isfinite(value)


def pair(ci: Sequence[float | None] | None) -> tuple[float, float] | None:
    """Both ends of an interval, ``None`` unless both are known."""
    if ci is None or len(ci) != 2 or ci[0] is None or ci[1] is None or not (known(ci[0]) and known(ci[1])):
        return None
    return float(ci[0]), float(ci[1])


def number(value: float | None, unit: str = "") -> str:
    """A value with three or four significant digits; a percentage if its unit is ``share``."""
    if value is None or not known(value):
        return NOTHING
    if unit == "share":
        return _minus(f"{value:.2%}")
    return _minus(f"{value:,.{0 if value == int(value) else _decimals(value)}f}")


def short(value: float | None) -> str:
    """A value with up to four significant digits and no zeros after them, as ``15.5``."""
    return _minus(f"{value:.4g}") if value is not None and known(value) else NOTHING


def signed(value: float | None, unit: str = "") -> str:
    """A difference with its sign; in percentage points (``pp``) if the unit is ``share``."""
    if value is None or not known(value):
        return NOTHING
    if unit == "share":
        return _minus(f"{100 * value:+.2f} pp")
    return _minus(f"{value:+,.{_decimals(value)}f}")


def percent(value: float | None, sign: bool = True) -> str:
    """A relative change such as ``+3.21%`` or ``−12.4%``."""
    if value is None or not known(value):
        return NOTHING
    return _minus(f"{value:{'+' if sign else ''}.{_percent_decimals(value)}%}")


def interval(ci: Sequence[float | None] | None, unit: str | None = None) -> str:
    """An interval such as ``+1.10% to +5.30%``.

    Args:
        ci: both ends, or ``None``.
        unit: ``None`` for relative changes, else the unit of the differences.
    """
    ends = pair(ci)
    if ends is None:
        return NOTHING
    if unit == "share":
        return _minus(f"{100 * ends[0]:+.2f} to {100 * ends[1]:+.2f} pp")
    widest = max(ends, key=abs)
    style = f"+.{_percent_decimals(widest)}%" if unit is None else f"+,.{_decimals(widest)}f"
    return _minus(f"{ends[0]:{style}} to {ends[1]:{style}}")


def p_value(p: float | None) -> str:
    """A p-value with three decimals, ``<0.001`` below that."""
    if p is None or not known(p):
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def p_named(p: float | None) -> str:
    """A p-value with its name: ``p = 0.012``."""
    shown = p_value(p)
    return f"p < {shown[1:]}" if shown.startswith("<") else f"p = {shown}"


def p_phrase(comparison: Comparison) -> str:
    """The p-value that decides, named: ``adjusted p = 0.012``."""
    adjusted = known(comparison.get("p_adjusted"))
    named = p_named(comparison["p_adjusted"] if adjusted else comparison.get("p_value"))
    return f"adjusted {named}" if adjusted else named


def deviation(value: float | None) -> str:
    """A difference in standard deviations, with its sign."""
    return _minus(f"{value:+.3f}") if value is not None and known(value) else NOTHING


def seconds(value: float | None) -> str:
    """A duration such as ``12.3 s``."""
    return f"{value:,.1f} s" if value is not None and known(value) else NOTHING


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    return f"{value:,.0f}" if value is not None and known(value) else NOTHING


def day(iso: str | None) -> str:
    """An ISO date as ``5 Oct 2015``."""
    if not iso:
        return NOTHING
    parsed = date.fromisoformat(iso[:10])
    return f"{parsed.day} {parsed:%b %Y}"


def last_day(iso: str | None) -> str:
    """The last day of a span whose end is exclusive."""
    return day((date.fromisoformat(iso[:10]) - timedelta(days=1)).isoformat()) if iso else NOTHING


def span(ci: Sequence[float | None] | None) -> str:
    """An interval of plain values, without signs."""
    ends = pair(ci)
    return f"{number(ends[0])} to {number(ends[1])}" if ends else NOTHING


def place(city: str) -> str:
    """A city's key for people, as ``New York``."""
    return city.replace("_", " ").title()


def level(alpha: float) -> str:
    """The confidence level that belongs to a significance level, such as ``95%`` to 0.05."""
    return f"{100 * (1 - alpha):.6g}%"


def title(results: Mapping[str, Any], metric: str) -> str:
    """The metric's name for people."""
    return str(results["metrics"].get(metric, {}).get("title") or metric)


def unit(results: Mapping[str, Any], metric: str) -> str:
    """The metric's unit, with the run's currency in place of the word."""
    plain = str(results["metrics"].get(metric, {}).get("unit") or "")
    return plain.replace("currency", str(results.get("currency") or "currency"), 1)


def total_name(results: Mapping[str, Any], column: str) -> str:
    """A column of the arms' totals for people; a metric's own title where there is one."""
    found = results["metrics"].get(column, {}).get("title")
    return str(found or _TOTALS.get(column) or column.replace("_", " ").capitalize())


def flat(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Counts by name, those of inner mappings as ``outer, inner``."""
    rows: list[tuple[str, str]] = []
    for key, value in nested.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += flat(value, f"{name}, ")
        else:
            rows.append((name, count(value) if isinstance(value, int | float) else str(value)))
    return rows


def listing(parts: Sequence[str]) -> str:
    """Parts of a sentence, as ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def params(given: Mapping[str, Any] | None) -> str:
    """An arm's parameters, such as ``weight 0.3, refresh.on weather + trend``."""
    return ", ".join(f"{key} {configured(each)}" for key, each in (given or {}).items())


def configured(given: Any) -> str:
    """A setting of a config, such as ``weather + trend``, ``on`` or ``none``."""
    if isinstance(given, list | tuple):
        return " + ".join(configured(each) for each in given) or "none"
    if isinstance(given, Mapping):
        return params(given) or "none"
    return {True: "on", False: "off"}[given] if isinstance(given, bool) else "none" if given is None else str(given)


def decision(comparison: Comparison, metric: Mapping[str, Any], alpha: float) -> Decision:
    """The one place where a comparison becomes a word.

    Args:
        comparison: an entry of ``results["comparisons"]``; the adjusted p-value decides where there is one.
        metric: the metric's entry in ``results["metrics"]``.
        alpha: the significance level.
    """
    p = comparison.get("p_adjusted")
    p = p if known(p) else comparison.get("p_value")
    effect = comparison.get("effect")
    if p is None or effect is None or not known(p) or not known(effect):
        return "not estimable"
    if p > alpha or effect == 0:
        return "no evidence"
    return "better" if (effect > 0) == bool(metric.get("higher_is_better", True)) else "worse"


def truth_beside(comparison: Comparison, unit_of: str) -> str:
    """The truth as the estimate beside it is shown: a lift beside a lift, a difference beside a difference."""
    truth = comparison.get("truth")
    if not truth:
        return NOTHING
    if known(comparison.get("lift")) and known(truth.get("lift")):
        return percent(truth["lift"])
    return signed(truth.get("effect"), unit_of)


def decide(results: Mapping[str, Any], comparison: Comparison) -> Decision:
    """The word to show beside a comparison: ``void`` if the users did not fall on the arms as they should."""
    word = _measured(results, comparison)
    return word if word == "not estimable" or results["srm"].get("ok") else "void"


def setting(results: Mapping[str, Any]) -> str:
    """When, on whom and where an experiment was."""
    horizon, world = results["horizon"], results["world"]
    if world["kind"] == "table":
        when = f"{day(horizon['experiment_start'])} to {last_day(horizon['experiment_end'])}, "
        head = f"{when if horizon['experiment_start'] else ''}{count(world['users'])} units of a table"
        return head + _so_far(results)
    return (
        f"{day(horizon['experiment_start'])} to {last_day(horizon['experiment_end'])}, {count(world['users'])} users, "
        f"{count(world['items'])} items, {world['kind']} world"
    )


def _so_far(results: Mapping[str, Any]) -> str:
    """Until when the data go, where planned days are left after them."""
    last = next((path["looks"][-1] for path in results.get("sequential") or () if path["looks"]), None)
    if last is None or last["time"] >= 1.0 or not last.get("date"):
        return ""
    horizon = results["horizon"]
    start, end = (date.fromisoformat(horizon[key][:10]) for key in ("experiment_start", "experiment_end"))
    return f", with data until {day(last['date'])} ({last['day'] + 1} of {(end - start).days} planned days)"


def decision_sentence(results: Mapping[str, Any], treatment: str) -> str | None:
    """What to do about a treatment and why; None of results that say nothing of it."""
    found = next((row for row in results.get("decisions") or () if row["treatment"] == treatment), None)
    return None if found is None else f"Decision: {found['decision']}. {found['reason']}"


def treatments(results: Mapping[str, Any]) -> list[str]:
    """The arms but the control, in the order of the results."""
    return [arm for arm in results["arms"] if arm != results["analysis"]["control"]]


def rows_of(results: Mapping[str, Any], treatment: str) -> list[Comparison]:
    """A treatment's comparisons, the primary metric first, the others in the order of the analysis."""
    analysis = results["analysis"]
    order = [analysis["primary"], *(name for name in analysis["metrics"] if name != analysis["primary"])]
    mine = [row for row in results["comparisons"] if row["treatment"] == treatment]
    return sorted(mine, key=lambda row: order.index(row["metric"]) if row["metric"] in order else len(order))


def srm_sentence(results: Mapping[str, Any]) -> str:
    """Whether the users fell on the arms as their shares say."""
    srm = results["srm"]
    p = p_named(srm.get("p_value"))
    counts = f"Counts of {results['clusters']['word']}" if results.get("clusters") else "User counts"
    if srm.get("ok"):
        return f"{counts} fit the arms' shares (sample ratio, {p})."
    return f"{counts} do not fit the arms' shares (sample ratio mismatch, {p}): do not trust the effects."


def verdicts(results: Mapping[str, Any]) -> list[Verdict]:
    """One verdict for each treatment; what forbids trusting any of them is told in the first."""
    return [_verdict(results, arm, first=number == 0) for number, arm in enumerate(treatments(results))]


def _verdict(results: Mapping[str, Any], treatment: str, first: bool) -> Verdict:
    analysis = results["analysis"]
    control, primary = analysis["control"], title(results, analysis["primary"])
    rows = rows_of(results, treatment)
    row = next((row for row in rows if row["metric"] == analysis["primary"]), None)
    word = _measured(results, row) if row is not None else "not estimable"
    headline = {
        "better": f"{treatment} beats {control} on {primary}",
        "worse": f"{treatment} loses to {control} on {primary}",
        "no evidence": f"No evidence that {treatment} differs from {control} on {primary}",
    }.get(word, f"{treatment} could not be compared with {control} on {primary}")
    sentences = _primary_sentences(results, row, word) + _side_sentences(results, rows, word)
    if results["srm"].get("ok"):
        return Verdict(treatment, headline, " ".join(sentences), True)
    warning = [srm_sentence(results), "Whatever sent users to the wrong arm may have moved the metrics too."]
    paragraph = " ".join([*(warning if first else []), "For the record, as measured:", *sentences])
    return Verdict(treatment, f"Do not trust {treatment} against {control}", paragraph, False)


def _measured(results: Mapping[str, Any], comparison: Comparison) -> Decision:
    metric = results["metrics"].get(comparison["metric"], {})
    return decision(comparison, metric, results["analysis"]["alpha"])


def _primary_sentences(results: Mapping[str, Any], row: Comparison | None, word: Decision) -> list[str]:
    if row is None or word == "not estimable":
        reason = row["method"] if row is not None and row.get("method") else "the results hold no comparison"
        return [f"The primary metric has no estimate ({reason})."]
    truth = row.get("truth")
    relative = known(row.get("lift"))
    unit_of = unit(results, row["metric"])
    if relative:
        size, ends = f"The lift is {percent(row['lift'])}", interval(row.get("lift_ci"))
    else:
        size = f"The difference is {_with_unit(row['effect'], unit_of)}"
        ends = interval(row.get("ci"), unit_of)
    measured = (
        f"{size} ({level(results['analysis']['alpha'])} interval {ends.replace(NOTHING, 'unknown')}, {p_phrase(row)})."
    )
    if truth is None or not known(truth.get("effect")):
        return (
            [measured]
            if results["world"]["kind"] == "table"
            else [measured, "The true effect of this run is not known."]
        )
    return [measured, _truth_sentence(truth, relative, unit_of, row["effect"], word)]


def _truth_sentence(truth: Mapping[str, Any], relative: bool, unit_of: str, effect: float, word: Decision) -> str:
    if truth["effect"] == 0:
        alarm = "there was nothing to find" if word == "no evidence" else "this is a false alarm"
        return f"In truth the two do not differ{_where(truth)}: {alarm}."
    in_percent = relative and known(truth.get("lift"))
    value = percent(truth["lift"]) if in_percent else _with_unit(truth["effect"], unit_of)
    sentence = f"The true {'lift' if in_percent else 'difference'} on this population is {value}{_where(truth)}"
    if word == "no evidence":
        return f"{sentence}: a difference that this test did not notice."
    if (truth["effect"] > 0) != (effect > 0):
        return f"{sentence}: the test got the direction wrong."
    return f"{sentence}."


def _side_sentences(results: Mapping[str, Any], rows: Iterable[Comparison], word: Decision) -> list[str]:
    primary = results["analysis"]["primary"]
    others = [(row, _measured(results, row)) for row in rows if row["metric"] != primary]
    if not others:
        return []
    sentences = []
    better = [_brief(results, row) for row, each in others if each == "better"]
    if better:
        also = " as well" if word == "better" else ""
        sentences.append(f"Significantly better{also}: {listing(better)}.")
    worse = [_brief(results, row) for row, each in others if each == "worse"]
    if worse:
        also = " as well" if word == "worse" else ""
        sentences.append(f"Significantly worse{also}: {listing(worse)}.")
    elif any(each != "not estimable" for _, each in others):
        sentences.append(f"No {'other ' if word == 'worse' else ''}metric got significantly worse.")
    missing = [title(results, row["metric"]) for row, each in others if each == "not estimable"]
    if missing:
        sentences.append(f"Not estimable: {listing(missing)}.")
    return sentences


def _brief(results: Mapping[str, Any], row: Comparison) -> str:
    size = percent(row["lift"]) if known(row.get("lift")) else _with_unit(row["effect"], unit(results, row["metric"]))
    return f"{title(results, row['metric'])} ({size})"


def _where(truth: Mapping[str, Any]) -> str:
    covered = truth.get("covered")
    return "" if covered is None else f", {'inside' if covered else 'outside'} the interval"


def _with_unit(value: float, unit_of: str) -> str:
    return signed(value, unit_of) + (f" {unit_of}" if unit_of and unit_of != "share" else "")


def _decimals(value: float) -> int:
    """Decimals that leave four significant digits of large values and three of those below 0.1."""
    if value == 0:
        return 0
    magnitude = math.floor(math.log10(abs(value)))
    return max(0, 3 - magnitude) if magnitude >= -1 else min(6, 2 - magnitude)


def _percent_decimals(value: float) -> int:
    return 2 if abs(value) < 0.09995 else 1


def _minus(text: str) -> str:
    return text.replace("-", "−")
