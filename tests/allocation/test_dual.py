from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation.exposure import Exposure, ExposureRules, GaveWay, Multipliers, Status, solve, solve_batch

Floats = npt.NDArray[np.float64]

MANY = settings(max_examples=200, deadline=None)


@dataclass(frozen=True)
class Program:
    """Candidates and rules."""

    s: Floats
    o: Floats
    rules: ExposureRules


@st.composite
def programs(draw: Callable[..., object], scales: tuple[int, int] = (-9, 9), most: int = 12) -> Program:
    """Programs of up to ``most`` candidates: spread, tied, all equal, zero, at the floor, infeasible, of any scale."""
    pick = lambda strategy: draw(strategy)  # noqa: E731
    n = pick(st.integers(1, most))
    values = st.one_of(
        st.lists(st.integers(-1000, 1000).map(lambda k: k / 1000), min_size=n, max_size=n),
        st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=n, max_size=n),
        st.sampled_from([-1.0, 0.0, 1.0]).map(lambda value: [value] * n),
    )
    s, o = np.array(pick(values)), np.array(pick(values))
    floor = pick(st.one_of(st.sampled_from(o.tolist()), st.integers(-1200, 1200).map(lambda k: k / 1000)))
    power = st.integers(*scales)
    gain, slope = 10.0 ** pick(power), 10.0 ** pick(power)
    penalty = 10.0 ** pick(power) * pick(st.integers(1, 9))
    share = st.integers(0, 12).map(lambda k: k / 10)
    least = n * pick(share) if pick(st.booleans()) else float(pick(st.integers(0, n)))
    rules = ExposureRules(penalty, floor * slope, least, least + n * pick(share))
    return Program(s * gain, o * slope, rules)


def exact_gap(program: Program, found: Exposure) -> float:
    """Dual value at the reported multipliers minus the objective, in exact arithmetic, over the terms' size.

    Weak duality makes this a proof of optimality that shares nothing with the solver. The size counts every
    candidate, since the reported multipliers are rounded.
    """
    s = [Fraction(value) for value in program.s]
    g = [Fraction(value) for value in program.o - program.rules.floor]
    n = len(s)
    least = min(Fraction(program.rules.least), Fraction(n))
    most = min(Fraction(program.rules.most), Fraction(n))
    penalty, alpha, r = (
        Fraction(value) for value in (program.rules.penalty, found.multipliers.conversion, found.multipliers.pressure)
    )
    x = [Fraction(value) for value in found.x]
    wanted = Fraction(found.surplus) if found.gave_way & GaveWay.FLOOR else Fraction(0)
    value = -alpha * wanted - (least * r if r > 0 else most * r)
    size = penalty
    for gain, slope in zip(s, g, strict=True):
        height = gain + alpha * slope + r
        best = min(max(height / penalty, Fraction(0)), Fraction(1))
        value += best * (height - penalty * best / 2)
        size += abs(gain) + alpha * abs(slope) + abs(r)
    objective = sum(gain * share - penalty * share**2 / 2 for gain, share in zip(s, x, strict=True))
    return float((value - objective) / size)


def misses(program: Program, found: Exposure) -> float:
    """Largest violation of the constraints that did not give way, against their own size."""
    n = len(program.s)
    g = program.o - program.rules.floor
    least, most = min(program.rules.least, n), min(program.rules.most, n)
    total = found.x.sum()
    floor = 0.0 if found.gave_way & GaveWay.FLOOR else -(g @ found.x) / max(np.abs(g).max() * total, 1e-300)
    return max((least - total) / max(least, 1.0), (total - most) / max(most, 1e-300) if most else total, floor)


@MANY
@given(programs())
def test_every_answer_is_feasible_and_proved_optimal(program: Program) -> None:
    """The exact duality gap, the feasibility and the reported certificate all vanish, for any scale and degeneracy."""
    found = solve(program.s, program.o, program.rules)
    assert found.status is (Status.RELAXED if found.gave_way else Status.OPTIMAL)
    assert found.residual < 1e-10
    assert abs(found.gap) < 1e-10
    assert misses(program, found) < 1e-10
    assert abs(exact_gap(program, found)) < 1e-10


@MANY
@given(programs(scales=(0, 0)))
def test_exposures_are_the_clipped_heights_of_the_multipliers(program: Program) -> None:
    """x_i = clip((s_i + alpha (o_i - o*) + r) / lambda, 0, 1), whatever gave way."""
    found = solve(program.s, program.o, program.rules)
    prices, rules = found.multipliers, program.rules
    height = program.s + prices.conversion * (program.o - rules.floor) + prices.pressure
    size = 1.0 + prices.conversion + abs(prices.pressure)
    np.testing.assert_allclose(found.x, np.clip(height / rules.penalty, 0.0, 1.0), atol=1e-13 * size / rules.penalty)


@MANY
@given(programs(), st.integers(2, 4), st.randoms(use_true_random=False))
def test_a_batch_is_its_rows_to_the_byte(program: Program, rows: int, random: np.random.Generator) -> None:
    """Each row of a padded batch has the bytes of solving it alone, whatever its neighbours."""
    n = len(program.s)
    sizes = [random.randint(0, n) for _ in range(rows)]  # type: ignore[attr-defined]
    shifts = [random.randint(0, n) for _ in range(rows)]  # type: ignore[attr-defined]
    s = np.stack([np.roll(program.s, shift) for shift in shifts])
    o = np.stack([np.roll(program.o, shift) for shift in shifts])
    found = solve_batch(s, o, program.rules, sizes=sizes)
    for row, size in enumerate(sizes):
        alone, cut = solve(s[row, :size], o[row, :size], program.rules), found.row(row, size)
        assert cut.x.tobytes() == alone.x.tobytes()
        assert (cut.multipliers, cut.objective, cut.gap) == (alone.multipliers, alone.objective, alone.gap)


@MANY
@given(programs(scales=(-3, 3)), st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(program: Program, random: np.random.Generator) -> None:
    """Permuted candidates have the permuted exposures, ties and programs out of reach included."""
    order = list(range(len(program.s)))
    random.shuffle(order)
    found = solve(program.s, program.o, program.rules)
    moved = solve(program.s[order], program.o[order], program.rules)
    np.testing.assert_allclose(moved.x, found.x[order], atol=1e-9)
    assert moved.gave_way == found.gave_way


@MANY
@given(programs(scales=(-3, 3)), st.integers(-6, 6), st.integers(-2000, 2000))
def test_where_the_search_starts_does_not_matter(program: Program, power: int, pressure: int) -> None:
    """From any starting multipliers, near or far, the exposures and what gave way are the same."""
    found = solve(program.s, program.o, program.rules)
    for start in (Multipliers(10.0**power, float(pressure)), found.multipliers):
        warm = solve(program.s, program.o, program.rules, multipliers=start)
        np.testing.assert_allclose(warm.x, found.x, atol=1e-9)
        assert warm.gave_way == found.gave_way
        assert warm.residual < 1e-10


@MANY
@given(programs(scales=(-3, 3)), st.floats(1.0, 10.0), st.floats(0.0, 2.0))
def test_a_higher_price_or_floor_never_pays(program: Program, factor: float, rise: float) -> None:
    """The objective does not rise with lambda, nor with o*: the one costs more, the other allows less."""
    s, o, rules = program.s, program.o, program.rules
    found = solve(s, o, rules)
    slack = 1e-12 * (float(np.abs(s).sum()) + 10.0 * rules.penalty * len(s))
    dearer = ExposureRules(rules.penalty * factor, rules.floor, rules.least, rules.most)
    assert solve(s, o, dearer).objective <= found.objective + slack
    stricter = ExposureRules(rules.penalty, rules.floor + rise * float(np.abs(o).max()), rules.least, rules.most)
    slack += 1e-12 * found.multipliers.conversion * float(np.abs(o - rules.floor).sum())
    assert solve(s, o, stricter).objective <= found.objective + slack


@MANY
@given(programs(scales=(-3, 3)), st.integers(-200, 200), st.integers(-200, 200))
def test_units_do_not_matter(program: Program, gain: int, slope: int) -> None:
    """Clicks (with lambda) and conversions (with o*) in other units, powers of two apart, give the same bytes of x."""
    rules = program.rules
    found = solve(program.s, program.o, rules)
    units = ExposureRules(rules.penalty * 2.0**gain, rules.floor * 2.0**slope, rules.least, rules.most)
    assert solve(program.s * 2.0**gain, program.o * 2.0**slope, units).x.tobytes() == found.x.tobytes()


def test_large_pools_are_solved_in_every_regime() -> None:
    """20,000 candidates, from lambda far above the scores to the linear-program limit, meet every constraint."""
    rank = np.arange(1, 20_001)
    s = np.modf(rank * 0.6180339887498949)[0] ** 6
    o = np.modf(rank * 0.4142135623730951)[0] ** 3
    for penalty in (1e3, 1.0, 1e-2, 1e-5, 1e-10, 1e-16):
        for floor in (0.1, 0.4, 0.9, 0.999):
            program = Program(s, o, ExposureRules(penalty, floor, 2_000.0, 6_000.0))
            found = solve(s, o, program.rules)
            assert found.status is (Status.RELAXED if found.gave_way else Status.OPTIMAL)
            assert misses(program, found) < 1e-12
            assert found.residual < 1e-12


def test_many_small_programs_are_each_solved() -> None:
    """5,000 requests of 50 candidates, the floor and either end of the budget binding, meet every constraint."""
    place = np.arange(1, 250_001).reshape(5_000, 50)
    s = 0.36 * np.modf(place * 0.6180339887498949)[0] ** 3
    o = 0.1 * np.modf(place * 0.7548776662466927)[0] ** 4
    for least, most in ((5.0, 10.0), (10.0, 10.0), (20.0, 40.0)):
        for penalty in (1e-3, 0.1, 1.0):
            found = solve_batch(s, o, ExposureRules(penalty, 0.04, least, most))
            assert not found.gave_way.any()
            assert found.residual.max() < 1e-12
            assert np.abs(found.gap).max() < 1e-12
            assert (found.total <= most * (1.0 + 1e-13)).all()
            assert (found.total >= least * (1.0 - 1e-13)).all()


def test_a_budget_missed_by_little_is_met() -> None:
    """P just below, or Q just above, what the floor alone would show is met to rounding, not to a rough tolerance."""
    place = np.arange(1, 20_001).reshape(400, 50)
    s = 0.36 * np.modf(place * 0.6180339887498949)[0] ** 3
    o = 0.1 * np.modf(place * 0.7548776662466927)[0] ** 4
    for gains, conversions in zip(s, o, strict=True):
        total = solve(gains, conversions, ExposureRules(0.1, 0.05)).total
        for share in (3e-4, 1e-6):
            below = solve(gains, conversions, ExposureRules(0.1, 0.05, most=total * (1.0 - share)))
            above = solve(gains, conversions, ExposureRules(0.1, 0.05, least=total * (1.0 + share), most=50.0))
            for found in (below, above):
                assert found.status is Status.OPTIMAL
                assert found.residual < 1e-12
