import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from metrics.two_sample import auc_with_variance, tell_apart


def test_the_area_is_scikit_learns() -> None:
    """The area under the curve is scikit-learn's, with ties; its variance is that of many repetitions."""
    rng = np.random.default_rng(3)
    areas, variances = [], []
    for _ in range(400):
        positive = np.arange(160) < 60
        score = np.round(rng.normal(positive * 0.8, 1.0), 1)
        area, variance = auc_with_variance(score, positive)
        assert area == pytest.approx(roc_auc_score(positive, score))
        areas.append(area)
        variances.append(variance)
    assert np.mean(variances) == pytest.approx(np.var(areas), rel=0.2)


def test_the_same_law_is_not_told_apart() -> None:
    """On samples of one law the interval holds one half as often as it should, give or take."""
    rng = np.random.default_rng(1)
    held = []
    for seed in range(20):
        found = tell_apart(rng.normal(size=(150, 4)), rng.normal(size=(200, 4)), seed)
        held.append(found.ci[0] <= 0.5 <= found.ci[1])
    assert sum(held) >= 16


def test_what_features_do_together_is_seen() -> None:
    """Samples alike in every feature but not in their correlation are told apart."""
    rng = np.random.default_rng(2)
    one = rng.normal(size=(800, 2))
    x = rng.normal(size=800)
    other = np.column_stack([x, 0.95 * x + np.sqrt(1 - 0.95**2) * rng.normal(size=800)])
    assert tell_apart(one, other, 1).ci[0] > 0.7


def test_the_feature_that_gives_it_away_weighs_most() -> None:
    """The gain of the trees goes to the feature that differs, and missing values are a value."""
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(300, 3)), rng.normal(size=(300, 3))
    other[:, 1] += 3.0
    found = tell_apart(one, other, 1)
    assert found.weight.argmax() == 1
    assert found.weight.sum() == pytest.approx(1.0)
    assert found.auc > 0.95
    missing = one.copy()
    missing[::2, 0] = np.nan
    assert tell_apart(one, missing, 1).auc > 0.6


def test_it_is_a_pure_function_of_its_seed() -> None:
    """The same samples and seed give the same area."""
    rng = np.random.default_rng(9)
    one, other = rng.normal(size=(60, 2)), rng.normal(size=(60, 2))
    assert tell_apart(one, other, 4).auc == tell_apart(one, other, 4).auc


def test_too_few_users_are_refused() -> None:
    """Samples that folds cannot be made of are named."""
    with pytest.raises(ValueError, match="needs 10 of each"):
        tell_apart(np.zeros((3, 1)), np.zeros((40, 1)), 1)
    with pytest.raises(ValueError, match="2 of each"):
        auc_with_variance(np.arange(3.0), np.array([True, False, False]))
