"""How long matching takes, and whether its right boxes are those of COCO's own evaluation, box by box.

    python benchmarks/detection_matching.py [--images 10000] [--boxes 30]

Scenes are generated: annotated boxes, predictions scattered around them, 80 classes of which few are frequent. Times
are of one thread. The agreement needs pycocotools and the ``coco355`` data.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is loaded

import numpy as np
from numpy.typing import NDArray

from benchmarks.error_detection.traces import data_folder
from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.matching import DETECTION_CODES, Match, MatchSettings, match
from ml_debugger.tasks.boxes_in import read_truths

DETECTIONS = ("dets_yolox_nano416", "dets_nanodet_m320")
IOUS = (0.5, 0.75, 0.9)
LIMIT = 30.0  # seconds for 10,000 images x 30 boxes


def make_scenes(n_images: int, n_boxes: int, n_truths: int, seed: int = 0) -> tuple[PredictedBoxes, TrueBoxes]:
    """Images with annotated boxes, and predictions of which two thirds lie near one of them."""
    random = np.random.default_rng(seed)
    truth_index = np.repeat(np.arange(n_images), n_truths)
    truth_box = _boxes(random, len(truth_index))
    truth_label = np.minimum(random.geometric(0.15, len(truth_index)) - 1, 79)
    index = np.repeat(np.arange(n_images), n_boxes)
    box, label = _boxes(random, len(index)), np.minimum(random.geometric(0.15, len(index)) - 1, 79)
    near = np.flatnonzero(random.random(len(index)) < 2 / 3)
    of = index[near] * n_truths + random.integers(0, n_truths, len(near))
    size = truth_box[of, 2:] - truth_box[of, :2]
    box[near] = truth_box[of] + random.normal(0, 0.12, (len(near), 4)) * np.tile(size, 2)
    label[near] = np.where(random.random(len(near)) < 0.85, truth_label[of], label[near])
    score = random.random(len(index)).round(4)
    return PredictedBoxes(index, box, label, score), TrueBoxes(
        truth_index, truth_box, truth_label, random.random(len(truth_index)) < 0.01
    )


def _boxes(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    corner = random.random((count, 2)) * (560, 400)
    return np.concatenate([corner, corner + 12 + random.exponential(60, (count, 2))], axis=1)


@dataclass(frozen=True)
class Agreement:
    """Of one set of detections: boxes, right ones, and how many COCO's evaluation judges otherwise.

    Attributes:
        boxes: Detections.
        right: True positives.
        ignored: Detections in crowds.
        differing: Detections whose verdict (right, wrong, ignored) differs.
        partners_differing: Detections that are right by both and belong to another annotation, or right by one.
        truths: Annotations to be found.
        missed_differing: Annotations that only one of the two finds.
    """

    boxes: int
    right: int
    ignored: int
    differing: int
    partners_differing: int
    truths: int
    missed_differing: int


def agreement(folder: Path, name: str, iou: float) -> Agreement:
    """Compare our verdicts with those of pycocotools."""
    instances, truths, truth_ids = read_annotations(folder)
    detections = json.loads((folder / f"{name}.json").read_text())
    found = match(read_detections(instances, detections), truths, MatchSettings(foreground_iou=iou))
    right = (found.code == "A") & ~found.cls_error
    verdict = np.select([right, found.ignored], [1, -1], 0)
    partner = np.where(right, truth_ids[found.truth], 0)
    theirs, their_partner = coco_verdicts(instances, detections, iou)
    objects = set(truth_ids[~truths.ignored])
    lost, their_lost = objects - set(partner[right]), objects - set(their_partner[theirs == 1])
    return Agreement(
        boxes=len(found),
        right=int(right.sum()),
        ignored=int(found.ignored.sum()),
        differing=int((verdict != theirs).sum()),
        partners_differing=int((partner != np.where(theirs == 1, their_partner, 0)).sum()),
        truths=len(objects),
        missed_differing=len(lost ^ their_lost),
    )


def read_annotations(folder: Path) -> tuple[dict[str, Any], TrueBoxes, NDArray[np.int64]]:
    """The COCO file, its boxes, and the id of each."""
    instances = json.loads((folder / "instances.json").read_text())
    own: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in instances["images"]}
    for annotation in instances["annotations"]:
        own[annotation["image_id"]].append(annotation)
    ids = np.array([annotation["id"] for annotations in own.values() for annotation in annotations])
    return instances, read_truths(list(own.values()), len(own)).boxes, ids


def read_detections(instances: dict[str, Any], detections: list[dict[str, Any]]) -> PredictedBoxes:
    """Detections in COCO's results format, in their order."""
    position = {image["id"]: number for number, image in enumerate(instances["images"])}
    box = np.array([one["bbox"] for one in detections])
    box[:, 2:] += box[:, :2]
    return PredictedBoxes(
        np.array([position[one["image_id"]] for one in detections]),
        box,
        np.array([one["category_id"] for one in detections]),
        np.array([one["score"] for one in detections]),
    )


def coco_verdicts(
    instances: dict[str, Any], detections: list[dict[str, Any]], iou: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per detection 1 (true positive), 0 (false positive) or -1 (ignored), and the id of its annotation."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = instances
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes([dict(one) for one in detections]), "bbox")
        evaluation.params.iouThrs = np.array([iou])
        evaluation.params.maxDets = [len(detections)]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
    verdict, partner = np.full(len(detections), 9), np.zeros(len(detections), dtype=np.int64)
    for image in filter(None, evaluation.evalImgs):
        rows = np.array(image["dtIds"], dtype=np.int64) - 1  # pycocotools numbers results from 1
        partner[rows] = image["dtMatches"][0]
        verdict[rows] = np.where(image["dtIgnore"][0], -1, image["dtMatches"][0] > 0)
    return verdict, partner


def coco_folder() -> Path | None:
    """Where the real detections lie, if they are there."""
    try:
        folder = data_folder() / "coco355"
    except FileNotFoundError:
        return None
    return folder if folder.is_dir() else None


def time_match(n_images: int, n_boxes: int, n_truths: int) -> tuple[float, Match]:
    """CPU seconds of one matching, and what it found."""
    predictions, truths = make_scenes(n_images, n_boxes, n_truths)
    started = time.process_time()
    found = match(predictions, truths)
    return time.process_time() - started, found


def speed_table(n_images: int, n_boxes: int) -> str:
    """Seconds as images and boxes grow."""
    lines = ["| images | predicted | annotated each | CPU s | peak MB |", "|--:|--:|--:|--:|--:|"]
    cases = [(n_images // 4, n_boxes, 10), (n_images, n_boxes, 10), (n_images, n_boxes, 30), (n_images // 10, 300, 30)]
    for images, boxes, truths in cases:
        seconds, found = time_match(images, boxes, truths)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        lines.append(f"| {images:,} | {len(found):,} | {truths} | {seconds:.1f} | {peak:,.0f} |")
    return "\n".join(lines) + "\n"


def agreement_table(folder: Path) -> str:
    """Every detection against COCO's verdict."""
    lines = [
        "| detections | IoU | boxes | right | in crowds | verdict differs | partner differs | annotations | "
        "found by one only |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in DETECTIONS:
        for iou in IOUS:
            a = agreement(folder, name, iou)
            cells = (a.boxes, a.right, a.ignored, a.differing, a.partners_differing, a.truths, a.missed_differing)
            lines.append(f"| {name} | {iou} | {' | '.join(f'{cell:,}' for cell in cells)} |")
    return "\n".join(lines) + "\n"


def code_table(folder: Path, least_score: float = 0.3) -> str:
    """How often each code occurs on the real detections."""
    instances, truths, _ = read_annotations(folder)
    lines = [f"| score >= {least_score} | boxes | {' | '.join(DETECTION_CODES)} | `*` | class wrong | missed |"]
    lines.append("|---" + "|--:" * (len(DETECTION_CODES) + 4) + "|")
    for name in DETECTIONS:
        detections = json.loads((folder / f"{name}.json").read_text())
        found = match(read_detections(instances, [one for one in detections if one["score"] >= least_score]), truths)
        counts = " | ".join(str(int((found.code == code).sum())) for code in DETECTION_CODES)
        uncertain, wrong, missed = (int(flags.sum()) for flags in (~found.certain, found.cls_error, found.missed))
        lines.append(f"| {name} | {len(found):,} | {counts} | {uncertain} | {wrong} | {missed} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--boxes", type=int, default=30)
    options = parser.parse_args()
    out = sys.stdout.write
    out(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; limit for 10,000 x 30: {LIMIT:.0f} s\n\n")
    out(speed_table(options.images, options.boxes) + "\n")
    folder = coco_folder()
    if folder is None:
        out("coco355 is not there: no agreement measured\n")
        return 0
    out(agreement_table(folder) + "\n" + code_table(folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
