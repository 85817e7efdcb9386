"""Slates per CPU-second on one thread, how the cost of a slate grows with users, and random draws per second.

A slate is one page, from the visit that falls due to the state it leaves. Its cost includes all that happens between:
the next visit drawn by thinning, the visit's intents drawn, the policy's daily refresh and its ranking (once a visit,
served page by page), allocation, the check of the page, every position examined, clicked, carted and bought or not,
history and satisfaction moved on, and the sums of ``user_days``. It excludes what a run does once: building the world,
logging the history, fitting the policies, analysis. Kernels are compiled before the clock starts.

The world is that of ``experiments/configs/quickstart.yaml``. Each policy plays the same days from copies of the same
morning, in rounds: within a round all policies run one after the other, so a ratio compares neighbours in time.

    python benchmarks/simulator.py --json benchmarks/results/simulator.json
"""

import os
import sys
from pathlib import Path

# Read once, when the libraries load.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
# This folder is first on the path of a script, and its simulator.py would hide the package of that name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from statistics import median
from typing import Final, NamedTuple

import numpy as np

from allocation.top_slots import TopSlots
from benchmarks._bench import Case, arguments, cpu_seconds, finish, machine
from experiments.config import ExperimentConfig, PolicyChoice
from experiments.fitting import fit_policies
from experiments.history import LOGGER, play_or_read_history
from experiments.loading import load_config
from experiments.progress import SilentProgress
from experiments.runner import phases_of
from experiments.worlds import build_world
from policies.registry import RegisteredPolicy
from simulator.engine import Simulation
from simulator.shards import shard_pool
from simulator.state import State, copy_state
from simulator.streams import Stream
from simulator.tables import UserDays
from simulator.world import World

CONFIG: Final = Path(__file__).resolve().parent.parent / "experiments/configs/quickstart.yaml"
POLICIES: Final = ("random", "popularity", "utility", "contextual", LOGGER)
UTILITY: Final = "utility"
TARGET_SLATES: Final = 50_000.0
DAYS: Final = 14
ROUNDS: Final = 5
GROWTH_USERS: Final = (1_000, 4_000, 16_000)
GROWTH_ROUNDS: Final = 3
DRAWS: Final = 10_000_000


class Morning(NamedTuple):
    """A world after its history, with the policies that learned from it."""

    world: World
    state: State
    policies: dict[str, RegisteredPolicy]
    day: int


def morning_of(users: int, names: tuple[str, ...]) -> Morning:
    """The quickstart's world with so many users, on the morning after the history.

    Raises:
        ValueError: if the quickstart is no experiment.
    """
    config = load_config(CONFIG, [f"world.users={users}"])
    if not isinstance(config, ExperimentConfig):
        raise ValueError(f"{CONFIG}: kind {config.kind} (must be experiment)")
    built = build_world(
        config.world,
        start=config.horizon.start,
        days=phases_of(config).follow_up_end,
        scenario=config.scenario,
        slots=config.page.slots,
        seed=config.seed,
    )
    progress = SilentProgress()
    with shard_pool(1) as pool:
        log, [(_, state)] = play_or_read_history(built, config.horizon.history_days, config.seed, pool, progress)
    choices = {name: PolicyChoice(policy=name) for name in names}
    fitted = fit_policies(choices, log, built.world, config.seed, progress)
    return Morning(built.world, state, fitted, config.horizon.history_days)


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


def growth_cases(mornings: dict[int, Morning]) -> list[Case]:
    """CPU time of a slate of ``utility`` by number of users, and its ratio to that at the fewest users."""
    fewest = min(mornings)
    for morning in mornings.values():
        play(morning, UTILITY, 1)
    cost: dict[int, list[float]] = {users: [] for users in mornings}
    for _ in range(GROWTH_ROUNDS):
        for users, morning in mornings.items():
            one = play(morning, UTILITY, DAYS)
            cost[users].append(1e6 * one.seconds / one.slates)
    cases = []
    for users, found in cost.items():
        case = f"{UTILITY}, {users:,} users"
        cases.append(Case(case, f"cost of a slate, median of {GROWTH_ROUNDS}", median(found), "CPU-µs"))
        if users != fewest:
            ratio = median(own / base for own, base in zip(found, cost[fewest], strict=True))
            cases.append(Case(case, f"cost of a slate, {fewest:,} users = 1", ratio, "ratio"))
    return cases


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
    options = arguments(__doc__).parse_args()
    where = machine()
    mornings = {
        users: morning_of(users, POLICIES if users == GROWTH_USERS[1] else (UTILITY,)) for users in GROWTH_USERS
    }
    cases = draw_cases() + policy_cases(mornings[GROWTH_USERS[1]]) + growth_cases(mornings)
    finish("simulator", cases, where, options.json)


if __name__ == "__main__":
    main()
