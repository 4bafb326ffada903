"""From arrays of one batch to rows of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger import columns

__all__ = ["list_column", "make_rows"]


def list_column(values: NDArray[Any] | None, n_rows: int) -> pa.Array:
    """``(N, width)`` as a column of float32 lists; null throughout where there is none."""
    if values is None:
        return pa.nulls(n_rows, pa.list_(pa.float32()))
    flat = np.ascontiguousarray(values, dtype=np.float32)
    offsets = (
        np.arange(0, flat.size + 1, flat.shape[1], dtype=np.int32) if flat.shape[1] else np.zeros(n_rows + 1, np.int32)
    )
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.reshape(-1)))


def make_rows(kind: str, inputs: pa.Table, own: dict[str, pa.Array]) -> pa.Table:
    """Rows of one kind: columns of their own, the rest from the input rows, one input row for each."""
    schema = columns.schema_of(kind)
    place = {name: position for position, name in enumerate(inputs.schema.names)}
    found = [own[one.name] if one.name in own else inputs.column(place[one.name]) for one in schema]
    # Arrow's own way from a dict looks at every column twice
    fitting = [have if have.type == one.type else have.cast(one.type) for have, one in zip(found, schema, strict=True)]
    return pa.Table.from_arrays(fitting, schema=schema)
