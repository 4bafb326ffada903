"""Tracers: run a model next to its labels and record both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ml_debugger import columns
from ml_debugger.adapters import Adapter, find_adapter
from ml_debugger.connect import Connection, connect
from ml_debugger.recording.fields import parse_fields
from ml_debugger.recording.recorder import Call, Recorder, check_epoch, check_name, open_writer
from ml_debugger.service.contract import RunKey
from ml_debugger.tasks import TASKS
from ml_debugger.tasks.task import Task
from ml_debugger.types import Field

__all__ = ["ClassificationTracer", "ObjectDetectionTracer"]


class _Tracer:
    """What tracers of every task do: record a batch with its truths, and see that it is stored."""

    _recorder: Recorder

    def _open(
        self, task: Task, adapter: Adapter, run: RunKey, connection: Connection, fields: _Fields, *, auto_sync: bool
    ) -> None:
        append = connection.service.append
        self._recorder = Recorder(
            task,
            adapter,
            run,
            open_writer(append, run, auto_sync=auto_sync, spool=connection.spool),
            append=append,
            fields=fields.records,
            label_fields=fields.truths,
        )
        connection.register(run, self._recorder.writer.flush)
        self._recorder.register(recreate=fields.recreate)

    def _trace(self, call: Call, ground_truth: Any) -> Any:
        recorded = self._recorder.record(call)
        truths = self._recorder.truths(ground_truth, recorded, call.values)
        self._recorder.put(recorded, **{columns.TRUTHS: truths})
        return recorded.raw

    def wait_for_save(self) -> None:
        """Return when every batch traced so far is stored; nothing of it can be lost any more.

        Raises:
            StoreError: If the rows cannot be written; they are kept, call again when the cause is gone.
        """
        self._recorder.flush()

    def describe(self) -> dict[str, Any]:
        """What was found in the model: adapter, feature layer, widths, hashes."""
        return self._recorder.adapter.describe()


class ClassificationTracer(_Tracer):
    """Runs a classifier on labelled batches and records predictions, internal features and labels.

    Any ``torch.nn.Module`` or plain callable that returns class logits will do; see the guide "Trace". Rows are
    written in the background; ``wait_for_save()`` returns when all are stored.

    Args:
        model: The classifier: a torch module, or any callable returning logits ``(B, C)`` or ``(logits, features)``.
        model_name: Name of the model; belongs to one architecture from its first use on.
        version_name: Name of this training of it.
        target_layers: Alias to module path, e.g. ``{"features": "avgpool"}``. Default: the input of the classifier
            head.
        additional_fields: Further columns of the records, a list of ``{"name": ..., "type":
            "int"|"float"|"str"|"bool"}``; filled from keyword arguments of the call.
        additional_label_fields: The same for the labels.
        auto_sync: Write in the background every few seconds, not only when a buffer is full.
        force_table_recreate: Remove what was recorded for this model and version before.
        api_endpoint: Endpoint of a server; default ``MLD_API_ENDPOINT``, empty = embedded.
        api_key: Key for the server; default ``MLD_API_KEY``.

    Raises:
        InputError: If a name, layer or field cannot be right.
        ArchitectureMismatchError: If ``model_name`` belongs to another architecture.

    Examples:
        >>> import numpy as np
        >>> weights = np.eye(3, dtype=np.float32)
        >>> tracer = ClassificationTracer(lambda x: x @ weights, "identity", "v1")
        >>> x = np.eye(3, dtype=np.float32)
        >>> tracer(x, [0, 1, 2], input_ids=["a", "b", "c"]).shape
        (3, 3)
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
    ) -> None:
        run = _run_key(model_name, version_name)
        fields = _Fields.parse(additional_fields, additional_label_fields, force_table_recreate)
        adapter = find_adapter(model, target_layers, "classification")
        connection = connect(api_endpoint, api_key)
        self._open(TASKS["classification"], adapter, run, connection, fields, auto_sync=auto_sync)

    def __call__(
        self,
        model_input: Any,
        ground_truth: Any,
        input_ids: Any,
        dataset_type: str = columns.TRAIN,
        n_epoch: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the model on one batch and record it.

        Args:
            model_input: What the model takes; goes through untouched.
            ground_truth: ``(B,)`` class ids as list, array or tensor; None or -1 where an input has no label.
            input_ids: B ids, str or int, as list, array or tensor.
            dataset_type: ``"train"``, ``"val"``, ``"test"`` or any tag of your own.
            n_epoch: Number of the training epoch, or None.
            **kwargs: Values of the additional fields: B values, or one for all.

        Returns:
            The model's own output, untouched.

        Raises:
            InputError: If ids, labels or values do not fit the batch.
            CaptureError: If logits or features could not be read from the model.
            StoreError: If an earlier write failed; its rows are kept and tried again.
        """
        return self._trace(Call(model_input, input_ids, dataset_type, check_epoch(n_epoch), kwargs), ground_truth)


class ObjectDetectionTracer(_Tracer):
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
        run = _run_key(model_name, version_name)
        fields = _Fields.parse(additional_fields, additional_label_fields, force_table_recreate)
        adapter = find_adapter(
            model,
            target_layers,
            "object_detection",
            n_class=n_class,
            score_thresh=score_thresh,
            iou_thresh=iou_thresh,
            max_detections_per_image=max_detections_per_image,
        )
        connection = connect(api_endpoint, api_key)
        self._open(TASKS["object_detection"], adapter, run, connection, fields, auto_sync=auto_sync)

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


@dataclass(frozen=True, slots=True)
class _Fields:
    """Additional columns, and whether what was recorded before is removed."""

    records: tuple[Field, ...]
    truths: tuple[Field, ...]
    recreate: bool

    @classmethod
    def parse(
        cls, records: Iterable[Mapping[str, Any]] | None, truths: Iterable[Mapping[str, Any]] | None, recreate: bool
    ) -> _Fields:
        return cls(
            parse_fields(records, "additional_fields"), parse_fields(truths, "additional_label_fields"), recreate
        )


def _run_key(model_name: str, version_name: str) -> RunKey:
    return RunKey(check_name("model_name", model_name), check_name("version_name", version_name))
