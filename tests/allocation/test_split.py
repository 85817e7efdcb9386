from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from allocation.gains import GainEstimator, GainSettings
from allocation.split import GIVES_WAY, DayInputs, Split, SplitProgram, SplitSettings
from simulator.streams import Stream

ANYWHERE = SplitSettings(risk_aversion=1e-3, conversion_tolerance=1.0, ramp=1.0, lower=0.0, upper=1.0)


def a_day(segments: int, seed: int, yesterday: float | None = None) -> DayInputs:
    """A day of which every number is drawn."""
    stream, g = Stream(seed, "split"), np.arange(segments)
    root = 0.03 * stream.normal(0, g[:, None], g)
    return DayInputs(
        requests=10.0 + 1000.0 * stream.uniform(1, g),
        click_gain=0.03 + 0.1 * stream.normal(2, g),
        click_covariance=root @ root.T / segments,
        conversion_gain=0.004 * stream.normal(3, g),
        conversion_rate=0.02 * stream.uniform(4, g),
        novelty_gain=0.3 * stream.uniform(5, g),
        gpu_seconds=0.5 * stream.uniform(6, g),
        yesterday=None if yesterday is None else np.full(segments, yesterday),
    )


def plain(**given_: list[float]) -> DayInputs:
    """A day of 100 requests a segment in which nothing matters but what is given."""
    count = len(next(iter(given_.values())))
    none = np.zeros(count)
    day = DayInputs(none + 100.0, none, np.zeros((count, count)), none, none, none, none, None)
    return replace(day, **{name: np.array(value) for name, value in given_.items()})


def gave_way(split: Split) -> list[str]:
    """Names of the limits that gave way."""
    return [way.limit for way in split.gave_way]


@pytest.mark.parametrize("gain", [-0.1, 0.0, 0.02, 0.05, 0.3])
def test_one_segment_has_the_textbook_share(gain: float) -> None:
    """One segment's share is n u / (gamma n^2 variance), cut to its range."""
    day = plain(click_gain=[gain], click_covariance=[[0.01]])
    split = SplitProgram(1, SplitSettings(0.1, lower=0.1, upper=0.9)).solve(day)
    assert split.status == "optimal"
    assert split.share == pytest.approx(np.clip(100.0 * gain / (0.1 * 100.0**2 * 0.01), 0.1, 0.9), abs=1e-7)


def test_budget_goes_to_the_best_gain_for_its_cost() -> None:
    """Without risk aversion the budget is a knapsack: best ratio first, and the price is the ratio it stops at."""
    day = plain(click_gain=[0.4, 0.3, 0.1], gpu_seconds=[1.0, 0.5, 1.0])
    split = SplitProgram(3, replace(ANYWHERE, risk_aversion=0.0, gpu_budget=100.0)).solve(day)
    assert split.share == pytest.approx([0.5, 1.0, 0.0], abs=1e-6)
    assert split.objective == pytest.approx(50.0, rel=1e-7)
    assert split.prices.gpu_second == pytest.approx(0.4, rel=1e-6)
    assert split.prices.gpu_hour == pytest.approx(0.4 * 3600.0, rel=1e-6)


def test_conversion_floor_is_a_share_of_utilitys_conversions() -> None:
    """With one segment that gains clicks at the cost of conversions, the floor alone decides how far it goes."""
    day = plain(click_gain=[1.0], conversion_gain=[-0.01], conversion_rate=[0.02])
    split = SplitProgram(1, replace(ANYWHERE, conversion_tolerance=0.1)).solve(day)
    assert split.share == pytest.approx([0.2], abs=1e-7)
    assert split.prices.conversion == pytest.approx(100.0, rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_optimality_conditions_hold(seed: int) -> None:
    """The gradient is balanced by prices that are never negative and are 0 where a limit does not bind."""
    day = a_day(6, seed, yesterday=0.3)
    wishes = SplitSettings(3e-4, 0.05, novelty_floor=0.03, gpu_budget=150.0, ramp=0.2)
    split = SplitProgram(6, wishes).solve(day)
    w, n, p = split.share, day.requests, split.prices
    pull = n * day.click_gain - 3e-4 * n * (day.click_covariance @ (n * w))
    pull += n * (p.conversion * day.conversion_gain + p.novelty * day.novelty_gain - p.gpu_second * day.gpu_seconds)
    assert pull == pytest.approx(p.ramp_up + p.upper - p.ramp_down - p.lower, abs=1e-5)
    assert min(p.gpu_second, p.conversion, p.novelty) >= 0.0
    assert min(side.min() for side in (p.ramp_up, p.ramp_down, p.lower, p.upper)) >= 0.0
    assert p.gpu_second * (150.0 - n * day.gpu_seconds @ w) == pytest.approx(0.0, abs=1e-4)
    assert (p.ramp_up * (0.5 - w)).max() == pytest.approx(0.0, abs=1e-5)
    assert (p.ramp_down * (w - 0.1)).max() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize(
    ("wishes", "field", "step", "price"),
    [
        ({"gpu_budget": 20.0}, "gpu_budget", 0.02, lambda p, day: p.gpu_second),
        ({"novelty_floor": 0.10}, "novelty_floor", -1e-4, lambda p, day: p.novelty_point / 0.01),
        ({"novelty_floor": 0.10}, "novelty_floor", -1e-4, lambda p, day: p.novelty * day.requests.sum()),
        (
            {"conversion_tolerance": 0.001},
            "conversion_tolerance",
            1e-5,
            lambda p, day: p.conversion * (day.requests @ day.conversion_rate),
        ),
        ({"ramp": 0.1}, "ramp", 1e-4, lambda p, day: (p.ramp_up + p.ramp_down).sum()),
        ({"lower": 0.05, "ramp": 0.9}, "lower", -1e-4, lambda p, day: p.lower.sum()),
        ({"upper": 0.7, "ramp": 0.9}, "upper", 1e-4, lambda p, day: p.upper.sum()),
    ],
    ids=["gpu", "novelty point", "novelty", "conversion", "ramp", "lower", "upper"],
)
def test_prices_are_what_one_more_unit_gains(
    wishes: dict[str, float], field: str, step: float, price: Callable[..., float]
) -> None:
    """A price is the slope of the objective in its limit, as central differences find it."""
    day = a_day(6, 0 if field == "conversion_tolerance" else 4, yesterday=0.4)
    base = replace(ANYWHERE, **wishes)
    split = SplitProgram(6, base).solve(day)
    more, less = (
        SplitProgram(6, replace(base, **{field: wishes[field] + side * step})).solve(day).objective for side in (1, -1)
    )
    assert split.status == "optimal"
    assert split.objective < SplitProgram(6, replace(ANYWHERE, lower=0.0)).solve(day).objective - 1e-3
    assert price(split.prices, day) == pytest.approx((more - less) / abs(2 * step), rel=1e-4)


def test_more_budget_never_gains_less() -> None:
    """The objective rises with the budget and its price falls."""
    day = a_day(8, 1)
    splits = [
        SplitProgram(8, replace(ANYWHERE, gpu_budget=budget)).solve(day) for budget in (1, 10, 50, 100, 300, 1e6, None)
    ]
    gained, price = [s.objective for s in splits], [s.prices.gpu_second for s in splits]
    assert (np.diff(gained) > -1e-6).all()
    assert gained[1] > gained[0]
    assert (np.diff(price) < 1e-6).all()
    assert price[-2:] == [0.0, 0.0]


def test_uncertainty_lowers_the_share() -> None:
    """The less sure a gain is, the less of it is bought."""
    shares = [
        SplitProgram(2, ANYWHERE)
        .solve(plain(click_gain=[0.1, 0.1], click_covariance=[[variance, 0.0], [0.0, 1.0]]))
        .share[0]
        for variance in (0.1, 1.5, 2.0, 5.0, 100.0)
    ]
    assert (np.diff(shares) < 0.0).all()
    assert shares[0] == pytest.approx(1.0)


def test_uncertainty_that_segments_share_is_not_diversified() -> None:
    """Two segments that may be wrong together get less than two that are wrong apart."""
    apart, together = (
        SplitProgram(2, ANYWHERE).solve(plain(click_gain=[0.1, 0.1], click_covariance=cov)).share.sum()
        for cov in ([[2.0, 0.0], [0.0, 2.0]], [[2.0, 2.0], [2.0, 2.0]])
    )
    assert together == pytest.approx(apart / 2, rel=1e-6)


def test_first_day_has_no_ramp() -> None:
    """Without a yesterday the share goes where it should at once, and the ramp has no price."""
    split = SplitProgram(2, replace(ANYWHERE, ramp=0.01)).solve(plain(click_gain=[1.0, -1.0]))
    assert split.share == pytest.approx([1.0, 0.0], abs=1e-8)
    assert not split.prices.ramp_up.any()
    assert not split.prices.ramp_down.any()


def test_segment_without_requests_stays() -> None:
    """Nothing can be gained where nobody comes: yesterday's share is kept, and the lower bound on the first day."""
    day = plain(click_gain=[1.0, 1.0], requests=[0.0, 100.0])
    program = SplitProgram(2, replace(ANYWHERE, lower=0.05))
    assert program.solve(day).share == pytest.approx([0.05, 1.0], abs=1e-8)
    assert program.solve(replace(day, yesterday=np.array([0.3, 0.3]))).share == pytest.approx([0.3, 1.0], abs=1e-8)
    nobody = program.solve(replace(day, requests=np.zeros(2), yesterday=np.array([0.3, 0.6])))
    assert (nobody.status, nobody.share.tolist(), nobody.objective) == ("optimal", [0.3, 0.6], 0.0)


def test_standing_still_is_allowed() -> None:
    """A ramp of 0 keeps yesterday's share and prices what moving would gain."""
    day = replace(plain(click_gain=[1.0, -1.0]), yesterday=np.array([0.4, 0.6]))
    split = SplitProgram(2, replace(ANYWHERE, ramp=0.0)).solve(day)
    assert split.share == pytest.approx([0.4, 0.6], abs=1e-12)
    assert split.prices.ramp_up == pytest.approx([100.0, 0.0])
    assert split.prices.ramp_down == pytest.approx([0.0, 100.0])


def test_days_do_not_leak_into_each_other() -> None:
    """The same day gives the same bytes from a fresh program and from one that solved others before."""
    program = SplitProgram(4, SplitSettings(1e-3, gpu_budget=100.0))
    day, other = a_day(4, 1), plain(click_gain=[1.0, 0.0, 0.0, 0.0])
    first = program.solve(day)
    program.solve(other)
    again = program.solve(day)
    assert first.share.tobytes() == again.share.tobytes()
    assert first.prices.gpu_second == again.prices.gpu_second


def test_program_is_compiled_once() -> None:
    """The program is parametrised by the rules that let cvxpy reuse its compilation."""
    assert SplitProgram(3, ANYWHERE)._problem.is_dcp(dpp=True)


def test_novelty_gives_way_first() -> None:
    """Where novelty is had only against conversions, conversions hold and novelty falls short by the least."""
    day = plain(novelty_gain=[1.0], conversion_gain=[-0.01], conversion_rate=[0.02])
    split = SplitProgram(1, replace(ANYWHERE, conversion_tolerance=0.1, novelty_floor=0.5)).solve(day)
    assert (split.status, gave_way(split)) == ("relaxed", ["novelty"])
    assert split.share == pytest.approx([0.2], abs=1e-5)
    assert split.gave_way[0].shortfall == pytest.approx(30.0, rel=1e-6)


def test_conversions_give_way_before_the_ramp() -> None:
    """A channel that turned out to cost conversions is left as fast as the ramp allows, not faster."""
    day = replace(plain(click_gain=[1.0], conversion_gain=[-0.01]), yesterday=np.array([0.8]))
    split = SplitProgram(1, replace(ANYWHERE, conversion_tolerance=0.0, ramp=0.1)).solve(day)
    assert gave_way(split) == ["conversion"]
    assert split.share == pytest.approx([0.7], abs=1e-5)
    assert split.gave_way[0].shortfall == pytest.approx(0.7, rel=1e-6)


def test_ramp_gives_way_to_the_budget() -> None:
    """A budget that was cut is kept today, though shares fall further than the ramp would have them."""
    day = replace(plain(click_gain=[1.0, 1.0], gpu_seconds=[1.0, 1.0]), yesterday=np.array([0.8, 0.4]))
    split = SplitProgram(2, replace(ANYWHERE, gpu_budget=60.0, ramp=0.1, lower=0.05)).solve(day)
    assert gave_way(split) == ["ramp"]
    assert split.gave_way[0].shortfall == pytest.approx(0.2, abs=1e-5)
    assert split.share == pytest.approx([0.5, 0.1], abs=1e-5)
    assert 100.0 * split.share.sum() <= 60.0 + 1e-6


@pytest.mark.parametrize(("yesterday", "share"), [(0.0, 0.4), (1.0, 0.6)])
def test_ramp_gives_way_to_the_bounds(yesterday: float, share: float) -> None:
    """Bounds that were moved away from yesterday's share are kept today."""
    day = replace(plain(click_gain=[0.0]), yesterday=np.array([yesterday]))
    split = SplitProgram(1, replace(ANYWHERE, ramp=0.1, lower=0.4, upper=0.6)).solve(day)
    assert gave_way(split) == ["ramp"]
    assert split.gave_way[0].shortfall == pytest.approx(0.3)
    assert split.share == pytest.approx([share])


@pytest.mark.parametrize("budget", [0.0, 1e-9, 2.0])
def test_lower_bound_gives_way_to_the_budget_alone(budget: float) -> None:
    """Exploration that cannot be paid for shrinks until it can, and the price stays that of the next second."""
    day = plain(click_gain=[0.5, 0.2], gpu_seconds=[1.0, 2.0])
    split = SplitProgram(2, replace(ANYWHERE, risk_aversion=0.0, gpu_budget=budget, lower=0.05)).solve(day)
    assert gave_way(split) == ["lower"]
    assert 100.0 * (split.share @ day.gpu_seconds) <= budget + 1e-6
    assert split.prices.gpu_second == pytest.approx(0.5, rel=1e-3)


def test_all_limits_give_way_in_the_stated_order() -> None:
    """With no budget at all, everything but the budget gives way, named in the stated order."""
    day = replace(
        plain(click_gain=[1.0, 1.0], gpu_seconds=[1.0, 0.0], conversion_gain=[0.0, -1.0], novelty_gain=[1.0, 1.0]),
        yesterday=np.array([0.8, 0.8]),
    )
    wishes = replace(ANYWHERE, conversion_tolerance=0.0, novelty_floor=0.9, gpu_budget=0.0, ramp=0.1, lower=0.05)
    split = SplitProgram(2, wishes).solve(day)
    assert gave_way(split) == list(GIVES_WAY)
    assert split.share[0] == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite(split.objective)


def failing(kind: str) -> Callable[..., Any]:
    """A solver that raises, or one that ends without an answer."""

    def solve(*args: object, **options: object) -> Any:
        if kind == "raises":
            raise cp.SolverError("no")
        return SimpleNamespace(status=4)

    return solve


@pytest.mark.parametrize("kind", ["raises", "no answer", "no linear answer"])
def test_failing_solver_keeps_yesterday(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer the share stays what it was, within bounds and budget, and the status says so."""
    if kind == "no linear answer":
        monkeypatch.setattr("allocation.split.linprog", failing(kind))
    else:
        monkeypatch.setattr(cp.Problem, "solve", failing(kind))
    day = replace(a_day(3, 0), yesterday=np.array([0.2, 0.5, 0.9]))
    kept = SplitProgram(3, SplitSettings(1e-3)).solve(day)
    assert kept.status == "fallback"
    assert kept.share.tolist() == [0.2, 0.5, 0.9]
    assert kept.prices.gpu_hour == kept.prices.conversion == kept.prices.novelty_point == 0.0
    poor = SplitProgram(3, SplitSettings(1e-3, gpu_budget=100.0)).solve(day)
    assert day.requests * day.gpu_seconds @ day.yesterday > 100.0
    assert day.requests * day.gpu_seconds @ poor.share <= 100.0 + 1e-6
    first = SplitProgram(3, SplitSettings(1e-3)).solve(replace(day, yesterday=None))
    assert first.share.tolist() == [0.05, 0.05, 0.05]


@settings(max_examples=60, deadline=None)
@given(
    segments=st.integers(1, 7),
    seed=st.integers(0, 10_000),
    risk=st.sampled_from([0.0, 1e-6, 1e-3, 1.0]),
    tolerance=st.sampled_from([0.0, 0.01, 0.5]),
    novelty=st.sampled_from([None, -0.1, 0.02, 0.1, 1.0]),
    budget=st.sampled_from([None, 0.0, 1.0, 100.0, 1e5]),
    ramp=st.sampled_from([0.0, 0.1, 1.0]),
    lower=st.sampled_from([0.0, 0.05, 0.5]),
    yesterday=st.sampled_from([None, 0.0, 0.3, 1.0]),
)
def test_any_day_is_feasible_and_unbeaten(
    segments: int,
    seed: int,
    risk: float,
    tolerance: float,
    novelty: float | None,
    budget: float | None,
    ramp: float,
    lower: float,
    yesterday: float | None,
) -> None:
    """Whatever is asked, the answer is finite, keeps what did not give way, and no feasible share is better."""
    day = a_day(segments, seed, yesterday)
    wishes = SplitSettings(risk, tolerance, novelty, budget, ramp, lower, upper=0.9)
    split = SplitProgram(segments, wishes).solve(day)
    assert split.status == ("relaxed" if split.gave_way else "optimal")
    assert gave_way(split) == [limit for limit in GIVES_WAY if limit in gave_way(split)]
    w, n, short = split.share, day.requests, dict(split.gave_way)
    prices = vars(split.prices).values()
    assert all(np.isfinite(value).all() and np.min(value) >= 0.0 for value in (w, *prices))
    rows = np.stack([-n * day.gpu_seconds, n * day.conversion_gain, n * day.novelty_gain])
    floors = np.array(
        [
            -np.inf if budget is None else -budget,
            -tolerance * (n @ day.conversion_rate) - short.get("conversion", 0.0),
            -np.inf if novelty is None else novelty * n.sum() - short.get("novelty", 0.0),
        ]
    )
    # A limit that gave way was left 1e-6 of room besides.
    tolerances = np.abs(rows).max(axis=1) * np.where([False, "conversion" in short, "novelty" in short], 2e-6, 1e-6)
    assert (rows @ w >= floors - tolerances).all()
    assert w.max() <= 0.9
    assert w.min() >= lower - short.get("lower", 0.0) - 1e-9
    if day.yesterday is not None:
        assert np.abs(w - day.yesterday).max() <= ramp + short.get("ramp", 0.0) + 1e-9

    assume(not {"ramp", "lower"} & short.keys())
    low, high = np.full(segments, lower), np.full(segments, 0.9)
    if day.yesterday is not None:
        low, high = np.maximum(low, day.yesterday - ramp), np.minimum(high, day.yesterday + ramp)

    def value(share: np.ndarray) -> float:
        total = n * share
        return float(day.click_gain @ total - 0.5 * risk * total @ day.click_covariance @ total)

    for other in low + (high - low) * Stream(seed, "others").uniform(np.arange(40)[:, None], np.arange(segments)):
        fall = rows @ (w - other)
        room = np.maximum(rows @ w - floors, 0.0)
        reach = min(1.0, np.min(room[fall > room] / fall[fall > room], initial=1.0))
        assert split.objective >= value(w + reach * (other - w)) - 1e-6 * (1.0 + np.abs(n * day.click_gain).max())


def test_estimated_gains_feed_the_program() -> None:
    """With nothing observed yet, caution leaves every segment at its exploring share."""
    estimate = GainEstimator(2, GainSettings()).estimate()
    day = DayInputs(
        requests=np.array([100.0, 50.0]),
        click_gain=estimate.believed_clicks,
        click_covariance=estimate.clicks.covariance,
        conversion_gain=estimate.conversions.mean,
        conversion_rate=estimate.utility[1],
        novelty_gain=estimate.novelty.mean,
        gpu_seconds=np.zeros(2),
        yesterday=None,
    )
    split = SplitProgram(2, SplitSettings(1e-3)).solve(day)
    assert split.status == "optimal"
    assert split.share == pytest.approx([0.05, 0.05], abs=1e-8)


@pytest.mark.parametrize(
    ("wishes", "named"),
    [
        ({"risk_aversion": -1.0}, "risk_aversion: -1.0"),
        ({"risk_aversion": 1.0, "conversion_tolerance": float("nan")}, "conversion_tolerance: nan"),
        ({"risk_aversion": 1.0, "gpu_budget": -3.0}, "gpu_budget: -3.0"),
        ({"risk_aversion": 1.0, "novelty_floor": float("inf")}, "novelty_floor: inf"),
        ({"risk_aversion": 1.0, "ramp": 1.5}, "ramp: 1.5"),
        ({"risk_aversion": 1.0, "lower": 0.6, "upper": 0.5}, "lower, upper: 0.6, 0.5"),
    ],
)
def test_settings_outside_their_range_are_named(wishes: dict[str, float], named: str) -> None:
    """A setting that makes no sense is refused by name and value."""
    with pytest.raises(ValueError, match=named):
        SplitSettings(**wishes)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"requests": np.array([1.0, -2.0])}, "requests: -2.0"),
        ({"click_gain": np.array([1.0])}, "click_gain: shape"),
        ({"novelty_gain": np.array([1.0, np.nan])}, "novelty_gain: nan"),
        ({"yesterday": np.array([0.0, 1.2])}, "yesterday: 0.0 to 1.2"),
        ({"click_covariance": np.array([[1.0, 0.5], [0.0, 1.0]])}, "click_covariance: not symmetric"),
        ({"click_covariance": np.array([[1.0, 2.0], [2.0, 1.0]])}, "click_covariance: eigenvalue"),
    ],
)
def test_inputs_outside_their_range_are_named(changed: dict[str, np.ndarray], named: str) -> None:
    """An input that makes no sense is refused by name and value."""
    with pytest.raises(ValueError, match=named):
        SplitProgram(2, ANYWHERE).solve(replace(a_day(2, 0), **changed))


def test_there_must_be_a_segment() -> None:
    """A program of no segments is refused."""
    with pytest.raises(ValueError, match="segments: 0"):
        SplitProgram(0, ANYWHERE)
