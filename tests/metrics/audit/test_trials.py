from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from metrics.audit import findings
from metrics.audit.draws import Assign, Design, draw
from metrics.audit.outcomes import Outcomes
from metrics.audit.questions import CUPED, PLAIN, Answer, Method, Question, Sample, quantile_method, questions_of
from metrics.audit.rates import corrected_confidence
from metrics.audit.trials import Answers, Trials
from metrics.definitions import Metric
from metrics.power import power_of

REPLICATIONS = 300
ALPHA = 0.05


def answers(trials: Trials, design: Design, outcomes: Outcomes, assign: Assign, times: int = REPLICATIONS) -> Answers:
    """The answers of some replications, drawn in two parts."""
    draws = [draw(design, outcomes.user, number, assign, 11) for number in range(times)]
    return Answers.joined([trials.answers(draws[:100]), trials.answers(draws[100:])])


def normal(users: int, seed: int = 4) -> dict[str, Any]:
    """Independent normal users with a covariate that explains half of their variance."""
    rng = np.random.default_rng(seed)
    before = rng.normal(10.0, 1.0, users)
    return {"spend": before + rng.normal(0.0, 1.0, users), "spend_before": before}


def halved(metric: Metric, control: Sample, treatment: Sample, alpha: float) -> Answer:
    """A broken test: it takes the variance for half of what it is."""
    found = PLAIN.ask(metric, control, treatment, alpha)
    assert found.ci is not None
    assert found.std_error is not None
    error, effect = found.std_error / np.sqrt(2.0), sum(found.ci) / 2.0
    half = norm.isf(alpha / 2.0) * error
    return Answer(2.0 * norm.sf(abs(effect) / error), (effect - half, effect + half), None, error, True)


BROKEN = Method("broken", "variance halved", halved, PLAIN.truth)


def test_independent_normal_users(
    tables: Callable[..., Outcomes], assigning: Callable[..., Assign], mean: Metric
) -> None:
    """With independent normal users false alarms are as promised, p-values uniform, and a broken test is flagged."""
    outcomes = tables(a=normal(240))
    questions = [Question("spend", mean, method) for method in (PLAIN, CUPED, BROKEN)]
    trials = Trials(outcomes, ["a", "a"], questions, ALPHA)
    found = answers(trials, "fixed", outcomes, assigning([0.5, 0.5]))
    plain, cuped, broken = findings.false_alarms(questions, ["treatment"], found, ALPHA)
    confidence = corrected_confidence([each.rate for each in (plain, cuped, broken)])
    assert plain.rate.broken(confidence) is False
    assert cuped.rate.broken(confidence) is False
    assert broken.rate.broken(confidence) is True
    assert plain.more["ks_p_value"] > 0.001
    assert broken.more["ks_p_value"] < 0.001
    assert plain.rate.trials == REPLICATIONS
    assert cuped.more["gave_way"] == 0


def test_coverage_in_both_designs(
    tables: Callable[..., Outcomes], assigning: Callable[..., Assign], mean: Metric
) -> None:
    """Where effects differ wildly, drawn users give 95%, and the table's own users 100%, as Neyman's variance says."""
    control = normal(240)
    opposite = control | {"spend": 21.0 - control["spend"]}
    outcomes = tables(a=control, b=opposite)
    questions = [Question("spend", mean, PLAIN)]
    trials = Trials(outcomes, ["a", "b"], questions, ALPHA)
    assign = assigning([0.5, 0.5])
    assert trials.truth(questions[0], 1).effect == pytest.approx(21.0 - 2.0 * control["spend"].mean())
    drawn, lift = findings.coverage(
        questions, ["b"], answers(trials, "drawn", outcomes, assign), trials, ALPHA, "drawn"
    )
    assert drawn.rate.broken(0.999) is False
    assert lift.rate.broken(0.999) is False
    assert drawn.rate.promise == "equal"
    fixed, _ = findings.coverage(questions, ["b"], answers(trials, "fixed", outcomes, assign), trials, ALPHA, "fixed")
    assert fixed.rate.rate == 1.0
    assert fixed.rate.promise == "at least"


def test_power_is_what_the_table_predicts(
    tables: Callable[..., Outcomes], assigning: Callable[..., Assign], mean: Metric
) -> None:
    """Predicted power is that of a normal test with the table's variances, and experiments find it."""
    control = normal(240)
    outcomes = tables(a=control, b=control | {"spend": control["spend"] + 0.5})
    questions = questions_of([mean])
    trials = Trials(outcomes, ["a", "b"], questions, ALPHA)
    shares = [0.3, 0.7]
    error = np.sqrt(control["spend"].var(ddof=1) * (1.0 / 72.0 + 1.0 / 168.0))
    assert trials.predicted_power(questions[0], 1, shares) == pytest.approx(power_of(0.5, error, ALPHA), rel=1e-6)
    found = answers(trials, "drawn", outcomes, assigning(shares))
    for each in findings.power(questions, ["b"], found, trials, shares, ALPHA):
        assert each.rate.broken(0.999) is False
    plain, cuped = (trials.predicted_power(question, 1, shares) for question in questions)
    assert plain is not None
    assert cuped is not None
    assert cuped > plain + 0.1


def test_a_user_who_carries_the_metric_silences_the_test(
    tables: Callable[..., Outcomes], assigning: Callable[..., Assign], mean: Metric
) -> None:
    """One user who outweighs all others gives a t of about 1 in whichever arm: no alarm at all, flagged as too few."""
    values = np.append(np.random.default_rng(2).random(99), 1e6)
    outcomes = tables(a={"spend": values, "spend_before": values})
    questions = [Question("spend", mean, PLAIN)]
    trials = Trials(outcomes, ["a", "a"], questions, ALPHA)
    found = answers(trials, "fixed", outcomes, assigning([0.5, 0.5]), 200)
    (alarms,) = findings.false_alarms(questions, ["b"], found, ALPHA)
    assert (alarms.rate.count, alarms.rate.broken()) == (0, True)


def test_a_small_arm_keeps_the_skew(
    tables: Callable[..., Outcomes], assigning: Callable[..., Assign], mean: Metric
) -> None:
    """Where one arm is small, a skewed metric has skewed differences, and Welch's t sounds too many alarms."""
    values = np.random.default_rng(2).pareto(1.1, 500)
    outcomes = tables(a={"spend": values, "spend_before": values})
    questions = [Question("spend", mean, PLAIN)]
    trials = Trials(outcomes, ["a", "a"], questions, ALPHA)
    found = answers(trials, "fixed", outcomes, assigning([0.96, 0.04]))
    (alarms,) = findings.false_alarms(questions, ["b"], found, ALPHA)
    assert alarms.rate.broken(0.999) is True
    assert (alarms.rate.rate or 0.0) > 2.0 * ALPHA


def test_what_takes_long_is_asked_less_often(
    tables: Callable[..., Outcomes], assigning: Callable[..., Assign], mean: Metric
) -> None:
    """A quantile is asked in one of four replications, on the values of the units; the others leave no answer."""
    outcomes = tables(a=normal(240))
    questions = [Question("spend", mean, quantile_method(0.9))]
    trials = Trials(outcomes, ["a", "a"], questions, ALPHA)
    found = answers(trials, "drawn", outcomes, assigning([0.5, 0.5]), times=120)
    told = ~np.isnan(found.p_value[0, 0])
    assert list(np.flatnonzero(told)) == list(range(0, 120, 4))
    (alarms,) = findings.false_alarms(questions, ["b"], found, ALPHA)
    assert (alarms.rate.trials, alarms.more["untested"], alarms.rate.promise) == (30, 0, "at most")
    control, treatment = normal(240), normal(240, seed=5)
    other = Trials(tables(a=control, b=treatment), ["a", "b"], questions, ALPHA)
    difference = np.quantile(treatment["spend"], 0.9) - np.quantile(control["spend"], 0.9)
    assert other.truth(questions[0], 1).effect == pytest.approx(difference)
    assert other.predicted_power(questions[0], 1, [0.5, 0.5]) is None


def test_windows_are_judged_on_the_users_watched(
    tables: Callable[..., Outcomes], assigning: Callable[..., Assign], mean: Metric, ratio: Metric
) -> None:
    """A metric of return counts the users watched to its end, others all users, in the same experiment."""
    rng = np.random.default_rng(1)
    window = replace(mean, name="lt", numerator="lt", covariates=(), window=(0, 14))
    columns = {"lt": np.where(np.arange(200) < 80, rng.normal(size=200), np.nan)}
    columns |= {"clicks": rng.poisson(2.0, 200).astype(float), "views": np.full(200, 10.0)}
    outcomes = tables(a=columns)
    counts: list[tuple[int, int]] = []

    def counting(metric: Metric, control: Sample, treatment: Sample, alpha: float) -> Answer:
        counts.append((control.aggregates.count(), len(control.values(metric.numerator))))
        return PLAIN.ask(metric, control, treatment, alpha)

    method = replace(PLAIN, ask=counting)
    trials = Trials(outcomes, ["a", "a"], [Question("lt", window, method), Question("ctr", ratio, method)], ALPHA)
    trials.answers([draw("fixed", outcomes.user, 0, assigning([1.0 - 1e-12, 1e-12]), 1)])
    assert counts == [(80, 80), (200, 200)]


def test_methods_that_apply(mean: Metric, ratio: Metric) -> None:
    """CUPED is asked where there are covariates, quantiles and cut columns of sums alone."""
    cut = replace(mean, numerator="spend below the cut")
    found: Sequence[Question] = questions_of([mean, ratio], [("spend", cut)], [0.5])
    assert [(each.name, each.method.name) for each in found] == [
        ("spend", "plain"),
        ("spend", "cuped"),
        ("spend", "capped_plain"),
        ("spend", "capped_cuped"),
        ("spend", "p50"),
        ("ctr", "plain"),
    ]
    assert found[2].metric is cut
