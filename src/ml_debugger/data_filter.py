"""Data filters: run a model on unlabelled batches, flag inputs live, and select from all of them afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ml_debugger import columns
from ml_debugger.adapters import find_adapter
from ml_debugger.connect import Connection, connect
from ml_debugger.errors import EpochWarning, InputError, NotFoundError, ShortResultWarning, WeightsWarning, warn
from ml_debugger.estimation.pool_accuracy import AccuracyEstimate, estimate_accuracy
from ml_debugger.ids import parse_ids, restore_ids
from ml_debugger.recording.fields import parse_fields
from ml_debugger.recording.recorder import Call, Recorder, check_name, open_writer
from ml_debugger.selection import FilterConfig, SamplingConfig
from ml_debugger.service.contract import QueryRequest, RunKey, ScanRequest
from ml_debugger.service.pool import POOL_FIELD, SUMMARY_COLUMNS, summarise_held_out, summarise_pool
from ml_debugger.tasks import TASKS
from ml_debugger.tasks.scoring import score_rows
from ml_debugger.types import Epoch, Scope

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import BaseModel

__all__ = ["ClassificationDataFilter", "FilterConfig", "SamplingConfig"]

logger = logging.getLogger(__name__)

_SCORE_COLUMNS = (
    "input_id",
    "unit",
    "dataset_type",
    "n_epoch",
    "label",
    "score",
    "error_proba",
    "zone",
    "support",
)


class ClassificationDataFilter:
    """Runs a classifier on unlabelled batches, gives each input an error probability and a zone, and selects inputs.

    Needs the result of an evaluation of the same model and version. No labels are needed. Calling it runs the model,
    records and scores the batch, and returns ``(model_output, filter_flags)``; ``query`` selects from everything
    recorded.

    Args:
        model: The classifier, as given to the tracer.
        model_name: Name used with the tracer.
        version_name: Name used with the tracer.
        result_name: Result of an evaluation; default: the newest of this model and version (it is logged which).
        n_epoch: Without ``result_name``, the newest result of this epoch; ``"latest"`` = the newest result.
        filter_config: Condition for the live flags, e.g. ``{"target_zones": ["critical_hotspot"]}`` or
            ``{"conditions": [{"error_proba": ">=0.5", "score": "<0.7"}]}``. It never narrows ``query``.
        target_layers: As for the tracer.
        additional_fields: Further columns, as for the tracer; numeric ones can be named in conditions.
        auto_sync: Write in the background every few seconds, not only when a buffer is full.
        force_table_recreate: Remove what was recorded for this model and version before.
        api_endpoint: Endpoint of a server; default ``MLD_API_ENDPOINT``, empty = embedded.
        api_key: Key for the server; default ``MLD_API_KEY``.

    Raises:
        NotFoundError: If there is no such result, or none yet for this model and version.
        ConfigError: If ``filter_config`` is not valid; the message lists what is.
        InputError: If a name, epoch, layer or field cannot be right.
        ArchitectureMismatchError: If ``model_name`` belongs to another architecture.

    Warns:
        WeightsWarning: If the model's weights are not those the result was learned from.
        EpochWarning: If an explicit ``n_epoch`` differs from the epoch of ``result_name``.
    """

    def __init__(  # noqa: PLR0913 - the documented signature
        self,
        model: Any,
        model_name: str,
        version_name: str,
        result_name: str | None = None,
        n_epoch: Epoch = "latest",
        filter_config: FilterConfig | Mapping[str, Any] | None = None,
        target_layers: Mapping[str, str] | None = None,
        additional_fields: Iterable[Mapping[str, Any]] | None = None,
        auto_sync: bool = False,
        force_table_recreate: bool = False,
        api_endpoint: str | None = None,
        api_key: str | None = None,
    ) -> None:
        self._task = TASKS["classification"]
        self._run = RunKey(check_name("model_name", model_name), check_name("version_name", version_name))
        fields = parse_fields(additional_fields, "additional_fields")
        numeric = tuple(field.name for field in fields if field.type in ("int", "float"))
        self._config = None if filter_config is None else self._task.parse_config(filter_config, numeric)
        adapter = find_adapter(model, target_layers, self._task.name)
        connection = connect(api_endpoint, api_key)
        self._service = connection.service
        info = _find_result(connection, self._run, result_name, n_epoch)
        self.result_name: str = info["result_name"]
        self.n_epoch: int | None = info["n_epoch"]
        self._model = self._service.get_error_model(self.result_name)
        append = self._service.append
        self._recorder = Recorder(
            self._task,
            adapter,
            self._run,
            open_writer(append, self._run, auto_sync=auto_sync),
            append=append,
            fields=fields,
        )
        connection.register(self._run, self._recorder.writer.flush)
        self._flush = partial(connection.flush, self._run)
        self._recorder.register(recreate=force_table_recreate)
        self._warn_if_other_weights(info["weights_hash"])

    def __call__(
        self, model_input: Any, input_ids: Any, dataset_type: str = columns.POOL, **kwargs: Any
    ) -> tuple[Any, list[bool | None]]:
        """Run the model on one batch, record and score it.

        Args:
            model_input: What the model takes; goes through untouched.
            input_ids: B ids, str or int, as list, array or tensor.
            dataset_type: Tag under which the batch is stored and later queried.
            **kwargs: Values of the additional fields: B values, or one for all.

        Returns:
            The model's own output, untouched, and B flags: True where the input matches ``filter_config``, False where
            not, None everywhere when there is no ``filter_config``.

        Raises:
            InputError: If ids or values do not fit the batch.
            CaptureError: If logits or features could not be read from the model.
            StoreError: If an earlier write failed; its rows are kept and tried again.
        """
        recorded = self._recorder.record(Call(model_input, input_ids, dataset_type, self.n_epoch, kwargs))
        scored = score_rows(self._task, self._model, recorded.records, self.result_name)
        self._recorder.put(recorded, **{columns.SCORES: scored})
        return recorded.raw, self._flags(recorded.inputs, scored)

    def query(  # noqa: PLR0913 - the documented signature
        self,
        n_data: int,
        strategy: str | FilterConfig | Mapping[str, Any],
        dataset_type: str = columns.POOL,
        type_cast: Callable[[str], Any] | None = None,
        exclude: Any = (),
        *,
        sampling: SamplingConfig | Mapping[str, Any] | None = None,
        scope: Scope | None = None,
        seed: int = 0,
        pool_adaptive: bool = False,
    ) -> list[Any]:
        """Select up to ``n_data`` recorded inputs, best first.

        Args:
            n_data: How many.
            strategy: A name (``"high_error_proba"``, ``"low_error_proba"``, ``"diverse_error"``, ``"coverage"``,
                ``"badge"``, ``"zone_balanced"``, ``"random"``) or a filter: ``{"target_zones": [...]}``,
                ``{"conditions": [...]}``, both (OR). Matches of a filter come highest error probability first.
                To label for training, ``"diverse_error"`` is recommended; to find errors,
                ``"high_error_proba"``. Measured: docs/benchmarks.md, active learning.
            dataset_type: Tag to select from.
            type_cast: Applied to each id on the way out. Default: ids come back as they were given.
            exclude: Ids not to return.
            sampling: Draw at random, or per class, among the inputs whose rank value lies within bounds.
            scope: ``"run"``: everything recorded for this run with these weights, by any process; ``"pass"``: only
                what this object recorded. Default: ``"run"`` for torch modules, ``"pass"`` for callables, whose weights
                cannot be known.
            seed: For strategies with a random part.
            pool_adaptive: Let conditions name ``error_proba_pool``, as in ``scores``; off by default, and not part of
                the live flags.

        Returns:
            Distinct ids; the same call gives the same list.

        Raises:
            ConfigError: If the strategy is not valid; the message lists what is.

        Warns:
            ShortResultWarning: If a named or sampling strategy found fewer than ``n_data``; it says why.
        """
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
                seed=seed,
                pool_adaptive=pool_adaptive,
                **self._narrowing(scope),
            )
        )
        for note in answer.notes:
            logger.warning("query: %s", note)
        if answer.shortfall:
            warn(answer.shortfall, ShortResultWarning)
        return restore_ids(answer.input_ids, answer.id_kinds, type_cast)

    def scores(
        self, dataset_type: str = columns.POOL, *, scope: Scope | None = None, pool_adaptive: bool = False
    ) -> pd.DataFrame:
        """Every scored unit of a dataset_type.

        Args:
            dataset_type: Tag to read.
            scope: As for ``query``.
            pool_adaptive: Add ``error_proba_pool``: the error probabilities recalibrated for these rows as a whole, by
                comparing them with the held-out rows. The order stays; a pool like the held-out rows keeps its values.

        Returns:
            One row per unit: ``input_id`` (as given), ``unit``, ``dataset_type``, ``n_epoch``, ``label``, ``score``,
            ``error_proba``, ``zone``, ``support`` (share of held-out rows at least as outlying, 0..1), additional
            fields, and ``error_proba_pool`` if it was asked for.
        """
        extra = tuple(field.name for field in self._recorder.fields)
        schema = columns.schema_of(columns.SCORES, self._recorder.fields)
        selected = pa.schema([schema.field(name) for name in (*_SCORE_COLUMNS, "id_kind", *extra)])
        if pool_adaptive:
            selected = selected.append(POOL_FIELD)
        scanned = self._scan_scores(tuple(selected.names), dataset_type, scope, pool_adaptive=pool_adaptive)
        table = pa.Table.from_batches((batch.select(selected.names).cast(selected) for batch in scanned), selected)
        frame: pd.DataFrame = table.drop_columns(["id_kind"]).to_pandas()
        frame["input_id"] = restore_ids(table["input_id"].to_pylist(), table["id_kind"].to_pylist())
        frame["n_epoch"] = frame["n_epoch"].astype("Int64")
        return frame

    def estimate_accuracy(self, dataset_type: str = columns.POOL, *, scope: Scope | None = None) -> AccuracyEstimate:
        """Estimate how accurate the model is on a pool, without labels.

        Holds for pools like the held-out rows of the result. Under drift no estimate can be trusted: the interval is
        then wider and ``warning`` says so, and why. See the page "Pools that differ".

        Args:
            dataset_type: Tag of the pool.
            scope: As for ``query``.

        Returns:
            ``accuracy`` with ``low`` and ``high``, ``mean_error_proba``, ``outlier_share``, ``drift`` and ``warning``.

        Raises:
            NotFoundError: If nothing was recorded under this tag.
        """
        samples = self._service.get_result(self.result_name).samples
        pool = summarise_pool(self._scan_scores(SUMMARY_COLUMNS, dataset_type, scope))
        if not pool.n_rows:
            raise NotFoundError(
                f"no scored rows of dataset_type {dataset_type!r}: call the data filter on batches of it first"
            )
        return estimate_accuracy(summarise_held_out(samples), pool)

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
        self._flush()
        return self._service.scan(
            ScanRequest(
                run=self._run,
                kind=columns.SCORES,
                columns=names,
                dataset_types=(check_name("dataset_type", dataset_type),),
                n_epoch=self.n_epoch,
                result_name=self.result_name,
                pool_adaptive=pool_adaptive,
                **self._narrowing(scope),
            )
        )

    def _flags(self, inputs: pa.Table, scored: pa.Table) -> list[bool | None]:
        if self._config is None:
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
