"""Units as arrays, from stored rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger.errors import InputError
from ml_debugger.tasks.task import Units

__all__ = ["read_matrix", "read_units"]


def read_units(records: pa.Table, vectors: tuple[str, ...] = ("features", "logits")) -> Units:
    """The units of record rows.

    Args:
        records: U rows.
        vectors: List columns to read as matrices; the others are taken for absent.

    Raises:
        InputError: If vectors of one column have different lengths.
    """
    return Units(
        label=_numbers(records, "label").astype(np.int64),
        score=_numbers(records, "score").astype(np.float64),
        **{name: read_matrix(records, name) for name in dict.fromkeys(("features", "logits", *vectors))},
    )


def read_matrix(records: pa.Table | pa.RecordBatch, name: str) -> NDArray[np.float32]:
    """``(U, width)`` of a list column: NaN rows where it is null, width 0 where it is null throughout or absent.

    Raises:
        InputError: If its vectors have different lengths.
    """
    place = records.schema.get_field_index(name)
    if place < 0:
        return np.empty((records.num_rows, 0), dtype=np.float32)
    array = _one_chunk(records.column(place))
    n_null = array.null_count
    if n_null == len(array):
        return np.empty((len(array), 0), dtype=np.float32)
    sizes, values = _lists(array)
    width = int(sizes[0])
    if not (sizes == width).all():
        found = np.unique(sizes).astype(int).tolist()[:5]
        raise InputError(f"{name}: expected vectors of one length, got lengths {found}")
    numbers = values.to_numpy(zero_copy_only=False)
    rows: NDArray[np.float32] = np.asarray(numbers, dtype=np.float32).reshape(len(sizes), width)
    if not n_null:
        return rows
    matrix = np.full((len(array), width), np.nan, dtype=np.float32)
    matrix[array.is_valid().to_numpy(zero_copy_only=False)] = rows
    return matrix


def _lists(array: Any) -> tuple[NDArray[Any], Any]:
    """Lengths of the lists that are not null, and what they hold."""
    if array.null_count or not isinstance(array, pa.ListArray):
        # flatten() leaves out null rows, whatever lies under them
        return array.value_lengths().drop_null().to_numpy(), array.flatten()
    edges = array.offsets.to_numpy()
    return edges[1:] - edges[:-1], array.values.slice(edges[0], edges[-1] - edges[0])


def _one_chunk(column: Any) -> Any:
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], type=column.type)


def _numbers(records: pa.Table, name: str) -> NDArray[Any]:
    return np.asarray(records.column(name).to_numpy())
