"""The command line: reads arguments, calls the one function a command is for, and words what went wrong.

It does not know how an experiment is run, analysed or drawn. What the user can put right ends in one line on
standard error and exit code 2, without a traceback; anything else is a defect and keeps its traceback.
"""

import os
from collections.abc import Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from experiments.analyze_command import EXAMPLE as ANALYZE_EXAMPLE
from experiments.analyze_command import analyze
from experiments.audit_command import EXAMPLE as AUDIT_EXAMPLE
from experiments.audit_command import audit
from experiments.cache_command import cache_app
from experiments.climate_command import EXAMPLE as CLIMATE_EXAMPLE
from experiments.climate_command import climate
from experiments.compare_command import EXAMPLE as COMPARE_EXAMPLE
from experiments.compare_command import compare
from experiments.engines import EngineChoice, EngineName, Players, RayAddress, Workers
from experiments.power_command import EXAMPLE as POWER_EXAMPLE
from experiments.power_command import power
from experiments.progress import progress_for
from experiments.realism_command import EXAMPLE as REALISM_EXAMPLE
from experiments.realism_command import realism
from experiments.speaking import speaking_plainly
from experiments.sweep_command import EXAMPLE as SWEEP_EXAMPLE
from experiments.sweep_command import sweep
from experiments.time_command import EXAMPLE as TIME_EXAMPLE
from experiments.time_command import time
from experiments.traffic_command import CONVERT_EXAMPLE, RECORD_EXAMPLE, convert, record
from experiments.train_command import train_app

# Commands import what they call: numba, lightgbm and polars take seconds to load, and `--help` need not wait.
if TYPE_CHECKING:
    from experiments.config import EvaluationConfig, ExperimentConfig
    from experiments.run_directory import RunDirectory
    from simulator.parameters import Parameters

# Read when OpenMP is loaded, by what commands import: threads that wait for work leave the core to other processes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_Config = TypeVar("_Config", "ExperimentConfig", "EvaluationConfig")

app = typer.Typer(
    help="Tells, before any live traffic is spent, which policy would win an A/B test, and by how much.",
    epilog="Start with: testbed run experiments/configs/quickstart.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
data_app = typer.Typer(help="Fetch public data sets to build worlds from.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(train_app, name="train")
app.add_typer(cache_app, name="cache")


class Kind(StrEnum):
    """What a config may describe."""

    experiment = "experiment"
    evaluation = "evaluation"
    training = "training"
    timing = "timing"
    plan = "plan"


ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file; see experiments/configs.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Run directory; runs/NAME-HASH if left out.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as in world.users=2000; may be repeated."),
]
Force = Annotated[bool, typer.Option("--force", help="Discard an earlier run found in the run directory.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only the outcome.")]


def main() -> None:
    """Entry point of the console script ``testbed``."""
    app(prog_name="testbed")


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            number = version("recgpt-testbed")
        except PackageNotFoundError:
            number = "(not installed)"
        typer.echo(f"testbed {number}")
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave."),
    ] = False,
) -> None:
    pass


@app.command(
    epilog="[bold]Examples[/bold]\n\n"
    "testbed run experiments/configs/quickstart.yaml\n\n"
    "testbed run quickstart.yaml --set world.users=20000 --set 'analysis.metrics=\\[ctr, gmv]' --workers 4\n\n"
    "testbed run --resume runs/quickstart-1a2b3c4d"
)
def run(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="A YAML file; see experiments/configs. Not with --resume.")
    ] = None,
    out: Out = None,
    overrides: Overrides = None,
    workers: Workers = None,
    engine: EngineChoice = EngineName.processes,
    ray_address: RayAddress = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with an interrupted run, from its run directory."),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Run an experiment: simulate its arms, analyse them, write the report, print the verdict.

    A run that is already complete is not repeated: its stored verdict is shown. One that was interrupted goes on from
    the last days that it kept, with --resume, and ends in the same results.
    """
    with speaking_plainly() as place:
        from experiments.config import ExperimentConfig
        from experiments.errors import UserError
        from experiments.report import write_report
        from experiments.resuming import run_to_resume, standing
        from experiments.run_directory import REPORT
        from experiments.runner import run_experiment
        from experiments.terminal import print_verdict

        if resume is not None:
            given = {"CONFIG": config, "--out": out, "--set": overrides, "--force": force}
            config, out = run_to_resume(resume, [name for name, value in given.items() if value]), resume
        elif config is None:
            raise UserError("CONFIG: missing; give a config to run, or an interrupted run with --resume RUN")
        checked, players = _load(config, overrides, ExperimentConfig), Players(engine, workers, ray_address)
        if checked.sweep is not None:
            raise UserError(f"{config}: describes a sweep; use `testbed sweep {config}`")
        directory = place.open(out, checked, force)
        if directory.interrupted:
            held = f"{directory.path}: holds an interrupted run ({standing(directory)})"
            if resume is None:
                raise UserError(f"{held}; go on with it by {directory.remedy}, or begin anew with --force")
            if not quiet:
                typer.echo(f"{held}: going on", err=True)
        if directory.complete:
            _say_stored(directory, quiet)
            results = directory.read_results()
        else:
            progress = progress_for(Console(stderr=True), quiet=quiet)
            with players.ready() as (opened, count):
                results = run_experiment(checked, directory, count, progress, engine=opened)
        print_verdict(Console(), results)
        if not (directory.path / REPORT).exists():
            write_report(directory)
        typer.echo(f"report: {directory.path / REPORT}")


@app.command(
    epilog="[bold]Example[/bold]\n\n"
    "testbed evaluate experiments/configs/online_retail_replay.yaml --set holdout_days=60"
)
def evaluate(
    config: ConfigPath,
    out: Out = None,
    overrides: Overrides = None,
    workers: Workers = None,
    engine: EngineChoice = EngineName.processes,
    ray_address: RayAddress = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate policies offline: they learn from a log's earlier days and are held against its last ones."""
    with speaking_plainly() as place:
        from experiments.config import EvaluationConfig
        from experiments.evaluation import run_evaluation
        from experiments.report import write_report
        from experiments.run_directory import EVALUATION, REPORT
        from experiments.terminal import print_evaluation

        checked, players = _load(config, overrides, EvaluationConfig), Players(engine, workers, ray_address)
        directory = place.open(out, checked, force)
        if directory.complete:
            _say_stored(directory, quiet)
            results = directory.read_results(EVALUATION)
        else:
            progress = progress_for(Console(stderr=True), quiet=quiet)
            with players.ready() as (opened, count):
                results = run_evaluation(checked, directory, count, progress, opened)
        print_evaluation(Console(), results)
        if not (directory.path / REPORT).exists():
            write_report(directory)
        typer.echo(f"report: {directory.path / REPORT}")


@app.command(epilog="[bold]Example[/bold]\n\ntestbed report runs/quickstart-1a2b3c4d")
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a complete run.")],
) -> None:
    """Write a complete run's report again, from its stored results."""
    with speaking_plainly():
        from experiments.errors import UserError
        from experiments.report import write_report
        from experiments.run_directory import TIMING, RunDirectory

        directory = RunDirectory.existing(run)
        if (run / TIMING).is_file():
            raise UserError(f"{run}: holds a timing, which has no report; `testbed time {run}/config.yaml --out {run}`")
        typer.echo(f"report: {write_report(directory)}")


@app.command(epilog="[bold]Example[/bold]\n\ntestbed validate my.yaml --set arms.treatment.policy=utility")
def validate(config: ConfigPath, overrides: Overrides = None) -> None:
    """Check a config without running it, its trace too, and say all that is wrong with it, a line each.

    A log that a world is made of is not read.
    """
    with speaking_plainly(every_mistake=True):
        from experiments.config import ExperimentConfig, resolved
        from experiments.errors import MistakesError
        from experiments.loading import load_config
        from experiments.run_directory import default_path
        from experiments.runner import world_mistakes
        from experiments.sweep import default_folder
        from experiments.sweep_points import load_points
        from experiments.timing_config import TimingConfig
        from experiments.training_config import TrainingConfig

        checked = load_config(config, overrides or ())
        if isinstance(checked, ExperimentConfig) and checked.sweep is not None:
            base, points = load_points(config, overrides or ())
            typer.echo(
                f"{config}: valid, {len(points)} experiments; `testbed sweep` would write {default_folder(base)}"
            )
            return
        if isinstance(checked, TrainingConfig):
            typer.echo(f"{config}: valid; `testbed train language {config} --out DIR` would follow it")
            return
        if isinstance(checked, TimingConfig):
            place = default_path(checked.name, checked.resolved)
            typer.echo(f"{config}: valid; `testbed time` would write {place}")
            return
        if isinstance(checked, ExperimentConfig):
            wrong = list(world_mistakes(checked))
            if wrong:
                raise MistakesError(wrong)
        command = "run" if checked.kind == Kind.experiment else "evaluate"
        place = default_path(checked.name, resolved(checked))
        typer.echo(f"{config}: valid; `testbed {command}` would write {place}")


@app.command(
    epilog="[bold]Example[/bold]\n\ntestbed schema > experiment.schema.json\n\n"
    "An editor that knows YAML schemas then completes and checks keys while you type."
)
def schema(
    kind: Annotated[Kind, typer.Option("--kind", help="Which kind of config.")] = Kind.experiment,
) -> None:
    """Print the JSON Schema of configs: every key, its meaning, bounds and default."""
    import json

    from experiments.kinds import CONFIG_KINDS
    from experiments.plan import Plan

    models: dict[str, type[Parameters]] = {**CONFIG_KINDS, "plan": Plan}
    typer.echo(json.dumps(models[kind.value].model_json_schema(), indent=2))


@app.command(epilog="Parameters go under arms.ARM.params in a config.")
def policies() -> None:
    """List the policies an arm can have, each with its parameters and their defaults.

    One that cannot be loaded is told of after the others, with what is wrong with it, and ends in exit code 2.
    """
    with speaking_plainly(every_mistake=True):
        from experiments.errors import MistakesError
        from policies.registry import UnusablePolicyError, known_policies

        table, wrong = Table("policy", "what it does", "parameters", title=None), []
        for name, policy in known_policies().items():
            if isinstance(policy, UnusablePolicyError):
                wrong.append(f"policy {policy}")
            else:
                table.add_row(name, _first_line(policy.__doc__), "\n".join(_parameters(policy.Params())))
        Console().print(table, markup=False)
        if wrong:
            raise MistakesError(wrong)


# Behind the commands above, which somebody new needs first: help lists them in this order.
app.command(name="compare", epilog=COMPARE_EXAMPLE)(compare)
app.command(name="sweep", epilog=SWEEP_EXAMPLE)(sweep)
app.command(name="power", epilog=POWER_EXAMPLE)(power)
app.command(name="audit", epilog=AUDIT_EXAMPLE)(audit)
app.command(name="realism", epilog=REALISM_EXAMPLE)(realism)
app.command(name="analyze", epilog=ANALYZE_EXAMPLE)(analyze)
app.command(name="time", epilog=TIME_EXAMPLE)(time)
app.command(name="record", epilog=RECORD_EXAMPLE)(record)
app.command(name="convert", epilog=CONVERT_EXAMPLE)(convert)
app.command(name="climate", epilog=CLIMATE_EXAMPLE)(climate)


@data_app.command("online-retail", epilog="[bold]Example[/bold]\n\ntestbed data online-retail --to data")
def online_retail(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder to put the file in; made if need be.")],
) -> None:
    """Fetch the UCI Online Retail log: a year of a UK gift shop's invoices (CC BY 4.0)."""
    with speaking_plainly():
        from experiments.data import fetch_online_retail

        typer.echo(fetch_online_retail(to, progress_for(Console(stderr=True))))


def _load(path: Path, overrides: list[str] | None, model: type[_Config]) -> _Config:
    from experiments.errors import UserError
    from experiments.loading import load_config

    config = load_config(path, overrides or ())
    if not isinstance(config, model):
        commands = {Kind.experiment: "run", Kind.evaluation: "evaluate", Kind.timing: "time"}
        command = commands.get(Kind(config.kind), "train language")
        raise UserError(f"{path}: its kind is {config.kind}; use `testbed {command} {path}`")
    return config


def _say_stored(directory: "RunDirectory", quiet: bool) -> None:
    if not quiet:
        typer.echo(f"{directory.path} holds this run, complete: showing what it found (--force runs again)", err=True)


def _parameters(params: "Parameters", prefix: str = "") -> Iterator[str]:
    """Each parameter with its default and, where it has one, its description."""
    for name, field in type(params).model_fields.items():
        value = getattr(params, name)
        if hasattr(type(value), "model_fields"):
            yield from _parameters(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}: {value}" + (f"  ({field.description})" if field.description else "")


def _first_line(docstring: str | None) -> str:
    return (docstring or "").strip().partition("\n")[0]


if __name__ == "__main__":
    main()
