"""What labelling finds for its price: errors found per labelled box, with rankings that mind the price and others.

Run it with: python -m benchmarks.detection_selection [--splits 5]

Real images (`coco355`) with the ready outputs of two detectors at score .3. Half of the images are traced and
evaluated, the other half is the pool; drawn anew for each split. From the pool images are queried until a share of its
predicted boxes is used up (``box_budget``). The price is what an annotator draws: the annotated objects of the chosen
images. An error found is a predicted box that is wrong, or an object that was missed. The mean of the error
probabilities of an image is what a box of it finds; its greatest, or the mean of its greatest three, says more of
images that hold many.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.matching import match
from ml_debugger.data_filter import ObjectDetectionDataFilter
from ml_debugger.errors import MLDebuggerWarning
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ObjectDetectionTracer

DATA = Path(os.environ.get("MLD_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "coco355"
DETECTIONS = ("dets_yolox_nano416", "dets_nanodet_m320")
SCORE, LEAST = 0.3, 0.05
SHARES = (0.15, 0.3)
STRATEGIES: dict[str, Any] = {
    "random": "random",
    "mean (high_error_proba)": "high_error_proba",
    "greatest (top_n=1)": {"top_n": 1},
    "mean of the greatest three (top_n=3)": {"top_n": 3},
    "weighted by size": {"weight_column": "pred_size"},
}


@dataclass(frozen=True)
class Image:
    """Detections of one image as a detector returns them, its annotations, and what labelling it finds."""

    output: dict[str, Any]
    truth: list[dict[str, Any]]
    n_errors: int
    price: int


def load(detections: str) -> dict[int, Image]:
    """All images by id."""
    annotated: dict[int, list[dict[str, Any]]] = {}
    instances = json.loads((DATA / "instances.json").read_text())
    for one in instances["annotations"]:
        annotated.setdefault(one["image_id"], []).append(one)
    found: dict[int, list[dict[str, Any]]] = {}
    for one in json.loads((DATA / f"{detections}.json").read_text()):
        found.setdefault(one["image_id"], []).append(one)
    return {one["id"]: image_of(found.get(one["id"], []), annotated.get(one["id"], [])) for one in instances["images"]}


def image_of(found: list[dict[str, Any]], truth: list[dict[str, Any]]) -> Image:
    box = corners([one["bbox"] for one in found])
    label = np.array([one["category_id"] for one in found], dtype=np.int64)
    score = np.array([one["score"] for one in found], dtype=np.float64)
    kept, seen = score >= SCORE, score >= LEAST
    output = {"boxes": box[kept], "labels": label[kept], "scores": score[kept]}
    beside = {"boxes": box[seen], "labels": label[seen], "scores": score[seen]}
    true = corners([one["bbox"] for one in truth])
    crowd = np.array([bool(one.get("iscrowd", 0)) for one in truth], dtype=bool)
    matched = match(
        PredictedBoxes(np.zeros(int(kept.sum()), np.int64), output["boxes"], output["labels"], output["scores"]),
        TrueBoxes(
            np.zeros(len(true), np.int64), true, np.array([one["category_id"] for one in truth], dtype=np.int64), crowd
        ),
    )
    n_errors = int((matched.is_error & ~matched.ignored).sum() + matched.missed.sum())
    return Image({**output, "candidates": beside}, truth, n_errors, int((~crowd).sum()))


def corners(boxes: list[list[float]]) -> np.ndarray:
    found = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)


def split(images: dict[int, Image], seed: int) -> dict[tuple[float, str], tuple[int, int, int]]:
    """Images, price and errors found, by share of the boxes and strategy."""
    os.environ["MLD_HOME"] = tempfile.mkdtemp(prefix="mld-bench-")
    order = np.random.default_rng(seed).permutation(sorted(images)).tolist()
    traced, pool = order[: len(order) // 2], order[len(order) // 2 :]

    def detect(ids: list[int]) -> list[dict[str, Any]]:
        return [images[one].output for one in ids]

    tracer = ObjectDetectionTracer(detect, "bench", "v1")
    tracer(traced, [images[one].truth for one in traced], traced, dataset_type="val")
    result = Evaluator("bench", "v1").request_evaluation(options={"bootstrap": 5})
    data_filter = ObjectDetectionDataFilter(detect, "bench", "v1", result.result_name)
    data_filter(pool, pool)
    n_boxes = sum(len(images[one].output["labels"]) for one in pool)
    found = {}
    for share in SHARES:
        for name, strategy in STRATEGIES.items():
            ids = data_filter.query(len(pool), strategy, seed=seed, box_budget=round(share * n_boxes))
            chosen = [images[one] for one in ids]
            found[share, name] = (len(ids), sum(one.price for one in chosen), sum(one.n_errors for one in chosen))
    return found


def main(show: Callable[[str], Any] = print) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", MLDebuggerWarning)
    show("| detector | share of boxes | ranking | images | objects to draw | errors found | found per object drawn |")
    show("|---|--:|---|--:|--:|--:|---|")
    for detections in DETECTIONS:
        images = load(detections)
        splits = [split(images, seed) for seed in range(arguments.splits)]
        for share, name in splits[0]:
            sums = np.array([one[share, name] for one in splits], dtype=float)
            rates = sums[:, 2] / np.maximum(sums[:, 1], 1)
            spread = f"{rates.mean():.2f} ({rates.min():.2f} to {rates.max():.2f})"
            n, price, errors = sums.mean(axis=0)
            show(f"| {detections} | {share:.0%} | {name} | {n:.0f} | {price:.0f} | {errors:.0f} | {spread} |")


if __name__ == "__main__":
    main()
