import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from experiments.cli import app
from experiments.config import ExperimentConfig
from experiments.errors import UserError
from experiments.progress import SilentProgress
from experiments.recording import record_traffic
from experiments.run_directory import MANIFEST, USER_DAYS
from experiments.trace_files import convert_taobao, write_trace
from simulator.datasets import online_retail
from simulator.datasets.online_retail import online_retail_visits, read_online_retail
from simulator.traffic import TRACE_SCHEMA, read_trace

Run = Callable[..., SimpleNamespace]
ARMS: dict[str, Any] = {
    "popularity": {"policy": "popularity", "share": 0.4},
    "utility": {"policy": "utility", "share": 0.6},
}


@pytest.fixture(scope="module")
def drawn(run: Run) -> SimpleNamespace:
    """Two arms met by drawn visits."""
    return run(arms=ARMS, oracle=False)


@pytest.fixture(scope="module")
def trace(drawn: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its visits, as a file."""
    path = tmp_path_factory.mktemp("trace") / "trace.parquet"
    write_trace(path, [record_traffic(drawn.config, 1, SilentProgress())])
    return path


def test_recorded_traffic_replayed_gives_the_same_bytes(drawn: SimpleNamespace, trace: Path, run: Run) -> None:
    """The same config met by its own recorded visits leaves the user days of the drawn ones, byte for byte."""
    replayed = run(arms=ARMS, oracle=False, traffic={"kind": "trace", "path": str(trace)})
    assert (replayed.path / USER_DAYS).read_bytes() == (drawn.path / USER_DAYS).read_bytes()
    assert len(replayed.user_days) > 500
    counts = json.loads((replayed.path / MANIFEST).read_text())["data"]
    assert counts["kept"] == len(read_trace(trace).rows)
    assert counts["rows_outside_horizon"] == 0


def test_every_arm_meets_the_same_visits(trace: Path, run: Run) -> None:
    """Under the truth, users of a trace come on the same days and as often whatever the arm shows them."""
    replayed = run(arms=ARMS, traffic={"kind": "trace", "path": str(trace)})
    own = replayed.user_days.filter(pl.col("phase") != "warmup").select("user", "day", "sessions").sort("user", "day")
    other = replayed.counterfactuals.select("user", "day", "sessions").sort("user", "day")
    assert own.equals(other)
    sessions = [c for c in replayed.results["comparisons"] if c["metric"] == "sessions"]
    assert [c["truth"]["effect"] for c in sessions] == [0.0]


def test_the_trace_is_the_experiments(drawn: SimpleNamespace, trace: Path) -> None:
    """A trace has the schema and one row for each session of the tables, the history's before them."""
    found = pl.read_parquet(trace)
    assert found.schema == TRACE_SCHEMA
    assert found["scenario"].unique().to_list() == ["item"]
    assert set(found["city"]) == {"seattle", "new_york"}
    start = drawn.config.horizon.start
    day = (found["time"].dt.date() - start).dt.total_days()
    played = found.filter(day >= drawn.config.horizon.history_days)
    assert len(played) == drawn.user_days["sessions"].sum()
    assert (day.min(), day.max()) == (0, 25)


def test_workers_record_the_same_trace(drawn: SimpleNamespace, trace: Path, tmp_path: Path) -> None:
    """Two workers write the bytes of one."""
    write_trace(tmp_path / "two.parquet", [record_traffic(drawn.config, 2, SilentProgress())])
    assert (tmp_path / "two.parquet").read_bytes() == trace.read_bytes()


def test_a_log_worlds_trace_is_its_log(ledger: Path) -> None:
    """In a log world the trace holds the log's visits in the horizon, and the same as converting the log does."""
    config = ExperimentConfig.model_validate(
        {
            "name": "log",
            "seed": 7,
            "world": {"kind": "log", "dataset": "online_retail", "path": str(ledger)},
            "horizon": {"history_days": 20, "days": 10},
            "arms": {name: {"policy": "popularity", "share": 0.5} for name in ("one", "two")},
            "analysis": {"metrics": ["ctr"]},
        }
    )
    found = record_traffic(config, 1, SilentProgress())
    start, user, seconds, _ = online_retail_visits(ledger)
    times = np.datetime64(start) + seconds.astype("timedelta64[s]")
    assert sorted(zip(found["user"], found["time"].to_numpy(), strict=True)) == sorted(zip(user, times, strict=True))


def test_a_log_worlds_traffic_cannot_be_replaced(run: Run, ledger: Path, trace: Path) -> None:
    """A log world's baskets belong to its visits, so that a trace for it is refused."""
    with pytest.raises(ValueError, match="traffic: a log world has the visits of its log"):
        run(
            world={"kind": "log", "dataset": "online_retail", "path": str(ledger)},
            traffic={"kind": "trace", "path": str(trace)},
        )


@pytest.mark.parametrize("block", [200, 5_000, 8 << 20])
def test_visits_of_the_shop_are_those_of_the_reader(block: int, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read block by block, the log gives the visits, users and fates that reading it whole gives."""
    monkeypatch.setattr(online_retail, "_BLOCK_BYTES", block)
    check_visits(ledger)


@pytest.mark.slow
def test_visits_of_the_real_shop_are_those_of_the_reader(online_retail: Path) -> None:
    """The same holds of the real log, with its broken rows, notes and cancellations."""
    check_visits(online_retail)


def check_visits(path: Path) -> None:
    """Both readers agree."""
    whole = read_online_retail(path)
    start, user, seconds, counts = online_retail_visits(path)
    assert start == whole.start
    assert np.array_equal(user, whole.visits()[0])
    assert np.array_equal(seconds, whole.visits()[1])
    assert counts["kept"] == whole.counts["kept"] + whole.counts["merged_lines"]
    assert counts["cancellations"] == whole.counts["cancellations_matched"] + whole.counts["cancellations_unmatched"]
    for fate in counts.keys() - {"kept", "cancellations"}:
        assert counts[fate] == whole.counts[fate], fate


def test_taobao_becomes_a_trace_that_plays(tmp_path: Path, run: Run) -> None:
    """A file as Taobao's is converted, its broken rows told, and users of a generated world come when it says."""
    midnight = 1_511_539_200
    rows = [
        f"{7 * user + 3},1,2,pv,{midnight + day * 86400 + 3600 * (8 + user % 12)}"
        for user in range(40)
        for day in range(9)
        if (user + day) % 3
    ]
    (tmp_path / "UserBehavior.csv").write_text("\n".join([*rows, "broken", "1,2,3,pv,0"]))
    out = tmp_path / "taobao.parquet"
    told = CliRunner().invoke(app, ["convert", "taobao", str(tmp_path / "UserBehavior.csv"), "--out", str(out)])
    assert told.exit_code == 0, told.output
    assert told.stdout == f"{out}: {len(rows)} visits of 40 users, 2017-11-25 to 2017-12-03\n"
    assert "1 unreadable rows, 0 unknown behaviour, 1 outside span" in told.stderr
    played = run(
        arms=ARMS,
        oracle=False,
        world={"kind": "generated", "users": 50, "items": 200, "cities": ["seattle"], "country": "CN"},
        horizon={"start": "2017-11-25", "history_days": 4, "warmup_days": 1, "days": 4},
        analysis={"metrics": ["ctr"]},
        traffic={"kind": "trace", "path": str(out)},
    )
    later = read_trace(out).rows.filter(pl.col("time") >= pl.datetime(2017, 11, 29))
    assert played.user_days["sessions"].sum() == len(later)


@pytest.mark.parametrize("command", [["record", "small.yaml"], ["convert", "taobao", "UserBehavior.csv"]])
def test_only_a_trace_is_replaced_and_only_by_force(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace that is there stays without --force and is replaced with it; any other table stays."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(
        "name: small\nseed: 7\nworld: {kind: generated, users: 20, items: 60, cities: [seattle], country: US}\n"
        "horizon: {start: 2015-10-05, history_days: 2, days: 2}\nanalysis: {metrics: [ctr]}\n"
        "arms: {a: {policy: random, share: 0.5}, b: {policy: random, share: 0.5}}\n"
    )
    Path("UserBehavior.csv").write_text("1,2,3,pv,1511540000\n")
    pl.DataFrame(schema=TRACE_SCHEMA).write_parquet("trace.parquet")
    pl.DataFrame({"user": [1]}).write_parquet("other.parquet")
    before = {name: Path(name).read_bytes() for name in ("trace.parquet", "other.parquet")}
    extra = ["--quiet", "--workers", "1"] if command[0] == "record" else []
    for out, force, said in (
        ("trace.parquet", [], "holds a trace already; give another --out, or --force to replace it"),
        ("other.parquet", [], "holds something other than a trace; give another --out"),
        ("other.parquet", ["--force"], "holds something other than a trace; give another --out"),
    ):
        refused = CliRunner().invoke(app, [*command, "--out", out, *extra, *force])
        assert refused.exit_code == 2
        assert refused.stderr == f"error: --out {out}: {said}\n"
    assert {name: Path(name).read_bytes() for name in before} == before
    done = CliRunner().invoke(app, [*command, "--out", "trace.parquet", *extra, "--force"])
    assert done.exit_code == 0, done.output
    assert len(read_trace(Path("trace.parquet")).rows) > 0


def test_nothing_half_written_where_converting_fails(tmp_path: Path) -> None:
    """A trace whose writing is interrupted leaves neither the trace nor a temporary file."""

    def portions() -> Any:
        yield pl.DataFrame(schema=TRACE_SCHEMA)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_trace(tmp_path / "trace.parquet", portions())
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "UserBehavior.csv").write_text("1,2,3,pv,1511540000\n")
    with pytest.raises(UserError, match="cannot be written"):
        convert_taobao(tmp_path / "UserBehavior.csv", tmp_path / "file" / "trace.parquet")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["UserBehavior.csv", "file"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["record", "none.yaml", "--out", "t.parquet"], "none.yaml: no such file"),
        (["record", "small.yaml", "--out", "t.csv"], "--out: t.csv; give a file that ends in .parquet"),
        (["record", "small.yaml", "--out", "t.parquet", "--workers", "0"], "--workers: 0; use at least 1"),
        (["record", "timing.yaml", "--out", "t.parquet"], "its kind is evaluation; only experiments have visits"),
        (["convert", "online-retail", "none.csv", "--out", "t.parquet"], "none.csv: no such file"),
        (["convert", "taobao", "none.csv", "--out", "t.csv"], "--out: t.csv; give a file that ends in .parquet"),
        (["run", "traced.yaml"], "traffic.path: none.parquet: no such file, nor beside the config in .; write one"),
    ],
)
def test_what_the_user_can_put_right_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mistakes in the arguments of both commands end in one line and exit code 2."""
    monkeypatch.chdir(tmp_path)
    common = (
        "seed: 7\nworld: {kind: generated, users: 50, items: 100, cities: [seattle], country: US}\n"
        "horizon: {start: 2015-10-05, history_days: 5"
    )
    arms = "arms: {a: {policy: popularity, share: 0.5}, b: {policy: popularity, share: 0.5}}\n"
    Path("small.yaml").write_text(f"name: small\n{common}, days: 2}}\n{arms}")
    Path("traced.yaml").write_text(
        f"name: small\n{common}, days: 2}}\n{arms}traffic: {{kind: trace, path: none.parquet}}\n"
    )
    Path("timing.yaml").write_text(
        f"kind: evaluation\nname: e\n{common}}}\nholdout_days: 1\npolicies: {{p: {{policy: popularity}}}}\n"
    )
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
