"""Do events come as often as the probabilities given for them?

The expected calibration error over bins of equal mass, beside what it would be of probabilities that were right: with
finitely many outcomes it is never 0 (Broecker and Smith 2007, "Increasing the reliability of reliability diagrams",
Weather and Forecasting 22). Outcomes are drawn independently for it; where they go together, as those of one user do,
right probabilities would show more. Pure arrays.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simulator.streams import Stream

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

BINS: Final = 15
HIGH: Final = 0.95


@dataclass(frozen=True)
class Calibration:
    """How probabilities and outcomes agree.

    Attributes:
        error: mean over examples of the gap between mean probability and share of events in their bin.
        noise, noise_high: median and 95% quantile of that error if the probabilities were right and outcomes
            independent.
        predicted, observed: mean probability and share of events in each bin, by probability, [bins].
        size: examples in each bin, [bins].
    """

    error: float
    noise: float
    noise_high: float
    predicted: Floats
    observed: Floats
    size: npt.NDArray[np.int64]


def calibration(probability: Floats, happened: Flags, draws: int, seed: int, bins: int = BINS) -> Calibration:
    """Hold probabilities against outcomes.

    Args:
        probability: of each example, 0 to 1, [examples].
        happened: whether the event came, [examples].
        draws: sets of outcomes drawn from the probabilities, for the noise.
        seed: of the draws.
        bins: how many, of as equal size as can be.

    Raises:
        ValueError: there are fewer examples than bins, or a probability is none.
    """
    if len(probability) < bins:
        raise ValueError(f"examples: {len(probability)}; {bins} bins need as many")
    if not ((probability >= 0.0) & (probability <= 1.0)).all():
        raise ValueError(f"probability: {probability.min()}..{probability.max()}; give numbers from 0 to 1")
    order = np.argsort(probability, kind="stable")
    p, y = probability[order], happened[order]
    edges = np.linspace(0, len(p), bins + 1).astype(np.int64)[:-1]
    size = np.diff(np.append(edges, len(p)))
    predicted = np.add.reduceat(p, edges) / size

    def observed(outcomes: Flags) -> Floats:
        return np.asarray(np.add.reduceat(outcomes.astype(np.float64), edges) / size)

    def error(outcomes: Flags) -> float:
        return float((np.abs(predicted - observed(outcomes)) * size).sum() / len(p))

    stream = Stream(seed, "calibration")
    noise = [error(stream.uniform(number, np.arange(len(p))) < p) for number in range(draws)]
    return Calibration(error(y), float(np.median(noise)), float(np.quantile(noise, HIGH)), predicted, observed(y), size)
