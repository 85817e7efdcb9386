"""The shop's taxonomy: categories and trend topics in words, and the same facts as arrays.

Reads ``categories.yaml`` and ``topics.yaml`` beside this file. Knows nothing of items, users, dates or the
weather of a day: it only says what a category is called, whom it suits, and what makes people want it. The
weights in the two files are judgements, not measurements.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Any, Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Floats = npt.NDArray[np.float64]

GENDERS: Final = ("female", "male")
AGE_BANDS: Final = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
HOUSEHOLDS: Final = ("single", "couple", "young_children", "teenagers")
SEGMENTS: Final = len(GENDERS) * len(AGE_BANDS) * len(HOUSEHOLDS)
SEASONS: Final = ("spring", "summer", "autumn", "winter")
WEATHER_SIGNALS: Final = ("rain", "snow", "heat", "cold", "wind", "sun")
OCCASIONS: Final = (
    "new_year",
    "lunar_new_year",
    "valentines_day",
    "womens_day",
    "easter",
    "mothers_day",
    "fathers_day",
    "graduation",
    "independence_day",
    "summer_holidays",
    "mid_year_festival",
    "back_to_school",
    "mid_autumn",
    "halloween",
    "diwali",
    "singles_day",
    "thanksgiving",
    "black_friday",
    "cyber_monday",
    "hanukkah",
    "christmas",
)

GENDER_MISMATCH: Final = 0.15
"""Audience fit of a category made for the other gender: small, not zero, since people buy for others."""
AGE_MISMATCH: Final = 0.35
"""Audience fit of an age band the category does not list."""
HOUSEHOLD_MISMATCH: Final = 0.35
"""Audience fit of a household the category does not list."""
OFF_SEASON: Final = 0.25
"""Season fit of a category outside the seasons it lists."""
TOPIC_OTHER_AGES: Final = 0.25
"""How far a topic reaches the age bands it does not list."""


@dataclass(frozen=True)
class Category:
    """One leaf of the taxonomy, in words.

    Attributes:
        name: unique key in snake_case.
        department: key of its department.
        words: what the thing is called.
        modifiers: adjectives, in the order in which they would stand before the noun.
        materials: what it is made of or tastes of; may be empty.
        brands: fictional makers (the department's).
        details: size, pack, colour and for-whom phrases (its own, else the department's).
        seasons: when it is in season; empty means all year.
        weather: weight in 0..1 for each weather signal that makes people want it.
        occasions: weight in 0..1 for each occasion that makes people want it.
        gender: "any", "female" or "male".
        ages: the age bands it is for; empty means all.
        households: the households it is for; empty means all.
        price_median: median price in US dollars.
        price_spread: standard deviation of the logarithm of its price.
        repeat: how readily the same buyer buys it again soon, 0..1.
    """

    name: str
    department: str
    words: tuple[str, ...]
    modifiers: tuple[str, ...]
    materials: tuple[str, ...]
    brands: tuple[str, ...]
    details: tuple[str, ...]
    seasons: tuple[str, ...]
    weather: Mapping[str, float]
    occasions: Mapping[str, float]
    gender: str
    ages: tuple[str, ...]
    households: tuple[str, ...]
    price_median: float
    price_spread: float
    repeat: float


@dataclass(frozen=True)
class Topic:
    """Something people may suddenly talk about.

    Attributes:
        name: the topic as a person would say it.
        key: unique key in snake_case.
        kind: "recurring" (it comes back) or "new" (nobody has seen it before).
        ages: the age bands most taken by it; empty means all.
        categories: weight in 0..1 for each category it lifts.
    """

    name: str
    key: str
    kind: str
    ages: tuple[str, ...]
    categories: Mapping[str, float]


@dataclass(frozen=True)
class Taxonomy:
    """The whole taxonomy: words, and read-only arrays in the order of ``categories`` and ``topics``.

    Attributes:
        categories: the C leaves, grouped by department.
        department_names: keys of the departments.
        department_titles: the departments as a shopper would read them.
        topics: the T trend topics.
        occasions: occasion keys, the order of the axis of ``occasion``.
        department: int32 [categories], index into ``department_names``.
        weather: [categories, weather signals], weight in 0..1.
        occasion: [categories, occasions], weight in 0..1.
        topic: [categories, topics], weight in 0..1.
        topic_age: [topics, age bands], 1 for the listed bands, else ``TOPIC_OTHER_AGES``.
        audience: [segments, categories], audience fit in 0..1; rows as numbered by ``segment_of``.
        season: [categories, seasons], 1 in season, else ``OFF_SEASON``.
        price_median: [categories], US dollars.
        price_spread: [categories], standard deviation of the log price.
        repeat: [categories], 0..1.
    """

    categories: tuple[Category, ...]
    department_names: tuple[str, ...]
    department_titles: tuple[str, ...]
    topics: tuple[Topic, ...]
    occasions: tuple[str, ...]
    department: npt.NDArray[np.int32]
    weather: Floats
    occasion: Floats
    topic: Floats
    topic_age: Floats
    audience: Floats
    season: Floats
    price_median: Floats
    price_spread: Floats
    repeat: Floats


def segment_of(gender: npt.ArrayLike, age_band: npt.ArrayLike, household: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The segment of each person: ``(gender * 6 + age_band) * 4 + household``, in 0..47.

    Args:
        gender: index into ``GENDERS``.
        age_band: index into ``AGE_BANDS``.
        household: index into ``HOUSEHOLDS``; the three broadcast together.
    """
    gender, age_band, household = (np.asarray(index, dtype=np.int64) for index in (gender, age_band, household))
    return np.asarray((gender * len(AGE_BANDS) + age_band) * len(HOUSEHOLDS) + household, dtype=np.int64)


@cache
def load_taxonomy() -> Taxonomy:
    """The taxonomy shipped with the package; read once.

    Raises:
        ValueError: an entry of either file is wrong; the message names it.
    """
    folder = resources.files(__name__)
    return read_taxonomy(
        folder.joinpath("categories.yaml").read_text(encoding="utf-8"),
        folder.joinpath("topics.yaml").read_text(encoding="utf-8"),
    )


def read_taxonomy(categories_yaml: str, topics_yaml: str) -> Taxonomy:
    """Build a taxonomy from the text of the two files.

    Raises:
        ValueError: an entry is wrong; the message is one line that names it.
    """
    departments = [_entry(_Department, raw, "department") for raw in _entries(categories_yaml, "categories")]
    _check_unique("department", [entry.name for entry in departments])
    categories = tuple(
        _category(department, _entry(_Category, raw, "category"))
        for department in departments
        for raw in department.categories
    )
    _check_unique("category", [category.name for category in categories])
    topics = tuple(_topic(_entry(_Topic, raw, "topic")) for raw in _entries(topics_yaml, "topics"))
    _check_unique("topic", [topic.key for topic in topics])

    names = [category.name for category in categories]
    for topic in topics:
        for name in topic.categories:
            if name not in names:
                raise ValueError(f"topic {topic.key}: categories.{name}: no such category in categories.yaml")

    department_names = tuple(entry.name for entry in departments)
    department = np.array([department_names.index(c.department) for c in categories], dtype=np.int32)
    department.setflags(write=False)
    return Taxonomy(
        categories=categories,
        department_names=department_names,
        department_titles=tuple(entry.title for entry in departments),
        topics=topics,
        occasions=OCCASIONS,
        department=department,
        weather=_array([[c.weather.get(key, 0.0) for key in WEATHER_SIGNALS] for c in categories]),
        occasion=_array([[c.occasions.get(key, 0.0) for key in OCCASIONS] for c in categories]),
        topic=_array([[t.categories.get(name, 0.0) for t in topics] for name in names]),
        topic_age=_array([_fit(AGE_BANDS, t.ages, TOPIC_OTHER_AGES) for t in topics]),
        audience=_array([_audience(c) for c in categories], transposed=True),
        season=_array([_fit(SEASONS, c.seasons, OFF_SEASON) for c in categories]),
        price_median=_array([c.price_median for c in categories]),
        price_spread=_array([c.price_spread for c in categories]),
        repeat=_array([c.repeat for c in categories]),
    )


def _array(values: Any, transposed: bool = False) -> Floats:
    """A read-only contiguous float64 array: the taxonomy is shared by everyone who loads it."""
    array = np.asarray(values, dtype=np.float64)
    array = np.ascontiguousarray(array.T if transposed else array)
    array.setflags(write=False)
    return array


def _fit(axis: tuple[str, ...], listed: tuple[str, ...], otherwise: float) -> Floats:
    """1 for the listed keys of an axis (for all of them when none is listed), else ``otherwise``."""
    return np.array([1.0 if not listed or key in listed else otherwise for key in axis])


def _audience(category: Category) -> Floats:
    """Audience fit [segments]: the product of the fits of gender, age band and household."""
    gender = _fit(GENDERS, () if category.gender == "any" else (category.gender,), GENDER_MISMATCH)
    age = _fit(AGE_BANDS, category.ages, AGE_MISMATCH)
    household = _fit(HOUSEHOLDS, category.households, HOUSEHOLD_MISMATCH)
    return np.einsum("g,a,h->gah", gender, age, household).ravel()


_Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
_Words = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]
_Weight = Annotated[float, Field(ge=0.0, le=1.0)]
_Gender = Literal["any", "female", "male"]
_Age = Literal["18-24", "25-34", "35-44", "45-54", "55-64", "65+"]
_Household = Literal["single", "couple", "young_children", "teenagers"]
_Season = Literal["spring", "summer", "autumn", "winter"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


_Model = TypeVar("_Model", bound=_Strict)


class _Audience(_Strict):
    gender: _Gender = "any"
    ages: tuple[_Age, ...] = ()
    households: tuple[_Household, ...] = ()


class _Price(_Strict):
    median: float = Field(gt=0.0)
    spread: float = Field(ge=0.0, le=2.0)


class _Category(_Strict):
    name: _Key
    words: tuple[_Words, ...] = Field(min_length=1)
    modifiers: tuple[_Words, ...] = Field(min_length=1)
    materials: tuple[_Words, ...] = ()
    details: tuple[_Words, ...] = ()
    seasons: tuple[_Season, ...] = ()
    weather: dict[str, _Weight] = {}
    occasions: dict[str, _Weight] = {}
    audience: _Audience = _Audience()
    price: _Price
    repeat: _Weight


class _Department(_Strict):
    name: _Key
    title: _Words
    brands: tuple[_Words, ...] = Field(min_length=1)
    details: tuple[_Words, ...] = Field(min_length=1)
    categories: tuple[dict[str, Any], ...] = Field(min_length=1)


class _Topic(_Strict):
    name: _Words
    key: _Key
    kind: Literal["recurring", "new"]
    ages: tuple[_Age, ...] = ()
    categories: dict[str, _Weight] = Field(min_length=1)


def _entries(text: str, what: str) -> list[Any]:
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{what}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{what}: {type(entries).__name__} (must be a list of entries)")
    return entries


def _entry(model: type[_Model], raw: Any, what: str) -> _Model:
    """One validated entry; the first thing wrong with it becomes a one-line error that names it."""
    label = what
    if isinstance(raw, dict):
        label = f"{what} {raw.get('key') or raw.get('name') or '(without a name)'}"
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{label}: {where}: {first['input']!r} ({first['msg']})") from None


def _category(department: _Department, entry: _Category) -> Category:
    for field, given, known in (
        ("weather", entry.weather, WEATHER_SIGNALS),
        ("occasions", entry.occasions, OCCASIONS),
    ):
        for key in given:
            if key not in known:
                raise ValueError(f"category {entry.name}: {field}.{key}: unknown key ({', '.join(known)})")
    return Category(
        name=entry.name,
        department=department.name,
        words=entry.words,
        modifiers=entry.modifiers,
        materials=entry.materials,
        brands=department.brands,
        details=entry.details or department.details,
        seasons=entry.seasons,
        weather=entry.weather,
        occasions=entry.occasions,
        gender=entry.audience.gender,
        ages=entry.audience.ages,
        households=entry.audience.households,
        price_median=entry.price.median,
        price_spread=entry.price.spread,
        repeat=entry.repeat,
    )


def _topic(entry: _Topic) -> Topic:
    return Topic(name=entry.name, key=entry.key, kind=entry.kind, ages=entry.ages, categories=entry.categories)


def _check_unique(what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} {name}: named twice (names must be unique)")
        seen.add(name)
