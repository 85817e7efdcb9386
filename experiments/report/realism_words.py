"""What a realism scorecard says in words, for a terminal and for a page. Computes no statistic."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from experiments.report import words
from experiments.report.drawing import Numbers

Scorecard = Mapping[str, Any]
Row = Mapping[str, Any]

READINGS: Final = {
    "examined": "of a click on what is examined, as the first place always is",
    "shown": "of a click on what is shown, at whatever place",
}
MEASURES: Final = {"JS": "Jensen-Shannon distance of shares", "KS": "Kolmogorov-Smirnov distance of values"}


def headline(found: Scorecard) -> str:
    """How many rows stand out from their noise."""
    apart = sum(not row["within_noise"] for row in found["rows"])
    whole = len(found["rows"])
    if not apart:
        return f"None of {words.count(whole)} rows can be told from reality"
    return f"{words.count(apart)} of {words.count(whole)} rows can be told from reality"


def subject(found: Scorecard) -> str:
    """What was held against what."""
    first, last = (words.day(each) for each in found["scored"])
    if found["kind"] == "log":
        begin, end = (words.day(each) for each in found["fitted"])
        return f"A shop fitted to {begin} to {end} and drawn for {first} to {last}, against what the log has there."
    return f"The world of {first} to {last}, played under {found['control']}, against {found['against']}."


def caution(found: Scorecard) -> str:
    """What must be known before reading the rows."""
    if found["kind"] == "log" and found["plays_the_log"]:
        return (
            "A run of this config plays the log's own visits (purchases: recorded), which are the log's to the second: "
            "held against it every row would be perfect and say nothing. Scored is what purchases: {kind: fitted, "
            f"from_day: {found['from_day']}}} plays."
        )
    if found["kind"] == "log":
        return (
            "Scored is what a run of this config plays. The fit has seen no purchase of the days after it; titles and "
            "categories are those of the whole log."
        )
    return (
        "Of the real users only counts over all of them are known here, so a floor is sampling noise alone, and what "
        "needs users has no counterpart. Country, year and shop are others too."
    )


def distance(value: float | None) -> str:
    """A distance, or what it is held against."""
    return f"{value:.4f}" if words.known(value) else words.NOTHING


def ratio(value: float | None) -> str:
    """How many times the floor."""
    return f"{value:.1f}" if value is not None and words.known(value) else words.NOTHING


def verdict(row: Row) -> str:
    """Whether the distance can be told from noise."""
    return "within noise" if row["within_noise"] else "apart"


def rule(found: Scorecard) -> str:
    """When a row of the table is within noise."""
    if found["kind"] == "log":
        return (
            "Within noise is a row whose distance, a median over halvings, is not above what 95% of single floors are "
            "below. A median varies less than a single floor, so of a world as good as real fewer than 5% of the rows "
            "are called apart."
        )
    return (
        "Within noise is a row whose distance, a single one, is not above what 95% of draws from the real counts show. "
        "Of a world as good as real 5% of the rows would be called apart if actions were independent, and more as they "
        "are not."
    )


def numbers(found: Scorecard) -> Numbers:
    """Every row as a table."""
    heads = ("Row", "Measure", "Distance", "Noise floor", "95% of floors below", "Times the floor", "Verdict")
    rows = tuple(
        (
            row["title"],
            row["measure"],
            distance(row["distance"]),
            distance(row["floor"]),
            distance(row["floor_high"]),
            ratio(row["ratio"]),
            verdict(row),
        )
        for row in found["rows"]
    )
    return Numbers(heads, rows, texts=2)


def sides(row: Row) -> Numbers:
    """Both sides of a row as a table."""
    shown = row["shown"]
    value = _share if shown["kind"] == "shares" else _value
    first = "Category" if shown["kind"] == "shares" else f"Quantile, {shown['unit']}"
    rows = tuple(
        (str(label), value(real), value(simulated))
        for label, real, simulated in zip(shown["labels"], shown["real"], shown["simulated"], strict=True)
    )
    return Numbers((first, "Real", "Simulated"), rows)


def about(row: Row) -> str:
    """How a row was found, with its note."""
    shown = row["shown"]
    of = shown.get("of", 0)
    some = f"; shown are the {len(shown['labels'])} of {of:,} that differ most" if of > len(shown["labels"]) else ""
    note = f" {row['note'][0].upper()}{row['note'][1:]}." if row["note"] else ""
    return f"{MEASURES[row['measure']]}; its floor from {words.count(row['times'])} {row['floor_from']}{some}.{note}"


def worst(found: Scorecard) -> Iterator[str]:
    """The worst rows, each in a sentence."""
    by_name = {row["name"]: row for row in found["rows"]}
    for place, name in enumerate(found["worst"]):
        row = by_name[name]
        which = "Worst row" if place == 0 else "Next worst"
        yield (
            f"{which}: {row['title']}. Its {row['measure']} distance of {distance(row['distance'])} is "
            f"{ratio(row['ratio'])} times the noise floor. {_apart(row)}"
        )


def _apart(row: Row) -> str:
    """Where both sides of a row are furthest apart."""
    shown = row["shown"]
    pairs = list(zip(shown["labels"], shown["real"], shown["simulated"], strict=True))
    if shown["kind"] == "shares":
        label, real, simulated = max(pairs, key=lambda pair: abs(pair[1] - pair[2]))
        return f"Furthest apart is {label}: {_share(real)} real, {_share(simulated)} simulated."
    widest = max(abs(real) for _, real, _ in pairs) or 1.0
    label, real, simulated = max(
        pairs, key=lambda pair: abs(pair[1] - pair[2]) / max(abs(pair[1]), abs(pair[2]), 0.05 * widest)
    )
    return (
        f"Furthest apart, for its size, is the {label} quantile: {_value(real)} {shown['unit']} real, "
        f"{_value(simulated)} simulated."
    )


def two_sample(found: Scorecard) -> list[str]:
    """What the classifier found, in sentences."""
    test = found["two_sample"]
    if not test and found["kind"] == "log":
        return ["Too few customers came for a classifier to learn from."]
    if not test:
        return ["A classifier needs real users, and none are known here."]
    low, high = test["ci"]
    sentences = [
        f"A classifier tells simulated customers from real ones with an area under the curve of {test['auc']:.3f} "
        f"(95% interval {low:.3f} to {high:.3f}); 0.5 is perfect. Two halves of the real customers: "
        f"{test['real_halves']:.3f}, at most {test['real_halves_highest']:.3f}."
    ]
    if test["days_before"] is not None:
        sentences.append(
            f"The real customers of as many days just before are told from them with {test['days_before']:.3f}: so "
            "much did the shop itself change."
        )
    giveaways = [each for each in test["features"] if each["weight"] > 0][:3]
    if giveaways:
        told = words.listing([f"{each['title']} ({each['weight']:.0%})" for each in giveaways])
        sentences.append(f"What gives them away most: {told} of the classifier's gain.")
    return sentences


def totals(found: Scorecard) -> Numbers:
    """Totals of both sides as a table."""
    rows = tuple(
        (
            row["title"],
            words.count(row["real"]),
            words.count(row["simulated"]),
            f"{row['ratio']:.2f}" if row["ratio"] is not None else words.NOTHING,
        )
        for row in found["totals"]
    )
    return Numbers(("Total", "Real", "Simulated", "Simulated over real"), rows)


def calibrations(found: Scorecard) -> list[str]:
    """How click probabilities agree with clicks, a sentence for each policy and reading."""
    sentences = []
    for row in found["calibration"]:
        who = f"{row['arm']} ({row['policy']})"
        if row["error"] is None:
            sentences.append(f"{who}: calibration unknown; {row['why_not']}.")
            continue
        sentences.append(
            f"{who}, its estimates read as {READINGS[row['reading']]}: expected calibration error "
            f"{100 * row['error']:.2f} pp over {words.count(row['impressions'])} impressions; estimates that were "
            f"right would show {100 * row['noise']:.2f} pp, and seldom more than {100 * row['noise_high']:.2f}."
        )
    if any(row["error"] is not None for row in found["calibration"]):
        sentences.append(
            "That noise is of independent clicks; clicks of one user go together, so it is low: right estimates may "
            "show somewhat more."
        )
    if not sentences:
        sentences.append("A log world is scored without policies, and no click probabilities are asked for.")
    return sentences


def alone(found: Scorecard) -> list[str]:
    """What has no real counterpart, with what the world shows."""
    sentences = []
    for row in found["without_counterpart"]:
        shows = ""
        quantiles = row.get("quantiles")
        if quantiles:
            shows = (
                f" Simulated: half of them up to {_value(quantiles[3])} {row['unit']}, nine tenths up to "
                f"{_value(quantiles[5])}."
            )
        elif row.get("value") is not None:
            shows = f" Simulated: {_value(row['value'])}."
        sentences.append(f"{row['title']}: {row['why']}.{shows}")
    return sentences


def _share(value: float) -> str:
    return f"{value:.2%}"


def _value(value: float) -> str:
    return words.short(round(value, 4))
