"""From a file with a ``sweep`` block to the experiments that it describes.

Each is what ``testbed run`` would make of the same file without the block and with the point's values set. Knows files
and keys; does not run anything.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from experiments.config import ExperimentConfig
from experiments.errors import MistakesError, UserError
from experiments.groundwork import world_key
from experiments.loading import check_config, read_config, set_key
from experiments.report import words


@dataclass(frozen=True)
class Point:
    """One experiment of a sweep.

    Attributes:
        values: the values of the grid's keys.
        config: the experiment, without the block.
    """

    values: dict[str, Any]
    config: ExperimentConfig

    @property
    def words(self) -> str:
        """What tells it from the others, as ``experts 2, seed 7``."""
        parts = [f"{key.rpartition('.')[2]} {words.configured(value)}" for key, value in self.values.items()]
        return ", ".join([*parts, f"seed {self.config.seed}"])


def load_points(path: Path, overrides: Sequence[str] = ()) -> tuple[ExperimentConfig, list[Point]]:
    """The experiment of a file, and the points of its sweep.

    Points that share a world come one after the other, so that it is built once. Apart from that seeds vary slowest,
    then the first key of the grid.

    Args:
        path: a YAML file.
        overrides: ``path.to.key=value``, as for an experiment; applied to all points.

    Raises:
        MistakesError: if points are no valid experiments.
        UserError: if the file is no experiment with a sweep.
    """
    data = read_config(path, overrides)
    base = check_config(data, path.parent)
    if not isinstance(base, ExperimentConfig):
        raise UserError(f"{path}: its kind is {base.kind}; a sweep is made of experiments")
    if base.sweep is None:
        raise UserError(f"{path}: holds no sweep; say under sweep.grid which keys take which values")
    del data["sweep"]
    keys = list(base.sweep.grid)
    points, wrong = [], []
    for seed in base.sweep.seeds or (base.seed,):
        for chosen in product(*base.sweep.grid.values()):
            values = dict(zip(keys, chosen, strict=True))
            changed = copy.deepcopy(data)
            for key, value in values.items():
                set_key(changed, key, copy.deepcopy(value), "sweep.grid")
            changed["seed"] = seed
            try:
                config = check_config(changed, path.parent)
            except UserError as error:
                at = ", ".join(f"{key}={words.configured(value)}" for key, value in values.items()) or f"seed={seed}"
                said = error.lines if isinstance(error, MistakesError) else (str(error),)
                wrong += [f"sweep, at {at}: {line}" for line in said]
                continue
            assert isinstance(config, ExperimentConfig)
            points.append(Point(values, config))
    if wrong:
        raise MistakesError(wrong)
    worlds = list(dict.fromkeys(world_key(point.config) for point in points))
    return base, sorted(points, key=lambda point: worlds.index(world_key(point.config)))
