import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.duration.survfunc import survdiff

from metrics.survival import log_rank, returns, silences, survival_curve

# Freireich et al. (1963), weeks of remission in acute leukaemia under 6-mercaptopurine and placebo; a plus is censored.
TREATED = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"
# Kaplan-Meier of the treated (Cox and Oakes 1984, "Analysis of Survival Data", table 1.1 and section 4.2).
PUBLISHED = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}


def weeks(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Times, and whether the remission ended."""
    words = text.split()
    return np.array([float(word.rstrip("+")) for word in words]), np.array([not word.endswith("+") for word in words])


def test_kaplan_meier_of_freireich() -> None:
    """The curve of the treated is the published one, with Greenwood's error of 0.0764 after six weeks."""
    curve = survival_curve(*weeks(TREATED))
    assert dict(zip(curve.time, curve.share, strict=True)) == pytest.approx(PUBLISHED, abs=6e-4)
    assert curve.error[0] == pytest.approx(0.0764, abs=5e-5)
    assert curve.at_risk.tolist() == [21, 17, 15, 12, 11, 7, 6]
    assert (curve.users, curve.gone) == (21, 9)
    assert curve.at(5.9) == 1.0
    assert curve.at(12) == pytest.approx(0.753, abs=6e-4)


def test_log_rank_of_freireich() -> None:
    """Both arms differ with a chi-square of 16.79, p = 4.17e-5 (R's survdiff prints the same)."""
    (time, gone), (other, ended) = weeks(TREATED), weeks(PLACEBO)
    found = log_rank(np.append(time, other), np.append(gone, ended), np.repeat([True, False], 21))
    assert found is not None
    assert found.chi_square == pytest.approx(16.79, abs=5e-3)
    assert found.p_value == pytest.approx(4.17e-5, rel=2e-3)


def test_a_huge_difference_still_has_a_p_value() -> None:
    """Where statsmodels' p-value is 0, that of the chi-square's tail is not."""
    time, treated = np.append(np.full(200, 1.0), np.full(200, 9.0)), np.repeat([True, False], 200)
    found = log_rank(time, np.ones(400, bool), treated)
    assert found is not None
    assert survdiff(time, np.ones(400), treated)[1] == 0.0
    assert 0.0 < found.p_value < 1e-80


def test_equal_arms_are_told_apart_as_often_as_promised() -> None:
    """Of 300 random splits of one population no more than a binomial at 5% allows have a small p-value."""
    rng = np.random.default_rng(3)
    time = np.ceil(rng.exponential(10.0, 400))
    watched = rng.integers(3, 20, 400)
    small = 0
    for _ in range(300):
        found = log_rank(np.minimum(time, watched), time <= watched, rng.random(400) < 0.5)
        small += found is not None and found.p_value < 0.05
    least, most = binom.interval(0.999, 300, 0.05)
    assert least <= small <= most


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=60), st.floats(0.01, 0.3))
def test_curves_fall_within_their_intervals(users: list[tuple[int, bool]], alpha: float) -> None:
    """Shares fall from 1 and stay within 0 to 1, and so do the ends of their intervals around them."""
    time, gone = (np.array(each) for each in zip(*users, strict=True))
    curve = survival_curve(time, gone)
    low, high = curve.interval(alpha)
    assert (np.diff(curve.share) <= 1e-12).all()
    assert ((low >= 0.0) & (low <= curve.share + 1e-12) & (curve.share <= high + 1e-12) & (high <= 1.0)).all()
    if not any(watched < went for watched, left in users if not left for went, out in users if out):
        assert curve.at(31.0) == pytest.approx(1.0 - gone.mean())


def visits(days: dict[int, list[int]], arm: str = "a") -> pl.DataFrame:
    """User days from each user's days."""
    rows = [(user, arm, day) for user, came in days.items() for day in came]
    return pl.DataFrame(rows, schema={"user": pl.Int64, "arm": pl.String, "day": pl.Int32}, orient="row")


def test_who_is_gone_and_since_when() -> None:
    """A user is gone after so many silent days, whatever comes later; a shorter silence at the end is censored."""
    table = visits(
        {
            1: [10, 11, 19],  # silent on 12..14, so gone three days after day 11
            2: [10, 13, 16, 18],  # never silent for three days within the watch
            3: [12],  # silent on 13..15
            4: [18],  # the watch ends too soon to know
            5: [3, 20],  # exposed after the experiment's end
        }
    )
    found = silences(table, start=10, end=20, observed_end=20, churn_days=3)
    assert found.rows() == [(1, "a", 4, True), (2, "a", 9, False), (3, "a", 3, True), (4, "a", 1, False)]


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 30), min_size=1, unique=True), min_size=1),
    st.integers(1, 8),
)
def test_silence_by_its_definition(days: dict[int, list[int]], churn_days: int) -> None:
    """Nobody is gone within a shorter silence, and whoever had one that long within the watch is."""
    found = silences(visits(days), 0, 31, 31, churn_days)
    for user, _, time, gone in found.rows():
        came = sorted(days[user])
        silent = [d for d, n in zip(came, [*came[1:], 31], strict=True) if n - d - 1 >= churn_days]
        assert gone == bool(silent)
        assert time == (silent[0] + churn_days - came[0] if silent else 30 - came[0])


def test_returns_are_of_those_watched_long_enough() -> None:
    """A day's share divides by the users whose day that far from exposure was watched."""
    table = pl.concat([visits({1: [0, 1, 2], 2: [0, 2], 3: [1, 2]}), visits({4: [0]}, "b")])
    first, second = returns(table, ["a", "b"], 0, 3, 3, 0.05)
    assert [(point["day"], point["users"], point["share"]) for point in first["points"]] == [
        (1, 3, pytest.approx(2 / 3)),
        (2, 2, pytest.approx(1.0)),
    ]
    assert [point["share"] for point in second["points"]] == [0.0, 0.0]
    assert all(point["ci"][0] <= point["share"] <= point["ci"][1] for point in first["points"])


def test_nobody_gone_is_no_test() -> None:
    """Without an event, or without an arm, there is nothing to compare and no error."""
    assert log_rank([1, 2], [False, False], [True, False]) is None
    assert log_rank([1, 2], [True, True], [True, True]) is None
    assert survival_curve([1, 2], [False, False]).at(9.0) == 1.0
    with pytest.raises(ValueError, match="time: "):
        survival_curve([], [])
    with pytest.raises(ValueError, match="churn_days: 0"):
        silences(visits({1: [0]}), 0, 1, 1, 0)
