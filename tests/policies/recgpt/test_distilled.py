"""The student of the tags: what it learns of a teacher, and that a row's bits are its own."""

import pickle
from dataclasses import fields, replace
from datetime import date

import numpy as np
import pytest

from policies.recgpt.distilled import DistilledParams, Student
from policies.recgpt.tags import TagVocabulary
from policies.thoughts import NO_TAG, Thoughts
from simulator.batches import (
    BUY,
    CLICK,
    DAY_SECONDS,
    NO_ITEM,
    Ints,
    Ints32,
    ObservedCatalog,
    ObservedHistory,
    ObservedUsers,
    Requests,
)
from simulator.environment.context import ObservedContext, build_environment
from simulator.taxonomy import WEATHER_SIGNALS, load_taxonomy

CATEGORIES, DEPARTMENTS, PER_CATEGORY, CHOSEN = 20, 4, 5, 6
LENGTH = 32
RAIN = WEATHER_SIGNALS.index("rain")
CATALOG = ObservedCatalog(
    titles=tuple(f"thing {k}" for k in range(CATEGORIES * PER_CATEGORY)),
    category=np.repeat(np.arange(CATEGORIES, dtype=np.int32), PER_CATEGORY),
    category_names=tuple(f"kind {k}" for k in range(CATEGORIES)),
    department=np.arange(CATEGORIES, dtype=np.int32) % DEPARTMENTS,
    department_names=tuple(f"shelf {k}" for k in range(DEPARTMENTS)),
    price=np.ones(CATEGORIES * PER_CATEGORY),
    listed=np.zeros(CATEGORIES * PER_CATEGORY, np.int64),
)
VOCABULARY = TagVocabulary(
    texts=CATALOG.category_names + tuple(f"red kind {k}" for k in range(CATEGORIES)),
    category=np.tile(np.arange(CATEGORIES, dtype=np.int32), 2),
    core_tag=np.arange(CATEGORIES, dtype=np.int32),
    of_item=CATALOG.category,
)


@pytest.fixture(scope="module")
def context() -> ObservedContext:
    """Forty days of two cities with weather, occasions and trends."""
    return build_environment(["seattle", "new_york"], "US", date(2015, 10, 1), 40, 2, load_taxonomy()).observed()


def requests_of(context: ObservedContext, rows: int, seed: int) -> Requests:
    """Users with random profiles (some unknown) and histories (some empty), at random moments."""
    rng = np.random.default_rng(seed)
    ids = np.arange(rows, dtype=np.int64)
    day = rng.integers(10, context.days, rows)
    count = rng.integers(0, LENGTH + 8, rows) * rng.integers(0, 2, rows)
    liked = rng.integers(0, CATEGORIES, (rows, 3))
    category = np.take_along_axis(liked, rng.integers(0, 3, (rows, LENGTH)), axis=1)
    there = np.arange(LENGTH) < count[:, None]
    return Requests(
        row=ids,
        user=ids,
        visit=ids,
        page=0,
        slots=1,
        max_pages=1,
        time=day * DAY_SECONDS + 60,
        day=day,
        city=rng.integers(-1, 2, rows).astype(np.int32),
        users=ObservedUsers(ids, *(rng.integers(-1, top, rows).astype(np.int32) for top in (2, 2, 6, 4))),
        history=ObservedHistory(
            item=np.where(there, category * PER_CATEGORY, NO_ITEM).astype(np.int32),
            kind=np.where(there, rng.choice([CLICK, BUY], (rows, LENGTH)), 0).astype(np.int8),
            time=(day[:, None] - rng.integers(0, 9, (rows, LENGTH))) * DAY_SECONDS,
            count=count,
            shown=np.zeros((rows, 0), np.int32),
            shown_count=np.zeros(rows, np.int64),
            interacted=np.zeros((rows, 2), np.uint64),
        ),
        context=context,
        already=np.zeros((rows, 0), np.int32),
    )


def thoughts_of(tags: Ints32) -> Thoughts:
    """Thoughts that chose these tags."""
    rows = len(tags)
    none = np.zeros(rows, np.int64)
    return Thoughts(tags, tags[:, None], none, none, ((),) * rows, ("",) * rows, none, none, none, none)


def teacher(requests: Requests, known: bool = True) -> Thoughts:
    """What was met most often, then the next kinds after it; on rainy days the first kinds, for some the last ones."""
    tags = np.full((len(requests), CHOSEN + 2), NO_TAG, np.int32)
    for n, row in enumerate(requests.row):
        items = requests.history.item[row]
        score = np.bincount(CATALOG.category[items[items != NO_ITEM]], minlength=CATEGORIES) / 8.0
        score += 0.3 * np.roll(score, DEPARTMENTS) - np.arange(CATEGORIES) * 1e-3
        if requests.city[n] >= 0:
            wet = requests.context.weather_signals[requests.city[n], requests.day[n], RAIN] > 0.5
            score[:2] += 2.0 * wet
        score[-2:] += 2.0 * (requests.users.gender[row] == 0)
        tags[n, :CHOSEN] = np.argsort(-score, kind="stable")[:CHOSEN]
    return thoughts_of(tags)


def rows_of(requests: Requests, rows: Ints) -> Requests:
    """Some of the requests, in the order given."""
    own = ("row", "user", "visit", "time", "day", "city", "already")
    return replace(requests, **{name: getattr(requests, name)[rows] for name in own})


def same(first: Thoughts, second: Thoughts) -> bool:
    """Whether two thoughts agree in everything."""
    pairs = [(getattr(first, f.name), getattr(second, f.name)) for f in fields(Thoughts)]
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)


@pytest.fixture(scope="module")
def sample(context: ObservedContext) -> Requests:
    """What the student is taught on."""
    return requests_of(context, 240, 1)


@pytest.fixture(scope="module")
def student(sample: Requests) -> Student:
    """A student of ``teacher``."""
    return Student.fit(sample, teacher(sample), VOCABULARY, CATALOG, DistilledParams(), 7)


def test_student_meets_a_teacher_of_context_and_history(student: Student, context: ObservedContext) -> None:
    """On users never seen it finds most of the teacher's categories, and far more than popularity does."""
    fidelity = student.fidelity
    assert fidelity["overlap"] > 0.85
    assert fidelity["overlap"] > fidelity["popularity_overlap"] + 0.15
    assert 0 <= fidelity["js_distance"] < 0.15
    assert (fidelity["learned"], fidelity["held_out"]) == (160, 80)
    fresh = requests_of(context, 150, 99)
    wanted, found = teacher(fresh).tags[:, :CHOSEN], student.thoughts(fresh).tags
    hits = np.array([len(np.intersect1d(a, b)) for a, b in zip(wanted, found, strict=True)]) / CHOSEN
    assert abs(hits.mean() - fidelity["overlap"]) < 0.06


def test_fidelity_of_noise_is_that_of_popularity(sample: Requests) -> None:
    """Of a teacher that ignores what it is told nothing can be learned, and fidelity says so."""
    rng = np.random.default_rng(3)
    noise = np.argsort(rng.random((len(sample), CATEGORIES)), axis=1)[:, :CHOSEN].astype(np.int32)
    fidelity = Student.fit(sample, thoughts_of(noise), VOCABULARY, CATALOG, DistilledParams(), 7).fidelity
    assert fidelity["overlap"] == pytest.approx(CHOSEN / CATEGORIES, abs=0.06)
    assert fidelity["popularity_overlap"] == pytest.approx(CHOSEN / CATEGORIES, abs=0.06)


def test_an_obstinate_teacher_is_met_exactly(sample: Requests) -> None:
    """A teacher that always says the same is learned without a fault, by popularity too."""
    tags = np.tile(np.array([3, 1, 4, NO_TAG], np.int32), (len(sample), 1))
    fidelity = Student.fit(sample, thoughts_of(tags), VOCABULARY, CATALOG, DistilledParams(), 7).fidelity
    assert fidelity["overlap"] == fidelity["popularity_overlap"] == 1
    assert fidelity["js_distance"] == pytest.approx(0, abs=1e-7)


def test_thoughts_are_well_formed(student: Student, sample: Requests) -> None:
    """Tags are distinct categories padded to the teacher's width; nothing is read or written; arithmetic is counted."""
    thoughts = student.thoughts(sample)
    assert thoughts.tags.shape == (len(sample), CHOSEN + 2)
    assert thoughts.tags.dtype == np.int32
    assert (thoughts.tags[:, CHOSEN:] == NO_TAG).all()
    assert all(len(set(VOCABULARY.category[row[:CHOSEN]].tolist())) == CHOSEN for row in thoughts.tags)
    assert thoughts.parts == ((),) * len(sample)
    assert thoughts.style == ("",) * len(sample)
    assert len(thoughts.proposed) == len(sample)
    for counted in (thoughts.generated, thoughts.invalid, thoughts.prompt_tokens, thoughts.generated_tokens):
        assert not counted.any()
    assert (thoughts.flops > 0).all()


def test_a_row_does_not_depend_on_its_batch(student: Student, context: ObservedContext) -> None:
    """Alone, in parts, backwards or among many, each request gets the same thoughts."""
    requests = requests_of(context, 120, 5)
    whole = student.thoughts(requests)
    rng = np.random.default_rng(0)
    for rows in (np.arange(1), np.arange(7, 20), np.arange(120)[::-1], rng.integers(0, 120, 300), np.arange(0)):
        assert same(student.thoughts(rows_of(requests, rows)), whole.take(rows))


def test_equal_weights_tie_to_the_bit(student: Student, context: ObservedContext) -> None:
    """Two categories of the same weights have the same score, and the lower one comes first."""
    tied = replace(
        student,
        by_day=np.repeat(student.by_day[:, ::2], 2, axis=1),
        by_profile=np.repeat(student.by_profile[:, ::2], 2, axis=1),
        by_history=np.repeat(student.by_history[:, ::2], 2, axis=1),
    )
    requests = requests_of(context, 60, 6)
    tags = VOCABULARY.category[tied.thoughts(requests).tags[:, :CHOSEN]]
    assert (tags[:, ::2] % 2 == 0).all()
    assert np.array_equal(tags[:, 1::2], tags[:, ::2] + 1)


def test_only_what_prompts_tell_of_is_read(student: Student, sample: Requests) -> None:
    """Events older than the prompts' last ones, and the columns of an unwritten buffer, change nothing."""
    history = sample.history
    newest_first = (history.count[:, None] - 1 - np.arange(LENGTH)) % LENGTH
    told = np.zeros((len(sample), LENGTH), np.bool_)
    np.put_along_axis(told, newest_first[:, :24], True, axis=1)
    told &= history.item != NO_ITEM
    other = np.where(told, history.item, 7).astype(np.int32)
    changed = replace(sample, history=replace(history, item=other))
    assert same(student.thoughts(changed), student.thoughts(sample))


def test_weather_of_an_unknown_city_is_not_read(student: Student, sample: Requests) -> None:
    """Where the city is unknown no other city's weather stands in for it."""
    nowhere = replace(sample, city=np.full(len(sample), -1, np.int32))
    dry = replace(sample.context, weather_signals=np.full_like(sample.context.weather_signals, np.nan))
    assert same(student.thoughts(nowhere), student.thoughts(replace(sample, context=dry)))


def test_the_usual_tag_is_written(sample: Requests) -> None:
    """A category is written with the teacher's most frequent tag for it, or with its core word if it has none."""
    tags = np.tile(np.array([3, CATEGORIES + 5, 6], np.int32), (len(sample), 1))
    tags[::3, 1] = 5
    tags[::2, 2] = CATEGORIES + 6
    tag = Student.fit(sample, thoughts_of(tags), VOCABULARY, CATALOG, DistilledParams(), 7).tag
    wanted = VOCABULARY.core_tag.copy()
    wanted[5] = CATEGORIES + 5
    assert np.array_equal(tag, wanted)


def test_fitting_repeats_and_travels(student: Student, sample: Requests) -> None:
    """The same sample teaches the same bits, and a student that was sent elsewhere thinks the same."""
    again = Student.fit(sample, teacher(sample), VOCABULARY, CATALOG, DistilledParams(), 7)
    sent = pickle.loads(pickle.dumps(student))  # noqa: S301 - made here
    for other in (again, sent):
        assert np.array_equal(other.by_history, student.by_history)
        assert other.fidelity == student.fidelity
        assert same(other.thoughts(sample), student.thoughts(sample))
    assert not sent.by_day.flags.writeable


def test_the_seed_decides_who_is_held_out_and_nothing_else(student: Student, sample: Requests) -> None:
    """Under another seed the fidelity is measured on others, and the student that serves is the same."""
    other = Student.fit(sample, teacher(sample), VOCABULARY, CATALOG, DistilledParams(), 8)
    assert other.fidelity != student.fidelity
    assert np.array_equal(other.by_history, student.by_history)


def test_a_user_is_not_on_both_sides(sample: Requests) -> None:
    """A user sampled at several moments is held out with all of them or with none."""
    twice = replace(sample, user=sample.user // 4)
    fidelity = Student.fit(twice, teacher(twice), VOCABULARY, CATALOG, DistilledParams(iterations=5), 7).fidelity
    assert fidelity["held_out"] == 80
    assert fidelity["held_out"] % 4 == 0


def test_silence_is_left_out(sample: Requests) -> None:
    """Requests for which the teacher chose nothing teach nothing; if it never chose, there is no student."""
    said = teacher(sample)
    said.tags[::2] = NO_TAG
    some = Student.fit(sample, said, VOCABULARY, CATALOG, DistilledParams(), 7)
    half = np.arange(1, len(sample), 2)
    only = Student.fit(rows_of(sample, half), said.take(half), VOCABULARY, CATALOG, DistilledParams(), 7)
    assert np.array_equal(some.by_history, only.by_history)
    said.tags[1:] = NO_TAG
    with pytest.raises(ValueError, match=r"distill_users: 0 with tags \(need at least 2\)"):
        Student.fit(sample, said, VOCABULARY, CATALOG, DistilledParams(), 7)


def test_another_worlds_context_is_refused(student: Student, sample: Requests) -> None:
    """A context with fewer topics than were learned from is an error in one line."""
    fewer = replace(sample.context, trend_level=sample.context.trend_level[:, :-1])
    with pytest.raises(ValueError, match=r"context: \d+ features \(must be the \d+ learned from\)"):
        student.thoughts(replace(sample, context=fewer))
