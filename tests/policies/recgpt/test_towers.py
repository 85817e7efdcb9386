from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.language.embedder import Embedder
from policies.recgpt import towers as rooms
from policies.recgpt.moments import requests_at
from policies.recgpt.tags import TagVocabulary
from policies.recgpt.towers import TowerParams, Towers, events_of_requests, first_meetings, fit_towers
from simulator.batches import DAY_SECONDS, InteractionLog, Requests
from simulator.world import World

HISTORY_DAYS = 16


def trained(
    world: World, log: InteractionLog, vocabulary: TagVocabulary, embedder: Embedder, seed: int = 3, **params: float
) -> Towers:
    """Towers of the small world."""
    settings = TowerParams.model_validate({"width": 16, "epochs": 1} | params)
    return fit_towers(log, world.catalog.observed, world.population.observed, vocabulary, embedder, settings, seed)


@pytest.fixture
def requests(world: World, log: InteractionLog) -> Requests:
    """Everybody on the morning after the log."""
    context = world.environment.observed().until(log.end_day - 1)
    time = np.full(world.users, HISTORY_DAYS * DAY_SECONDS)
    return requests_at(log, world.population.observed, world.catalog.items, context, np.arange(world.users), time)


def test_vectors_have_length_one(towers: Towers, requests: Requests, world: World, vocabulary: TagVocabulary) -> None:
    """Items, tags and interests lie on the unit sphere, one for each item, tag, and user and code."""
    interests = towers.user_codes(requests)
    assert towers.item.shape == (world.catalog.items, 16)
    assert towers.tag.shape == (len(vocabulary.texts), 16)
    assert interests.shape == (world.users, TowerParams().codes, 16)
    for vectors in (towers.item, towers.tag, interests):
        assert vectors.dtype == np.float32
        assert np.linalg.norm(vectors, axis=-1) == pytest.approx(1.0, abs=1e-5)


def test_fit_is_a_function_of_log_and_seed(
    world: World, log: InteractionLog, vocabulary: TagVocabulary, embedder: Embedder
) -> None:
    """The same seed gives the same bytes, whatever torch drew before and on any number of threads."""
    one = trained(world, log, vocabulary, embedder)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(99)
    again = trained(world, log, vocabulary, embedder)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    other = trained(world, log, vocabulary, embedder, seed=4)
    for field in fields(Towers):
        assert np.array_equal(getattr(one, field.name), getattr(again, field.name)), field.name
    assert not np.array_equal(one.item, other.item)


def test_company_does_not_change_a_users_interests(towers: Towers, requests: Requests) -> None:
    """Interests are the same to the byte in a batch, alone, and in another order."""
    batch = towers.user_codes(requests)

    def part(rows: np.ndarray) -> np.ndarray:
        return towers.user_codes(replace(requests, row=requests.row[rows], time=requests.time[rows]))

    assert part(np.arange(len(batch))[::-1])[::-1].tobytes() == batch.tobytes()
    for row in (0, 17, 111):
        assert part(np.array([row])).tobytes() == batch[row : row + 1].tobytes()


def test_serving_encodes_as_training_did(
    world: World, log: InteractionLog, vocabulary: TagVocabulary, embedder: Embedder, requests: Requests
) -> None:
    """The compiled user tower agrees with the network that was trained, short and empty histories among them."""
    observed, users = world.catalog.observed, world.population.observed
    users = replace(users, gender=np.where(users.user % 7 == 0, -1, users.gender).astype(np.int32))
    generator = torch.Generator().manual_seed(1)
    params = TowerParams(width=16, codes=3, history=10)
    net = rooms._Net(
        embedder.embed(observed.titles),
        observed.category,
        embedder.embed(vocabulary.texts),
        vocabulary.category,
        observed.categories,
        params,
        generator,
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        count = requests.history.count.copy()
        count[::5] = 0
        asked = replace(requests, users=users, history=replace(requests.history, count=count))
        events = events_of_requests(asked, params.history)
        assert (events.item[::5] < 0).all()
        expected = net.users(events, rooms._profiles(users, asked.user), net.items()).numpy()
    assert rooms._towers_of(net, params.history).user_codes(asked) == pytest.approx(expected, abs=2e-6)


def test_training_reads_histories_as_serving_does(world: World, log: InteractionLog, requests: Requests) -> None:
    """Events cut from a log are those of ring buffers at the same moment."""
    reader = rooms._LogEvents(log, world.users)
    for history in (1, 7, 64):
        one, other = reader.before(requests.user, requests.time, history), events_of_requests(requests, history)
        for field in ("item", "kind", "recency"):
            assert np.array_equal(getattr(one, field), getattr(other, field))


@settings(max_examples=100, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20))
def test_first_meetings_are_each_pairs_earliest(pairs: list[tuple[int, int]]) -> None:
    """One interaction of each user and item is a first meeting: the earliest."""
    user, item = (np.array([pair[k] for pair in pairs], np.int64) for k in (0, 1))
    log = InteractionLog(0, 1, user, item.astype(np.int32), np.arange(len(pairs)), np.ones(len(pairs), np.int8), None)
    expected = sorted({pair: place for place, pair in reversed(list(enumerate(pairs)))}.values())
    assert first_meetings(log).tolist() == expected


def test_training_finds_items_that_users_go_on_to_meet(
    world: World, log: InteractionLog, vocabulary: TagVocabulary, embedder: Embedder
) -> None:
    """Trained on the first days, the user tower ranks first meetings of the later ones above what words alone do."""
    cut = 10
    known = log.before(cut)
    meetings = first_meetings(log)
    later = meetings[log.time[meetings] >= cut * DAY_SECONDS]
    context = world.environment.observed().until(cut)
    time = np.full(len(later), cut * DAY_SECONDS)
    asked = requests_at(known, world.population.observed, world.catalog.items, context, log.user[later], time)
    ranks = {}
    for epochs in (0, 4):
        towers = trained(world, known, vocabulary, embedder, epochs=epochs)
        score = (towers.user_codes(asked) @ towers.item.T).max(axis=1)
        own = score[np.arange(len(later)), log.item[later]]
        ranks[epochs] = (score > own[:, None]).mean()
    assert ranks[4] < ranks[0] < 0.5


def test_training_brings_tags_to_the_items_they_name(
    world: World, log: InteractionLog, vocabulary: TagVocabulary, embedder: Embedder, towers: Towers
) -> None:
    """After training the item nearest to a tag is more often one of its category, and those that carry it are near."""
    category = world.catalog.observed.category
    there = np.isin(vocabulary.category, category)
    right = {}
    for name, found in (("words", trained(world, log, vocabulary, embedder, epochs=0)), ("trained", towers)):
        near = found.tag @ found.item.T
        right[name] = (category[near.argmax(axis=1)] == vocabulary.category)[there].mean()
    assert right["trained"] > right["words"]
    inside = [
        near[tag][vocabulary.of_item == tag].mean() - near[tag][category == vocabulary.category[tag]].mean()
        for tag in np.setdiff1d(vocabulary.of_item, vocabulary.core_tag)
    ]
    assert np.mean(inside) > 0


def test_undeclared_profiles_and_empty_logs_are_no_obstacle(
    world: World, log: InteractionLog, vocabulary: TagVocabulary, embedder: Embedder, requests: Requests
) -> None:
    """Users of whom nothing is declared are encoded, and a log without interactions leaves towers of words."""
    nothing = log.where(np.zeros(len(log.user), np.bool_), np.zeros(len(log.impressions.user), np.bool_))  # type: ignore[union-attr]
    towers = trained(world, nothing, vocabulary, embedder)
    unknown = np.full(world.users, -1, np.int32)
    users = replace(requests.users, gender=unknown, age_band=unknown, household=unknown)
    interests = towers.user_codes(replace(requests, users=users))
    assert np.isfinite(interests).all()
    assert np.isfinite(towers.item).all()
