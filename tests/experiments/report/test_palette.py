import re
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from experiments.report import drawing

Floats = npt.NDArray[np.float64]
SCRIPT = (Path(drawing.__file__).parent / "figures.js").read_text(encoding="utf-8")
# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency", IEEE TVCG
# 15(6), 2009, table 1 at severity 1.0, on linear RGB.
VISION = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])
FAR = 15.0


def linear(color: str) -> Floats:
    """Linear RGB of ``#rrggbb``, [3] (IEC 61966-2-1)."""
    share = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255.0
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb: Floats) -> Floats:
    """CIELAB of linear RGB, [3]."""
    xyz = TO_XYZ @ np.clip(rgb, 0.0, 1.0) / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def scheme(name: str) -> tuple[list[str], str]:
    """Series colours and paper of a scheme, as the page's script has them."""
    series = re.findall(rf"{name}: \[([^\]]+)\]", SCRIPT)[0]
    paper = re.findall(r'paper: "(#[0-9a-f]{6})"', SCRIPT)[0 if name == "light" else 1]
    return re.findall(r"#[0-9A-Fa-f]{6}", series), paper


@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("vision", list(VISION))
def test_series_are_told_apart_by_every_eye(name: str, vision: str) -> None:
    """Any two colours of a scheme are far apart in CIELAB, also with one kind of cone missing."""
    colors, _ = scheme(name)
    assert len(colors) == drawing.SERIES
    seen = {color: lab(VISION[vision] @ linear(color)) for color in colors}
    for one, other in combinations(colors, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > FAR, (one, other)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_series_stand_out_from_the_paper(name: str) -> None:
    """Lines and marks have a contrast of 3 or more with what lies behind them (WCAG 2.2, 1.4.11)."""
    colors, paper = scheme(name)
    ground = TO_XYZ[1] @ linear(paper)
    for color in colors:
        bright, dark = sorted((float(TO_XYZ[1] @ linear(color)), float(ground)), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 3.0, color


def test_shapes_differ_where_colours_repeat() -> None:
    """Colour and marker together do not repeat for as many arms as both allow."""
    looks = {(number % drawing.SERIES, drawing.symbol(number)) for number in range(35)}
    assert len(looks) == drawing.SERIES * len(drawing.SYMBOLS) == 35
    assert len(set(drawing.SYMBOLS)) == len(drawing.SYMBOLS)
