"""What every figure of the report is drawn with: escaped text, labels, axes and the common layout.

Figures are plain dictionaries in Plotly's JSON form. Colours are names such as ``@ink``, which the page
replaces by those of the reader's light or dark scheme. Knows nothing of results.
"""

from collections.abc import Sequence
from html import escape
from typing import Any, Final, NamedTuple

Figure = dict[str, Any]


class Numbers(NamedTuple):
    """What a figure shows, as a table for those who cannot see it or want to copy it.

    Attributes:
        heads: of the columns.
        rows: cells as text, one for each column.
        texts: how many columns, from the left, hold words and not numbers.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1


SERIES: Final = 5
"""Colours before they repeat; marker shapes repeat later, so that no two arms look the same."""
SYMBOLS: Final = (
    "circle",
    "square",
    "triangle-up",
    "triangle-down",
    "pentagon",
    "hexagon",
    "star",
)


def plain(text: Any) -> str:
    """Text that Plotly shows as it is: no tag, no entity, no template placeholder."""
    return escape(str(text), quote=False).replace("%{", "%\u200b{")


def layout(height: int) -> Figure:
    """The layout that all figures share; height in pixels.

    The page shows the legend above the figure, unless ``showlegend`` is set to false; a saved picture has it inside.
    """
    return {
        "height": height,
        "margin": {"l": 8, "r": 16, "t": 14, "b": 30},
        "paper_bgcolor": "@paper",
        "plot_bgcolor": "@paper",
        "font": {"color": "@ink", "size": 12},
        "hoverlabel": {
            "bgcolor": "@paper",
            "bordercolor": "@muted",
            "font": {"color": "@ink"},
            "align": "left",
        },
        "hovermode": "closest",
        "dragmode": False,
        "showlegend": True,
        "legend": {
            "orientation": "h",
            "xref": "container",
            "yref": "container",
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
        },
    }


def axis(title: str = "", grid: bool = True, zeroline: bool = False, **more: Any) -> Figure:
    """An axis; ``more`` overrides. Title and tick labels may hold escaped text only."""
    return {
        "title": {"text": title, "font": {"size": 12, "color": "@muted"}, "standoff": 12},
        "showgrid": grid,
        "gridcolor": "@grid",
        "zeroline": zeroline,
        "zerolinecolor": "@zero",
        "zerolinewidth": 1.4,
        "linecolor": "@grid",
        "tickfont": {"size": 11, "color": "@muted"},
        "automargin": True,
        "fixedrange": True,
        **more,
    }


def dashed(**ends: Any) -> Figure:
    """A dashed line to hold figures against, from ``x0``, ``y0`` to ``x1``, ``y1``."""
    return {"type": "line", "line": {"color": "@zero", "width": 1.4, "dash": "dash"}, **ends}


def label(
    text: str,
    x: float | str,
    y: float,
    yref: str,
    yanchor: str = "middle",
    size: int = 12,
    color: str = "@ink",
) -> Figure:
    """A left-aligned annotation; x is a share of the plot's width, y is in units of ``yref``."""
    return {
        "text": plain(text),
        "x": x,
        "y": y,
        "xref": "paper",
        "yref": yref,
        "xanchor": "left",
        "yanchor": yanchor,
        "showarrow": False,
        "align": "left",
        "font": {"size": size, "color": color},
    }


def truths(points: Sequence[tuple[float, float, str]]) -> Figure:
    """Where the truth lies: diamonds at (x, y), each with what it says when pointed at."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "truth",
        "legendrank": 2000,
        "x": [x for x, _, _ in points],
        "y": [y for _, y, _ in points],
        "hovertext": [text for _, _, text in points],
        "hoverinfo": "text",
        "marker": {"symbol": "diamond-open", "size": 13, "color": "@ink", "line": {"width": 1.6, "color": "@ink"}},
    }


def nth(name: str, number: int) -> str:
    """Plotly's name of the axis with this number: y, y2, y3."""
    return name if number == 0 else f"{name}{number + 1}"


def symbol(number: int) -> str:
    """The marker shape of the treatment with this number."""
    return SYMBOLS[number % len(SYMBOLS)]
