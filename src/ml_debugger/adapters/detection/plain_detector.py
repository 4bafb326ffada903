"""Any callable that returns boxes: a function of one's own, an ONNX Runtime session, a post-processed transformer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ml_debugger.adapters.detection.kinds import FRAMES, IMAGES, DetectorKind
from ml_debugger.adapters.detection.output import OutputBuilder
from ml_debugger.adapters.detection.outputs import read_detections
from ml_debugger.adapters.fingerprint import callable_architecture
from ml_debugger.adapters.inputs import call_rule
from ml_debugger.errors import InputError
from ml_debugger.types import ModelOutput

__all__ = ["CallableDetector", "CallableFrameDetector"]


class CallableDetector:
    """A function from images, or frames of a point cloud, to boxes, in any of the forms that `read_detections` reads.

    Its own thresholds cannot be seen. Those given here choose which of the returned boxes are recorded; what it returns
    goes to the user untouched, and ``unit`` stays the position in it.

    Args:
        model: The function.
        target_layers: None.
        **settings: Fields of the kind's settings, `DetectionSettings` in images.

    Raises:
        InputError: If the model cannot be called, or ``target_layers`` were given.
    """

    name = "detector_callable"
    kind: ClassVar[DetectorKind] = IMAGES

    def __init__(self, model: Any, target_layers: Mapping[str, str] | None = None, **settings: Any) -> None:
        if target_layers is not None:
            raise InputError(
                f"target_layers: a {type(model).__name__} has no layers to name; return features (U, D) beside the "
                "boxes instead, or pass a torch module"
            )
        if not callable(model):
            raise InputError(
                f"model: expected a torch module or a callable that returns boxes, got {type(model).__name__}; pass a "
                f"function of the {self.kind.inputs}"
            )
        self._model = model
        self._model_name = getattr(model, "__qualname__", type(model).__name__)
        self._rule = call_rule(model)
        self._called = False
        self._builder = _builder(self.kind, settings)

    @property
    def architecture_hash(self) -> str | None:
        """Hash of the task; None before the first call. Widths, which may show later, are compared by themselves."""
        return callable_architecture(self.kind.task, {}) if self._called else None

    def weights_hash(self) -> str | None:
        """None: a callable shows no weights."""
        return None

    def run(self, model_input: Any, n_inputs: int) -> tuple[Any, ModelOutput]:
        """Call the function; see `Adapter.run`."""
        known = self.kind.look(model_input, n_inputs)
        output = self._rule.call(self._model, model_input)
        self._called = True
        images = read_detections(output, n_inputs, self.kind.form)
        return output, self._builder.build(images, known)

    def describe(self) -> dict[str, Any]:
        """Adapter, name of the callable and what was found in its output; None where not known yet."""
        return {
            "adapter": self.name,
            "model": self._model_name,
            "architecture": None,
            **self._builder.describe(),
        }


class CallableFrameDetector(CallableDetector):
    """The same from frames of a point cloud to 3D boxes.

    The points inside the boxes are read from the function's input where that shows them, see `frame_points`.
    """

    name = "detector_3d_callable"
    kind = FRAMES


def _builder(kind: DetectorKind, settings: dict[str, Any]) -> OutputBuilder:
    chosen = kind.settings(**settings)
    pc_range = getattr(chosen, "pc_range", None)
    return OutputBuilder(chosen.n_class, thinning=chosen.thinning(), kind=kind, pc_range=pc_range)
