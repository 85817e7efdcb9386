"""The ``serving`` block of an experiment: on which cards, for how many users, refreshes of thoughts are done.

Each arm that thinks near line has a cluster of its own. Knows cards, models and bounds by name; plays nothing.
"""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from experiments.cards_config import CardPrice, CardStepTime
from simulator.parameters import Parameters, Positive
from simulator.serving.cluster import Cluster, kv_capacity
from simulator.serving.figures import Slo
from simulator.serving.hardware import accelerator, precision
from simulator.serving.pool import Pool
from simulator.serving.steptime import ASSUMED
from simulator.serving.transformer import model_shape

Count = Annotated[int, Field(ge=1)]


class RefreshPromise(Parameters):
    """How soon thoughts should be fresh."""

    job: Positive = Field(description="seconds from when a refresh is asked for to its end")
    share: float = Field(default=0.95, gt=0.0, le=1.0, description="of refreshes that keep it")

    def slo(self) -> Slo:
        """As the planner takes it."""
        return Slo(job=self.job, share=self.share)


class PlatformServing(Parameters):
    """The simulated cluster that does an arm's near-line jobs."""

    model: str = Field(
        description="preset whose shape is served, as qwen3-8b; thoughts are those of the arm's own model"
    )
    hardware: str = Field(description="card, as h20")
    instances: Count = Field(description="cards of each arm's cluster, each with the whole model")
    instances_by_arm: dict[str, Count] = Field(
        default_factory=dict, description="cards of single arms, to ask what another size would change"
    )
    users: Count = Field(description="users of the platform that the simulated ones stand for")
    precision: str = Field(default="bf16", description="of weights, keys, values and products: bf16 or fp8")
    jobs_at_once: Count = Field(
        default=64, description="jobs on a card at the most; the others wait before the cluster"
    )
    spread_hours: float = Field(
        default=24.0, gt=0.0, le=24.0, description="a day's jobs are asked for evenly over so many hours from midnight"
    )
    sample: int = Field(default=90, ge=6, description="users thought about to count the calls of a job")
    jobs: int = Field(default=400, ge=50, description="jobs played call by call to know a cluster at a rate")
    usable_memory: float = Field(default=0.9, gt=0.0, le=1.0, description="share of a card's memory that is used")
    step_time: CardStepTime | None = Field(
        default=None, description="measured coefficients of the card; assumed ones where left out, and said so"
    )
    slo: RefreshPromise | None = Field(
        default=None, description="what a refresh should keep; tells the cards it would take, and the share kept"
    )
    price: CardPrice | None = Field(default=None, description="of a card; no cost is told without one")

    @field_validator("model")
    @classmethod
    def _known_model(cls, name: str) -> str:
        model_shape(name)
        return name

    @field_validator("hardware")
    @classmethod
    def _known_card(cls, name: str) -> str:
        accelerator(name)
        return name

    @field_validator("precision")
    @classmethod
    def _known_precision(cls, name: str) -> str:
        precision(name)
        return name

    @model_validator(mode="after")
    def _fits(self) -> "PlatformServing":
        card, width = accelerator(self.hardware), precision(self.precision)
        card.peak(width)
        try:
            kv_capacity(model_shape(self.model), width, card, self.usable_memory)
        except ValueError as error:
            raise ValueError(f"{error}; take a smaller model, a larger card or fewer bits") from None
        return self

    def cluster(self, arm: str | None = None) -> Cluster:
        """An arm's cluster; of the common size without one."""
        size = self.instances if arm is None else self.instances_by_arm.get(arm, self.instances)
        coefficients = self.step_time.step_time() if self.step_time is not None else ASSUMED
        return Cluster(
            model_shape(self.model),
            Pool(accelerator(self.hardware), size, coefficients),
            precision=precision(self.precision),
            usable_memory=self.usable_memory,
        )
