"""How much an interaction says of what its user likes, by its kind: one scale for all policies."""

from typing import Final

import numpy as np

from simulator.batches import BUY, CART, CLICK, FAVOURITE, Floats

STRENGTH: Final[Floats] = np.zeros(BUY + 1)
"""In clicks, float64 [kinds]. A choice of the platform's, as any policy makes it; it is not fitted."""
STRENGTH[[CLICK, FAVOURITE, CART, BUY]] = 1.0, 2.0, 2.0, 4.0
