"""Row-wise functions in blocks of one fixed size, so that a row's result has the same bits in every batch.

Matrix products and vectorised loops round differently for different shapes: a row scored alone and the same row
scored in a
batch of 32 would differ in the last bits, and a live flag could then disagree with a later query. Padding every call
to one
shape removes that.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

__all__ = ["BLOCK", "in_blocks", "one_blas_thread"]

BLOCK = 32

Arrays = tuple[NDArray[Any], ...]


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keep matrix products on the calling thread while blocks are computed.

    They are too small to share, and where a model framework's own threads still spin on the other cores, handing
    parts over takes longer than the products: measured, 25 times the whole scoring.
    """
    limited: AbstractContextManager[Any] = _blas().limit(limits=1)
    return limited


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def in_blocks(function: Callable[..., Arrays], *arrays: NDArray[Any]) -> Arrays:
    """``function`` over the rows of ``arrays``, always called with exactly ``BLOCK`` rows.

    Args:
        function: Takes one ``(BLOCK, ...)`` array per argument and returns a tuple of ``(BLOCK, ...)`` arrays; each
            row of the
            result depends on that row of the arguments only.
        arrays: Arrays with N rows each. The last block is padded with zeros, and the padding is cut off the result.

    Returns:
        The results of all blocks, N rows each; N may be 0.
    """
    n_rows = len(arrays[0])
    if n_rows == BLOCK:
        return function(*arrays)
    whole = n_rows - n_rows % BLOCK
    parts = [function(*(array[start : start + BLOCK] for array in arrays)) for start in range(0, whole, BLOCK)]
    if whole < n_rows or n_rows == 0:
        padded = function(*(_pad(array[whole:]) for array in arrays))
        parts.append(tuple(result[: n_rows - whole] for result in padded))
    if len(parts) == 1:
        return parts[0]
    return tuple(np.concatenate(results) for results in zip(*parts, strict=True))


def _pad(rows: NDArray[Any]) -> NDArray[Any]:
    block = np.zeros((BLOCK, *rows.shape[1:]), dtype=rows.dtype)
    block[: len(rows)] = rows
    return block
