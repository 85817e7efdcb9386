import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from experiments.errors import UserError
from experiments.run_directory import CONFIG, MANIFEST, PARTS, REPORT, RESULTS, RunDirectory, default_path

CONFIG_A: dict[str, Any] = {"name": "a", "seed": 1, "arms": {"x": {"share": 0.5}, "y": {"share": 0.5}}}
CONFIG_B: dict[str, Any] = CONFIG_A | {"seed": 2}


def opened(out: Path, config: dict[str, Any] = CONFIG_A, *, force: bool = False) -> RunDirectory:
    """A run directory for a config named a."""
    return RunDirectory.open(out, "a", config, force=force)


def finished(out: Path) -> RunDirectory:
    """A complete run."""
    directory = opened(out)
    directory.write_json(RESULTS, {"verdict": "better"})
    directory.write_text(REPORT, "<html>")
    directory.write_bytes(f"{PARTS}/one", b"1")
    directory.write_json(MANIFEST, {"code": "0"})
    return directory


def test_new_directory_holds_the_config_and_is_not_complete(tmp_path: Path) -> None:
    """Opening makes the folder and writes the resolved config; only a manifest makes a run complete."""
    directory = opened(tmp_path / "deep" / "run")
    assert [file.name for file in directory.path.iterdir()] == [CONFIG]
    assert not directory.complete
    directory.write_json(MANIFEST, {})
    assert directory.complete


def test_default_place_is_named_after_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder, equal configs share one under runs/ and different ones do not."""
    monkeypatch.chdir(tmp_path)
    place = RunDirectory.open(None, "a", CONFIG_A).path
    assert place == default_path("a", CONFIG_A)
    assert place.parent == Path("runs")
    assert place.name.startswith("a-")
    assert RunDirectory.open(None, "a", CONFIG_A).path == place
    assert RunDirectory.open(None, "a", CONFIG_B).path != place


def test_unfinished_run_of_the_same_config_is_kept(tmp_path: Path) -> None:
    """An unfinished run is opened again with its parts, for resuming."""
    opened(tmp_path).write_bytes(f"{PARTS}/one", b"1")
    directory = opened(tmp_path)
    assert not directory.complete
    assert (directory.path / PARTS / "one").read_bytes() == b"1"


def test_complete_run_of_the_same_config_is_shown(tmp_path: Path) -> None:
    """A complete run is recognised, with its results."""
    finished(tmp_path)
    assert opened(tmp_path).complete
    assert opened(tmp_path).read_results() == {"verdict": "better"}
    assert RunDirectory.existing(tmp_path).config == CONFIG_A


@pytest.mark.parametrize("config", [CONFIG_A, CONFIG_B])
def test_force_discards_the_run_and_only_the_run(tmp_path: Path, config: dict[str, Any]) -> None:
    """With force a run starts afresh under any config, and files that are not a run's stay."""
    finished(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    directory = opened(tmp_path, config, force=True)
    assert sorted(file.name for file in directory.path.iterdir()) == [CONFIG, "notes.txt"]
    assert not directory.complete


@pytest.mark.parametrize("config", [CONFIG_B, CONFIG_A | {"arms": dict(reversed(CONFIG_A["arms"].items()))}])
def test_run_of_another_config_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    """A folder never mixes two configs, the order of the arms being part of a config."""
    finished(tmp_path)
    with pytest.raises(UserError, match=r"holds a run of another config; give another --out, or --force"):
        opened(tmp_path, config)
    assert opened(tmp_path).complete


@pytest.mark.parametrize("force", [False, True])
def test_foreign_files_are_refused_and_kept(tmp_path: Path, force: bool) -> None:
    """A folder with files but no run is not written to, not even with force."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds files but no run"):
        opened(tmp_path, force=force)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_unwritable_places_are_refused(tmp_path: Path) -> None:
    """A file in the way, a folder under a file, and a folder without permission are refused in one line."""
    (tmp_path / "file").write_text("x")
    places = [tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run")]
    if os.geteuid():
        (tmp_path / "locked").mkdir(mode=0o500)
        places.append(tmp_path / "locked" / "run")
    for place in places:
        with pytest.raises(UserError, match=r"cannot be written \(.+\); choose another --out"):
            opened(place)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_interrupted_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, interruption: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stops a write, the file is as it was and no temporary file stays."""
    directory = opened(tmp_path)
    directory.write_text(RESULTS, "old")

    def stop(*_: object) -> None:
        raise interruption

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(interruption):
        directory.write_text(RESULTS, "new")
    assert (tmp_path / RESULTS).read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == [CONFIG, RESULTS]


def test_full_disk_is_the_users_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing write names the file and the reason."""
    directory = opened(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"results\.json: cannot be written \(No space left on device\)"):
        directory.write_json(RESULTS, {})


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    """Temporary files of processes that are gone are removed at opening, those of a living one are not."""
    directory = opened(tmp_path)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    dead, alive = tmp_path / f".tmp-{child}-{RESULTS}", tmp_path / f".tmp-{os.getpid()}-{RESULTS}"
    part = directory.write_bytes(f"{PARTS}/one", b"1").with_name(f".tmp-{child}-two")
    for file in (dead, alive, part):
        file.write_text("half")
    opened(tmp_path)
    assert [file.exists() for file in (dead, alive, part)] == [False, True, False]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_what_json_cannot_say(tmp_path: Path, number: float) -> None:
    """NaN and infinity are refused and nothing is written."""
    directory = opened(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        directory.write_json(RESULTS, {"effect": number})
    assert not (tmp_path / RESULTS).exists()


def test_tables_come_back_and_equal_tables_are_equal_bytes(tmp_path: Path) -> None:
    """A table is read back as it was, and writing it twice gives the same bytes."""
    directory = opened(tmp_path)
    frame = pl.DataFrame({"user": [1, 2, 3], "gmv": [0.1, 2.5, 0.0]})
    one, two = (directory.write_parquet(name, frame) for name in ("one.parquet", "two.parquet"))
    assert pl.read_parquet(one).equals(frame)
    assert one.read_bytes() == two.read_bytes()


def test_existing_refuses_what_is_no_complete_run(tmp_path: Path) -> None:
    """Reading needs a complete run: an empty folder and an unfinished run are refused with what to do."""
    with pytest.raises(UserError, match="not a run directory"):
        RunDirectory.existing(tmp_path)
    opened(tmp_path)
    with pytest.raises(UserError, match="unfinished; finish it with `testbed run"):
        RunDirectory.existing(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_damaged_results_are_refused(tmp_path: Path, content: str | None) -> None:
    """Results that are missing or not a JSON object are refused with the remedy."""
    directory = opened(tmp_path)
    if content is not None:
        directory.write_text(RESULTS, content)
    with pytest.raises(UserError, match=r"missing or damaged; run again with --force"):
        directory.read_results()


def test_json_is_readable_text(tmp_path: Path) -> None:
    """JSON keeps its letters and ends with a newline."""
    path = opened(tmp_path).write_json(RESULTS, {"currency": "£"})
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert "£" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == {"currency": "£"}
