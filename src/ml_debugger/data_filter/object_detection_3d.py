"""The data filter of 3D object detection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_debugger import columns
from ml_debugger.adapters import find_adapter
from ml_debugger.data_filter.base import DataFilter, Names
from ml_debugger.selection import BBoxStrategy, SamplingConfig
from ml_debugger.tasks import TASKS
from ml_debugger.types import Epoch, Scope

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ObjectDetection3DDataFilter"]

TASK = TASKS["object_detection_3d"]


class ObjectDetection3DDataFilter(DataFilter):
    """Runs a detector on unlabelled point clouds, gives each box error probabilities and a zone, and selects frames.

    Needs the result of an evaluation of the same model and version. No labels are needed. Calling it runs the model,
    records and scores the batch, and returns ``(model_output, filter_flags)``; ``query`` selects from everything
    recorded. A strategy makes one value of the boxes of a frame; see ``BBoxStrategy``.

    Args:
        model: The detector, as given to the tracer.
        model_name: Name used with the tracer.
        version_name: Name used with the tracer.
        result_name: Result of an evaluation; default: the newest of this model and version (it is logged which).
        n_epoch: Without ``result_name``, the newest result of this epoch; ``"latest"`` = the newest result.
        filter_config: How boxes make the value of a frame, and from which value on it is flagged, e.g.
            ``{"top_n": 3, "img_error_threshold": 0.5}``; without ``img_error_threshold`` every flag is None. It never
            narrows ``query``.
        target_layers: As for the tracer.
        additional_fields: Further columns, as for the tracer; numeric ones can be named in conditions and as weights.
        auto_sync: Write in the background every few seconds, not only when a buffer is full.
        force_table_recreate: Remove what was recorded for this model and version before.
        api_endpoint: Endpoint of a server; default ``MLD_API_ENDPOINT``, empty = embedded.
        api_key: Key for the server; default ``MLD_API_KEY``.
        n_class: As for the tracer.
        score_thresh: As for the tracer; boxes below it are not seen, so use the value that was traced.
        iou_thresh: As for the tracer.
        max_detections_per_frame: As for the tracer.
        pc_range: As for the tracer; default: what the tracer was given.

    Raises:
        NotFoundError: If there is no such result, or none yet for this model and version.
        ConfigError: If ``filter_config`` is not valid; the message lists what is.
        InputError: If a name, epoch, layer, field, threshold or range cannot be right.
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
        filter_config: BBoxStrategy | Mapping[str, Any] | None = None,
        target_layers: Mapping[str, str] | None = None,
        additional_fields: Iterable[Mapping[str, Any]] | None = None,
        auto_sync: bool = False,
        force_table_recreate: bool = False,
        api_endpoint: str | None = None,
        api_key: str | None = None,
        n_class: int | None = None,
        score_thresh: float | None = None,
        iou_thresh: float | None = None,
        max_detections_per_frame: int | None = None,
        *,
        pc_range: Sequence[float] | None = None,
    ) -> None:
        self._prepare(
            TASK,
            Names(model_name, version_name, result_name, n_epoch),
            filter_config,
            additional_fields,
        )
        self._connect(api_endpoint, api_key)
        adapter = find_adapter(
            model,
            target_layers,
            TASK.name,
            n_class=n_class,
            score_thresh=score_thresh,
            iou_thresh=iou_thresh,
            max_detections_per_frame=max_detections_per_frame,
            pc_range=self._traced("pc_range") if pc_range is None else pc_range,
        )
        self._register(adapter, auto_sync=auto_sync, recreate=force_table_recreate)

    def __call__(
        self, model_input: Any, input_ids: Any, dataset_type: str = columns.POOL, **kwargs: Any
    ) -> tuple[Any, list[bool | None]]:
        """Run the model on one batch of frames, record and score its boxes.

        Args:
            model_input: What the model takes, as for the tracer; goes through untouched. B is the number of ids.
            input_ids: B ids, str or int, as list, array or tensor.
            dataset_type: Tag under which the batch is stored and later queried.
            **kwargs: Values of the additional fields: B values, or one for all.

        Returns:
            The model's own output, untouched, and B flags: True where the value of the frame reaches
            ``img_error_threshold``, False where it does not or no box counts, None everywhere without a threshold.

        Raises:
            InputError: If ids, boxes or values do not fit the batch.
            CaptureError: If boxes could not be read from the model.
            StoreError: If an earlier write failed; its rows are kept and tried again.
        """
        return self._filter(model_input, input_ids, dataset_type, kwargs)

    def query(  # noqa: PLR0913 - the documented signature
        self,
        n_data: int,
        strategy: str | BBoxStrategy | Mapping[str, Any],
        dataset_type: str = columns.POOL,
        type_cast: Callable[[str], Any] | None = None,
        exclude: Any = (),
        *,
        sampling: SamplingConfig | Mapping[str, Any] | None = None,
        scope: Scope | None = None,
        seed: int = 0,
        include_empty: bool = False,
        box_budget: int | None = None,
    ) -> list[Any]:
        """Select up to ``n_data`` recorded frames, best first.

        Args:
            n_data: How many.
            strategy: A ``BBoxStrategy`` or a dict of its fields, or a name: ``"high_error_proba"`` and
                ``"low_error_proba"`` rank by the mean error probability of the boxes; further ``"diverse_error"``,
                ``"coverage"``, ``"badge"``, ``"zone_balanced"``, ``"random"``.
            dataset_type: Tag to select from.
            type_cast: Applied to each id on the way out. Default: ids come back as they were given.
            exclude: Ids not to return.
            sampling: Draw at random, or per class, among the frames whose value lies within bounds.
            scope: As for classification: ``"run"``, ``"pass"``, or None for ``"run"`` where weights can be known.
            seed: For strategies with a random part.
            include_empty: Also frames in which no box counts, after all others: those first that most likely hold a
                missed object (see ``missed_proba``), where the result learned that, else by id. By default they are
                left out: no box ranks them. Objects that were missed are just there.
            box_budget: Labelling costs by the box rather than by the frame: of the frames selected, up to ``n_data``,
                at most so many boxes are predicted, each frame counted as at least one. Sorts and ``"random"`` stop
                where the next frame would go beyond it; the other strategies are asked for as many frames as fit.
                The mean error probability, by which most strategies rank, is the share of boxes that are errors: what
                labelling one box finds. It is logged how much of the budget was used.

        Returns:
            Distinct ids; the same call gives the same list.

        Raises:
            ConfigError: If the strategy is not valid; the message lists what is.

        Warns:
            ShortResultWarning: If fewer than ``n_data`` were found and ``box_budget`` was not the reason; it says why,
                and how many frames have no boxes.
        """
        more = {"seed": seed, "include_empty": include_empty, "box_budget": box_budget}
        return self._query(n_data, strategy, dataset_type, type_cast, exclude, sampling, scope, **more)

    def missed_proba(self, dataset_type: str = columns.POOL, *, scope: Scope | None = None) -> pd.DataFrame:
        """How likely each frame holds an object that no predicted box covers: what boxes themselves cannot tell.

        Made from the candidates below the score threshold where the model shows them, and from the number and scores
        of the boxes.

        Args:
            dataset_type: Tag to read.
            scope: As for ``query``.

        Returns:
            One row per frame: ``input_id`` (as given), ``dataset_type``, ``n_epoch``, ``n_units`` (boxes) and
            ``missed_proba``, NaN where the result did not learn it.
        """
        return self._missed_proba(dataset_type, scope)

    def scores(self, dataset_type: str = columns.POOL, *, scope: Scope | None = None) -> pd.DataFrame:
        """Every scored box of a dataset_type.

        Args:
            dataset_type: Tag to read.
            scope: As for ``query``.

        Returns:
            One row per predicted box: ``input_id`` (as given), ``unit`` (its position in the model's output),
            ``dataset_type``, ``n_epoch``, ``label``, ``score``, ``error_proba``, ``det_error_proba`` (wrong place),
            ``cls_error_proba`` (wrong class, if the place is right), ``zone``, ``support``, ``pred_size`` (m^3),
            ``x y z dx dy dz yaw`` and additional fields.
        """
        return self._box_scores(dataset_type, scope)
