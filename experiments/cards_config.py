"""What configs say of cards and of what is promised on them: step times, prices, bounds.

Shared by timings and by experiments with a serving cluster. A price has no default and no currency of its own: whoever
wants to see money says whose price it is, and of which day.
"""

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from simulator.parameters import Parameters, Positive
from simulator.serving.figures import Price, Slo
from simulator.serving.steptime import StepTime


class Promise(Parameters):
    """What the modelled service promises; at least one bound."""

    ttft: Positive | None = Field(default=None, description="seconds to a call's first token")
    tpot: Positive | None = Field(default=None, description="seconds from token to token of a call")
    job: Positive | None = Field(default=None, description="seconds from a refresh's arrival to its end")
    share: float = Field(default=0.95, gt=0.0, le=1.0, description="of refreshes that keep all of it")

    def slo(self) -> Slo:
        """As the planner takes it."""
        return Slo(self.ttft, self.tpot, self.job, self.share)

    @model_validator(mode="after")
    def _promises(self) -> "Promise":
        self.slo()
        return self


class CardPrice(Parameters):
    """What an hour of one card costs: the user's figure, never a default."""

    per_hour: Positive
    currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217 code")
    at: date = Field(description="day of the price")

    def price(self) -> Price:
        """As the serving model takes it."""
        return Price(self.per_hour, self.currency, self.at)


class CardStepTime(Parameters):
    """Coefficients of a card's step time that were measured elsewhere."""

    compute_efficiency: Positive
    memory_efficiency: Positive
    per_layer: float = Field(default=0.0, ge=0.0, description="seconds a layer and iteration")
    per_request: float = Field(default=0.0, ge=0.0, description="seconds a call and iteration")
    per_step: float = Field(default=0.0, ge=0.0, description="seconds an iteration")
    form: Literal["max", "sum"] = "max"
    error: float | None = Field(default=None, ge=0.0, description="median relative error on steps held out, if known")

    def step_time(self) -> StepTime:
        """As the serving model takes it."""
        return StepTime(**self.model_dump())
