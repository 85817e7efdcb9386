"""A page of HTML: one file that needs no network and no other file.

Puts sections in order, embeds their figures, and says what a browser may run. The same input gives the same bytes.
Knows neither experiments nor numbers.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from experiments.report import words
from experiments.report.drawing import Figure

_HERE: Final = Path(__file__).parent
_NOT_IN_FILE_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]+")


class Room(Protocol):
    """A module of this package that fills one section of a page from what was found."""

    def present(self, found: Mapping[str, Any], /) -> bool:
        """Whether there is anything to show."""
        ...

    def charts(self, found: Mapping[str, Any], /) -> Mapping[str, Figure]:
        """Every figure of the section by name; names differ between sections."""
        ...


class Section(NamedTuple):
    """A section of a page.

    Attributes:
        name: of its template, ``sections/NAME.html.j2``, and of the place that a link goes to.
        title: its heading.
        room: what its template calls ``room``; ``None`` where the template needs none.
    """

    name: str
    title: str
    room: Room | None = None


def render_page(
    title: str,
    found: Mapping[str, Any],
    sections: Sequence[Section],
    *,
    opening: str,
    meta: str,
    **more: Any,
) -> str:
    """A page with those of its sections that have something to show.

    Args:
        title: of the page.
        found: what the rooms read.
        sections: in the order of the page.
        opening: the template before the first section: what the page says in a sentence or two.
        meta: a line under the title.
        **more: names for the templates, ``found`` under its own among them.
    """
    shown = [each for each in sections if each.room is None or each.room.present(found)]
    charts: dict[str, Figure] = {}
    for section in shown:
        if section.room is not None:
            charts |= section.room.charts(found)
    scripts = (get_plotlyjs(), *((_HERE / name).read_text(encoding="utf-8") for name in ("figures.js", "page.js")))
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            meta=meta,
            opening=f"sections/{opening}.html.j2",
            sections=shown,
            charts=_embed(charts),
            file=_NOT_IN_FILE_NAMES.sub("-", title).strip("-").lower() or "report",
            words=words,
            # A reader's browser runs these scripts and nothing else, whatever a title may hold.
            script_hashes=Markup(" ".join(f"'sha256-{_digest(each)}'" for each in scripts)),  # noqa: S704 - base64
            style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
            scripts=[Markup(each) for each in scripts],  # noqa: S704 - our own files and the library's
            **more,
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _embed(value: Any) -> Markup:
    """JSON that may stand inside a script element: no ``<`` is left that could end it."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704 - escaped


def _finite(value: Any) -> Any:
    """The same, with ``None`` in place of NaN and the infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not words.known(value):
        return None
    return value


@cache
def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
