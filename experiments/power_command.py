"""``testbed power``: its arguments and its table. What a test can notice, ``experiments.pilot`` knows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.engines import EngineChoice, EngineName, Players, RayAddress, Workers
from experiments.progress import progress_for
from experiments.speaking import speaking_plainly

EXAMPLE: Final = (
    "[bold]Example[/bold]\n\n"
    "testbed power experiments/configs/quickstart.yaml --set analysis.power.lift=0.03 --set world.users=20000"
)


def power(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file of an experiment.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as in horizon.days=28; may be repeated."),
    ] = None,
    workers: Workers = None,
    engine: EngineChoice = EngineName.processes,
    ray_address: RayAddress = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the outcome.")] = False,
) -> None:
    """Tell what the planned test would notice, and how many users and days it needs, before it is run.

    Variances come from a pilot on the config's own history; no arm is played.
    """
    with speaking_plainly():
        import json

        from experiments.config import ExperimentConfig
        from experiments.errors import UserError
        from experiments.loading import load_config
        from experiments.pilot import plan_power, run_pilot

        players = Players(engine, workers, ray_address)
        checked = load_config(config, overrides or ())
        if not isinstance(checked, ExperimentConfig):
            raise UserError(f"{config}: its kind is {checked.kind}; power is for experiments")
        progress = progress_for(Console(stderr=True), quiet=quiet)
        with players.ready() as (opened, count):
            user_days, phases = run_pilot(checked, count, progress, opened)
        found = plan_power(checked, user_days, phases)
        if as_json:
            typer.echo(json.dumps(found, allow_nan=False, indent=2))
        else:
            print_power(Console(), found)


def print_power(console: Console, found: Mapping[str, Any]) -> None:
    """Print what a planned test could notice.

    Args:
        console: where to.
        found: what ``plan_power`` gives.
    """
    from experiments.report import words

    looks = "one look" if found["looks"] == 1 else f"{found['looks']} looks"
    console.print(Text(str(found["name"]), style="bold"))
    console.print(
        Text(
            f"{found['days']} days at alpha {found['alpha']:g}, {looks}; pilot of {found['pilot_days']} days with "
            f"{words.count(found['exposed'])} {'blocks' if found['randomised'] == 'blocks' else 'users'}",
            style="dim",
        )
    )
    randomised = str(found["randomised"])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("Metric", overflow="fold")
    chance = f"chance to\nnotice {found['target_lift']:.3g}".replace("0.", ".")
    for heading in (
        "value",
        "variance\nremoved",
        "smallest\nlift",
        "corrected",
        chance,
        f"{randomised}\nneeded",
        "days\nneeded",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found["metrics"]:
        days = row["days_needed"]
        table.add_row(
            Text(row["title"]),
            words.number(row["value"], row["unit"]),
            words.percent(row["variance_reduction"], sign=False),
            words.percent(row["smallest_lift"]),
            words.percent(row["smallest_lift_corrected"]),
            words.percent(row["power"], sign=False),
            words.count(row["users_needed"]),
            words.NOTHING if row["power"] is None else str(days) if days else f"> {found['pilot_days']}",
        )
    console.print(table)
    console.print(Text(_sentence(found)), width=min(console.width, 100), highlight=False)


def _sentence(found: Mapping[str, Any]) -> str:
    """What the table's columns mean, and what the planned test needs."""
    from experiments.report import words

    wanted, target = f"{found['wanted']:.0%}", words.percent(found["target_lift"])
    clusters = found["clusters"]
    users = found["randomised"] == "users"
    units = "exposed users" if users else f"{found['randomised']} as large as these"
    columns = (
        f"Smallest lift: noticed with a chance of {wanted}, by itself and, corrected, as the first of "
        f"{found['comparisons']} comparisons. {found['randomised'].capitalize()} needed: "
        f"{'exposed, ' if users else ''}in the control and the smallest treatment together. "
        "Variances are those under the exploring logger."
    )
    primary = next(row for row in found["metrics"] if row["metric"] == found["primary"])
    if clusters and words.known(primary["design_effect"]):
        alike = "" if primary["correlation"] is None else f" (correlation within cities {primary['correlation']:.4f})"
        columns += (
            f" {words.count(clusters)} cities are randomised: the variance on {primary['title']} is about "
            f"{words.short(primary['design_effect'])} times that of randomising users{alike}, as far as so many cities "
            "can tell."
        )
    if primary["power"] is None:
        return f"{columns} The pilot cannot tell what the test would notice on {primary['title']}."
    days = primary["days_needed"]
    return (
        f"{columns} As planned, a lift of {target} on {primary['title']} is noticed with a chance of "
        f"{primary['power']:.0%}. A chance of {wanted} needs {words.count(primary['users_needed'])} {units}, "
        f"which is {words.number(primary['growth_needed'])} times those at hand"
        f"{f', or {days} days with those' if days else ', or more days than the pilot has'}."
    )
