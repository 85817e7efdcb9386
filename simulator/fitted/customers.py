"""Who comes back and how soon: the BG/NBD model of repeat buying, fitted to a log and drawn from.

Fader, Hardie and Lee 2005, "Counting your customers the easy way: an alternative to the Pareto/NBD model", Marketing
Science 24. A customer comes at a constant rate while interested, and loses interest after each visit but the first with
a constant probability; rates are gamma distributed over customers and probabilities beta. Given what a customer did,
both are known up to a gamma and a beta distribution, and so is the probability that the interest is still there.

Time is business time, so that nobody comes while the shop is closed. Knows no baskets.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betaincinv, betaln, gammaincinv, gammaln

from simulator.streams import Stream

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_BOUND: Final = 12.0
"""Of the logarithms of the parameters: beyond it a distribution is a point, and its parameter cannot be told."""
_INTERESTED, _RATE, _LEAVES, _GAP, _GOES = range(5)


@dataclass(frozen=True)
class ReturnModel:
    """Parameters of a BG/NBD model.

    Attributes:
        shape, rate: of the gamma distribution of visits a unit of business time (r and alpha of the paper).
        leave, stay: of the beta distribution of the probability to lose interest after a visit (a and b).
    """

    shape: float
    rate: float
    leave: float
    stay: float


@dataclass(frozen=True)
class Customers:
    """What is known of customers at a moment.

    Attributes:
        repeats: visits after the first one, x, [customers].
        last: business time from the first visit to the last, t_x, [customers].
        watched: business time from the first visit to now, T, [customers].
    """

    repeats: Integers
    last: Floats
    watched: Floats


def log_likelihood(model: ReturnModel, seen: Customers) -> float:
    """Logarithm of the likelihood, equation 6 of the paper."""
    r, alpha, a, b = model.shape, model.rate, model.leave, model.stay
    x = seen.repeats.astype(np.float64)
    still = betaln(a, b + x) - betaln(a, b) - (r + x) * np.log(alpha + seen.watched)
    gone = betaln(a + 1.0, b + np.maximum(x, 1.0) - 1.0) - betaln(a, b) - (r + x) * np.log(alpha + seen.last)
    either = np.where(x > 0, np.logaddexp(still, gone), still)
    return float(np.sum(gammaln(r + x) - gammaln(r) + r * np.log(alpha) + either))


def fit_return_model(seen: Customers) -> ReturnModel:
    """The parameters of greatest likelihood.

    Raises:
        ValueError: there is no customer, or nobody ever came back.
    """
    if not len(seen.repeats) or not seen.repeats.any():
        raise ValueError("customers: none that came back; fit to a longer part of the log")

    def loss(logarithms: Floats) -> float:
        return -log_likelihood(ReturnModel(*np.exp(logarithms).tolist()), seen) / len(seen.repeats)

    start = np.log([1.0, max(float(seen.watched.mean()), 1.0), 0.5, 2.0])
    found = minimize(loss, start, method="L-BFGS-B", bounds=[(-_BOUND, _BOUND)] * 4)
    return ReturnModel(*np.exp(found.x).tolist())


def share_interested(model: ReturnModel, seen: Customers) -> Floats:
    """Probability that each customer is still interested, [customers]; 1 of who came once, as in the paper."""
    r, alpha, a, b = model.shape, model.rate, model.leave, model.stay
    x = seen.repeats.astype(np.float64)
    odds_gone = np.exp((r + x) * (np.log(alpha + seen.watched) - np.log(alpha + seen.last)))
    return np.where(x > 0, 1.0 / (1.0 + a / (b + np.maximum(x, 1.0) - 1.0) * odds_gone), 1.0)


def draw_returns(
    model: ReturnModel, seen: Customers, customer: Integers, first: Flags, begin: Floats, end: float, stream: Stream
) -> tuple[Integers, Integers, Floats]:
    """Visits of customers, given what they did before.

    Args:
        model: of all customers.
        seen: of each; of a customer who is new, nothing: no repeats, no time watched.
        customer: numbers that the draws are keyed by, all different, [customers].
        first: whether ``begin`` is itself a visit, a new customer's first one, after which nobody leaves,
            [customers].
        begin: business time from which visits are drawn, [customers].
        end: business time before which visits lie.
        stream: of the draws.

    Returns:
        The row of the customer, the number of the visit among those drawn for the customer, and its business time,
        each [visits].
    """
    x = seen.repeats.astype(np.float64)
    rate = gammaincinv(model.shape + x, stream.uniform(_RATE, customer)) / (model.rate + seen.watched)
    leaves = betaincinv(model.leave, model.stay + x, stream.uniform(_LEAVES, customer))
    interested = first | (stream.uniform(_INTERESTED, customer) < share_interested(model, seen))
    rows, numbers, times = [], [], []
    number = 0
    here, now = np.flatnonzero(interested), begin[interested]
    arrives = first[here]
    while len(here):
        gap = stream.exponential(_GAP, customer[here], number) / rate[here]
        now = now + np.where(arrives, 0.0, gap)
        inside = now < end
        here, now = here[inside], now[inside]
        rows.append(here)
        numbers.append(np.full(len(here), number, np.int64))
        times.append(now)
        stays = arrives[inside] | (stream.uniform(_GOES, customer[here], number) >= leaves[here])
        here, now, number = here[stays], now[stays], number + 1
        arrives = np.zeros(len(here), np.bool_)
    if not rows:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    return np.concatenate(rows), np.concatenate(numbers), np.concatenate(times)
