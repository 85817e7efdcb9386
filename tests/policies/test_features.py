from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from allocation.top_slots import TopSlots
from policies.channels import score_items
from policies.examples import draw_examples
from policies.exploring_logger import ExploringLogger
from policies.features import FEATURES, NF, Tables, logged_features, rank_requests
from simulator.batches import (
    BUY,
    CART,
    CLICK,
    NO_ITEM,
    Candidates,
    Floats,
    ImpressionLog,
    InteractionLog,
    Ints,
    ObservedUsers,
    Requests,
)
from simulator.engine import Simulation, opening_state
from simulator.state import HISTORY_LENGTH, State, new_state, observed_history, write_all_shown, write_events
from simulator.tables import Impressions, join_logs
from simulator.taxonomy import AGE_BANDS, GENDERS, HOUSEHOLDS
from simulator.world import World

APPEAL = FEATURES.index("item appeal")
EVERY = np.ones(NF)


def tables_of(category: Ints, department: Ints, seed: int = 0) -> Tables:
    """Tables of noise, whose pool is the whole catalogue."""
    rng = np.random.default_rng(seed)
    items, categories = len(category), len(department)
    neighbour = np.array([rng.permutation(np.delete(np.arange(items), n))[:7] for n in range(items)], np.int32)
    return Tables(
        neighbour=neighbour,
        similarity=rng.random((items, 7)),
        appeal=rng.normal(size=items),
        category=np.ascontiguousarray(category, np.int32),
        department=np.ascontiguousarray(department, np.int32),
        category_top=rng.integers(-1, items, (categories, 4)).astype(np.int32),
        global_top=np.arange(items, dtype=np.int32),
        gender_lift=np.vstack([rng.normal(size=(len(GENDERS), categories)), np.zeros(categories)]),
        age_lift=np.vstack([rng.normal(size=(len(AGE_BANDS), categories)), np.zeros(categories)]),
        household_lift=np.vstack([rng.normal(size=(len(HOUSEHOLDS), categories)), np.zeros(categories)]),
        half_life=9.0,
    )


ITEMS, CATEGORIES, USERS = 30, 6, 12
TABLES = tables_of(np.arange(ITEMS) % CATEGORIES, np.array([0, 0, 1, 1, 2, 2]))
_RNG = np.random.default_rng(8)
PEOPLE = ObservedUsers(
    np.arange(USERS),
    np.zeros(USERS, np.int32),
    _RNG.integers(-1, len(GENDERS), USERS).astype(np.int32),
    _RNG.integers(-1, len(AGE_BANDS), USERS).astype(np.int32),
    _RNG.integers(-1, len(HOUSEHOLDS), USERS).astype(np.int32),
)


def by_hand(visits: int) -> InteractionLog:
    """Every user comes as often, sees ten items a visit on two pages, and interacts with some; nobody like another."""
    rng = np.random.default_rng(visits)
    rows = []
    for user in range(USERS):
        start = 0
        for visit in range(visits):
            start += 2000 + int(rng.integers(86_400))
            items = rng.permutation(ITEMS)[:10]
            for n, item in enumerate(items.tolist()):
                kind = int(rng.choice([0, 0, 0, CLICK, CART, BUY])) if user else 0
                rows.append((user, visit, item, start + n // 5 * 60, n % 5, kind))
    rows.sort(key=lambda row: (row[3], row[0], row[4]))
    user, visit, item, time, position, kind = np.array(rows, np.int64).T
    acted = kind > 0
    shown = ImpressionLog(
        user, visit, item.astype(np.int32), time, position.astype(np.int16), acted, np.ones(len(user))
    )
    return InteractionLog(
        0,
        int(time.max() // 86_400) + 1,
        user[acted],
        item[acted].astype(np.int32),
        time[acted],
        kind[acted].astype(np.int8),
        shown,
    )


def asked(state: State, rows: Ints, time: Ints) -> Requests:
    """Requests of some rows at some times."""
    rows = np.asarray(rows, np.int64)
    return Requests(
        row=rows,
        user=rows,
        visit=rows * 0,
        page=0,
        slots=ITEMS,
        max_pages=1,
        time=np.asarray(time, np.int64),
        day=np.asarray(time, np.int64) // 86_400,
        city=PEOPLE.city[rows],
        users=PEOPLE,
        history=observed_history(state),
        context=None,  # type: ignore[arg-type] - features know no context
        already=np.zeros((len(rows), 0), np.int32),
    )


def features_at(requests: Requests, tables: Tables) -> Floats:
    """Features of every item for each request as serving computes them, by item, [requests, items, NF]."""
    items, _, features = served(requests, tables, len(tables.category))
    by_item = np.empty(features.shape)
    np.put_along_axis(by_item, items[:, :, None].astype(np.int64), features, axis=1)
    return by_item


def served(requests: Requests, tables: Tables, width: int) -> tuple[np.ndarray, Floats, np.ndarray]:
    """``rank_requests`` with every feature counting 1 and nothing added."""
    return rank_requests(
        requests,
        tables,
        EVERY,
        width,
        extra=np.zeros((len(requests), 0), np.int32),
        bonus_row=np.zeros(len(requests), np.int32),
        bonus=np.zeros((1, len(tables.department))),
        keep_features=True,
    )


def show(state: State, user: int, items: Ints) -> None:
    """Write items shown to a user in vain."""
    items = np.asarray(items, np.int32)
    write_all_shown(state, np.full(len(items), user), items)


def replayed(log: InteractionLog) -> Iterator[tuple[int, int, int, Floats]]:
    """Visit by visit: user, visit, time and what serving knows at its start; then the visit happens to the state."""
    state = new_state(USERS, ITEMS, 0.5)
    shown = log.impressions
    assert shown is not None
    for user, visit in np.unique(np.stack([shown.user, shown.visit]), axis=1).T.tolist():
        here = np.flatnonzero((shown.user == user) & (shown.visit == visit))
        time = int(shown.time[here].min())
        yield user, visit, time, features_at(asked(state, np.array([user]), np.array([time])), TABLES)[0]
        acted = np.flatnonzero((log.user == user) & np.isin(log.time, shown.time[here]))
        write_events(state, log.user[acted], log.item[acted], log.kind[acted], log.time[acted])
        show(state, user, shown.item[here[~shown.clicked[here]]])


@pytest.mark.parametrize("visits", [5, 40])
def test_training_and_serving_see_the_same(visits: int) -> None:
    """Features of a logged visit equal those served from ring buffers at that moment, also when these overflow."""
    log = by_hand(visits)
    examples = draw_examples(log, USERS, ITEMS, 10**9, 1)
    trained = logged_features(examples, PEOPLE, TABLES)
    if visits > 20:
        assert np.bincount(log.user).max() > HISTORY_LENGTH
    assert (trained.max(axis=0) > trained.min(axis=0)).all()
    for index, (user, _, time, known) in enumerate(replayed(log)):
        assert (examples.visit_user[index], examples.visit_time[index]) == (user, time)
        mine = examples.visit == index
        assert np.allclose(trained[mine], known[examples.item[mine]], rtol=1e-5, atol=1e-6)


class Watcher(ExploringLogger):
    """An exploring logger that keeps what serving knew at the start of each visit."""

    def watch(self, tables: Tables) -> None:
        """Begin to keep."""
        self._tables = tables
        self.known: dict[tuple[int, int], Floats] = {}

    def candidates(self, requests: Requests) -> Candidates:
        """Keep, then answer as the logger does."""
        if requests.page == 0:
            features = features_at(requests, self._tables)
            for n, key in enumerate(zip(requests.user.tolist(), requests.time.tolist(), strict=True)):
                self.known[key] = features[n]
        return super().candidates(requests)


def test_training_and_serving_see_the_same_in_a_simulation(world: World) -> None:
    """What the engine's own state tells at each visit, after its checkout, is what its log tells afterwards."""
    behaviour = world.behaviour
    eager = behaviour.response.model_copy(update={"cart_base": 0.0, "line_base": 0.0})
    small = replace(world.take(np.arange(40)), behaviour=behaviour.model_copy(update={"response": eager}))
    observed = world.catalog.observed
    tables = tables_of(observed.category, observed.department)
    watcher = Watcher(ExploringLogger.Params(), 1)
    watcher.fit(None, observed, small.population.observed, None)  # type: ignore[arg-type] - it reads neither
    watcher.watch(tables)
    impressions = Impressions()
    Simulation(small, opening_state(small, 0), watcher, TopSlots(), [impressions]).run(0, 12)
    log = join_logs([impressions.columns()], 0, 12)
    assert (~log.on_page).sum() > 10
    examples = draw_examples(log, 40, observed.items, 10**9, 1)
    trained = logged_features(examples, small.population.observed, tables)
    assert len(examples.visit_user) == len(watcher.known) > 150
    for index, key in enumerate(zip(examples.visit_user.tolist(), examples.visit_time.tolist(), strict=True)):
        mine = examples.visit == index
        # An interaction on a later page bears its page's time in the log and its visit's in the ring buffer, so ages
        # differ by minutes in days.
        assert np.allclose(trained[mine], watcher.known[key][examples.item[mine]], rtol=5e-4, atol=1e-6)


def test_the_future_does_not_reach_back(log: InteractionLog, world: World) -> None:
    """Cutting the log at any moment leaves the features of earlier visits as they were, to the byte."""
    people = world.population.observed
    observed = world.catalog.observed
    tables = tables_of(observed.category, observed.department)
    shown = log.impressions
    assert shown is not None
    whole = draw_examples(log, world.users, observed.items, 10**9, 1)
    known = logged_features(whole, people, tables)
    for day in (3, 9):
        cut = log.where(log.time < day * 86_400, shown.time < day * 86_400)
        examples = draw_examples(cut, world.users, observed.items, 10**9, 1)
        # A visit that the cut divides has fewer examples afterwards; those it has keep their features.
        earlier = whole.visit_time[whole.visit] < (day - 1) * 86_400 + 80_000
        again = logged_features(examples, people, tables)
        kept = examples.visit_time[examples.visit] < (day - 1) * 86_400 + 80_000
        assert kept.sum() > 500
        assert known[earlier].tobytes() == again[kept].tobytes()


def histories() -> tuple[State, Ints]:
    """A state of full histories, and a time after them."""
    log = by_hand(40)
    state = new_state(USERS, ITEMS, 0.5)
    write_events(state, log.user, log.item, log.kind, log.time)
    assert log.impressions is not None
    for user in range(USERS):
        show(state, user, log.impressions.item[(log.impressions.user == user) & ~log.impressions.clicked])
    return state, np.full(USERS, log.end_day * 86_400)


def test_scratch_is_clean_between_users() -> None:
    """Alone, in a batch, or in another order, each user is ranked the same to the byte."""
    state, time = histories()
    rows = np.arange(USERS)
    batch = served(asked(state, rows, time), TABLES, 12)
    order = np.random.default_rng(0).permutation(USERS)
    shuffled = served(asked(state, order, time), TABLES, 12)
    for whole, other in zip(batch, shuffled, strict=True):
        assert whole[order].tobytes() == other.tobytes()
    for user in rows:
        alone = served(asked(state, rows[user : user + 1], time[:1]), TABLES, 12)
        for whole, other in zip(batch, alone, strict=True):
            assert whole[user : user + 1].tobytes() == other.tobytes()


def test_training_rows_do_not_depend_on_other_users() -> None:
    """The features of one user's visits are the same when nobody else is in the log."""
    log = by_hand(5)
    shown = log.impressions
    assert shown is not None
    examples = draw_examples(log, USERS, ITEMS, 10**9, 1)
    whole = logged_features(examples, PEOPLE, TABLES)
    for user in (0, 5, USERS - 1):
        mine = log.user == user
        seen = shown.user == user
        alone = InteractionLog(
            0,
            log.end_day,
            *(getattr(log, name)[mine] for name in ("user", "item", "time", "kind")),
            ImpressionLog(*(getattr(shown, name)[seen] for name in ImpressionLog.__dataclass_fields__)),
        )
        features = logged_features(draw_examples(alone, USERS, ITEMS, 10**9, 1), PEOPLE, TABLES)
        assert features.tobytes() == whole[examples.visit_user[examples.visit] == user].tobytes()


def test_stranger_is_known_by_appeal_and_profile_alone() -> None:
    """Without a history every personal feature is 0; an undeclared profile adds no lift."""
    people = replace(PEOPLE, gender=PEOPLE.gender * 0 - 1, age_band=PEOPLE.age_band * 0 - 1)
    people = replace(people, household=people.household * 0 - 1)
    requests = replace(asked(new_state(USERS, ITEMS, 0.5), np.array([3]), np.array([5000])), users=people)
    known = features_at(requests, TABLES)[0]
    expected = np.zeros((ITEMS, NF))
    expected[:, APPEAL] = TABLES.appeal
    assert np.allclose(known, expected)
    declared = features_at(asked(new_state(USERS, ITEMS, 0.5), np.array([3]), np.array([5000])), TABLES)[0]
    lift = TABLES.gender_lift[PEOPLE.gender[3]] + TABLES.age_lift[PEOPLE.age_band[3]]
    lift = lift + TABLES.household_lift[PEOPLE.household[3]]
    assert np.allclose(declared[:, -1], lift[TABLES.category], atol=1e-6)


def test_one_event_by_hand() -> None:
    """A purchase one half-life ago weighs 2 of 4, against 2 pseudo-clicks, on its item, category and department."""
    state = new_state(USERS, ITEMS, 0.5)
    at = 86_400
    write_events(state, np.array([1]), np.array([8], np.int32), np.array([BUY], np.int8), np.array([at]))
    show(state, 1, np.array([3, 4, 3]))
    time = at + int(TABLES.half_life * 86_400)
    known = features_at(asked(state, np.array([1]), np.array([time])), TABLES)[0]
    share = np.sqrt(2.0 / (2.0 + 2.0))
    of = dict(zip(FEATURES, known.T, strict=True))
    near = TABLES.category == TABLES.category[8]
    close = TABLES.department[TABLES.category] == TABLES.department[TABLES.category[8]]
    similar = np.zeros(ITEMS)
    similar[TABLES.neighbour[8]] = TABLES.similarity[8]
    assert of["own interactions with the item"] == pytest.approx(np.where(np.arange(ITEMS) == 8, share, 0))
    assert of["category affinity"] == pytest.approx(np.where(near, share, 0))
    assert of["department affinity"] == pytest.approx(np.where(close, share, 0))
    assert of["similar to history"] == pytest.approx(share * np.sqrt(similar), abs=1e-6)
    assert of["times shown in vain"].tolist() == [2.0 if n == 3 else 1.0 if n == 4 else 0.0 for n in range(ITEMS)]
    assert of["bought in the category lately"] == pytest.approx(np.where(near, 0.5 ** (9 / 14), 0), abs=1e-6)


def test_score_is_the_blend_plus_the_bonus() -> None:
    """Items are ranked by weight . features + the bonus of their category, out of the pool and the extra items."""
    state, time = histories()
    rows = np.arange(USERS)
    requests = asked(state, rows, time)
    rng = np.random.default_rng(3)
    weight, bonus = rng.normal(size=NF), rng.normal(size=(2, CATEGORIES))
    bonus_row = (rows % 2).astype(np.int32)
    known = features_at(requests, TABLES)
    nothing = np.zeros((USERS, 0), np.int32)
    items, scores, features = rank_requests(
        requests, TABLES, weight, ITEMS, nothing, bonus_row, bonus, keep_features=False
    )
    assert features.shape == (USERS, 0, NF)
    expected = known @ weight + bonus[bonus_row][:, TABLES.category]
    assert np.allclose(np.take_along_axis(expected, items.astype(np.int64), axis=1), scores, atol=1e-4)
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_ranking_and_scoring_are_one_sum(seed: int) -> None:
    """The ranking works out apart what a category alone decides, and scores items as their features do, to the bit."""
    state, time = histories()
    rows = np.arange(USERS)
    requests = asked(state, rows, time)
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=NF) * (rng.random(NF) < 0.8)
    items, scores, _ = rank_requests(
        requests,
        TABLES,
        weight,
        ITEMS,
        np.zeros((USERS, 0), np.int32),
        np.zeros(USERS, np.int32),
        np.zeros((1, CATEGORIES)),
        keep_features=False,
    )
    assert (items >= 0).all()
    assert scores.tolist() == score_items(requests, TABLES, weight, items).tolist()


def test_pool_is_what_is_near_and_what_is_given() -> None:
    """A stranger's pool is the best of all and the extra items; the rest of the ranking is padding."""
    tables = TABLES._replace(global_top=np.array([4, 9], np.int32))
    requests = asked(new_state(USERS, ITEMS, 0.5), np.array([3]), np.array([5000]))
    extra = np.array([[17, NO_ITEM, 4]], np.int32)
    items, scores, features = rank_requests(
        requests, tables, EVERY, 6, extra, np.zeros(1, np.int32), np.zeros((1, CATEGORIES)), keep_features=True
    )
    assert set(items[0].tolist()) == {4, 9, 17, NO_ITEM}
    assert (items[0, 3:] == NO_ITEM).all()
    assert np.isneginf(scores[0, 3:]).all()
    assert not features[0, 3:].any()
