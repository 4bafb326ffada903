"""One call of a model, turned into rows: what every role does before it adds truths or scores."""

from __future__ import annotations

import itertools
import os
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml_debugger import columns
from ml_debugger.adapters import Adapter
from ml_debugger.errors import InputError
from ml_debugger.ids import InputIds, parse_ids
from ml_debugger.recording.fields import field_columns
from ml_debugger.recording.waiting import Spool
from ml_debugger.recording.writer import Writer
from ml_debugger.service.contract import AppendRequest, ModelSchema, RunKey
from ml_debugger.settings import read_setting
from ml_debugger.tasks.rows import list_column, make_rows
from ml_debugger.tasks.task import Task
from ml_debugger.types import Field, ModelOutput

__all__ = ["Call", "Recorded", "Recorder", "check_epoch", "check_name", "open_writer"]


@dataclass(frozen=True, slots=True)
class Call:
    """One batch as the user gave it. ``n_epoch`` is resolved; ``values`` fill the additional fields."""

    model_input: Any
    input_ids: Any
    dataset_type: str
    n_epoch: int | None
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one call gave: the model's own output untouched, and its rows.

    ``inputs`` has one row per input (B), ``records`` one per unit (U), both as in ``columns.schema_of``.
    """

    raw: Any
    output: ModelOutput
    inputs: pa.Table
    records: pa.Table


class Recorder:
    """Runs a model through its adapter and makes input and record rows; buffers whole inputs in a writer.

    Args:
        task: What the model does.
        adapter: How its outputs are read.
        run: Names of model and version.
        writer: Where rows go.
        append: The service's append, called once to register the model before its first rows.
        fields: Additional columns of records; ``label_fields`` of truths, None for roles without labels.
        settings: What data filters share with this tracer; None for other roles.
    """

    def __init__(  # noqa: PLR0913 - the parts of one recorder, each its own
        self,
        task: Task,
        adapter: Adapter,
        run: RunKey,
        writer: Writer,
        *,
        append: Callable[[AppendRequest], None],
        fields: tuple[Field, ...] = (),
        label_fields: tuple[Field, ...] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.task = task
        self.adapter = adapter
        self.run = run
        self.writer = writer
        self.pass_id = uuid.uuid4().hex
        self._append = append
        self.fields = fields
        self._label_fields = label_fields
        self._settings = settings
        self._registered = False
        self._registering = threading.Lock()  # of several first calls one registers, and recreates, the table
        self._recreate = False
        self._recording_ids = _RecordingIds()

    def register(self, *, recreate: bool = False) -> None:
        """Bind the model's name to its architecture; ``recreate`` first removes this model and version's rows.

        A plain callable shows its architecture with its first output: then it happens before the first rows.

        Raises:
            ArchitectureMismatchError: If the name belongs to another architecture, task or set of columns.
        """
        self._recreate = recreate
        if self.adapter.architecture_hash is not None:
            self._register(self._make_schema(self.adapter.architecture_hash, None))

    def record(self, call: Call) -> Recorded:
        """Run the model on one batch and make its rows; nothing is stored before ``put``.

        Raises:
            InputError: If ids, dataset_type or additional values do not fit, before the model runs, or the model's
                output has another number of rows than there are ids.
            CaptureError: If the model's outputs could not be read.
        """
        ids = parse_ids(call.input_ids)
        check_name("dataset_type", call.dataset_type)
        known = {field.name for field in (*self.fields, *(self._label_fields or ()))}
        unknown = sorted(set(call.values) - known)
        if unknown:
            declared = f"expected one of {sorted(known)}" if known else "no additional fields are declared"
            raise InputError(
                f"unknown keyword argument {unknown[0]!r}: {declared}; declare it in "
                "additional_fields" + ("" if self._label_fields is None else " or additional_label_fields")
            )
        extra = field_columns(self.fields, call.values, len(ids))
        raw, output = self.adapter.run(call.model_input, len(ids))
        inputs = self._input_rows(ids, call)
        records = _with_fields(self.task.predictions(output, inputs), inputs, extra)
        n_units = pa.array(_count_units(output), type=pa.int64())
        own = {"n_units": n_units, "frame_context": list_column(output.frame_context, len(ids))}
        inputs = make_rows(columns.INPUTS, inputs, own)
        return Recorded(raw, output, inputs, records)

    def truths(self, ground_truth: Any, recorded: Recorded, values: Mapping[str, Any]) -> pa.Table:
        """Truth rows of a recorded batch, with the additional label fields."""
        n_classes = None if recorded.output.logits is None else recorded.output.logits.shape[1]
        rows = self.task.truths(ground_truth, recorded.inputs, n_classes)
        extra = field_columns(self._label_fields or (), values, recorded.inputs.num_rows)
        return _with_fields(rows, recorded.inputs, extra)

    def put(self, recorded: Recorded, **tables: pa.Table) -> None:
        """Hand whole inputs to the writer: the recorded rows and further tables by kind.

        Raises:
            StoreError: If an earlier write failed; its rows are kept and tried again.
        """
        if not recorded.inputs.num_rows:
            return  # an empty batch shows no widths to bind the name to
        schema = self._make_schema(self.adapter.architecture_hash or "", recorded.output)
        with self._registering:
            if not self._registered:
                self._register(schema)
        self.writer.put(schema, {columns.INPUTS: recorded.inputs, columns.RECORDS: recorded.records, **tables})

    def flush(self) -> None:
        """Return when everything recorded so far is stored for good."""
        self.writer.flush()

    def _register(self, schema: ModelSchema) -> None:
        self._append(AppendRequest(uuid.uuid4().hex, self.run, schema, recreate=self._recreate))
        self._registered = True

    def _make_schema(self, architecture_hash: str, output: ModelOutput | None) -> ModelSchema:
        return ModelSchema(
            task=self.task.name,
            architecture_hash=architecture_hash,
            n_features=_width(output.features) if output else None,
            n_classes=_width(output.logits) if output else None,
            fields=self.fields,
            label_fields=self._label_fields,
            architecture=self.adapter.describe().get("architecture"),
            settings=self._settings,
        )

    def _input_rows(self, ids: InputIds, call: Call) -> pa.Table:
        n = len(ids)
        constant = {
            "recorded_at": _clock.now(),
            "version_name": self.run.version_name,
            "dataset_type": call.dataset_type,
            "n_epoch": call.n_epoch,
            "weights_hash": self.adapter.weights_hash(),
            "pass_id": self.pass_id,
        }
        rows: dict[str, Any] = {
            "input_id": ids.text,
            "id_kind": ids.kinds,
            "recording_id": self._recording_ids.take(n),
        }
        arrays = [
            _repeat(constant[field.name], n, field.type)
            if field.name in constant
            else pa.array(rows[field.name], type=field.type)
            for field in columns.COMMON_FIELDS
        ]
        return pa.table(arrays, schema=pa.schema(columns.COMMON_FIELDS))


def _repeat(value: Any, n: int, kind: pa.DataType) -> pa.Array:
    return pa.nulls(n, kind) if value is None else pa.repeat(pa.scalar(value, kind), n)


def open_writer(
    append: Callable[[AppendRequest], None], run: RunKey, *, auto_sync: bool, spool: Spool | None = None
) -> Writer:
    """A writer with the buffer sizes of the settings."""
    return Writer(
        append,
        run,
        buffer_rows=read_setting("MLD_BUFFER_ROWS"),
        buffer_bytes=read_setting("MLD_BUFFER_MB") * 2**20,
        auto_sync=auto_sync,
        sync_seconds=read_setting("MLD_SYNC_SECONDS"),
        spool=spool,
    )


class _RecordingIds:
    """Numbers that no other recorder gives: they count from a random start, and from another one after a fork."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._numbers = itertools.count(secrets.randbits(62))

    def take(self, n: int) -> list[int]:
        """The next n numbers."""
        if self._pid != os.getpid():
            self._start()
        return list(itertools.islice(self._numbers, n))


class _Clock:
    """Microseconds since the epoch, growing with every call even where the computer's clock is set back."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def now(self) -> int:
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return self._last


# One for the process: newest-wins needs an order of all that it records, by whichever object.
_clock = _Clock()


def check_name(argument: str, value: Any) -> str:
    """A name that can be stored.

    Raises:
        InputError: If it is not a non-empty string of at most 255 characters, or, for a version or dataset_type, too
            long for a folder name.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > 255 or not value.isprintable():
        raise InputError(f"{argument}: expected a non-empty printable str of at most 255 characters, got {value!r}")
    if argument != "model_name":
        from ml_debugger.store.naming import check_partition  # not at the top: it loads the store

        check_partition(argument, value)  # now, not when it is written together with many others
    return value


def check_epoch(value: Any) -> int | None:
    """An epoch number given with a call.

    Raises:
        InputError: If it is neither None nor a non-negative int.
    """
    if value is None:
        return None
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InputError(f"n_epoch: expected None or an int from 0 to 2**63 - 1, got {value!r}")
    return value


def _width(values: Any) -> int | None:
    return None if values is None else int(values.shape[1])


def _count_units(output: ModelOutput) -> list[int]:
    counts: list[int] = np.bincount(output.input_index, minlength=output.n_inputs).tolist()
    return counts


def _with_fields(rows: pa.Table, inputs: pa.Table, extra: Mapping[str, pa.Array]) -> pa.Table:
    """Additional columns of the inputs, repeated for each row of the input."""
    if not extra:
        return rows
    position = pc.index_in(rows["recording_id"], value_set=inputs["recording_id"].combine_chunks())
    for name, column in extra.items():
        rows = rows.append_column(name, column.take(position.combine_chunks()))
    return rows
