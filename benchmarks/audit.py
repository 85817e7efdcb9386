"""Is the quickstart's verdict true? What an audit of it finds, with a thousand experiments drawn for each question.

The quickstart is run and audited by the ``testbed`` command, into a temporary folder. What it finds depends on config
and code alone. Rates are shares of experiments; intervals are exact ones at 95%, and a defect is a promise outside
of the interval that is corrected for the number of promises. Run from the repository's root:

    python benchmarks/audit.py --json benchmarks/results/audit.json
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
from experiments.audit_command import DEFECT

CONFIG: Final = Path(__file__).resolve().parent.parent / "experiments/configs/quickstart.yaml"
REPLICATIONS: Final = 1000
ABOUT: Final = ("metric", "method", "design", "correction", "threshold")
COMMAND: Final = "from experiments.cli import main; main()"


def audited(folder: Path) -> dict[str, Any]:
    """The audit of the quickstart, carried out now.

    Raises:
        RuntimeError: if the command fails; that it finds a defect is no failure.
    """
    command = [sys.executable, "-c", COMMAND, "audit", str(CONFIG), "--replications", str(REPLICATIONS)]
    done = subprocess.run([*command, "--out", str(folder)], check=False)  # noqa: S603 - our own command
    if done.returncode not in (0, DEFECT):
        raise RuntimeError(f"testbed audit ended with {done.returncode}")
    return dict(json.loads((folder / "audit.json").read_text(encoding="utf-8")))


def cases(audit: Mapping[str, Any]) -> list[Case]:
    """Every rate with its interval and its promise; then how many promises of default methods hold."""
    found = []
    for row in (*audit["findings"], *audit["power"]):
        if row["rate"] is None:
            continue
        name = "/".join([row["check"], *(str(row[key]) for key in ABOUT if key in row)])
        found.append(Case(name, "rate", row["rate"], "share"))
        found += [Case(name, key, end, "share") for key, end in zip(("low", "high"), row["interval"], strict=True)]
        if row["nominal"] is not None:
            found.append(Case(name, "promised" if row["check"] != "power" else "predicted", row["nominal"], "share"))
    promised = [row for row in audit["findings"] if row["outside"] is not None]
    found.append(Case("promises", "held against an interval", len(promised), "count"))
    found.append(Case("promises", "outside of the interval at 95%", sum(row["outside"] for row in promised), "count"))
    found.append(Case("promises", "defects", audit["defects"], "count", 0.0, at_most=True))
    default = audit["analysis"]["of_verdict"]
    for check in ("false_alarms", "coverage", "lift_coverage"):
        mine = [
            row
            for row in promised
            if row["check"] == check
            and row.get("design", "drawn") == "drawn"
            and default[row["metric"]] == row["method"]
        ]
        inside = sum(not row["outside"] for row in mine)
        found.append(Case(f"default methods, {check}", "inside the interval at 95%", inside, "count", float(len(mine))))
    return found


def main() -> None:
    """Run, print, write."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--finished", metavar="DIR", type=Path, help="a folder with the audit.json of the quickstart, read instead"
    )
    options = parser.parse_args()
    where = machine()
    if options.finished is not None:
        audit = json.loads((options.finished / "audit.json").read_text(encoding="utf-8"))
        if (audit["name"], audit["replications"]) != ("quickstart", REPLICATIONS):
            parser.error(
                f"--finished: {options.finished} holds no audit of the quickstart by {REPLICATIONS} experiments"
            )
    else:
        with tempfile.TemporaryDirectory() as folder:
            audit = audited(Path(folder))
    finish("audit", cases(audit), where, options.json, "Audit of the quickstart")


if __name__ == "__main__":
    main()
