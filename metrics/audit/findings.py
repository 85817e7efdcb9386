"""From the answers of many drawn experiments to rates, each beside what was promised.

Knows answers, truths and promises. Does not know how experiments were drawn, nor how findings are shown.
"""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import kstest

from metrics.audit.day_tests import DayAnswers
from metrics.audit.peeking import NEVER, Plan, Stops
from metrics.audit.questions import Question
from metrics.audit.rates import Promise, Rate, corrected_confidence
from metrics.audit.trials import Answers, Trials
from metrics.multiplicity import Correction, adjusted
from metrics.sequential.spending import SPENDING

Floats = npt.NDArray[np.float64]

GRID: Final = tuple(round(0.01 * step, 2) for step in range(1, 101))
"""Where the distribution of p-values is read off."""


@dataclass(frozen=True)
class Finding:
    """One rate, and what it is the rate of.

    Attributes:
        check: the kind of question: ``false_alarms``, ``coverage``, ``lift_coverage``, ``peeking``, ``family``,
            ``sample_ratio``, ``trend``, ``log_rank``, ``guardrails`` or ``power``.
        about: metric, treatment, method, design and the like, in JSON's own types.
        rate: what was counted.
        more: further numbers.
    """

    check: str
    about: Mapping[str, Any]
    rate: Rate
    more: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self, confidence: float) -> dict[str, Any]:
        """In JSON's own types; ``confidence`` is that of the corrected interval."""
        return {"check": self.check, **self.about, **self.rate.to_json(confidence), **self.more}


def false_alarms(
    questions: Sequence[Question], treatments: Sequence[str], answers: Answers, alpha: float
) -> list[Finding]:
    """How often each method finds an effect where there is none, and how its p-values are distributed."""
    found = []
    for about, question, place in _each(questions, treatments):
        p_values = _told(answers.p_value[place])
        rate = Rate(int((p_values <= alpha).sum()), len(p_values), question.method.false_alarms, alpha)
        found.append(Finding("false_alarms", about, rate, _gave_way(answers, place) | _uniformity(p_values)))
    return found


def coverage(
    questions: Sequence[Question],
    treatments: Sequence[str],
    answers: Answers,
    trials: Trials,
    alpha: float,
    design: str,
) -> list[Finding]:
    """How often the intervals of the difference and of the lift hold the truth of the tables.

    With users drawn from the table the promise is 1 - alpha. With the table's own users it is at least that, since the
    variance of differences between users under both arms, which no experiment sees, is not taken off (Neyman 1923).
    """
    found = []
    for about, question, place in _each(questions, treatments):
        truth = trials.truth(question, place[1] + 1)
        promise: Promise = question.method.coverage if design == "drawn" else "at least"
        for check, true, low, high in (
            ("coverage", truth.effect, answers.low[place], answers.high[place]),
            ("lift_coverage", truth.lift, answers.lift_low[place], answers.lift_high[place]),
        ):
            told = ~np.isnan(low) & ~np.isnan(high)
            if true is None or not told.any():
                continue
            # An interval that is built around the truth itself must not miss it by a rounding error.
            slack = 1e-12 * max(abs(true), 1e-300)
            held = (low[told] <= true + slack) & (high[told] >= true - slack)
            rate = Rate(int(held.sum()), int(told.sum()), promise, 1.0 - alpha)
            more = _gave_way(answers, place) | {"truth": true}
            found.append(Finding(check, {**about, "design": design}, rate, more))
    return found


def power(
    questions: Sequence[Question],
    treatments: Sequence[str],
    answers: Answers,
    trials: Trials,
    shares: Sequence[float],
    alpha: float,
) -> list[Finding]:
    """How often each method notices the table's effect, beside what the normal distribution predicts."""
    found = []
    for about, question, place in _each(questions, treatments):
        predicted = trials.predicted_power(question, place[1] + 1, shares)
        p_values = _told(answers.p_value[place])
        promise: Promise = "none" if predicted is None else "equal"
        rate = Rate(int((p_values <= alpha).sum()), len(p_values), promise, predicted)
        truth = trials.truth(question, place[1] + 1)
        more = {"truth": truth.effect, "true_lift": truth.lift} | _gave_way(answers, place)
        found.append(Finding("power", about, rate, more))
    return found


def peeking(
    metric: str, treatments: Sequence[str], stops: Stops, plans: Mapping[str, Plan], looks: Sequence[int], alpha: float
) -> list[Finding]:
    """How often reading after each day stops a test for an effect that is not there.

    Args:
        metric: that is read.
        treatments: the arms.
        stops: when experiments were stopped.
        plans: by name.
        looks: days after which one looks.
        alpha: level of all looks together.
    """
    found = []
    for place, treatment in enumerate(treatments):
        usable = stops.usable[place] > 0
        rows: list[tuple[str, Promise, npt.NDArray[np.int64], Sequence[int]]] = [
            ("uncorrected", "none", stops.uncorrected[place], range(len(looks)))
        ]
        for name, plan in plans.items():
            # Bounds that hold at every moment spend nothing on a plan, and promise no more than their level.
            promise: Promise = "equal" if plan.design.method in SPENDING else "at most"
            rows.append((name, promise, stops.plans[name][place], plan.looks))
        for name, promise, stopped, read in rows:
            told = stopped[usable]
            by_look = [int(((told != NEVER) & (told <= look)).sum()) for look in read]
            rate = Rate(by_look[-1], len(told), promise, None if promise == "none" else alpha)
            about = {"metric": metric, "treatment": treatment, "method": name}
            more = {
                "days": [looks[look] for look in read],
                "by_look": [count / len(told) if len(told) else None for count in by_look],
                "untested": int((~usable).sum()),
            }
            found.append(Finding("peeking", about, rate, more))
    return found


def family(
    questions: Sequence[Question],
    answers: Answers,
    chosen: Sequence[int],
    correction: Correction,
    alpha: float,
) -> list[Finding]:
    """How often at least one comparison of the scorecard is called an effect where no metric has one.

    Where nothing differs every alarm is false, so that this is the false discovery rate too. All corrections promise at
    most alpha under the dependence that metrics have, and ``none`` promises nothing.

    Args:
        questions: all.
        answers: to them.
        chosen: which of them the verdict asks, by index; one for each metric of the family.
        correction: of the config.
        alpha: of the family.
    """
    found = []
    p_values = answers.p_value[list(chosen)].reshape(-1, answers.p_value.shape[2])
    corrections: tuple[Correction, ...] = ("none",) if correction == "none" else (correction, "none")
    gc.freeze()  # statsmodels collects garbage at each correction, which takes long where much is loaded
    for name in corrections:
        alarms, trials = 0, 0
        for column in p_values.T:
            corrected = adjusted([None if np.isnan(p) else float(p) for p in column], name)
            known = [p for p in corrected if p is not None]
            trials += bool(known)
            alarms += bool(known) and min(known) <= alpha
        promise: Promise = "none" if name == "none" else "at most"
        rate = Rate(alarms, trials, promise, None if promise == "none" else alpha)
        metrics = [questions[place].name for place in chosen]
        found.append(Finding("family", {"correction": name, "metrics": metrics}, rate, {"comparisons": len(p_values)}))
    gc.unfreeze()
    return found


def sample_ratios(p_values: Floats, thresholds: Sequence[float]) -> list[Finding]:
    """How often the sample-ratio test calls users misplaced who fell on the arms as their shares say."""
    return [
        Finding(
            "sample_ratio",
            {"threshold": threshold},
            Rate(int((p_values < threshold).sum()), len(p_values), "equal", threshold),
        )
        for threshold in thresholds
    ]


def day_tests(metrics: Sequence[str], treatments: Sequence[str], answers: DayAnswers, alpha: float) -> list[Finding]:
    """How often the trend test and the log-rank test find something where nothing differs."""
    found = []
    for number, metric in enumerate(metrics):
        for place, treatment in enumerate(treatments):
            p_values = _told(answers.trends[number, place])
            rate = Rate(int((p_values <= alpha).sum()), len(p_values), "equal", alpha)
            found.append(Finding("trend", {"metric": metric, "treatment": treatment}, rate))
    for place, treatment in enumerate(treatments):
        p_values = _told(answers.log_rank[place])
        rate = Rate(int((p_values <= alpha).sum()), len(p_values), "equal", alpha)
        found.append(Finding("log_rank", {"treatment": treatment}, rate))
    return found


def guardrails(
    named: Sequence[tuple[str, float]],
    treatments: Sequence[str],
    states: npt.NDArray[np.int64],
    names: Sequence[str],
    alpha: float,
) -> list[Finding]:
    """How often a loss as large as the margin passes a guardrail: at most half of alpha is promised.

    Args:
        named: the guardrails with their margins.
        treatments: the arms.
        states: index into ``names``, -1 where untested: [guardrails, treatments, replications].
        names: of the states.
        alpha: two-sided level.
    """
    found = []
    for number, (metric, margin) in enumerate(named):
        for place, treatment in enumerate(treatments):
            told = states[number, place][states[number, place] >= 0]
            counts = {name: int((told == index).sum()) for index, name in enumerate(names)}
            rate = Rate(counts["passed"], len(told), "at most", alpha / 2.0)
            more = {"states": counts, "untested": int(states.shape[2] - len(told))}
            found.append(
                Finding("guardrails", {"metric": metric, "treatment": treatment, "margin": margin}, rate, more)
            )
    return found


def judged(findings: Sequence[Finding]) -> tuple[list[dict[str, Any]], float]:
    """All findings in JSON's own types, with the confidence at which they are judged together."""
    confidence = corrected_confidence([finding.rate for finding in findings])
    return [finding.to_json(confidence) for finding in findings], confidence


def _each(
    questions: Sequence[Question], treatments: Sequence[str]
) -> list[tuple[dict[str, Any], Question, tuple[int, int]]]:
    return [
        (
            {"metric": question.name, "treatment": treatment, "method": question.method.name},
            question,
            (number, place),
        )
        for number, question in enumerate(questions)
        for place, treatment in enumerate(treatments)
    ]


def _told(p_values: Floats) -> Floats:
    return p_values[~np.isnan(p_values)]


def _gave_way(answers: Answers, place: tuple[int, int]) -> dict[str, Any]:
    """Experiments in which nothing could be tested, and those in which the method gave way to a simpler one."""
    asked, told = ~np.isnan(answers.as_asked[place]), ~np.isnan(answers.p_value[place])
    return {"untested": int((asked & ~told).sum()), "gave_way": int((answers.as_asked[place][told] == 0.0).sum())}


def _uniformity(p_values: Floats) -> dict[str, Any]:
    """How far p-values are from uniform (Kolmogorov 1933, Smirnov 1948), and their distribution on ``GRID``."""
    if not len(p_values):
        return {"ks": None, "ks_p_value": None, "p_values": None}
    found = kstest(p_values, "uniform")
    cumulative = np.searchsorted(np.sort(p_values), np.array(GRID) * (1.0 + 1e-12), side="right") / len(p_values)
    return {"ks": float(found.statistic), "ks_p_value": float(found.pvalue), "p_values": cumulative.tolist()}
