"""``testbed record`` and ``testbed convert``: their arguments and their words.

What a trace is, ``simulator.traffic`` knows.
"""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from experiments.engines import EngineChoice, EngineName, Players, RayAddress, Workers
from experiments.out_files import Force, check_out
from experiments.progress import progress_for
from experiments.speaking import speaking_plainly

RECORD_EXAMPLE: Final = (
    "[bold]Example[/bold]\n\ntestbed record experiments/configs/quickstart.yaml --out trace.parquet\n\n"
    "Then, in a config: traffic: {kind: trace, path: trace.parquet}"
)
CONVERT_EXAMPLE: Final = "[bold]Example[/bold]\n\ntestbed convert taobao UserBehavior.csv --out taobao.parquet"


class Source(StrEnum):
    """Logs whose visits can become a trace."""

    taobao = "taobao"
    online_retail = "online-retail"


Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The trace to write, a Parquet file.")]


def record(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file of kind experiment.")],
    out: Out,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key, as in world.users=2000; may be repeated."),
    ] = None,
    workers: Workers = None,
    engine: EngineChoice = EngineName.processes,
    ray_address: RayAddress = None,
    force: Force = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the outcome.")] = False,
) -> None:
    """Write down an experiment's visits, so that any policies can be met by the same."""
    with speaking_plainly():
        from experiments.config import ExperimentConfig
        from experiments.errors import UserError
        from experiments.loading import load_config
        from experiments.recording import record_traffic

        players = Players(engine, workers, ray_address)
        checked = load_config(config, overrides or ())
        if not isinstance(checked, ExperimentConfig):
            raise UserError(f"{config}: its kind is {checked.kind}; only experiments have visits to record")
        if checked.assignment.unit == "city_hours":
            raise UserError(
                f"{config}: assignment.unit is city_hours, whose visits belong to no arm; record the same config with "
                "--set 'assignment={unit: user}'"
            )
        _check_trace(out, force)
        progress = progress_for(Console(stderr=True), quiet=quiet)
        with players.ready() as (opened, count):
            trace = record_traffic(checked, count, progress, opened)
        from experiments.trace_files import write_trace

        write_trace(out, [trace])
        typer.echo(f"{out}: {len(trace):,} visits of {trace['user'].n_unique():,} users")


def convert(
    source: Annotated[Source, typer.Argument(metavar="SOURCE", help="taobao or online-retail.")],
    path: Annotated[Path, typer.Argument(metavar="FILE", help="UserBehavior.csv, or online_retail.csv or .csv.gz.")],
    out: Out,
    force: Force = False,
) -> None:
    """Make a trace of the visits of a real log, in memory that does not grow with the file."""
    with speaking_plainly():
        from experiments.trace_files import convert_online_retail, convert_taobao

        _check_trace(out, force)
        converted = convert_taobao if source == Source.taobao else convert_online_retail
        found = converted(path, out)
        typer.echo(f"{out}: {found.visits:,} visits of {found.users:,} users, {found.first} to {found.last}")
        typer.echo(_in_words(found.counts), err=True)


def _in_words(counts: Mapping[str, int]) -> str:
    return "rows: " + ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in counts.items())


def _check_trace(out: Path, force: bool) -> None:
    from experiments.errors import UserError
    from experiments.trace_files import holds_trace

    if out.suffix != ".parquet":
        raise UserError(f"--out: {out}; give a file that ends in .parquet")
    check_out(out, force, "a trace", holds_trace)
