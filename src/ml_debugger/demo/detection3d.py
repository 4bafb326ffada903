"""The 3D detection demo: from a detector of point clouds short of labels to the frames worth annotating, box by box.

It uses the public classes only, so that it doubles as an example. The pool is treated as unlabelled throughout; its
annotations are used afterwards, to count how often what was said about its boxes is right.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.box_kinds import BOXES_3D
from ml_debugger.analysis.match_settings import MatchSettings
from ml_debugger.columns import BOX_3D_COLUMNS
from ml_debugger.data_filter import ObjectDetection3DDataFilter
from ml_debugger.demo import DemoOptions
from ml_debugger.demo.box_findings import (
    BoxPool,
    DetectionSizes,
    Topic,
    batches,
    finding_texts,
    model_text,
)
from ml_debugger.demo.findings import save_pictures, torch_threads
from ml_debugger.demo.street_scenes import CLASS_NAMES, PC_RANGE, Streets, make_streets
from ml_debugger.evaluator import Evaluator, Result
from ml_debugger.presentation.progress import tracked
from ml_debugger.training import ObjectDetection3DTracer

if TYPE_CHECKING:
    from ml_debugger.demo.point_pillars import PointPillars

__all__ = ["SIZES", "run"]

MODEL_NAME: Final = "point_pillars"
SIZES: Final = DetectionSizes(train=160, val=120, pool=160, epochs=14)
N_EXAMPLES: Final = 6
_BATCH: Final = 8
_SMALL: Final = (CLASS_NAMES.index("Pedestrian"), CLASS_NAMES.index("Cyclist"))
# Half a metre beside a pedestrian is near enough to brake for, and shares no area with it.
MATCHING: Final[dict[str, Any]] = {
    "measure_by_class": dict.fromkeys(_SMALL, "distance"),
    "centre_distance_by_class": dict.fromkeys(_SMALL, 0.5),
}
SCORE_THRESH: Final = 0.4
WORST: Final = {"top_n": 3, "img_error_threshold": 0.8}
TOPIC: Final = Topic("frames", "class", CLASS_NAMES, BOXES_3D, BOX_3D_COLUMNS, MatchSettings.read(MATCHING), WORST)

Say = Callable[[str], None]


def run(options: DemoOptions, say: Say, sizes: DetectionSizes = SIZES) -> None:
    """Run the demo: train, trace, evaluate, score the pool, query it in several ways, and compare with the truth."""
    with torch_threads(1):
        _run(options, say, sizes)


def _run(options: DemoOptions, say: Say, sizes: DetectionSizes) -> None:
    from ml_debugger.demo.point_pillars import train

    start = time.perf_counter()
    streets = make_streets(sizes.parts(), seed=0, shown=partial(tracked, title="Scanning streets"))
    say(_data_text(streets))
    shown = partial(tracked, title="Training the detector")
    model = train(streets, streets.parts["train"], 0, sizes.epochs, shown)
    result = _evaluate(model, streets)
    data_filter, flagged = _score_pool(model, streets, result)
    pool = BoxPool.read(data_filter, streets, TOPIC)
    precision = result.metrics.get("map")
    quality = "" if precision is None else f"mAP of {precision:.2f} on val; "
    say(model_text(f"PointPillars in small, trained on {sizes.train} frames", quality, pool))
    for text in finding_texts(result, pool, data_filter, flagged, streets):
        say(text)
    say("\nFiles")
    for title, path in _save(result, streets, options).items():
        say(f"  {title:<16} {path}")
    say(f"\nDone in {time.perf_counter() - start:.0f} s. Every figure was measured in this run, on made-up streets.")


def _evaluate(model: PointPillars, streets: Streets) -> Result:
    """Trace the annotated frames and evaluate, as the guide's steps do."""
    import torch

    tracer = ObjectDetection3DTracer(
        model, MODEL_NAME, "v1", n_class=len(CLASS_NAMES), score_thresh=SCORE_THRESH, pc_range=PC_RANGE
    )
    with torch.no_grad():
        for dataset_type in ("train", "val"):
            for ids in tracked(list(batches(streets.parts[dataset_type], _BATCH)), f"Tracing {dataset_type}"):
                points = [torch.from_numpy(streets.frames[number]) for number in ids]
                tracer(points, streets.annotations(ids), ids, dataset_type=dataset_type)
    tracer.wait_for_save()
    return Evaluator(MODEL_NAME, "v1").request_evaluation(options={"matching": MATCHING})


def _score_pool(
    model: PointPillars, streets: Streets, result: Result
) -> tuple[ObjectDetection3DDataFilter, dict[int, bool]]:
    """Run the data filter over the pool; beside it the flag that each frame got while the model ran."""
    import torch

    data_filter = ObjectDetection3DDataFilter(
        model,
        MODEL_NAME,
        "v1",
        result.result_name,
        filter_config=WORST,
        n_class=len(CLASS_NAMES),
        score_thresh=SCORE_THRESH,
    )
    flagged: dict[int, bool] = {}
    with torch.no_grad():
        for ids in tracked(list(batches(streets.parts["pool"], _BATCH)), "Scoring the pool"):
            _, flags = data_filter([torch.from_numpy(streets.frames[number]) for number in ids], ids)
            flagged |= {number: flag is True for number, flag in zip(ids, flags, strict=True)}
    return data_filter, flagged


def _data_text(streets: Streets) -> str:
    said = {"train": "to train", "val": "to validate", "pool": "in the pool, treated as unlabelled"}
    sizes = ", ".join(f"{len(streets.parts[name]):,} {text}" for name, text in said.items())
    n_objects = sum(len(target["labels"]) for target in streets.targets)
    n_points = sum(len(frame) for frame in streets.frames) / len(streets.frames)
    return "\n".join(
        [
            f"Data     {len(streets.frames):,} frames of about {n_points:,.0f} points with {n_objects:,} objects: "
            f"{sizes}.",
            "         Made for this demo: streets laid out at random, scanned by the rays of a LiDAR with 64 rings.",
            "         Cars are right at a BEV IoU of .5, pedestrians and cyclists within .5 m of the middle.",
        ]
    )


def _save(result: Result, streets: Streets, options: DemoOptions) -> dict[str, Path]:
    """Pictures, among them of wrong boxes as seen from above, and the report."""

    def points(input_id: Any) -> NDArray[np.float32]:
        return streets.frames[int(input_id)]

    def draw() -> Any:
        return result.plot_examples(N_EXAMPLES, frames=points, class_names=CLASS_NAMES, dataset_type="val")

    return save_pictures(result, {"examples": draw}, options.out, frames=points, class_names=CLASS_NAMES)
