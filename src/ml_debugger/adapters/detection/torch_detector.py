"""Torch modules that return boxes: torchvision's detectors with what their heads show, and any other."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.capture import first_tensor, hooked
from ml_debugger.adapters.compiled import eager, is_compiled
from ml_debugger.adapters.detection.boxes import ImageBoxes
from ml_debugger.adapters.detection.captures import Head, Maps
from ml_debugger.adapters.detection.images import image_sizes
from ml_debugger.adapters.detection.kinds import IMAGES, DetectorKind, PointRange
from ml_debugger.adapters.detection.output import OutputBuilder
from ml_debugger.adapters.detection.outputs import read_detections
from ml_debugger.adapters.detection.roi_features import can_pool, pool_boxes
from ml_debugger.adapters.detection.torchvision_heads import TorchvisionHead, torchvision_part
from ml_debugger.adapters.fingerprint import WeightsHash, module_architecture, module_summary, unwrap
from ml_debugger.adapters.inputs import call_rule
from ml_debugger.adapters.layers import named_layers, resolve_layers
from ml_debugger.errors import CaptureError, InputError, MLDebuggerWarning, warn
from ml_debugger.types import ModelOutput

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TorchDetector"]


class TorchDetector:
    """A torch module that returns boxes, in any of the forms that `read_detections` reads.

    Of torchvision's detectors (R-CNN, RetinaNet, FCOS, SSD, SSDLite; also inside another module) logits, features and
    candidates are read too, and their thresholds are set for the length of a call. Of other modules the thresholds
    given choose which of the returned boxes are recorded.

    Args:
        model: Any ``nn.Module``.
        target_layers: Alias to path of a layer that gives a feature map ``(B, D, h, w)``; features are pooled from it
            by RoIAlign, those of several layers side by side. Default: what the head shows, if it is known.
        **settings: Fields of `DetectionSettings`.

    Raises:
        InputError: If a path names no module, a setting cannot be right or is not the model's.
    """

    name = "torch_detector"
    kind: ClassVar[DetectorKind] = IMAGES

    def __init__(self, model: nn.Module, target_layers: Mapping[str, str] | None = None, **settings: Any) -> None:
        self._model = model
        self._inner = unwrap(model)
        self._rule = call_rule(self._inner.forward)
        self._lock = threading.Lock()
        self._weights = WeightsHash(model)
        self._architecture: str | None = None
        self._summary: str | None = None
        chosen = self.kind.settings(**settings)
        self._thinning = chosen.thinning()
        self._builder = OutputBuilder(kind=self.kind, pc_range=self._range(chosen))
        self._maps = None if target_layers is None else self._open_maps(target_layers)
        self._head = self._find_head()
        self._builder.n_class = self._n_class(chosen.n_class)
        self._builder.thinning = self._thinning if self._head is None else self._head.left(self._thinning)
        if any(is_compiled(module) for module in model.modules()):
            self._warn_uncompiled()

    def _range(self, chosen: Any) -> PointRange | None:
        return None

    def _open_maps(self, target_layers: Mapping[str, str]) -> Maps:
        return _MapCapture(self._inner, target_layers)

    def _find_head(self) -> Head | None:
        part = _known_part(self._inner)
        return None if part is None else TorchvisionHead(part)

    def _n_class(self, given: int | None) -> int | None:
        own = None if self._head is None else self._head.n_class()
        if given is not None and own is not None and given != own:
            raise InputError(
                f"n_class: the model has {own} classes (the background counted where it has a label), got {given}; "
                "leave it out"
            )
        return own if given is None else given

    def _warn_uncompiled(self) -> None:
        warn(
            "parts of this detector are compiled by torch.compile, where nothing can be read: calls through this "
            "object run uncompiled",
            MLDebuggerWarning,
        )

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
        """Run the model; see `Adapter.run`. Its mode, thresholds and hooks are as before, also after an error.

        Raises:
            InputError: If the model is in training mode, where detectors return losses.
        """
        if self._head is not None and self._head.refuses():
            raise InputError("model: is in training mode, where it returns losses, not boxes; call model.eval() first")
        with self._lock:
            known = self.kind.look(model_input, n_inputs)
            try:
                output = self._call(model_input)
                images = self._enrich(read_detections(output, n_inputs, self.kind.form), model_input)
            finally:
                for capture in (self._head, self._maps):
                    if capture is not None:
                        capture.clear()
            return output, self._builder.build(images, known)

    def _call(self, model_input: Any) -> Any:
        with ExitStack() as stack:
            stack.enter_context(eager())
            hooks = []
            if self._head is not None:
                stack.enter_context(self._head.asked(self._thinning))
                in_force = self._head.settings()
                self._builder.score_thresh, self._builder.iou_thresh = in_force["score_thresh"], in_force["iou_thresh"]
                hooks += self._head.hooks()
            if self._maps is not None:
                hooks += self._maps.hooks()
            stack.enter_context(hooked(hooks))
            return self._forward(model_input)

    def _forward(self, model_input: Any) -> Any:
        return self._rule.call(self._model, model_input)

    def _enrich(self, images: list[ImageBoxes], model_input: Any) -> list[ImageBoxes]:
        import torch

        with torch.no_grad():
            if self._head is not None:
                images = self._head.enrich(images)
            return images if self._maps is None else self._maps.enrich(images, model_input)

    def describe(self) -> dict[str, Any]:
        """Adapter, model class, where features come from, widths, thresholds in force; None where not known yet."""
        own = {} if self._head is None else self._head.settings()
        sources = self._maps.paths if self._maps is not None else [self._head.feature_source()] if self._head else []
        return {
            "adapter": self.name,
            "model": str(getattr(self._inner, "original_name", type(self._inner).__name__)),
            "architecture": self._summarise(),
            "family": None if self._head is None else self._head.family,
            "feature_layers": sources,
            **self._builder.describe(),
            **own,
            **self._thinning,
        }

    def _summarise(self) -> str | None:
        if self._summary is None and self.architecture_hash is not None:
            self._summary = module_summary(self._model)
        return self._summary


def _known_part(model: nn.Module) -> nn.Module | None:
    import sys

    return torchvision_part(model) if "torchvision.models.detection" in sys.modules else None


class _MapCapture:
    """Feature maps of the layers that the user named."""

    def __init__(self, model: nn.Module, target_layers: Mapping[str, str]) -> None:
        self.paths = list(resolve_layers(model, target_layers).values())
        self._layers = [named_layers(model)[path] for path in self.paths]
        self._maps: dict[int, list[Any]] = {}
        if not can_pool():
            raise InputError("target_layers: features of boxes are pooled by torchvision; install it, or leave it out")

    def hooks(self) -> list[tuple[nn.Module, Any]]:
        """Layers and their hooks, for one call."""
        return [(layer, self._hook(place)) for place, layer in enumerate(self._layers)]

    def _hook(self, place: int) -> Any:
        def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            found = first_tensor(output)
            if found is not None:
                # A copy: an in-place operation after the layer would alter what was captured.
                self._maps.setdefault(place, []).append(found.detach().clone())

        return record

    def clear(self) -> None:
        """Forget what was captured."""
        self._maps.clear()

    def enrich(self, images: Sequence[ImageBoxes], model_input: Any) -> list[ImageBoxes]:
        """Images with features pooled from the maps, in place of any others.

        Raises:
            CaptureError: If a layer did not run once, gives no map of these images, or their sizes are not known.
        """
        sizes = np.array(
            [
                image.size or tuple(size)
                for image, size in zip(images, image_sizes(model_input, len(images)), strict=True)
            ]
        ).reshape(-1, 2)
        if np.isnan(sizes).any():
            raise CaptureError(
                "model_input: the sizes of the images are needed to pool features of boxes, and cannot be told; give "
                "images as arrays, or return features beside the boxes"
            )
        parts = [self._pooled(place, images, sizes) for place in range(len(self.paths))]
        joined = [np.concatenate(own, axis=1) for own in zip(*parts, strict=True)]
        return [replace(image, features=rows) for image, rows in zip(images, joined, strict=True)]

    def _pooled(self, place: int, images: Sequence[ImageBoxes], sizes: NDArray[Any]) -> list[NDArray[np.float32]]:
        found = self._maps.get(place, [])
        if len(found) == len(images) > 1 and all(len(one) == 1 for one in found):
            return [
                rows
                for one, image, size in zip(found, images, sizes, strict=True)
                for rows in _pool(one, [image], size[None])
            ]
        if len(found) != 1 or found[0].ndim != 4 or len(found[0]) != len(images):
            shapes = [tuple(one.shape) for one in found]
            raise CaptureError(
                f"layer {self.paths[place]!r}: expected one feature map ({len(images)}, D, h, w), got "
                f"{shapes or 'none'}; name a layer that gives one, or leave target_layers out"
            )
        return _pool(found[0], images, sizes)


def _pool(feature_map: Any, images: Sequence[ImageBoxes], sizes: NDArray[Any]) -> list[NDArray[np.float32]]:
    cells = np.array([feature_map.shape[-1], feature_map.shape[-2]])
    return pool_boxes(feature_map, [image.boxes for image in images], cells / sizes)
