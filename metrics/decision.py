"""What to do after a test: ship, hold, or keep running, and why, in one sentence.

A rule, so that the same evidence always leads to the same decision. It looks at the sample ratio, at the primary metric
after correction and at its looks, at every guardrail, and at what the test could have noticed. No single p-value
decides: a win is shipped only past its guardrails, and finding nothing counts only where something would have been
found. Knows outcomes of tests and no data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from metrics.guardrails import Guardrail

Word = Literal["ship", "hold", "keep running"]


@dataclass(frozen=True)
class Evidence:
    """What a decision rests on.

    Attributes:
        metric: the primary metric's name for people.
        trusted: whether the users fell on the arms as their shares say.
        direction: of the primary metric, corrected and at its looks: 1 better, -1 worse, 0 neither; ``None`` if it
            could not be tested.
        ended: whether the planned days have passed.
        target: the relative effect that the test should notice.
        power: probability that this test notices it; ``None`` if unknown.
        wanted: the power that was planned.
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
    undecided = [shown[row.metric] for row in evidence.guardrails if row.state == "open"]
    if not evidence.trusted:
        return Decision("hold", "The users did not fall on the arms as planned, so no effect can be trusted.")
    if failed:
        return Decision("hold", f"{_listing(failed)} lost more than the margin allows.")
    if evidence.direction == -1:
        return Decision("hold", f"{evidence.metric} got significantly worse.")
    if evidence.direction == 1:
        return _won(evidence, undecided)
    return _undecided(evidence)


def _won(evidence: Evidence, undecided: Sequence[str]) -> Decision:
    found = f"{evidence.metric} got significantly better"
    if undecided:
        return Decision(
            "keep running", f"{found}, but a loss beyond the margin is not yet ruled out on {_listing(undecided)}."
        )
    guarded = "every guardrail is passed" if evidence.guardrails else "no guardrail was set"
    but = f", though {_listing(evidence.worse)} got significantly worse" if evidence.worse else ""
    return Decision("ship", f"{found} and {guarded}{but}.")


def _undecided(evidence: Evidence) -> Decision:
    if evidence.direction is None:
        return Decision("hold" if evidence.ended else "keep running", f"{evidence.metric} could not be tested.")
    if not evidence.ended:
        return Decision("keep running", f"{evidence.metric} has not reached its bound and planned days are left.")
    if evidence.power is None:
        return Decision(
            "keep running",
            f"{evidence.metric} shows no significant difference, and what the test could notice is unknown.",
        )
    chance = f"a change of {evidence.target:.2%} had a chance of {evidence.power:.0%} to be noticed"
    if evidence.power >= evidence.wanted:
        return Decision("hold", f"{evidence.metric} shows no significant difference, though {chance}.")
    return Decision(
        "keep running",
        f"{evidence.metric} shows no significant difference, and {chance}, where {evidence.wanted:.0%} was wanted.",
    )


def _listing(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
