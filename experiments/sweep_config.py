"""What a ``sweep`` block may say: which keys of the experiment take which values, and with which seeds.

Knows keys and bounds. Does not know whether an experiment with these values is valid; each point is checked as a
config of its own.
"""

from typing import Annotated, Any, Final

from pydantic import Field, JsonValue, WithJsonSchema, field_validator, model_validator

from simulator.parameters import Parameters

FIXED: Final = ("seed", "sweep", "name", "kind", "analysis.control")
"""Keys that a grid may not touch: seeds have a list of their own, and the others say what a point is."""


Value = Annotated[JsonValue, WithJsonSchema({"description": "a value that the key may have"})]


class Sweep(Parameters):
    """Experiments that differ in some keys: every combination of their values, with every seed."""

    grid: dict[str, Annotated[tuple[Value, ...], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="dotted keys of the experiment, each with its values, as `arms.v2.params.experts: [1, 2, 3]`",
    )
    seeds: tuple[Annotated[int, Field(ge=0, le=2**63 - 1)], ...] = Field(
        default=(), description="each combination is run with each of these; the experiment's own seed if left out"
    )

    @field_validator("grid")
    @classmethod
    def _keys_may_vary(cls, grid: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        for key, values in grid.items():
            if not all(key.split(".")):
                raise ValueError(f"{key!r} is no dotted key; write it as in arms.v2.params.experts")
            for fixed in FIXED:
                if key == fixed or key.startswith(f"{fixed}."):
                    remedy = "list seeds under sweep.seeds" if fixed == "seed" else "leave it to the experiment"
                    raise ValueError(f"{key!r} cannot be varied; {remedy}")
            for other in grid:
                if other.startswith(f"{key}."):
                    raise ValueError(f"{key!r} holds {other!r}, so they overwrite each other; vary one of them")
            shown = [repr(value) for value in values]
            twice = next((value for value in shown if shown.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f"{key}: {twice} comes twice; name each value once")
        return grid

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        for seed in seeds:
            if seeds.count(seed) > 1:
                raise ValueError(f"{seed} comes twice; name each seed once")
        return seeds

    @model_validator(mode="after")
    def _something_varies(self) -> "Sweep":
        if not self.grid and len(self.seeds) < 2:
            raise ValueError("nothing varies; give a grid, or two seeds or more")
        return self
