from collections.abc import Callable

import numpy as np
import pytest

from policies.exploring_logger import ExploringLoggerParams
from policies.foresight import exploring_propensity
from policies.registry import RegisteredPolicy
from simulator.batches import NO_ITEM, InteractionLog, Requests
from simulator.state import State
from simulator.truth import Truth
from simulator.world import World


def test_propensity_is_the_one_the_logger_wrote_down(world: World, log: InteractionLog, state: State) -> None:
    """On every page, the chance of each item among those not at earlier places is what the log says it was."""
    shown = log.impressions
    assert shown is not None
    category = world.catalog.observed.category
    sizes = np.bincount(category, minlength=world.catalog.observed.categories)
    checked = 0
    for user in range(60):
        mine = np.flatnonzero(shown.user == user)
        for time in np.unique(shown.time[mine])[:12]:
            page = mine[shown.time[mine] == time]
            before = (log.user == user) & (log.time < time)
            chance = exploring_propensity(log.item[before], category, sizes, ExploringLoggerParams().explore)
            assert chance.sum() == pytest.approx(1.0)
            page = page[np.argsort(shown.position[page])]
            assert shown.position[page].tolist() == list(range(len(page)))
            single = chance[shown.item[page]]
            earlier = np.append(0.0, np.cumsum(single)[:-1])
            assert shown.propensity[page] == pytest.approx(single / (1.0 - earlier))
            checked += len(page)
    assert checked > 300


def test_ranks_by_the_chance_of_being_shown_and_clicked(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World, state: State
) -> None:
    """Scores are the logarithm of what the logger would show times what the user would click, best first."""
    requests = ask(np.arange(15))
    found = fit("foresight").candidates(requests)
    category = world.catalog.observed.category
    sizes = np.bincount(category, minlength=world.catalog.observed.categories)
    logit = Truth(world, state).click_logits(requests.row, requests.time)
    for n in range(15):
        lately = requests.history.item[n]
        chance = exploring_propensity(lately[lately != NO_ITEM], category, sizes, 0.5) / (1 + np.exp(-logit[n]))
        assert np.exp(found.scores[n]) == pytest.approx(np.sort(chance)[::-1][: found.items.shape[1]])
        assert chance[found.items[n]] == pytest.approx(np.exp(found.scores[n]))
