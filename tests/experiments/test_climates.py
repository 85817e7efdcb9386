from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner, Result

from experiments.cli import app
from experiments.config import ExperimentConfig
from experiments.errors import UserError
from experiments.loading import load_config
from experiments.runner import world_of
from simulator.environment.weather import fit_climate, load_climates

CSV = Path(__file__).parents[2] / "../shared/data/weather/weather_seattle_newyork.csv"
READINGS = ("precipitation", "temp_max", "temp_min", "wind")


def invoke(*arguments: str) -> Result:
    """What ``testbed climate`` does."""
    return CliRunner().invoke(app, ["climate", *arguments], terminal_width=100)


@pytest.fixture(scope="module")
def oslo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seattle's real weather, as that of a place that is not shipped."""
    if not CSV.exists():
        pytest.skip(f"{CSV.name} is absent")
    path = tmp_path_factory.mktemp("climate") / "oslo.csv"
    rows = pl.read_csv(CSV).filter(pl.col("location") == "Seattle")
    rows.with_columns(pl.lit("Gamle Oslo").alias("location")).write_csv(path)
    return path


def config_of(**world: Any) -> dict[str, Any]:
    """An experiment in a generated world."""
    return {
        "name": "far",
        "seed": 7,
        "world": {"kind": "generated", "users": 40, "items": 60, "country": "NO", **world},
        "horizon": {"start": "2015-10-05", "history_days": 3, "days": 3},
        "arms": {"a": {"policy": "random", "share": 0.5}, "b": {"policy": "popularity", "share": 0.5}},
        "analysis": {"primary": "ctr", "metrics": ["ctr"]},
    }


def test_a_csv_becomes_a_city_where_users_live(oslo: Path) -> None:
    """The command fits and writes a climate; a config that names the file has users there, and holds it whole."""
    out = oslo.with_name("oslo.yaml")
    result = invoke(str(oslo), "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "gamle_oslo: Gamle Oslo, 1,461 days of 2012-01-01 to 2015-12-31; wet days" in result.stdout
    path = oslo.with_name("far.yaml")
    path.write_text(yaml.safe_dump(config_of(climates="oslo.yaml", cities=["gamle_oslo", "new_york"])))
    config = load_config(path)
    assert isinstance(config, ExperimentConfig)
    rows = pl.read_csv(oslo, try_parse_dates=True)
    expected = fit_climate(rows["date"].to_list(), *(rows[name].to_numpy() for name in READINGS), name="Gamle Oslo")
    assert config.world.climates == {"gamle_oslo": expected}  # type: ignore[union-attr]
    again = ExperimentConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    world = world_of(config).world
    assert world.environment.cities == ("gamle_oslo", "new_york")
    only = config_of(cities=["new_york"])
    path.write_text(yaml.safe_dump(only))
    plain = load_config(path)
    assert isinstance(plain, ExperimentConfig)
    alone = world_of(plain).world.environment.weather
    assert (world.environment.weather.temp_max[1] == alone.temp_max[0]).all()
    assert not (world.environment.weather.temp_max[0] == alone.temp_max[0]).any()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "no such file"),
        ("location,date\nA,2012-01-01\n", "no column precipitation"),
        ("location,date,precipitation,temp_max,temp_min,wind\n", "no rows"),
        ("location,date,precipitation,temp_max,temp_min,wind\nA,2012-01-01,0,5,x,1\n", ":2: a value is missing"),
        ("location,date,precipitation,temp_max,temp_min,wind\nA,soon,0,5,1,1\n", ":2: a value is missing"),
        ("location,date,precipitation,temp_max,temp_min,wind\nA,2012-01-01,0,5,1,1\n", "at least 365"),
        ("location,date,precipitation,temp_max,temp_min,wind\n--,2012-01-01,0,5,1,1\n", "rename it"),
    ],
)
def test_what_cannot_be_fitted_is_named(tmp_path: Path, content: str | None, part: str) -> None:
    """A file that lacks columns, rows, numbers or days ends in one line with exit code 2, and nothing is written."""
    path, out = tmp_path / "x.csv", tmp_path / "x.yaml"
    if content is not None:
        path.write_text(content)
    result = invoke(str(path), "--out", str(out))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert part in line
    assert not out.exists()


def test_only_a_file_of_climates_is_replaced_and_only_by_force(oslo: Path, tmp_path: Path) -> None:
    """Climates that are there stay without --force and are replaced with it; whatever else is there stays."""
    climates, config, folder = tmp_path / "climates.yaml", tmp_path / "config.yaml", tmp_path / "folder"
    climates.write_text("climates: {}\n")
    config.write_text("climates: {}\nseed: 7\n")
    folder.mkdir()
    for out, force, said in (
        (climates, [], "holds a file of climates already; give another --out, or --force to replace it"),
        (config, [], "holds something other than a file of climates; give another --out"),
        (config, ["--force"], "holds something other than a file of climates; give another --out"),
        (folder, ["--force"], "a folder; give the name of a file in it"),
    ):
        result = invoke(str(oslo), "--out", str(out), *force)
        assert result.exit_code == 2
        assert result.stderr == f"error: --out {out}: {said}\n"
    assert (climates.read_text(), config.read_text()) == ("climates: {}\n", "climates: {}\nseed: 7\n")
    assert invoke(str(oslo), "--out", str(climates), "--force").exit_code == 0
    assert "gamle_oslo" in climates.read_text()


def refused(tmp_path: Path, world: dict[str, Any]) -> str:
    """The message for a config with this world."""
    path = tmp_path / "far.yaml"
    path.write_text(yaml.safe_dump(config_of(**world)))
    with pytest.raises(UserError) as caught:
        load_config(path)
    return str(caught.value)


def test_climates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """Unknown cities, absent or foreign files, taken names and impossible numbers are told with what would be right."""
    seattle = load_climates()["seattle"].as_dict()
    assert "fit one with `testbed climate`" in refused(tmp_path, {"cities": ["oslo"]})
    assert "no such file" in refused(tmp_path, {"climates": "gone.yaml", "cities": ["oslo"]})
    (tmp_path / "empty.yaml").write_text("cities: {}\n")
    assert "has none; write a file" in refused(tmp_path, {"climates": "empty.yaml", "cities": ["oslo"]})
    assert "is taken" in refused(tmp_path, {"climates": {"oslo": seattle}, "cities": ["oslo"]})
    short = {**seattle, "name": "Oslo", "wet_after_dry": [0.1, 0.2]}
    assert "wet_after_dry: 2 numbers; give 12" in refused(tmp_path, {"climates": {"oslo": short}, "cities": ["oslo"]})
    wrong = {**seattle, "name": "Oslo", "wet_after_wet": [1.5] * 12}
    assert "probabilities lie in 0..1" in refused(tmp_path, {"climates": {"oslo": wrong}, "cities": ["oslo"]})
    again = seattle | {"name": "Harbour"}
    same_key = {"climates": {"seattle_2": again}, "cities": ["seattle", "seattle_2"], "cities_per_climate": 2}
    assert refused(tmp_path, same_key) == (
        "world.cities_per_climate: 2, with which 'seattle_2' would be two cities; rename one of the climates"
    )
    same_name = {"climates": {"port": seattle | {"name": "Seattle 2"}}, "cities": ["seattle", "port"]}
    assert refused(tmp_path, same_name | {"cities_per_climate": 2}) == (
        "world.cities_per_climate: 2, with which 'seattle_2' and 'port' would both be named 'Seattle 2'; rename one of "
        "the climates"
    )
