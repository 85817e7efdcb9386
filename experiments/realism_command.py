"""``testbed realism``: its arguments and its words. What a scorecard is, ``experiments.realism`` knows."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from experiments.engines import EngineChoice, EngineName, Players, RayAddress, Workers
from experiments.progress import progress_for
from experiments.speaking import speaking_plainly

EXAMPLE: Final = (
    "[bold]Examples[/bold]\n\n"
    "testbed realism experiments/configs/online_retail.yaml\n\n"
    "testbed realism experiments/configs/quickstart.yaml --out realism\n\n"
    "[bold]How to read it[/bold]\n\n"
    "Each row is a distance between real and simulated users, 0 where they are alike, beside its noise floor: the "
    "distance of two random halves of the real ones. A row at one time its floor is as good as real."
)
_FEWEST: Final = 20
_MOST: Final = 10_000


def realism(
    path: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file of kind experiment.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where realism.json and realism.html go; runs/NAME-realism-HASH if left out.",
        ),
    ] = None,
    fit_months: Annotated[
        int | None,
        typer.Option(
            "--fit-months",
            metavar="N",
            min=1,
            help="Of a log world: months from its start that are fitted to, the rest is scored; 9 if left out, or what "
            "world.purchases.from_day says.",
        ),
    ] = None,
    halvings: Annotated[
        int, typer.Option("--halvings", metavar="N", help="Random halves, or draws, that make each noise floor.")
    ] = 100,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as in seed=8; may be repeated."),
    ] = None,
    workers: Workers = None,
    engine: EngineChoice = EngineName.processes,
    ray_address: RayAddress = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the outcome.")] = False,
) -> None:
    """Hold a config's world against reality, row by row, beside the noise that reality has itself.

    A world made from a log is fitted to its first months and drawn for the rest, which it is then held against. A
    generated world is played under its control and held against public counts of the Taobao log. The two worst rows are
    named.
    """
    with speaking_plainly() as place:
        from experiments.config import ExperimentConfig, config_hash, resolved
        from experiments.errors import UserError, unwritable
        from experiments.loading import load_config
        from experiments.provenance import Stopwatch, manifest
        from experiments.realism import run_realism
        from experiments.report.realism import render_realism
        from experiments.run_directory import MANIFEST, REALISM, REALISM_REPORT, RunDirectory
        from experiments.terminal_realism import print_realism

        config = load_config(path, overrides or ())
        if not isinstance(config, ExperimentConfig):
            raise UserError(f"{path}: its kind is {config.kind}; only experiments have a world to score")
        if not _FEWEST <= halvings <= _MOST:
            raise UserError(f"--halvings: {halvings}; use {_FEWEST} to {_MOST}")
        players = Players(engine, workers, ray_address)
        target = out or Path("runs") / f"{config.name}-realism-{config_hash(config)[:8]}"
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(target, error, "choose another --out") from error
        folder = RunDirectory(target, resolved(config))
        if (target / MANIFEST).exists() and not (target / REALISM).exists():
            raise UserError(f"{target}: holds a run; choose another --out for its scorecard")
        place.path = target
        clock, progress = Stopwatch(), progress_for(Console(stderr=True), quiet=quiet)
        with players.ready() as (opened, count):
            found = run_realism(config, fit_months, halvings, count, progress, clock, opened)
        made = manifest(config_hash(config), {"realism": config.seed}, clock.seconds, count, None, engine=opened.name)
        folder.write_json(REALISM, found)
        folder.write_text(REALISM_REPORT, render_realism(found, made))
        folder.write_json(MANIFEST, made)
        print_realism(Console(), found)
        typer.echo(f"realism: {target / REALISM_REPORT}")
