import simpy

from simulator.serving.clock import DISPATCH, END, PLAN, Pause, nanoseconds


def test_rank_orders_what_falls_on_one_moment() -> None:
    """At one moment arrivals come first, then ends, dispatch and plans, whichever was scheduled first."""
    clock = simpy.Environment(initial_time=0)
    seen: list[str] = []
    for name, rank in (("plan", PLAN), ("dispatch", DISPATCH), ("end", END)):
        Pause(clock, 5, rank).callbacks.append(lambda _, name=name: seen.append(name))
    clock.timeout(5).callbacks.append(lambda _: seen.append("arrival"))
    clock.run()
    assert seen == ["arrival", "end", "dispatch", "plan"]
    assert clock.now == 5


def test_seconds_become_the_nearest_nanosecond() -> None:
    """Seconds must be rounded, not cut."""
    assert nanoseconds(1.9999999999) == 2_000_000_000
    assert nanoseconds(2.5e-9) == 2
