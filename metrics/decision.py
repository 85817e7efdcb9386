"""What to do after a test: ship, hold, keep running, or test again, and why, in one sentence.

A rule, so that the same evidence always leads to the same decision. It looks at the sample ratio, at the primary metric
after correction and at its looks, at every guardrail, and at what the test could have noticed. No single p-value
decides: a win is shipped only past its guardrails, and finding nothing counts only where something would have been
found. Once the planned days have passed there is nothing left to run on: what is still open takes a new test, and the
reason says of how many units. Knows outcomes of tests and no data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from metrics.guardrails import Guardrail

Word = Literal["ship", "hold", "keep running", "test again"]


@dataclass(frozen=True)
class Correction:
    """What the correction for several comparisons made of the primary metric's p-value.

    Attributes:
        p_value: by itself, at its looks.
        p_adjusted: corrected.
        comparisons: of the family.
        alpha: the level both are held against.
    """

    p_value: float
    p_adjusted: float
    comparisons: int
    alpha: float

    @property
    def undid(self) -> bool:
        """Whether the metric differs by itself, and not once its p-value is corrected."""
        return self.p_value <= self.alpha < self.p_adjusted


@dataclass(frozen=True)
class Evidence:
    """What a decision rests on.

    Attributes:
        metric: the primary metric's name for people.
        trusted: whether the users fell on the arms as their shares say.
        direction: of the primary metric, corrected and at its looks: 1 better, -1 worse, 0 neither; ``None`` if it
            could not be tested.
        ended: whether the planned days have passed.
        looks: how many times the metric was to be read before its end, the end included.
        correction: of the primary metric's p-value; ``None`` if it could not be tested.
        target: the relative effect that the test should notice.
        power: probability that this test notices it; ``None`` if unknown.
        wanted: the power that was planned.
        needed: units of control and treatment together that notice the target with the wanted power; ``None`` if
            unknown.
        guarding: likewise, by guardrail: units that rule out a loss beyond its margin where there is none.
        units: what the units are called, in the plural.
        guardrails: outcome of each.
        worse: other metrics, by their names for people, that got significantly worse.
    """

    metric: str
    trusted: bool
    direction: int | None
    ended: bool
    target: float
    power: float | None
    wanted: float
    looks: int = 1
    correction: Correction | None = None
    needed: int | None = None
    guarding: Mapping[str, int | None] = field(default_factory=dict)
    units: str = "users"
    guardrails: Sequence[Guardrail] = ()
    worse: Sequence[str] = ()


@dataclass(frozen=True)
class Decision:
    """A word and its reason in one sentence."""

    word: Word
    reason: str


def decide(evidence: Evidence, names: dict[str, str] | None = None) -> Decision:
    """The decision for one treatment.

    Args:
        evidence: outcomes of the tests.
        names: the guardrails' names for people, by metric.
    """
    shown = {row.metric: (names or {}).get(row.metric, row.metric) for row in evidence.guardrails}
    failed = [shown[row.metric] for row in evidence.guardrails if row.state == "failed"]
    undecided = {row.metric: shown[row.metric] for row in evidence.guardrails if row.state == "open"}
    if not evidence.trusted:
        return Decision("hold", "The users did not fall on the arms as planned, so no effect can be trusted.")
    if failed:
        return Decision("hold", f"{_listing(failed)} lost more than the margin allows.")
    if evidence.direction == -1:
        return Decision("hold", f"{evidence.metric} got significantly worse.")
    if evidence.direction == 1:
        return _won(evidence, undecided)
    return _undecided(evidence)


def _won(evidence: Evidence, undecided: Mapping[str, str]) -> Decision:
    found = f"{evidence.metric} got significantly better"
    if undecided:
        held = f"{found}, but a loss beyond the margin is not yet ruled out on {_listing(list(undecided.values()))}"
        if not evidence.ended:
            return Decision("keep running", f"{held}, and planned days are left.")
        needed = [evidence.guarding.get(metric) for metric in undecided]
        most = None if None in needed else max(each for each in needed if each is not None)
        return Decision("test again", f"{held}: {_anew(evidence, most, 'rule it out where there is none')}.")
    guarded = "every guardrail is passed" if evidence.guardrails else "no guardrail was set"
    but = f", though {_listing(evidence.worse)} got significantly worse" if evidence.worse else ""
    return Decision("ship", f"{found} and {guarded}{but}.")


def _undecided(evidence: Evidence) -> Decision:
    if evidence.direction is None:
        return Decision("hold" if evidence.ended else "keep running", f"{evidence.metric} could not be tested.")
    found = _nothing_found(evidence)
    if not evidence.ended:
        return Decision("keep running", f"{found}, and planned days are left.")
    if evidence.power is None:
        return Decision(
            "test again",
            f"{found}, and what the test could notice is unknown: {_anew(evidence, None, 'tell')}.",
        )
    chance = f"a change of {evidence.target:.2%} had a chance of {evidence.power:.0%} to be noticed"
    if evidence.power >= evidence.wanted:
        return Decision("hold", f"{found}, though {chance}.")
    return Decision(
        "test again",
        f"{found}, and {chance}, where {evidence.wanted:.0%} was wanted: "
        f"{_anew(evidence, evidence.needed, 'notice it')}.",
    )


def _nothing_found(evidence: Evidence) -> str:
    """What keeps the primary metric from being better or worse: its correction, its bound, or its p-value."""
    correction = evidence.correction
    if correction is not None and correction.undid:
        by_itself = "reached its bound" if evidence.looks > 1 or not evidence.ended else "differs by itself"
        return (
            f"{evidence.metric} {by_itself} (p = {correction.p_value:.2g}), but not with its p-value corrected for "
            f"{correction.comparisons} comparisons ({correction.p_adjusted:.2g}, above {correction.alpha:g})"
        )
    if not evidence.ended:
        return f"{evidence.metric} has not reached its bound"
    return f"{evidence.metric} shows no significant difference"


def _anew(evidence: Evidence, needed: int | None, purpose: str) -> str:
    """The advice once nothing is left to run on."""
    if needed is None:
        return f"this test has ended, so it takes a new one with more {evidence.units} to {purpose}"
    return (
        f"this test has ended, so plan a new one, which takes about {needed:,} {evidence.units} in the two arms to "
        f"{purpose}"
    )


def _listing(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
