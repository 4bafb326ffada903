"""The data filter of classification."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ml_debugger import columns
from ml_debugger.adapters import find_adapter
from ml_debugger.data_filter.base import DataFilter, Names
from ml_debugger.errors import NotFoundError
from ml_debugger.estimation.pool_accuracy import AccuracyEstimate, estimate_accuracy
from ml_debugger.selection import FilterConfig, SamplingConfig
from ml_debugger.service.pool import SUMMARY_COLUMNS, summarise_held_out, summarise_pool
from ml_debugger.tasks import TASKS
from ml_debugger.types import Epoch, Scope

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ClassificationDataFilter"]

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


class ClassificationDataFilter(DataFilter):
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
        self._prepare(
            TASKS["classification"],
            Names(model_name, version_name, result_name, n_epoch),
            filter_config,
            additional_fields,
        )
        adapter = find_adapter(model, target_layers, "classification")
        self._open(adapter, api_endpoint, api_key, auto_sync=auto_sync, recreate=force_table_recreate)

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
        return self._filter(model_input, input_ids, dataset_type, kwargs)

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
        more = {"seed": seed, "pool_adaptive": pool_adaptive}
        return self._query(n_data, strategy, dataset_type, type_cast, exclude, sampling, scope, **more)

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
        return self._scores(_SCORE_COLUMNS, dataset_type, scope, pool_adaptive=pool_adaptive)

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
