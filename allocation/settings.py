"""What ``arms.<arm>.allocation`` may say. Knows no solver."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from simulator.parameters import NonNegative, Parameters, Positive, Share


class SplitChoice(Parameters):
    """Which share of each segment's visits gets the cognitive channel at all, decided anew every day."""

    start: Share = Field(default=0.5, description="share on the first day")
    least: Share = Field(default=0.1, description="share that keeps exploring every segment")
    most: Share = Field(
        default=0.9,
        validate_default=True,
        description="share that is never exceeded, so that there is always a comparison",
    )
    ramp: Annotated[float, Field(gt=0, le=1)] = Field(default=0.2, description="most a share may move in a day")
    caution: NonNegative = Field(
        default=0.01, description="gamma: half of it is given up for each squared click of uncertainty"
    )
    attitude: Literal["pessimistic", "neutral", "optimistic"] = Field(
        default="neutral", description="whether gains are taken below, at or above their estimates"
    )
    half_life_days: Positive = Field(default=7.0, description="days after which an observation counts half")
    conversion_tolerance: NonNegative = Field(
        default=0.05,
        description="relative loss of orders bought at once that is tolerated, against utility alone; orders from the "
        "cart belong to no visit's channel and are not seen",
    )
    gpu_seconds: NonNegative | None = Field(default=None, description="GPU seconds a day; no budget if left out")
    gpu_seconds_a_visit: NonNegative = Field(
        default=0.0,
        description="GPU seconds that a visit of the cognitive channel costs; 0: what the serving block comes to for "
        "each segment, nothing without one",
    )
    novelty_gain: float | None = Field(
        default=None,
        description="least gain in novel impressions a visit, averaged over all visits; no floor if left out",
    )

    @field_validator("most")
    @classmethod
    def _bounds_ordered(cls, most: float, info: ValidationInfo) -> float:
        if "least" in info.data and most < info.data["least"]:
            raise ValueError(f"{most} is below least ({info.data['least']}); raise it")
        if "start" in info.data and "least" in info.data and not info.data["least"] <= info.data["start"] <= most:
            raise ValueError(
                f"{most}: start ({info.data['start']}) must lie between least ({info.data['least']}) and it; move start"
            )
        return most


class NoAllocation(Parameters):
    """Utility alone: the cognitive channel stays closed. A policy with one channel is shown as it ranks."""

    kind: Literal["none"] = "none"


class FixedAllocation(Parameters):
    """The best m cognitive candidates on every page."""

    kind: Literal["fixed"]
    slots: int = Field(default=2, ge=1, description="cognitive slots on a page")
    split: SplitChoice | None = Field(default=None, description="who gets the cognitive channel; all if left out")


class ExposureAllocation(Parameters):
    """The quadratic program of exposure (RecGPT-V2 report, section on traffic allocation), page by page."""

    kind: Literal["exposure_qp"]
    solver: Literal["dual", "cvxpy", "threshold"] = Field(
        default="dual",
        description="exact; the reference, slow; or the production rule with the multipliers of yesterday's pool",
    )
    penalty: Positive = Field(default=0.05, alias="lambda", description="concentration penalty, in units of click gain")
    conversion_floor: NonNegative = Field(
        default=0.8,
        description="expected orders of what is shown, those from the cart included, as a share of those of what it "
        "displaces",
    )
    least: int = Field(
        default=0, ge=0, alias="min", description="Q: cognitive items on a page at least (threshold: on average)"
    )
    most: int = Field(
        default=4, ge=1, alias="max", validate_default=True, description="P: cognitive items on a page at the most"
    )
    split: SplitChoice | None = Field(default=None, description="who gets the cognitive channel; all if left out")

    @field_validator("most")
    @classmethod
    def _budget_ordered(cls, most: int, info: ValidationInfo) -> int:
        if "least" in info.data and most < info.data["least"]:
            raise ValueError(f"{most} is below min ({info.data['least']}); raise it")
        return most


Allocation = Annotated[NoAllocation | FixedAllocation | ExposureAllocation, Field(discriminator="kind")]
