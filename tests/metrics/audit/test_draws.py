from collections.abc import Callable

import numpy as np

from metrics.audit.draws import Assign, draw

USER = np.arange(100, 700)


def test_fixed_design_takes_each_user_once(assigning: Callable[..., Assign]) -> None:
    """With the table's own users each stands in exactly one arm."""
    found = draw("fixed", USER, 3, assigning([0.5, 0.3, 0.2]), seed=1)
    weights = sum(found.weights(arm, len(USER)) for arm in range(3))
    assert (weights == 1.0).all()


def test_drawn_design_takes_as_many_with_replacement(assigning: Callable[..., Assign]) -> None:
    """As many units as users are drawn; about 1/e of the users are left out, and a user may be in two arms."""
    found = draw("drawn", USER, 3, assigning([0.5, 0.5]), seed=1)
    both = [found.weights(arm, len(USER)) for arm in (0, 1)]
    assert sum(weights.sum() for weights in both) == len(USER)
    assert abs((sum(both) == 0.0).mean() - np.exp(-1.0)) < 0.06
    assert ((both[0] > 0.0) & (both[1] > 0.0)).any()


def test_every_replication_is_another_experiment(assigning: Callable[..., Assign]) -> None:
    """Replications differ, the same number repeats, and every user is drawn about equally often over many."""
    assign = assigning([0.5, 0.5])
    again = [draw("drawn", USER, number, assign, seed=1) for number in (0, 0, 1)]
    assert np.array_equal(again[0].row, again[1].row)
    assert np.array_equal(again[0].arm, again[1].arm)
    assert not np.array_equal(again[0].row, again[2].row)
    many = np.stack([draw("drawn", USER, number, assign, seed=1).weights(0, len(USER)) for number in range(400)])
    # The mean over 400 replications of a Poisson count of 1/2 has a standard deviation of 0.035.
    assert np.abs(many.mean(axis=0) - 0.5).max() < 5.0 * 0.0354
    assert abs(many.mean() - 0.5) < 0.005


def test_seed_moves_the_drawn_users(assigning: Callable[..., Assign]) -> None:
    """Another seed draws other users."""
    assign = assigning([0.5, 0.5])
    assert not np.array_equal(draw("drawn", USER, 0, assign, 1).row, draw("drawn", USER, 0, assign, 2).row)
