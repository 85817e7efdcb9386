"""The replications of an audit: experiments drawn one after the other, and everything that is asked of each.

Replications are numbered, each is a function of its number, and they are worked off in blocks whose size depends on the
number of users alone, so that it does not matter who works off which. Knows the order of things; judges nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from metrics.audit.day_tests import DayAnswers, DayTests
from metrics.audit.draws import Assign, Design, Draw, draw
from metrics.audit.guarding import at_margin
from metrics.audit.outcomes import Outcomes, observed
from metrics.audit.peeking import Peeking, Plan, Stops
from metrics.audit.questions import Question
from metrics.audit.sums import ColumnSums, block_size
from metrics.audit.trials import Answers, Trials
from metrics.definitions import Metric
from metrics.srm import sample_ratio

Floats = npt.NDArray[np.float64]

STATES: Final = ("passed", "failed", "open")
STEPS: Final = 4
"""Steps of progress that a block takes."""


@dataclass(frozen=True)
class Setting:
    """What an audit asks.

    Attributes:
        outcomes: the tables at the end of the experiment.
        arms: names, the control first.
        shares: of the arms, in that order.
        null: the table that all units show where nothing may differ.
        effects: whether each arm has a table of its own, so that effects are known.
        questions: of the scorecard.
        alpha: level of tests and intervals.
        cuped: whether the verdict adjusts.
        assign: the experiment's assignment.
        seed: of the draws.
        looks: the tables after each day, the last at the end.
        times: share of the planned days that had passed at each.
        primary: the metric that is read after each day.
        plans: bounds that are held against the looks, by name.
        guardrails: metrics that must not get worse, with their margins.
        day_tests: what is asked of days.
    """

    outcomes: Outcomes
    arms: tuple[str, ...]
    shares: tuple[float, ...]
    null: str
    effects: bool
    questions: tuple[Question, ...]
    alpha: float
    cuped: bool
    assign: Assign
    seed: int
    looks: tuple[Outcomes, ...]
    times: tuple[float, ...]
    primary: Metric
    plans: Mapping[str, Plan]
    guardrails: tuple[tuple[Metric, float], ...]
    day_tests: DayTests

    def trials(self, effects: bool) -> Trials:
        """The experiment with the tables' effects, or without any."""
        shown = self.arms if effects else (self.null,) * len(self.arms)
        return Trials(self.outcomes, shown, self.questions, self.alpha)


@dataclass(frozen=True)
class Replications:
    """What came of some replications, one after the other.

    Attributes:
        null: answers where nothing differs, the users of the table randomised anew.
        effects: by design, answers where the tables differ; empty where effects are not known.
        stops: when reading after each day stopped a test.
        sample_ratio: p-values of the sample-ratio test: [replications].
        guardrails: index into ``STATES`` where the loss is the margin, -1 where untested:
            [guardrails, treatments, replications].
        days: answers of the tests of days.
    """

    null: Answers
    effects: Mapping[Design, Answers]
    stops: Stops
    sample_ratio: Floats
    guardrails: npt.NDArray[np.int64]
    days: DayAnswers

    @classmethod
    def joined(cls, parts: Sequence["Replications"]) -> "Replications":
        """One part after the other."""
        return cls(
            Answers.joined([part.null for part in parts]),
            {design: Answers.joined([part.effects[design] for part in parts]) for design in parts[0].effects},
            Stops.joined([part.stops for part in parts]),
            np.concatenate([part.sample_ratio for part in parts]),
            np.concatenate([part.guardrails for part in parts], axis=2),
            DayAnswers.joined([part.days for part in parts]),
        )


def blocks(replications: int, users: int) -> list[range]:
    """The replications in blocks that are drawn together."""
    size = block_size(users)
    return [range(first, min(first + size, replications)) for first in range(0, replications, size)]


def replicate(setting: Setting, numbers: Sequence[range], tick: Callable[[], None]) -> Replications:
    """Work off some blocks of replications.

    Args:
        setting: what is asked.
        numbers: the blocks.
        tick: called ``STEPS`` times a block.
    """
    null, effects = setting.trials(effects=False), setting.trials(effects=True) if setting.effects else None
    peeking = Peeking(
        setting.looks,
        setting.times,
        setting.null,
        len(setting.arms),
        setting.primary,
        setting.cuped,
        setting.alpha,
        setting.plans,
    )
    rails = [_rail_sums(setting, metric) for metric, _ in setting.guardrails]
    parts = []
    for block in numbers:
        drawn = partial(_draws, setting, block)
        again = drawn("fixed")
        answers = null.answers(again)
        tick()
        found: dict[Design, Answers] = {}
        for design in ("fixed", "drawn"):
            if effects is not None:
                found[design] = effects.answers(again if design == "fixed" else drawn("drawn"))
            tick()
        stops = peeking.stops(again)
        ratios = np.array([_sample_ratio(setting, each) for each in again])
        guarded = _guarded(setting, rails, again)
        days = setting.day_tests.answers(again, setting.outcomes.user, setting.arms)
        parts.append(Replications(answers, found, stops, ratios, guarded, days))
        tick()
    return Replications.joined(parts)


def _draws(setting: Setting, numbers: range, design: Design) -> list[Draw]:
    return [draw(design, setting.outcomes.user, number, setting.assign, setting.seed) for number in numbers]


def _sample_ratio(setting: Setting, drawn: Draw) -> float:
    counts = np.bincount(drawn.arm, minlength=len(setting.arms))
    users = {arm: int(count) for arm, count in zip(setting.arms, counts, strict=True)}
    return sample_ratio(users, dict(zip(setting.arms, setting.shares, strict=True))).p_value


def _rail_sums(setting: Setting, metric: Metric) -> ColumnSums:
    table = setting.outcomes.tables[setting.null]
    return ColumnSums(table, [metric], observed(metric, table))


def _guarded(setting: Setting, rails: Sequence[ColumnSums], draws: Sequence[Draw]) -> npt.NDArray[np.int64]:
    arms, users = range(len(setting.arms)), len(setting.outcomes.user)
    states = np.full((len(rails), len(setting.arms) - 1, len(draws)), -1)
    for place, (sums, (metric, margin)) in enumerate(zip(rails, setting.guardrails, strict=True)):
        read = [sums.aggregates(np.stack([each.weights(arm, users) for each in draws])) for arm in arms]
        for treatment in arms[1:]:
            for number in range(len(draws)):
                state = at_margin(
                    metric, read[0][number], read[treatment][number], margin, setting.alpha, setting.cuped
                )
                if state is not None:
                    states[place, treatment - 1, number] = STATES.index(state)
    return states
