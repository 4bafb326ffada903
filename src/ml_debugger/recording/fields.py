"""Additional columns: declared once per tracer or filter, filled from keyword arguments of each call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ml_debugger.columns import arrow_type, reserved_columns
from ml_debugger.errors import InputError
from ml_debugger.types import Field

__all__ = ["field_columns", "parse_fields"]

# What the calls of the roles take by name already.
_ARGUMENTS = frozenset({"self", "model_input", "ground_truth", "input_ids"})
_TYPE_NAMES = {int: "int", float: "float", str: "str", bool: "bool"}


def parse_fields(
    declared: Iterable[Mapping[str, Any]] | None, argument: str, task: str | None = None
) -> tuple[Field, ...]:
    """Additional fields from a list of ``{"name": ..., "type": ...}``; of a task, whose own columns they must not name.

    Raises:
        InputError: If a declaration lacks a name or type, names a reserved column or comes twice.
    """
    fields: list[Field] = []
    reserved = reserved_columns(task) | _ARGUMENTS
    for position, item in enumerate(declared or ()):
        where = f"{argument}[{position}]"
        if not isinstance(item, Mapping) or set(item) != {"name", "type"}:
            raise InputError(f'{where}: expected {{"name": ..., "type": ...}}, got {item!r}')
        kind = item["type"]
        field = Field(item["name"], _TYPE_NAMES.get(kind, kind.__name__) if isinstance(kind, type) else kind)
        if not isinstance(field.name, str) or not field.name.isidentifier():
            raise InputError(
                f"{where}: name must be a Python identifier (it becomes a keyword argument), got {field.name!r}"
            )
        # tables do not tell upper from lower case in the names of columns
        if field.name.lower() in reserved:
            raise InputError(
                f"{where}: {field.name!r} is a column or an argument of MLdebugger's own; choose another name"
            )
        if field.name.lower() in {other.name.lower() for other in fields}:
            raise InputError(f"{where}: {field.name!r} comes twice (upper and lower case count as the same)")
        arrow_type(field)
        fields.append(field)
    return tuple(fields)


def field_columns(fields: Sequence[Field], values: Mapping[str, Any], n_inputs: int) -> dict[str, pa.Array]:
    """One Arrow column of B values per field; a field without a value is null.

    A value is a list, array or tensor with one entry per input, or one scalar for all.

    Raises:
        InputError: If a value has another length or does not fit the field's type.
    """
    return {field.name: _column(field, values.get(field.name), n_inputs) for field in fields}


def _column(field: Field, value: Any, n_inputs: int) -> pa.Array:
    kind = arrow_type(field)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or isinstance(value, (str, int, float, bool)):
        value = [value] * n_inputs
    if not isinstance(value, Sequence) or len(value) != n_inputs:
        got = f"{len(value)} values" if isinstance(value, Sequence) else repr(value)
        raise InputError(f"{field.name}: expected {n_inputs} values, one per input, or one scalar; got {got}")
    plain = [entry.item() if hasattr(entry, "item") else entry for entry in value]
    try:
        return pa.array(plain, type=kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise InputError(f"{field.name}: expected values of type {field.type}; {error}") from error
