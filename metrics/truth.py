"""The true effect on this population: every user played under every arm on the same draws.

No sampling, hence no interval: the values are those of all users under each arm, and their difference is the
effect that an estimate from half of the users tries to find. Knows totals, and not how they were played.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from metrics.definitions import Metric


def true_effects(
    totals_by_arm: Mapping[str, pl.DataFrame], control: str, metrics: Sequence[Metric]
) -> dict[tuple[str, str], dict[str, float | None]]:
    """The effect of every arm but the control on every metric.

    Args:
        totals_by_arm: for each arm the table of ``user_totals`` of all exposed users, played under that arm.
        control: the arm to compare with.
        metrics: what to compare.

    Returns:
        For (metric, treatment): ``effect`` (treatment minus control), ``lift`` (effect over the control's
        value, ``None`` where that is 0), ``control_value`` and ``treatment_value``; ``None`` where a value
        does not exist (nothing to divide by, or no user observed long enough). Equal tables give exactly 0.0.

    Raises:
        ValueError: if the control is missing, or if the arms do not hold the same users.
    """
    if control not in totals_by_arm:
        raise ValueError(f"control: {control!r} has no totals (arms played: {', '.join(totals_by_arm)})")
    # One order for all arms, so that equal tables are summed alike to the last bit.
    tables = {arm: totals.sort("user") for arm, totals in totals_by_arm.items()}
    for arm, table in tables.items():
        if not np.array_equal(table["user"].to_numpy(), tables[control]["user"].to_numpy()):
            raise ValueError(f"totals_by_arm.{arm}: users differ from those of {control!r} (must be the same)")

    effects = {}
    for metric in metrics:
        values = {arm: _value(metric, table) for arm, table in tables.items()}
        base = values[control]
        for treatment, value in values.items():
            if treatment == control:
                continue
            effect = None if base is None or value is None else value - base
            effects[metric.name, treatment] = {
                "effect": effect,
                "lift": effect / base if effect is not None and base else None,
                "control_value": base,
                "treatment_value": value,
            }
    return effects


def _value(metric: Metric, totals: pl.DataFrame) -> float | None:
    rows = totals.drop_nulls(metric.numerator)
    numerator = float(rows[metric.numerator].to_numpy().sum())
    whole = float(rows[metric.denominator].to_numpy().sum()) if metric.denominator else float(rows.height)
    return numerator / whole if whole else None
