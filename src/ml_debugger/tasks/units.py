"""Units as arrays, from stored rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger.errors import InputError
from ml_debugger.tasks.task import Units

__all__ = ["read_matrix", "read_units"]


def read_units(records: pa.Table) -> Units:
    """The units of record rows.

    Raises:
        InputError: If vectors of one column have different lengths.
    """
    return Units(
        label=_numbers(records, "label").astype(np.int64),
        score=_numbers(records, "score").astype(np.float64),
        features=read_matrix(records, "features"),
        logits=read_matrix(records, "logits"),
    )


def read_matrix(records: pa.Table | pa.RecordBatch, name: str) -> NDArray[np.float32]:
    """``(U, width)`` of a list column: NaN rows where it is null, width 0 where it is null throughout or absent.

    Raises:
        InputError: If its vectors have different lengths.
    """
    if name not in records.schema.names:
        return np.empty((records.num_rows, 0), dtype=np.float32)
    column = records.column(name)
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    present = np.flatnonzero(~array.is_null().to_numpy(zero_copy_only=False))
    if len(present) == 0:
        return np.empty((len(array), 0), dtype=np.float32)
    lengths = np.unique(array.value_lengths().to_numpy(zero_copy_only=False)[present])
    if len(lengths) > 1:
        raise InputError(f"{name}: expected vectors of one length, got lengths {lengths.astype(int).tolist()[:5]}")
    width = int(lengths[0])
    # flatten() leaves out null rows, whatever lies under them
    values = array.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(len(present), width)
    if len(present) == len(array):
        return values
    matrix = np.full((len(array), width), np.nan, dtype=np.float32)
    matrix[present] = values
    return matrix


def _numbers(records: pa.Table, name: str) -> NDArray[Any]:
    return np.asarray(records.column(name).to_numpy())
