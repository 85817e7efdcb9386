import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.audit.rates import Rate, corrected_confidence


def test_published_interval() -> None:
    """The interval is that of R's binom.test example: 682 of 925 (Conover 1971, page 97)."""
    assert Rate(682, 925).interval() == pytest.approx((0.7076683, 0.7654066), abs=1e-7)


@pytest.mark.parametrize(("count", "ends"), [(0, (0.0, 0.3084971)), (10, (0.6915029, 1.0))])
def test_ends_of_the_scale(count: int, ends: tuple[float, float]) -> None:
    """None or all of ten give one-sided intervals: 1 - 0.025^(1/10) is their other end."""
    assert Rate(count, 10).interval() == pytest.approx(ends, abs=1e-7)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.9, 0.9999))
def test_interval_holds_its_rate(counts: tuple[int, int], confidence: float) -> None:
    """An interval holds the rate itself, lies in 0 to 1, and grows with confidence."""
    rate = Rate(*counts)
    narrow, wide = rate.interval(0.8), rate.interval(confidence)
    assert narrow is not None
    assert wide is not None
    assert rate.rate is not None
    assert 0.0 <= wide[0] <= narrow[0] <= rate.rate <= narrow[1] <= wide[1] <= 1.0


@pytest.mark.parametrize(
    ("promise", "few", "as_promised", "many"),
    [("equal", True, False, True), ("at most", False, False, True), ("at least", True, False, False)],
)
def test_promises(promise: str, few: bool, as_promised: bool, many: bool) -> None:
    """Equality is broken on both sides, a bound on one."""
    found = [Rate(count, 1000, promise, 0.05).broken() for count in (20, 50, 90)]  # type: ignore[arg-type]
    assert found == [few, as_promised, many]


def test_nothing_promised_nothing_broken() -> None:
    """Without a promise or without trials there is nothing to break."""
    assert Rate(300, 1000).broken() is None
    assert Rate(0, 0, "equal", 0.05).broken() is None
    assert Rate(0, 0, "equal", 0.05).rate is None
    assert Rate(0, 0, "equal", 0.05).interval() is None


def test_correction_counts_promises_alone() -> None:
    """The corrected confidence divides 5% by the promises that have trials, and is 95% for one."""
    one, empty, silent = Rate(5, 100, "equal", 0.05), Rate(0, 0, "equal", 0.05), Rate(5, 100)
    assert corrected_confidence([one, empty, silent]) == pytest.approx(0.95)
    assert corrected_confidence([one] * 10) == pytest.approx(0.995)
    assert corrected_confidence([]) == pytest.approx(0.95)


def test_outside_is_not_yet_a_defect() -> None:
    """A rate outside its interval at 95% and inside the corrected one is told apart from a defect."""
    found = Rate(66, 1000, "equal", 0.05).to_json(0.999)
    assert (found["outside"], found["defect"]) == (True, False)
    assert Rate(100, 1000, "equal", 0.05).to_json(0.999)["defect"] is True


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2), (1, 2, "equal"), (1, 2, "none", 0.05)])
def test_impossible_rates(arguments: tuple[object, ...]) -> None:
    """Counts outside the trials, a promise without a number and a number without a promise are refused."""
    with pytest.raises(ValueError, match=r"must be|needs one"):
        Rate(*arguments)  # type: ignore[arg-type]
