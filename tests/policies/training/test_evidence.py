"""Evidence is what the log holds: what came before, what came after, and what the day explains."""

import numpy as np

from policies.training.evidence import Evidence
from simulator.batches import DAY_SECONDS


def test_before_and_after_part_a_users_log(evidence: Evidence) -> None:
    """A user's interactions before a moment and from it on are together all of them, in order."""
    log = evidence.log
    for user in range(20):
        own = np.flatnonzero(log.user == user)
        moment = 30 * DAY_SECONDS
        items, _, times = evidence.before(user, moment, 10_000)
        later = evidence.after(user, moment, 365)
        assert (times < moment).all()
        assert (
            np.concatenate([items, later]).tolist() == log.item[own[np.argsort(log.time[own], kind="stable")]].tolist()
        )


def test_people_alike_live_in_the_same_city_and_act_on_those_days(evidence: Evidence) -> None:
    """Likes come from other users of the city within the days asked for, and likeness weighs more."""
    log, users = evidence.log, evidence.users
    rng = np.random.default_rng(1)
    found = evidence.likes(3, 20, 2, 50, rng)
    near = (users.city[log.user] == users.city[3]) & (log.user != 3)
    near &= (log.time // DAY_SECONDS >= 20) & (log.time // DAY_SECONDS < 22)
    assert set(found.item.tolist()) <= set(log.item[near].tolist())
    assert len(found.item) > 0
    assert ((found.weight > 0) & (found.weight <= 1)).all()
    assert (np.diff(found.weight) <= 0).all()


def test_what_a_day_explains_is_a_share(evidence: Evidence) -> None:
    """Attributable shares lie in [0, 1), and a day without a lift explains nothing."""
    for day in (0, 25, 45):
        share = evidence.explained(0, day)
        assert share.shape == (3, evidence.catalog.categories)
        assert ((share >= 0) & (share < 1)).all()


def test_halloween_explains_pumpkins(evidence: Evidence) -> None:
    """Just before Halloween, clicks on its decorations are put down to it more than clicks on dog food."""
    names = evidence.catalog.category_names
    day = int(np.argmax(evidence.context.occasion_level[:, evidence.context.occasions.index("halloween")]))
    share = evidence.explained(0, day)[1]
    assert share[names.index("Halloween decorations")] > share[names.index("dog food")]
