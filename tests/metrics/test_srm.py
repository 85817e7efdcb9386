import pytest

from metrics.srm import sample_ratio


def test_published_mismatch() -> None:
    """821,588 users against 815,482 at 50/50 have p = 1.8e-6 (Kohavi, Tang and Xu 2020, chapter 3)."""
    found = sample_ratio({"control": 821_588, "treatment": 815_482}, {"control": 0.5, "treatment": 0.5})
    assert found.p_value == pytest.approx(1.8e-6, rel=0.03)
    assert not found.ok


def test_only_proportions_of_shares_matter() -> None:
    """Arms of 1% and 2% of the traffic are tested as one third and two thirds."""
    users = {"a": 1020, "b": 1980}
    assert sample_ratio(users, {"a": 0.01, "b": 0.02}).p_value == pytest.approx(
        sample_ratio(users, {"a": 1 / 3, "b": 2 / 3}).p_value
    )


def test_exact_shares_have_a_p_value_of_one() -> None:
    """Counts on their expectation are as far from a mismatch as can be, for any number of arms."""
    found = sample_ratio({"a": 100, "b": 100, "c": 200}, {"a": 0.25, "b": 0.25, "c": 0.5})
    assert found.p_value == pytest.approx(1.0)
    assert found.ok


@pytest.mark.parametrize("users", [{"a": 0, "b": 0}, {"a": 10}])
def test_nothing_to_test_is_no_mismatch(users: dict[str, int]) -> None:
    """Without users, or with one arm, no mismatch can be seen."""
    assert sample_ratio(users, dict.fromkeys(users, 0.5)).ok


def test_an_empty_arm_is_a_mismatch() -> None:
    """An arm that should have half of the users and has none is caught."""
    assert not sample_ratio({"a": 100, "b": 0}, {"a": 0.5, "b": 0.5}).ok


def test_wrong_shares_are_refused() -> None:
    """Shares of other arms, and shares that are not positive, raise with the field's name."""
    with pytest.raises(ValueError, match="shares: arms"):
        sample_ratio({"a": 1, "b": 1}, {"a": 1.0})
    with pytest.raises(ValueError, match=r"shares\.b: 0"):
        sample_ratio({"a": 1, "b": 1}, {"a": 1.0, "b": 0.0})
    with pytest.raises(ValueError, match=r"users_by_arm\.a: -1"):
        sample_ratio({"a": -1, "b": 1}, {"a": 0.5, "b": 0.5})
