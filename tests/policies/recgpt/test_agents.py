"""V1 and V2 on a language model of random weights: how calls are arranged, counted and kept apart."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.language.errors import LanguageError
from policies.recgpt.agent import Agent, interleaved
from policies.recgpt.arbiter import union_of
from policies.recgpt.planner import planned
from policies.recgpt.v1 import RecGPTV1, RecGPTV1Params
from policies.recgpt.v2 import RecGPTV2, RecGPTV2Params
from policies.registry import policy_class
from policies.thoughts import NO_TAG, Thoughts, duplicate_share
from simulator.batches import InteractionLog, Requests
from simulator.world import World

ROWS = np.arange(0, 40, 4)


@pytest.fixture(scope="module")
def agent(world: World, log: InteractionLog, agent_folder: Path) -> Callable[..., Agent]:
    """``agent(name, **params)``: a policy ready to reason, without retrieval."""

    def prepared(name: str, **params: Any) -> Agent:
        chosen = policy_class(name)
        language = {"model": str(agent_folder), "device": "cpu", "cache": False}
        policy = chosen(chosen.Params.model_validate({"language": language, "tags": 8, **params}), 5)
        assert isinstance(policy, Agent)
        policy.open_ledger()
        context = world.environment.observed().until(log.end_day - 1)
        policy.prepare(log, world.catalog.observed, world.population.observed, context)
        return policy

    return prepared


@pytest.fixture(scope="module")
def v1(agent: Callable[..., Agent], ask: Callable[..., Requests]) -> tuple[Agent, Thoughts]:
    """V1 with three tags a route, and what it thinks."""
    policy = agent("recgpt_v1", route_tags=3)
    return policy, policy.reason(ask(ROWS))


@pytest.fixture(scope="module")
def v2(agent: Callable[..., Agent], ask: Callable[..., Requests]) -> tuple[Agent, Thoughts]:
    """V2 with five tags an expert, and what it thinks."""
    policy = agent("recgpt_v2", expert_tags=5)
    return policy, policy.reason(ask(ROWS))


def same(a: Thoughts, b: Thoughts) -> bool:
    """Whether two thoughts name the same tags of the same parts."""
    return bool((a.tags == b.tags).all() and (a.proposed == b.proposed).all()) and a.parts == b.parts


@pytest.mark.parametrize("which", ["v1", "v2"])
def test_thoughts_of_a_request_do_not_depend_on_its_company(
    which: str, request: pytest.FixtureRequest, ask: Callable[..., Requests]
) -> None:
    """Alone, in another order or in another process, a request gets the same thoughts."""
    policy, thoughts = request.getfixturevalue(which)
    again = pickle.loads(pickle.dumps(policy)).reason(ask(ROWS[::-1].copy()))  # noqa: S301 - as a process pool does
    assert same(again.take(np.arange(len(ROWS))[::-1]), thoughts)
    alone = policy.reason(ask(ROWS[2:3]))
    assert (alone.tags == thoughts.tags[2:3]).all()


@pytest.mark.parametrize("which", ["v1", "v2"])
def test_the_ledger_is_the_sum_of_the_thoughts(
    which: str, request: pytest.FixtureRequest, ask: Callable[..., Requests]
) -> None:
    """Tokens and operations booked by role add up to those of the requests."""
    policy, _ = request.getfixturevalue(which)
    policy.open_ledger()
    thoughts = policy.reason(ask(ROWS))
    roles = policy.ledger.as_dict()["roles"].values()
    for name in ("prompt_tokens", "cached_tokens", "generated_tokens", "flops"):
        assert sum(role[name] for role in roles) == getattr(thoughts, name).sum()
    jobs = policy.ledger.as_dict()["jobs"]
    assert jobs["refresh"]["jobs"] == len(ROWS)


def test_v1_asks_every_route_and_joins_them_in_turn(v1: tuple[Agent, Thoughts]) -> None:
    """Four routes propose valid tags of different categories each; the union begins with the first of every route."""
    policy, thoughts = v1
    assert thoughts.proposed.shape == (len(ROWS), 4, 3)
    assert (thoughts.proposed != NO_TAG).all()
    for tags, proposed in zip(thoughts.tags, thoughts.proposed, strict=True):
        assert tags[tags != NO_TAG].tolist() == interleaved(proposed.tolist(), 8)
        for route in proposed:
            assert len(set(policy.vocabulary.category[route].tolist())) == 3
    assert (duplicate_share(thoughts.proposed, policy.vocabulary.category) >= 0).all()
    assert set(policy.ledger.as_dict()["roles"]) == {"route"}


def test_a_shared_prefix_changes_the_account_and_nothing_else(
    v1: tuple[Agent, Thoughts], agent: Callable[..., Agent], ask: Callable[..., Requests]
) -> None:
    """With the history in a cache V1 gives the same tags, reads as many tokens, and computes fewer operations."""
    shared = agent("recgpt_v1", route_tags=3, share_prefix=True).reason(ask(ROWS))
    _, thoughts = v1
    assert same(shared, thoughts)
    assert (shared.prompt_tokens == thoughts.prompt_tokens).all()
    assert (thoughts.cached_tokens == 0).all()
    assert (shared.cached_tokens > 0).all()
    assert (shared.flops < thoughts.flops).all()


def test_the_arbiter_chooses_from_the_experts_proposals(v2: tuple[Agent, Thoughts]) -> None:
    """V2's tags are among those of its experts, distinct, and as many as asked for or as there are."""
    policy, thoughts = v2
    for tags, proposed in zip(thoughts.tags, thoughts.proposed, strict=True):
        union = union_of([part[part != NO_TAG].tolist() for part in proposed], policy.vocabulary.category.tolist())
        chosen = tags[tags != NO_TAG].tolist()
        assert set(chosen) <= set(union)
        assert len(set(chosen)) == len(chosen) == min(8, len(union))
    assert {"planner", "expert", "arbiter", "style"} <= set(policy.ledger.as_dict()["roles"])


def test_compression_shortens_what_is_read(
    v2: tuple[Agent, Thoughts], agent: Callable[..., Agent], ask: Callable[..., Requests]
) -> None:
    """A history of soft tokens is read in fewer tokens than its titles; without history there is nothing to save."""
    full = agent("recgpt_v2", expert_tags=5, compression=False)
    requests = ask(ROWS)
    hybrid = v2[0]
    long = np.array([len(full.beginning(requests, row).tokens) for row in range(len(ROWS))])
    short = np.array([len(hybrid.beginning(requests, row).tokens) for row in range(len(ROWS))])
    met = requests.history.count[ROWS] > 0
    assert met.any()
    assert (short[met] < long[met]).all()
    assert (short[~met] == long[~met]).all()


def test_the_profile_stays_where_the_window_is_too_short(
    v2: tuple[Agent, Thoughts], agent: Callable[..., Agent], ask: Callable[..., Requests]
) -> None:
    """What a prefix keeps is who it is about and that a history follows: all that comes before the oldest event."""
    requests = ask(ROWS)
    for policy in (v2[0], agent("recgpt_v1")):
        for row in range(len(ROWS)):
            beginning = policy.beginning(requests, row)
            assert 0 < beginning.keep <= len(beginning.tokens)
            kept = policy.language.tokenizer.decode(list(beginning.tokens[: beginning.keep]))
            assert kept.startswith("Shopper: ")
            assert kept.endswith(("History:", "History: none.\n"))


@pytest.mark.parametrize(("experts", "most"), [(1, 1), (2, 2), ("adaptive", 5)])
def test_as_many_experts_as_asked_for(
    experts: int | str, most: int, agent: Callable[..., Agent], ask: Callable[..., Requests]
) -> None:
    """No user has more personas than experts were asked for, and each has one at least."""
    thoughts = agent("recgpt_v2", experts=experts, expert_tags=4).reason(ask(ROWS))
    assert all(1 <= len(parts) <= most for parts in thoughts.parts)


def test_free_answers_are_checked(agent: Callable[..., Agent], ask: Callable[..., Requests]) -> None:
    """Without the constraint a random model writes hardly any tag: what maps to no category is counted, not shown."""
    policy = agent("recgpt_v1", route_tags=3, constrained=False)
    thoughts = policy.reason(ask(ROWS[:3]))
    assert (thoughts.invalid > 0).all()
    assert (thoughts.invalid <= thoughts.generated).all()
    assert ((thoughts.tags >= 0).sum(axis=1) <= (thoughts.generated - thoughts.invalid)).all()


def test_without_an_adaptor_there_is_no_compression(
    agent: Callable[..., Agent], tiny_folder: Path, ask: Callable[..., Requests]
) -> None:
    """A model that has no adaptor is refused for hybrid prompts in one line that says what to do."""
    policy = agent("recgpt_v2", language={"model": str(tiny_folder), "cache": False})
    with pytest.raises(LanguageError, match="adaptor") as error:
        policy.reason(ask(ROWS[:1]))
    assert "\n" not in str(error.value)


def test_each_text_is_written_once_a_user_and_job(
    v2: tuple[Agent, Thoughts], world: World, ask: Callable[..., Requests]
) -> None:
    """Asking again for the same items costs no further call, and gives the same texts."""
    policy, thoughts = v2
    requests = ask(ROWS[:3])
    items = np.array([[1, 2], [3, -1], [4, 5]], np.int32)
    tags = policy.vocabulary.of_item[np.maximum(items, 0)]
    policy._city, policy._told = world.population.observed.city, {}
    policy.thought_on = lambda asked: asked.day  # type: ignore[method-assign]
    policy.open_ledger()
    first = policy.explain(requests, items, tags, thoughts.take(np.arange(3)))
    calls = policy.ledger.as_dict()["roles"]["explainer"]["calls"]
    again = policy.explain(requests, items, tags, thoughts.take(np.arange(3)))
    assert calls == 5
    assert policy.ledger.as_dict()["roles"]["explainer"]["calls"] == calls
    assert (first == again).all()
    assert first[1, 1] == -1


def test_an_empty_plan_has_one_persona_for_everybody() -> None:
    """A planner that says nothing still leaves an expert to ask."""
    assert planned(["", " / "], 3) == [["everyday"], ["everyday"]]
    assert planned(["a; b / c; d / e; f / g; h"], 3) == [["a; b", "c; d", "e; f"]]


def test_defaults_are_those_of_the_report() -> None:
    """V1 asks four routes in full text; V2 three experts for 15 tags each over compressed histories; both keep 30."""
    one, two = RecGPTV1Params(), RecGPTV2Params()
    assert (one.tags, len(one.routes), one.share_prefix) == (30, 4, False)
    assert (two.tags, two.experts, two.expert_tags, two.compression) == (30, 3, 15, True)
    assert RecGPTV1.two_channels
    assert RecGPTV2.two_channels
