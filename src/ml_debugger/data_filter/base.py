"""What data filters of every task do: run, record, score, flag, and ask the service."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ml_debugger import columns
from ml_debugger.adapters import Adapter
from ml_debugger.connect import Connection, connect
from ml_debugger.errors import EpochWarning, InputError, NotFoundError, ShortResultWarning, WeightsWarning, warn
from ml_debugger.estimation.frames import missed_probability
from ml_debugger.ids import parse_ids, restore_ids
from ml_debugger.recording.fields import parse_fields
from ml_debugger.recording.recorder import Call, Recorder, check_name, open_writer
from ml_debugger.service.contract import QueryRequest, RunKey, ScanRequest
from ml_debugger.service.pool import POOL_FIELD
from ml_debugger.tasks.scoring import score_rows
from ml_debugger.tasks.task import Task
from ml_debugger.tasks.units import read_matrix
from ml_debugger.types import Epoch, Scope

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import BaseModel

__all__ = ["DataFilter", "Names"]

logger = logging.getLogger(__name__)

_BOX_SCORES = (
    "input_id",
    "unit",
    "dataset_type",
    "n_epoch",
    "label",
    "score",
    *columns.ERROR_COLUMNS,
    "zone",
    "support",
    "pred_size",
)


@dataclass(frozen=True, slots=True)
class Names:
    """What a data filter refers to, as the user gave it."""

    model_name: str
    version_name: str
    result_name: str | None
    n_epoch: Epoch


class DataFilter:
    """Holds a task, a recorder and an error model; the classes that people see give it their task and documentation."""

    def _prepare(
        self,
        task: Task,
        names: Names,
        filter_config: BaseModel | Mapping[str, Any] | None,
        additional_fields: Iterable[Mapping[str, Any]] | None,
    ) -> None:
        """Check what can be checked before the model is looked at."""
        self._task = task
        self._names = names
        self._run = RunKey(check_name("model_name", names.model_name), check_name("version_name", names.version_name))
        self._fields = parse_fields(additional_fields, "additional_fields", task.name)
        numeric = tuple(field.name for field in self._fields if field.type in ("int", "float"))
        self._config = None if filter_config is None else task.parse_config(filter_config, numeric)

    def _open(
        self, adapter: Adapter, api_endpoint: str | None, api_key: str | None, *, auto_sync: bool, recreate: bool
    ) -> None:
        """Find the result and register the model."""
        self._connect(api_endpoint, api_key)
        self._register(adapter, auto_sync=auto_sync, recreate=recreate)

    def _connect(self, api_endpoint: str | None, api_key: str | None) -> None:
        """Find the result."""
        self._connection = connect(api_endpoint, api_key)
        self._service = self._connection.service
        info = _find_result(self._connection, self._run, self._names.result_name, self._names.n_epoch)
        self.result_name: str = info["result_name"]
        self.n_epoch: int | None = info["n_epoch"]
        self._evaluated_weights: str | None = info["weights_hash"]
        self._model = self._service.get_error_model(self.result_name)

    def _traced(self, setting: str) -> Any:
        """What the tracer of the evaluated rows was given; None where nothing was."""
        return self._model.meta.get("settings", {}).get(setting)

    def _register(self, adapter: Adapter, *, auto_sync: bool, recreate: bool) -> None:
        """Make the recorder and register the model."""
        append = self._service.append
        self._recorder = Recorder(
            self._task,
            adapter,
            self._run,
            open_writer(append, self._run, auto_sync=auto_sync, spool=self._connection.spool),
            append=append,
            fields=self._fields,
        )
        self._connection.register(self._run, self._recorder.writer.flush)
        self._flush = partial(self._connection.flush, self._run)
        self._recorder.register(recreate=recreate)
        self._warn_if_other_weights(self._evaluated_weights)

    def _filter(
        self, model_input: Any, input_ids: Any, dataset_type: str, values: Mapping[str, Any]
    ) -> tuple[Any, list[bool | None]]:
        recorded = self._recorder.record(Call(model_input, input_ids, dataset_type, self.n_epoch, values))
        scored = score_rows(self._task, self._model, recorded.records, self.result_name)
        self._recorder.put(recorded, **{columns.SCORES: scored})
        return recorded.raw, self._flags(recorded.inputs, scored)

    def _query(  # noqa: PLR0913 - what the documented signatures have in common
        self,
        n_data: int,
        strategy: str | BaseModel | Mapping[str, Any],
        dataset_type: str,
        type_cast: Callable[[str], Any] | None,
        exclude: Any,
        sampling: BaseModel | Mapping[str, Any] | None,
        scope: Scope | None,
        **more: Any,
    ) -> list[Any]:
        self._flush()
        answer = self._service.query(
            QueryRequest(
                run=self._run,
                result_name=self.result_name,
                n_data=n_data,
                strategy=_as_json(strategy),
                sampling=None if sampling is None else _as_json(sampling),
                dataset_type=check_name("dataset_type", dataset_type),
                n_epoch=self.n_epoch,
                exclude=parse_ids(exclude, "exclude", ordered=False).text,
                **more,
                **self._narrowing(scope),
            )
        )
        for note in answer.notes:
            logger.warning("query: %s", note)
        if answer.shortfall:
            warn(answer.shortfall, ShortResultWarning)
        return restore_ids(answer.input_ids, answer.id_kinds, type_cast)

    def _scores(
        self, names: tuple[str, ...], dataset_type: str, scope: Scope | None, *, pool_adaptive: bool = False
    ) -> pd.DataFrame:
        extra = tuple(field.name for field in self._fields)
        schema = columns.schema_of(columns.SCORES, self._fields, self._task.name)
        selected = pa.schema([schema.field(name) for name in (*names, "id_kind", *extra)])
        if pool_adaptive:
            selected = selected.append(POOL_FIELD)
        scanned = self._scan_scores(tuple(selected.names), dataset_type, scope, pool_adaptive=pool_adaptive)
        table = pa.Table.from_batches((batch.select(selected.names).cast(selected) for batch in scanned), selected)
        frame: pd.DataFrame = table.drop_columns(["id_kind"]).to_pandas()
        frame["input_id"] = restore_ids(table["input_id"].to_pylist(), table["id_kind"].to_pylist())
        frame["n_epoch"] = frame["n_epoch"].astype("Int64")
        return frame

    def _box_scores(self, dataset_type: str, scope: Scope | None) -> pd.DataFrame:
        names = (*_BOX_SCORES, *columns.box_columns(self._task.name))
        return self._scores(names, dataset_type, scope)

    def _missed_proba(self, dataset_type: str, scope: Scope | None) -> pd.DataFrame:
        names = ("input_id", "id_kind", "dataset_type", "n_epoch", "n_units", "frame_context")
        schema = columns.schema_of(columns.INPUTS)
        selected = pa.schema([schema.field(name) for name in names])
        scanned = self._scan(columns.INPUTS, names, dataset_type, scope)
        table = pa.Table.from_batches((batch.select(names).cast(selected) for batch in scanned), selected)
        frame: pd.DataFrame = table.drop_columns(["id_kind", "frame_context"]).to_pandas()
        frame["input_id"] = restore_ids(table["input_id"].to_pylist(), table["id_kind"].to_pylist())
        frame["n_epoch"] = frame["n_epoch"].astype("Int64")
        frame["missed_proba"] = missed_probability(self._model, read_matrix(table, "frame_context"))
        return frame

    def wait_for_save(self) -> None:
        """Return when every batch recorded so far is stored; nothing of it can be lost any more.

        Raises:
            StoreError: If the rows cannot be written; they are kept, call again when the cause is gone.
        """
        self._recorder.flush()

    def describe(self) -> dict[str, Any]:
        """What was found in the model, and the result in use."""
        return {**self._recorder.adapter.describe(), "result_name": self.result_name, "n_epoch": self.n_epoch}

    def _scan_scores(
        self, names: tuple[str, ...], dataset_type: str, scope: Scope | None, *, pool_adaptive: bool = False
    ) -> Iterator[pa.RecordBatch]:
        more = {"result_name": self.result_name, "pool_adaptive": pool_adaptive}
        return self._scan(columns.SCORES, names, dataset_type, scope, **more)

    def _scan(
        self, kind: str, names: tuple[str, ...], dataset_type: str, scope: Scope | None, **more: Any
    ) -> Iterator[pa.RecordBatch]:
        self._flush()
        return self._service.scan(
            ScanRequest(
                run=self._run,
                kind=kind,
                columns=names,
                dataset_types=(check_name("dataset_type", dataset_type),),
                n_epoch=self.n_epoch,
                **more,
                **self._narrowing(scope),
            )
        )

    def _flags(self, inputs: pa.Table, scored: pa.Table) -> list[bool | None]:
        if self._config is None or not self._config.gives_flags:
            return [None] * inputs.num_rows
        chosen = self._task.candidates(scored, self._config)
        selected = dict(zip(chosen["input_id"].to_pylist(), chosen["selected"].to_pylist(), strict=True))
        return [bool(selected.get(input_id, False)) for input_id in inputs["input_id"].to_pylist()]

    def _narrowing(self, scope: Scope | None) -> dict[str, Any]:
        weights_hash = self._recorder.adapter.weights_hash()
        if scope not in (None, "run", "pass"):
            raise InputError(f"scope: expected 'run', 'pass' or None, got {scope!r}")
        if scope == "pass" or (scope is None and weights_hash is None):
            return {"pass_id": self._recorder.pass_id}
        return {"weights_hash": weights_hash}

    def _warn_if_other_weights(self, evaluated: str | None) -> None:
        present = self._recorder.adapter.weights_hash()
        if evaluated is not None and present is not None and evaluated != present:
            warn(
                f"the weights of this model differ from those that result {self.result_name!r} was learned from: its "
                "error probabilities may not hold; trace and evaluate the present weights, or load the traced ones",
                WeightsWarning,
            )


def _find_result(connection: Connection, run: RunKey, result_name: str | None, n_epoch: Epoch) -> dict[str, Any]:
    """Name, epoch and weights of the result to use."""
    wanted: Epoch = "all" if result_name is not None or n_epoch == "latest" else n_epoch
    rows = connection.service.list_results(run, result_name, None, wanted).to_pylist()
    if not rows:
        which = f"result {result_name!r}" if result_name else "evaluation result"
        epoch = "" if wanted == "all" else f" of epoch {n_epoch}"
        raise NotFoundError(
            f"no {which}{epoch} for model {run.model_name!r}, version {run.version_name!r}; trace labelled data and "
            "call Evaluator(...).request_evaluation(), or see Evaluator(...).list_results(n_epoch='all')"
        )
    info: dict[str, Any] = rows[-1]
    also: Epoch = "all" if n_epoch == "latest" else n_epoch
    if result_name is None:
        logger.warning("no result_name given: using the newest, %s", info["result_name"])
    elif not connection.service.list_results(run, result_name, None, also).num_rows:
        warn(
            f"n_epoch={n_epoch} was given, but result {result_name!r} is of epoch {info['n_epoch']}; "
            "the result's epoch is used",
            EpochWarning,
        )
    return info


def _as_json(value: str | BaseModel | Mapping[str, Any]) -> Any:
    """A strategy or sampling as plain JSON; anything else goes through and is refused by the service with the list."""
    return value.model_dump(mode="json", exclude_none=True) if hasattr(value, "model_dump") else value
