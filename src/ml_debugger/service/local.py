"""The seven calls in process, over a workspace."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from ml_debugger import columns
from ml_debugger.errors import ArchitectureMismatchError, InputError, NotFoundError
from ml_debugger.service import results
from ml_debugger.service.arguments import check_result_name, check_selector, plain_options
from ml_debugger.service.contract import (
    AppendRequest,
    EvaluationRequest,
    Progress,
    QueryAnswer,
    QueryRequest,
    ResultPayload,
    RunKey,
    ScanRequest,
)
from ml_debugger.service.labelled import latest_epoch, select_labelled, tell_hidden_labels
from ml_debugger.service.registry import bind, conform, merge, require_model
from ml_debugger.service.rows import Narrowing, RunRows
from ml_debugger.store import Workspace, open_store
from ml_debugger.store.metadata import ModelRow, ResultRow
from ml_debugger.store.tables import Batch, RowFilter
from ml_debugger.types import Epoch

if TYPE_CHECKING:
    from ml_debugger.estimation.error_model import ErrorModel
    from ml_debugger.estimation.pool import Recalibration

__all__ = ["LocalService"]

# Inputs come last: only recordings that are listed there are read, so a half-written append does not show.
_WRITE_ORDER = (columns.RECORDS, columns.TRUTHS, columns.SCORES, columns.INPUTS)


class LocalService:
    """Implements ``contract.Service`` in this process.

    Args:
        workspace: Where rows, metadata and results are kept.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @classmethod
    def open(cls, location: str, database_url: str | None = None) -> LocalService:
        """Service over a folder or URL, which is made if it is new.

        Raises:
            StoreError: If it cannot be opened.
        """
        return cls(open_store(location, database_url))

    @property
    def workspace(self) -> Workspace:
        """Where rows, metadata and results are kept."""
        return self._workspace

    def append(self, request: AppendRequest) -> None:
        """Store whole inputs; a repeated batch id stores nothing twice.

        Each table takes its rows in one commit that carries the batch id; the inputs come last and make them visible.
        After a crash in between, the same request completes what is missing.

        Raises:
            ArchitectureMismatchError: If the model's name belongs to another architecture, task or set of columns.
            InputError: If rows are not as the tables need them.
            StoreError: If they could not be stored; the request can be repeated.
        """
        unknown = sorted(set(request.tables) - set(columns.KINDS))
        if unknown:
            raise InputError(f"tables: expected kinds of {columns.KINDS}, got {unknown}")
        bound = self._bind(request)
        rows = RunRows(self._workspace, bound, request.run)
        tables = {kind: conform(kind, table, request.run, bound) for kind, table in request.tables.items()}
        for kind in _WRITE_ORDER:
            table = tables.get(kind)
            if table is not None and request.completes:
                table = rows.without_stored(kind, table)
            if table is not None and table.num_rows:
                self._workspace.tables.append(rows.key(kind), table, Batch(request.batch_id))

    def scan(self, request: ScanRequest) -> Iterator[pa.RecordBatch]:
        """Stream rows of one kind, newest recordings only; scores that are missing are made first.

        Raises:
            NotFoundError: If there is no such run, result or column.
            InputError: If the kind is unknown, or scores are asked for without a result_name.
            StoreError: If rows cannot be read.
        """
        if request.kind not in columns.KINDS:
            raise InputError(f"kind: expected one of {columns.KINDS}, got {request.kind!r}")
        if request.pool_adaptive and request.kind != columns.SCORES:
            raise InputError(f"pool_adaptive: only scores have {columns.ERROR_PROBA_POOL}, got kind {request.kind!r}")
        rows = self._rows(request.run)
        names = [*rows.schema(request.kind).names, *([columns.ERROR_PROBA_POOL] if request.pool_adaptive else [])]
        unknown = sorted(set(request.columns or ()) - set(names))
        if unknown:
            raise NotFoundError(f"columns: {request.kind} has no {unknown}; it has {names}")
        narrowing = Narrowing(
            request.dataset_types,
            self._resolve(rows, request.n_epoch),
            request.weights_hash,
            request.pass_id,
            request.every_recording,
        )
        wanted = tuple(request.columns or names)
        only = None if request.recording_ids is None else request.recording_ids.to_numpy(zero_copy_only=False)
        if request.kind != columns.SCORES:
            return rows.scan(request.kind, narrowing, wanted, only)
        if request.result_name is None:
            raise InputError("result_name: expected the name of a result, since scores belong to one, got None")
        self._fill(rows, narrowing, request.result_name)
        scan = partial(rows.scan, request.kind, narrowing, only=only, result_name=request.result_name)
        if not request.pool_adaptive:
            return scan(wanted)
        from ml_debugger.service.pool import add_pool_column

        stored = tuple(
            dict.fromkeys(name for name in (*wanted, columns.ERROR_PROBA) if name != columns.ERROR_PROBA_POOL)
        )
        return add_pool_column(scan(stored), wanted, self._recalibrate(scan, request.result_name))

    def evaluate(
        self, request: EvaluationRequest, progress: Progress | None = None, *, claimant: str | None = None
    ) -> ResultPayload:
        """Learn where a run errs; stores and returns the result.

        With ``claimant``, the name of a job, the same evaluation is made once however often it is begun: what an
        earlier attempt completed is returned, and a name that it left reserved is free again.

        Raises:
            NotFoundError: If there is no such run.
            EvaluationError: If the labelled rows do not allow it; the message says what is missing.
            InputError: If the result's name is taken, or the method is unknown.
        """
        from ml_debugger.service.evaluation import run_evaluation
        from ml_debugger.tasks import TASKS

        earlier = None if claimant is None else self._workspace.metadata.claimed_by(claimant)
        if earlier is not None:
            name, is_complete = earlier
            if is_complete:
                return self.get_result(name)
            self._workspace.metadata.release_result(name)
        rows = self._rows(request.run)
        task = TASKS[rows.model.task]
        n_epoch = check_selector(request.n_epoch)
        request = replace(request, options=plain_options(request.options))
        method = _check_method(request.method_name, task.method)
        chosen = select_labelled(rows, n_epoch)
        winners = rows.winners(chosen.narrowing)  # once: every pass over the rows reads the same recordings
        notes = (*chosen.notes, *tell_hidden_labels(rows, chosen.narrowing, winners))

        def read(kind: str, names: tuple[str, ...], dataset_types: tuple[str, ...] | None) -> Iterator[pa.RecordBatch]:
            frame = rows.frame(kind, replace(chosen.narrowing, dataset_types=dataset_types))
            return rows.stream(kind, frame, tuple(names), winners)

        with self._claimed(request, method, claimant) as (name, created_at):
            resolved = replace(request, n_epoch=chosen.narrowing.n_epoch, result_name=name, method_name=method)
            found = run_evaluation(resolved, task, read, progress, tuple(rows.model.fields))
            info = {
                **found.info,
                "result_name": name,
                "model_name": request.run.model_name,
                "version_name": request.run.version_name,
                "task": task.name,
                "method_name": method,
                "n_epoch": chosen.narrowing.n_epoch,
                "weights_hash": chosen.weights_hash,
                "options": dict(request.options or {}),
                "notes": [*notes, *found.info["notes"]],
                "n_samples": found.samples.num_rows - found.samples["ignored"].to_pylist().count(True),
                "error_rate": found.metrics["error_rate"],
                "created_at": created_at.isoformat(),
            }
            tables = (found.samples, found.zones, found.error_codes, found.missed, found.truths)
            payload = ResultPayload(info, found.metrics, *tables)
            results.save_result(self._workspace, payload, self._with_settings(found.model, request.run))
        return self.get_result(name)

    def list_results(self, run: RunKey, result_name: str | None, method_name: str | None, n_epoch: Epoch) -> pa.Table:
        """Results of a run, oldest first; ``"latest"`` are those of the newest result's epoch."""
        found = self._workspace.metadata.results(run.model_name, run.version_name, result_name)
        if method_name not in (None, "default"):
            found = [row for row in found if row.info["method_name"] == method_name]
        return results.list_table(_of_epoch(found, n_epoch))

    def get_result(
        self, result_name: str | None, run: RunKey | None = None, n_epoch: Epoch = "latest"
    ) -> ResultPayload:
        """A result by name, or the newest of a run and epoch.

        Raises:
            NotFoundError: If there is none.
            InputError: If neither a name nor a run is given.
        """
        if result_name is None and run is None:
            raise InputError("result_name: expected a name, or a run to take the newest result of, got neither")
        model_name, version_name = (None, None) if run is None else (run.model_name, run.version_name)
        found = self._workspace.metadata.results(model_name, version_name, result_name)
        if result_name is None:
            found = _of_epoch(found, n_epoch)
        if not found:
            what = "no result" if result_name is None else f"no result {result_name!r}"
            where = "" if run is None else f" of model {run.model_name!r}, version {run.version_name!r}"
            raise NotFoundError(
                f"{what}{where}; call request_evaluation, or list_results(n_epoch='all') for what there is"
            )
        return results.load_result(self._workspace, found[-1])

    def get_error_model(self, result_name: str) -> ErrorModel:
        """The error model of a result.

        Raises:
            NotFoundError: If there is no such result.
        """
        return results.load_error_model(self._workspace, result_name)

    def query(self, request: QueryRequest) -> QueryAnswer:
        """Select inputs; scores that are missing under the result are made first.

        Raises:
            NotFoundError: If there is no such run or result.
            ConfigError: If the strategy or sampling is not valid.
        """
        from ml_debugger.service.candidates import StoredCandidates
        from ml_debugger.service.query import run_query
        from ml_debugger.tasks import TASKS

        rows = self._rows(request.run)
        epoch = self._resolve(rows, request.n_epoch)
        narrowing = Narrowing((request.dataset_type,), epoch, request.weights_hash, request.pass_id)
        model = self._fill(rows, narrowing, request.result_name)
        recalibration = None
        if request.pool_adaptive:
            scan = partial(rows.scan, columns.SCORES, narrowing, result_name=request.result_name)
            recalibration = self._recalibrate(scan, request.result_name)
        source = StoredCandidates(rows, narrowing, request.result_name, model, recalibration)
        return run_query(request, TASKS[rows.model.task], source)

    def _rows(self, run: RunKey) -> RunRows:
        return RunRows(self._workspace, require_model(self._workspace.metadata, run), run)

    def _resolve(self, rows: RunRows, n_epoch: Epoch) -> Epoch:
        wanted = check_selector(n_epoch)
        return latest_epoch(rows) if wanted == "latest" else wanted

    def _fill(self, rows: RunRows, narrowing: Narrowing, result_name: str) -> ErrorModel:
        from ml_debugger.service.filling import fill_scores
        from ml_debugger.tasks import TASKS

        model = self.get_error_model(result_name)
        fill_scores(rows, narrowing, result_name, TASKS[rows.model.task], model)
        return model

    def _recalibrate(
        self, scan: Callable[[tuple[str, ...]], Iterator[pa.RecordBatch]], result_name: str
    ) -> Recalibration:
        """What the scanned pool, compared with the held-out rows of a result, makes of the error probabilities."""
        from ml_debugger.estimation.pool import recalibrate
        from ml_debugger.service.pool import SUMMARY_COLUMNS, summarise_held_out, summarise_pool

        held_out = summarise_held_out(self.get_result(result_name).samples)
        return recalibrate(held_out, summarise_pool(scan(SUMMARY_COLUMNS)))

    @contextmanager
    def _claimed(
        self, request: EvaluationRequest, method: str, claimant: str | None
    ) -> Iterator[tuple[str, datetime.datetime]]:
        """A name reserved for a result, given back unless the result is complete at the end."""
        run, now = request.run, datetime.datetime.now(datetime.UTC)
        name = self._workspace.metadata.claim_result(
            check_result_name(request.result_name) or f"{run.model_name}_{run.version_name}_{method}_{now:%Y%m%d}",
            run.model_name,
            run.version_name,
            unique=request.result_name is None,
            claimant=claimant,
        )
        try:
            yield name, now
        finally:
            self._workspace.metadata.release_result(name)

    def _with_settings(self, model: ErrorModel, run: RunKey) -> ErrorModel:
        """What data filters share with the tracer, where it was given anything, beside what was learned."""
        settings = self._workspace.metadata.run_settings(run.model_name, run.version_name)
        return replace(model, meta={**model.meta, "settings": settings}) if settings else model

    def _bind(self, request: AppendRequest) -> ModelRow:
        """Bind the model's name; with ``recreate``, remove its version's rows, but not before it is known to fit."""
        metadata = self._workspace.metadata
        before = metadata.model(request.run.model_name)
        try:
            bound = bind(metadata, request.run, request.schema)
        except ArchitectureMismatchError:
            if not request.recreate or before is None or self._has_other_rows(before, request.run):
                raise
            merge(before, request.schema, rebind=True)  # where not even an empty table would fit, nothing is removed
            self._remove_version(before, request)
            bound = bind(metadata, request.run, request.schema, rebind=True)
        if request.recreate:
            self._remove_version(bound, request)
        return bound

    def _has_other_rows(self, bound: ModelRow, run: RunKey) -> bool:
        """Whether another version of the model has inputs."""
        for version in set(self._workspace.metadata.versions(bound.model_name)) - {run.version_name}:
            rows = RunRows(self._workspace, bound, RunKey(bound.model_name, version))
            frame = rows.snapshot(columns.INPUTS).rows(RowFilter(version))
            if not frame.select("recording_id").head(1).collect().is_empty():
                return True
        return False

    def _remove_version(self, bound: ModelRow, request: AppendRequest) -> None:
        """Remove the rows of this model and version, the inputs first: without them the rest does not show.

        That it was done is written down where there was nothing to remove too: the same request, coming again or late,
        must not remove what was stored since.
        """
        rows, tables = RunRows(self._workspace, bound, request.run), self._workspace.tables
        batch = Batch(f"remove:{request.batch_id}")
        for kind in reversed(_WRITE_ORDER):
            if not tables.remove(rows.key(kind), request.run.version_name, batch):
                tables.append(rows.key(kind), rows.schema(kind).empty_table(), batch)


def _check_method(wanted: str, method: str) -> str:
    if wanted not in ("default", method):
        raise InputError(f"method_name: expected 'default' or {method!r}, got {wanted!r}")
    return method


def _of_epoch(found: list[ResultRow], n_epoch: Epoch) -> list[ResultRow]:
    wanted = check_selector(n_epoch)
    if wanted == "all" or not found:
        return found
    wanted = found[-1].info["n_epoch"] if wanted == "latest" else wanted
    return [row for row in found if row.info["n_epoch"] == wanted]
