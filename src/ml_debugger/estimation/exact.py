"""Matrix products whose result has the same bits in any order of summation.

BLAS adds up in an order that depends on the position of a row, the number of threads and the processor. If all
factors are integers small enough that no partial sum is rounded, the order cannot matter. So factors are rounded to a
grid, far finer than the noise of what was learned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BITS", "UNIT_STEP", "grid_step", "round_to_grid", "to_grid", "to_length", "to_unit_grid"]

BITS = 20
"""Bits of each factor of a float64 product: twice 20 bits and a sum of 2**13 terms fill the 53 that float64 holds."""

UNIT_STEP = 2.0**-11
"""Grid of unit vectors in float32: by Cauchy-Schwarz no partial sum exceeds 2**22 steps, and float32 holds 2**24."""


def grid_step(largest: float, bits: int = BITS) -> float:
    """The power of two in whose steps numbers up to ``largest`` take at most ``bits`` bits."""
    return float(2.0 ** (np.ceil(np.log2(max(largest, 1e-30))) - bits))


def to_grid(values: NDArray[Any], step: float, bits: int = BITS) -> NDArray[np.float64]:
    """``values / step`` rounded to integers of at most ``bits`` bits, as float64; larger ones are cut."""
    return round_to_grid(np.multiply(values, 1.0 / step, dtype=np.float64), bits)


def round_to_grid(scaled: NDArray[np.float64], bits: int = BITS) -> NDArray[np.float64]:
    """The same of numbers that are in steps already, in place."""
    limit = 2.0**bits
    np.rint(scaled, out=scaled)
    np.maximum(scaled, -limit, out=scaled)
    return np.asarray(np.minimum(scaled, limit, out=scaled))


def to_length(vectors: NDArray[Any], length: float) -> NDArray[np.float32]:
    """Rows of a fixed length as float32 integers, rounded; a zero row stays zero."""
    current = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return np.asarray(np.rint(vectors * (length / np.maximum(current, 1e-12))), dtype=np.float32)


def to_unit_grid(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Unit vectors along the rows in steps of ``UNIT_STEP``, as float32 integers; a zero row stays zero."""
    return to_length(vectors, 1.0 / UNIT_STEP)
