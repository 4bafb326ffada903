"""Detectors of point clouds that are known by how they are laid out: OpenPCDet's and mmdetection3d's.

Neither library is imported. Their thresholds are in the configuration that the model carries; what the layers gave is
captured by forward hooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ml_debugger.adapters.arrays import to_float32
from ml_debugger.adapters.detection.bev_features import map_of, sample_boxes
from ml_debugger.adapters.detection.boxes import LOWEST_CANDIDATE, ImageBoxes
from ml_debugger.adapters.detection.captures import Head
from ml_debugger.adapters.detection.configs import Knob, find_knob, read, turned
from ml_debugger.adapters.detection.entries import Entries, find_rows
from ml_debugger.adapters.detection.kinds import PointRange
from ml_debugger.adapters.detection.outputs import with_background
from ml_debugger.adapters.detection.settings import FrameSettings, point_range
from ml_debugger.analysis.box_conventions import BOX_WIDTH
from ml_debugger.errors import InputError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["find_frame_head", "find_range"]

MOST: Final = FrameSettings.most()
# Names of thresholds by our names for them.
PCDET_NAMES: Final = {
    "score_thresh": ("SCORE_THRESH",),
    "iou_thresh": ("NMS_THRESH",),
    MOST: ("NMS_POST_MAXSIZE",),
}
MMDET_NAMES: Final = {
    "score_thresh": ("score_thr", "score_threshold"),
    "iou_thresh": ("nms_thr", "iou_thr"),
    MOST: ("max_num", "max_per_img", "max_output_num", "post_max_size"),
}
# Parts of OpenPCDet's detectors that put raw predictions into the dict of the batch, and of mmdetection3d's that make
# the final boxes.
PCDET_HEADS: Final = ("dense_head", "point_head", "roi_head")
MMDET_HEADS: Final = ("roi_head", "pts_bbox_head", "bbox_head")
# Boxes are read as they were computed: what is further away, in metres or radians, is another one.
BOX_TOLERANCE: Final = 1e-2
RANGE_NAMES: Final = ("pc_range", "point_cloud_range")


def find_frame_head(model: nn.Module, pc_range: PointRange | None) -> Head | None:
    """What is known of a detector, or of one inside another module; None where its layout is of neither library."""
    for module in model.modules():
        if callable(getattr(module, "post_processing", None)) and hasattr(module, "model_cfg"):
            return PcdetHead(module, pc_range)
        if hasattr(module, "test_cfg") and any(getattr(module, name, None) is not None for name in MMDET_HEADS):
            return MmdetHead(module, pc_range)
    return None


def find_range(model: nn.Module) -> PointRange | None:
    """Where the scene of a model begins and ends: six numbers named so by it, its data set or one of its parts."""
    for owner in (model, getattr(model, "dataset", None), *model.modules()):
        for name in RANGE_NAMES:
            try:
                return point_range(getattr(owner, name, None))
            except InputError:  # as mmdetection3d's two numbers: another thing of that name
                continue
    return None


class _Knobs:
    """The thresholds of a detector: of what it can be asked for, and what they are.

    Args:
        places: Where thresholds are in force, each as the configurations to look into.
        names: What they are called there, by our names.
    """

    def __init__(self, places: Sequence[Sequence[Any]], names: Mapping[str, Sequence[str]]) -> None:
        self._knobs: dict[str, list[Knob]] = {}
        for ours, theirs in names.items():
            found = [find_knob([one for one in configs if one is not None], theirs) for configs in places]
            self._knobs[ours] = [knob for knob in found if knob is not None]

    def settings(self) -> dict[str, Any]:
        """Thresholds now; None where there is no one number."""
        return {name: knobs[0].value() if knobs else None for name, knobs in self._knobs.items()}

    def asked(self, thinning: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Thresholds as asked for inside the ``with`` block."""
        return turned([(knob, value) for name, value in thinning.items() for knob in self._knobs[name]])

    def left(self, thinning: Mapping[str, Any]) -> dict[str, Any]:
        """What it cannot be asked for, and the number of boxes, which these libraries count class by class."""
        return {name: value for name, value in thinning.items() if name == MOST or not self._knobs[name]}


class PcdetHead(_Knobs):
    """A detector laid out as OpenPCDet's: one dict goes through all its parts, each adding to it.

    Where its last head leaves the raw predictions of all places in that dict, logits and candidates are read from them;
    features are sampled from the map ``spatial_features_2d``.

    Args:
        detector: The detector.
        pc_range: What the map shows, or None.
    """

    family = "OpenPCDet"

    def __init__(self, detector: nn.Module, pc_range: PointRange | None) -> None:
        self._detector = detector
        self._pc_range = pc_range
        dense: Any = getattr(detector, "dense_head", None)
        sections = [read(getattr(one, "model_cfg", None), "POST_PROCESSING") for one in (dense, detector)]
        suppression = [read(section, "NMS_CONFIG") for section in sections]
        super().__init__(list(zip(sections, suppression, strict=True)), PCDET_NAMES)
        self._multi = any(bool(read(one, "MULTI_CLASSES_NMS")) for one in suppression)
        self._batch: Mapping[str, Any] | None = None

    def refuses(self) -> bool:
        """Whether it is in training mode."""
        return self._detector.training

    def n_class(self) -> int | None:
        """Its number of classes; labels are 1..C."""
        found = getattr(self._detector, "num_class", None)
        return found if isinstance(found, int) else None

    def feature_source(self) -> str:
        """The map that OpenPCDet's parts hand on."""
        return "spatial_features_2d" if self._pc_range is not None else "none"

    def hooks(self) -> list[tuple[nn.Module, Any]]:
        """Its heads."""
        heads = [getattr(self._detector, name, None) for name in PCDET_HEADS]
        return [(head, self._record) for head in heads if head is not None]

    def _record(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._batch = output if isinstance(output, Mapping) else self._batch

    def clear(self) -> None:
        """Forget what was captured."""
        self._batch = None

    def enrich(self, images: Sequence[ImageBoxes]) -> list[ImageBoxes]:
        """Frames with logits, candidates and features; as they are where its heads left nothing."""
        batch, images = self._batch, list(images)
        if batch is None:
            return images
        scores, boxes = batch.get("batch_cls_preds"), batch.get("batch_box_preds")
        if hasattr(scores, "shape") and hasattr(boxes, "shape"):
            images = [self._attach(image, batch, position) for position, image in enumerate(images)]
        return _with_map(images, map_of(batch), self._pc_range)

    def _attach(self, image: ImageBoxes, batch: Mapping[str, Any], position: int) -> ImageBoxes:
        import torch

        index = batch.get("batch_index")
        frame = position if index is None else index == position
        logits, boxes = batch["batch_cls_preds"][frame], batch["batch_box_preds"][frame]
        normalised = bool(batch.get("cls_preds_normalized"))
        scores = logits if normalised else torch.sigmoid(logits)
        places = torch.arange(len(scores), device=scores.device)
        labels: Any = None
        if batch.get("has_class_labels"):
            named = batch["roi_labels"] if "roi_labels" in batch else batch["batch_pred_labels"]
            labels = named[position].reshape(-1)
        if labels is not None or not self._multi:  # one entry per place, with its best class
            scores, best = scores.max(dim=1)
            labels = best + 1 if labels is None else labels
        else:
            places, classes = (scores >= LOWEST_CANDIDATE).nonzero(as_tuple=True)
            scores, labels = scores[places, classes], classes + 1
        least = min(LOWEST_CANDIDATE, float(image.scores.min(initial=1.0)))
        chosen = (scores >= least).nonzero()[:, 0]
        entries = Entries(
            boxes[places[chosen], :BOX_WIDTH], labels[chosen].to(torch.int64), scores[chosen], places[chosen]
        )
        shown = None if logits.shape[1] == 1 else torch.logit(logits, eps=1e-6) if normalised else logits
        rows = None if shown is None else _logits_of(image, entries, shown)
        return replace(image, candidates=image.candidates or entries.candidates(), logits=rows)


def _logits_of(image: ImageBoxes, entries: Entries, logits: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """``(U, 1 + C)`` logits of the places that boxes came from, NaN where that is not known; background's first."""
    import torch

    rows = find_rows(image, entries, BOX_TOLERANCE)
    chosen = torch.from_numpy(np.maximum(rows, 0)).to(logits.device)
    found = with_background(to_float32(logits[chosen] if len(logits) else logits.new_zeros(len(rows), logits.shape[1])))
    found[rows < 0] = np.nan
    return found


class MmdetHead(_Knobs):
    """A detector laid out as mmdetection3d's: thresholds in ``test_cfg``, features from the map that its head is given.

    Args:
        detector: The detector.
        pc_range: What the map shows, or None.
    """

    family = "mmdetection3d"

    def __init__(self, detector: nn.Module, pc_range: PointRange | None) -> None:
        self._pc_range = pc_range
        names = [name for name in MMDET_HEADS if getattr(detector, name, None) is not None]
        self._name, self._head = names[0], getattr(detector, names[0])
        config, coder = read(self._head, "test_cfg"), read(self._head, "bbox_coder")
        super().__init__([(config, read(config, "nms_cfg")), (coder,)], MMDET_NAMES)
        self._map: Any = None

    def refuses(self) -> bool:
        """No: it predicts in either mode."""
        return False

    def n_class(self) -> int | None:
        """Its number of classes, of all its tasks together."""
        found = getattr(self._head, "num_classes", None)
        if isinstance(found, list | tuple):
            return sum(map(int, found))
        return found if isinstance(found, int) else None

    def feature_source(self) -> str:
        """The map that goes into the head; second stages are given none."""
        return f"input of {self._name}" if self._pc_range is not None and self._name != MMDET_HEADS[0] else "none"

    def hooks(self) -> list[tuple[nn.Module, Any]]:
        """Its head."""
        return [(self._head, self._record)]

    def _record(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        found = map_of((*args, *kwargs.values()))
        self._map = self._map if found is None else found.detach()

    def clear(self) -> None:
        """Forget what was captured."""
        self._map = None

    def enrich(self, images: Sequence[ImageBoxes]) -> list[ImageBoxes]:
        """Frames with features, where the head was given a map."""
        return _with_map(list(images), self._map, self._pc_range)


def _with_map(images: list[ImageBoxes], feature_map: Any, pc_range: PointRange | None) -> list[ImageBoxes]:
    """Frames with features sampled from a map, but where the model itself returned some."""
    if feature_map is None or pc_range is None or len(feature_map) != len(images):
        return images
    rows = sample_boxes(feature_map, [image.boxes for image in images], pc_range)
    pairs = zip(images, rows, strict=True)
    return [replace(image, features=own) if image.features is None else image for image, own in pairs]
