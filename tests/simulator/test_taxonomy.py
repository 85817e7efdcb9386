import re

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from simulator import taxonomy as tx

DEPARTMENT = {
    "name": "rainwear",
    "title": "Rainwear",
    "brands": ["Drizzleby"],
    "details": ["in yellow"],
    "categories": [
        {
            "name": "umbrella",
            "words": ["umbrella"],
            "modifiers": ["windproof"],
            "seasons": ["autumn"],
            "weather": {"rain": 1.0},
            "occasions": {"christmas": 0.4},
            "audience": {"gender": "female", "ages": ["25-34"], "households": ["couple"]},
            "price": {"median": 20, "spread": 0.4},
            "repeat": 0.2,
        }
    ],
}
TOPIC = {"name": "storms", "key": "storms", "kind": "new", "ages": ["65+"], "categories": {"umbrella": 0.5}}


def read(departments: object, topics: object) -> tx.Taxonomy:
    """The taxonomy of two Python structures, by way of their YAML text."""
    return tx.read_taxonomy(yaml.safe_dump(departments), yaml.safe_dump(topics))


def with_category(**changes: object) -> list[dict[str, object]]:
    """The one-category shop with some fields of its category replaced."""
    return [{**DEPARTMENT, "categories": [{**DEPARTMENT["categories"][0], **changes}]}]


def test_shipped_size() -> None:
    """The shipped shop has the breadth of a general marketplace."""
    shop = tx.load_taxonomy()
    assert 220 <= len(shop.categories) <= 260
    assert 16 <= len(shop.department_names) <= 20
    assert 40 <= len(shop.topics) <= 50
    assert set(shop.department) == set(range(len(shop.department_names)))


def test_shapes_and_ranges() -> None:
    """Every array has its documented shape, lies in its range, and cannot be written to."""
    shop = tx.load_taxonomy()
    count, topics = len(shop.categories), len(shop.topics)
    shapes = {
        "department": (count,),
        "weather": (count, 6),
        "occasion": (count, len(tx.OCCASIONS)),
        "topic": (count, topics),
        "topic_age": (topics, 6),
        "audience": (tx.SEGMENTS, count),
        "season": (count, 4),
        "price_median": (count,),
        "price_spread": (count,),
        "repeat": (count,),
    }
    for name, shape in shapes.items():
        array = getattr(shop, name)
        assert array.shape == shape, name
        assert not array.flags.writeable, name
        if name not in ("department", "price_median"):
            assert array.min() >= 0, name
            assert array.max() <= 1, name
    assert shop.department.dtype == np.int32
    assert shop.price_median.min() > 0


def test_arrays_say_what_the_words_say() -> None:
    """A weight written for a category stands in its row and column, and nowhere else."""
    shop = tx.load_taxonomy()
    for row, category in enumerate(shop.categories):
        assert shop.department_names[shop.department[row]] == category.department
        assert dict(zip(tx.WEATHER_SIGNALS, shop.weather[row], strict=True)) == {
            key: category.weather.get(key, 0.0) for key in tx.WEATHER_SIGNALS
        }
        assert {o: w for o, w in zip(tx.OCCASIONS, shop.occasion[row], strict=True) if w} == category.occasions
    assert shop.topic.sum() == pytest.approx(sum(sum(t.categories.values()) for t in shop.topics))


def test_common_sense() -> None:
    """Rain sells umbrellas, Halloween costumes, nappies go to parents, and sledges are for winter."""
    shop = tx.load_taxonomy()
    row = {category.name: index for index, category in enumerate(shop.categories)}
    rain, heat = tx.WEATHER_SIGNALS.index("rain"), tx.WEATHER_SIGNALS.index("heat")
    assert shop.weather[row["umbrella"], rain] > 0.8 > shop.weather[row["sofa"], rain]
    assert shop.weather[row["desk_fan"], heat] > 0.8 > shop.weather[row["space_heater"], heat]
    assert shop.occasion[row["kids_costume"], tx.OCCASIONS.index("halloween")] == 1
    parent = tx.segment_of(0, 1, tx.HOUSEHOLDS.index("young_children"))
    single = tx.segment_of(0, 1, tx.HOUSEHOLDS.index("single"))
    assert shop.audience[parent, row["diapers"]] == 1 > shop.audience[single, row["diapers"]]
    assert shop.season[row["sled"]].tolist() == [tx.OFF_SEASON] * 3 + [1]
    assert shop.repeat[row["diapers"]] > 0.8 > 0.1 > shop.repeat[row["sofa"]]


def test_signals_leave_categories_untouched() -> None:
    """Weather moves about a third of the categories, occasions about half, and a fifth neither."""
    shop = tx.load_taxonomy()
    assert 0.25 < (shop.weather.max(axis=1) > 0).mean() < 0.45
    assert 0.4 < (shop.occasion.max(axis=1) > 0).mean() < 0.6
    assert ((shop.weather.max(axis=1) == 0) & (shop.occasion.max(axis=1) == 0)).mean() > 0.2
    assert (shop.weather.max(axis=0) >= 0.9).all()
    assert (shop.occasion.max(axis=0) >= 0.7).all()


def test_words_are_enough_and_do_not_repeat() -> None:
    """Every category has the words titles need, and no modifier or material repeats a core word."""
    owner: dict[str, str] = {}
    for category in tx.load_taxonomy().categories:
        assert 2 <= len(category.words) <= 3, category.name
        assert 5 <= len(category.modifiers) <= 8, category.name
        assert len(category.materials) <= 4, category.name
        for phrases in (category.words, category.modifiers, category.materials, category.details):
            assert len(set(phrases)) == len(phrases), category.name
        core = set(re.findall(r"\w+", " ".join(category.words).lower())) - {"and", "free", "s"}
        rest = re.findall(r"\w+", " ".join(category.modifiers + category.materials).lower())
        assert not core & set(rest), category.name
        for words in category.words:
            assert owner.setdefault(words, category.name) == category.name, words


def test_topics_are_sane() -> None:
    """A topic lifts three to eight categories, and topics of both kinds exist."""
    topics = tx.load_taxonomy().topics
    assert all(3 <= len(topic.categories) <= 8 for topic in topics)
    assert {topic.kind for topic in topics} == {"recurring", "new"}


@given(st.integers(0, 1), st.integers(0, 5), st.integers(0, 3))
def test_audience_is_a_product(gender: int, age: int, household: int) -> None:
    """Audience fit is the product over gender, age and household of 1 or the documented mismatch."""
    shop = read([DEPARTMENT], [TOPIC])
    expected = (
        (1.0 if gender == 0 else tx.GENDER_MISMATCH)
        * (1.0 if age == 1 else tx.AGE_MISMATCH)
        * (1.0 if household == 1 else tx.HOUSEHOLD_MISMATCH)
    )
    assert shop.audience[tx.segment_of(gender, age, household), 0] == pytest.approx(expected)


def test_segments_are_numbered_once() -> None:
    """Every combination of gender, age band and household has its own number from 0 to 47."""
    gender, age, household = np.meshgrid(range(2), range(6), range(4), indexing="ij")
    assert tx.segment_of(gender, age, household).ravel().tolist() == list(range(48))


def test_topic_age() -> None:
    """A topic reaches its own age bands fully and the others a little."""
    assert read([DEPARTMENT], [TOPIC]).topic_age.tolist() == [[tx.TOPIC_OTHER_AGES] * 5 + [1.0]]


@pytest.mark.parametrize(
    ("departments", "topics", "message"),
    [
        (with_category(weather={"rian": 0.5}), [TOPIC], r"category umbrella: weather\.rian: unknown key"),
        (with_category(occasions={"xmas": 0.5}), [TOPIC], r"category umbrella: occasions\.xmas: unknown key"),
        (with_category(weather={"rain": 1.5}), [TOPIC], r"category umbrella: weather\.rain: 1\.5"),
        (with_category(repeat=float("nan")), [TOPIC], r"category umbrella: repeat: nan"),
        (with_category(seasons=["fall"]), [TOPIC], r"category umbrella: seasons\.0: 'fall'"),
        (
            with_category(audience={"ages": ["18-25"]}),
            [TOPIC],
            r"category umbrella: audience\.ages\.0: '18-25'",
        ),
        (with_category(price={"median": 0, "spread": 0.4}), [TOPIC], r"category umbrella: price\.median: 0"),
        (with_category(colour="red"), [TOPIC], r"category umbrella: colour: 'red'"),
        (with_category(words=[]), [TOPIC], r"category umbrella: words"),
        ([DEPARTMENT, {**DEPARTMENT, "name": "other"}], [TOPIC], r"category umbrella: named twice"),
        ([DEPARTMENT, DEPARTMENT], [TOPIC], r"department rainwear: named twice"),
        ([DEPARTMENT], [TOPIC, TOPIC], r"topic storms: named twice"),
        ([DEPARTMENT], [{**TOPIC, "categories": {"boat": 1}}], r"topic storms: categories\.boat: no such"),
        ([DEPARTMENT], [{**TOPIC, "kind": "old"}], r"topic storms: kind: 'old'"),
        ([DEPARTMENT], {"storms": TOPIC}, r"topics: dict \(must be a list"),
        (["rainwear"], [TOPIC], r"department: .*'rainwear'"),
    ],
)
def test_mistakes_are_named(departments: object, topics: object, message: str) -> None:
    """A mistake in either file is refused with one line that names the entry and the field."""
    with pytest.raises(ValueError, match=message) as caught:
        read(departments, topics)
    assert "\n" not in str(caught.value)


def test_broken_yaml_is_named() -> None:
    """Text that is not YAML is refused with one line that names the file's content."""
    with pytest.raises(ValueError, match="topics: not YAML") as caught:
        tx.read_taxonomy(yaml.safe_dump([DEPARTMENT]), "[")
    assert "\n" not in str(caught.value)


def test_load_is_cached() -> None:
    """Loading twice gives the same object: the arrays are shared, not copied."""
    assert tx.load_taxonomy() is tx.load_taxonomy()
