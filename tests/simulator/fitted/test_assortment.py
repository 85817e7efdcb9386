import numpy as np
import pytest

from simulator.fitted.assortment import Assortment, best_half_life, fit_assortment
from simulator.streams import Stream

CATEGORY = (np.arange(40) % 4).astype(np.int32)


def bought(users: int, likeness: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Item and user of 40 purchases each, by tastes of a given likeness."""
    stream = Stream(seed, "test/assortment")
    share = np.array([0.4, 0.3, 0.2, 0.1])
    made = Assortment(CATEGORY, 28.0, np.full(40, 0.1), share, np.tile(share, (12, 1)), likeness, 50.0)
    taste = made.tastes(np.zeros((users, 4)), np.arange(users), stream)
    user = np.repeat(np.arange(users), 40)
    category = (stream.uniform(7, np.arange(len(user)))[:, None] > np.cumsum(taste[user], axis=1)).sum(axis=1)
    item = np.minimum(category, 3) + 4 * stream.integers(10, 8, np.arange(len(user)))
    return item.astype(np.int32), user


@pytest.mark.parametrize("likeness", [2.0, 30.0])
def test_how_alike_customers_are_is_recovered(likeness: float) -> None:
    """Tastes drawn with a concentration have that concentration when fitted."""
    item, user = bought(1500, likeness, 3)
    day = np.arange(len(item)) % 90
    found = fit_assortment(
        item, user, np.arange(len(item)) // 4, day, np.zeros(len(item), np.int64), CATEGORY, 4, 90, 30
    )
    assert found.likeness == pytest.approx(likeness, rel=0.15)
    assert found.share == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.03)


def test_weights_are_shares() -> None:
    """Popularity sums to 1 in each category, categories to 1 in each month, and a month not seen is as lately."""
    item, user = bought(200, 20.0, 5)
    day = np.arange(len(item)) % 60
    month = np.where(item % 4 == 0, 2, 3)
    found = fit_assortment(item, user, np.arange(len(item)) // 4, day, month, CATEGORY, 4, 60, 30)
    assert np.bincount(CATEGORY, found.popularity) == pytest.approx(np.ones(4))
    assert found.by_month.sum(axis=1) == pytest.approx(np.ones(12))
    assert np.array_equal(found.by_month[7], found.share / found.share.sum())
    assert found.by_month[2, 0] > 2 * found.share[0] > 4 * found.by_month[3, 0]
    assert found.appeal(2)[CATEGORY == 0].sum() == pytest.approx(found.by_month[2, 0] / found.share[0])


@pytest.mark.parametrize(("quick", "shorter"), [(True, True), (False, False)])
def test_fast_fashions_need_a_short_memory(quick: bool, shorter: bool) -> None:
    """Where a new item sells every week a short half-life foretells best; where nothing changes a long one."""
    day = np.repeat(np.arange(84), 40)
    stream = Stream(4, "test/fashion")
    steady = stream.integers(30, np.arange(len(day)))
    item = ((day // 14) * 5 + steady % 5 if quick else steady).astype(np.int32)
    found = best_half_life(item, day, 30, 84, 7)
    assert (found <= 14.0) is shorter


def test_tastes_follow_what_was_bought() -> None:
    """Who bought much of a category goes on with its share; who is not known is as everybody is on average."""
    share = np.array([0.25, 0.75])
    made = Assortment(CATEGORY[:2], 28.0, np.ones(2), share, np.tile(share, (12, 1)), 5.0, 50.0)
    stream = Stream(2, "test/tastes")
    known = made.tastes(np.array([[900.0, 100.0]]), np.array([4]), stream)
    assert known[0] == pytest.approx([0.9, 0.1], abs=0.04)
    unknown = made.tastes(np.zeros((4000, 2)), np.arange(4000), stream)
    assert unknown.sum(axis=1) == pytest.approx(np.ones(4000))
    assert unknown.mean(axis=0) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("breadth", [4.0, 60.0])
def test_how_much_of_one_kind_baskets_are_is_recovered(breadth: float) -> None:
    """Baskets drawn with a concentration around their customers' tastes have that concentration when fitted."""
    stream = Stream(12, "test/themes")
    categories = 12
    share = np.full(categories, 1 / categories)
    made = Assortment(CATEGORY, 28.0, np.ones(40), share, np.tile(share, (12, 1)), 8.0, breadth)
    users, baskets, size = 60, 60, 10  # from few baskets a taste is known badly, which looks like narrow baskets
    taste = made.tastes(np.zeros((users, categories)), np.arange(users), stream)
    owner = np.repeat(np.arange(users), baskets)
    theme = made.themes(taste[owner], owner, np.arange(users * baskets), stream)
    visit = np.repeat(np.arange(users * baskets), size)
    luck = stream.uniform(7, np.arange(len(visit)))
    item = np.minimum((luck[:, None] > np.cumsum(theme[visit], axis=1)).sum(axis=1), categories - 1).astype(np.int32)
    of_items = np.arange(categories, dtype=np.int32)
    day = np.arange(len(item)) % 90
    found = fit_assortment(item, owner[visit], visit, day, np.zeros(len(item), np.int64), of_items, categories, 90, 30)
    assert found.breadth == pytest.approx(breadth, rel=0.35)


def test_nothing_to_choose_by_is_refused() -> None:
    """Without purchases before or in the held-out days no half-life can be chosen."""
    with pytest.raises(ValueError, match="longer part"):
        best_half_life(np.zeros(3, np.int32), np.array([40, 41, 42]), 1, 50, 30)
