"""Users: the traits that stay with them, and what they declare, in words. What moves is in ``state``."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv

from simulator.batches import Floats, Ints, Ints32, ObservedUsers, read_only
from simulator.parameters import IntentParameters, PopulationParameters
from simulator.streams import Stream
from simulator.taxonomy import AGE_BANDS, GENDERS, HOUSEHOLDS, Taxonomy, segment_of

AGE_SHARES = (0.15, 0.25, 0.21, 0.17, 0.13, 0.09)
"""Shares of the age bands among shoppers: an assumption, young adults over-represented as in most shops' logs."""

HOUSEHOLD_BY_AGE = (
    (0.70, 0.22, 0.07, 0.01),
    (0.35, 0.30, 0.33, 0.02),
    (0.20, 0.20, 0.42, 0.18),
    (0.20, 0.28, 0.12, 0.40),
    (0.25, 0.58, 0.02, 0.15),
    (0.38, 0.59, 0.01, 0.02),
)
"""P(household | age band), rows as AGE_BANDS, columns as HOUSEHOLDS: an assumption in the order of census tables."""

LIFESTYLES = 6
"""Latent dimensions along which likings for categories of different departments go together."""

_PERSON = {"female": "woman", "male": "man"}
_HOUSEHOLD = {
    "single": "single",
    "couple": "couple",
    "young_children": "young children",
    "teenagers": "teenagers",
}

_BLOCK = 4096


@dataclass(frozen=True)
class Population:
    """Traits by row. Only ``observed`` is ever shown to a policy.

    Attributes:
        observed: declared profiles.
        segment: gender x age band x household, int32 [rows].
        age_band: int32 [rows], for trends (0 where nobody knows).
        interest_category: long-term interests, int32 [rows, interests].
        interest_weight: their weights, each row summing to 1, float64 [rows, interests].
        style: taste position, float64 [rows, dimensions].
        price_level, price_sensitivity, novelty, patience: float64 [rows].
        visit_rate: visits a day at neutral satisfaction, float64 [rows].
        sensitivity: to weather, occasions and trends, float64 [rows, 3].
        intent_weight: long-term, recent, contextual, float64 [rows, 3].
    """

    observed: ObservedUsers
    segment: Ints32
    age_band: Ints32
    interest_category: Ints32
    interest_weight: Floats
    style: Floats
    price_level: Floats
    price_sensitivity: Floats
    novelty: Floats
    patience: Floats
    visit_rate: Floats
    sensitivity: Floats
    intent_weight: Floats

    @property
    def rows(self) -> int:
        """Number of users in this table."""
        return len(self.segment)

    def take(self, rows: Ints) -> "Population":
        """The same users and nobody else, in the order of ``rows``."""
        observed = ObservedUsers(
            **{f.name: read_only(getattr(self.observed, f.name)[rows]) for f in fields(ObservedUsers)}
        )
        rest = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "observed"}
        return Population(observed=observed, **rest)


def profile_words(users: ObservedUsers, row: int) -> str:
    """What is declared of a user: ``woman, 35-44, young children``; ``anyone`` where nothing is."""
    words = []
    if users.gender[row] >= 0:
        words.append(_PERSON[GENDERS[users.gender[row]]])
    if users.age_band[row] >= 0:
        words.append(AGE_BANDS[users.age_band[row]])
    if users.household[row] >= 0:
        words.append(_HOUSEHOLD[HOUSEHOLDS[users.household[row]]])
    return ", ".join(words) or "anyone"


def choose(cumulative: Floats, uniform: Floats) -> Ints32:
    """Index drawn from cumulative shares [..., choices] by uniforms [...], int32 [...]."""
    return np.minimum((uniform[..., None] > cumulative).sum(axis=-1), cumulative.shape[-1] - 1).astype(np.int32)


def draw_interests(
    user: Ints, weight: Floats, department: Ints32, interests: int, concentration: float, seed: int
) -> tuple[Ints32, Floats]:
    """Long-term interests: a weighted draw without replacement (Gumbel top-k), then gamma weights.

    Likings come in clusters, as baskets do: a user likes or dislikes whole departments, and has a lifestyle, a position
    in a latent space where categories of different departments lie near each other.

    Args:
        user: ids, int64 [users].
        weight: relative appeal of each category to each user, float64 [users, categories].
        department: of each category, int32 [categories].
        interests: how many a user has.
        concentration: shape of the gamma weights.
        seed: the world's seed.

    Returns:
        categories int32 [users, interests] and weights float64 [users, interests], rows descending and summing to 1.
    """
    n = weight.shape[1]
    departments = np.arange(int(department.max()) + 1)
    liking = Stream(seed, "population/department").normal(user[:, None], departments[None, :])
    axes = np.arange(LIFESTYLES)
    person = Stream(seed, "population/lifestyle").normal(user[:, None], axes[None, :])
    place = Stream(seed, "population/category-lifestyle").normal(np.arange(n)[:, None], axes[None, :])
    lifestyle = np.zeros((len(user), n))
    for axis in axes:  # summed in a fixed order: a matrix product could change a last bit with the block's shape
        lifestyle += person[:, axis, None] * place[None, :, axis]
    gumbel = -np.log(Stream(seed, "population/interest").exponential(user[:, None], np.arange(n)[None, :]))
    key = np.log(weight) + gumbel + liking[:, department] + lifestyle / np.sqrt(LIFESTYLES)
    top = np.argsort(-key, axis=1, kind="stable")[:, :interests].astype(np.int32)
    uniform = Stream(seed, "population/interest-weight").uniform(user[:, None], np.arange(top.shape[1])[None, :])
    gamma = -np.sort(-np.maximum(gammaincinv(concentration, uniform), 1e-12), axis=1)
    return top, gamma / gamma.sum(axis=1, keepdims=True)


def draw_traits(
    user: Ints, population: PopulationParameters, intent: IntentParameters, seed: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Traits drawn alike in every world: taste, prices, novelty, patience, rate, sensitivities, intent weights."""

    def normal(name: str, columns: int | None = None) -> Floats:
        stream = Stream(seed, f"population/{name}")
        return stream.normal(user) if columns is None else stream.normal(user[:, None], np.arange(columns)[None, :])

    means = np.array([intent.long_term, intent.recent, intent.contextual])
    weights = means * np.exp(intent.weight_spread * normal("intent-weight", 3))
    total = weights.sum(axis=1, keepdims=True)
    return {
        "style": normal("style", population.style_dimensions) / population.style_dimensions**0.25,
        "price_level": normal("price-level"),
        "price_sensitivity": np.exp(0.5 * normal("price-sensitivity") - 0.125),
        "novelty": normal("novelty"),
        "patience": population.patience + population.patience_spread * normal("patience"),
        "visit_rate": population.visits_per_day * np.exp(population.visits_spread * normal("visit-rate")),
        "sensitivity": np.exp(0.4 * normal("sensitivity", 3) - 0.08),
        "intent_weight": np.divide(weights, total, out=np.zeros_like(weights), where=total > 0),
    }


def generate_population(
    taxonomy: Taxonomy,
    users: int,
    cities: int,
    population: PopulationParameters,
    intent: IntentParameters,
    seed: int,
) -> Population:
    """Draw users 0..users-1. User u depends on (seed, u) alone, so a larger population begins with the smaller one."""
    user = np.arange(users, dtype=np.int64)
    gender = Stream(seed, "population/gender").integers(2, user).astype(np.int32)
    age_band = choose(np.cumsum(AGE_SHARES), Stream(seed, "population/age").uniform(user))
    by_age = np.cumsum(np.asarray(HOUSEHOLD_BY_AGE), axis=1)
    household = choose(by_age[age_band], Stream(seed, "population/household").uniform(user))
    city = Stream(seed, "population/city").integers(cities, user).astype(np.int32)
    segment = np.asarray(segment_of(gender, age_band, household), dtype=np.int32)
    interests = min(population.interests, len(taxonomy.categories))
    category = np.empty((users, interests), dtype=np.int32)
    weight = np.empty((users, interests))
    for begin in range(0, users, _BLOCK):  # in blocks, or a million users would hold a [users, categories] table
        block = slice(begin, begin + _BLOCK)
        category[block], weight[block] = draw_interests(
            user[block],
            taxonomy.audience[segment[block]],
            taxonomy.department,
            interests,
            population.interest_concentration,
            seed,
        )
    observed = ObservedUsers(
        read_only(user), read_only(city), read_only(gender), read_only(age_band), read_only(household)
    )
    assert len(AGE_SHARES) == len(AGE_BANDS) == len(HOUSEHOLD_BY_AGE)
    assert all(len(row) == len(HOUSEHOLDS) for row in HOUSEHOLD_BY_AGE)
    return Population(
        observed=observed,
        segment=segment,
        age_band=age_band,
        interest_category=category,
        interest_weight=weight,
        **draw_traits(user, population, intent, seed),
    )
