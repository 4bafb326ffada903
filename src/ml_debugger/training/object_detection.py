"""The tracer of 2D object detection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ml_debugger import columns
from ml_debugger.adapters import find_adapter
from ml_debugger.connect import connect
from ml_debugger.recording.recorder import Call, check_epoch
from ml_debugger.tasks import TASKS
from ml_debugger.training.base import Fields, Tracer, run_key

__all__ = ["ObjectDetectionTracer"]

TASK = TASKS["object_detection"]


class ObjectDetectionTracer(Tracer):
    """Runs a detector on annotated images and records every predicted box: features, logits, candidates and truths.

    Any ``torch.nn.Module`` or plain callable that returns boxes will do; see the guide "Detectors".

    Args:
        model: The detector: one of torchvision's, transformers' or ultralytics', any torch module or any callable that
            returns one dict of ``boxes (U, 4)``, ``labels (U,)`` and ``scores (U,)`` per image.
        model_name: Name of the model; belongs to one architecture from its first use on.
        version_name: Name of this training of it.
        target_layers: Alias to path of a layer that gives feature maps, e.g. ``{"features": "backbone.layer3"}``;
            features of boxes are pooled from it. Default: what the detector's head shows.
        additional_fields: Further columns of the records, a list of ``{"name": ..., "type":
            "int"|"float"|"str"|"bool"}``; filled from keyword arguments of the call.
        additional_label_fields: The same for the annotated boxes.
        auto_sync: Write in the background every few seconds, not only when a buffer is full.
        force_table_recreate: Remove what was recorded for this model and version before.
        api_endpoint: Endpoint of a server; default ``MLD_API_ENDPOINT``, empty = embedded.
        api_key: Key for the server; default ``MLD_API_KEY``.
        n_class: Number of classes; default: the model's own.
        score_thresh: Least score of a box; default: the model's own.
        iou_thresh: Overlap from which the worse of two boxes of one class is dropped; default: the model's own.
        max_detections_per_image: Most boxes of an image; default: the model's own. The model is asked for these three
            where it can be set, for the length of a call; of the output of other models they choose what is recorded.

    Raises:
        InputError: If a name, layer, field or threshold cannot be right.
        ArchitectureMismatchError: If ``model_name`` belongs to another architecture.

    Examples:
        >>> import numpy as np
        >>> def detect(images):
        ...     box = np.array([[2.0, 2.0, 9.0, 7.0]])
        ...     return [{"boxes": box, "labels": np.array([1]), "scores": np.array([0.8])} for _ in images]
        >>> tracer = ObjectDetectionTracer(detect, "fixed_box", "v1")
        >>> images = np.zeros((2, 10, 10, 3))
        >>> annotated = {"boxes": [[2, 2, 8, 8]], "labels": [1]}
        >>> len(tracer(images, [annotated, {"boxes": [], "labels": []}], input_ids=["a", "b"]))
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
        max_detections_per_image: int | None = None,
    ) -> None:
        run = run_key(model_name, version_name)
        fields = Fields.parse(TASK, additional_fields, additional_label_fields, force_table_recreate)
        adapter = find_adapter(
            model,
            target_layers,
            TASK.name,
            n_class=n_class,
            score_thresh=score_thresh,
            iou_thresh=iou_thresh,
            max_detections_per_image=max_detections_per_image,
        )
        connection = connect(api_endpoint, api_key)
        self._open(TASK, adapter, run, connection, fields, auto_sync=auto_sync)

    def __call__(
        self,
        model_input: Any,
        ground_truth: Any,
        input_ids: Any,
        dataset_type: str = columns.TRAIN,
        n_epoch: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the model on one batch of images and record it.

        Args:
            model_input: What the model takes; goes through untouched. B is the number of ids.
            ground_truth: B entries: dicts of ``boxes (G, 4)`` (x1 y1 x2 y2 in pixels) and ``labels (G,)``, lists of
                COCO annotations, or supervision ``Detections``; None where an image is not annotated, no boxes where it
                is and holds no object.
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
        return self._trace(Call(model_input, input_ids, dataset_type, check_epoch(n_epoch), kwargs), ground_truth)
