"""From boxes image by image, or frame by frame, to one `ModelOutput`, flat over the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.detection.boxes import Candidates, ImageBoxes
from ml_debugger.adapters.detection.kinds import IMAGES, DetectorKind, PointRange
from ml_debugger.adapters.detection.thinning import kept_positions
from ml_debugger.analysis.boxes import PredictedBoxes
from ml_debugger.analysis.frame_context import frame_context
from ml_debugger.analysis.suppressed import Candidates as BeforeSuppression
from ml_debugger.analysis.suppressed import suppressed
from ml_debugger.errors import CaptureError, InputError
from ml_debugger.types import ModelOutput

__all__ = ["OutputBuilder"]

Float32 = NDArray[np.float32]


@dataclass(slots=True)
class OutputBuilder:
    """Puts inputs together, for the whole life of a tracer or filter: a batch without boxes keeps the widths known.

    Attributes:
        n_class: C where it is known.
        score_thresh: Score from which the detector returns boxes, where it is known.
        iou_thresh: Overlap from which the detector drops boxes, where it is known.
        thinning: Which returned boxes are recorded, see `kept_positions`.
        n_features: D once seen.
        n_logits: Width of the logits once seen.
        shows_candidates: Whether any image came with candidates.
        kind: Of detector.
        pc_range: Where a scene begins and ends, where it is known.
    """

    n_class: int | None = None
    score_thresh: float | None = None
    iou_thresh: float | None = None
    thinning: Mapping[str, Any] | None = None
    n_features: int | None = None
    n_logits: int | None = None
    shows_candidates: bool = False
    kind: DetectorKind = IMAGES
    pc_range: PointRange | None = None

    def build(self, images: Sequence[ImageBoxes], known: Any) -> ModelOutput:
        """One output of B inputs.

        Args:
            images: Boxes of each.
            known: What is known of them: the kind's ``look``. Of images ``(B, 2)`` width and height, where the images
                themselves do not say.

        Raises:
            InputError: If a label is none of the classes.
            CaptureError: If features or logits change their width.
        """
        units = [kept_positions(image, self.thinning or {}, self.kind) for image in images]
        counts = [len(positions) for positions in units]
        input_index = np.repeat(np.arange(len(images)), counts)
        width = self.kind.boxes.width
        boxes = _join([image.boxes[kept] for image, kept in zip(images, units, strict=True)], (0, width), np.float32)
        label = _join([image.labels[kept] for image, kept in zip(images, units, strict=True)], (0,), np.int64)
        score = _join([image.scores[kept] for image, kept in zip(images, units, strict=True)], (0,), np.float64)
        self._check_labels(label)
        self.n_features = _width("features", [image.features for image in images], self.n_features)
        self.n_logits = _width("logits", [image.logits for image in images], self.n_logits)
        self.shows_candidates |= any(image.candidates is not None for image in images)
        kept_boxes, candidates = PredictedBoxes(input_index, boxes, label, score), self._candidates(images)
        return ModelOutput(
            n_inputs=len(images),
            input_index=input_index,
            label=label,
            score=score,
            features=_vectors([image.features for image in images], units, self.n_features),
            logits=_vectors([image.logits for image in images], units, self.n_logits),
            boxes=boxes,
            context=self._context(kept_boxes, candidates, images, known),
            unit=_join(units, (0,), np.int64) if self.thinning else None,
            frame_context=self._frame_context(kept_boxes, candidates, images),
        )

    def describe(self) -> dict[str, Any]:
        """Widths, thresholds and what comes with the boxes; None where not known yet."""
        thinning = self.thinning or {}
        return {
            "n_classes": self.n_class or self.n_logits,
            "n_features": self.n_features,
            "logits": self.n_logits is not None,
            "candidates": self.shows_candidates,
            "score_thresh": thinning.get("score_thresh", self.score_thresh),
            "iou_thresh": thinning.get("iou_thresh", self.iou_thresh),
            self.kind.most: thinning.get(self.kind.most),
            **({"pc_range": self.pc_range} if "border_distance" in self.kind.context else {}),
        }

    def _check_labels(self, label: NDArray[np.int64]) -> None:
        if self.n_class is None or not len(label) or int(label.max()) < self.n_class + self.kind.first_label:
            return
        counted = "" if self.kind.first_label else ", the background counted where it has a label"
        also = f" or 1..{self.n_class}" if self.kind.first_label else ""
        raise InputError(
            f"n_class: {self.n_class} classes have the labels 0..{self.n_class - 1}{also}, but the model predicted "
            f"{int(label.max())}; give the number of classes{counted}"
        )

    def _context(
        self, kept: PredictedBoxes, found: PredictedBoxes, images: Sequence[ImageBoxes], known: Any
    ) -> Float32:
        """``(U, K)``; without candidates only what the place of a box says."""
        rows = np.full((len(kept), len(self.kind.context)), np.nan, dtype=np.float32)
        place = self.kind.place(np.asarray(kept.box, dtype=np.float32), kept.input_index, images, known, self.pc_range)
        rows[:, : place.shape[1]] = place
        seen = np.array([image.candidates is not None for image in images], dtype=bool)[kept.input_index]
        if seen.any():
            candidates = BeforeSuppression(found.input_index, found.box, found.label, found.score)
            rows[seen, place.shape[1] :] = suppressed(kept, candidates, self._iou_thresh(), self.kind.boxes)[seen]
        return rows

    def _iou_thresh(self) -> float:
        found = (self.thinning or {}).get("iou_thresh", self.iou_thresh)
        return self.kind.boxes.same_object if found is None else float(found)

    def _frame_context(self, kept: PredictedBoxes, found: PredictedBoxes, images: Sequence[ImageBoxes]) -> Float32:
        score_thresh = (self.thinning or {}).get("score_thresh", self.score_thresh)
        if score_thresh is None:
            score_thresh = float(kept.score.min()) if len(kept) else 1.0
        seen = np.array([image.candidates is not None for image in images], dtype=bool)
        return frame_context(kept, found, seen, score_thresh, self.kind.boxes)

    def _candidates(self, images: Sequence[ImageBoxes]) -> PredictedBoxes:
        """All candidates of a batch."""
        nothing = np.empty((0, self.kind.boxes.width), np.float32)
        without = Candidates(nothing, np.empty(0, np.int64), np.empty(0, np.float32))
        found = [image.candidates or without for image in images]
        return PredictedBoxes(
            np.repeat(np.arange(len(images)), [len(one.scores) for one in found]),
            _join([one.boxes for one in found], nothing.shape, np.float32),
            _join([one.labels for one in found], (0,), np.int64),
            _join([one.scores for one in found], (0,), np.float32),
        )


def _join(parts: Sequence[NDArray[Any]], empty: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    return np.concatenate([np.empty(empty, dtype=dtype), *parts]).astype(dtype, copy=False)


def _width(name: str, parts: Sequence[Float32 | None], known: int | None) -> int | None:
    widths = {part.shape[1] for part in parts if part is not None} | ({known} if known is not None else set())
    if len(widths) > 1:
        raise CaptureError(
            f"{name}: expected vectors of one width on every call, got widths {sorted(widths)}; return those of "
            "the same layer for every box"
        )
    return next(iter(widths), None)


def _vectors(parts: Sequence[Float32 | None], units: Sequence[NDArray[np.int64]], width: int | None) -> Float32 | None:
    """``(U, width)``; NaN for the boxes of images without."""
    if width is None:
        return None
    rows = [
        np.full((len(kept), width), np.nan, np.float32) if part is None else part[kept]
        for part, kept in zip(parts, units, strict=True)
    ]
    return _join(rows, (0, width), np.float32)
