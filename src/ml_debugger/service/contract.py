"""The seven calls of the service, and what goes in and out. The same in process and over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from ml_debugger.types import Epoch, Field

if TYPE_CHECKING:
    from ml_debugger.estimation.error_model import ErrorModel

__all__ = [
    "AppendRequest",
    "EvaluationRequest",
    "ModelSchema",
    "Progress",
    "QueryAnswer",
    "QueryRequest",
    "ResultPayload",
    "RunKey",
    "ScanRequest",
    "Service",
]

Progress = Callable[[str, float], None]
"""Called with (stage, fraction done 0..1) during long work."""


@dataclass(frozen=True, slots=True)
class RunKey:
    """Names of a run; the epoch travels with each row."""

    model_name: str
    version_name: str


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """What a ``model_name`` is bound to at first use; a later difference is an ArchitectureMismatchError.

    ``n_features`` and ``n_classes`` are None until the first rows were seen, or where the model shows none.
    ``architecture`` says in words what the hash stands for. ``settings`` are those of a tracer that data filters of its
    version share, each a text, number, bool or list of them: the newest tracer's count.
    """

    task: str
    architecture_hash: str
    n_features: int | None = None
    n_classes: int | None = None
    fields: tuple[Field, ...] = ()
    label_fields: tuple[Field, ...] | None = None  # None: the caller (a DataFilter) knows nothing of labels
    architecture: str | None = None
    settings: Mapping[str, Any] | None = None  # None: the caller is no tracer


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """Whole inputs to store: tables by kind. Idempotent by ``batch_id``. No tables: only registers the model.

    ``recreate`` removes the rows of this model and version before anything is written. With ``completes``, recordings
    may be there in part, from an append of another batch id that was cut short: of each kind only those are stored that
    it does not have yet.
    """

    batch_id: str
    run: RunKey
    schema: ModelSchema
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    recreate: bool = False
    completes: bool = False


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """Rows of one kind, newest recording of each input only.

    ``n_epoch`` is resolved: an int or None is that epoch, ``"all"`` is every epoch. ``weights_hash`` and ``pass_id``
    narrow to rows with that value when given. For ``kind="scores"``, ``result_name`` is required and missing scores are
    filled in first; with ``pool_adaptive`` the rows also have ``error_proba_pool``, made from all rows of the request.
    With ``every_recording``, older recordings of an input are read too.
    """

    run: RunKey
    kind: str
    columns: tuple[str, ...] | None = None
    dataset_types: tuple[str, ...] | None = None
    n_epoch: Epoch = "all"
    weights_hash: str | None = None
    pass_id: str | None = None
    result_name: str | None = None
    recording_ids: pa.Array | None = None
    pool_adaptive: bool = False
    every_recording: bool = False


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """One evaluation of a run's labelled rows."""

    run: RunKey
    method_name: str = "default"
    result_name: str | None = None
    n_epoch: Epoch = "latest"
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ResultPayload:
    """Everything a Result shows. ``info`` is JSON: names, times, options, epoch, weights hash, limits, notes.

    ``truths`` is what was annotated, to be drawn; without columns where the task draws nothing.
    """

    info: Mapping[str, Any]
    metrics: Mapping[str, Any]
    samples: pa.Table
    zones: pa.Table
    error_codes: pa.Table
    missed: pa.Table
    truths: pa.Table = field(default_factory=lambda: pa.table({}))


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A selection from scored rows; ``strategy`` and ``sampling`` are plain JSON, validated by the service.

    ``weights_hash`` and ``pass_id`` narrow to rows with that value when given: a data filter's scopes "run" and "pass".
    With ``pool_adaptive``, conditions can name ``error_proba_pool``; with ``include_empty``, inputs without a unit that
    counts come last. With ``box_budget``, the inputs selected have at most so many units together, each counted as at
    least one.
    """

    run: RunKey
    result_name: str
    n_data: int
    strategy: str | Mapping[str, Any]
    sampling: Mapping[str, Any] | None = None
    dataset_type: str = "pool"
    n_epoch: Epoch = "all"
    weights_hash: str | None = None
    pass_id: str | None = None
    exclude: tuple[str, ...] = ()
    seed: int = 0
    pool_adaptive: bool = False
    include_empty: bool = False
    box_budget: int | None = None


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """Selected inputs, best first: ids as stored with kinds, rank values, why there are fewer than asked for."""

    input_ids: tuple[str, ...]
    id_kinds: tuple[str, ...]
    rank_values: tuple[float, ...]
    shortfall: str | None = None  # set when a sort or sampling strategy returned fewer than n_data
    notes: tuple[str, ...] = ()


class Service(Protocol):
    """Seven calls; every other behaviour is built on them."""

    def append(self, request: AppendRequest) -> None:
        """Store whole inputs, atomically per batch id; registers the model on first use."""

    def scan(self, request: ScanRequest) -> Iterator[pa.RecordBatch]:
        """Stream rows of one kind, newest recordings only."""

    def evaluate(self, request: EvaluationRequest, progress: Progress | None = None) -> ResultPayload:
        """Learn where a run errs; stores and returns the result."""

    def list_results(self, run: RunKey, result_name: str | None, method_name: str | None, n_epoch: Epoch) -> pa.Table:
        """Results of a run, oldest first."""

    def get_result(
        self, result_name: str | None, run: RunKey | None = None, n_epoch: Epoch = "latest"
    ) -> ResultPayload:
        """A result by name, or the newest of a run (and epoch)."""

    def get_error_model(self, result_name: str) -> ErrorModel:
        """The error model of a result."""

    def query(self, request: QueryRequest) -> QueryAnswer:
        """Select inputs."""
