import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.capping import cap_heights, capped, share_capped


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_capping_cuts_at_the_quantile_and_nothing_else(values: list[float], quantile: float) -> None:
    """Values above the warm-up's quantile become it, all others stay, whatever the experiment holds."""
    before = pl.DataFrame({"tv": values})
    heights = cap_heights(before, ["tv"], quantile)
    if np.quantile(values, quantile) <= 0.0:
        assert heights == {}
        return
    assert heights["tv"] == pytest.approx(np.quantile(values, quantile))
    after = pl.DataFrame({"tv": [*values, 1e9]})
    cut = capped(after, heights)["tv"].to_numpy()
    assert cut == pytest.approx(np.minimum([*values, 1e9], heights["tv"]))
    assert share_capped(after, "tv", heights["tv"]) == np.mean(np.array([*values, 1e9]) > heights["tv"])


def test_nothing_is_cut_where_nothing_was_seen() -> None:
    """A warm-up without rows, or without amounts, gives no height."""
    assert cap_heights(pl.DataFrame({"tv": []}, schema={"tv": pl.Float64}), ["tv"], 0.99) == {}
    assert cap_heights(pl.DataFrame({"tv": [0.0, 0.0]}), ["tv"], 0.99) == {}
    assert share_capped(pl.DataFrame({"tv": []}, schema={"tv": pl.Float64}), "tv", 1.0) == 0.0


@pytest.mark.parametrize("quantile", [0.0, 1.0, 1.5])
def test_a_quantile_out_of_range_is_refused(quantile: float) -> None:
    """The message names it."""
    with pytest.raises(ValueError, match=f"quantile: {quantile}"):
        cap_heights(pl.DataFrame({"tv": [1.0]}), ["tv"], quantile)
