"""The detection demo: from a detector short of labels to the images worth annotating, box by box.

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

from ml_debugger.analysis.box_kinds import BOXES_2D
from ml_debugger.columns import BOX_COLUMNS
from ml_debugger.data_filter import ObjectDetectionDataFilter
from ml_debugger.demo import DemoOptions
from ml_debugger.demo.box_findings import (
    WORST,
    BoxPool,
    DetectionSizes,
    Topic,
    batches,
    finding_texts,
    model_text,
)
from ml_debugger.demo.digit_scenes import N_CLASSES, SIDE, Scenes, make_scenes
from ml_debugger.demo.findings import save_pictures, torch_threads
from ml_debugger.evaluator import Evaluator, Result
from ml_debugger.presentation.progress import tracked
from ml_debugger.training import ObjectDetectionTracer

if TYPE_CHECKING:
    from ml_debugger.demo.small_detector import SmallDetector

__all__ = ["run"]

MODEL_NAME: Final = "digit_detector"
N_EXAMPLES: Final = 9
TOPIC: Final = Topic("images", "digit", [str(number) for number in range(N_CLASSES)], BOXES_2D, BOX_COLUMNS)

Say = Callable[[str], None]


def run(options: DemoOptions, say: Say, sizes: DetectionSizes | None = None) -> None:
    """Run the demo: train, trace, evaluate, score the pool, query it in several ways, and compare with the truth."""
    with torch_threads(1):
        _run(options, say, sizes or DetectionSizes())


def _run(options: DemoOptions, say: Say, sizes: DetectionSizes) -> None:
    from ml_debugger.demo.small_detector import train

    start = time.perf_counter()
    scenes = make_scenes(sizes.parts(), seed=0)
    say(_data_text(scenes))
    shown = partial(tracked, title="Training the detector")
    model = train(scenes, scenes.parts["train"], 0, sizes.epochs, shown)
    result = _evaluate(model, scenes)
    data_filter, flagged = _score_pool(model, scenes, result)
    pool = BoxPool.read(data_filter, scenes, TOPIC)
    precision = result.metrics.get("map50")
    quality = "" if precision is None else f"mAP 50 of {precision:.2f} on val; "
    say(model_text(f"a small detector, trained on {sizes.train} scenes", quality, pool))
    for text in finding_texts(result, pool, data_filter, flagged, scenes):
        say(text)
    say("\nFiles")
    for title, path in _save(result, scenes, options).items():
        say(f"  {title:<16} {path}")
    say(f"\nDone in {time.perf_counter() - start:.0f} s. Every figure was measured in this run, on one small data set.")


def _evaluate(model: SmallDetector, scenes: Scenes) -> Result:
    """Trace the annotated scenes and evaluate, as the guide's steps do."""
    import torch

    tracer = ObjectDetectionTracer(model, MODEL_NAME, "v1", n_class=N_CLASSES)
    with torch.no_grad():
        for dataset_type in ("train", "val"):
            for ids in tracked(list(batches(scenes.parts[dataset_type])), f"Tracing {dataset_type}"):
                images = torch.from_numpy(scenes.images[ids])
                tracer(images, scenes.annotations(ids), ids, dataset_type=dataset_type)
    tracer.wait_for_save()
    return Evaluator(MODEL_NAME, "v1").request_evaluation()


def _score_pool(
    model: SmallDetector, scenes: Scenes, result: Result
) -> tuple[ObjectDetectionDataFilter, dict[int, bool]]:
    """Run the data filter over the pool; beside it the flag that each image got while the model ran."""
    import torch

    data_filter = ObjectDetectionDataFilter(
        model, MODEL_NAME, "v1", result.result_name, filter_config=WORST, n_class=N_CLASSES
    )
    flagged: dict[int, bool] = {}
    with torch.no_grad():
        for ids in tracked(list(batches(scenes.parts["pool"])), "Scoring the pool"):
            _, flags = data_filter(torch.from_numpy(scenes.images[ids]), ids)
            flagged |= {number: flag is True for number, flag in zip(ids, flags, strict=True)}
    return data_filter, flagged


def _data_text(scenes: Scenes) -> str:
    said = {"train": "to train", "val": "to validate", "pool": "in the pool, treated as unlabelled"}
    sizes = ", ".join(f"{len(scenes.parts[name]):,} {text}" for name, text in said.items())
    n_objects = sum(len(target["labels"]) for target in scenes.targets)
    return "\n".join(
        [
            f"Data     {len(scenes.targets):,} scenes of {SIDE} x {SIDE} pixels with {n_objects:,} objects: {sizes}.",
            "         Composed for this demo: scikit-learn's handwritten digits on crops of its two photographs.",
        ]
    )


def _save(result: Result, scenes: Scenes, options: DemoOptions) -> dict[str, Path]:
    """Pictures, among them of wrong boxes, and the report."""

    def image(input_id: Any) -> NDArray[np.uint8]:
        return np.asarray((255 * scenes.images[int(input_id)]).round(), dtype=np.uint8)

    examples = {"examples": lambda: result.plot_examples(N_EXAMPLES, images=image, dataset_type="val")}
    return save_pictures(result, examples, options.out, images=image)
