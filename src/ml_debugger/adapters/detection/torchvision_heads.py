"""Reading the heads of torchvision's detectors: which raw output each returned box came from, and all candidates.

What the layers gave is captured by forward hooks; scores and boxes are then computed from it as torchvision's
``postprocess_detections`` does, for the few entries that matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ml_debugger.adapters.detection.boxes import LOWEST_CANDIDATE, ImageBoxes
from ml_debugger.adapters.detection.entries import Entries, find_rows
from ml_debugger.adapters.detection.roi_features import can_pool, pool_boxes
from ml_debugger.adapters.detection.settings import set_during

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TorchvisionHead", "torchvision_part"]

# Attributes of torchvision's detectors (of their RoI heads) by our names for them.
SETTINGS: Final = {
    "score_thresh": "score_thresh",
    "iou_thresh": "nms_thresh",
    "max_detections_per_image": "detections_per_img",
}

# Bounds on logits stay clear of rounding.
SMALLEST: Final = 1e-12
SLACK: Final = 1e-2


def torchvision_part(model: nn.Module) -> nn.Module | None:
    """The torchvision detector that a module is or contains; None where there is none."""
    from torchvision.models.detection import FCOS, RetinaNet
    from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
    from torchvision.models.detection.roi_heads import RoIHeads
    from torchvision.models.detection.ssd import SSD

    def is_known(module: Any) -> bool:
        if isinstance(module, GeneralizedRCNN):
            return isinstance(module.roi_heads, RoIHeads)
        return isinstance(module, FCOS | RetinaNet | SSD)

    return next((module for module in model.modules() if is_known(module)), None)


class TorchvisionHead:
    """Captures what a torchvision detector's layers give during one call, and reads it.

    Features of a box are the input of the layer that gives its class logits: of the box predictor (R-CNN), of the last
    convolution at its place (RetinaNet, FCOS). The levels of SSD have layers of their own, of different widths: there
    they are pooled from the second feature map.

    Args:
        detector: As `torchvision_part` gives it.
    """

    def __init__(self, detector: nn.Module) -> None:
        self.detector = detector
        self.family = _family(detector)
        self._is_rcnn = self.family == "rcnn"
        self.owner: Any = detector.roi_heads if self._is_rcnn else detector
        self._seen: dict[str, list[tuple[Any, Any]]] = {}
        self._pools = self.family == "ssd" and can_pool()

    def settings(self) -> dict[str, Any]:
        """The detector's own thresholds now, by our names."""
        return {ours: getattr(self.owner, theirs) for ours, theirs in SETTINGS.items()}

    def asked(self, thinning: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Thresholds as attributes of ``owner`` inside the ``with`` block."""
        return set_during(self.owner, {SETTINGS[name]: value for name, value in thinning.items()})

    def left(self, thinning: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing: it can be asked for all."""
        return {}

    def refuses(self) -> bool:
        """Whether it is in training mode."""
        return self.detector.training

    def n_class(self) -> int | None:
        """C, the background counted where it has a label of its own; None where it cannot be told before a call."""
        if self._is_rcnn:
            scores = getattr(self.owner.box_predictor, "cls_score", None)
            return getattr(scores, "out_features", None)
        head = getattr(self.detector.head, "classification_head", None)
        found = getattr(head, "num_columns", None) if self.family == "ssd" else getattr(head, "num_classes", None)
        return None if found is None else int(found)

    def hooks(self) -> list[tuple[nn.Module, Any]]:
        """Layers and their hooks, for one call."""
        detector: Any = self.detector
        layers = {"transform": detector.transform}
        if self._is_rcnn:
            layers |= {"rpn": detector.rpn, "predictor": detector.roi_heads.box_predictor}
        else:
            layers |= {"head": detector.head, "anchors": detector.anchor_generator}
            last = getattr(getattr(detector.head, "classification_head", None), "cls_logits", None)
            if last is not None and self.family != "ssd":
                layers["last"] = last
        return [(layer, self._hook(name)) for name, layer in layers.items()]

    def _hook(self, name: str) -> Any:
        def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            self._seen.setdefault(name, []).append(((*args, *kwargs.values()), output))

        return record

    def clear(self) -> None:
        """Forget what was captured."""
        self._seen.clear()

    def feature_source(self) -> str:
        """Where the features come from, in words."""
        sources = {"rcnn": "input of roi_heads.box_predictor", "ssd": "RoIAlign on the second feature map"}
        if self.family == "ssd" and not self._pools:
            return "none"
        return sources.get(self.family, "input of head.classification_head.cls_logits")

    def enrich(self, images: Sequence[ImageBoxes]) -> list[ImageBoxes]:
        """Images with logits, features and candidates; as they are where the layers ran otherwise than expected."""
        if any(len(self._seen.get(name, ())) != 1 for name in self._needed()):
            return list(images)
        (given, *_), (inside, *_) = self._seen["transform"][0]
        if len(inside.image_sizes) != len(images):
            return list(images)
        places = _Places([tuple(image.shape[-2:]) for image in given], inside.image_sizes)
        least = [min(LOWEST_CANDIDATE, image.scores.min(initial=1.0)) for image in images]
        parts = self._rcnn_parts(places, least) if self._is_rcnn else self._dense_parts(places, least)
        enriched = [self._attach(image, *part) for image, part in zip(images, parts, strict=True)]
        return self._pool(enriched, inside) if self._pools else enriched

    def _needed(self) -> tuple[str, ...]:
        return ("transform", "rpn", "predictor") if self._is_rcnn else ("transform", "head", "anchors")

    def _attach(self, image: ImageBoxes, entries: Entries, logits: Any, features: Any | None) -> ImageBoxes:
        rows = find_rows(image, entries)
        return replace(
            image,
            logits=_take(logits, rows),
            features=None if features is None else features(rows),
            candidates=entries.candidates(),
        )

    def _rcnn_parts(self, places: _Places, least: list[float]) -> list[tuple[Entries, Any, Any]]:
        import torch

        proposals = self._seen["rpn"][0][1][0]
        (vectors, *_), (logits, deltas) = self._seen["predictor"][0]
        counts = [len(own) for own in proposals]
        softmax: Any = torch.softmax(logits.detach(), -1)
        scores = softmax.split(counts)
        parts = []
        for image, (own, vector, logit, delta) in enumerate(
            zip(proposals, vectors.split(counts), logits.split(counts), deltas.split(counts), strict=True)
        ):
            row, label = (scores[image][:, 1:] >= least[image]).nonzero().unbind(1)
            label = label + 1
            boxes = self.owner.box_coder.decode_single(
                delta.detach().unflatten(1, (-1, 4))[row, label], own[row].detach()
            ).reshape(-1, 4)
            entries = Entries(places.restore(image, boxes), label, scores[image][row, label], row)
            parts.append((entries, logit, _Rows(vector.flatten(1))))
        return parts

    def _dense_parts(self, places: _Places, least: list[float]) -> list[tuple[Entries, Any, Any]]:
        head = self._seen["head"][0][1]
        anchors = self._seen["anchors"][0][1]
        last = [args[0] for args, _ in self._seen.get("last", ())]
        parts = []
        for image, own in enumerate(anchors):
            logits = head["cls_logits"][image].detach()
            centreness = head["bbox_ctrness"][image].detach() if "bbox_ctrness" in head else None
            row, label, score = self._dense_scores(logits, centreness, least[image])
            deltas = head["bbox_regression"][image].detach()[row]
            coder: Any = self.detector.box_coder
            decode = coder.decode if self.family == "fcos" else coder.decode_single
            entries = Entries(places.restore(image, decode(deltas, own[row])), label, score, row)
            features = _Cells([level[image] for level in last], len(own)) if last else None
            parts.append((entries, logits, features))
        return parts

    def _dense_scores(self, logits: Any, centreness: Any | None, least: float) -> tuple[Any, Any, Any]:
        """Places, labels and scores of the entries that score at least so much."""
        import torch

        if self.family == "ssd":
            scores = torch.softmax(logits, -1)
            row, label = (scores[:, 1:] >= least).nonzero().unbind(1)
            return row, label + 1, scores[row, label + 1]
        # Most anchors are nothing by far: look at the logits of all, compute the scores of few.
        bound = max(least if centreness is None else least**2, SMALLEST)
        rows = (logits.amax(dim=1) > math.log(bound / (1 - bound)) - SLACK).nonzero()[:, 0]
        scores = torch.sigmoid(logits[rows])
        if centreness is not None:
            scores = torch.sqrt(scores * torch.sigmoid(centreness[rows]))
        position, label = (scores >= least).nonzero().unbind(1)
        return rows[position], label, scores[position, label]

    def _pool(self, images: list[ImageBoxes], inside: Any) -> list[ImageBoxes]:
        (maps, *_), _ = self._seen["head"][0]
        feature_map = maps[min(1, len(maps) - 1)]
        height, width = inside.tensors.shape[-2:]
        cells = np.array([feature_map.shape[-1] / width, feature_map.shape[-2] / height])
        given = [image.shape[-2:] for image in self._seen["transform"][0][0][0]]
        scales = np.array(
            [cells * (w / w0, h / h0) for (h, w), (h0, w0) in zip(inside.image_sizes, given, strict=True)]
        )
        pooled = pool_boxes(feature_map, [image.boxes for image in images], scales)
        return [replace(image, features=rows) for image, rows in zip(images, pooled, strict=True)]


def _family(detector: nn.Module) -> str:
    from torchvision.models.detection import FCOS, RetinaNet
    from torchvision.models.detection.ssd import SSD

    kinds = {"fcos": FCOS, "retinanet": RetinaNet, "ssd": SSD}
    return next((name for name, kind in kinds.items() if isinstance(detector, kind)), "rcnn")


class _Places:
    """From the pixels of resized images to those of the images as given."""

    def __init__(self, given: Sequence[tuple[int, ...]], inside: Sequence[tuple[int, int]]) -> None:
        self._given, self._inside = given, inside

    def restore(self, image: int, boxes: Any) -> Any:
        """Boxes clipped to the resized image and scaled back."""
        (height, width), (given_height, given_width) = self._inside[image], self._given[image]
        limits = boxes.new_tensor([width, height, width, height])
        across, down = given_width / width, given_height / height
        return boxes.clamp(min=0).minimum(limits) * boxes.new_tensor([across, down, across, down])


class _Rows:
    """Features ``(P, D)`` that are rows of a matrix."""

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix

    def __call__(self, rows: Any) -> Any:
        return _take(self._matrix, rows)


class _Cells:
    """Features of anchors: the cells of feature maps ``(D, h, w)``, level by level, with A anchors each."""

    def __init__(self, levels: Sequence[Any], n_anchors: int) -> None:
        self._levels = levels
        cells = [level.shape[-2] * level.shape[-1] for level in levels]
        self._per_cell = n_anchors // max(sum(cells), 1)
        self._ends = np.cumsum([self._per_cell * count for count in cells])

    def __call__(self, rows: Any) -> Any:
        found = np.full((len(rows), self._levels[0].shape[0]), np.nan, dtype=np.float32)
        level_of = np.searchsorted(self._ends, rows, side="right")
        for number, level in enumerate(self._levels):
            own = (level_of == number) & (rows >= 0)
            start = self._ends[number - 1] if number else 0
            cells = (rows[own] - start) // self._per_cell
            found[own] = _take(level.flatten(1).T, cells)
        return found


def _take(matrix: Any, rows: Any) -> Any:
    """``(U, D)`` float32 rows of a tensor; NaN for row -1."""
    import torch

    index = torch.from_numpy(np.maximum(rows, 0)).to(matrix.device)
    if not len(matrix):
        return np.full((len(rows), matrix.shape[1]), np.nan, dtype=np.float32)
    taken = matrix.detach()[index].float().cpu().numpy()
    taken[rows < 0] = np.nan
    return taken
