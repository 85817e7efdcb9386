"""A test read after each day, where nothing differs: how often it is stopped for an effect that is not there.

Without correction, and within each kind of bounds that the verdict offers (Armitage, McPherson and Rowe 1969, "Repeated
significance tests on accumulating data", for how bad it gets without). Units keep their arm from look to look. Knows
tables of looks; does not know how they were counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from metrics.audit.draws import Draw
from metrics.audit.outcomes import Outcomes, observed
from metrics.audit.sums import ColumnSums
from metrics.definitions import Metric
from metrics.estimates import estimate
from metrics.sequential.path import Design, first_crossing

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEVER: Final = -1


@dataclass(frozen=True)
class Plan:
    """A design and the looks it reads.

    Attributes:
        design: method and level.
        looks: which of all looks, by index.
    """

    design: Design
    looks: tuple[int, ...]


@dataclass(frozen=True)
class Stops:
    """When experiments were stopped, as index of the look; ``NEVER`` if they were not.

    Attributes:
        uncorrected: at the first p-value at or below alpha: [treatments, replications].
        plans: by the plan's name, at the first look that reached its bound: [treatments, replications] each.
        usable: looks at which something could be tested: [treatments, replications].
    """

    uncorrected: Ints
    plans: Mapping[str, Ints]
    usable: Ints

    @classmethod
    def joined(cls, parts: Sequence["Stops"]) -> "Stops":
        """One replication after the other."""
        return cls(
            np.concatenate([part.uncorrected for part in parts], axis=1),
            {name: np.concatenate([part.plans[name] for part in parts], axis=1) for name in parts[0].plans},
            np.concatenate([part.usable for part in parts], axis=1),
        )


class Peeking:
    """The looks of an experiment in which all arms show one table.

    Args:
        looks: what the table was at each look; users of a look are among those of the last.
        times: share of the planned days that had passed at each look.
        shown: the table that all units show.
        arms: how many.
        metric: that is read.
        cuped: whether the verdict adjusts.
        alpha: level without correction.
        plans: by name.
    """

    def __init__(
        self,
        looks: Sequence[Outcomes],
        times: Sequence[float],
        shown: str,
        arms: int,
        metric: Metric,
        cuped: bool,
        alpha: float,
        plans: Mapping[str, Plan],
    ) -> None:
        whole = looks[-1].user
        self._rows = [look.rows_in(whole) for look in looks]
        self._sums = [ColumnSums(look.tables[shown], [metric], observed(metric, look.tables[shown])) for look in looks]
        self._times, self._arms, self._users = tuple(times), arms, len(whole)
        self._metric, self._cuped, self._alpha, self._plans = metric, cuped, alpha, dict(plans)

    def stops(self, draws: Sequence[Draw]) -> Stops:
        """Read every drawn experiment at every look."""
        shape = (self._arms - 1, len(draws))
        uncorrected, usable = np.full(shape, NEVER), np.zeros(shape, np.int64)
        plans = {name: np.full(shape, NEVER) for name in self._plans}
        weights = [np.stack([each.weights(arm, self._users) for each in draws]) for arm in range(self._arms)]
        read = [
            [sums.aggregates(of_arm[:, rows]) for of_arm in weights]
            for rows, sums in zip(self._rows, self._sums, strict=True)
        ]
        for number in range(len(draws)):
            for treatment in range(1, self._arms):
                found = [
                    estimate(self._metric, look[0][number], look[treatment][number], self._alpha, self._cuped)
                    for look in read
                ]
                place = (treatment - 1, number)
                usable[place] = sum(each.p_value is not None for each in found)
                alarms = (
                    at for at, each in enumerate(found) if each.p_value is not None and each.p_value <= self._alpha
                )
                uncorrected[place] = next(alarms, NEVER)
                for name, plan in self._plans.items():
                    crossed = first_crossing(
                        [found[look] for look in plan.looks], [self._times[look] for look in plan.looks], plan.design
                    )
                    plans[name][place] = NEVER if crossed is None else plan.looks[crossed]
        return Stops(uncorrected, plans, usable)
