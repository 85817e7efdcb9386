from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from simulator.batches import DAY_SECONDS, NO_EXPLANATION, NO_ITEM, ObservedHistory, Slates
from simulator.engine import opening_state
from simulator.environment.trends import PERCEPTIBLE
from simulator.parameters import ContextParameters
from simulator.reader import FELT, NEAR, OWN, SEASON_CALL, SIGNS, TERMS, Reader, worth
from simulator.recorded import RecordedWorld
from simulator.state import READ_LENGTH, State
from simulator.taxonomy import OCCASIONS, WEATHER_SIGNALS, load_taxonomy
from simulator.world import World

TAXONOMY = load_taxonomy()
CATEGORY = {category.name: n for n, category in enumerate(TAXONOMY.categories)}
NOON = 43_200
THANKSGIVING = 10  # 28 November of the small world


def page(items: Any, texts: Any) -> Slates:
    """Pages with explanations."""
    items, texts = np.asarray(items, np.int32), np.asarray(texts, np.int32)
    return Slates(items, np.zeros(items.shape, np.int8), None, texts)


def idle(world: World) -> State:
    """Users on a visit for nothing."""
    state = opening_state(world, 0)
    state.intent[:] = NO_ITEM
    return state


def titled(world: World, category: str, title: str) -> tuple[World, int]:
    """The world with an item of a category that goes by a title; items are one of each category first."""
    item = CATEGORY[category]
    observed = world.catalog.observed
    titles = (*observed.titles[:item], title, *observed.titles[item + 1 :])
    return replace(world, catalog=replace(world.catalog, observed=replace(observed, titles=titles))), item


def said(
    world: World, item: int, text: str, *, day: int = THANKSGIVING, row: int = 0, state: State | None = None
) -> dict[str, float]:
    """The terms of one explanation of one item, read by one user."""
    reader = Reader(world)
    reader.learn([text])
    state = idle(world) if state is None else state
    found = reader.terms(state, np.array([row]), np.array([day * DAY_SECONDS + NOON]), page([[item]], [[0]]))
    return dict(zip(TERMS, found[0, 0].tolist(), strict=True))


def wants(world: World, category: str) -> State:
    """Users on a visit for a category."""
    state = idle(world)
    state.intent[:, 1] = CATEGORY[category]
    return state


def test_a_text_that_says_nothing_is_worth_nothing(world: World) -> None:
    """Fillers name nothing, so no term moves."""
    assert set(said(world, 0, "We picked this one for you, so have a look at it!").values()) == {0.0}


@pytest.mark.parametrize(
    ("signal", "text", "call"),
    [
        ("holidays", "for Thanksgiving", TAXONOMY.occasion[:, OCCASIONS.index("thanksgiving")]),
        ("seasons", "for autumn", np.array([float("autumn" in entry.seasons) for entry in TAXONOMY.categories])),
    ],
)
def test_a_signal_that_is_off_makes_nothing_timely(world: World, signal: str, text: str, call: Any) -> None:
    """Where a signal means nothing to users, to name it is worth nothing; other signals are read as before."""
    item = int(np.argmax(call))
    without = replace(world, contexts=ContextParameters(**{signal: 0.0}))
    other = replace(world, contexts=ContextParameters(trends=0.0))
    plain, off = said(world, item, text), said(without, item, text)
    assert plain["timely"] > 0.0
    assert off["timely"] == 0.0
    assert off["informative"] < plain["informative"]
    assert off["stale"] == plain["stale"] == 0.0
    assert said(other, item, text) == plain


@pytest.mark.parametrize("kind", ["weather", "occasion", "topic"])
def test_naming_what_is_live_is_timely_and_what_is_not_is_stale(world: World, kind: str) -> None:
    """On every day: call times root of the level for the best-suited category, and stale exactly where not live."""
    environment = world.environment
    if kind == "weather":
        n = WEATHER_SIGNALS.index("rain")
        level, call, floor, text = environment.weather.signals[0, :, n], TAXONOMY.weather[:, n], FELT, "in the rain"
    elif kind == "occasion":
        n = OCCASIONS.index("thanksgiving")
        level, call, floor, text = environment.calendar.level[:, n], TAXONOMY.occasion[:, n], 1e-9, "for Thanksgiving"
    else:
        n = int(np.argmax(np.abs(np.diff(environment.trends.level > PERCEPTIBLE, axis=0)).sum(axis=0)))
        level, call, floor = environment.trends.level[:, n], TAXONOMY.topic[:, n], PERCEPTIBLE
        text = f"everyone talks about {environment.topic_names[n]}"
    item = int(np.argmax(call))
    world, item = titled(world, TAXONOMY.categories[item].name, "Thing")
    row = int(np.flatnonzero(world.population.observed.city == 0)[0])
    found = [said(world, item, text, day=day, row=row) for day in range(world.days)]
    assert [terms["timely"] for terms in found] == pytest.approx(call[item] * np.sqrt(level))
    assert [terms["stale"] for terms in found] == (level < floor).astype(float).tolist()
    assert 0 < sum(terms["stale"] for terms in found) < world.days
    assert all(terms["informative"] > 0 for terms in found)  # what the thing is for


def test_what_calls_for_something_else_is_neither_timely_nor_stale(world: World) -> None:
    """A live context that does not call for the item moves nothing."""
    n = OCCASIONS.index("thanksgiving")
    world, item = titled(world, TAXONOMY.categories[int(np.argmin(TAXONOMY.occasion[:, n]))].name, "Thing")
    terms = said(world, item, "for Thanksgiving")
    assert (terms["timely"], terms["stale"], terms["informative"]) == (0.0, 0.0, 0.0)


def test_what_the_title_names_is_never_stale(world: World) -> None:
    """A thing for Easter is one all year, and at Easter the day calls for it."""
    named, item = titled(world, "phone_case", "Phone case for Easter")
    plain, _ = titled(world, "phone_case", "Phone case")
    assert said(named, item, "for Easter")["stale"] == 0.0
    assert said(plain, item, "for Easter")["stale"] == 1.0
    thankful, _ = titled(world, "phone_case", "Phone case for Thanksgiving")
    assert said(thankful, item, "for Thanksgiving")["timely"] == 1.0
    assert said(plain, item, "for Thanksgiving")["timely"] == 0.0


def test_seasons_call_half(world: World) -> None:
    """In November autumn is timely for an autumn thing, and summer is stale for any."""
    category = next(c for c in TAXONOMY.categories if c.seasons and "autumn" in c.seasons)
    world, item = titled(world, category.name, "Thing")
    assert said(world, item, "for autumn")["timely"] == SEASON_CALL
    assert said(world, item, "for summer") | {"informative": 0.0} == dict.fromkeys(TERMS, 0.0) | {"stale": 1.0}


def test_relevance_is_about_the_visit(world: World) -> None:
    """A category that the visit is for beats its department, and that beats the item's own name."""
    world, item = titled(world, "raincoat", "Thing")
    department = TAXONOMY.department[CATEGORY["raincoat"]]
    near = next(c.name for n, c in enumerate(TAXONOMY.categories) if TAXONOMY.department[n] == department and n != item)
    title = TAXONOMY.department_titles[department]
    for text, intent, expected in (
        ("a raincoat", "raincoat", 1.0),
        ("a raincoat", near, NEAR),
        (f"from {title}", near, NEAR),
        ("a raincoat", "dog_food", OWN),
        (f"from {title}", "dog_food", 0.0),
        ("this one", "raincoat", 0.0),
    ):
        assert said(world, item, text, state=wants(world, intent))["relevant"] == expected, (text, intent)
    assert said(world, item, "a raincoat")["relevant"] == OWN


def test_true_words_inform_and_saturate(world: World) -> None:
    """Every distinct word of the title adds less than the one before; repeating it or a bare name adds nothing."""
    world, item = titled(world, "raincoat", "Larkmoor hooded waterproof polyester raincoat in navy")
    texts = [
        "a raincoat",
        "a hooded raincoat",
        "a hooded waterproof raincoat",
        "a hooded waterproof polyester raincoat",
    ]
    told = [said(world, item, text)["informative"] for text in texts]
    assert told[0] == 0.0
    assert told == pytest.approx([1 - 2 ** (-n / 2) for n in range(4)])
    assert said(world, item, "a hooded hooded raincoat, hooded")["informative"] == told[1]
    assert said(world, item, "a velvet raincoat")["informative"] == 0.0
    assert said(world, item, "Because you may like a raincoat: have a look at this raincoat.")["informative"] == 0.0


def test_false_claims_count(world: World) -> None:
    """Another category, what such a thing never is, another material and the wrong audience are false."""
    world, item = titled(world, "cardigan", "Larkmoor ribbed cashmere cardigan in navy")
    impossible = next(c for c in TAXONOMY.categories if c.name == "dumbbells").modifiers[0]
    for text, doubts in (
        ("a ribbed cashmere cardigan", 0),
        ("a cropped cardigan", 0),  # nobody said that it is not
        ("a cotton cardigan", 1),
        (f"a {impossible} cardigan", None),
        ("a cardigan for men", 1),
        ("a cardigan for women", 0),
        ("a sundress", 1),
        ("dog food", 2),
        ("if you like dog food, then a cardigan", 0),
    ):
        false = said(world, item, text)["false"]
        if doubts is None:
            assert false > 0.0, text
        else:
            assert false == pytest.approx(1 - 2.0**-doubts), text


def read_by_all(world: World, state: State, texts: Sequence[str]) -> None:
    """Let every user have read some texts, in this order."""
    reader = Reader(world)
    reader.learn(texts)
    for n in range(len(texts)):
        rows = np.arange(world.users)
        reading = reader.read(
            state, rows, np.zeros(len(rows), np.int64), page(np.zeros((len(rows), 1)), np.full((len(rows), 1), n))
        )
        state.read_gist[rows, state.read_count % READ_LENGTH] = reading.gist[:, 0]
        state.read_count[rows] += 1


def test_repetition_is_remembered_and_forgotten(world: World) -> None:
    """The same text again is repeated wholly, a text of other words is not, and after enough others it is new."""
    text, other = "Have you thought of a hooded raincoat yet?", "Psst, Larkmoor cardigans whisper."
    state = idle(world)
    assert said(world, 0, text, state=state)["repeated"] == 0.0
    read_by_all(world, state, [text])
    assert said(world, 0, text, state=state)["repeated"] == 1.0
    assert 0.0 < said(world, 0, text.replace("raincoat", "cardigan"), state=state)["repeated"] < 1.0
    assert said(world, 0, other, state=state)["repeated"] == 0.0
    read_by_all(world, state, [f"Number {n * 17} {chr(97 + n) * 3}" for n in range(READ_LENGTH)])
    assert said(world, 0, text, state=state)["repeated"] == 0.0


def test_a_page_does_not_repeat_itself_for_free(world: World) -> None:
    """Of equal texts on one page the first is new and the others are repeated."""
    reader = Reader(world)
    reader.learn(["Have a look at this one in the rain."])
    found = reader.terms(
        idle(world), np.array([3]), np.array([NOON]), page([[4, 5, 6, 7]], [[0, NO_EXPLANATION, 0, 0]])
    )
    assert found[0, :, TERMS.index("repeated")].tolist() == [0.0, 0.0, 1.0, 1.0]


@given(arrays(np.float64, len(TERMS), elements=st.floats(0, 1)), st.integers(0, len(TERMS) - 1), st.floats(0, 1))
def test_worth_is_monotone_in_each_term(terms: Any, moved: int, by: float) -> None:
    """More of a good term is worth no less, more of a bad one no more, each by as much as it moved."""
    more = terms.copy()
    more[moved] += by
    assert worth(more) - worth(terms) == pytest.approx(SIGNS[moved] * by)
    assert -3.0 <= worth(terms) <= 3.0


def texts_of(world: World) -> list[str]:
    """Many different texts."""
    names, titles = world.catalog.observed.category_names, world.catalog.observed.titles
    return [
        text
        for n in range(40)
        for text in (
            f"It is a rainy day, so here is {titles[n]}.",
            f"Thanksgiving is coming: {names[n]} for women!",
            f"Because you may like {names[2 * n]}: have a look at {names[n]}.",
        )
    ]


@given(st.randoms(use_true_random=False), st.integers(1, 30))
@settings(max_examples=20, deadline=None)
def test_reading_does_not_depend_on_company(world: World, luck: Any, count: int) -> None:
    """What a user makes of a page is the same alone, in any batch, and however the texts are numbered."""
    texts = texts_of(world)
    rows = np.array(luck.sample(range(world.users), count))
    items = np.array([luck.sample(range(world.catalog.items), 5) for _ in rows], np.int32)
    chosen = np.array([[luck.randrange(-1, len(texts)) for _ in range(5)] for _ in rows], np.int32)
    times = np.array([luck.randrange(world.days * DAY_SECONDS) for _ in rows])
    state = idle(world)
    state.intent[:] = world.population.interest_category[:, :3]
    reader = Reader(world)
    reader.learn(texts)
    whole = reader.read(state, rows, times, page(items, chosen))
    assert (whole.bonus[chosen == NO_EXPLANATION] == 0.0).all()
    assert (whole.gist[chosen == NO_EXPLANATION] == 0).all()
    assert (np.abs(whole.bonus) <= 3.0 * world.behaviour.response.explanation).all()
    order = luck.sample(range(len(texts)), len(texts))
    number = np.append(np.argsort(order), NO_EXPLANATION)
    other = Reader(world)
    for cut in (1, 50, len(texts)):
        other.learn([texts[n] for n in order[:cut]])
    for n in range(len(rows)):
        alone = other.read(state, rows[[n]], times[[n]], page(items[[n]], number[chosen[[n]]]))
        assert np.array_equal(alone.bonus[0], whole.bonus[n])
        assert np.array_equal(alone.gist[0], whole.gist[n])


def test_the_parameter_scales_what_reading_adds(world: World) -> None:
    """The bonus is the parameter times what the explanation is worth."""
    behaviour = world.behaviour
    doubled = replace(
        world,
        behaviour=behaviour.model_copy(
            update={
                "response": behaviour.response.model_copy(update={"explanation": 2 * behaviour.response.explanation})
            }
        ),
    )
    slates = page(np.arange(10).reshape(2, 5), np.arange(10).reshape(2, 5))
    found = []
    for one in (world, doubled):
        reader = Reader(one)
        reader.learn(texts_of(one))
        found.append(reader.read(idle(one), np.array([0, 7]), np.array([NOON, NOON]), slates).bonus)
    assert found[0].any()
    assert np.array_equal(found[1], 2 * found[0])


def test_logs_are_read_by_their_own_words(recorded: RecordedWorld) -> None:
    """A world made from a log has its own categories and titles, and weather that nobody can call wrong."""
    world = recorded.world
    state = opening_state(world, 0)
    state.intent[:] = 3
    item = 8  # of category 3
    terms = said(world, item, "Something from category 3 in the rain", day=2, state=state)
    assert terms == dict.fromkeys(TERMS, 0.0) | {"relevant": 1.0}
    assert said(world, item, "category 4", day=2, state=state)["false"] == pytest.approx(0.75)
    assert said(world, item, "number 8 it is", day=2)["informative"] > 0.0


def test_readers_are_invisible_to_policies() -> None:
    """What a user has read is no part of what a policy sees."""
    assert not [field.name for field in fields(ObservedHistory) if "read" in field.name]
