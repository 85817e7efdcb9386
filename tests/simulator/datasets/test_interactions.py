from datetime import date

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulator.datasets.interactions import PurchaseLog

ROWS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2), st.integers(0, 4)), unique=True, max_size=40)


def log_of(rows: list[tuple[int, int, int]]) -> PurchaseLog:
    """A log of rows of minute, customer and item."""
    rows = sorted(rows)
    time, user, item = (np.array([row[n] for row in rows], np.int64) for n in range(3))
    visits = sorted({(t, u) for t, u, _ in rows})
    return PurchaseLog(
        start=date(2020, 1, 1),
        item_codes=tuple("abcde"),
        titles=tuple("abcde"),
        price=np.ones(5),
        category=np.zeros(5, np.int32),
        category_names=("all",),
        first_seen=np.zeros(5, np.int64),
        user_codes=("u", "v", "w"),
        user_country=("Spain",) * 3,
        user=user,
        item=item.astype(np.int32),
        time=time * 60,
        quantity=np.ones(len(rows), np.int64),
        refund_row=np.zeros(0, np.int64),
        refund_time=np.zeros(0, np.int64),
        refund_quantity=np.zeros(0, np.int64),
        unit_price=np.ones(len(rows)),
        visit=np.array([visits.index((t, u)) for t, u, _ in rows], np.int64),
        counts={},
    )


@given(ROWS)
def test_what_was_had_before_is_from_earlier_baskets(rows: list[tuple[int, int, int]]) -> None:
    """A row is a repeat if an earlier basket of the customer has the item; what is owned are those baskets' items."""
    log = log_of(rows)
    again, owned = log.bought_before(), log.owned_before()
    assert again.shape == owned.shape == log.user.shape
    for n, (user, item, visit) in enumerate(zip(log.user, log.item, log.visit, strict=True)):
        before = set(log.item[(log.user == user) & (log.visit < visit)].tolist())
        assert again[n] == (item in before)
        assert owned[n] == len(before)
