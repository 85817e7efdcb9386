"""What every figure of the report is drawn with: escaped text, labels, axes and the common layout.

Figures are plain dictionaries in Plotly's JSON form. Colours are names such as ``@ink``, which the page
replaces by those of the reader's light or dark scheme. Knows nothing of results.
"""

from html import escape
from typing import Any, Final

Figure = dict[str, Any]

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
    """The layout that all figures share, with a legend above the plot; height in pixels."""
    return {
        "height": height,
        "margin": {"l": 8, "r": 16, "t": 44, "b": 44},
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


def nth(name: str, number: int) -> str:
    """Plotly's name of the axis with this number: y, y2, y3."""
    return name if number == 0 else f"{name}{number + 1}"


def symbol(number: int) -> str:
    """The marker shape of the treatment with this number."""
    return SYMBOLS[number % len(SYMBOLS)]
