"""Small runs, shared by the tests of what runs and what is left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from experiments.config import EvaluationConfig, ExperimentConfig, resolved
from experiments.evaluation import run_evaluation
from experiments.progress import Progress, SilentProgress
from experiments.run_directory import COUNTERFACTUALS, USER_DAYS, RunDirectory
from experiments.runner import run_experiment
from experiments.timing_tables import print_timing
from metrics.audit.findings import GRID, Finding, judged
from metrics.audit.rates import Rate
from simulator.pools import Engine
from simulator.shards import PROCESSES

WORLD: dict[str, Any] = {
    "kind": "generated",
    "users": 300,
    "items": 500,
    "cities": ["seattle", "new_york"],
    "country": "US",
}
EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "seed": 7,
    "world": WORLD,
    "horizon": {"start": "2015-10-05", "history_days": 15, "warmup_days": 3, "days": 5, "follow_up_days": 3},
    "page": {"slots": 8},
    "arms": {
        "popularity": {"policy": "popularity", "share": 0.4},
        "utility": {"policy": "utility", "share": 0.3},
        "contextual": {"policy": "contextual", "share": 0.3},
    },
    "analysis": {"metrics": ["ctr", "ipv", "atc", "gmv", "tv", "ner", "sessions", "retention_7"]},
    "oracle": True,
}
EVALUATION: dict[str, Any] = {
    "kind": "evaluation",
    "name": "offline",
    "seed": 7,
    "world": WORLD,
    "horizon": {"start": "2015-10-05", "history_days": 15},
    "holdout_days": 3,
    "policies": {name: {"policy": name} for name in ("popularity", "utility", "random")},
    "replicates": 200,
}


class Steps(SilentProgress):
    """Counts the steps of each stage."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.before: dict[str, int] = {}
        self._open: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator["Steps"]:
        """See ``Progress``."""
        self.totals[name] = total
        self.done[name] = 0
        self._open.append(name)
        try:
            yield self
        finally:
            self._open.pop()

    def advance(self, steps: int = 1) -> None:
        """See ``Progress``."""
        self.done[self._open[-1]] += steps

    def found(self, steps: int) -> None:
        """See ``Progress``."""
        self.before[self._open[-1]] = steps
        self.done[self._open[-1]] += steps


class Interrupted(SilentProgress):
    """Ends a run by an exception after some steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def advance(self, steps: int = 1) -> None:
        """As a defect would."""
        self._left -= steps
        if self._left < 0:
            raise ZeroDivisionError


@pytest.fixture(scope="session")
def interrupted_after() -> Callable[[int], Progress]:
    """``interrupted_after(steps)``: a progress that ends a run by a ``ZeroDivisionError`` after so many steps."""
    return Interrupted


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SimpleNamespace]:
    """``run(workers=..., directory=..., **changes)``: a small experiment with some sections replaced, carried out."""

    def carried_out(
        workers: int = 1,
        path: Path | None = None,
        progress: Progress | None = None,
        engine: Engine = PROCESSES,
        **changes: Any,
    ) -> SimpleNamespace:
        config = ExperimentConfig.model_validate(EXPERIMENT | changes)
        path = path or tmp_path_factory.mktemp("run") / "out"
        directory = RunDirectory.open(path, config.name, resolved(config))
        steps = progress or Steps()
        results = run_experiment(config, directory, workers, steps, engine=engine)
        others = path / COUNTERFACTUALS
        return SimpleNamespace(
            config=config,
            directory=directory,
            path=path,
            results=results,
            user_days=pl.read_parquet(path / USER_DAYS),
            counterfactuals=pl.read_parquet(others) if others.exists() else None,
            steps=steps,
        )

    return carried_out


@pytest.fixture(scope="session")
def finished(run: Callable[..., SimpleNamespace]) -> SimpleNamespace:
    """Three arms on one worker, every user under every arm; not to be changed."""
    return run()


@pytest.fixture(scope="session")
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SimpleNamespace]:
    """``evaluate(workers=..., **changes)``: a small evaluation with some sections replaced, carried out."""

    def carried_out(workers: int = 1, **changes: Any) -> SimpleNamespace:
        config = EvaluationConfig.model_validate({**EVALUATION, **changes})
        path = tmp_path_factory.mktemp("evaluation") / "out"
        directory = RunDirectory.open(path, config.name, resolved(config))
        steps = Steps()
        evaluation = run_evaluation(config, directory, workers, steps)
        return SimpleNamespace(config=config, directory=directory, path=path, evaluation=evaluation, steps=steps)

    return carried_out


@pytest.fixture(scope="session")
def online_retail() -> Path:
    """The real log, where it is at hand."""
    path = Path(__file__).resolve().parents[3] / "shared" / "data" / "online_retail" / "online_retail.csv.gz"
    if not path.exists():
        pytest.skip("online_retail.csv.gz is not there")
    return path


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the real log's, of 12 customers who buy two of 24 things on each of 30 days."""
    lines = ["InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"]
    for day in range(30):
        for customer in range(12):
            when = f"2011-03-{day + 1:02d} {8 + customer // 2:02d}:{30 * (customer % 2):02d}:00"
            for thing in {(customer + day) % 24, (5 * customer + day // 4) % 24}:
                kind = ("TEA MUG", "WALL CLOCK", "JUMBO BAG")[thing % 3]
                lines.append(
                    f"{500000 + 12 * day + customer},{10000 + thing},{kind} NO {thing},"
                    f"{1 + thing % 3},{when},{1.25 + thing},{12000 + customer},United Kingdom"
                )
    path = tmp_path_factory.mktemp("ledger") / "ledger.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _audit_of(
    alarms: int = 52, effects: bool = True, title: str = "Click-through rate", arm: str = "new"
) -> dict[str, Any]:
    """An audit of one metric by two methods; ``alarms`` of 1,000 are the false alarms of CUPED."""
    treatments = (arm, "newer")
    more = {"untested": 0, "gave_way": 3, "ks": 0.02, "ks_p_value": 0.6, "p_values": list(GRID)}
    none = {"untested": 1000, "gave_way": 0, "ks": None, "ks_p_value": None, "p_values": None}
    found, power = [], []
    for treatment in treatments:
        plain = {"metric": "ctr", "treatment": treatment, "method": "plain"}
        cuped = plain | {"method": "cuped"}
        found.append(Finding("false_alarms", plain, Rate(0, 0, "equal", 0.05), none))
        found.append(Finding("false_alarms", cuped, Rate(alarms, 1000, "equal", 0.05), more))
        if effects:
            for design, promise in (("drawn", "equal"), ("fixed", "at least")):
                for check in ("coverage", "lift_coverage"):
                    rate = Rate(951, 1000, promise, 0.95)  # type: ignore[arg-type]
                    found.append(Finding(check, cuped | {"design": design}, rate, {"untested": 0, "gave_way": 0}))
            power.append(Finding("power", cuped, Rate(700, 1000, "equal", 0.55), {"untested": 0, "gave_way": 0}))
            power.append(Finding("power", plain, Rate(400, 1000), {"untested": 0, "gave_way": 0}))
        for method, promise, count in (("uncorrected", "none", 210), ("pocock", "equal", 49)):
            rate = Rate(count, 1000, promise, None if promise == "none" else 0.05)  # type: ignore[arg-type]
            looks = {"days": [1, 2], "by_look": [0.02, count / 1000], "untested": 0}
            found.append(Finding("peeking", plain | {"method": method}, rate, looks))
        found.append(Finding("guardrails", {"metric": "ctr", "treatment": treatment, "margin": 0.02}, Rate(20, 1000)))
        found.append(Finding("trend", {"metric": "ctr", "treatment": treatment}, Rate(12, 250, "equal", 0.05)))
        found.append(Finding("log_rank", {"treatment": treatment}, Rate(51, 1000, "equal", 0.05)))
    for correction, rate in (("holm", Rate(40, 1000, "at most", 0.05)), ("none", Rate(99, 1000))):
        found.append(Finding("family", {"correction": correction, "metrics": ["ctr"]}, rate, {"comparisons": 2}))
    found.append(Finding("sample_ratio", {"threshold": 0.001}, Rate(1, 1000, "equal", 0.001)))
    rows, confidence = judged(found)
    power_rows, power_confidence = judged(power)
    for row in power_rows:
        row["differs"] = row.pop("defect")
    return {
        "schema": 1,
        "name": "small",
        "seed": 7,
        "config_hash": "abc",
        "replications": 1000,
        "alpha": 0.05,
        "users": 3433,
        "control": "base",
        "shares": {"base": 0.4, **dict.fromkeys(treatments, 0.3)},
        "null_table": "base" if effects else "observed",
        "effects_known": effects,
        "analysis": {"primary": "ctr", "cuped": True, "correction": "holm", "of_verdict": {"ctr": "cuped"}},
        "metrics": {"ctr": {"title": title, "unit": "share"}},
        "methods": {"plain": "Welch t", "cuped": "CUPED, Welch t"},
        "confidence": {"each": 0.95, "findings": confidence, "power": power_confidence},
        "p_value_grid": list(GRID),
        "findings": rows,
        "power": power_rows,
        "defects": sum(row["defect"] is True for row in rows),
    }


@pytest.fixture
def audit_of() -> Callable[..., dict[str, Any]]:
    """``audit_of(alarms, effects, title, arm)``: an audit made by hand, with every kind of finding."""
    return _audit_of


@pytest.fixture
def plainly_shown() -> Callable[[dict[str, Any]], list[str]]:
    """``plainly_shown(timing)``: a timing in terminals of 80 and 120 columns without Unicode, in which all is whole."""

    def shown(timing: dict[str, Any]) -> list[str]:
        texts = []
        for width in (80, 120):
            raw = BytesIO()
            file = TextIOWrapper(raw, encoding="ascii", write_through=True)
            print_timing(Console(width=width, file=file), timing)
            texts.append(raw.getvalue().decode("ascii"))
            assert max(map(len, texts[-1].splitlines())) <= width
            assert "..." not in texts[-1]
        return [" ".join(text.split()) for text in texts]

    return shown
