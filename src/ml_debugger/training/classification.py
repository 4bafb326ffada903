"""The tracer of classification."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ml_debugger import columns
from ml_debugger.adapters import find_adapter
from ml_debugger.connect import connect
from ml_debugger.recording.recorder import Call, check_epoch
from ml_debugger.tasks import TASKS
from ml_debugger.training.base import Fields, Tracer, run_key

__all__ = ["ClassificationTracer"]

TASK = TASKS["classification"]


class ClassificationTracer(Tracer):
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
        run = run_key(model_name, version_name)
        fields = Fields.parse(TASK, additional_fields, additional_label_fields, force_table_recreate)
        adapter = find_adapter(model, target_layers, TASK.name)
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
