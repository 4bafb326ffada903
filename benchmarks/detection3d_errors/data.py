"""Real 3D detections with their annotations in our convention, as the adapters would hand them over.

KITTI's validation frames, half of them, with the boxes of two detectors; everything was written in the axes of the left
camera, and is read as x right, y forward, z up (see `ml_debugger.analysis.box_conventions`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.box_conventions import from_camera
from ml_debugger.types import ModelOutput

__all__ = [
    "CLASSES",
    "DETECTORS",
    "Objects",
    "annotations",
    "detections",
    "dont_care_share",
    "halves",
    "read_objects",
    "record",
]

CLASSES: Final = ("Car", "Pedestrian", "Cyclist")
"""The classes that both detectors know; labels are positions in it."""

LOOK_ALIKES: Final = {"Van": "Car", "Person_sitting": "Pedestrian"}
"""Classes that KITTI counts neither as found nor as wrong if they are taken for another."""

DONT_CARE: Final = "DontCare"
TRUTHS: Final = "gt_val.npz"
DETECTORS: Final = {"PointPillars": "det_pointpillars_A.npz", "Frustum-PointNet": "det_fpointnet_A.npz"}

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Objects:
    """M objects of B frames, annotated or detected.

    Attributes:
        ids: ``(B,)`` numbers of the frames, ascending; also of those without objects.
        frame: ``(M,)`` position of the frame of each object, ascending.
        name: ``(M,)`` class by name.
        box: ``(M, 7)`` centre, sizes and yaw; nothing that can be used for `DONT_CARE`.
        box2d: ``(M, 4)`` x1 y1 x2 y2 in pixels of the left camera.
        score: ``(M,)`` 0..1; NaN of annotations.
        occluded: ``(M,)`` 0 to 3; -1 or 0 where it was not told.
        truncated: ``(M,)`` share beyond the image's border; -1 or 0 where it was not told.
    """

    ids: Int64
    frame: Int64
    name: NDArray[np.str_]
    box: Float64
    box2d: Float64
    score: Float64
    occluded: Int64
    truncated: Float64

    def __len__(self) -> int:
        return len(self.frame)

    def of_frames(self, chosen: Bool) -> Objects:
        """Those of some of the frames, by mask; the other frames are gone."""
        place = np.cumsum(chosen) - 1
        own = self.rows(chosen[self.frame])
        return replace(own, ids=self.ids[chosen], frame=place[own.frame])

    def rows(self, chosen: NDArray[Any]) -> Objects:
        """Some of the objects, by mask or position; all frames stay."""
        own = {name: getattr(self, name)[chosen] for name in self.__dataclass_fields__ if name != "ids"}
        return Objects(ids=self.ids, **own)


def read_objects(path: Path) -> Objects:
    """The objects of a file of KITTI's columns, frame by frame in the order in which they stand there."""
    with np.load(path, allow_pickle=False) as stored:
        kept = dict(stored)
    ids = np.unique(kept["frames"].astype(np.int64))
    order = np.argsort(kept["frame"], kind="stable")
    kept |= {
        name: kept[name][order] for name in ("frame", "cls", "bbox2d", "hwl", "xyz", "ry", "score", "occ", "trunc")
    }
    hwl, bottom = kept["hwl"].astype(np.float64), kept["xyz"].astype(np.float64)
    centre = bottom - hwl[:, :1] / 2 * np.array([0.0, 1.0, 0.0])
    return Objects(
        ids=ids,
        frame=np.searchsorted(ids, kept["frame"].astype(np.int64)),
        name=kept["names"][kept["cls"]],
        box=from_camera(centre, hwl[:, [2, 0, 1]], kept["ry"].astype(np.float64)),
        box2d=kept["bbox2d"].astype(np.float64),
        score=kept["score"].astype(np.float64),
        occluded=kept["occ"].astype(np.int64),
        truncated=kept["trunc"].astype(np.float64),
    )


def annotations(truths: Objects, unjudged: Objects | None = None) -> list[dict[str, Any]]:
    """Ground truth of each frame, as a tracer takes it: objects of `CLASSES`, and look-alikes to be ignored.

    Other classes, which neither detector knows, and `DONT_CARE`, which has no place in space, are left out.

    Args:
        truths: What was annotated.
        unjudged: Detections of the same frames where KITTI did not annotate: there is a region to be ignored where each
            of them is.
    """
    found = _own_annotations(truths)
    for place in [] if unjudged is None else np.unique(unjudged.frame).tolist():
        mine = unjudged.rows(unjudged.frame == place)
        added = {"boxes": mine.box, "labels": _labels(mine.name), "ignore": np.ones(len(mine), dtype=bool)}
        found[place] = {name: np.concatenate([values, added[name]]) for name, values in found[place].items()}
    return found


def _own_annotations(truths: Objects) -> list[dict[str, Any]]:
    meant = np.array([LOOK_ALIKES.get(str(name), str(name)) for name in truths.name], dtype=truths.name.dtype)
    known = np.isin(meant, CLASSES)
    own, label = truths.rows(known), _labels(meant[known])
    alike = np.isin(own.name, list(LOOK_ALIKES))
    starts = np.searchsorted(own.frame, np.arange(1, len(own.ids)))
    return [
        {"boxes": box, "labels": labels, "ignore": ignore}
        for box, labels, ignore in zip(
            np.split(own.box, starts), np.split(label, starts), np.split(alike, starts), strict=True
        )
    ]


def detections(found: Objects) -> list[dict[str, NDArray[Any]]]:
    """What the detector returned for each frame, as mmdetection3d and OpenPCDet would, and as candidates once more.

    Its boxes of small scores are all that is known of what it saw besides: it had suppressed the others.
    """
    starts = np.searchsorted(found.frame, np.arange(1, len(found.ids)))
    split = (np.split(values, starts) for values in (found.box, found.score, _labels(found.name)))
    frames = [dict(zip(("boxes", "scores", "labels"), values, strict=True)) for values in zip(*split, strict=True)]
    return [{**frame, "candidates": frame} for frame in frames]


def record(found: Objects, score_thresh: float) -> ModelOutput:
    """What a Tracer of these detections records at a score threshold: the adapter of plain callables reads them."""
    from ml_debugger.adapters import find_adapter

    adapter = find_adapter(
        lambda frames: frames, None, "object_detection_3d", n_class=len(CLASSES), score_thresh=score_thresh
    )
    frames = detections(found)
    return adapter.run(frames, len(frames))[1]


def _labels(names: NDArray[np.str_]) -> Int64:
    labels = np.full(len(names), -1, dtype=np.int64)
    for label, name in enumerate(CLASSES):
        labels[names == name] = label
    return labels


def dont_care_share(found: Objects, truths: Objects) -> Float64:
    """``(M,)`` greatest share of a detection's 2D box that lies in a region where KITTI did not annotate.

    What is detected there can be neither right nor wrong.
    """
    regions = truths.rows(truths.name == DONT_CARE)
    share = np.zeros(len(found))
    area = np.maximum(np.prod(found.box2d[:, 2:] - found.box2d[:, :2], axis=1), np.finfo(np.float64).tiny)
    start = np.searchsorted(regions.frame, found.frame, side="left")
    counts = np.searchsorted(regions.frame, found.frame, side="right") - start
    for number in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(counts > number)
        one, other = found.box2d[rows], regions.box2d[start[rows] + number]
        sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
        share[rows] = np.maximum(share[rows], np.prod(np.maximum(sides, 0.0), axis=1) / area[rows])
    return np.minimum(share, 1.0)


def halves(n_frames: int, seed: int = 0) -> tuple[Bool, Bool]:
    """``(B,)`` twice: the frames to evaluate on, and those of the pool; half each, by frame."""
    order = np.random.default_rng(seed).permutation(n_frames)
    evaluated = np.zeros(n_frames, dtype=bool)
    evaluated[order[: n_frames // 2]] = True
    return evaluated, ~evaluated
