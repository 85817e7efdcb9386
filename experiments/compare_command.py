"""The command ``testbed compare``: reads its arguments, calls the one function it is for, and shows what came out."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.out_files import Force, check_out
from experiments.speaking import speaking_plainly

EXAMPLE = (
    "[bold]Example[/bold]\n\ntestbed compare runs/quickstart-1a2b3c4d runs/contexts_off-5e6f7a8b --out comparison.html"
)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Directories of finished experiments.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the comparison as a page of HTML, too.")
    ] = None,
    force: Force = False,
) -> None:
    """Lay finished runs and their arms beside each other: effects, truths, and which arms nobody beats.

    Says what the runs share and what forbids comparing them: other populations, seeds, controls or analyses.
    """
    with speaking_plainly():
        from experiments.atomic import replacing
        from experiments.comparison import compare_runs, read_runs
        from experiments.errors import UserError
        from experiments.report.comparison_report import holds_comparison, render_comparison
        from experiments.terminal_comparison import print_comparison

        if out is not None:
            check_out(out, force, "a comparison", holds_comparison)
        comparison = compare_runs(read_runs(runs))
        print_comparison(Console(), comparison)
        if out is not None:
            try:
                with replacing(out) as temporary:
                    temporary.write_text(render_comparison(comparison), encoding="utf-8")
            except OSError as error:
                raise UserError(f"--out {out}: cannot be written ({error.strerror}); choose another file") from error
            typer.echo(f"report: {out}")
