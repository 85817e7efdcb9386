"""How much more a category is clicked under some circumstance than it usually is, counted on the log.

A circumstance has a level between 0 and 1 for each impression: "it rains" 0.6, "Halloween is near" 0.9, "the user is
35-44" 1. The lift of a category under it is clicks over expected clicks, both weighted by the level, with a
gamma prior that keeps rare pairs at 1 (DuMouchel 1999, empirical Bayes screening, in its simplest form).
"""

import numpy as np

from simulator.batches import Floats, Ints, Ints32


def log_lifts(category: Ints32, clicked: Floats, level: Floats, categories: int, prior: float) -> Floats:
    """Log-lift of each category under each circumstance, float64 [circumstances, categories].

    Expected clicks take the category's own rate and the circumstance's own overall effect into account, so a lift
    says that *this* category gains, not that everything does.

    Args:
        category: of each cell, int32 [cells] (a cell may stand for many impressions).
        clicked: clicks and impressions of each cell, float64 [cells, 2].
        level: of each circumstance in each cell, float64 [cells, circumstances].
        categories: how many there are.
        prior: pseudo-clicks that pull a lift to 1.
    """
    clicks = np.zeros((categories, level.shape[1]))
    shown = np.zeros((categories, level.shape[1]))
    np.add.at(clicks, category, clicked[:, :1] * level)
    np.add.at(shown, category, clicked[:, 1:] * level)
    rate = (np.bincount(category, clicked[:, 0], categories) + 1.0) / (
        np.bincount(category, clicked[:, 1], categories)
        + 1.0 / max(clicked[:, 0].sum() / max(clicked[:, 1].sum(), 1), 1e-9)
    )
    expected = shown * rate[:, None]
    overall = clicks.sum(axis=0) / np.maximum(expected.sum(axis=0), 1e-9)
    expected = expected * np.where(clicks.sum(axis=0) > 0, overall, 1.0)
    return np.log((clicks + prior) / (expected + prior)).T


def cells(category: Ints32, clicked: Floats, group: Ints, groups: int, categories: int) -> tuple[Ints32, Ints, Floats]:
    """Sum examples into cells of (group, category).

    Returns:
        category int32 [cells], group int64 [cells], and clicks with impressions float64 [cells, 2]; empty cells left
        out.
    """
    key = group * categories + category
    total = np.stack(
        [
            np.bincount(key, clicked, groups * categories),
            np.bincount(key, minlength=groups * categories).astype(np.float64),
        ],
        axis=1,
    )
    there = np.flatnonzero(total[:, 1])
    return (there % categories).astype(np.int32), there // categories, total[there]
