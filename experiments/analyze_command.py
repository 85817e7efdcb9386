"""``testbed analyze``: its arguments and its words. What an analysis is, ``experiments.table_analysis`` knows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from experiments.speaking import speaking_plainly

if TYPE_CHECKING:
    from experiments.plan import Plan

EXAMPLE: Final = "[bold]Example[/bold]\n\ntestbed analyze users.parquet --plan plan.yaml --out runs/mine"


def analyze(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="A CSV with a header or a Parquet file, one row a unit.")
    ],
    plan: Annotated[Path, typer.Option("--plan", metavar="FILE", help="A YAML file that says which columns are what.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to write; runs/NAME-HASH if left out."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Discard an earlier analysis found there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the outcome.")] = False,
) -> None:
    """Analyse an experiment of your own: a table of units, and a plan of what its columns mean.

    The same engine as for simulated experiments: results.json, report.html, and the verdict in the terminal.
    """
    with speaking_plainly(every_mistake=True) as place:
        from experiments.plan import load_plan
        from experiments.report import write_report
        from experiments.run_directory import MANIFEST, REPORT, RESULTS, RunDirectory, default_path
        from experiments.terminal import print_verdict

        checked = load_plan(plan)
        name = checked.name or _name_of(table)
        resolved = _resolved(table, checked)
        path = out or default_path(name, resolved)
        if (path / MANIFEST).is_file() and not force:
            directory = RunDirectory.open(path, name, resolved)
            if not quiet:
                typer.echo(
                    f"{path} holds this analysis, complete: showing what it found (--force runs again)", err=True
                )
            results = directory.read_results()
        else:
            # A folder is opened for results that are there, so that a mistake in the plan leaves nothing behind.
            results, provenance = _analyse(table, checked, name, resolved)
            directory = RunDirectory.open(path, name, resolved, force=force)
            place.path = directory.path
            directory.write_json(RESULTS, results)
            directory.write_json(MANIFEST, provenance)
        print_verdict(Console(), results)
        if not (directory.path / REPORT).exists():
            write_report(directory)
        typer.echo(f"report: {directory.path / REPORT}")


def _analyse(table: Path, plan: "Plan", name: str, resolved: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of ``results.json`` and ``manifest.json``."""
    from experiments.config import resolved_hash
    from experiments.errors import UserError
    from experiments.provenance import Stopwatch, manifest
    from experiments.table_analysis import table_results
    from experiments.unit_table import read_units

    clock, digest = Stopwatch(), resolved_hash(resolved)
    with clock.stage("reading"):
        units = read_units(table, plan)
    with clock.stage("analysis"):
        try:
            results = table_results(units, plan, name, digest)
        except ValueError as error:
            raise UserError(str(error)) from error
    return results, manifest(digest, {}, clock.seconds, 1, {"rows": units.height})


def _name_of(table: Path) -> str:
    """The table's name as files can be called by it."""
    word = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in table.stem.lower())
    return word.strip("-")[:64] or "table"


def _resolved(table: Path, plan: "Plan") -> dict[str, Any]:
    """What decides the results: the plan, and the table's bytes."""
    import hashlib

    from experiments.errors import UserError

    try:
        with table.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{table}: {error.strerror or error}; give the path of a CSV or Parquet table") from error
    return {"kind": "analysis", "table": {"path": str(table), "sha256": digest}, "plan": plan.resolved}
