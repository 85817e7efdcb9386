"""Write ``gpu_plans.json``: the calls of a refresh under each design, for a machine that cannot ask the policies.

    python benchmarks/_gpu_plans.py

They are the plans of ``experiments/configs/cost_v1_v2.yaml``: those that the policies ask for on users of a generated
world, and those that the RecGPT-V2 report's context lengths come to. To be run again when the config or a policy's
prompts change.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # this folder comes first otherwise, and hides packages of the same names

from benchmarks._files import write_whole  # noqa: E402 - after the path is set
from experiments.loading import load_config  # noqa: E402 - likewise
from experiments.progress import SilentProgress  # noqa: E402 - likewise
from experiments.timing_config import TimingConfig  # noqa: E402 - likewise
from experiments.timing_plans import make_plans  # noqa: E402 - likewise

CONFIG = "cost_v1_v2"
FILE = ROOT / "benchmarks" / "gpu_plans.json"


def plans() -> dict[str, Any]:
    """The plans as the file holds them: each call as tokens shared, of its own, and written."""
    config = load_config(ROOT / "experiments" / "configs" / f"{CONFIG}.yaml")
    assert isinstance(config, TimingConfig)
    return {
        "schema": 1,
        "config": CONFIG,
        "seed": config.seed,
        "plans": {
            name: {
                row: {
                    "shares_prefix": each.shares,
                    "stages": [[[c.shared, c.own, c.output] for c in stage] for stage in each.job.stages],
                }
                for row, each in rows.items()
            }
            for name, rows in make_plans(config, SilentProgress()).items()
        },
    }


if __name__ == "__main__":
    write_whole(FILE, plans())
