"""The labelled rows of a run: who serves what, which are kept, and their vectors, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.errors import ConfigError, EvaluationError, InputError
from ml_debugger.service.evaluation_options import EvaluationOptions
from ml_debugger.tasks.task import Diagnosis, Quality, Task, Units
from ml_debugger.tasks.units import read_matrix

__all__ = ["Aside", "Reader", "Rows", "group_rows", "read_rows"]

Reader = Callable[[str, tuple[str, ...], tuple[str, ...] | None], Iterator[pa.RecordBatch]]
"""(kind, columns, dataset_types or None for all) -> newest rows, streamed."""

Bool = NDArray[np.bool_]
_LIGHT = ("input_id", "id_kind", "recording_id", "dataset_type", "n_epoch", "unit", "label", "score")
_TRUTH = ("recording_id", "dataset_type", "truth", "ignored")
_ONLY_DIAGNOSED = frozenset(columns.VECTORS)  # read a second time, for the rows that are kept


@dataclass(frozen=True, slots=True)
class Aside:
    """Units of held-out inputs in regions that the truth marks as to be ignored: to be shown, in no figure."""

    table: pa.Table
    units: Units
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class Rows:
    """N labelled units, in an order that does not depend on how they were stored.

    Attributes:
        table: Their rows without vectors.
        units: The same as arrays.
        diagnosis: What the truth says about them.
        in_bank: ``(N,)``.
        held_out: ``(N,)``.
        notes: What people should know.
        fit_on: dataset_types that are held out.
        bank_from: dataset_types of the bank.
        counts: Labelled rows per dataset_type before subsampling.
        aside: Units in ignored regions; None where there is none.
        quality: The model's own measures, of all held-out rows before subsampling.
    """

    table: pa.Table
    units: Units
    diagnosis: Diagnosis
    in_bank: Bool
    held_out: Bool
    notes: list[str]
    fit_on: tuple[str, ...]
    bank_from: tuple[str, ...]
    counts: dict[str, int]
    aside: Aside | None
    quality: Quality


def read_rows(task: Task, read: Reader, fields: Sequence[str], options: EvaluationOptions) -> Rows:
    """Read what an evaluation needs.

    Args:
        task: Diagnoses the rows.
        read: Gives stored rows.
        fields: Additional columns of records to carry along.
        options: Roles and caps.

    Raises:
        EvaluationError: If no row has a truth.
        ConfigError: If an option names a dataset_type without labelled rows, a field that is not stored, or is not for
            this task.
    """
    if options.group_by is not None and options.group_by not in fields:
        raise ConfigError(
            f"group_by: expected the name of an additional field of this model ({', '.join(fields) or 'it has none'}), "
            f"got {options.group_by!r}; trace with additional_fields={{{options.group_by!r}: str}} and give a value "
            "for each input"
        )
    truths = _collect(read, columns.TRUTHS, (*_TRUTH, *task.reads.truths), None)
    if truths.num_rows == 0:
        raise EvaluationError(
            "no labelled rows: trace the model with labels first (ClassificationTracer, ObjectDetectionTracer, "
            "ObjectDetection3DTracer), then evaluate"
        )
    tags = tuple(sorted(set(truths["dataset_type"].to_pylist())))
    records = _collect(read, columns.RECORDS, (*_LIGHT, *task.reads.records, *fields), tags)
    if not records.num_rows:
        raise EvaluationError(
            f"no record has a truth: the labelled inputs of {', '.join(tags)} have no predictions. A detector that "
            "finds nothing in them needs a lower score_thresh; others have to be traced together with their labels"
        )
    diagnosis = task.diagnose(records, truths, options.matching)
    notes = [*diagnosis.notes, *_count_unlabelled(records, diagnosis)]
    counts = _count_by_tag(records, diagnosis.labelled)
    fit_on, bank_from = choose_roles(tuple(counts), options)
    quality = _measure_quality(task, records, truths, fit_on, options)
    notes += quality.notes
    records = records.drop_columns([name for name in task.reads.records if name in _ONLY_DIAGNOSED])
    kept = _keep(records, diagnosis, (fit_on, bank_from), options, notes)
    beside = _keep_aside(records, diagnosis, fit_on, options)
    chosen, count = np.concatenate([kept, beside]), len(kept)
    taken, judged = records.take(pa.array(chosen)), diagnosis.rows(chosen)
    units = _read_units(task, read, taken, tuple(sorted({*fit_on, *bank_from})))
    aside = slice(count, None)
    table, used = taken.slice(0, count), slice(0, count)
    tag = np.array(table["dataset_type"].to_pylist(), dtype=object)
    return Rows(
        table=table,
        units=units.rows(used),
        diagnosis=judged.rows(used),
        in_bank=np.isin(tag, bank_from),
        held_out=np.isin(tag, fit_on),
        notes=notes,
        fit_on=fit_on,
        bank_from=bank_from,
        counts=counts,
        aside=Aside(taken.slice(count), units.rows(aside), judged.rows(aside)) if len(beside) else None,
        quality=quality,
    )


def _measure_quality(
    task: Task, records: pa.Table, truths: pa.Table, fit_on: tuple[str, ...], options: EvaluationOptions
) -> Quality:
    """The model's own measures, of the held-out inputs."""
    wanted = pa.array(fit_on)
    held = [table.filter(pc.is_in(table["dataset_type"], value_set=wanted)) for table in (records, truths)]
    return task.quality(held[0], held[1], options.matching, options.bootstrap, options.seed)


def choose_roles(tags: tuple[str, ...], options: EvaluationOptions) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """dataset_types of learner and bank: ``train`` is the bank, all others learn; if one is missing both are the same.

    Raises:
        EvaluationError: If there is no labelled dataset_type.
        ConfigError: If an option names one that has no labelled rows.
    """
    if not tags:
        raise EvaluationError("no record has a truth: trace inputs together with their labels, then evaluate")
    for name, chosen in (("fit_on", options.fit_on), ("bank_from", options.bank_from)):
        missing = sorted(set(chosen or ()) - set(tags))
        if missing:
            raise ConfigError(f"{name}: no labelled rows of dataset_type {missing}; labelled are {sorted(tags)}")
    bank = options.bank_from or tuple(tag for tag in tags if tag == columns.TRAIN)
    learner = options.fit_on or tuple(tag for tag in tags if tag not in bank)
    return learner or bank, bank or learner


def _collect(read: Reader, kind: str, names: tuple[str, ...], tags: tuple[str, ...] | None) -> pa.Table:
    batches = [batch.select(names) for batch in read(kind, names, tags) if batch.num_rows]
    if batches:
        return _as_recorded(pa.Table.from_batches(batches).combine_chunks())
    known = columns.schema_of(kind)
    fields = [known.field(name) if name in known.names else pa.field(name, pa.null()) for name in names]
    return pa.schema(fields).empty_table()


def _as_recorded(table: pa.Table) -> pa.Table:
    """In the order of the recordings; stores, which read on several threads, give rows in any."""
    keys = [name for name in ("recording_id", "unit", "truth_index") if name in table.column_names]
    order = np.lexsort([table[name].to_numpy() for name in reversed(keys)])
    return table if np.array_equal(order, np.arange(len(order))) else table.take(pa.array(order))


def _count_unlabelled(records: pa.Table, diagnosis: Diagnosis) -> list[str]:
    missing = int((~diagnosis.labelled).sum())
    return [f"{missing} of {records.num_rows} traced rows have no label and are left out"] if missing else []


def _count_by_tag(records: pa.Table, labelled: Bool) -> dict[str, int]:
    counted = records.filter(pa.array(labelled))["dataset_type"].value_counts().to_pylist()
    return dict(sorted((entry["values"], entry["counts"]) for entry in counted))


def _keep(
    records: pa.Table,
    diagnosis: Diagnosis,
    roles: tuple[tuple[str, ...], tuple[str, ...]],
    options: EvaluationOptions,
    notes: list[str],
) -> NDArray[np.int64]:
    """Positions of the labelled rows to use, sorted by dataset_type, input and unit; above a cap a fixed subsample."""
    fit_on, bank_from = roles
    bank_only = tuple(tag for tag in bank_from if tag not in fit_on)
    tag = np.array(records["dataset_type"].to_pylist(), dtype=object)
    parts = []
    for tags, cap, what in (
        (fit_on, options.max_fit_rows, "max_fit_rows"),
        (bank_only, options.max_bank_rows, "max_bank_rows"),
    ):
        found = np.flatnonzero(diagnosis.labelled & ~diagnosis.ignored & np.isin(tag, tags))
        if len(found) > cap:
            notes.append(
                f"{cap} of {len(found)} labelled rows of {', '.join(tags)} are used ({what}; seed {options.seed})"
            )
            found = _subsample(records, found, cap, options.seed)
        parts.append(found)
    return _sorted(records, np.concatenate(parts))


def _keep_aside(
    records: pa.Table, diagnosis: Diagnosis, fit_on: tuple[str, ...], options: EvaluationOptions
) -> NDArray[np.int64]:
    """Positions of held-out units in ignored regions, in the same order and with the same cap."""
    tagged = pc.is_in(records["dataset_type"], value_set=pa.array(fit_on)).to_numpy()
    found = np.flatnonzero(diagnosis.labelled & diagnosis.ignored & tagged)
    if len(found) > options.max_fit_rows:
        found = _subsample(records, found, options.max_fit_rows, options.seed)
    return _sorted(records, found) if len(found) else found


def _subsample(records: pa.Table, found: NDArray[np.int64], cap: int, seed: int) -> NDArray[np.int64]:
    return found[np.argsort(_draws(records.take(pa.array(found)), seed), kind="stable")[:cap]]


def _sorted(records: pa.Table, found: NDArray[np.int64]) -> NDArray[np.int64]:
    keys = ["dataset_type", "input_id", "n_epoch", "recording_id", "unit"]
    order = pl.DataFrame(records.take(pa.array(found)).select(keys)).with_row_index("row").sort(keys)["row"]
    rows: NDArray[np.int64] = found[order.to_numpy()]
    return rows


def _draws(records: pa.Table, seed: int) -> NDArray[np.uint64]:
    """A fixed pseudo-random number per input: what is kept depends on ids and seed, not on the order in the store."""
    names = zip(records["dataset_type"].to_pylist(), records["input_id"].to_pylist(), strict=True)
    salt = f"{seed}\0".encode()
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(salt + f"{tag}\0{name}".encode(), digest_size=8).digest(), "little")
            for tag, name in names
        ],
        dtype=np.uint64,
    )


def _read_units(task: Task, read: Reader, table: pa.Table, tags: tuple[str, ...]) -> Units:
    """The kept units with their vectors, read in one more pass."""
    keys = pl.DataFrame(
        {
            "recording_id": table["recording_id"].to_numpy(),
            "unit": table["unit"].to_numpy(),
            "row": np.arange(table.num_rows, dtype=np.int64),
        }
    )
    vectors = ("features", "logits", *task.reads.vectors)
    matrices = {name: np.empty((table.num_rows, 0), dtype=np.float32) for name in vectors}
    names = ("recording_id", "unit", *matrices)
    for batch in read(columns.RECORDS, names, tags):
        found = pl.DataFrame({"recording_id": batch["recording_id"].to_numpy(), "unit": batch["unit"].to_numpy()})
        joined = found.with_row_index("position").join(keys, on=["recording_id", "unit"], how="inner")
        chosen = batch.take(pa.array(joined["position"].to_numpy()))
        for name in matrices:
            matrices[name] = _fill(matrices[name], joined["row"].to_numpy(), read_matrix(chosen, name), name)
    return Units(
        label=table["label"].to_numpy().astype(np.int64),
        score=table["score"].to_numpy().astype(np.float64),
        **matrices,
    )


def _fill(
    matrix: NDArray[np.float32], rows: NDArray[np.int64], values: NDArray[np.float32], name: str
) -> NDArray[np.float32]:
    width = values.shape[1]
    if width == 0:
        return matrix
    if matrix.shape[1] == 0:
        matrix = np.full((len(matrix), width), np.nan, dtype=np.float32)
    if matrix.shape[1] != width:
        raise InputError(f"{name}: expected vectors of one length, got lengths {matrix.shape[1]} and {width}")
    matrix[rows] = values
    return matrix


def group_rows(rows: Rows, whole: Bool, field: str | None = None) -> tuple[NDArray[np.int64], int]:
    """``(N,)`` group of each unit, and how many of the ``whole`` units (finite vectors) are exact copies of another.

    Units of one input of a dataset_type are one group, in all epochs; inputs with exactly equal vectors are one too,
    so that
    no fold learns from a copy. Where equal vectors are the rule (discrete outputs), only inputs are kept together.
    Units with the same value of ``field``, in all dataset_types, are one group too; null is no value.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    inputs = pl.DataFrame(rows.table.select(["dataset_type", "input_id"]))
    names = inputs.select(pl.struct("dataset_type", "input_id").rank("dense").cast(pl.Int64)).to_series().to_numpy() - 1
    contents = _content_codes(rows.units, whole)
    n_inputs, n_contents = int(names.max(initial=-1)) + 1, int(contents.max(initial=-1)) + 1
    copies = len(contents) - n_contents
    if n_contents < max(20, n_inputs / 10):
        copies = 0
    ties = [(names, contents)] if copies else []
    if field is not None:
        values = rows.table[field].combine_chunks().dictionary_encode().indices
        given = np.flatnonzero(values.is_valid())
        ties.append((names[given], values.drop_null().to_numpy().astype(np.int64)))
    if not ties:
        return names, 0
    one, other, count = names[:0], names[:0], n_inputs
    for first, second in ties:
        one, other = np.concatenate([one, first]), np.concatenate([other, count + second])
        count += int(second.max(initial=-1)) + 1
    links = coo_array((np.ones(len(one)), (one, other)), shape=(count,) * 2)
    component = connected_components(links, directed=False)[1]
    return component[names].astype(np.int64), copies


def _content_codes(units: Units, whole: Bool) -> NDArray[np.int64]:
    """``(N,)`` one number per distinct set of vectors; units that are not whole are all distinct."""
    joined = np.ascontiguousarray(np.concatenate([units.features, units.logits, units.box, units.context], axis=1))
    digests = [
        hashlib.blake2b(row.tobytes() if usable else str(position).encode(), digest_size=16).hexdigest()
        for position, (row, usable) in enumerate(zip(joined, whole.tolist(), strict=True))
    ]
    codes: NDArray[Any] = np.unique(np.array(digests), return_inverse=True)[1]
    return codes.astype(np.int64)
