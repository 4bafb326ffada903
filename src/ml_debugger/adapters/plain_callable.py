"""Any callable: scikit-learn, ONNX Runtime, JAX or a function of one's own, taken bare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.arrays import describe_shape, to_float32
from ml_debugger.adapters.classification import LogitReader, classification_output
from ml_debugger.adapters.fingerprint import callable_architecture
from ml_debugger.adapters.inputs import call_rule
from ml_debugger.adapters.outputs import find_features, find_logits
from ml_debugger.errors import InputError
from ml_debugger.types import ModelOutput

__all__ = ["CallableClassifier"]

TASK: Final = "classification"


class CallableClassifier:
    """A function from inputs to logits or probabilities ``(B, C)``.

    It returns them alone, as ``(logits, features)`` or in a dict with those. Arrays of any framework and nested lists
    are read. Features ``(B, D, H, W)`` are averaged over positions, ``(B, T, D)`` over tokens. A scikit-learn
    classifier may be given itself: its ``predict_proba``, else its ``decision_function``, is called.

    Raises:
        InputError: If the model cannot be called, or ``target_layers`` were given.
    """

    name = "callable"

    def __init__(self, model: Any, target_layers: Mapping[str, str] | None = None) -> None:
        if target_layers is not None:
            raise InputError(
                f"target_layers: a {type(model).__name__} has no layers to name; return (logits, features) from the "
                "callable instead, or pass a torch module"
            )
        self._function = _function_of(model)
        self._model_name = getattr(model, "__qualname__", type(model).__name__)
        self._rule = call_rule(self._function)
        self._reader = LogitReader()
        self._fields: dict[str, int | None] | None = None

    @property
    def architecture_hash(self) -> str | None:
        """Hash of task, output fields and widths; None before the first call."""
        return None if self._fields is None else callable_architecture(TASK, self._fields)

    def weights_hash(self) -> str | None:
        """None: a callable shows no weights."""
        return None

    def run(self, model_input: Any, n_inputs: int) -> tuple[Any, ModelOutput]:
        """Call the function; see `Adapter.run`."""
        output = self._rule.call(self._function, model_input)
        rows = find_logits(output, n_inputs)
        found = find_features(output, rows, n_inputs)
        features = None if found is None else _pooled(found, n_inputs)
        logits = self._reader.read(rows)
        if n_inputs or self._fields is None:
            self._fields = {"logits": logits.shape[1], "features": None if features is None else features.shape[1]}
        return output, classification_output(logits, features)

    def describe(self) -> dict[str, Any]:
        """Adapter, name of the callable, widths and how the output is read; None where not known yet."""
        fields = self._fields or {}
        return {
            "adapter": self.name,
            "model": self._model_name,
            "architecture": self._architecture(),
            "n_features": fields.get("features"),
            "n_classes": fields.get("logits"),
            "output": self._reader.kind,
        }

    def _architecture(self) -> str | None:
        if self._fields is None:
            return None
        n_features = self._fields["features"]
        return f"callable ({self._fields['logits']} classes, {n_features or 'no'} features)"


def _function_of(model: Any) -> Callable[..., Any]:
    """What to call; an error with the cure for objects that cannot be called."""
    for method in ("predict_proba", "decision_function"):
        try:
            function = getattr(model, method)
        except AttributeError:  # scikit-learn hides predict_proba where the settings do not allow it
            continue
        chosen: Callable[..., Any] = function
        return chosen
    if callable(model):
        own: Callable[..., Any] = model
        return own
    cures = (
        (
            "get_inputs",
            "for an ONNX Runtime session pass lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]",
        ),
        ("predict", "it has no predict_proba or decision_function: pass a callable that returns scores per class"),
        ("module", "for an exported program pass program.module()"),
    )
    what = next((cure for name, cure in cures if hasattr(model, name)), "pass any function of the inputs")
    raise InputError(
        f"model: expected a torch module or a callable that returns logits, got {type(model).__name__}; {what}"
    )


def _pooled(value: Any, n_inputs: int) -> NDArray[np.float32]:
    """Features (B, D)."""
    features = to_float32(value)
    if features.ndim < 2 or len(features) != n_inputs:
        raise InputError(
            f"model output: expected features ({n_inputs}, D), one row per input, got {describe_shape(value)}"
        )
    if features.ndim == 3:
        features = features.mean(axis=1)
    elif features.ndim > 3:
        features = features.mean(axis=tuple(range(2, features.ndim)))
    return features
