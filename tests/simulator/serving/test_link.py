from collections.abc import Callable

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.clock import SECOND
from simulator.serving.errors import ServingError
from simulator.serving.link import Link, SharedLink


def _sent(link: Link, transfers: list[tuple[int, int]]) -> tuple[list[float], SharedLink]:
    """Seconds at which transfers (start in ns, bytes) arrive."""
    clock = simpy.Environment(initial_time=0)
    shared = SharedLink(clock, link)
    arrived = [0.0] * len(transfers)

    def note(number: int) -> Callable[[], None]:
        def noted() -> None:
            arrived[number] = clock.now / SECOND

        return noted

    def start(number: int) -> Callable[[simpy.Event], None]:
        return lambda _: shared.send(transfers[number][1], number, note(number))

    for number, (begin, _) in enumerate(transfers):
        clock.timeout(begin).callbacks.append(start(number))
    clock.run()
    return arrived, shared


def test_two_transfers_take_twice_as_long() -> None:
    """Two transfers that begin together must each get half of the link."""
    alone, _ = _sent(Link(1e9), [(0, 5_000_000)])
    together, shared = _sent(Link(1e9), [(0, 5_000_000), (0, 5_000_000)])
    assert alone == pytest.approx([0.005], abs=2e-9)
    assert together == pytest.approx([0.01, 0.01], abs=2e-9)
    assert (shared.sent, shared.busy / SECOND) == (10_000_000, pytest.approx(0.01, abs=2e-9))


def test_a_late_comer_shares_what_is_left() -> None:
    """A transfer that begins halfway must slow the first one's second half, and then have the link alone."""
    arrived, _ = _sent(Link(1e9, latency=0.001), [(0, 4_000_000), (2_000_000, 4_000_000)])
    assert arrived == pytest.approx([0.007, 0.009], abs=2e-9)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**6)), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_the_link_is_never_idle_with_work_and_never_too_fast(transfers: list[tuple[int, int]]) -> None:
    """The last arrival must be that of a single queue of the same bytes, and each transfer at least its own time."""
    arrived, shared = _sent(Link(1e9), transfers)
    free = 0.0
    for begin, size in sorted(transfers):
        free = max(free, begin / 1e9) + size / 1e9
    assert max(arrived) == pytest.approx(free, abs=3e-8)
    for (begin, size), end in zip(transfers, arrived, strict=True):
        assert end - begin / 1e9 >= size / 1e9 - 2e-9
    assert shared.sent == sum(size for _, size in transfers)


def test_bounds_of_a_link() -> None:
    """A link without a rate or with a negative latency must be refused."""
    with pytest.raises(ServingError, match=r"link\.bytes_per_second: 0; it must be finite and above 0"):
        Link(0.0)
    with pytest.raises(ServingError, match=r"link\.latency: -1; it must be finite and at least 0"):
        Link(1.0, -1.0)
