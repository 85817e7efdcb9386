import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.proportions import compare_proportions

# Newcombe (1998), Statistics in Medicine 17, table II: intervals of method 10 for successes and users of two samples.
NEWCOMBE = [
    ((56, 70), (48, 80), (0.0524, 0.3339)),
    ((9, 10), (3, 10), (0.1705, 0.8090)),
    ((10, 10), (0, 20), (0.6791, 1.0000)),
    ((10, 10), (0, 10), (0.6075, 1.0000)),
]
counts = st.tuples(st.integers(0, 60), st.integers(1, 60)).filter(lambda pair: pair[0] <= pair[1])


@pytest.mark.parametrize(("treatment", "control", "published"), NEWCOMBE)
def test_intervals_are_those_of_newcombe(
    treatment: tuple[int, int], control: tuple[int, int], published: tuple[float, float]
) -> None:
    """The interval of the difference agrees with the published table, extreme cases included."""
    assert compare_proportions(*control, *treatment, 0.05).ci == pytest.approx(published, abs=6e-5)


def test_the_test_is_that_of_statsmodels_example() -> None:
    """5 of 83 against 12 of 99, as in the documentation of ``proportions_ztest``, has p = 0.15918."""
    assert compare_proportions(12, 99, 5, 83, 0.05).p_value == pytest.approx(0.15918129181156992)


@settings(deadline=None)
@given(counts, counts, st.floats(0.01, 0.3))
def test_intervals_hold_the_estimate_and_turn_with_the_arms(
    control: tuple[int, int], treatment: tuple[int, int], alpha: float
) -> None:
    """Whatever the counts, intervals hold the estimate, are possible differences, and swap sign with the arms."""
    if control[0] + treatment[0] in (0, control[1] + treatment[1]):
        with pytest.raises(ValueError, match="nothing varies"):
            compare_proportions(*control, *treatment, alpha)
        return
    found = compare_proportions(*control, *treatment, alpha)
    turned = compare_proportions(*treatment, *control, alpha)
    difference = treatment[0] / treatment[1] - control[0] / control[1]
    assert -1.0 - 1e-9 <= found.ci[0] <= difference + 1e-9
    assert difference - 1e-9 <= found.ci[1] <= 1.0 + 1e-9
    assert turned.ci == pytest.approx((-found.ci[1], -found.ci[0]), abs=1e-9)
    assert turned.p_value == pytest.approx(found.p_value)
    assert (found.ratio_ci is None) == (min(control[0], treatment[0]) == 0)


def test_impossible_counts_are_refused() -> None:
    """More successes than users cannot be."""
    with pytest.raises(ValueError, match="successes: 11 of 10"):
        compare_proportions(11, 10, 1, 10, 0.05)
