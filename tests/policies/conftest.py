"""A small world, its log and its users' state, shared by the tests of the policies."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from allocation.top_slots import TopSlots
from policies.registry import RegisteredPolicy, keeps_its_place, policy_class
from simulator.batches import DAY_SECONDS, InteractionLog, Ints, Requests
from simulator.engine import Simulation, opening_state
from simulator.generated import generate_world
from simulator.parameters import BehaviourParameters, ContextParameters
from simulator.state import State, observed_history, take_state
from simulator.tables import Impressions, UserDays, join_logs
from simulator.truth import Truth
from simulator.world import World

if TYPE_CHECKING:
    from policies.language.model import Language

HISTORY_DAYS = 16

WORDS = (
    "Shopper: woman, 35-44, young children, Seattle.\nHistory: 12 days ago viewed cable-knit cardigan, bought wool "
    "socks; 3 days ago viewed rain boots.\nWeather: cool, light rain, 11 C. Tags for the weather: cable-knit cardigan, "
    "waterproof rain boots\nSeason: autumn. Ahead: Halloween in 6 days. Tags for the season: kids' costume, candy\n"
    "Trending: capybara. Plan 3 personas: Kids & Toys; Halloween / Pets; everyday; dog food\n"
)


def world_of(users: int, days: int = 20) -> World:
    """So many users and 400 items in two cities."""
    return generate_world(
        users=users,
        items=400,
        cities=["seattle", "new_york"],
        country="US",
        start=date(2015, 10, 19),
        days=days,
        scenario="item",
        slots=5,
        currency="USD",
        contexts=ContextParameters(),
        behaviour=BehaviourParameters(),
        seed=11,
    )


@pytest.fixture(scope="session")
def world() -> World:
    """300 users and 400 items in two cities for 20 days."""
    return world_of(300)


def _fit(world: World, name: str, log: InteractionLog, seed: int, params: dict[str, Any]) -> RegisteredPolicy:
    chosen = policy_class(name)
    policy = chosen(chosen.Params.model_validate(params), seed)
    context = world.environment.observed().until(max(log.end_day - 1, 0))
    policy.fit(log, world.catalog.observed, world.population.observed, context)
    return policy


def play_log(world: World, days: int = HISTORY_DAYS) -> tuple[InteractionLog, State]:
    """The log of the first days under the exploring logger, and the users as it leaves them."""
    nothing = np.zeros(0, np.int64)
    cold = InteractionLog(0, 0, nothing, nothing.astype(np.int32), nothing, nothing.astype(np.int8), None)
    state = opening_state(world, 0)
    impressions = Impressions()
    logger = _fit(world, "exploring_logger", cold, 3, {})
    Simulation(world, state, logger, TopSlots(), [impressions]).run(0, days)
    return join_logs([impressions.columns()], 0, days), state


@pytest.fixture(scope="session")
def played(world: World) -> tuple[InteractionLog, State]:
    """The log and the users of ``world``."""
    return play_log(world)


@pytest.fixture(scope="session")
def fit_on_many() -> tuple[World, Callable[..., RegisteredPolicy], State]:
    """A world of 1,200 users, ``fit(name)`` on its log of 36 days, the users as that leaves them; four days are left.

    Within two weeks an occasion that comes once is hardly told from the days on which it comes.
    """
    many = world_of(1200, 40)
    log, state = play_log(many, 36)
    return many, lambda name: _fit(many, name, log, 5, {}), state


@pytest.fixture(scope="session")
def log(played: tuple[InteractionLog, State]) -> InteractionLog:
    """The log of the first 16 days, with impressions."""
    return played[0]


@pytest.fixture(scope="session")
def state(played: tuple[InteractionLog, State]) -> State:
    """The users on the morning after the log; not to be written."""
    return played[1]


@pytest.fixture(scope="session")
def sales_log(log: InteractionLog) -> InteractionLog:
    """The same log as a ledger would hold it: interactions alone."""
    return replace(log, impressions=None)


@pytest.fixture(scope="session")
def fit(world: World, log: InteractionLog, state: State) -> Callable[..., RegisteredPolicy]:
    """``fit(name, log=..., seed=..., **params)``: a fitted policy, ready to serve the morning after the log."""

    def fitted(name: str, log: InteractionLog = log, seed: int = 5, **params: Any) -> RegisteredPolicy:
        policy = _fit(world, name, log, seed, params)
        if policy.knows_truth:
            policy.bind_truth(Truth(world, state))  # type: ignore[attr-defined]
        policy.begin(world.users)
        policy.refresh(HISTORY_DAYS, world.environment.observed().until(HISTORY_DAYS))
        return policy

    return fitted


@pytest.fixture(scope="session")
def ask(world: World, state: State) -> Callable[..., Requests]:
    """``ask(rows)``: requests of these users on the morning after the log; any field can be given instead."""

    def requests(rows: Ints, day: int = HISTORY_DAYS, **fields: Any) -> Requests:
        rows = np.asarray(rows, np.int64)
        users = world.population.observed
        asked = Requests(
            row=rows,
            user=users.user[rows],
            visit=state.visit[rows],
            page=0,
            slots=world.slots,
            max_pages=4,
            time=np.full(len(rows), day * DAY_SECONDS + 7 * 3600, np.int64),
            day=np.full(len(rows), day, np.int64),
            city=users.city[rows],
            users=users,
            history=observed_history(state),
            context=world.environment.observed().until(day),
            already=np.zeros((len(rows), 0), np.int32),
        )
        return replace(asked, **fields)

    return requests


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 model of 3 layers and its tokenizer, as files; its weights are random and large, so that answers vary."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("tiny_language")
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        [WORDS], trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    )
    PreTrainedTokenizerFast(tokenizer_object=raw).save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=400,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=96,
        max_position_embeddings=512,
        initializer_range=0.25,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_language(tiny_folder: Path) -> "Language":
    """That model, loaded for the CPU."""
    from policies.language.model import LanguageSettings, load_language

    return load_language(LanguageSettings(model=str(tiny_folder), device="cpu"))


@pytest.fixture(scope="session")
def agent_folder(tiny_folder: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That model with an embedder of the world's titles and an adaptor of random weights."""
    import torch

    from policies.language.embedder import TitleEmbedder
    from policies.language.soft_tokens import Adaptor, save_adaptor

    folder = tmp_path_factory.mktemp("agent") / "model"
    shutil.copytree(tiny_folder, folder)
    embedder = TitleEmbedder.fit(list(world.catalog.observed.titles), 16)
    embedder.save(folder)
    with torch.random.fork_rng():
        torch.manual_seed(6)
        save_adaptor(Adaptor(embedder.width, 24, 64), folder / "adaptor.safetensors")
    return folder


@pytest.fixture(scope="session")
def check_going_on(world: World, state: State) -> Callable[..., None]:
    """``check_going_on(policy, twin, rows, allocators)``: whether a twin can take a policy's place at a day's end.

    The policy serves some users for the days after the log. The twin, fitted alike and not begun, gets what a snapshot
    in the midst of it holds, written to a file and read back, and serves the days that are left. What it takes up must
    be what was kept, and everything that is left at the end the same: state, impressions, sums, visits, diaries.
    """
    from experiments.array_files import read_arrays, write_arrays

    def check(
        policy: RegisteredPolicy,
        twin: RegisteredPolicy,
        folder: Path,
        rows: Ints | None = None,
        allocators: Callable[[], Any] = TopSlots,
    ) -> None:
        rows = np.arange(world.users) if rows is None else rows
        shard, last = world.take(rows), HISTORY_DAYS + 4
        assert keeps_its_place(policy)

        def simulate(who: RegisteredPolicy, day_closed: Any = None) -> tuple[Simulation, dict[str, Any]]:
            own, allocator = take_state(state, rows), allocators()
            if who.knows_truth:
                who.bind_truth(Truth(shard, own))  # type: ignore[attr-defined]
            log, sums = Impressions(), UserDays(shard.users, HISTORY_DAYS, last)
            simulation = Simulation(shard, own, who, allocator, [log, sums], day_closed)
            return simulation, {"state": own, "log": log, "sums": sums, "allocator": allocator, "policy": who}

        def middle(day: int) -> None:
            if day + 1 == HISTORY_DAYS + 2:
                kept = whole.snapshot()
                assert kept is not None
                write_arrays(folder / "kept.npz", kept)

        whole, undisturbed = simulate(policy, middle)
        whole.run(HISTORY_DAYS, last)
        kept = read_arrays(folder / "kept.npz")
        rest, resumed = simulate(twin)
        twin.begin(len(rows))
        rest._restore(kept)
        taken_up = rest.snapshot()
        assert taken_up is not None
        assert {name: array.tobytes() for name, array in taken_up.items()} == {
            name: array.tobytes() for name, array in kept.items()
        }
        rest.run(HISTORY_DAYS + 2, last, kept)
        assert rest.visits == whole.visits
        assert whole.visits.served > len(rows) / 10
        for one, other in zip(undisturbed["state"], resumed["state"], strict=True):
            assert one.tobytes() == other.tobytes()
        for one, other in zip(undisturbed["log"].columns(), resumed["log"].columns(), strict=True):
            assert one.tobytes() == other.tobytes()
        for name, sums in undisturbed["sums"].sums.items():
            assert sums.tobytes() == resumed["sums"].sums[name].tobytes(), name
        for who in ("allocator", "policy"):
            assert undisturbed[who].diary() == resumed[who].diary()

    return check
