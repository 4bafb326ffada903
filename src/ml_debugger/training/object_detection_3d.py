"""The tracer of 3D object detection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ml_debugger import columns
from ml_debugger.adapters import find_adapter
from ml_debugger.adapters.detection.settings import point_range
from ml_debugger.connect import connect
from ml_debugger.errors import InputError
from ml_debugger.ids import parse_ids, restore_ids
from ml_debugger.recording.recorder import Call, check_epoch
from ml_debugger.tasks import TASKS
from ml_debugger.tasks.boxes_3d_in import check_provider, provided_truths
from ml_debugger.training.base import Fields, Tracer, run_key

__all__ = ["ObjectDetection3DTracer"]

TASK = TASKS["object_detection_3d"]


class ObjectDetection3DTracer(Tracer):
    """Runs a detector on annotated point clouds and records every predicted box: features, candidates, points, truths.

    Any ``torch.nn.Module`` or plain callable that returns boxes will do; see the guide "Detectors in 3D". A box is
    ``x y z dx dy dz yaw``: its centre and its sizes along its own axes in metres, z up, and its yaw in radians,
    counter-clockwise about z from +x; what OpenPCDet and mmdetection3d return is converted.

    Args:
        model: The detector: OpenPCDet's or mmdetection3d's, any torch module or any callable that returns, per frame, a
            dict of ``boxes (U, 7)``, ``labels (U,)`` and ``scores (U,)``, or one of the dicts of those two.
        model_name: Name of the model; belongs to one architecture from its first use on.
        version_name: Name of this training of it.
        target_layers: Alias to path of a layer that gives maps seen from above, e.g. ``{"features": "backbone_2d"}``;
            features of boxes are read from it. Default: what the detector returns beside its boxes.
        additional_fields: Further columns of the records, a list of ``{"name": ..., "type":
            "int"|"float"|"str"|"bool"}``; filled from keyword arguments of the call.
        additional_label_fields: The same for the annotated boxes.
        auto_sync: Write in the background every few seconds, not only when a buffer is full.
        force_table_recreate: Remove what was recorded for this model and version before.
        api_endpoint: Endpoint of a server; default ``MLD_API_ENDPOINT``, empty = embedded.
        api_key: Key for the server; default ``MLD_API_KEY``.
        n_class: Number of classes; default: the model's own.
        score_thresh: Least score of a box; default: the model's own.
        iou_thresh: Overlap seen from above from which the worse of two boxes of one class is dropped; default: the
            model's own.
        max_detections_per_frame: Most boxes of a frame; default: the model's own. The model is asked for these three
            where it can be set, for the length of a call; of the output of other models they choose what is recorded.
        pc_range: ``(6,)`` where the scene begins and ends, x y z x y z in metres, as in the model's configuration;
            default: the model's own where it shows one. A box near the border may be cut off.
        ground_truth_provider: Id as given in ``input_ids`` -> the annotations of this frame, or None where there are
            none; used by calls without ``ground_truth``.

    Raises:
        InputError: If a name, layer, field, threshold or range cannot be right.
        ArchitectureMismatchError: If ``model_name`` belongs to another architecture.

    Examples:
        >>> import numpy as np
        >>> def detect(frames):
        ...     box = np.array([[8.0, 2.0, -0.8, 4.0, 1.8, 1.5, 0.1]])
        ...     return [{"boxes": box, "labels": np.array([0]), "scores": np.array([0.8])} for _ in frames]
        >>> annotated = {"a": {"boxes": [[8.1, 2, -0.8, 4.1, 1.8, 1.5, 0.1]], "labels": [0]}}
        >>> tracer = ObjectDetection3DTracer(detect, "fixed_box_3d", "v1", ground_truth_provider=annotated.get)
        >>> points = np.random.default_rng(0).uniform(-20, 20, (2, 1000, 4))
        >>> len(tracer(points, input_ids=["a", "not annotated"]))
        2
        >>> tracer.wait_for_save()
    """

    def __init__(  # noqa: PLR0913 - the documented signature
        self,
        model: Any,
        model_name: str,
        version_name: str,
        target_layers: Mapping[str, str] | None = None,
        additional_fields: Iterable[Mapping[str, Any]] | None = None,
        additional_label_fields: Iterable[Mapping[str, Any]] | None = None,
        auto_sync: bool = False,
        force_table_recreate: bool = False,
        api_endpoint: str | None = None,
        api_key: str | None = None,
        n_class: int | None = None,
        score_thresh: float | None = None,
        iou_thresh: float | None = None,
        max_detections_per_frame: int | None = None,
        pc_range: Sequence[float] | None = None,
        ground_truth_provider: Callable[[Any], Any] | None = None,
    ) -> None:
        run = run_key(model_name, version_name)
        fields = Fields.parse(
            TASK,
            additional_fields,
            additional_label_fields,
            force_table_recreate,
            pc_range=None if pc_range is None else list(point_range(pc_range)),
        )
        adapter = find_adapter(
            model,
            target_layers,
            TASK.name,
            n_class=n_class,
            score_thresh=score_thresh,
            iou_thresh=iou_thresh,
            max_detections_per_frame=max_detections_per_frame,
            pc_range=pc_range,
        )
        if ground_truth_provider is not None:
            check_provider(ground_truth_provider)
        self._provider = ground_truth_provider
        connection = connect(api_endpoint, api_key)
        self._open(TASK, adapter, run, connection, fields, auto_sync=auto_sync)

    def __call__(
        self,
        model_input: Any,
        ground_truth: Any = None,
        input_ids: Any = None,
        dataset_type: str = columns.TRAIN,
        n_epoch: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the model on one batch of frames and record it.

        Args:
            model_input: What the model takes: points, a list of them, or a dict (``points``, ``img``, ...) of a batch
                or of one frame; goes through untouched. B is the number of ids.
            ground_truth: B entries: dicts of ``boxes (G, 7)`` and ``labels (G,)``, or annotations as OpenPCDet or
                mmdetection3d have them; None where a frame is not annotated, no boxes where it is and holds no object.
                None as a whole: the ``ground_truth_provider`` is asked.
            input_ids: B ids, str or int, as list, array or tensor.
            dataset_type: ``"train"``, ``"val"``, ``"test"`` or any tag of your own.
            n_epoch: Number of the training epoch, or None.
            **kwargs: Values of the additional fields: B values, or one for all.

        Returns:
            The model's own output, untouched.

        Raises:
            InputError: If ids, boxes, annotations or values do not fit the batch.
            CaptureError: If boxes, labels or scores could not be read from the model.
            StoreError: If an earlier write failed; its rows are kept and tried again.
        """
        if ground_truth is None:
            ids = parse_ids(input_ids)
            input_ids = restore_ids(ids.text, ids.kinds)
            ground_truth = self._provided(input_ids)
        return self._trace(Call(model_input, input_ids, dataset_type, check_epoch(n_epoch), kwargs), ground_truth)

    def _provided(self, input_ids: list[Any]) -> list[Any]:
        if self._provider is None:
            raise InputError(
                "ground_truth: expected a list with one entry per frame, got None; give the annotations, or a "
                "ground_truth_provider to the tracer"
            )
        return provided_truths(self._provider, input_ids)
