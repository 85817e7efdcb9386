import numpy as np
import pytest

from simulator.fitted.customers import (
    Customers,
    ReturnModel,
    draw_returns,
    fit_return_model,
    log_likelihood,
    share_interested,
)
from simulator.streams import Stream

CDNOW = ReturnModel(0.243, 4.414, 0.793, 2.426)
"""Published for the CDNOW data, in weeks (Fader, Hardie and Lee 2005, table 2)."""


def newcomers(count: int) -> Customers:
    """Customers of whom nothing is known yet."""
    return Customers(np.zeros(count, np.int64), np.zeros(count), np.zeros(count))


def seen_after(model: ReturnModel, count: int, weeks: float, seed: int) -> Customers:
    """What customers who first came at 0 have done by then."""
    stream = Stream(seed, "test/returns")
    row, _, time = draw_returns(
        model, newcomers(count), np.arange(count), np.ones(count, np.bool_), np.zeros(count), weeks, stream
    )
    last = np.zeros(count)
    np.maximum.at(last, row, time)
    return Customers(np.bincount(row, minlength=count) - 1, last, np.full(count, weeks))


def test_the_published_expectation() -> None:
    """Who came twice again, last in week 30.43 of 38.86, comes 1.226 times in the next 39 weeks on average.

    Fader, Hardie and Lee 2005, "Implementing the BG/NBD model for customer base analysis in Excel", page 8.
    """
    count = 60_000
    seen = Customers(np.full(count, 2), np.full(count, 30.43), np.full(count, 38.86))
    none, begin = np.zeros(count, np.bool_), np.zeros(count)
    row, _, time = draw_returns(CDNOW, seen, np.arange(count), none, begin, 39.0, Stream(5, "test/returns"))
    visits = np.bincount(row, minlength=count)
    assert abs(visits.mean() - 1.226) < 4 * visits.std() / np.sqrt(count)
    assert time.max() < 39.0


def test_a_fit_recovers_the_model_it_was_drawn_from() -> None:
    """Fitted to sixty thousand customers of the published model over 39 weeks, parameters come back."""
    found = fit_return_model(seen_after(CDNOW, 60_000, 39.0, 3))
    assert found.shape == pytest.approx(CDNOW.shape, rel=0.05)
    assert found.rate == pytest.approx(CDNOW.rate, rel=0.08)
    assert found.leave / (found.leave + found.stay) == pytest.approx(0.793 / 3.219, rel=0.08)


def test_the_likelihood_is_a_probability_of_counts() -> None:
    """Drawn customers are as often back 0, 1, 2 times as the model's closed form for no return says."""
    seen = seen_after(CDNOW, 40_000, 39.0, 9)
    never = (CDNOW.rate / (CDNOW.rate + 39.0)) ** CDNOW.shape
    assert np.exp(log_likelihood(CDNOW, Customers(np.zeros(1, np.int64), np.zeros(1), np.full(1, 39.0)))) == (
        pytest.approx(never)
    )
    assert (seen.repeats == 0).mean() == pytest.approx(never, abs=0.01)


def test_who_is_long_silent_has_lost_interest() -> None:
    """The probability of interest falls with silence, the faster the more often somebody came; newcomers have it."""
    days = np.array([39.0, 30.0, 20.0, 5.0])
    for repeats in (1, 10):
        share = share_interested(CDNOW, Customers(np.full(4, repeats), days, np.full(4, 39.0)))
        assert (np.diff(share) < 0).all()
    rare, often = (
        share_interested(CDNOW, Customers(np.array([n]), np.array([10.0]), np.array([39.0])))[0] for n in (1, 20)
    )
    assert often < rare
    assert share_interested(CDNOW, newcomers(3)).tolist() == [1.0, 1.0, 1.0]


def test_draws_are_a_customers_own() -> None:
    """A customer's visits are the same whoever else is there, and a longer time adds to them without changing them."""
    stream = Stream(8, "test/returns")
    first, zero = np.ones(200, np.bool_), np.zeros(200)
    row, number, time = draw_returns(CDNOW, newcomers(200), np.arange(200), first, zero, 30.0, stream)
    alone = draw_returns(CDNOW, newcomers(1), np.array([150]), first[:1], zero[:1], 60.0, stream)
    assert np.array_equal(time[row == 150], alone[2][alone[2] < 30.0])
    assert (number[time == 0.0] == 0).all()
    assert np.array_equal(np.sort(row[number == 0]), np.arange(200))


def test_nobody_who_came_back_is_refused() -> None:
    """A log in which everybody came once says nothing of returns."""
    with pytest.raises(ValueError, match="longer part"):
        fit_return_model(Customers(np.zeros(5, np.int64), np.zeros(5), np.ones(5)))
