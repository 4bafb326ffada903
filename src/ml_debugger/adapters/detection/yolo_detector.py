"""ultralytics' YOLO models, known by what they offer: the library is the user's to import, never ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.detection.boxes import LOWEST_CANDIDATE, ImageBoxes
from ml_debugger.adapters.detection.entries import Entries, find_rows
from ml_debugger.adapters.detection.output import OutputBuilder
from ml_debugger.adapters.detection.outputs import read_detections
from ml_debugger.adapters.detection.roi_features import can_pool, pool_boxes
from ml_debugger.adapters.detection.settings import DetectionSettings
from ml_debugger.adapters.fingerprint import WeightsHash, module_architecture, module_summary
from ml_debugger.adapters.inputs import call_rule
from ml_debugger.errors import InputError
from ml_debugger.types import ModelOutput

__all__ = ["YoloDetector", "is_yolo_detector"]

Float32 = NDArray[np.float32]

# Arguments of ``predict`` by our names, and their defaults.
ARGUMENTS: Final = {"score_thresh": "conf", "iou_thresh": "iou", "max_detections_per_image": "max_det"}
DEFAULTS: Final = {"score_thresh": 0.25, "iou_thresh": 0.7, "max_detections_per_image": 300}
# Logits of probabilities, where the head shows no logits, stay finite.
SMALLEST: Final = 1e-7


def is_yolo_detector(model: Any) -> bool:
    """Whether a model is a ``YOLO`` object for detection, with its torch module inside."""
    if getattr(model, "task", None) != "detect" or not (hasattr(model, "predict") and hasattr(model, "overrides")):
        return False
    return _head_of(model) is not None


def _head_of(model: Any) -> Any | None:
    """The detection head: the last layer, with a number of classes and strides; None for exported models."""
    layers = getattr(getattr(model, "model", None), "model", None)
    try:
        head = layers[-1]  # type: ignore[index]  # anything else is no sequence of layers
    except (TypeError, IndexError, KeyError):
        return None
    return head if hasattr(head, "nc") and hasattr(head, "stride") else None


class YoloDetector:
    """A ``YOLO`` object, called as ``model(images)`` or, with a mapping, ``model(**mapping)``.

    Thresholds given are arguments of its ``predict``. The head's outputs before suppression are captured for logits and
    candidates; features are pooled from the second of the maps that the head looks at (stride 16).

    Args:
        model: The ``YOLO`` object.
        target_layers: Must be None.
        **settings: Fields of `DetectionSettings`.

    Raises:
        InputError: If layers were given, or a setting cannot be right or is not the model's.
    """

    name = "yolo_detector"

    def __init__(self, model: Any, target_layers: Mapping[str, str] | None = None, **settings: Any) -> None:
        if target_layers is not None:
            raise InputError("target_layers: the features of this model are pooled from its neck; leave it out")
        head: Any = _head_of(model)
        chosen = DetectionSettings(**settings)
        if chosen.n_class not in (None, int(head.nc)):
            raise InputError(f"n_class: the model has {int(head.nc)} classes, got {chosen.n_class}; leave it out")
        self._model = model
        self._rule = call_rule(model.__call__)
        self._arguments = {ARGUMENTS[name]: value for name, value in chosen.thinning().items()}
        in_force = {**DEFAULTS, "iou_thresh": model.overrides.get("iou", DEFAULTS["iou_thresh"]), **chosen.thinning()}
        self._max_detections = in_force["max_detections_per_image"]
        self._builder = OutputBuilder(int(head.nc), in_force["score_thresh"], in_force["iou_thresh"])
        self._head_type = type(head)
        self._weights = WeightsHash(model.model)
        self._architecture = module_architecture(model.model)
        self._summary = module_summary(model.model)
        self._pools = can_pool()
        self._lock = threading.Lock()

    @property
    def architecture_hash(self) -> str | None:
        """Hash of the module tree."""
        return self._architecture

    def weights_hash(self) -> str | None:
        """Hash of samples of the parameters now."""
        return self._weights()

    def run(self, model_input: Any, n_inputs: int) -> tuple[Any, ModelOutput]:
        """Run the model; see `Adapter.run`."""
        import torch

        firings: list[_Firing] = []
        with self._lock, self._captured(firings):
            output = self._rule.call(partial(self._model, **self._arguments), model_input)
        images = read_detections(output, n_inputs)
        with torch.no_grad():
            images = self._enrich(images, firings)
        return output, self._builder.build(images, np.full((n_inputs, 2), np.nan, dtype=np.float32))

    @contextmanager
    def _captured(self, firings: list[_Firing]) -> Iterator[None]:
        """The head's runs, appended to a list inside the ``with`` block.

        ``predict`` runs a copy of the model that it makes on its first call, so the hook is for every module, and looks
        for the head's type.
        """
        from torch.nn.modules.module import register_module_forward_hook

        def record(module: Any, args: Any, output: Any) -> None:
            if type(module) is self._head_type:
                firings.append(_read_firing(module, args[0], output))

        handle = register_module_forward_hook(record)
        try:
            yield
        finally:
            handle.remove()

    def _enrich(self, images: list[ImageBoxes], firings: Sequence[_Firing]) -> list[ImageBoxes]:
        """Images with logits, features and candidates; as they are where the head ran otherwise than expected."""
        last: list[tuple[_Firing, int]] = []
        for firing in reversed(firings):  # the first ones may warm up the device
            if len(last) < len(images):
                last = [*((firing, row) for row in range(len(firing.boxes))), *last]
        if len(last) != len(images):
            return images
        attached = [self._attach(image, firing, row) for image, (firing, row) in zip(images, last, strict=True)]
        return _pooled(attached, last) if self._pools else attached

    def _attach(self, image: ImageBoxes, firing: _Firing, row: int) -> ImageBoxes:
        box = _LetterBox(firing.size, image.size or firing.size)
        place, label, scores = firing.at_least(row, min(LOWEST_CANDIDATE, image.scores.min(initial=1.0)))
        entries = Entries(box.restore(firing.corners(row, place)), label, scores, place)
        rows = find_rows(image, entries)
        if (rows < 0).any():  # not what this head said: test-time augmentation, for example
            return image
        logits = firing.logits_at(row, rows).float().cpu().numpy()
        return replace(image, logits=logits, candidates=entries.candidates())

    def describe(self) -> dict[str, Any]:
        """Adapter, model class, widths and thresholds in force; None where not known yet."""
        return {
            "adapter": self.name,
            "model": type(self._model).__name__,
            "architecture": self._summary,
            "feature_layers": ["RoIAlign on the second map of the head"] if self._pools else [],
            **self._builder.describe(),
            "max_detections_per_image": self._max_detections,
        }


@dataclass(frozen=True, slots=True)
class _Firing:
    """One run of the head.

    Attributes:
        boxes: ``(B, 4, A)`` in pixels of the images as the network sees them: a copy, since suppression rewrites them.
        is_corners: Whether they are x1 y1 x2 y2, or centres and sizes.
        scores: ``(B, C, A)`` in 0..1.
        best: ``(B, A)`` greatest score of each place.
        logits: ``(B, C, A)``; None where the head shows none.
        feature_map: ``(B, D, h, w)``, the second that the head looked at: a copy.
        size: Width and height of the images as the network sees them.
    """

    boxes: Any
    is_corners: bool
    scores: Any
    best: Any
    logits: Any
    feature_map: Any
    size: tuple[float, float]

    def at_least(self, row: int, least: float) -> tuple[Any, Any, Any]:
        """Places ``(E,)``, labels and scores of the entries of an image that score at least so much."""
        places = (self.best[row] >= least).nonzero()[:, 0]  # few: most places hold nothing
        scores = self.scores[row][:, places].T
        position, label = (scores >= least).nonzero().unbind(1)
        return places[position], label, scores[position, label]

    def corners(self, row: int, places: Any) -> Any:
        """``(E, 4)`` x1 y1 x2 y2 of some places of an image."""
        import torch

        boxes = self.boxes[row][:, places].T
        if self.is_corners:
            return boxes
        half = boxes[:, 2:] / 2
        return torch.cat((boxes[:, :2] - half, boxes[:, :2] + half), dim=1)

    def logits_at(self, row: int, places: NDArray[np.int64]) -> Any:
        """``(U, C)`` of some places of an image."""
        import torch

        chosen = torch.from_numpy(places).to(self.scores.device)
        if self.logits is None:
            return torch.logit(self.scores[row][:, chosen].T, eps=SMALLEST)
        return self.logits[row][:, chosen].T


def _read_firing(head: Any, maps: Sequence[Any], output: Any) -> _Firing:
    decoded, raw = output if isinstance(output, tuple | list) else (output, None)
    parts = raw if isinstance(raw, Mapping) else {}
    n_class = int(head.nc)
    is_cut = decoded.shape[1] != 4 + n_class
    parts = parts.get("one2one" if is_cut else "one2many", parts)
    if is_cut:  # heads without suppression return the best alone: decode all of them, as the head itself does
        decoded = head._inference(parts)
    table = decoded.detach()
    scores = table[:, 4 : 4 + n_class]
    stride = float(head.stride[0])
    return _Firing(
        boxes=table[:, :4].clone(),
        is_corners=is_cut or bool(getattr(head, "xyxy", False)),
        scores=scores,
        best=scores.amax(dim=1),
        logits=parts["scores"].detach() if "scores" in parts else None,
        feature_map=maps[min(1, len(maps) - 1)].detach().clone(),
        size=(maps[0].shape[-1] * stride, maps[0].shape[-2] * stride),
    )


def _pooled(images: Sequence[ImageBoxes], places: Sequence[tuple[_Firing, int]]) -> list[ImageBoxes]:
    """Images with features, those of one run of the head pooled at once; as they are where the head said otherwise."""
    found = list(images)
    for firing in {id(firing): firing for firing, _ in places}.values():
        own = [at for at, (other, _) in enumerate(places) if other is firing and images[at].logits is not None]
        if not own:
            continue
        boxes = [_LetterBox(firing.size, images[at].size or firing.size).place(images[at].boxes) for at in own]
        feature_map = firing.feature_map[[places[at][1] for at in own]]
        cells = np.array([feature_map.shape[-1] / firing.size[0], feature_map.shape[-2] / firing.size[1]])
        for at, features in zip(own, pool_boxes(feature_map, boxes, np.tile(cells, (len(own), 1))), strict=True):
            found[at] = replace(images[at], features=features)
    return found


class _LetterBox:
    """From an image as given to the network's input, scaled and padded on both sides, and back.

    Args:
        inside: Width and height of the network's input.
        given: Of the image.
    """

    def __init__(self, inside: tuple[float, float], given: tuple[float, float]) -> None:
        self._given = given
        gain = min(inside[0] / given[0], inside[1] / given[1])
        scaled = [max(round(side * gain), 1) for side in given]
        self._gain = np.tile([new / old for new, old in zip(scaled, given, strict=True)], 2)
        self._pad = np.tile([round((room - new) / 2 - 0.1) for room, new in zip(inside, scaled, strict=True)], 2)

    def place(self, boxes: Float32) -> Float32:
        """Boxes of the image in the network's input."""
        return np.asarray(boxes * self._gain + self._pad, dtype=np.float32)

    def restore(self, boxes: Any) -> Any:
        """Boxes of the network's input in the image, cut at its border; tensors."""
        numbers = [boxes.new_tensor(values.tolist()) for values in (self._pad, self._gain, np.tile(self._given, 2))]
        pad, gain, limits = numbers
        return ((boxes - pad) / gain).clamp(min=0).minimum(limits)
