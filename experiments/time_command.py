"""``testbed time``: its arguments and its words. What a timing is, ``experiments.timing`` knows."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from experiments.progress import progress_for
from experiments.speaking import speaking_plainly

EXAMPLE: Final = (
    "[bold]Examples[/bold]\n\n"
    "testbed time experiments/configs/cost_v1_v2.yaml\n\n"
    "testbed time cost_v1_v2.yaml --set serving.users_a_day=1000000 --set measure=null\n\n"
    "testbed time cost_v1_v2.yaml --set measure.device=cuda --set measure.gpu.model=qwen3-4b --fit\n\n"
    "[bold]Step times[/bold]\n\n"
    "Every modelled figure rests on what one iteration of a card takes. Without --fit that is assumed, or what "
    "serving.step_time gives, and the output says which. With --fit the steps that were measured on this machine's GPU "
    "are fitted (a roofline with fixed costs), whole shapes are held out, and their median error stands beside every "
    "figure that rests on the fit. Steps of a processor are always fitted and judged so, and stand for no card."
)


def time(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file of kind timing.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Run directory; runs/NAME-HASH if left out."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as in serving.peak=3; may be repeated."),
    ] = None,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="Model this machine's GPU with step times fitted to its measured steps, with their held-out error; "
            "the same as --set serving.fit=true.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Discard an earlier run found in the run directory.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the outcome.")] = False,
) -> None:
    """Tell what designs cost to think: measured here, on a GPU if there is one, and modelled for cards.

    A run that is already complete is not repeated: what it found is shown.
    """
    with speaking_plainly() as place:
        from experiments.errors import UserError
        from experiments.loading import load_config
        from experiments.run_directory import TIMING, RunDirectory
        from experiments.timing import run_timing
        from experiments.timing_config import TimingConfig
        from experiments.timing_tables import print_timing

        checked = load_config(config, [*(overrides or ()), *(["serving.fit=true"] if fit else [])])
        if not isinstance(checked, TimingConfig):
            raise UserError(f"{config}: its kind is {checked.kind}; a timing needs kind: timing")
        directory = RunDirectory.open(out, checked.name, checked.resolved, force=force)
        place.path = directory.path
        if directory.complete:
            if not quiet:
                typer.echo(
                    f"{directory.path} holds this run, complete: showing what it found (--force runs again)", err=True
                )
            timing = directory.read_results(TIMING)
        else:
            timing = run_timing(checked, directory, progress_for(Console(stderr=True), quiet=quiet))
        print_timing(Console(), timing)
        typer.echo(f"timing: {directory.path / TIMING}")
