"""``testbed climate``: its arguments and its words. How a climate is fitted, ``experiments.climates`` knows."""

from pathlib import Path
from typing import Annotated, Final

import typer

from experiments.out_files import Force, check_out
from experiments.speaking import speaking_plainly

EXAMPLE: Final = (
    "[bold]Example[/bold]\n\ntestbed climate oslo.csv --out oslo.yaml\n\n"
    "Then, in a config: world: {climates: oslo.yaml, cities: \\[oslo, seattle], ...}"
)


def climate(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="CSV",
            help="Daily weather, with the columns location, date, precipitation (mm), temp_max, temp_min (C), wind "
            "(m/s); a year or more for each place.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The YAML file to write.")],
    force: Force = False,
) -> None:
    """Fit the weather of cities to a CSV, so that users can live there."""
    with speaking_plainly():
        from experiments.climates import fit_climates, holds_climates, told_of, write_climates

        check_out(out, force, "a file of climates", holds_climates)
        found = fit_climates(path)
        write_climates(out, {key: fitted for key, (fitted, _) in found.items()}, path)
        for key, (fitted, series) in found.items():
            typer.echo(told_of(key, fitted, series))
        typer.echo(f"climates: {out}")
