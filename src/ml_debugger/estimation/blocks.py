"""Row-wise functions in blocks of one fixed size, so that a row's result has the same bits in every batch.

Matrix products and vectorised loops round differently for different shapes: a row scored alone and the same row
scored in a
batch of 32 would differ in the last bits, and a live flag could then disagree with a later query. Padding every call
to one
shape removes that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

__all__ = ["BLOCK", "MANY", "by_blocks", "in_blocks", "one_blas_thread"]

BLOCK = 32
MANY = 8
"""Blocks that are worked on together where only products need them apart: more gain little."""

Arrays = tuple[NDArray[Any], ...]


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep matrix products on the calling thread while blocks are computed.

    They are too small to share, and where a model framework's own threads still spin on the other cores, handing
    parts over takes longer than the products: measured, 25 times the whole scoring.
    """
    before = [(library, library.get_num_threads()) for library in _blas()]
    changed = [(library, threads) for library, threads in before if threads != 1]
    try:
        for library, _ in changed:
            library.set_num_threads(1)
        yield
    finally:
        for library, threads in changed:
            library.set_num_threads(threads)


@lru_cache(maxsize=1)
def _blas() -> list[Any]:
    """Looked for once; asked themselves, since threadpoolctl's own context describes each of them anew."""
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def by_blocks(rows: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
    """The product of ``(U, D)`` rows of whole blocks with ``(D, K)`` or ``(D,)``, each block on its own.

    So a row's product has the same bits however many blocks come with it.
    """
    n_blocks = len(rows) // BLOCK
    product = rows.reshape(n_blocks, BLOCK, rows.shape[1]) @ matrix
    return np.asarray(product.reshape(len(rows), *matrix.shape[1:]))


def in_blocks(function: Callable[..., Arrays], *arrays: NDArray[Any], most: int = 1) -> Arrays:
    """``function`` over the rows of ``arrays``, always called with exactly ``BLOCK`` rows, or several times as many.

    Args:
        function: Takes one ``(BLOCK, ...)`` array per argument and returns a tuple of such arrays; each row of
            the result depends on that row of the arguments only.
        arrays: Arrays with N rows each. The last block is padded with zeros, and the padding is cut off the result.
        most: Blocks that the function may be called with at a time: one, unless it makes its products ``by_blocks``,
            and all else row by row. Loops over whole blocks never end within a vector register, which is where the
            bits of other sums and functions could depend on the number of rows.

    Returns:
        The results of all blocks, N rows each; N may be 0.
    """
    n_rows, step = len(arrays[0]), most * BLOCK
    if n_rows == BLOCK:
        return function(*arrays)
    parts = []
    for start in range(0, max(n_rows, 1), step):
        some = [array[start : start + step] for array in arrays]
        count = len(some[0])
        missing = -count % BLOCK if count else BLOCK
        if not missing:
            parts.append(function(*some))
            continue
        parts.append(tuple(result[:count] for result in function(*(_pad(rows, missing) for rows in some))))
    if len(parts) == 1:
        return parts[0]
    return tuple(np.concatenate(results) for results in zip(*parts, strict=True))


def _pad(rows: NDArray[Any], missing: int) -> NDArray[Any]:
    block = np.zeros((len(rows) + missing, *rows.shape[1:]), dtype=rows.dtype)
    block[: len(rows)] = rows
    return block
