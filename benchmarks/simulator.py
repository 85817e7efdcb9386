"""Slates per CPU-second on one thread, what a run of many users takes, and random draws per second.

A slate is one page, from the visit that falls due to the state it leaves. Its cost includes all that happens between:
the next visit drawn by thinning, the visit's intents drawn, its cart checked out, the policy's daily refresh and its
ranking (once a visit, served page by page), allocation, the check of the page, every position examined, clicked, carted
and bought or not, history and satisfaction moved on, and the sums of ``user_days``. It excludes what a run does once:
building the world, logging the history, fitting the policies, analysis. Kernels are compiled before the clock starts.

- **Full world**: that of ``experiments/configs/quickstart.yaml``, slates of 10. Each policy plays the same days from
  copies of the same morning, in rounds: within a round all policies run one after the other, so a ratio compares
  neighbours in time.
- **Peer setting**: 2,000 users, 200 items, slates of 3, and a policy that scores all items for every page. What a step
  of recsim_ng and a slate here hold is written in ``_peer.py``. The same world with visits of ordinary length is beside
  it: more of its slates begin a visit.
- **Growth**: ``utility`` as it was fitted on the quickstart's users plays 1,000 to 100,000 users in one piece, each
  with the history of 45 days of their own.
- **Whole runs**, each ``testbed run`` in a process of its own with everything that it does: a million users for a day
  of history and a day of the quickstart's experiment, by the peak of resident memory; and 100,000 users with one worker
  and with two, by the wall clock of the stages that workers share (history, warm-up, arms). The latter needs two idle
  cores; two runs of half the users side by side, which share nothing, tell what the machine then gives, and CPU-seconds
  what a second worker costs whether cores are idle or not.

    python benchmarks/simulator.py --json benchmarks/results/simulator.json
"""

import os
import sys
from pathlib import Path

# Read once, when the libraries load.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
# This folder is first on the path of a script, and its simulator.py would hide the package of that name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from statistics import median
from typing import Final, NamedTuple

import numpy as np

from allocation.top_slots import TopSlots
from benchmarks._bench import Case, arguments, cpu_seconds, finish, held, machine, write
from benchmarks._peer import ordinary_world, peer_policy, peer_world
from benchmarks._runs import run
from experiments.config import ExperimentConfig, PolicyChoice
from experiments.fitting import fit_policies
from experiments.history import LOGGER, make_logger, play_or_read_history
from experiments.loading import load_config
from experiments.progress import SilentProgress
from experiments.runner import world_of
from experiments.worlds import BuiltWorld
from policies.registry import RegisteredPolicy
from simulator.engine import Simulation, opening_state
from simulator.shards import shard_pool
from simulator.state import State, copy_state
from simulator.streams import Stream
from simulator.tables import UserDays
from simulator.world import World

CONFIG: Final = Path(__file__).resolve().parent.parent / "experiments/configs/quickstart.yaml"
POLICIES: Final = ("random", "popularity", "utility", "contextual", LOGGER)
UTILITY: Final = "utility"
TARGET_SLATES: Final = 150_000.0
TARGET_PEER: Final = 500_000.0
TARGET_GROWTH: Final = 1.2
TARGET_GIB: Final = 8.0
TARGET_SPEEDUP: Final = 1.8
USERS: Final = 4_000
DAYS: Final = 14
PEER: Final = "peer setting"
ORDINARY: Final = "peer setting, ordinary visits"
ROUNDS: Final = 5
PEER_DAYS: Final = 3
GROWTH_DAYS: Final = {1_000: 20, 10_000: 6, 100_000: 2}
GROWTH_ROUNDS: Final = 5
MANY_USERS: Final = 1_000_000
SHARED_USERS: Final = 100_000
SHARED_STAGES: Final = ("history", "warm-up", "arms")
RUN_ROUNDS: Final = 3
DRAWS: Final = 10_000_000
PARTS: Final = ("draws", "peer", "policies", "growth", "runs")


class Morning(NamedTuple):
    """A world after its history, with the policies that learned from it."""

    world: World
    state: State
    policies: dict[str, RegisteredPolicy]
    day: int


def quickstart(users: int) -> tuple[ExperimentConfig, BuiltWorld]:
    """The quickstart and its world, with so many users.

    Raises:
        ValueError: if the quickstart is no experiment.
    """
    config = load_config(CONFIG, [f"world.users={users}"])
    if not isinstance(config, ExperimentConfig):
        raise ValueError(f"{CONFIG}: kind {config.kind} (must be experiment)")
    return config, world_of(config)


@cache
def full_world() -> Morning:
    """The quickstart on the morning after its history."""
    config, built = quickstart(USERS)
    progress = SilentProgress()
    with shard_pool(1) as pool:
        log, [(_, state)] = play_or_read_history(built, config.horizon.history_days, config.seed, pool, progress)
    choices = {name: PolicyChoice(policy=name) for name in POLICIES}
    fitted = fit_policies(choices, log, built.world, config.seed, progress)
    return Morning(built.world, state, fitted, config.horizon.history_days)


def grown_world(users: int, policy: RegisteredPolicy) -> Morning:
    """The quickstart's world with so many users, each after a history that nobody wrote down."""
    config, built = quickstart(users)
    days = config.horizon.history_days
    state = opening_state(built.world, 0)
    Simulation(built.world, state, make_logger(built, config.seed), TopSlots()).run(0, days)
    return Morning(built.world, state, {UTILITY: policy}, days)


def small_world(world: World) -> Morning:
    """The world of the peer setting after one logged day, with the policy that scores everything."""
    with shard_pool(1) as pool:
        log, [(_, state)] = play_or_read_history(BuiltWorld(world, None), 1, world.seed, pool, SilentProgress())
    policy = peer_policy()
    policy.fit(log, world.catalog.observed, world.population.observed, world.environment.observed().until(0))
    return Morning(world, state, {PEER: policy}, 1)


class Play(NamedTuple):
    """Slates shown and visits served in so many CPU-seconds."""

    slates: int
    visits: int
    seconds: float


def play(morning: Morning, name: str, days: int) -> Play:
    """Let a policy play the first days after the history."""
    span = (morning.day, morning.day + days)
    record = UserDays(morning.world.users, *span)
    simulation = Simulation(morning.world, copy_state(morning.state), morning.policies[name], TopSlots(), [record])
    seconds = cpu_seconds(lambda: simulation.run(*span))
    return Play(int(record.sums["pages"].sum()), simulation.visits.served, seconds)


def policy_cases(morning: Morning) -> list[Case]:
    """Slates per CPU-second of each policy, and its cost as a multiple of that of ``utility``."""
    for name in POLICIES:
        play(morning, name, 1)
    plays: dict[str, list[Play]] = {name: [] for name in POLICIES}
    for _ in range(ROUNDS):
        for name in POLICIES:
            plays[name].append(play(morning, name, DAYS))
    rates = {name: [one.slates / one.seconds for one in found] for name, found in plays.items()}
    cases = []
    for name, found in rates.items():
        target = TARGET_SLATES if name == UTILITY else None
        first = plays[name][0]
        cost = [base / own for base, own in zip(rates[UTILITY], found, strict=True)]
        cases += [
            Case(name, f"median of {ROUNDS}", median(found), "slates/CPU-s", target),
            Case(name, f"best of {ROUNDS}", max(found), "slates/CPU-s"),
            Case(name, f"cost of a slate, {UTILITY} = 1", median(cost), "ratio"),
            Case(name, "slates a visit", first.slates / first.visits, "slates"),
        ]
    return cases


def peer_cases() -> list[Case]:
    """Slates per CPU-second of the peer setting, and of the same world with visits of ordinary length."""
    days = 1 + PEER_DAYS
    mornings = {PEER: small_world(peer_world(days)), ORDINARY: small_world(ordinary_world(days))}
    cases = []
    for case, morning in mornings.items():
        play(morning, PEER, 1)
        plays = [play(morning, PEER, PEER_DAYS) for _ in range(ROUNDS)]
        rates = [one.slates / one.seconds for one in plays]
        cases += [
            Case(case, f"median of {ROUNDS}", median(rates), "slates/CPU-s", TARGET_PEER if case == PEER else None),
            Case(case, f"best of {ROUNDS}", max(rates), "slates/CPU-s"),
            Case(case, "slates a visit", plays[0].slates / plays[0].visits, "slates"),
        ]
    return cases


def growth_cases(policy: RegisteredPolicy) -> list[Case]:
    """CPU time of a slate of ``utility`` by number of users, and how far the numbers lie apart."""
    mornings = {users: grown_world(users, policy) for users in GROWTH_DAYS}
    for morning in mornings.values():
        play(morning, UTILITY, 1)
    cost: dict[int, list[float]] = {users: [] for users in mornings}
    for _ in range(GROWTH_ROUNDS):
        for users, morning in mornings.items():
            one = play(morning, UTILITY, GROWTH_DAYS[users])
            cost[users].append(1e6 * one.seconds / one.slates)
    found = {users: median(of_round) for users, of_round in cost.items()}
    cases = [
        Case(f"{UTILITY}, {users:,} users", f"cost of a slate, median of {GROWTH_ROUNDS}", value, "CPU-µs")
        for users, value in found.items()
    ]
    few, many = min(found), max(found)
    grown = median(own / base for own, base in zip(cost[many], cost[few], strict=True))
    apart = median(max(of_round) / min(of_round) for of_round in zip(*cost.values(), strict=True))
    case = f"{UTILITY}, {few:,} to {many:,} users"
    return [
        *cases,
        Case(case, f"cost of a slate, {few:,} users = 1", grown, "ratio", TARGET_GROWTH, at_most=True),
        Case(case, "dearest slate, cheapest = 1", apart, "ratio", TARGET_GROWTH, at_most=True),
    ]


def run_cases() -> list[Case]:
    """What whole runs take: memory of a million users, and time of 100,000 users with one worker and with two."""
    short = ["horizon.history_days=1", "horizon.warmup_days=0", "horizon.days=1", "analysis.metrics=[ctr]"]
    many = run(CONFIG, [f"world.users={MANY_USERS}", "oracle=false", *short], workers=1)
    case = f"testbed run, {MANY_USERS:,} users, one day"
    cases = [
        Case(case, "peak memory of the process", many.peak, "GiB", TARGET_GIB, at_most=True),
        Case(case, "CPU-seconds", many.cpu, "s"),
    ]
    days = ["horizon.history_days=2", "horizon.warmup_days=14", "horizon.days=28", "analysis.metrics=[ctr]"]
    settings = [f"world.users={SHARED_USERS}", "oracle=false", "arms.treatment.policy=popularity", *days]
    half = [f"world.users={SHARED_USERS // 2}", *settings[1:]]
    speedup, cost, whole, machine_gives = [], [], [], []
    for _ in range(RUN_ROUNDS):
        one, two = (run(CONFIG, settings, workers) for workers in (1, 2))
        with ThreadPoolExecutor(2) as threads:
            halves = list(threads.map(lambda _: run(CONFIG, half, 1), range(2)))
        alone, shared, *apart = (sum(found.stages[stage] for stage in SHARED_STAGES) for found in (one, two, *halves))
        speedup.append(alone / shared)
        machine_gives.append(alone / max(apart))
        whole.append(one.wall / two.wall)
        cost.append(two.cpu / one.cpu)
    case = f"testbed run, {SHARED_USERS:,} users, 2 workers"
    return [
        *cases,
        Case(case, f"{', '.join(SHARED_STAGES)} faster by, wall", median(speedup), "ratio", TARGET_SPEEDUP),
        Case(
            case, "two runs of half the users side by side: the same stages faster by", median(machine_gives), "ratio"
        ),
        Case(case, "whole run faster by, wall", median(whole), "ratio"),
        Case(case, "CPU-seconds, 1 worker = 1", median(cost), "ratio"),
    ]


def draw_cases() -> list[Case]:
    """Uniform draws per second, and their cost as a multiple of that of numpy's own generator."""
    stream, ids = Stream(7, "benchmark"), np.arange(DRAWS, dtype=np.int64)
    generator = np.random.default_rng(7)
    stream.uniform(ids[:1000])
    own, numpy = [], []
    for _ in range(ROUNDS):
        own.append(cpu_seconds(lambda: stream.uniform(ids)))
        numpy.append(cpu_seconds(lambda: generator.random(DRAWS)))
    case = f"Stream.uniform, {DRAWS:,} ids"
    ratio = median(a / b for a, b in zip(own, numpy, strict=True))
    return [
        Case(case, f"median of {ROUNDS}", DRAWS / median(own) / 1e6, "M draws/CPU-s"),
        Case(case, f"best of {ROUNDS}", DRAWS / min(own) / 1e6, "M draws/CPU-s"),
        Case(case, "cost of a draw, numpy's PCG64 = 1", ratio, "ratio"),
    ]


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=PARTS, help="one part; FILE keeps the figures of the others")
    options = parser.parse_args()
    where = machine()
    parts: dict[str, Callable[[], list[Case]]] = {
        "draws": draw_cases,
        "peer": peer_cases,
        "policies": lambda: policy_cases(full_world()),
        "growth": lambda: growth_cases(full_world().policies[UTILITY]),
        "runs": run_cases,
    }
    measured = [case for part in PARTS if options.only in (None, part) for case in parts[part]()]
    finish("simulator", measured, where, None)
    if options.json is not None:
        fresh = {(case.case, case.metric): case for case in measured}
        kept = [] if options.only is None else held(options.json)
        cases = {(case.case, case.metric): case for case in kept} | fresh
        write("simulator", list(cases.values()), where, options.json)


if __name__ == "__main__":
    main()
