"""``testbed audit``: its arguments, its words and its exit code. What an audit is, ``experiments.audit`` knows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from experiments.engines import EngineChoice, EngineName, Players, RayAddress, Workers
from experiments.progress import Progress, progress_for
from experiments.speaking import Place, speaking_plainly

if TYPE_CHECKING:
    from experiments.run_directory import RunDirectory
    from simulator.pools import Engine

EXAMPLE: Final = (
    "[bold]Examples[/bold]\n\n"
    "testbed audit experiments/configs/quickstart.yaml\n\n"
    "testbed audit runs/quickstart-1a2b3c4d --replications 4000 --seed 11\n\n"
    "[bold]How to read it[/bold]\n\n"
    "Each rate stands beside what its method promises, with two exact intervals: one at 95%, which one promise in "
    "twenty misses by chance, and one corrected for the number of promises. Only a promise outside the corrected one "
    "is called a defect. A rate that looks odd and is no defect: audit again with another --seed and more "
    "--replications.\n\n"
    "[bold]Exit code[/bold]\n\n"
    "0: every promise holds. 2: something to put right in the command or the config. 3: at least one defect."
)
DEFECT: Final = 3
"""Exit code of an audit that found a defect; a crash of the audit itself ends with 1."""
_FEWEST: Final = 20
_MOST: Final = 100_000


def audit(
    subject: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG|RUN",
            help="A YAML file, whose experiment is run first unless it was before; or the folder of a finished run.",
        ),
    ],
    replications: Annotated[
        int, typer.Option("--replications", metavar="R", help="Experiments drawn for each question.")
    ] = 1000,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Of the draws; that of the run if left out.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where audit.json and audit.html go. For a CONFIG it is the run directory, runs/NAME-HASH if left "
            "out; for a RUN another folder, the run's own if left out.",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key of a CONFIG; may be repeated."),
    ] = None,
    workers: Workers = None,
    engine: EngineChoice = EngineName.processes,
    ray_address: RayAddress = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the outcome.")] = False,
) -> None:
    """Tell whether the verdict is true: draw a run's experiment anew many times, with the truth known.

    The users of a run are assigned to arms again and again, by the experiment's own shares, and each time the verdict's
    own tests are asked. With the same outcomes under every arm nothing differs, and the tests should sound a false
    alarm in alpha of the experiments, not more, also where one looks every day. With `oracle: true` the run knows every
    user's outcome under every arm; then intervals should hold the true effect, and power should be what was predicted.
    Nothing is simulated again.
    """
    with speaking_plainly() as place:
        from experiments.audit import run_audit
        from experiments.audit_tables import print_audit
        from experiments.errors import UserError
        from experiments.report.audit import render_audit
        from experiments.run_directory import AUDIT, AUDIT_REPORT, MANIFEST

        if not _FEWEST <= replications <= _MOST:
            raise UserError(f"--replications: {replications}; use {_FEWEST} to {_MOST}")
        players = Players(engine, workers, ray_address)
        progress = progress_for(Console(stderr=True), quiet=quiet)
        with players.ready() as (opened, count):
            if subject.is_dir():
                run, target = _finished(subject, out, overrides)
            else:
                run = target = _run_first(place, subject, out, overrides, opened, count, progress, quiet)
            place.path = target.path
            found = run_audit(run, replications, seed, count, progress, opened)
        target.write_json(AUDIT, found)
        target.write_text(AUDIT_REPORT, render_audit(found, run.read_results(MANIFEST)))
        print_audit(Console(), found)
        typer.echo(f"audit: {target.path / AUDIT_REPORT}")
    if found["defects"]:
        raise typer.Exit(DEFECT)


def _finished(folder: Path, out: Path | None, overrides: list[str] | None) -> tuple["RunDirectory", "RunDirectory"]:
    """A finished run, and where its audit is written."""
    from experiments.errors import UserError
    from experiments.run_directory import RunDirectory

    if overrides:
        raise UserError(f"--set {overrides[0]}: {folder} is a finished run; --set needs a CONFIG")
    run = RunDirectory.existing(folder)
    if out is None:
        return run, run
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error.strerror}); choose another --out") from error
    return run, RunDirectory(out, run.config)


def _run_first(
    place: Place,
    path: Path,
    out: Path | None,
    overrides: list[str] | None,
    engine: "Engine",
    workers: int,
    progress: Progress,
    quiet: bool,
) -> "RunDirectory":
    """The finished run of a config, carried out now if it was not before."""
    from experiments.audit import refuse_clusters
    from experiments.config import ExperimentConfig
    from experiments.errors import UserError
    from experiments.loading import load_config
    from experiments.report import write_report
    from experiments.runner import run_experiment

    config = load_config(path, overrides or ())
    if not isinstance(config, ExperimentConfig):
        raise UserError(f"{path}: its kind is {config.kind}; an audit needs an experiment or the folder of its run")
    refuse_clusters(config, str(path))
    directory = place.open(out, config, force=False)
    if directory.complete:
        if not quiet:
            typer.echo(f"{directory.path} holds this run, complete: auditing it", err=True)
        return directory
    run_experiment(config, directory, workers, progress, engine=engine)
    write_report(directory)
    return directory
