"""A random order of ids that depends on nothing but the ids and the seed: not on files, engines, threads or versions.

Each id gets a 64-bit key: its bytes weighted by random odd numbers per position (multilinear hashing: Lemire and
Kaser, "Strongly universal string hashing is fast", 2014), mixed by the finaliser of SplitMix64 (Steele et al.,
2014). The inputs with the smallest keys are a uniform sample, and a re-recorded input keeps its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["random_keys"]

KeyArray = NDArray[np.uint64]

_BLOCK_ROWS = 65_536
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def random_keys(input_ids: Any, seed: int) -> KeyArray:
    """``(N,)`` uint64 keys of N ids: uniform, and the same for the same id and seed.

    Args:
        input_ids: Arrow array of strings.
        seed: Another seed gives another order.
    """
    ids = pa.array(input_ids).cast(pa.large_string())
    keys = np.empty(len(ids), dtype=np.uint64)
    for start in range(0, len(ids), _BLOCK_ROWS):
        block = ids.slice(start, _BLOCK_ROWS)
        keys[start : start + len(block)] = _block_keys(block, np.uint64(seed % 2**64))
    return keys


def _block_keys(ids: pa.Array, seed: np.uint64) -> KeyArray:
    _, offset_buffer, data = ids.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[ids.offset : ids.offset + len(ids) + 1]
    lengths = np.diff(offsets)
    text = np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]] if data is not None else np.empty(0, np.uint8)
    position = np.arange(len(text)) - np.repeat(offsets[:-1] - offsets[0], lengths)
    weights = _mix(seed + np.arange(lengths.max(initial=0), dtype=np.uint64) * _GOLDEN) | np.uint64(1)
    # Unsigned arithmetic wraps around, so a difference of running sums is the sum over one id.
    sums = np.concatenate(
        [np.zeros(1, np.uint64), np.cumsum((text.astype(np.uint64) + np.uint64(1)) * weights[position])]
    )
    own = sums[offsets[1:] - offsets[0]] - sums[offsets[:-1] - offsets[0]]
    return _mix(own + _mix(np.atleast_1d(seed)) + lengths.astype(np.uint64) * _GOLDEN)


def _mix(values: KeyArray) -> KeyArray:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: KeyArray = values ^ (values >> np.uint64(31))
    return mixed
