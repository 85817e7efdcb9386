import math

import numpy as np
import pytest

from allocation.exposure import (
    METHODS,
    Exposure,
    ExposureRules,
    GaveWay,
    Method,
    Multipliers,
    Status,
    solve,
    solve_batch,
)

FREE = Multipliers(0.0, 0.0)
SOLVERS: tuple[Method, ...] = ("dual", "cvxpy")


@pytest.mark.parametrize("method", SOLVERS)
def test_without_binding_constraints_each_candidate_gets_its_clipped_gain_over_lambda(method: Method) -> None:
    """At s = (-1, 0.5, 1, 3), lambda = 2: x = (0, 1/4, 1/2, 1) objective 1/16 + 1/4 + 2."""
    found = solve([-1.0, 0.5, 1.0, 3.0], [0.0] * 4, ExposureRules(2.0), method)
    np.testing.assert_allclose(found.x, [0.0, 0.25, 0.5, 1.0], atol=1e-7)
    assert found.objective == pytest.approx(0.0625 + 0.25 + 2.0, rel=1e-9)
    assert found.status is Status.OPTIMAL


@pytest.mark.parametrize("method", SOLVERS)
def test_least_exposure_lifts_everybody_by_the_same_pressure(method: Method) -> None:
    """At s = (1, 0), lambda = 2, Q = 1.1: x = ((1 + r)/2, r/2), so r = 0.6 and x = (0.8, 0.3)."""
    found = solve([1.0, 0.0], [0.0, 0.0], ExposureRules(2.0, least=1.1), method)
    np.testing.assert_allclose(found.x, [0.8, 0.3], atol=1e-8)
    assert found.multipliers.pressure == pytest.approx(0.6)


@pytest.mark.parametrize("method", SOLVERS)
def test_largest_exposure_presses_everybody_down(method: Method) -> None:
    """At s = (3, 2), lambda = 4, P = 0.75: x = ((3 + r)/4, (2 + r)/4), so r = -1 and x = (0.5, 0.25)."""
    found = solve([3.0, 2.0], [0.0, 0.0], ExposureRules(4.0, most=0.75), method)
    np.testing.assert_allclose(found.x, [0.5, 0.25], atol=1e-8)
    assert found.multipliers.pressure == pytest.approx(-1.0)


@pytest.mark.parametrize("method", SOLVERS)
def test_the_floor_alone_sets_the_conversion_price(method: Method) -> None:
    """At s = (2, 1), o - o* = (-1, 1), lambda = 4: x = ((2 - a)/4, (1 + a)/4), equal at a = 1/2, x = (3/8, 3/8)."""
    found = solve([2.0, 1.0], [4.0, 6.0], ExposureRules(4.0, floor=5.0), method)
    np.testing.assert_allclose(found.x, [0.375, 0.375], atol=1e-8)
    assert found.multipliers.conversion == pytest.approx(0.5)
    assert found.surplus == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("method", SOLVERS)
def test_both_multipliers_at_once(method: Method) -> None:
    """At s = (2, 1, 0), o - o* = (-1, 0, 1), lambda = 2, Q = P = 1.8: h = 1.2 each, so alpha = 1 and r = 0.2."""
    found = solve([2.0, 1.0, 0.0], [-1.0, 0.0, 1.0], ExposureRules(2.0, least=1.8, most=1.8), method)
    np.testing.assert_allclose(found.x, [0.6, 0.6, 0.6], atol=1e-8)
    assert found.multipliers.conversion == pytest.approx(1.0)
    assert found.multipliers.pressure == pytest.approx(0.2)


def test_threshold_shows_all_or_nothing_and_says_what_it_misses() -> None:
    """It is x = 1[h > lambda] with the given prices; totals outside [Q, P] and a missed floor are named."""
    rules = ExposureRules(1.0, floor=0.5, least=2.0, most=2.0)
    found = solve([3.0, 3.0, 0.5], [0.0, 0.2, 1.0], rules, "threshold", FREE)
    np.testing.assert_array_equal(found.x, [1.0, 1.0, 0.0])
    assert found.status is Status.VIOLATED
    assert found.gave_way == GaveWay.FLOOR
    assert found.surplus == pytest.approx(-0.8)
    assert solve([3.0] * 3, [1.0] * 3, rules, "threshold", FREE).gave_way == GaveWay.MOST
    assert solve([3.0, 0.0], [1.0] * 2, rules, "threshold", FREE).gave_way == GaveWay.LEAST
    assert solve([3.0, 2.0], [1.0] * 2, rules, "threshold", FREE).status is Status.FEASIBLE
    priced = solve([0.0, 0.0], [1.0, 0.0], rules, "threshold", Multipliers(4.0, 0.0))
    np.testing.assert_array_equal(priced.x, [1.0, 0.0])


@pytest.mark.parametrize("method", SOLVERS)
def test_too_few_candidates_lower_the_least_exposure_to_their_number(method: Method) -> None:
    """Q = 5 with two candidates shows both in full and says that Q gave way."""
    found = solve([1.0, -3.0], [1.0, 1.0], ExposureRules(1.0, least=5.0, most=9.0), method)
    np.testing.assert_allclose(found.x, [1.0, 1.0], atol=1e-8)
    assert found.gave_way == GaveWay.LEAST
    assert found.status is Status.RELAXED


@pytest.mark.parametrize("method", SOLVERS)
def test_a_floor_out_of_reach_shows_the_best_converters_and_keeps_the_least_exposure(method: Method) -> None:
    """Q = 2.5 of o = (4, 3, 3, 1) under o* = 9: the 4 in full, the 3s share 1.5 by gain, the 1 not at all."""
    found = solve([0.0, 1.0, 0.6, 50.0], [4.0, 3.0, 3.0, 1.0], ExposureRules(1.0, 9.0, least=2.5, most=4.0), method)
    np.testing.assert_allclose(found.x, [1.0, 0.95, 0.55, 0.0], atol=1e-6)
    assert found.gave_way == GaveWay.FLOOR
    assert found.status is Status.RELAXED
    assert found.surplus == pytest.approx(-5.0 - 6.0 * 1.5)


def test_a_floor_that_only_its_own_candidates_meet_is_met_by_them_alone() -> None:
    """With every o at or below o* nothing below it is shown, and nothing gave way."""
    found = solve([0.5, 9.0, 0.25], [2.0, 1.0, 2.0], ExposureRules(1.0, floor=2.0, most=0.5))
    np.testing.assert_allclose(found.x, [0.375, 0.0, 0.125], atol=1e-15)
    assert found.gave_way == GaveWay.NONE
    assert found.status is Status.OPTIMAL


def test_nothing_is_shown_where_nothing_may_be() -> None:
    """P = 0 and a floor nobody meets both give x = 0, not an error."""
    np.testing.assert_array_equal(solve([1.0, 2.0], [1.0, 1.0], ExposureRules(1.0, most=0.0)).x, [0.0, 0.0])
    found = solve([1.0, 2.0], [1.0, 1.0], ExposureRules(1.0, floor=3.0))
    np.testing.assert_array_equal(found.x, [0.0, 0.0])
    assert found.status is Status.OPTIMAL


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("least", [0.0, 1.0])
def test_no_candidates_have_an_empty_answer(method: Method, least: float) -> None:
    """No candidates work for every method; a positive Q gives way."""
    found = solve([], [], ExposureRules(1.0, least=least), method, FREE)
    assert found.x.shape == (0,)
    assert (found.objective, found.total, found.surplus, found.gap) == (0.0, 0.0, 0.0, 0.0)
    assert found.gave_way == (GaveWay.LEAST if least else GaveWay.NONE)


@pytest.mark.parametrize("method", METHODS)
def test_scores_that_are_not_finite_are_left_out_and_counted(method: Method) -> None:
    """NaN and infinities get 0, and the others the answer they have without them."""
    rules = ExposureRules(1.0, floor=0.2, least=0.5, most=2.0)
    prices = Multipliers(0.1, 0.2)
    found = solve([0.3, math.nan, 0.9, math.inf, 0.4], [0.5, 0.5, 0.1, 0.5, -math.inf], rules, method, prices)
    alone = solve([0.3, 0.9], [0.5, 0.1], rules, method, prices)
    np.testing.assert_array_equal(found.x, [alone.x[0], 0.0, alone.x[1], 0.0, 0.0])
    assert found.excluded == 3
    assert found.objective == alone.objective


@pytest.mark.parametrize("method", METHODS)
def test_padding_is_not_read(method: Method) -> None:
    """A row of a padded batch is its own program, whatever stands beyond its size."""
    rules = ExposureRules(0.5, floor=0.1, least=1.0, most=2.0)
    s = np.array([[0.3, 0.1, np.nan], [0.3, 0.1, 0.7]])
    o = np.array([[0.2, 0.0, 9.0], [0.2, 0.0, 0.3]])
    found = solve_batch(s, o, rules, sizes=[2, 3], method=method, multipliers=FREE)
    for row, size in ((0, 2), (1, 3)):
        alone = solve(s[row, :size], o[row, :size], rules, method, FREE)
        cut = found.row(row, size)
        np.testing.assert_array_equal(cut.x, alone.x)
        assert (cut.objective, cut.multipliers, cut.status) == (alone.objective, alone.multipliers, alone.status)
    assert found.x[0, 2] == 0.0
    assert not found.excluded.any()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"penalty": 0.0}, "penalty"),
        ({"penalty": math.nan}, "penalty"),
        ({"penalty": 1.0, "floor": math.inf}, "floor"),
        ({"penalty": 1.0, "least": -1.0}, "least"),
        ({"penalty": 1.0, "least": math.inf}, "least"),
        ({"penalty": 1.0, "least": 3.0, "most": 2.0}, "most"),
        ({"penalty": 1.0, "most": math.nan}, "most"),
    ],
)
def test_rules_that_make_no_sense_are_refused_by_name(values: dict[str, float], field: str) -> None:
    """Q > P and the like are errors of the configuration, found when it is read."""
    with pytest.raises(ValueError, match=f"^{field}: "):
        ExposureRules(**values)


def test_wrong_calls_are_refused_by_name() -> None:
    """Shapes, sizes, method and missing or senseless prices are named."""
    rules = ExposureRules(1.0)
    with pytest.raises(ValueError, match=r"^conversions: shape"):
        solve([1.0], [1.0, 2.0], rules)
    with pytest.raises(ValueError, match=r"^clicks: shape"):
        solve([[1.0]], [[1.0]], rules)
    with pytest.raises(ValueError, match=r"^clicks: shape"):
        solve_batch([1.0], [1.0], rules)
    with pytest.raises(ValueError, match=r"^sizes: "):
        solve_batch([[1.0]], [[1.0]], rules, sizes=[2])
    with pytest.raises(ValueError, match=r"^method: "):
        solve([1.0], [1.0], rules, "simplex")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^multipliers: "):
        solve([1.0], [1.0], rules, "threshold")
    with pytest.raises(ValueError, match=r"^conversion: "):
        Multipliers(-1.0, 0.0)
    with pytest.raises(ValueError, match=r"^pressure: "):
        Multipliers(0.0, math.nan)


def test_the_dual_always_gives_a_finite_answer() -> None:
    """Scores at the ends of the floating-point range, and any mixture of them, never give NaN or leave [0, 1]."""
    ends = np.array([0.0, 5e-324, -5e-324, 1e-300, -1e-300, 1.0, -1.0, 1e300, -1e300, 1.7e308, -1.7e308])
    s, o = (grid.ravel() for grid in np.meshgrid(ends, ends))
    for penalty in (5e-324, 1e-300, 1.0, 1e300):
        for floor in (0.0, 1.0, -1e300, 1e300):
            for least, most in ((0.0, math.inf), (1.5, 3.0), (500.0, 600.0)):
                found: Exposure = solve(s, o, ExposureRules(penalty, floor, least, most))
                assert ((found.x >= 0.0) & (found.x <= 1.0)).all()
                numbers = (found.multipliers.conversion, found.multipliers.pressure, found.total)
                assert np.isfinite(numbers).all()
                assert not np.isnan((found.objective, found.surplus, found.gap, found.residual)).any()
