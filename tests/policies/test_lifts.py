import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.lifts import cells, log_lifts
from simulator.batches import Floats, Ints32

CATEGORIES, DAYS, SHOWN = 40, 100, 400.0
CIRCUMSTANCE = np.arange(DAYS) % 10 == 0


def counted(factor: float, rate: float = 0.1, everywhere: float = 1.0) -> tuple[Ints32, Floats, Floats]:
    """Cells of days x categories in which category 3 is clicked ``factor`` times as often on every tenth day."""
    category = np.tile(np.arange(CATEGORIES, dtype=np.int32), DAYS)
    day = np.repeat(np.arange(DAYS), CATEGORIES)
    level = CIRCUMSTANCE[day].astype(float)
    clicks = SHOWN * rate * (1 + 0.5 * np.sin(category)) * np.where(level > 0, everywhere, 1.0)
    clicks[(category == 3) & (level > 0)] *= factor
    return category, np.stack([clicks, np.full(len(clicks), SHOWN)], axis=1), level[:, None]


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(0.2, 4.0))
def test_planted_lift_is_recovered(factor: float) -> None:
    """A category that gains by a factor on a tenth of the days shows about the log of it against its average."""
    lifts = log_lifts(*counted(factor), CATEGORIES, prior=5.0)
    assert lifts.shape == (1, CATEGORIES)
    against_average = np.log(factor / (0.9 + 0.1 * factor))
    assert lifts[0, 3] == pytest.approx(against_average, abs=0.03 + 0.1 * abs(against_average))
    assert np.abs(np.delete(lifts[0], 3)).max() < 0.08


def test_lift_survives_chance() -> None:
    """Drawn instead of expected clicks give the same answer within their noise."""
    category, total, level = counted(2.0)
    total[:, 0] = np.random.default_rng(4).binomial(int(SHOWN), total[:, 0] / SHOWN)
    lifts = log_lifts(category, total, level, CATEGORIES, prior=20.0)
    assert lifts[0].argmax() == 3
    assert lifts[0, 3] == pytest.approx(np.log(2.0 / 1.1), abs=0.15)
    assert np.abs(np.delete(lifts[0], 3)).max() < 0.25


@pytest.mark.parametrize("everywhere", [0.5, 1.0, 2.0])
def test_no_effect_is_no_lift(everywhere: float) -> None:
    """Where all categories move together, none of them has a lift."""
    assert np.abs(log_lifts(*counted(1.0, everywhere=everywhere), CATEGORIES, prior=5.0)).max() < 0.01


def test_prior_keeps_rare_pairs_near_zero() -> None:
    """One lucky click on a category hardly shown says little, and less the stronger the prior."""
    category, total, level = counted(1.0)
    rare = (category == 3) & (level[:, 0] > 0)
    total[rare] = [0.0, 0.0]
    total[np.flatnonzero(rare)[0]] = [1.0, 1.0]
    weak, strong = (log_lifts(category, total, level, CATEGORIES, prior=prior)[0, 3] for prior in (2.0, 50.0))
    assert 0 < strong < 0.02 < weak < 0.5


def test_partial_levels_dilute() -> None:
    """A circumstance half present shows half the excess, in the direction of the whole one."""
    category, total, level = counted(3.0)
    dull = np.concatenate([level, 0.5 * level, 1.0 - level], axis=1)
    lifts = log_lifts(category, total, dull, CATEGORIES, prior=5.0)[:, 3]
    assert lifts[0] > lifts[1] > 0 > lifts[2]


@pytest.mark.parametrize("clicks", [0.0, 1.0])
def test_log_without_clicks_or_cells_has_finite_lifts(clicks: float) -> None:
    """Nothing clicked, a category never shown, or no cell at all: lifts are numbers near 0."""
    category, total, level = counted(1.0)
    total[:, 0] = 0.0
    total[0, 0] = clicks
    level[:] = 1.0
    lifts = log_lifts(category, total, level, CATEGORIES + 1, prior=5.0)
    assert np.isfinite(lifts).all()
    assert np.abs(lifts).max() < 0.3
    empty = log_lifts(category[:0], total[:0], level[:0], CATEGORIES, prior=5.0)
    assert (empty == 0).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans()), max_size=60))
def test_cells_add_up(examples: list[tuple[int, int, bool]]) -> None:
    """Cells hold the clicks and impressions of each (group, category) met, each once, and no other."""
    group, category, clicked = (np.array([e[k] for e in examples]) for k in range(3))
    where, of_group, total = cells(category.astype(np.int32), clicked.astype(float), group.astype(np.int64), 4, 5)
    found = dict(zip(zip(of_group.tolist(), where.tolist(), strict=True), total.tolist(), strict=True))
    expected: dict[tuple[int, int], list[float]] = {}
    for g, c, click in examples:
        cell = expected.setdefault((g, c), [0.0, 0.0])
        cell[0] += click
        cell[1] += 1
    assert found == expected
