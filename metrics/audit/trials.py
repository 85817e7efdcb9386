"""Every question asked of many drawn experiments.

An experiment shows each unit under the arm it is in. Which table an arm shows is free: with its own table the effect is
that of the table, and with one table for all arms there is none. Knows tables, draws and questions; judges no answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from tea_tasting.aggr import Aggregates

from metrics.audit.draws import Draw
from metrics.audit.outcomes import Outcomes, observed
from metrics.audit.questions import Answer, Question, Sample, Truth
from metrics.audit.sums import ColumnSums
from metrics.power import power_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What was answered; NaN where nothing was. Each [questions, treatments, replications].

    Attributes:
        p_value: two-sided, of no effect.
        low, high: interval of the difference.
        lift_low, lift_high: interval of the lift.
        as_asked: 1 where the method was used, 0 where it gave way to a simpler one, NaN where it was not asked.
    """

    p_value: Floats
    low: Floats
    high: Floats
    lift_low: Floats
    lift_high: Floats
    as_asked: Floats

    @classmethod
    def joined(cls, parts: Sequence["Answers"]) -> "Answers":
        """The same questions' answers, one replication after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts], axis=2) for field in fields(cls)))


class Trials:
    """An experiment that can be drawn as often as wanted.

    Args:
        outcomes: the tables.
        shown: for each arm, the control first, the table that its units show.
        questions: to be asked.
        alpha: level of the tests and intervals.
    """

    def __init__(self, outcomes: Outcomes, shown: Sequence[str], questions: Sequence[Question], alpha: float) -> None:
        self._outcomes, self._shown, self._alpha = outcomes, tuple(shown), alpha
        self._questions = tuple(questions)
        self._sums: dict[tuple[str, int], ColumnSums] = {}
        for days in dict.fromkeys(question.metric.needs_days for question in self._questions):
            metrics = [question.metric for question in self._questions if question.metric.needs_days == days]
            for name in dict.fromkeys(self._shown):
                # Metrics of one window are known of the same users.
                rows = observed(metrics[0], outcomes.tables[name])
                self._sums[name, days] = ColumnSums(outcomes.tables[name], metrics, rows)

    def answers(self, draws: Sequence[Draw]) -> Answers:
        """Ask every question of every drawn experiment."""
        weights = self.weights(draws)
        aggregates = self._aggregates(weights)
        found = np.full((len(fields(Answers)), len(self._questions), len(self._shown) - 1, len(draws)), np.nan)
        for number in range(len(draws)):
            for place, question in enumerate(self._questions):
                if draws[number].replication % question.method.every:
                    continue
                samples = [
                    self._sample(
                        question, arm, aggregates[arm, question.metric.needs_days][number], weights[arm][number]
                    )
                    for arm in range(len(self._shown))
                ]
                for other, treatment in enumerate(samples[1:]):
                    answer = question.method.ask(question.metric, samples[0], treatment, self._alpha)
                    found[:, place, other, number] = _numbers(answer)
        return Answers(*found)

    def weights(self, draws: Sequence[Draw]) -> list[Floats]:
        """How often each row of the tables stands in each arm: for each arm [replications, rows]."""
        rows = len(self._outcomes.user)
        return [np.stack([each.weights(arm, rows) for each in draws]) for arm in range(len(self._shown))]

    def truth(self, question: Question, treatment: int) -> Truth:
        """The effect that the intervals should hold; ``treatment`` counts from 1."""
        tables = self._outcomes.tables
        return question.method.truth(question.metric, tables[self._shown[0]], tables[self._shown[treatment]])

    def predicted_power(self, question: Question, treatment: int, shares: Sequence[float]) -> float | None:
        """Chance to notice the effect, by the normal distribution and the error that the whole table would have.

        Args:
            question: about which metric and by which method.
            treatment: counts from 1.
            shares: of all arms, the control first.
        """
        effect = self.truth(question, treatment).effect
        samples = [self._expected(question, arm, shares) for arm in (0, treatment)]
        error = question.method.ask(question.metric, samples[0], samples[1], self._alpha).std_error
        return power_of(effect, error, self._alpha) if effect is not None and error else None

    def _aggregates(self, weights: Sequence[Floats]) -> Mapping[tuple[int, int], list[Aggregates]]:
        return {
            (arm, days): sums.aggregates(weights[arm])
            for arm, name in enumerate(self._shown)
            for (table, days), sums in self._sums.items()
            if table == name
        }

    def _sample(self, question: Question, arm: int, aggregates: Aggregates, weights: Floats) -> Sample:
        table = self._outcomes.tables[self._shown[arm]]
        known = observed(question.metric, table)

        def values(column: str) -> Floats:
            return np.repeat(table[column][known], weights[known].astype(np.int64))

        return Sample(aggregates, values)

    def _expected(self, question: Question, arm: int, shares: Sequence[float]) -> Sample:
        """An arm with the moments of the whole table and the number of users that its share promises."""
        everybody = np.ones((1, len(self._outcomes.user)))
        (whole,) = self._sums[self._shown[arm], question.metric.needs_days].aggregates(everybody)
        count = round(whole.count() * shares[arm] / sum(shares))
        aggregates = Aggregates(count, whole.mean_, whole.var_, whole.cov_)
        return self._sample(question, arm, aggregates, everybody[0])


def _numbers(answer: Answer) -> list[float]:
    low, high = answer.ci or (np.nan, np.nan)
    lift_low, lift_high = answer.lift_ci or (np.nan, np.nan)
    p_value = np.nan if answer.p_value is None else answer.p_value
    return [p_value, low, high, lift_low, lift_high, float(answer.as_asked)]
