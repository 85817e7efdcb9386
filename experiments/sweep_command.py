"""The command ``testbed sweep``: reads its arguments, calls the one function it is for, and shows what came out."""

import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from experiments.engines import EngineChoice, EngineName, Players, RayAddress, Workers
from experiments.progress import progress_for
from experiments.speaking import speaking_plainly

MOST_POINTS: Final = 50
EXAMPLE = (
    "[bold]Examples[/bold]\n\n"
    "testbed sweep experiments/configs/sweep.yaml\n\n"
    "testbed sweep experiments/configs/sweep.yaml --set 'sweep.seeds=\\[7, 8, 9]' --workers 2"
)


def sweep(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="An experiment with a block `sweep`.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The sweep's folder; runs/NAME-sweep-HASH if left out.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key of all experiments; may be repeated."),
    ] = None,
    workers: Workers = None,
    engine: EngineChoice = EngineName.processes,
    ray_address: RayAddress = None,
    yes: Annotated[
        bool, typer.Option("--yes", help=f"Run more than {MOST_POINTS} experiments without asking.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Run every experiment again.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the outcome.")] = False,
) -> None:
    """Run an experiment with several values of some keys, and draw how the effect answers.

    Experiments that are finished are found again, so an interrupted sweep goes on and a grid can grow. Those that share
    a world, its history or a policy share the work; each leaves the bytes that running it alone would leave.
    """
    with speaking_plainly() as place:
        from experiments.errors import UserError
        from experiments.run_directory import REPORT
        from experiments.sweep import Done, default_folder, finished, run_sweep
        from experiments.sweep_points import load_points
        from experiments.terminal_sweep import print_done, print_sweep

        players = Players(engine, workers, ray_address)
        base, points = load_points(config, overrides or ())
        place.path = folder = out if out is not None else default_folder(base)
        there = 0 if force else finished(folder, points)
        if len(points) - there > MOST_POINTS and not yes:
            raise UserError(
                f"sweep: {len(points) - there} experiments to run (more than {MOST_POINTS}); add --yes to run all, "
                "or fewer values"
            )
        console = Console(stderr=True)
        if not quiet:
            console.print(f"{len(points)} experiments, {there} of them finished before", highlight=False)
        begun, number = time.monotonic(), 0

        def tell(done: Done) -> None:
            nonlocal begun, number
            now, number = time.monotonic(), number + 1
            if not quiet:
                print_done(console, done, number, len(points), now - begun)
            begun = now

        progress = progress_for(console, quiet=quiet)
        with players.ready() as (opened, count):
            swept = run_sweep(base, points, folder, count, progress, tell, force=force, engine=opened)
        print_sweep(Console(), swept)
        typer.echo(f"report: {folder / REPORT}")
