"""How commands print: text that is no markup, in ASCII where the terminal knows nothing else, and plain tables."""

from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_ASCII: Final = str.maketrans({"−": "-", "–": "-", "✓": "in", "✗": "out", "→": "->"})


def table(title: Text | None = None) -> Table:
    """A table with a rule under its head and nothing else around it."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="dim",
        show_edge=False,
    )


def line(console: Console, words: str, style: str = "") -> None:
    """Print words on lines of at most 100 letters."""
    console.print(text(console, words, style), width=min(console.width, 100), highlight=False)


def text(console: Console, words: Any, style: str = "") -> Text:
    """Text that is no markup, in ASCII where the terminal knows nothing else."""
    plain = str(words)
    if console.options.ascii_only:
        plain = plain.translate(_ASCII).encode("ascii", "replace").decode()
    return Text(plain, style=style)
