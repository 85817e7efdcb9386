"""Sample ratio mismatch: did the arms receive the users that their shares promise?

A mismatch says that assignment, logging or triggering is broken, so that no effect of the experiment can be
trusted (Kohavi, Tang and Xu 2020, "Trustworthy Online Controlled Experiments", chapters 3 and 21). Knows
counts only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import chisquare


@dataclass(frozen=True)
class SampleRatio:
    """The test's outcome.

    Attributes:
        p_value: of the chi-square test of the counts against the shares; 1 where there is nothing to test
            (no users, or a single arm).
        ok: whether the p-value reaches the threshold.
    """

    p_value: float
    ok: bool


def sample_ratio(users_by_arm: Mapping[str, int], shares: Mapping[str, float], threshold: float = 0.001) -> SampleRatio:
    """Test the arms' user counts against their shares, all arms at once.

    Args:
        users_by_arm: users counted in each arm.
        shares: the planned shares; only their proportions matter, so arms of 1% each are two halves.
        threshold: a p-value below it is a mismatch. Low, because the test is read at every experiment.

    Raises:
        ValueError: if the arms differ between the two, a share is not positive or a count is negative.
    """
    if users_by_arm.keys() != shares.keys():
        raise ValueError(f"shares: arms {sorted(shares)} (must be those counted, {sorted(users_by_arm)})")
    for arm, share in shares.items():
        if not share > 0:
            raise ValueError(f"shares.{arm}: {share} (must be positive)")
        if users_by_arm[arm] < 0:
            raise ValueError(f"users_by_arm.{arm}: {users_by_arm[arm]} (must not be negative)")
    users = sum(users_by_arm.values())
    if users == 0 or len(shares) == 1:
        return SampleRatio(p_value=1.0, ok=True)
    whole = sum(shares.values())
    expected = [users * share / whole for share in shares.values()]
    p_value = float(chisquare([users_by_arm[arm] for arm in shares], expected).pvalue)
    return SampleRatio(p_value=p_value, ok=p_value >= threshold)
