from hypothesis import given
from hypothesis import strategies as st

from policies.training.choices import drawn, pick

DRAWS = st.floats(0.0, 1.0, exclude_max=True)


@given(st.integers(1, 9), DRAWS)
def test_a_pick_leaves_a_draw(options: int, draw: float) -> None:
    """Every option takes an equal part of the draws, and what is left of a draw is one again."""
    found, rest = pick(range(options), draw)
    assert found <= draw * options < found + 1 + 1e-9
    assert 0.0 <= rest <= 1.0


@given(st.lists(st.floats(0.01, 5.0), min_size=1, max_size=6), DRAWS)
def test_options_are_drawn_by_their_shares(shares: list[float], draw: float) -> None:
    """An option is drawn by the draws that lie within its share of the whole."""
    found = drawn(list(enumerate(shares)), draw)
    whole = sum(shares)
    assert sum(shares[:found]) - 1e-9 <= draw * whole <= sum(shares[: found + 1]) + 1e-9
