"""Which held-out visits are about something that the log never saw.

The evaluation's own view: it reads the world's calendar, trends and taxonomy, which policies do not.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from simulator.batches import Bools, Floats, Ints, Ints32
from simulator.environment.trends import PERCEPTIBLE
from simulator.taxonomy import Taxonomy, load_taxonomy
from simulator.titles import PURPOSE_THRESHOLD
from simulator.world import World

UNSEEN: Final = "unseen"
CALLED: Final = "unseen_called"

DEFINITIONS: Final = {
    UNSEEN: "visits on days on which an occasion or topic kept out of the history is live",
    CALLED: "those of them whose next item is of a category that such an occasion or topic calls for",
}


def unseen_strata(world: World, unseen: Sequence[str], day: Ints, category: Ints32) -> dict[str, Bools]:
    """The visits of each stratum by name, bool [visits]; none where nothing was kept out of the history.

    An occasion is live within its lead-up, or while its level is above 0; a topic while its level is above
    ``PERCEPTIBLE``. Either calls for a category if its weight in the taxonomy is one that a title would name.

    Args:
        world: a generated world.
        unseen: keys of occasions and topics.
        day: of each visit, int64 [visits].
        category: of each visit's next item, int32 [visits].
    """
    if not unseen:
        return {}
    live, weight = _signals(world, unseen, load_taxonomy())
    then: Bools = live[day]
    called: Bools = then & (weight[category] >= PURPOSE_THRESHOLD)
    return {UNSEEN: np.any(then, axis=1), CALLED: np.any(called, axis=1)}


def _signals(world: World, unseen: Sequence[str], taxonomy: Taxonomy) -> tuple[Bools, Floats]:
    """When each signal kept out is live [days, signals], and how far it calls for a category [categories, signals]."""
    environment = world.environment
    calendar, trends = environment.calendar, environment.trends
    occasions = [key for key in calendar.occasions if key in unseen]
    topics = [key for key in trends.topics if key in unseen]
    occasion = [calendar.occasions.index(key) for key in occasions]
    topic = [trends.topics.index(key) for key in topics]
    near = calendar.days_until[:, occasion] <= calendar.lead_days[occasion]
    live = np.concatenate([near | (calendar.level[:, occasion] > 0), trends.level[:, topic] > PERCEPTIBLE], axis=1)
    named = [each.key for each in taxonomy.topics]
    weight = np.concatenate(
        [
            taxonomy.occasion[:, [taxonomy.occasions.index(key) for key in occasions]],
            taxonomy.topic[:, [named.index(key) for key in topics]],
        ],
        axis=1,
    )
    return live, weight
