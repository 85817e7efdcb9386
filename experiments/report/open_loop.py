"""What an open-loop evaluation shows, cut into small tables: a few metrics and all policies to which they apply.

Shared by the HTML report and the terminal, so that both say the same. Returns plain text: whoever shows it escapes it.
Reads the contents of ``evaluation.json`` and computes no statistic.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from experiments.report import words

Evaluation = Mapping[str, Any]

GROUPS: Final = {
    "accuracy": "What users did next",
    "diversity": "What was shown and thought",
    "cost": "What a visit's thoughts cost",
}

MARK: Final = "*"
"""Beside a difference that holds after correction."""

FEWEST_USERS: Final = 100
"""Users from which the bootstrap's p-values keep their promise far out in the tail, where a correction reads them. Of
300 families of eight equal policies (28 comparisons, normal values) 10% gave a false alarm after Holm with 30 users, 7%
with 50 and 4.7% with 100, where 5% is promised."""

MOST_COLUMNS: Final = 4
"""Metrics in one table: as many as fit the page."""


class Cell(NamedTuple):
    """One policy and metric, in words.

    Attributes:
        value: the mean over visits.
        span: its interval.
        difference: against the reference; empty for the reference itself and where nothing can be said.
        interval: of the difference, likewise.
        mark: ``MARK`` where the difference holds after correction, else empty; never in a stratum, where none is made.
    """

    value: str
    span: str
    difference: str
    interval: str
    mark: str


class Panel(NamedTuple):
    """One small table.

    Attributes:
        title: what it is about; empty for the continuation of the table before.
        note: which visits it covers, if not all; else empty.
        metrics: names of the columns.
        references: for each column the policy that the others are held against, empty where nobody has a value.
        rows: policies with a value, each with its cells.
    """

    title: str
    note: str
    metrics: list[str]
    references: list[str]
    rows: list[tuple[str, list[Cell]]]


def groups(evaluation: Evaluation) -> dict[str, list[str]]:
    """The metrics of each group that has any, in the order of the config."""
    found = {group: [n for n, m in evaluation["metrics"].items() if m["group"] == group] for group in GROUPS}
    return {group: names for group, names in found.items() if names}


def parts(evaluation: Evaluation) -> list[str]:
    """The strata that hold some visits and not all, by name: those that say something of their own."""
    strata = evaluation["strata"]
    return [name for name, each in strata.items() if 0 < each["requests"] < evaluation["requests"]]


def panels(evaluation: Evaluation) -> list[Panel]:
    """All tables: each group of metrics over all visits, then what users did next in each stratum."""
    by_group = groups(evaluation)
    found = [panel for group, names in by_group.items() for panel in _panels(evaluation, GROUPS[group], "", "", names)]
    for part in parts(evaluation):
        stratum = evaluation["strata"][part]
        size = f"{words.count(stratum['requests'])} visits of {words.count(stratum['users'])} users"
        title = f"{GROUPS['accuracy']}: {part.replace('_', ' ')} (exploratory)"
        found += _panels(evaluation, title, f"{stratum['definition']}; {size}", part, by_group.get("accuracy", []))
    return found


def reference(evaluation: Evaluation, metric: str) -> str:
    """Whom the others are held against: the control, or the first policy with a value if it has none, or nobody."""
    having = [name for name, values in evaluation["policies"].items() if (values.get(metric) or {}).get("ci")]
    control = str(evaluation["control"])
    return control if control in having else having[0] if having else ""


def entry(evaluation: Evaluation, policy: str, metric: str, part: str = "") -> Mapping[str, Any]:
    """A policy's value and interval over all visits or a stratum; empty where it has none."""
    found = evaluation["policies"][policy].get(metric) or {}
    return (found.get(part) or {}) if part else found


def coverage(evaluation: Evaluation) -> str:
    """How many visits of how many users, and of how many they were drawn."""
    requests, held_out = evaluation["requests"], evaluation["held_out"]
    drawn = f", drawn from {words.count(held_out)} held out" if requests < held_out else ""
    return f"{words.count(requests)} visits of {words.count(evaluation['users'])} users{drawn}"


def elsewhere(evaluation: Evaluation) -> list[str]:
    """Sentences about strata without a table of their own."""
    strata, shown = evaluation["strata"], parts(evaluation)
    return [
        f"{name.replace('_', ' ').capitalize()} ({stratum['definition']}): "
        + ("every visit is one." if stratum["requests"] else "no visit is one.")
        for name, stratum in strata.items()
        if name not in shown
    ]


def told(evaluation: Evaluation, row: Mapping[str, Any]) -> bool:
    """Whether a comparison over all visits tells its policies apart: by the adjusted p-value, and by nothing else."""
    p = row["p_adjusted"]
    return bool(words.known(p) and p <= evaluation["alpha"] and row["effect"] != 0)


def family(evaluation: Evaluation) -> list[str]:
    """Sentences that say what a mark means, which comparisons are corrected together, and what is not."""
    found = evaluation["family"]
    if not found["comparisons"]:
        return []
    alpha = evaluation["alpha"]
    level, count = words.level(alpha), words.count(found["comparisons"])
    sentences = [
        f"{MARK} marks a difference whose adjusted p is at most {words.short(alpha)}, corrected "
        f"({found['correction']}) as one of {count} comparisons: each metric times each two policies that have it, "
        f"over all visits. Intervals hold {level} each and are not corrected: one can leave out 0 where there is no "
        "mark."
    ]
    if evaluation["users"] < FEWEST_USERS:
        sentences.append(
            f"Only {words.count(evaluation['users'])} users: with fewer than {FEWEST_USERS} p-values of the bootstrap "
            "are too small, corrected or not, so that more is marked than should be."
        )
    if parts(evaluation):
        sentences.append("A stratum is exploratory: its differences are not corrected, and none is marked.")
    if found["smallest_p_adjusted"] > alpha:
        sentences.append(
            f"Nothing can be marked here: from {words.count(found['replicates'])} replicates no adjusted p is below "
            f"{words.short(found['smallest_p_adjusted'])}. Compare fewer policies or metrics."
        )
    return sentences


def pairs(evaluation: Evaluation) -> dict[str, list[Mapping[str, Any]]]:
    """The comparisons of each metric that has any."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in evaluation["comparisons"]:
        found.setdefault(row["metric"], []).append(row)
    return found


def _panels(evaluation: Evaluation, title: str, note: str, part: str, metrics: list[str]) -> list[Panel]:
    """A group's tables, about equally wide; the first bears the title."""
    found: list[Panel] = []
    tables = -(-len(metrics) // MOST_COLUMNS)
    size = -(-len(metrics) // max(tables, 1))
    for begin in range(0, len(metrics), max(size, 1)):
        chosen = metrics[begin : begin + size]
        against = [reference(evaluation, metric) for metric in chosen]
        rows = [
            (policy, [_cell(evaluation, policy, *column, part) for column in zip(chosen, against, strict=True)])
            for policy, values in evaluation["policies"].items()
            if any(values.get(metric) for metric in chosen)
        ]
        found.append(Panel("" if begin else title, "" if begin else note, chosen, against, rows))
    return found


def _cell(evaluation: Evaluation, policy: str, metric: str, against: str, part: str) -> Cell:
    found = entry(evaluation, policy, metric, part)
    value, span = words.number(found.get("value")), words.span(found.get("ci"))
    for row in evaluation["comparisons"]:
        if row["metric"] == metric and {row["a"], row["b"]} == {policy, against}:
            pair = row.get(part) if part else row
            if pair and words.known(pair["effect"]):
                sign = 1 if row["b"] == policy else -1
                ends = words.pair(pair["ci"])
                interval = sorted(sign * end for end in ends) if ends else None
                mark = MARK if not part and told(evaluation, row) else ""
                return Cell(value, span, words.signed(sign * pair["effect"]), words.interval(interval, ""), mark)
    return Cell(value, span, "", "", "")
