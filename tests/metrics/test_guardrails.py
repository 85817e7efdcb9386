import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from metrics.estimates import Estimate
from metrics.guardrails import guard


def found(lift: float | None, error: float, effect: float | None = None) -> Estimate:
    """A comparison with this lift, or with a difference alone."""
    effect = lift if effect is None else effect
    return Estimate(
        control_value=1.0,
        treatment_value=None if effect is None else 1.0 + effect,
        effect=effect,
        ci=None,
        lift=lift,
        lift_ci=None,
        p_value=None,
        method="",
        variance_reduction=None,
        users_control=10,
        users_treatment=10,
        std_error=error,
        log_error=error if lift is not None else None,
    )


def test_three_states() -> None:
    """A margin of 2% is passed by a small error, failed by a clear loss, and open where the interval holds it."""
    assert guard("sessions", "b", found(-0.001, 0.005), 0.02, 0.05).state == "passed"
    assert guard("sessions", "b", found(-0.05, 0.005), 0.02, 0.05).state == "failed"
    assert guard("sessions", "b", found(-0.001, 0.05), 0.02, 0.05).state == "open"


@settings(deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(0.001, 0.2), st.floats(0.005, 0.3), st.floats(0.01, 0.2))
def test_passing_is_the_interval_staying_above_the_margin(
    lift: float, error: float, margin: float, alpha: float
) -> None:
    """The one-sided test at half the level agrees with the two-sided interval of the lift."""
    outcome = guard("sessions", "b", found(lift, error), margin, alpha)
    lowest = (1 + lift) * math.exp(-norm.isf(alpha / 2) * error) - 1
    assert outcome.worst == pytest.approx(-lowest)
    assert outcome.loss == pytest.approx(-lift)
    if abs(lowest + margin) > 1e-9:
        assert (outcome.state == "passed") == (lowest > -margin)


@settings(deadline=None)
@given(st.floats(0.01, 0.4), st.floats(0.001, 0.1))
def test_where_less_is_better_a_rise_is_the_loss(lift: float, error: float) -> None:
    """Latency that rises beyond the margin fails as revenue that falls does."""
    outcome = guard("latency", "b", found(lift, error), 0.005, 0.05, higher_is_better=False)
    highest = (1 + lift) * math.exp(norm.isf(0.025) * error) - 1
    assert outcome.loss == pytest.approx(lift)
    assert outcome.worst == pytest.approx(highest)
    assert outcome.state != "passed"


def test_a_difference_without_a_lift_is_held_against_the_control_value() -> None:
    """Where no lift exists the margin is a share of the control's value."""
    outcome = guard("gmv", "b", found(None, 0.01, effect=-0.001), 0.05, 0.05)
    assert outcome.state == "passed"
    assert outcome.worst == pytest.approx(0.001 + norm.isf(0.025) * 0.01)


def test_what_cannot_be_tested_stays_open() -> None:
    """Without an estimate nothing is ruled out."""
    outcome = guard("gmv", "b", found(None, 0.0), 0.05, 0.05)
    assert (outcome.state, outcome.p_value, outcome.loss) == ("open", None, None)


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1])
def test_a_margin_out_of_range_is_refused(margin: float) -> None:
    """A margin is a share that may be lost."""
    with pytest.raises(ValueError, match=f"margin: {margin}"):
        guard("gmv", "b", found(0.0, 0.1), margin, 0.05)
