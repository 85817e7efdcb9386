"""A generated world held against what is known of a real one: shares of actions of the Taobao log.

The world is played under the control policy for all users. Real users are not known there, only counts over all of
them; so a floor is sampling noise, and whatever needs users has no counterpart. Does not know how findings are shown.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from allocation.channels import build_allocator
from allocation.top_slots import TopSlots
from experiments.config import Arm, ExperimentConfig
from experiments.fitting import fit_policies
from experiments.guests import blaming, guests_of
from experiments.history import play_or_read_history
from experiments.playing import Phases
from experiments.progress import Progress
from experiments.realism_play import CART, ORDER, VIEW, ClickListener, ClickRecorder, Clicks, Orders, actions_of
from experiments.realism_rows import QUANTILES, Noise, counts_row, parted
from experiments.worlds import BuiltWorld
from metrics.calibration import BINS, calibration
from metrics.realism import zipf_exponent
from policies.registry import RegisteredPolicy, policy_class
from simulator.batches import DAY_SECONDS
from simulator.datasets.taobao_shares import TaobaoShares, load_taobao_shares
from simulator.engine import Simulation
from simulator.pools import Engine
from simulator.protocols import Allocator
from simulator.state import State, copy_state, join_states
from simulator.truth import Truth

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ACTIONS: Final = ("page view", "favourite", "cart", "order")
"""In the order of their numbers in ``realism_play``."""
_FITTED: Final = "the world's profile of visits was fitted to these very counts"
_NEARED: Final = "defaults of the response were moved until this came near"
_SAMPLING: Final = "the floor is sampling noise of independent actions; people's actions are not, so it is low"


def play_generated(
    config: ExperimentConfig,
    built: BuiltWorld,
    phases: Phases,
    engine: Engine,
    workers: int,
    progress: Progress,
    noise: Noise,
) -> dict[str, Any]:
    """Play a world under the control policy, and under each policy that says how likely clicks are.

    Args:
        config: of the experiment.
        built: its world, with drawn visits.
        phases: its days; what is compared are warm-up and experiment.
        engine: where the history is played; the outcome does not depend on it.
        workers: shards of it at once; likewise.
        progress: is told how far things are.
        noise: how floors are found.

    Returns:
        ``rows``, ``totals``, ``calibration`` and ``without_counterpart`` of ``realism.json``.
    """
    with engine.pool(workers) as pool:
        log, shards = play_or_read_history(built, phases.warmup_start, config.seed, pool, progress)
    state = join_states([part for _, part in shards])
    chosen = arms_played(config)
    fitted = fit_policies(chosen, log, built.world, config.seed, progress)
    control, recorder = config.control_name, ClickRecorder()
    found = []
    for name, arm in chosen.items():
        days = phases.experiment_end - phases.warmup_start
        with progress.stage(f"playing {name}", days) as stage, blaming(guests_of(name, fitted[name])):
            listener = _play(
                config, built, state, fitted[name], arm, phases, recorder if name == control else None, stage
            )
        found += calibrations(config, name, arm, listener, noise)
    clicks, orders, (user, time) = recorder.clicks(), recorder.orders(), recorder.visits()
    shares = load_taobao_shares()
    days = phases.experiment_end - phases.warmup_start
    begin = phases.warmup_start * DAY_SECONDS
    weekday = (built.world.environment.start.weekday() + clicks.time // DAY_SECONDS) % 7
    whole = (clicks.time - begin) // DAY_SECONDS < days // 7 * 7
    rows, without = parted(rows_of(clicks, orders, weekday, whole, shares, noise))
    return {
        "rows": rows,
        "totals": [
            {"title": title, "real": None, "simulated": float(value), "ratio": None}
            for title, value in (
                ("Users who came", len(np.unique(user))),
                ("Visits", len(user)),
                ("Page views", clicks.views.sum()),
                ("Orders", len(orders.user)),
            )
        ],
        "calibration": found,
        "without_counterpart": [*without, *_alone(clicks, orders, user, time)],
    }


def arms_played(config: ExperimentConfig) -> dict[str, Arm]:
    """The control, and the first arm of every other policy that says how likely clicks are."""
    chosen = {config.control_name: config.arms[config.control_name]}
    for name, arm in config.arms.items():
        if policy_class(arm.policy).two_channels and all(arm.policy != other.policy for other in chosen.values()):
            chosen[name] = arm
    return chosen


def rows_of(
    clicks: Clicks,
    orders: Orders,
    weekday: Integers,
    whole: npt.NDArray[np.bool_],
    shares: TaobaoShares,
    noise: Noise,
) -> list[dict[str, Any]]:
    """The rows, and entries without a distance in place of those for which nothing was done.

    Args:
        clicks: what was clicked.
        orders: what was ordered.
        weekday: of each click, Monday 0, [clicks].
        whole: whether each lies in a whole week, [clicks].
        shares: what is known of the real ones.
        noise: how floors are found.
    """
    hour = clicks.time // 3600 % 24
    hours = [f"{each}:00" for each in range(24)]
    pairs = transitions_of(clicks, orders)
    after = [(pairs[kind], shares.transitions[kind]) for kind in (VIEW, CART)]
    before = pairs[:, ORDER], shares.transitions[:, ORDER]
    active, buyers = _active_and_buying(clicks, orders)
    views, ordered = float(clicks.views.sum()), float(len(orders.user))
    rows = [
        ("hour", "Hour of a page view", hours, shares.views_by_hour, np.bincount(hour, clicks.views, 24), _FITTED),
        (
            "order_hour",
            "Hour of an order",
            hours,
            shares.orders_by_hour,
            np.bincount(orders.time // 3600 % 24, minlength=24).astype(np.float64),
            "nothing here was fitted to these",
        ),
        (
            "weekday",
            "Weekday of a page view",
            WEEKDAYS,
            shares.views_by_weekday,
            np.bincount(weekday[whole], clicks.views[whole], 7),
            f"{_FITTED}; occasions of the days played move it",
        ),
        (
            "transitions",
            "Two actions in a row",
            [f"{one}, {other}" for one in ACTIONS for other in ACTIONS],
            shares.transitions.ravel(),
            pairs.ravel(),
            f"of one user; {_NEARED}",
        ),
        (
            "after_view",
            "What follows a page view",
            ACTIONS,
            after[0][1],
            after[0][0],
            f"part of the row above; {_NEARED}",
        ),
        ("after_cart", "What follows a cart", ACTIONS, after[1][1], after[1][0], "part of it too"),
        ("before_order", "What comes before an order", ACTIONS, before[1], before[0], "part of it too"),
        (
            "orders",
            "Orders and page views",
            ("orders", "page views"),
            np.array([shares.orders_a_view, 1.0]),
            np.array([ordered, views]),
            _NEARED,
        ),
        (
            "buyers",
            "Who orders among a day's active users",
            ("orders", "does not"),
            np.array([shares.buyers, 1.0 - shares.buyers]),
            np.array([buyers, active - buyers]),
            f"active is who has a page view or an order on the day; {_NEARED}",
        ),
    ]
    return [
        counts_row(name, title, labels, real, simulated, noise, f"{note}; {_SAMPLING}" if note else _SAMPLING)
        for name, title, labels, real, simulated, note in rows
    ]


def transitions_of(clicks: Clicks, orders: Orders) -> Floats:
    """How often each action of a user follows each, [action before, action after]."""
    user, _, kind = actions_of(clicks, orders)
    same = user[1:] == user[:-1]
    pair = kind[:-1][same] * len(ACTIONS) + kind[1:][same]
    return np.bincount(pair, minlength=len(ACTIONS) ** 2).reshape(len(ACTIONS), -1).astype(np.float64)


def _active_and_buying(clicks: Clicks, orders: Orders) -> tuple[float, float]:
    """Pairs of a user and a day with an action, and with an order."""
    active, buying = (np.unique(of.user * (1 << 20) + of.time // DAY_SECONDS) for of in (clicks, orders))
    return float(len(np.union1d(active, buying))), float(len(buying))


def _play(
    config: ExperimentConfig,
    built: BuiltWorld,
    state: State,
    policy: RegisteredPolicy,
    arm: Arm,
    phases: Phases,
    recorder: ClickRecorder | None,
    progress: Progress,
) -> ClickListener:
    world, state = built.world, copy_state(state)
    allocator: Allocator = TopSlots()
    if policy.two_channels:
        everybody = np.ones(world.users, np.bool_)
        allocator = build_allocator(arm.allocation, config.seed, world.environment.cities, everybody, None)
    listener = ClickListener(allocator)
    policy.deliver(None)
    if policy.knows_truth:
        policy.bind_truth(Truth(world, state))  # type: ignore[attr-defined]
    recorders = [] if recorder is None else [recorder]
    Simulation(world, state, policy, listener, recorders, lambda _: progress.advance()).run(
        phases.warmup_start, phases.experiment_end
    )
    return listener


def calibrations(
    config: ExperimentConfig, name: str, arm: Arm, listener: ClickListener, noise: Noise
) -> list[dict[str, Any]]:
    """How an arm's click estimates agree with clicks, read in two ways, or why that is not known.

    A policy's estimate is of a click at the first place, which is always examined: times the world's chance that a
    place is examined, it should be the share of clicks there. It is also read as if it were of any place, as it stands.
    """
    about: dict[str, Any] = {"arm": name, "policy": arm.policy, "reading": "shown", "error": None}
    estimate, clicked, slot = listener.noted()
    if not len(estimate) and not policy_class(arm.policy).two_channels:
        return [{**about, "why_not": "the policy does not say how likely a click is"}]
    if config.scenario != "item":
        return [{**about, "why_not": "on a feed the chance that a card is examined depends on other cards"}]
    if len(estimate) < BINS:
        return [{**about, "why_not": f"{len(estimate)} impressions; {BINS} bins need as many"}]
    examined = (1.0 + slot) ** -config.world.behaviour.response.examination_decay
    found = []
    for reading, chance in (("examined", estimate * examined), ("shown", estimate)):
        held = calibration(np.clip(chance, 0.0, 1.0), clicked, noise.times, noise.seed)
        found.append(
            {
                **about,
                "reading": reading,
                "why_not": "",
                "error": held.error,
                "noise": held.noise,
                "noise_high": held.noise_high,
                "impressions": len(estimate),
                "predicted": held.predicted.tolist(),
                "observed": held.observed.tolist(),
            }
        )
    return found


def _alone(clicks: Clicks, orders: Orders, user: Integers, time: Integers) -> list[Mapping[str, Any]]:
    """What no public count can be held against, with what the world shows."""
    same = user[1:] == user[:-1]
    gap = np.diff(time)[same] / DAY_SECONDS
    key = clicks.user * (1 << 32) + clicks.visit
    _, per_visit = np.unique(key, return_counts=True)
    _, basket = np.unique(orders.user * (1 << 32) + orders.visit, return_counts=True)
    pair = orders.user * (1 << 32) + orders.item
    _, first = np.unique(pair, return_index=True)
    again = 1.0 - len(first) / max(len(pair), 1)
    slope = zipf_exponent(np.bincount(clicks.item))
    numbers = [
        ("Gap between visits", gap, "days"),
        ("Clicks of a visit with a click", per_visit, "clicks"),
        ("Items of a visit with an order", basket, "items"),
        ("Paid for an order", orders.value, "of the world's currency"),
    ]
    return [
        *(
            {
                "title": title,
                "why": "no public count",
                "quantiles": np.quantile(values, QUANTILES).tolist() if len(values) else None,
                "unit": unit,
            }
            for title, values, unit in numbers
        ),
        {
            "title": "Zipf exponent of the clicks of the tenth of items clicked most",
            "why": "no public count",
            "value": slope,
        },
        {"title": "Share of orders of an item ordered before, in these days", "why": "no public count", "value": again},
        {"title": "Category by month", "why": "no public count, and the days played are too few", "value": None},
    ]
