"""Real detections with their annotations, as the adapters would hand them over."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection_errors.yolox import open_session, raw_candidates
from ml_debugger.analysis.boxes import PredictedBoxes, iou_matrix
from ml_debugger.analysis.frame_context import frame_context
from ml_debugger.analysis.suppressed import Candidates, suppressed
from ml_debugger.tasks import TASKS
from ml_debugger.types import ModelOutput

__all__ = [
    "TASK",
    "Detector",
    "Images",
    "Proposals",
    "detections",
    "load_images",
    "ready_proposals",
    "suppressed_at",
    "yolox_proposals",
]

TASK: Final = TASKS["object_detection"]
NMS_IOU: Final = 0.45
LEAST: Final = 1e-4

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """B annotated images.

    Attributes:
        ids: ``(B,)``.
        files: Paths, one each.
        size: ``(B, 2)`` width and height.
        annotations: COCO annotations of each image.
    """

    ids: Int64
    files: tuple[Path, ...]
    size: Int64
    annotations: tuple[list[dict[str, Any]], ...]


@dataclass(frozen=True)
class Proposals:
    """What a detector says of those images before a threshold: M boxes with scores.

    Attributes:
        image: ``(M,)`` position of the image, ascending.
        box: ``(M, 4)``.
        score: ``(M, C)`` scores of the classes, or ``(M,)`` that of the label.
        label: ``(M,)``.
        suppressed: Whether suppression already happened; else the rest of the candidates is among the boxes.
        logits: ``(M, C)`` log-odds of the classes as the network gives them, or None.
    """

    image: Int64
    box: NDArray[np.float32]
    score: NDArray[np.float64]
    label: Int64
    suppressed: bool
    logits: NDArray[np.float32] | None = None

    @property
    def best(self) -> NDArray[np.float64]:
        """``(M,)`` score of the label."""
        return self.score.max(axis=1) if self.score.ndim == 2 else self.score


@dataclass(frozen=True)
class Detector:
    """A detector on annotated images.

    Attributes:
        images: The images.
        proposals: What it says of them before a threshold; the rivals' features are made of these.
        read: Score threshold -> what an adapter records.
    """

    images: Images
    proposals: Proposals
    read: Callable[[float], ModelOutput]


def suppressed_at(proposals: Proposals, images: Images) -> Detector:
    """A detector whose boxes are its proposals of at least a score, after suppression."""
    return Detector(images, proposals, lambda threshold: detections(proposals, images, threshold))


def load_images(folder: Path) -> Images:
    """The images of a folder in COCO format."""
    listed = json.loads((folder / "instances.json").read_text())
    by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in listed["images"]}
    for annotation in listed["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    images = sorted(listed["images"], key=lambda image: int(image["id"]))
    return Images(
        np.array([image["id"] for image in images]),
        tuple(folder / "images" / image["file_name"] for image in images),
        np.array([(image["width"], image["height"]) for image in images]),
        tuple(by_image[image["id"]] for image in images),
    )


def ready_proposals(path: Path, images: Images) -> Proposals:
    """Detections in COCO's results format, suppressed by whoever made them."""
    listed = json.loads(path.read_text())
    image = np.searchsorted(images.ids, [entry["image_id"] for entry in listed])
    box = np.array([entry["bbox"] for entry in listed], dtype=np.float32)
    box[:, 2:] += box[:, :2]
    score = np.array([entry["score"] for entry in listed], dtype=np.float64)
    label = np.array([entry["category_id"] for entry in listed], dtype=np.int64)
    order = np.argsort(image, kind="stable")
    return Proposals(image[order], box[order], score[order], label[order], suppressed=True)


def yolox_proposals(model: Path, images: Images, cache: Path) -> Proposals:
    """YOLOX-nano run here once; its candidates before suppression."""
    if not cache.exists():
        session = open_session(model)
        found = [raw_candidates(session, path) for path in images.files]
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            cache,
            image=np.repeat(np.arange(len(found)), [len(one[0]) for one in found]),
            **{
                name: np.concatenate(parts)
                for name, parts in zip(("box", "score", "object"), zip(*found, strict=True), strict=True)
            },
        )
    with np.load(cache) as stored:
        score = stored["score"].astype(np.float64)
        logits = _log_odds(score / np.maximum(stored["object"], LEAST)[:, None])
        return Proposals(stored["image"], stored["box"], score, score.argmax(axis=1), suppressed=False, logits=logits)


def detections(proposals: Proposals, images: Images, score_thresh: float) -> ModelOutput:
    """The boxes of at least a score, after suppression, with what an adapter can see around them."""
    best = proposals.best
    everything = Candidates(
        proposals.image, proposals.box, proposals.label, best, proposals.score if proposals.score.ndim == 2 else None
    )
    kept = np.flatnonzero(best >= score_thresh)
    if not proposals.suppressed:
        kept = kept[_survivors(proposals, kept, best)]
    kept = kept[np.lexsort((-best[kept], proposals.image[kept]))]
    boxes = PredictedBoxes(proposals.image[kept], proposals.box[kept], proposals.label[kept], best[kept])
    seen = suppressed(boxes, everything) if proposals.suppressed else suppressed(boxes, everything, NMS_IOU)
    sizes = images.size[boxes.input_index].astype(np.float32)
    around = PredictedBoxes(proposals.image, proposals.box, proposals.label, best)
    return ModelOutput(
        len(images.ids),
        boxes.input_index,
        boxes.label,
        boxes.score,
        logits=None if proposals.logits is None else proposals.logits[kept],
        boxes=boxes.box,
        context=np.concatenate([sizes, seen], axis=1),
        frame_context=frame_context(boxes, around, np.ones(len(images.ids), dtype=bool), score_thresh),
    )


def _log_odds(share: NDArray[np.float64]) -> NDArray[np.float32]:
    inside = np.clip(share, LEAST, 1.0 - LEAST)
    return np.asarray(np.log(inside) - np.log1p(-inside), dtype=np.float32)


def _survivors(proposals: Proposals, rows: Int64, best: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Non-maximum suppression within image and class."""
    alive = np.ones(len(rows), dtype=bool)
    image, label = proposals.image[rows], proposals.label[rows]
    for pair in np.unique(np.stack([image, label]), axis=1).T:
        inside = np.flatnonzero((image == pair[0]) & (label == pair[1]))
        inside = inside[np.argsort(-best[rows[inside]], kind="stable")]
        overlap = iou_matrix(proposals.box[rows[inside]], proposals.box[rows[inside]])
        for place in range(len(inside)):
            if alive[inside[place]]:
                alive[inside[place + 1 :][overlap[place, place + 1 :] > NMS_IOU]] = False
    return alive
