"""What a timing's YAML may say: whose plans, where their lengths come from, what is measured and what is modelled.

Knows the shape of a config and the names it may refer to (cards, models, policies). Measures and models nothing.
"""

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from experiments.cards_config import CardPrice, CardStepTime, Promise
from experiments.config import PolicyChoice, slug
from experiments.errors import refuse
from experiments.world_config import GeneratedWorld
from simulator.parameters import Parameters, Positive
from simulator.serving.hardware import accelerator
from simulator.serving.link import Link
from simulator.serving.transformer import model_shape

PLANNED: Final = ("recgpt_v1", "recgpt_v2")
"""Policies whose calls are known to be routes, or a planner, experts and an arbiter."""
_LONGEST_NAME: Final = 40

Count = Annotated[int, Field(ge=1)]


class Row(PolicyChoice):
    """A design whose cost is told."""

    @field_validator("policy")
    @classmethod
    def _has_a_plan(cls, policy: str) -> str:
        if policy not in PLANNED:
            raise ValueError(f"{policy!r} asks no language model in a known plan; use {' or '.join(PLANNED)}")
        return policy


class WorldPlan(Parameters):
    """Lengths as the policies' own prompts and answers have them, on users of a generated world."""

    kind: Literal["world"] = Field(description="the policies think, and their account is read")
    world: GeneratedWorld
    start: date = Field(description="first day of the history")
    history_days: int = Field(ge=2, description="days logged; users are thought about on the morning after")
    users: int = Field(default=16, ge=1, description="users who are thought about, drawn at random")

    @model_validator(mode="after")
    def _enough_users(self) -> "WorldPlan":
        if self.users > self.world.users:
            raise ValueError(f"users: {self.users} of a world of {self.world.users}; ask for fewer")
        return self


class CallLengths(Parameters):
    """One role's call."""

    prompt: Count = Field(description="tokens of its own, behind what it shares with others")
    answer: Count = Field(description="tokens it writes, the one that ends the answer among them")


class LengthsPlan(Parameters):
    """Lengths as stated; the designs decide how many calls there are and who reads what."""

    kind: Literal["lengths"] = Field(description="every length is stated here")
    history: Count = Field(description="tokens of a user's profile and behaviour in full text")
    compressed: Count = Field(description="tokens of the same with each item as one soft token")
    route: CallLengths = Field(description="each of V1's routes")
    planner: CallLengths
    expert: CallLengths = Field(description="each expert; reads no history")
    arbiter: CallLengths
    style: CallLengths | None = Field(default=None, description="left out: no explanations are styled")


Plan = Annotated[WorldPlan | LengthsPlan, Field(discriminator="kind")]


class MeasureGpu(Parameters):
    """What is measured where there is a CUDA device."""

    model: str = Field(
        default="qwen3-8b",
        description="a preset with random weights, as qwen3-0.6b, 4b, 8b or 14b; builtin:tiny; or a folder with "
        "safetensors weights",
    )
    prompts: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        default=(5158, 21_349), min_length=1, description="tokens read at once"
    )
    prompt_rows: tuple[Count, ...] = Field(default=(1, 2, 4), min_length=1, description="rows that read")
    pasts: tuple[Count, ...] = Field(default=(512, 5158, 21_349), min_length=1, description="tokens before one written")
    rows: tuple[Count, ...] = Field(default=(1, 4, 16), min_length=1, description="rows that write")
    refreshes: int = Field(default=1, ge=1, description="users whose plan is worked through side by side")
    writing: Literal["graph", "eager"] = Field(
        default="graph", description="whether a plan's writing is recorded as CUDA graphs or launched step by step"
    )
    seconds: Positive = Field(default=480.0, description="all may take so long; what does not fit is dropped and named")
    energy: bool = Field(default=True, description="whether energy is counted, over two seconds or more of each shape")


class Measure(Parameters):
    """Steps of a language model, timed on this machine."""

    model: str = Field(
        default="builtin:tiny", description="on the CPU: builtin:tiny, or a folder with safetensors weights"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="cuda measures `gpu` in GPU-seconds, cpu the small model in CPU-seconds of one thread; auto is "
        "cuda where there is one",
    )
    gpu: MeasureGpu = MeasureGpu()
    rounds: int = Field(default=5, ge=3, le=100, description="samples of each shape and plan, after one warm-up")
    prompts: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        default=(32, 128, 512), min_length=1, description="tokens read at once"
    )
    behind: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(0, 256), min_length=1, description="tokens before those that are read"
    )
    prompt_rows: tuple[Count, ...] = Field(default=(1, 4, 16, 64), min_length=1, description="rows that read")
    pasts: tuple[Count, ...] = Field(default=(64, 256, 1024), min_length=1, description="tokens before one written")
    rows: tuple[Count, ...] = Field(default=(16, 32, 64), min_length=1, description="rows that write")
    refreshes: int = Field(default=16, ge=1, description="users whose plan is worked through side by side")


class SharedLink(Parameters):
    """The link between a pool that reads and one that writes."""

    bytes_per_second: Positive = Field(default=50e9, description="of all transfers together")
    latency: float = Field(default=1e-4, ge=0.0, description="seconds")

    def link(self) -> Link:
        """As the serving model takes it."""
        return Link(self.bytes_per_second, self.latency)


class Serving(Parameters):
    """A cluster that is modelled, never measured here."""

    model: str = Field(description="preset whose shape is served, as qwen3-8b")
    hardware: tuple[str, ...] = Field(min_length=1, description="cards, as h20; each is a table of its own")
    plans: tuple[str, ...] | None = Field(default=None, description="which plans are served; all if left out")
    users_a_day: int = Field(ge=1, description="refreshes a day")
    peak: float = Field(default=2.0, ge=1.0, description="arrivals at the busiest time over those of the mean second")
    slo: Promise
    jobs: int = Field(default=300, ge=20, description="refreshes simulated to size a cluster")
    variation: float = Field(default=0.3, ge=0.0, le=2.0, description="standard deviation of lengths over their mean")
    most: int = Field(default=256, ge=1, description="cards of a pool at most")
    usable_memory: float = Field(default=0.9, gt=0.0, le=1.0, description="share of a card's memory that is used")
    step_time: dict[str, CardStepTime] = Field(
        default_factory=dict, description="by card, where it was measured; assumed coefficients where left out"
    )
    fit: bool = Field(
        default=False,
        description="whether the card that is measured here gets step times fitted to its own steps; needs a CUDA "
        "device and the card among `hardware`",
    )
    price: dict[str, CardPrice] = Field(default_factory=dict, description="by card; no cost is told without one")
    link: SharedLink = SharedLink()

    @field_validator("model")
    @classmethod
    def _known_model(cls, name: str) -> str:
        model_shape(name)
        return name

    @field_validator("hardware")
    @classmethod
    def _known_cards(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            accelerator(name)
            if names.count(name) > 1:
                raise ValueError(f"{name!r} comes twice; name each card once")
        return names

    @field_validator("step_time", "price")
    @classmethod
    def _of_named_cards(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for name in given:
            if name not in info.data.get("hardware", (name,)):
                raise ValueError(f"{name!r} is none of serving.hardware; drop it, or add the card there")
        return given

    @property
    def rate(self) -> float:
        """Refreshes a second at the busiest time."""
        return self.users_a_day / 86_400 * self.peak


class Against(Parameters):
    """Which rows are held against the RecGPT-V2 report's claims."""

    plan: str = Field(description="one of plans")
    control: str = Field(description="one of rows, a recgpt_v1")
    treatment: str = Field(description="one of rows, a recgpt_v2")


class TimingConfig(Parameters):
    """What designs cost to think: measured on this machine's small model, modelled for accelerators."""

    kind: Literal["timing"]
    name: str = Field(description="names the run directory")
    seed: int = Field(ge=0, le=2**63 - 1, description="every draw is a pure function of it")
    rows: dict[str, Row] = Field(min_length=1, description="designs by the name of their row; the first is the base")
    plans: dict[str, Plan] = Field(min_length=1, description="where the lengths of calls come from, by name")
    measure: Measure | None = Field(default=Measure(), description="null: nothing is measured")
    serving: Serving | None = Field(default=None, description="left out: nothing is modelled")
    paper: Against | None = Field(default=None, description="left out: nothing is held against the report")

    @property
    def resolved(self) -> dict[str, Any]:
        """The config as plain JSON values with every default filled in; loads back to an equal config."""
        return self.model_dump(mode="json")

    @field_validator("name")
    @classmethod
    def _name_is_slug(cls, name: str) -> str:
        return slug(name)

    @field_validator("plans")
    @classmethod
    def _plan_names(cls, plans: dict[str, Plan]) -> dict[str, Plan]:
        for name in plans:
            slug(name)
        return plans

    @field_validator("rows")
    @classmethod
    def _row_names(cls, rows: dict[str, Row]) -> dict[str, Row]:
        for name in rows:
            if not (name.isascii() and name.isprintable() and 0 < len(name) <= _LONGEST_NAME):
                raise ValueError(f"{name!r} is not a usable name; use 1 to {_LONGEST_NAME} printable ASCII characters")
        return rows

    @model_validator(mode="after")
    def _parts_fit(self) -> "TimingConfig":
        refuse(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[str]:
        """What is wrong between the parts, a line each."""
        lengths = [name for name, plan in self.plans.items() if isinstance(plan, LengthsPlan)]
        for name, row in self.rows.items():
            if lengths and row.params.get("experts") == "adaptive":
                yield (
                    f"rows.{name}.params.experts: 'adaptive' has no number in plans.{lengths[0]}; give a number, or a "
                    "plan of kind world"
                )
        served = tuple(self.plans) if self.serving is None or self.serving.plans is None else self.serving.plans
        for name in served:
            if name not in self.plans:
                yield f"serving.plans: {name!r} is none of {', '.join(self.plans)}; name one of them"
        if self.paper is None:
            return
        if self.serving is None:
            yield "paper: the report's claims are of accelerators; give serving too, or leave it out"
        if self.paper.plan not in served:
            yield f"paper.plan: {self.paper.plan!r} is none of {', '.join(served)}; name one that is served"
        for field, policy in (("control", "recgpt_v1"), ("treatment", "recgpt_v2")):
            chosen = self.rows.get(getattr(self.paper, field))
            if chosen is None or chosen.policy != policy:
                yield f"paper.{field}: {getattr(self.paper, field)!r} is no row of {policy}; name one"
