"""How far the worlds are from real ones: the scorecards of a log world and of a generated one.

`testbed realism` is run on online_retail.yaml and quickstart.yaml, and on allocation.yaml for a policy that says how
likely clicks are, into a temporary folder. What it finds depends on config and code alone. Run from the repository's
root:

    python benchmarks/realism.py --json benchmarks/results/realism.json
"""

import sys
from pathlib import Path

# This folder is first on the path of a script, and its experiments.py would hide the package of that name.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import json
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any, Final

from benchmarks._bench import Case, arguments, finish, machine

ROOT: Final = Path(__file__).resolve().parent.parent
DATA: Final = ROOT / "../shared/data/online_retail/online_retail.csv.gz"
CONFIGS: Final = ("online_retail", "quickstart", "allocation")
COMMAND: Final = "from experiments.cli import main; main()"


def scored(config: str, folder: Path) -> dict[str, Any]:
    """The scorecard of a config, made now.

    Raises:
        RuntimeError: if the command fails.
    """
    command = [sys.executable, "-c", COMMAND, "realism", str(ROOT / f"experiments/configs/{config}.yaml")]
    if config == "online_retail":
        command += ["--set", f"world.path={DATA}"]
    done = subprocess.run([*command, "--out", str(folder)], check=False)  # noqa: S603 - our own command
    if done.returncode != 0 or not (folder / "realism.html").is_file():
        raise RuntimeError(f"testbed realism ended with {done.returncode}")
    return dict(json.loads((folder / "realism.json").read_text(encoding="utf-8")))


def cases(config: str, found: Mapping[str, Any]) -> list[Case]:
    """Every row with its floor, the totals, the classifier's area, and the calibration of click estimates."""
    made = []
    for place, name in enumerate(found["worst"]):
        made.append(Case(f"{config}/{name}", "place among the worst", float(place + 1), ""))
    for row in found["rows"]:
        case = f"{config}/{row['name']}"
        made += [Case(case, key, row[key], row["measure"]) for key in ("distance", "floor", "floor_high")]
        made.append(Case(case, "ratio", row["ratio"], "times the floor"))
        if row["shown"]["kind"] == "shares" and len(row["shown"]["labels"]) <= 4:
            for label, real, simulated in zip(
                *(row["shown"][key] for key in ("labels", "real", "simulated")), strict=True
            ):
                made.append(Case(case, f"{label}, real", real, "share"))
                made.append(Case(case, f"{label}, simulated", simulated, "share"))
    made += [
        Case(f"{config}/totals", row["title"], row["ratio"], "simulated over real")
        for row in found["totals"]
        if row["ratio"] is not None
    ]
    test = found["two_sample"]
    if test:
        made += [Case(f"{config}/classifier", "area", test["auc"], "AUC")]
        made += [
            Case(f"{config}/classifier", key, end, "AUC") for key, end in zip(("low", "high"), test["ci"], strict=True)
        ]
        made += [Case(f"{config}/classifier", key, test[key], "AUC") for key in ("real_halves", "days_before")]
    for row in found["calibration"]:
        if row["error"] is not None:
            case = f"{config}/calibration/{row['policy']}/{row['reading']}"
            made += [Case(case, key, row[key], "probability") for key in ("error", "noise", "noise_high")]
    return made


def main() -> int:
    """Make the scorecards from the command line."""
    options = arguments(__doc__).parse_args()
    if not DATA.exists():
        print(f"{DATA}: no such file; nothing scored")
        return 0
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for config in CONFIGS:
            found += cases(config, scored(config, Path(folder) / config))
    finish("realism", found, machine(), options.json, "realism: distances beside their noise")
    return 0


if __name__ == "__main__":
    sys.exit(main())
