"""A random order of ids that depends on nothing but the ids and the seed: not on files, engines, threads or versions.

Each id gets a 64-bit key: its bytes, eight at a time, chained through the finaliser of SplitMix64 (Steele et al., "Fast
splittable pseudorandom number generators", OOPSLA 2014). The inputs with the smallest keys are a uniform sample, and a
re-recorded input keeps its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["random_keys"]

KeyArray = NDArray[np.uint64]

_BLOCK_ROWS = 65_536
_WORD = 8  # bytes
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
    lengths = pc.binary_length(ids).to_numpy().astype(np.uint64)
    n_words = -(-int(lengths.max(initial=0)) // _WORD)
    keys = np.full(len(ids), _mix(np.atleast_1d(seed) + _GOLDEN)[0])
    for at, words in enumerate(_words(ids, n_words)):
        mixed = _mix((keys ^ words) + _GOLDEN)
        # Shorter ids are done: what they share a block with must not matter.
        keys = mixed if lengths.min() > at * _WORD else np.where(lengths > at * _WORD, mixed, keys)
    return _mix((keys ^ lengths) + _GOLDEN)


def _words(ids: pa.Array, n_words: int) -> Iterator[KeyArray]:
    """The ids' bytes as ``n_words`` little-endian words ``(N,)`` each, filled up with zeros."""
    padded = pc.ascii_rpad(ids, n_words * _WORD, padding="\0")
    _, offsets, data = padded.buffers()
    start = int(np.frombuffer(offsets, dtype=np.int64)[padded.offset])
    words = np.frombuffer(data or b"", dtype="<u8", offset=start, count=len(ids) * n_words)
    yield from words.reshape(len(ids), n_words).T


def _mix(values: KeyArray) -> KeyArray:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: KeyArray = values ^ (values >> np.uint64(31))
    return mixed
