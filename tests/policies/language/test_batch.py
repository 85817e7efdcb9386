import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from policies.language.batch import repeats


@given(st.integers(2, 4), st.lists(st.lists(st.integers(0, 3), min_size=9, max_size=9), min_size=1, max_size=4))
def test_what_would_repeat_is_found(count: int, rows: list[list[int]]) -> None:
    """A token is found if and only if the run of tokens that it would complete stands in its row already."""
    for step in range(10):
        row, token = repeats(np.array(rows, np.int64)[:, :step], count)
        found = set(zip(row.tolist(), token.tolist(), strict=True))
        for number, whole in enumerate(rows):
            told = whole[:step]
            runs = {tuple(told[k : k + count]) for k in range(step - count + 1)}
            wanted = {t for t in range(4) if step >= count and (*told[step - count + 1 :], t) in runs}
            assert {t for n, t in found if n == number} == wanted
