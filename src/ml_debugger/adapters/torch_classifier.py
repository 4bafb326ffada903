"""Any torch classifier: finds its feature layer on the first call and reads logits and features on every call."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.arrays import to_float32
from ml_debugger.adapters.capture import LayerCapture, Probe, hooked, pool
from ml_debugger.adapters.classification import Kind, LogitReader, classification_output
from ml_debugger.adapters.compiled import compiled_entry, eager, runs_compiled, warn_uncompiled
from ml_debugger.adapters.fingerprint import WeightsHash, module_architecture, module_summary, unwrap
from ml_debugger.adapters.head import Head, find_head, head_candidates, takes_channels_first
from ml_debugger.adapters.inputs import call_rule
from ml_debugger.adapters.layers import LOGITS_ALIAS, clean_path, named_layers, resolve_layers
from ml_debugger.adapters.outputs import find_logits
from ml_debugger.errors import CaptureError, MLDebuggerWarning, warn
from ml_debugger.types import ModelOutput

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TorchClassifier"]

TASK: Final = "classification"


class TorchClassifier:
    """A torch module that classifies.

    Features are the input of the classifier head, found on the first call: the last layer whose output is the logits
    returned. Feature maps ``(B, D, H, W)`` are averaged over positions, token sequences as `capture.pool` says.

    Args:
        model: Any ``nn.Module``; wrapped (DataParallel, DistributedDataParallel), compiled, scripted or exported too.
        target_layers: Alias to module path. The alias ``"logits"`` names the layer whose output is read as logits
            instead of the
            model's; the outputs of all others (``{"features": "avgpool"}``), side by side, are the features.

    Raises:
        InputError: If a path names no module.
    """

    name = "torch_classifier"

    def __init__(self, model: nn.Module, target_layers: Mapping[str, str] | None = None) -> None:
        self._model = model
        self._inner = unwrap(model)
        self._rule = call_rule(self._inner.forward)
        self._layers = named_layers(self._inner)
        self._entry = compiled_entry(model)
        self._reader = LogitReader()
        self._weights = WeightsHash(model)
        self._lock = threading.Lock()
        self._architecture: str | None = None
        self._summary: str | None = None
        self._head: Head | None = None
        self._eager = False
        self._widths: tuple[int | None, int] | None = None
        self._logits: LayerCapture | None = None
        self._features: list[LayerCapture] | None = None  # None: not found yet; empty: the model shows none
        if target_layers is not None:
            self._take(resolve_layers(self._inner, target_layers))

    def _take(self, target_layers: Mapping[str, str]) -> None:
        """Use the user's layers."""
        captures = {alias: self._capture(path, "output") for alias, path in target_layers.items()}
        self._logits = captures.pop(LOGITS_ALIAS, None)
        self._features = list(captures.values()) or None
        self._settle()

    def _capture(self, path: str, side: Any) -> LayerCapture:
        return LayerCapture(path, side, takes_channels_first(self._layers[path]))

    def _settle(self) -> None:
        """Decide how to run, now that the layers to read are known."""
        paths = [capture.path for capture in self._captures()]
        self._eager = self._entry is None and runs_compiled(self._model, paths)
        if self._eager and paths:
            warn_uncompiled(paths[0])

    def _captures(self) -> list[LayerCapture]:
        return [*(self._features or ()), *([self._logits] if self._logits else ())]

    @property
    def architecture_hash(self) -> str | None:
        """Hash of the module tree, without wrappers; None while a lazy layer has no shape."""
        if self._architecture is None:
            self._architecture = module_architecture(self._model)
        return self._architecture

    def weights_hash(self) -> str | None:
        """Hash of samples of the parameters now; None for a model without parameters."""
        return self._weights()

    def run(self, model_input: Any, n_inputs: int) -> tuple[Any, ModelOutput]:
        """Run the model; see `Adapter.run`. Its mode, grad state and hooks are as before, also after an error."""
        with self._lock:
            try:
                if self._features is None:
                    return self._first_run(model_input, n_inputs)
                output = self._call(model_input, [(capture.path, capture) for capture in self._captures()])
                rows = self._rows(output, n_inputs)
                return output, self._read(rows, model_input, n_inputs)
            finally:
                for capture in self._captures():
                    capture.clear()

    def _call(self, model_input: Any, hooks: list[tuple[str, Any]], uncompiled: bool = False) -> Any:
        with hooked((self._layers[path], hook) for path, hook in hooks):
            if uncompiled or self._eager:
                with eager():
                    return self._rule.call(self._model, model_input)
            return self._rule.call(self._entry or self._model, model_input)

    def _rows(self, output: Any, n_inputs: int) -> Any:
        """The logits returned, or those of the layer that the user named; a tensor (B, C)."""
        if self._logits is None:
            return find_logits(output, n_inputs)
        if not self._logits.firings:
            raise CaptureError(_missed(self._logits.path))
        return find_logits(self._logits.firings[-1][0], n_inputs)

    def _first_run(self, model_input: Any, n_inputs: int) -> tuple[Any, ModelOutput]:
        """Run with every candidate hooked, find the head and read its input."""
        candidates = {clean_path(path): module for path, module in head_candidates(self._inner).items()}
        probe = Probe({path: takes_channels_first(module) for path, module in candidates.items()})
        hooks = [(path, probe.hook(path)) for path in candidates]
        if self._logits is not None:
            hooks.append((self._logits.path, self._logits))
        output = self._call(model_input, hooks, uncompiled=True)
        rows = self._rows(output, n_inputs)
        head = find_head(probe, candidates, rows)
        if head is None:
            return output, self._read_without_head(rows, bool(probe.runs))
        capture = self._capture(head.path, "input")
        capture.firings.extend(probe.firings_of(head.path))
        self._features, self._head = [capture], head
        read = self._read(rows, model_input, n_inputs)
        if n_inputs:
            self._settle()
        else:
            self._features = None  # nothing to compare in an empty batch: look again on the next one
        return output, read

    def _read_without_head(self, rows: Any, any_ran: bool) -> ModelOutput:
        """Logits only, for models whose layers cannot be hooked; an error for the others."""
        import torch

        opaque = isinstance(self._inner, torch.jit.ScriptModule | torch.fx.GraphModule) and not any_ran
        if not opaque and len(rows):
            squashed = bool(((rows >= 0) & (rows <= 1)).all())
            raise CaptureError(
                "no layer was found whose output is the logits, so the features are unknown; "
                f"{_SQUASHED if squashed else ''}pass target_layers={{'features': '<module path>'}} (top modules: "
                f"{[name for name in self._layers if '.' not in name]}), or lambda x: model(x) in place of the model "
                "to record logits alone. " + _COMPILED
            )
        if opaque:
            self._features = []
            warn(
                f"{type(self._inner).__name__}: the layers of a scripted or exported model cannot be read, only its "
                "logits are recorded; pass the original nn.Module to record features too",
                MLDebuggerWarning,
            )
        return classification_output(self._read_logits(rows), None)

    def _read(self, rows: Any, model_input: Any, n_inputs: int) -> ModelOutput:
        mask = model_input.get("attention_mask") if isinstance(model_input, Mapping) else None
        parts: list[NDArray[np.float32]] = []
        for capture in self._features or ():
            if not capture.firings:
                raise CaptureError(_missed(capture.path))
            parts.append(to_float32(pool(capture.firings, capture.path, rows, n_inputs, mask)))
        features = np.concatenate(parts, axis=1) if parts else None
        logits = self._read_logits(rows)
        self._widths = (None if features is None else features.shape[1], logits.shape[1])
        return classification_output(logits, features)

    def _read_logits(self, rows: Any) -> NDArray[np.float32]:
        known = _known_kind(self._head, int(rows.shape[1])) if len(rows) else None
        return self._reader.read(rows, known)

    def describe(self) -> dict[str, Any]:
        """Adapter, model class, head, feature layers, widths and how the output is read; None where not known yet."""
        n_features, n_classes = self._widths or (None, None)
        return {
            "adapter": self.name,
            "model": str(getattr(self._inner, "original_name", type(self._inner).__name__)),
            "architecture": self._summarise(),
            "head": self._head.path if self._head else None,
            "feature_layers": None if self._features is None else [f"{c.side} of {c.path}" for c in self._features],
            "n_features": n_features,
            "n_classes": n_classes,
            "output": self._reader.kind,
            "runs_uncompiled": self._eager,
        }

    def _summarise(self) -> str | None:
        if self._summary is None and self.architecture_hash is not None:
            self._summary = module_summary(self._model)
        return self._summary


_SQUASHED = "what it returned lies in 0..1, like probabilities: return the logits, before the sigmoid or softmax, or "
_COMPILED = (
    "If the model calls code compiled by torch.compile that ran before, call torch.compiler.reset() first, compile the "
    "whole model with model = torch.compile(model), or make the calls inside "
    "`with torch.compiler.set_stance('force_eager'):`"
)


def _missed(path: str) -> str:
    return f"layer {path!r} did not run in this call, or ran where hooks do not fire: it could not be read. {_COMPILED}"


def _known_kind(head: Head | None, n_classes: int) -> Kind | None:
    """What the head's relation to the output says about the output; None where it says nothing."""
    if head is None or head.relation == "width":
        return None
    if n_classes == 1:
        return "one_probability" if head.relation == "sigmoid" else "one_logit"
    kinds: dict[str, Kind] = {"same": "logits", "softmax": "probabilities", "sigmoid": "sigmoids"}
    return kinds[head.relation]
