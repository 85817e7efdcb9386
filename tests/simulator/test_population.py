import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simulator.batches import ObservedUsers
from simulator.parameters import IntentParameters, PopulationParameters
from simulator.population import (
    AGE_SHARES,
    HOUSEHOLD_BY_AGE,
    Population,
    choose,
    draw_interests,
    generate_population,
    profile_words,
)
from simulator.taxonomy import load_taxonomy, segment_of

SHOP = load_taxonomy()


def draw(users: int, seed: int = 4, cities: int = 3, intent: IntentParameters | None = None) -> Population:
    """A population of the shop."""
    return generate_population(SHOP, users, cities, PopulationParameters(), intent or IntentParameters(), seed)


LARGE = draw(5000)


def columns(population: Population) -> dict[str, np.ndarray]:
    """All columns, observed and latent."""
    rest = {f.name: getattr(population, f.name) for f in dataclasses.fields(population) if f.name != "observed"}
    return rest | {f"observed.{name}": values for name, values in vars(population.observed).items()}


@pytest.mark.parametrize("users", [1, 2, 3, 100, 4095, 4096, 4097])
def test_a_larger_population_begins_with_the_smaller(users: int) -> None:
    """User u depends on (seed, u) alone: more users, or blocks cut elsewhere, move no bit of the first ones."""
    small = draw(users)
    assert small.rows == users
    for name, values in columns(small).items():
        assert np.array_equal(values, columns(LARGE)[name][:users]), name


def test_interests_are_a_distribution() -> None:
    """A user's interests are different categories with positive weights, descending and summing to 1."""
    assert np.allclose(LARGE.interest_weight.sum(axis=1), 1.0, atol=1e-12)
    assert (LARGE.interest_weight > 0).all()
    assert (np.diff(LARGE.interest_weight, axis=1) <= 0).all()
    assert (np.diff(np.sort(LARGE.interest_category, axis=1), axis=1) > 0).all()
    assert LARGE.interest_category.min() >= 0
    assert LARGE.interest_category.max() < len(SHOP.categories)


def test_few_strong_interests_where_concentration_is_small() -> None:
    """The smaller the concentration, the more of the weight the first interest holds."""
    user, audience = np.arange(300), SHOP.audience[np.zeros(300, np.int64)]
    first = [draw_interests(user, audience, SHOP.department, 12, c, 1)[1][:, 0].mean() for c in (0.1, 0.5, 2.0, 50.0)]
    assert first == sorted(first, reverse=True)
    assert first[0] > 0.5
    assert first[-1] < 0.15


def test_interests_follow_the_audience() -> None:
    """Categories made for somebody are liked by them more often than by people whom they are not made for."""
    fit = SHOP.audience[LARGE.segment]
    liked = np.zeros_like(fit, dtype=bool)
    np.put_along_axis(liked, LARGE.interest_category.astype(np.int64), True, axis=1)
    assert liked[fit >= 0.99].mean() > 2 * liked[fit < 0.3].mean()


def test_shares_are_those_declared() -> None:
    """Ages, households and cities fall as their tables say (chi-square)."""
    observed = LARGE.observed
    ages = np.bincount(observed.age_band, minlength=len(AGE_SHARES))
    assert stats.chisquare(ages, np.array(AGE_SHARES) * LARGE.rows).pvalue > 1e-4
    for age, shares in enumerate(HOUSEHOLD_BY_AGE):
        households = np.bincount(observed.household[observed.age_band == age], minlength=len(shares))
        assert stats.chisquare(households, np.array(shares) * households.sum()).pvalue > 1e-4
    assert stats.chisquare(np.bincount(observed.city, minlength=3)).pvalue > 1e-4
    assert stats.chisquare(np.bincount(observed.gender, minlength=2)).pvalue > 1e-4
    assert np.allclose(np.sum(HOUSEHOLD_BY_AGE, axis=1), 1.0)
    assert np.isclose(np.sum(AGE_SHARES), 1.0)


def test_profiles_agree_with_the_truth_behind_them() -> None:
    """The latent segment and age band are those of the declared profile."""
    observed = LARGE.observed
    assert np.array_equal(LARGE.segment, segment_of(observed.gender, observed.age_band, observed.household))
    assert np.array_equal(LARGE.age_band, observed.age_band)
    assert np.array_equal(observed.user, np.arange(LARGE.rows))


def test_traits_have_their_scale() -> None:
    """Rates have the median asked for, sensitivities mean 1, and intent weights sum to 1 around their means."""
    assert abs(np.median(LARGE.visit_rate) / PopulationParameters().visits_per_day - 1.0) < 0.04
    assert abs(np.log(LARGE.visit_rate).std() - PopulationParameters().visits_spread) < 0.03
    assert abs(LARGE.price_sensitivity.mean() - 1.0) < 0.04
    assert (np.abs(LARGE.sensitivity.mean(axis=0) - 1.0) < 0.04).all()
    assert np.allclose(LARGE.intent_weight.sum(axis=1), 1.0)
    means = IntentParameters()
    expected = np.array([means.long_term, means.recent, means.contextual])
    assert (np.abs(np.median(LARGE.intent_weight, axis=0) - expected / expected.sum()) < 0.03).all()


def test_intent_weights_may_all_be_nothing() -> None:
    """Where no source of intent has a weight, the weights are 0 and not undefined."""
    nothing = draw(5, intent=IntentParameters(long_term=0, recent=0, contextual=0))
    assert (nothing.intent_weight == 0).all()


def test_likings_come_in_clusters() -> None:
    """A user's interests fall into fewer departments than interests of different users thrown together do."""
    department = SHOP.department[LARGE.interest_category]
    shuffled = np.stack([np.roll(column, 37 * n) for n, column in enumerate(department.T)], axis=1)

    def distinct(table: np.ndarray) -> float:
        return float(np.mean([len(np.unique(row)) for row in table]))

    assert distinct(department) < 0.9 * distinct(shuffled)


def test_likings_go_together_across_departments() -> None:
    """Categories of different departments are liked together, or apart, far more than chance would have it."""
    users, categories = 4000, 60
    liked = np.zeros((users, categories))
    weight, alone = np.ones((users, categories)), np.arange(categories, dtype=np.int32)
    chosen, _ = draw_interests(np.arange(users), weight, alone, 12, 0.5, 1)
    np.put_along_axis(liked, chosen.astype(np.int64), 1.0, axis=1)
    correlation = np.asarray(np.corrcoef(liked.T))[np.triu_indices(categories, 1)]
    assert correlation.std() > 2 / np.sqrt(users)  # by chance alone the correlations' sd would be half of that


@given(st.lists(st.integers(0, 4999), max_size=40))
@settings(max_examples=25, deadline=None)
def test_taking_rows_takes_all_of_them(rows: list[int]) -> None:
    """Some rows of a population hold the same users with the same traits, in the order asked for, still read-only."""
    index = np.array(rows, dtype=np.int64)
    part = LARGE.take(index)
    for name, values in columns(part).items():
        assert np.array_equal(values, columns(LARGE)[name][index]), name
    for field in dataclasses.fields(ObservedUsers):
        assert not getattr(part.observed, field.name).flags.writeable


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8), st.floats(0.0, 1.0, exclude_min=True, exclude_max=True))
@settings(max_examples=50, deadline=None)
def test_choice_is_the_interval_a_uniform_falls_in(shares: list[float], uniform: float) -> None:
    """A uniform chooses the interval of the cumulative shares that holds it, and rounding never one too many."""
    cumulative = np.cumsum(np.array(shares) / np.sum(shares))
    chosen = int(choose(cumulative, np.array(uniform)))
    assert 0 <= chosen < len(shares)
    assert chosen == 0 or uniform > cumulative[chosen - 1]
    assert chosen == len(shares) - 1 or uniform <= cumulative[chosen]


def test_unknown_profiles_are_anyone() -> None:
    """What is not declared is not told."""
    users = ObservedUsers(np.arange(2), *(np.array(codes, np.int32) for codes in ([0, -1], [0, -1], [2, -1], [2, -1])))
    assert profile_words(users, 0) == "woman, 35-44, young children"
    assert profile_words(users, 1) == "anyone"
