from collections.abc import Callable

import numpy as np

from policies.registry import RegisteredPolicy
from simulator.batches import Requests
from simulator.engine import opening_state
from simulator.state import State, copy_state
from simulator.truth import Truth
from simulator.world import World


def test_oracle_sorts_by_the_true_logit(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World, state: State
) -> None:
    """The ranking is the catalogue by falling true click logit, which is also the score."""
    requests = ask(np.arange(0, 300, 11))
    found = fit("oracle").candidates(requests)
    logit = Truth(world, state).click_logits(requests.row, requests.time)
    for n in range(len(requests)):
        best = np.lexsort((np.arange(logit.shape[1]), -logit[n]))[: found.items.shape[1]]
        assert found.items[n].tolist() == best.tolist()
        assert found.scores[n].tolist() == logit[n, best].tolist()


def test_truth_is_that_of_the_state_it_was_bound_to(
    fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World, state: State
) -> None:
    """Bound to users in another moment the oracle ranks for that moment; reading leaves the state as it was."""
    policy = fit("oracle")
    requests = ask(np.arange(40))
    before = copy_state(state)
    now = policy.candidates(requests)
    assert all(np.array_equal(a, b) for a, b in zip(before, state, strict=True))
    policy.bind_truth(Truth(world, opening_state(world, 0)))  # type: ignore[attr-defined]
    fresh = policy.candidates(requests)
    assert not np.array_equal(now.items, fresh.items)
