"""Two proportions: a test and intervals that hold with few successes too.

The test is that of the pooled z (R's ``prop.test`` without continuity correction); the interval of the difference is
Newcombe's, built of two Wilson intervals (Newcombe 1998, "Interval estimation for the difference between independent
proportions", Statistics in Medicine 17, method 10); that of the ratio is the adjusted log interval (Walter 1975). All
from statsmodels. Knows counts only.
"""

from dataclasses import dataclass

from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

Interval = tuple[float, float]


@dataclass(frozen=True)
class ProportionTest:
    """Outcome of the test of two proportions.

    Attributes:
        p_value: two-sided, of no difference.
        ci: of treatment minus control.
        ratio_ci: of treatment over control, ``None`` where one of them is 0.
    """

    p_value: float
    ci: Interval
    ratio_ci: Interval | None


def compare_proportions(
    successes_control: int, users_control: int, successes_treatment: int, users_treatment: int, alpha: float
) -> ProportionTest:
    """Compare two proportions.

    Args:
        successes_control: users with a 1 in the control arm.
        users_control: users of the control arm.
        successes_treatment: users with a 1 in the treatment arm.
        users_treatment: users of the treatment arm.
        alpha: 1 - the confidence level.

    Raises:
        ValueError: if both proportions are 0 or both are 1, so that nothing varies, or a count is impossible.
    """
    counts = (successes_treatment, users_treatment, successes_control, users_control)
    for successes, users in (counts[2:], counts[:2]):
        if not 0 <= successes <= users or users < 1:
            raise ValueError(f"successes: {successes} of {users} users (must be 0 to all of at least 1)")
    if successes_control + successes_treatment in (0, users_control + users_treatment):
        raise ValueError("successes: none or all of the users in both arms (nothing varies)")
    _, p_value = proportions_ztest(counts[::2], counts[1::2])
    low, high = confint_proportions_2indep(*counts, method="newcomb", compare="diff", alpha=alpha)
    ratio = None
    if min(successes_control, successes_treatment) > 0:
        least, most = confint_proportions_2indep(*counts, method="log-adjusted", compare="ratio", alpha=alpha)
        ratio = (float(least), float(most))
    return ProportionTest(float(p_value), (float(low), float(high)), ratio)
