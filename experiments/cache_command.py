"""``testbed cache``: says what the answers kept on disk take up, and drops them.

Does not know how answers are kept or found; ``policies.language.prompt_cache`` does.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from experiments.speaking import speaking_plainly

cache_app = typer.Typer(
    help="Answers of language models, kept on disk so that a run finds them again.", no_args_is_help=True
)


@cache_app.command(epilog="[bold]Example[/bold]\n\ntestbed cache stats")
def stats() -> None:
    """Show where the answers are kept, how many there are and how much room they take."""
    with speaking_plainly(), _warning_in_a_line():
        from policies.language.prompt_cache import PromptCache, default_path

        cache = PromptCache(default_path())
        found = cache.stats()
        cache.close()
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row("file", str(found.path))
        table.add_row("answers", f"{found.entries:,}")
        table.add_row("size", f"{decimal(found.bytes)} of {decimal(found.most_bytes)}")
        Console().print(table, markup=False, highlight=False)


@cache_app.command(epilog="[bold]Example[/bold]\n\ntestbed cache clear")
def clear() -> None:
    """Drop every answer; runs then ask their language models again. Results do not change."""
    with speaking_plainly(), _warning_in_a_line():
        from policies.language.prompt_cache import PromptCache, default_path

        cache = PromptCache(default_path())
        dropped = cache.clear()
        cache.close()
        typer.echo(f"{cache.path}: {dropped:,} answers dropped")


@contextmanager
def _warning_in_a_line() -> Iterator[None]:
    """Turn warnings into lines on standard error, without their place in the code."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            yield
        finally:
            for warning in said:
                typer.echo(f"warning: {warning.message}", err=True)
