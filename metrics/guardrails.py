"""Metrics that must not get worse: non-inferiority tests with a margin.

A guardrail is passed when it is shown that the loss is smaller than the margin, not when no loss was noticed. The test
is one-sided at half the level, so that it agrees with the two-sided interval of the lift (International Conference on
Harmonisation 1998, guideline E9, section 3.3.2). All guardrails must be passed for a launch, which keeps the level
without a correction (intersection-union test; Berger 1982). Knows estimates only.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from scipy.stats import norm

from metrics.estimates import Estimate

State = Literal["passed", "failed", "open"]


@dataclass(frozen=True)
class Guardrail:
    """The outcome of one guardrail.

    Attributes:
        metric: its name.
        treatment: the arm held against the control.
        margin: the relative loss that is put up with.
        loss: relative loss that was estimated, below 0 for a gain; ``None`` if it could not be.
        worst: the largest loss that the interval at 1 - alpha allows.
        p_value: one-sided, of a loss of the margin or more.
        state: ``passed`` if a loss as large as the margin is ruled out, ``failed`` if a smaller one is, else ``open``.
    """

    metric: str
    treatment: str
    margin: float
    loss: float | None
    worst: float | None
    p_value: float | None
    state: State

    def to_json(self) -> dict[str, Any]:
        """In JSON's own types."""
        return dict(self.__dict__)


def guard(
    metric: str, treatment: str, found: Estimate, margin: float, alpha: float, higher_is_better: bool = True
) -> Guardrail:
    """Test whether a metric lost less than the margin.

    Works on the log of treatment over control; where that does not exist, on the difference over the control's value.

    Args:
        metric: its name.
        treatment: the arm.
        found: the comparison.
        margin: relative loss that is put up with, above 0 and below 1.
        alpha: two-sided level of the experiment; the test takes half of it.
        higher_is_better: whether a fall is a loss.

    Raises:
        ValueError: if the margin is out of range.
    """
    if not 0.0 < margin < 1.0:
        raise ValueError(f"margin: {margin} (must lie between 0 and 1)")
    sign = 1.0 if higher_is_better else -1.0
    half = float(norm.isf(alpha / 2.0))
    if found.lift is not None and found.log_error:
        gain, error = sign * math.log1p(found.lift), found.log_error
        allowed = math.log1p(-margin) if higher_is_better else -math.log1p(margin)
        loss = -sign * found.lift
        worst = -sign * math.expm1(sign * (gain - half * error))
    elif found.effect is not None and found.std_error and found.control_value:
        base = abs(found.control_value)
        gain, error, allowed = sign * found.effect / base, found.std_error / base, -margin
        loss, worst = -gain, -(gain - half * error)
    else:
        return Guardrail(metric, treatment, margin, None, None, None, "open")
    p_value, against = float(norm.sf((gain - allowed) / error)), float(norm.cdf((gain - allowed) / error))
    state: State = "passed" if p_value <= alpha / 2.0 else "failed" if against <= alpha / 2.0 else "open"
    return Guardrail(metric, treatment, margin, loss, worst, p_value, state)
