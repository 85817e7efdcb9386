import numpy as np
import pytest

from metrics.audit import findings
from metrics.audit.questions import PLAIN, Question
from metrics.audit.replications import STATES
from metrics.audit.trials import Answers
from metrics.definitions import Metric


def answered(p_values: np.ndarray) -> Answers:
    """Answers that are p-values and nothing else: [questions, treatments, replications]."""
    nothing = np.full(p_values.shape, np.nan)
    return Answers(p_values, nothing, nothing, nothing, nothing, np.where(np.isnan(p_values), np.nan, 1.0))


def test_family_counts_any_alarm(mean: Metric) -> None:
    """Ten independent tests at 5% sound some alarm in 1 - 0.95^10 of the experiments; Holm's in about 5%."""
    rng = np.random.default_rng(1)
    questions = [Question(f"m{number}", mean, PLAIN) for number in range(5)]
    found = answered(rng.random((5, 2, 1500)))
    holm, none = findings.family(questions, found, range(5), "holm", 0.05)
    assert holm.rate.broken(0.999) is False
    assert none.rate.promise == "none"
    assert none.rate.rate == pytest.approx(1.0 - 0.95**10, abs=0.04)
    assert (holm.rate.rate or 0.0) == pytest.approx(0.05, abs=0.02)
    assert holm.more["comparisons"] == 10
    assert [each.about["correction"] for each in findings.family(questions, found, [0], "none", 0.05)] == ["none"]


def test_family_leaves_out_what_was_not_tested(mean: Metric) -> None:
    """A metric without a p-value does not count in the correction, and an experiment without any is no trial."""
    p_values = np.array([[[0.03, np.nan, 0.03]], [[np.nan, np.nan, 0.5]]])
    questions = [Question(name, mean, PLAIN) for name in "ab"]
    holm, _ = findings.family(questions, answered(p_values), [0, 1], "holm", 0.05)
    assert (holm.rate.count, holm.rate.trials) == (1, 2)


def test_distribution_of_p_values(mean: Metric) -> None:
    """The shares are read off on the grid, ends included, and nothing is said of no p-values."""
    p_values = np.array([[[0.05, 0.5, 1.0, np.nan]], [[np.nan] * 4]])
    questions = [Question(name, mean, PLAIN) for name in "ab"]
    some, none = findings.false_alarms(questions, ["t"], answered(p_values), 0.05)
    assert (some.rate.count, some.rate.trials) == (1, 3)
    shares = dict(zip(findings.GRID, some.more["p_values"], strict=True))
    assert (shares[0.04], shares[0.05], shares[0.5], shares[1.0]) == pytest.approx((0, 1 / 3, 2 / 3, 1))
    assert (none.rate.trials, none.more["ks"], none.more["p_values"]) == (0, None, None)
    assert none.to_json(0.99)["rate"] is None


def test_sample_ratio_thresholds() -> None:
    """A uniform p-value lies below each threshold as often as that says, and equality is no alarm."""
    p_values = (np.arange(1000)) / 1000.0
    often, seldom = findings.sample_ratios(p_values, (0.05, 0.001))
    assert (often.rate.count, seldom.rate.count) == (50, 1)
    assert (often.rate.broken(), seldom.rate.broken()) == (False, False)


def test_guardrails_promise_half_of_alpha() -> None:
    """At the margin a guardrail passes in at most alpha / 2 of the experiments that could tell."""
    states = np.array([[[0] * 90 + [1] * 10 + [2] * 890 + [-1] * 10]])
    (found,) = findings.guardrails([("ctr", 0.02)], ["t"], states, STATES, 0.05)
    assert (found.rate.trials, found.rate.nominal, found.rate.promise) == (990, 0.025, "at most")
    assert found.more["states"] == {"passed": 90, "failed": 10, "open": 890}
    assert found.rate.broken(0.999) is True


def test_all_findings_are_judged_together() -> None:
    """The level of a defect is divided by the promises, so that more questions make each verdict more careful."""
    p_values = np.concatenate([np.full(68, 0.01), np.full(932, 0.5)])
    (alone,) = findings.judged(findings.sample_ratios(p_values, (0.05,)))[0]
    many, confidence = findings.judged(findings.sample_ratios(p_values, (0.05,) * 100))
    assert alone["defect"] is True
    assert confidence == pytest.approx(0.9995)
    assert {row["defect"] for row in many} == {False}
    assert {row["outside"] for row in many} == {True}
