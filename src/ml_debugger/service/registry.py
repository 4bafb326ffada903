"""What a model's name is bound to at first use, and the check of every append against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from ml_debugger import columns
from ml_debugger.errors import ArchitectureMismatchError, InputError, NotFoundError
from ml_debugger.service.contract import ModelSchema, RunKey
from ml_debugger.store.metadata import Metadata, ModelRow
from ml_debugger.types import Field

__all__ = ["bind", "conform", "fields_of", "merge", "require_model"]

_WIDTHS = {"features": "n_features", "logits": "n_classes"}


def require_model(metadata: Metadata, run: RunKey) -> ModelRow:
    """The model of a run.

    Raises:
        NotFoundError: If nothing was recorded under these names; the message lists what was.
    """
    row = metadata.model(run.model_name)
    if row is None:
        known = metadata.model_names()
        raise NotFoundError(f"model_name: nothing was recorded for {run.model_name!r}; known models: {known}")
    versions = metadata.versions(run.model_name)
    if run.version_name not in versions:
        raise NotFoundError(
            f"version_name: nothing was recorded for {run.version_name!r} of model {run.model_name!r}; "
            f"known versions: {versions}"
        )
    return row


def bind(metadata: Metadata, run: RunKey, schema: ModelSchema, *, rebind: bool = False) -> ModelRow:
    """Bind a model's name at first use, extend the binding by new columns, or find that it does not fit.

    Args:
        metadata: Where names are bound.
        run: Names of model and version.
        schema: What the caller's model is.
        rebind: Replace task, architecture and widths, all rows of the model having been removed.

    Raises:
        ArchitectureMismatchError: If the name belongs to another task, architecture or set of columns.
    """
    while True:
        bound = metadata.model(run.model_name)
        row = _new_row(run.model_name, schema) if bound is None else merge(bound, schema, rebind=rebind)
        if row == bound or metadata.bind_model(row, bound):
            metadata.add_run(run.model_name, run.version_name, schema.settings)
            return row


def merge(bound: ModelRow, schema: ModelSchema, *, rebind: bool = False) -> ModelRow:
    """The binding extended by what a caller's model adds to it.

    Raises:
        ArchitectureMismatchError: If they do not fit together.
    """
    label_fields = _merged_fields(bound, "additional_label_fields", bound.label_fields, schema.label_fields or ())
    row = replace(
        bound, fields=_merged_fields(bound, "additional_fields", bound.fields, schema.fields), label_fields=label_fields
    )
    if rebind:
        return replace(
            row,
            task=schema.task,
            architecture_hash=schema.architecture_hash,
            n_features=schema.n_features,
            n_classes=schema.n_classes,
            architecture=schema.architecture,
        )
    if bound.task != schema.task:
        raise _mismatch(bound, f"task {bound.task!r}", repr(schema.task))
    if bound.architecture_hash != schema.architecture_hash:
        raise _mismatch(bound, *_architectures(bound, schema))
    return replace(
        row,
        architecture=bound.architecture or schema.architecture,
        n_features=_merged_width(bound, "features per unit", bound.n_features, schema.n_features),
        n_classes=_merged_width(bound, "classes", bound.n_classes, schema.n_classes),
    )


def conform(kind: str, table: pa.Table, run: RunKey, bound: ModelRow) -> pa.Table:
    """Rows in the exact types of the store, checked against the model's binding.

    Raises:
        InputError: If columns are missing, unknown, of a wrong type, or null where a value is needed.
        ArchitectureMismatchError: If vectors have other widths than the model's.
    """
    additional = {field.name: field for field in fields_of(kind, bound)}
    present = tuple(additional[name] for name in table.column_names if name in additional)
    schema = columns.schema_of(kind, present, bound.task)
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice or set(table.column_names) != set(schema.names):
        odd = twice or sorted(set(table.column_names) ^ set(schema.names))
        raise InputError(f"{kind}: expected the columns {schema.names}, got missing, unknown or repeated {odd}")
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            raise InputError(f"{kind}: column {field.name!r} has nulls, every row needs a value")
    try:
        table = table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise InputError(f"{kind}: columns do not have the types of the table: {error}") from error
    if not pc.all(pc.equal(table["version_name"], run.version_name)).as_py() and table.num_rows:
        raise InputError(f"{kind}: every row must have the version_name {run.version_name!r} of its run")
    if kind == columns.RECORDS:
        _check_widths(table, bound)
    return table


def fields_of(kind: str, bound: ModelRow) -> tuple[Field, ...]:
    """Additional columns of one kind of rows."""
    if kind == columns.INPUTS:
        return ()
    fields: Mapping[str, str] = bound.label_fields if kind == columns.TRUTHS else bound.fields
    return tuple(Field(name, type_name) for name, type_name in fields.items())


def _new_row(model_name: str, schema: ModelSchema) -> ModelRow:
    return ModelRow(
        model_name,
        schema.task,
        schema.architecture_hash,
        schema.n_features,
        schema.n_classes,
        {field.name: field.type for field in schema.fields},
        {field.name: field.type for field in schema.label_fields or ()},
        schema.architecture,
    )


def _merged_fields(bound: ModelRow, what: str, old: Mapping[str, str], new: tuple[Field, ...]) -> dict[str, str]:
    by_lower = {name.lower(): name for name in old}
    for field in new:
        columns.arrow_type(field)
        known = by_lower.get(field.name.lower(), field.name)
        if known != field.name:
            raise InputError(
                f"{what}: {field.name!r} differs from the column {known!r} of model {bound.model_name!r} only in upper "
                f"and lower case, which tables do not tell apart; write {known!r} or choose another name"
            )
        if old.get(field.name, field.type) != field.type:
            raise ArchitectureMismatchError(
                f"{what}: model {bound.model_name!r} has {field.name!r} of type {old[field.name]!r}, got type "
                f"{field.type!r}; a column keeps its type as long as its table, so declare that type, or choose "
                "another name for the field"
            )
    return {**old, **{field.name: field.type for field in new}}


def _merged_width(bound: ModelRow, what: str, old: int | None, new: int | None) -> int | None:
    if old is not None and new is not None and old != new:
        raise _mismatch(bound, f"{old} {what}", str(new))
    return new if old is None else old


def _check_widths(table: pa.Table, bound: ModelRow) -> None:
    for column, attribute in _WIDTHS.items():
        expected = getattr(bound, attribute)
        lengths = pc.unique(pc.drop_null(pc.list_value_length(table[column]))).to_pylist()
        if any(length != expected for length in lengths):
            raise _mismatch(bound, f"{expected} values in {column}", f"{lengths}")


def _architectures(bound: ModelRow, schema: ModelSchema) -> tuple[str, str]:
    """Two architectures that differ, in words where they are known and tell them apart, else by their hashes."""
    old, new = bound.architecture, schema.architecture
    if old and new and old != new:
        return f"architecture {old}", new
    if old and new:
        same = f": each is {old}, but kinds, names or other shapes of their layers differ"
        return f"architecture {bound.architecture_hash!r}", f"{schema.architecture_hash!r}{same}"
    first, second = (f" = {words}" if words else "" for words in (old, new))
    return f"architecture {bound.architecture_hash!r}{first}", f"{schema.architecture_hash!r}{second}"


def _mismatch(bound: ModelRow, expected: str, got: str) -> ArchitectureMismatchError:
    return ArchitectureMismatchError(
        f"model_name: {bound.model_name!r} was first used with {expected}, got {got}; use another model_name, or, if "
        "this model has no other version, force_table_recreate=True"
    )
