"""What an audit says in words and small tables, for the terminal and the HTML report alike.

Returns plain text: whoever shows it escapes it. Reads the contents of ``audit.json`` and computes no statistic.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from experiments.report import words

Audit = Mapping[str, Any]
Row = Mapping[str, Any]

CHECKS: Final = {
    "false_alarms": "False alarms",
    "coverage": "Effect covered",
    "lift_coverage": "Lift covered",
    "power": "Power",
}
"""The columns of the scorecard, in order."""
PLANS: Final = {
    "uncorrected": "every day, without correction",
    "obrien_fleming": "every day, bounds like O'Brien and Fleming",
    "pocock": "every day, bounds like Pocock",
    "power": "every day, power-family spending",
    "asymptotic_cs": "every day, asymptotic confidence sequence",
    "msprt": "every day, mixture sequential test",
    "configured": "the looks of the config",
}
_PROMISES: Final = {"equal": "", "at most": "at most ", "at least": "at least "}


class Cell(NamedTuple):
    """A rate in words.

    Attributes:
        rate: the share of experiments; a dash where nothing is known.
        interval: at 95%.
        mark: ``defect`` or ``outside`` where it is not what was promised, else empty.
        note: what was promised, where that is not the column's.
    """

    rate: str
    interval: str
    mark: str
    note: str = ""


class Line(NamedTuple):
    """One row of a table: what it is about, and its cells."""

    about: tuple[str, ...]
    cells: tuple[Cell, ...]


def percent(rate: float | None) -> str:
    """A share of experiments as a percentage; two decimals below 1%."""
    if rate is None or not words.known(rate):
        return words.NOTHING
    return f"{100 * rate:.{2 if 0 < rate < 0.00995 or 0.9995 <= rate < 1 else 1}f}%"


def interval(ends: Sequence[float] | None) -> str:
    """An interval of shares such as ``3.7 to 6.5%``."""
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}%" if ends else ""


def promise(row: Row) -> str:
    """What was promised, such as ``at most 5.0%``; empty where nothing was."""
    return "" if row["nominal"] is None else _PROMISES[row["promise"]] + percent(row["nominal"])


def mark(row: Row) -> str:
    """``defect`` outside the corrected interval, ``outside`` of that at 95% alone, else empty."""
    if row.get("defect") or row.get("differs"):
        return "defect" if row.get("defect") else "differs"
    return "outside" if row["outside"] else ""


def cell(row: Row | None, note: str = "") -> Cell:
    """A finding in words; empty where there is none."""
    if row is None:
        return Cell(words.NOTHING, "", "")
    return Cell(percent(row["rate"]), interval(row["interval"]), mark(row), note)


def treatments(audit: Audit) -> list[str]:
    """The arms but the control."""
    return [arm for arm in audit["shares"] if arm != audit["control"]]


def columns(audit: Audit) -> list[tuple[str, str]]:
    """Heading and promise of the scorecard's columns; false alarms alone where no effect is known."""
    alpha = audit["alpha"]
    promised = {
        "false_alarms": percent(alpha),
        "coverage": percent(1 - alpha),
        "lift_coverage": percent(1 - alpha),
        "power": "predicted",
    }
    shown = CHECKS if audit["effects_known"] else ("false_alarms",)
    return [(CHECKS[check], promised[check]) for check in shown]


def scorecard(audit: Audit, treatment: str) -> list[Line]:
    """Each metric by each method: false alarms, coverage with users drawn from the table, power."""
    found = {
        (row["metric"], row["method"], row["check"]): row for row in _drawn(audit) if row["treatment"] == treatment
    }
    asked = list(dict.fromkeys((metric, method) for metric, method, _ in found))
    lines = []
    for metric, method in asked:
        cells = []
        for check in CHECKS if audit["effects_known"] else ("false_alarms",):
            row = found.get((metric, method, check))
            cells.append(cell(row, _note(row) if row else ""))
        about = (words.title(audit, metric), audit["methods"][method])
        lines.append(Line(about, tuple(cells)))
    return lines


def fixed(audit: Audit, treatment: str) -> list[Line]:
    """Coverage with the table's own users: beside it the coverage with users drawn from it."""
    by_design = {
        (row["metric"], row["method"], row["design"]): row
        for row in audit["findings"]
        if row["check"] == "coverage" and row["treatment"] == treatment
    }
    asked = dict.fromkeys((metric, method) for metric, method, _ in by_design)
    return [
        Line(
            (words.title(audit, metric), audit["methods"][method]),
            tuple(cell(by_design.get((metric, method, design))) for design in ("drawn", "fixed")),
        )
        for metric, method in asked
    ]


def peeking(audit: Audit) -> list[Line]:
    """Reading the primary metric every day, with and without bounds."""
    return [
        Line(
            (PLANS[row["method"]] + _arm(audit, row), promise(row) or "nothing"),
            (cell(row),),
        )
        for row in audit["findings"]
        if row["check"] == "peeking"
    ]


def others(audit: Audit) -> list[Line]:
    """The scorecard as a family, the sample-ratio test, tests of days and the guardrails."""
    lines = []
    for row in audit["findings"]:
        if row["check"] == "family":
            by = "uncorrected" if row["correction"] == "none" else f"corrected by {row['correction']}"
            about = f"any of {row['comparisons']} comparisons, {by}"
        elif row["check"] == "sample_ratio":
            about = f"sample-ratio test, p below {row['threshold']:g}"
        elif row["check"] == "trend":
            about = f"trend of the daily effect on {words.title(audit, row['metric'])}" + _arm(audit, row)
        elif row["check"] == "log_rank":
            about = "log-rank test of how long users stay" + _arm(audit, row)
        elif row["check"] == "guardrails":
            about = f"guardrail {words.title(audit, row['metric'])} passed, {row['treatment']} worse by its margin"
        else:
            continue
        lines.append(Line((about, promise(row) or "nothing"), (cell(row),)))
    return lines


def headline(audit: Audit) -> str:
    """The outcome in a few words."""
    count = audit["defects"]
    if not count:
        outside = sum(bool(row["outside"]) for row in audit["findings"])
        return "No promise is broken" if outside else "Every promise holds"
    return "One promise is broken" if count == 1 else f"{count} promises are broken"


def paragraph(audit: Audit) -> str:
    """What was done, and how many intervals one must expect to miss."""
    promised = [row for row in audit["findings"] if row["outside"] is not None]
    outside = sum(row["outside"] for row in promised)
    table = audit["null_table"]
    of_table = "their outcomes as observed" if table == "observed" else f"the outcomes of {table}"
    known = (
        ""
        if audit["effects_known"]
        else " The run did not play users under every arm, so that coverage and power are not known; oracle: true does."
    )
    by_chance = words.count(max(1.0, 0.05 * len(promised)))
    return (
        f"{words.count(audit['replications'])} experiments on {words.count(audit['users'])} users, assigned anew each "
        f"time; where nothing may differ all arms show {of_table}.{known} {words.count(len(promised))} promises were "
        f"held against exact intervals. At 95% up to about {by_chance} of them are missed by chance; {outside} "
        f"{'was' if outside == 1 else 'were'}. A defect is one missed at {_confidence(audit)}, where all intervals "
        "together hold with 95%."
    )


def defects(audit: Audit) -> list[str]:
    """One sentence for each broken promise."""
    return [_sentence(audit, row) for row in audit["findings"] if row["defect"]]


def doubtful(audit: Audit) -> list[str]:
    """One sentence for each promise outside of its interval at 95% that is no defect."""
    return [_sentence(audit, row) for row in audit["findings"] if row["outside"] and not row["defect"]]


def predictions(audit: Audit) -> list[str]:
    """One sentence for each prediction of power that does not hold at the corrected confidence."""
    return [
        f"{_about(audit, row)}: an effect was noticed in {percent(row['rate'])} of the experiments and predicted in "
        f"{percent(row['nominal'])}."
        for row in audit["power"]
        if row["differs"]
    ]


def gave_way(audit: Audit) -> list[str]:
    """Where a method often gave way to a simpler one, or could say nothing."""
    found = []
    for row in audit["findings"]:
        if row["check"] != "false_alarms":
            continue
        asked = row["trials"] + row["untested"]
        if row["untested"]:
            found.append(
                f"{_about(audit, row)}: nothing could be tested in {words.count(row['untested'])} of {asked:,}."
            )
        if row["gave_way"]:
            found.append(
                f"{_about(audit, row)}: gave way to the plain test in {row['gave_way']:,} of {row['trials']:,}."
            )
    return found


def _sentence(audit: Audit, row: Row) -> str:
    corrected = interval(row["interval_corrected"])
    said = {
        "false_alarms": "a false alarm in",
        "coverage": "the interval of the difference holds the truth in",
        "lift_coverage": "the interval of the lift holds the truth in",
        "peeking": "stopped for an effect that is not there in",
        "family": "some comparison sounds a false alarm in",
        "sample_ratio": "users are called misplaced in",
        "guardrails": "a loss as large as the margin passes in",
        "trend": "a trend is found in",
        "log_rank": "a difference is found in",
    }[row["check"]]
    return (
        f"{_about(audit, row)}: {said} {percent(row['rate'])} of {words.count(row['trials'])} experiments "
        f"({interval(row['interval'])} at 95%, {corrected} at {_confidence(audit)}), promised {promise(row)}."
    )


def _about(audit: Audit, row: Row) -> str:
    arm = _arm(audit, row)
    if row["check"] == "family":
        return f"The {row['comparisons']} comparisons together, corrected by {row['correction']}"
    if row["check"] == "sample_ratio":
        return f"Sample-ratio test at p below {row['threshold']:g}"
    if row["check"] == "log_rank":
        return f"Log-rank test of how long users stay{arm}"
    title = words.title(audit, row["metric"])
    if row["check"] == "trend":
        return f"Trend of the daily effect on {title}{arm}"
    if row["check"] == "guardrails":
        return f"Guardrail {title}{arm}"
    if row["check"] == "peeking":
        return f"{title} read {PLANS[row['method']]}{arm}"
    design = ", with the table's own users" if row.get("design") == "fixed" else ""
    return f"{title} by {audit['methods'][row['method']]}{arm}{design}"


def _arm(audit: Audit, row: Row) -> str:
    """The treatment, where there are several."""
    return f", {row['treatment']}" if len(treatments(audit)) > 1 and "treatment" in row else ""


def _note(row: Row) -> str:
    if row["check"] == "power":
        return percent(row["nominal"]) if row["nominal"] is not None else ""
    return promise(row) if row["promise"] != "equal" else ""


def _drawn(audit: Audit) -> list[Row]:
    """The findings of the scorecard: all that is about a metric and a method at the end of the experiment."""
    rows = [*audit["findings"], *audit["power"]]
    return [row for row in rows if row["check"] in CHECKS and row.get("design", "drawn") == "drawn"]


def _confidence(audit: Audit) -> str:
    return f"{100 * audit['confidence']['findings']:.5g}%"
