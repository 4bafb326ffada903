"""How long matching takes in 3D, and whether overlaps and right boxes are those of KITTI's evaluation, box by box.

    python benchmarks/detection3d_matching.py

Needs the ``kitti3d`` data: the outputs of two detectors on 1,884 frames. Times are of one thread. KITTI's rule (the
"easy" difficulty) and its overlaps are written here once more, in plain loops and in the axes of its camera.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is loaded

import numpy as np
from numpy.typing import NDArray

from benchmarks.error_detection.traces import data_folder
from ml_debugger.analysis.box_conventions import from_camera
from ml_debugger.analysis.box_kinds import BOXES_3D
from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes, join_overlaps
from ml_debugger.analysis.match_settings import MEASURES, MatchSettings
from ml_debugger.analysis.matching import DETECTION_CODES, Match, match

DETECTORS = ("pointpillars", "fpointnet")
LIMIT = 30.0  # seconds for both detectors
CLASSES = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
"""KITTI's classes, and the overlap above which a box is right."""
NEIGHBOURS = {"Car": "Van", "Pedestrian": "Person_sitting"}
"""Objects that may be taken for one of the class: to find them is neither right nor wrong."""
LEAST_HEIGHT, MOST_TRUNCATED, MOST_OCCLUDED = 40.0, 0.15, 0
SCORES = (0.0, 0.5)

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Point = tuple[float, float]


@dataclass(frozen=True)
class KittiRows:
    """Rows of KITTI, without DontCare; N of them.

    Attributes:
        frame: ``(N,)`` int64.
        name: ``(N,)`` class.
        height: ``(N,)`` of the box in the image, pixels.
        hwl: ``(N, 3)`` metres.
        xyz: ``(N, 3)`` middle of the bottom in the axes of the camera.
        ry: ``(N,)`` about the camera's y.
        score: ``(N,)``; NaN for annotations.
        hard: ``(N,)`` whether occluded, truncated or small: an annotation that is not asked for.
    """

    frame: Int64
    name: NDArray[np.str_]
    height: Float64
    hwl: Float64
    xyz: Float64
    ry: Float64
    score: Float64
    hard: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def box(self) -> Float64:
        """``(N, 7)`` in the convention of the package: z up, the geometric centre."""
        centre = self.xyz - self.hwl[:, :1] / 2 * [0.0, 1.0, 0.0]
        return from_camera(centre, self.hwl[:, [2, 0, 1]], self.ry)

    def rows(self, chosen: NDArray) -> KittiRows:
        """Some of them, by mask or position."""
        return KittiRows(**{name: column[chosen] for name, column in vars(self).items()})


def read_kitti3d(folder: Path, name: str) -> KittiRows:
    """``gt_val``, or ``det_*_A`` of a detector."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as stored:
        columns = {key: stored[key] for key in stored.files}
    names = columns["names"][columns["cls"]]
    rows = {key: columns[key].astype(np.float64) for key in ("hwl", "xyz", "ry", "score")}
    height = np.abs(columns["bbox2d"][:, 3] - columns["bbox2d"][:, 1]).astype(np.float64)
    hard = (columns["occ"] > MOST_OCCLUDED) | (columns["trunc"] > MOST_TRUNCATED) | (height <= LEAST_HEIGHT)
    return KittiRows(columns["frame"].astype(np.int64), names, height, hard=hard, **rows).rows(names != "DontCare")


def detections_of(folder: Path, detector: str) -> KittiRows:
    """What a detector found."""
    return read_kitti3d(folder, f"det_{detector}_A")


def as_predictions(rows: KittiRows) -> PredictedBoxes:
    """Of three classes."""
    return PredictedBoxes(rows.frame, rows.box, _class_ids(rows), rows.score)


def as_truths(rows: KittiRows) -> TrueBoxes:
    """The three classes, and the rest as classes of their own."""
    return TrueBoxes(rows.frame, rows.box, _class_ids(rows), np.zeros(len(rows), bool))


def _class_ids(rows: KittiRows) -> Int64:
    names = [*CLASSES, *sorted(set(rows.name.tolist()) - set(CLASSES))]
    return np.array([names.index(name) for name in rows.name.tolist()], dtype=np.int64)


# KITTI's own overlaps, one pair at a time


def ground_corners(rows: KittiRows, one: int) -> list[Point]:
    """Corners of a box on the ground: x to the right, z forward."""
    (_, w, length), (x, _, z), ry = rows.hwl[one].tolist(), rows.xyz[one].tolist(), float(rows.ry[one])
    cos, sin = math.cos(ry), math.sin(ry)
    local = [(length / 2, w / 2), (-length / 2, w / 2), (-length / 2, -w / 2), (length / 2, -w / 2)]
    return [(x + cos * a + sin * b, z - sin * a + cos * b) for a, b in local]


def polygon_area(polygon: list[Point]) -> float:
    """By the shoelace formula; above 0 for counter-clockwise corners."""
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True)) / 2


def cut_polygon(polygon: list[Point], start: Point, end: Point) -> list[Point]:
    """What of a polygon lies to the left of a line."""
    along = (end[0] - start[0], end[1] - start[1])
    sides = [along[0] * (p[1] - start[1]) - along[1] * (p[0] - start[0]) for p in polygon]
    kept: list[Point] = []
    for number, (point, side) in enumerate(zip(polygon, sides, strict=True)):
        following = (number + 1) % len(polygon)
        if side >= 0:
            kept.append(point)
        if side * sides[following] < 0:
            share, other = side / (side - sides[following]), polygon[following]
            kept.append((point[0] + share * (other[0] - point[0]), point[1] + share * (other[1] - point[1])))
    return kept


def kitti_overlaps(found: KittiRows, one: int, truths: KittiRows, other: int) -> tuple[float, float]:
    """Overlap on the ground and in space."""
    polygon = ground_corners(found, one)
    edges = ground_corners(truths, other)
    for start, end in zip(edges, edges[1:] + edges[:1], strict=True):
        polygon = cut_polygon(polygon, start, end) if polygon else []
    shared = abs(polygon_area(polygon)) if polygon else 0.0
    (h, w, length), (other_h, other_w, other_length) = found.hwl[one].tolist(), truths.hwl[other].tolist()
    bottom, other_bottom = float(found.xyz[one, 1]), float(truths.xyz[other, 1])
    height = min(bottom, other_bottom) - max(bottom - h, other_bottom - other_h)
    space = shared * max(height, 0.0)
    return (
        shared / (w * length + other_w * other_length - shared),
        space / (h * w * length + other_h * other_w * other_length - space),
    )


@dataclass(frozen=True)
class KittiPairs:
    """Every pair of a frame whose centres are near enough to overlap, P of them, with KITTI's overlaps.

    Attributes:
        found: ``(P,)`` position among the detections.
        truth: ``(P,)`` among the annotations.
        overlap: ``(P, 2)`` on the ground, in space.
    """

    found: Int64
    truth: Int64
    overlap: Float64


def kitti_pairs(found: KittiRows, truths: KittiRows) -> KittiPairs:
    """All pairs that can overlap."""
    rows: list[tuple[int, int, float, float]] = []
    reach, other_reach = (np.hypot(each.hwl[:, 1], each.hwl[:, 2]) / 2 for each in (found, truths))
    of_frame = {frame: np.flatnonzero(truths.frame == frame) for frame in np.unique(truths.frame).tolist()}
    for one, frame in enumerate(found.frame.tolist()):
        others = of_frame.get(frame, np.empty(0, np.int64))
        apart = np.hypot(*(truths.xyz[others] - found.xyz[one])[:, [0, 2]].T)
        near = others[apart < reach[one] + other_reach[others]]
        rows += [(one, other, *kitti_overlaps(found, one, truths, other)) for other in near.tolist()]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return KittiPairs(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:])


def overlap_difference(found: KittiRows, truths: KittiRows, pairs: KittiPairs) -> tuple[int, float, float]:
    """Pairs that share space, and the greatest differences of our overlaps from KITTI's: on the ground, in space."""
    differences = []
    for column, measure in enumerate(("iou_bev", "iou_3d")):
        ours = join_overlaps(
            BOXES_3D.iter_overlaps(as_predictions(found), as_truths(truths), MatchSettings(measure=measure))
        )
        known = dict(zip(zip(ours.first.tolist(), ours.second.tolist(), strict=True), ours.iou.tolist(), strict=True))
        theirs = zip(pairs.found.tolist(), pairs.truth.tolist(), pairs.overlap[:, column].tolist(), strict=True)
        differences.append(max(abs(known.pop((one, other), 0.0) - overlap) for one, other, overlap in theirs))
        if known:
            raise SystemExit(
                f"{len(known)} pairs overlap here and are too far apart for KITTI: the comparison is wrong"
            )
    return int((pairs.overlap[:, 1] > 0).sum()), differences[0], differences[1]


# Right, wrong, or neither


def kitti_verdicts(
    found: KittiRows, truths: KittiRows, pairs: KittiPairs, name: str, column: int, *, by_score: bool = False
) -> Int64:
    """``(U,)`` 1 (true positive), 0 (false positive) or -1 (neither) of each detection, by KITTI's rule.

    Annotation by annotation, in the order of the file: each takes the detection of its class that overlaps it most,
    above the threshold, among those not taken. Small detections are taken only where no other is left. KITTI's own
    first pass, which finds the scores to measure at, prefers the best score instead: ``by_score``.
    """
    asked = truths.name == name
    objects = np.flatnonzero(asked | (truths.name == NEIGHBOURS.get(name, "")))
    is_small = found.height < LEAST_HEIGHT
    candidates: dict[int, list[tuple[int, float]]] = {}
    for one, other, overlap in zip(pairs.found, pairs.truth, pairs.overlap[:, column], strict=True):
        if overlap > CLASSES[name] and (is_small[one] or found.name[one] == name):
            candidates.setdefault(int(other), []).append((int(one), float(found.score[one] if by_score else overlap)))
    verdict = np.where((found.name == name) & ~is_small, 0, -1)
    taken: set[int] = set()
    for other in objects.tolist():
        free = [(one, merit) for one, merit in candidates.get(other, []) if one not in taken]
        large = [(merit, -one) for one, merit in free if not is_small[one]]
        if not free:
            continue
        one = -max(large)[1] if large else free[0][0]
        taken.add(one)
        verdict[one] = 1 if large and asked[other] and not truths.hard[other] else -1
    return verdict


def our_verdicts(found: KittiRows, truths: KittiRows, name: str, column: int) -> Int64:
    """``(U,)`` likewise, by `match`: what KITTI passes over are objects here, and who finds them is neither."""
    verdict = np.full(len(found), -1)
    rows = np.flatnonzero((found.name == name) & (found.height >= LEAST_HEIGHT))
    asked = truths.name == name
    objects = np.flatnonzero(asked | (truths.name == NEIGHBOURS.get(name, "")))
    boxes, true_boxes = found.rows(rows), truths.rows(objects)
    same = np.zeros(len(objects), dtype=np.int64)
    matched = match(
        PredictedBoxes(boxes.frame, boxes.box, np.zeros(len(boxes), dtype=np.int64), boxes.score),
        TrueBoxes(true_boxes.frame, true_boxes.box, same, same.astype(bool)),
        MatchSettings(foreground_iou=CLASSES[name], measure=("iou_bev", "iou_3d")[column]),
        BOXES_3D,
    )
    right = matched.code == "A"
    is_asked = (asked & ~truths.hard)[objects]
    verdict[rows] = np.where(right, np.where(is_asked[matched.truth], 1, -1), 0)
    return verdict


@dataclass(frozen=True)
class Agreement:
    """Of one class, overlap and least score: detections by both verdicts.

    Attributes:
        boxes: Detections of the class that are large enough.
        right: True positives of KITTI's rule.
        wrong: False positives of KITTI's rule.
        our_right: True positives of the matching.
        our_wrong: Its false positives.
        differing: Detections whose verdict differs.
        differing_by_score: Those that still do where KITTI's rule prefers the best score, too.
    """

    boxes: int
    right: int
    wrong: int
    our_right: int
    our_wrong: int
    differing: int
    differing_by_score: int


def agreement(
    found: KittiRows, truths: KittiRows, pairs: KittiPairs, name: str, column: int, least: float
) -> Agreement:
    """Compare our verdicts with KITTI's on detections of some score and more."""
    kept = found.score >= least
    number = np.cumsum(kept) - 1
    chosen = kept[pairs.found]
    fewer = KittiPairs(number[pairs.found[chosen]], pairs.truth[chosen], pairs.overlap[chosen])
    found = found.rows(kept)
    theirs = kitti_verdicts(found, truths, fewer, name, column)
    by_score = kitti_verdicts(found, truths, fewer, name, column, by_score=True)
    ours = our_verdicts(found, truths, name, column)
    own = (found.name == name) & (found.height >= LEAST_HEIGHT)
    counts = [int((verdict[own] == value).sum()) for verdict in (theirs, ours) for value in (1, 0)]
    return Agreement(int(own.sum()), *counts, *(int((each[own] != ours[own]).sum()) for each in (theirs, by_score)))


# Tables


def time_match(folder: Path, detector: str, measure: str) -> tuple[float, Match]:
    """CPU seconds of matching all frames, and what it found."""
    predictions, truths = as_predictions(detections_of(folder, detector)), as_truths(read_kitti3d(folder, "gt_val"))
    started = time.process_time()
    matched = match(predictions, truths, MatchSettings(measure=measure), BOXES_3D)
    return time.process_time() - started, matched


def speed_table(folder: Path) -> str:
    """Seconds and codes by detector and measure."""
    lines = [f"| detector | overlap | boxes | CPU s | {' | '.join(DETECTION_CODES)} | `*` | class wrong | missed |"]
    lines.append("|---|---" + "|--:" * (len(DETECTION_CODES) + 5) + "|")
    total = 0.0
    for detector in DETECTORS:
        for measure in MEASURES:
            seconds, matched = time_match(folder, detector, measure)
            total += seconds
            counts = [int((matched.code == code).sum()) for code in DETECTION_CODES]
            counts += [int(flags.sum()) for flags in (~matched.certain, matched.cls_error, matched.missed)]
            cells = " | ".join(f"{count:,}" for count in counts)
            lines.append(f"| {detector} | `{measure}` | {len(matched):,} | {seconds:.2f} | {cells} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines.append(f"\n{total:.1f} CPU s for all of it, limit {LIMIT:.0f} s for both detectors once; peak {peak:,.0f} MB")
    return "\n".join(lines) + "\n"


def agreement_tables(folder: Path) -> str:
    """Overlaps, and every detection against KITTI's verdict."""
    truths = read_kitti3d(folder, "gt_val")
    overlaps = ["| detector | pairs in contact | BEV differs by at most | 3D by at most |", "|---|--:|--:|--:|"]
    verdicts = [
        "| detector | class | overlap | score | boxes | right | wrong | ours right | wrong | differing | by score |"
    ]
    verdicts.append("|---|---|---" + "|--:" * 8 + "|")
    for detector in DETECTORS:
        found = detections_of(folder, detector)
        pairs = kitti_pairs(found, truths)
        count, bev, space = overlap_difference(found, truths, pairs)
        overlaps.append(f"| {detector} | {count:,} | {bev:.1e} | {space:.1e} |")
        for name in CLASSES:
            for column, kind in enumerate(("BEV", "3D")):
                for least in SCORES:
                    a = agreement(found, truths, pairs, name, column, least)
                    cells = " | ".join(f"{n:,}" for n in vars(a).values())
                    verdicts.append(f"| {detector} | {name} | {kind} | {least} | {cells} |")
    return "\n".join([*overlaps, "", *verdicts]) + "\n"


def kitti_folder() -> Path | None:
    """Where the real detections lie, if they are there."""
    try:
        folder = data_folder() / "kitti3d"
    except FileNotFoundError:
        return None
    return folder if folder.is_dir() else None


def main() -> int:
    """Print the tables."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    folder = kitti_folder()
    if folder is None:
        sys.stdout.write("kitti3d is not there: set MLD_TEST_DATA to the folder that holds it\n")
        return 1
    sys.stdout.write(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n\n")
    sys.stdout.write(speed_table(folder) + "\n")
    sys.stdout.write(agreement_tables(folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
