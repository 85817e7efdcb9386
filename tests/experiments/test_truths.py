import pytest

from experiments.truths import beside

TRUTH = {"effect": 0.00119, "lift": 0.00124}


def test_the_interval_that_is_seen_is_the_one_that_is_asked() -> None:
    """Where a lift has an interval the truth is held against that one, and else against that of the effect."""
    found = beside(TRUTH, [-0.05, 0.00114], [-0.053, 0.0013])
    assert found == TRUTH | {"covered": True}
    assert beside(TRUTH, [-0.05, 0.00114]) == TRUTH | {"covered": False}
    assert beside(TRUTH | {"lift": None}, [-0.05, 0.00114], [-0.053, 0.0013]) == TRUTH | {
        "lift": None,
        "covered": False,
    }


@pytest.mark.parametrize("truth", [None, {"effect": None, "lift": None}])
def test_what_nobody_knows_is_not_told(truth: dict[str, float | None] | None) -> None:
    """Without a true effect there is no truth, and without an interval nothing to hold it."""
    assert beside(truth, [0.0, 1.0]) is None
    found = beside(TRUTH, None)
    assert found is not None
    assert found["covered"] is None
