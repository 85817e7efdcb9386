from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from metrics.multiplicity import adjusted

# R's ?p.adjust: five p-values and what p.adjust(p, method) gives.
P = [0.01, 0.02, 0.03, 0.04, 0.05]
R = {
    "holm": [0.05, 0.08, 0.09, 0.09, 0.09],
    "hochberg": [0.05, 0.05, 0.05, 0.05, 0.05],
    "benjamini_hochberg": [0.05, 0.05, 0.05, 0.05, 0.05],
    "benjamini_yekutieli": [0.1141667] * 5,
    "none": P,
}
p_values = st.lists(st.one_of(st.none(), st.floats(0.0, 1.0)), max_size=12)


@pytest.mark.parametrize("correction", sorted(R))
def test_corrections_are_those_of_r(correction: str) -> None:
    """Five p-values are corrected as R's p.adjust does."""
    assert adjusted(P, correction) == pytest.approx(R[correction], abs=5e-8)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=5)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    """Every family is corrected as statsmodels does it, ties and zeros included."""
    assert adjusted(p, "holm") == pytest.approx(multipletests(p, method="holm")[1], abs=1e-15)  # type: ignore[arg-type]


@settings(deadline=None)
@given(p_values, st.sampled_from(sorted(R)))
def test_corrected_p_values_never_shrink_and_keep_their_places(p: list[float | None], correction: str) -> None:
    """What was not tested stays untested, and no correction makes a p-value smaller or larger than 1."""
    found = adjusted(p, correction)  # type: ignore[arg-type]
    assert [each is None for each in found] == [each is None for each in p]
    assert all(
        before - 1e-12 <= after <= 1.0 for before, after in zip(p, found, strict=True) if before is not None and after
    )


@settings(deadline=None)
@given(p_values)
def test_hochberg_is_never_weaker_than_holm_and_fdr_never_weaker_than_hochberg(p: list[float | None]) -> None:
    """The known order of power among the corrections holds for every family."""
    chain = [adjusted(p, name) for name in ("holm", "hochberg", "benjamini_hochberg")]  # type: ignore[arg-type]
    for cautious, bolder in pairwise(chain):
        assert all(a is None or b is None or b <= a + 1e-12 for a, b in zip(cautious, bolder, strict=True))


def test_an_unknown_correction_is_refused() -> None:
    """The message lists what there is."""
    with pytest.raises(ValueError, match="correction: 'bonferroni'"):
        adjusted([0.1], "bonferroni")  # type: ignore[arg-type]
