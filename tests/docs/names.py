"""What the code of the documentation takes for granted: a trained model, its loaders, and an evaluated run."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from ml_debugger.data_filter import ClassificationDataFilter
from ml_debugger.demo.small_detector import SmallDetector
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ClassificationTracer, ObjectDetection3DTracer
from tests.docs.own_folder import make_folder
from tests.helpers import street_frames
from tests.helpers.digit_detector import digit_detector, image_loader, scenes, trace, tracer
from tests.helpers.digits import SmallNet, loader, small_classifier
from tests.helpers.street_detector import frame_loader, street_detector, streets
from tests.helpers.street_detector import trace as trace_streets

LOADERS = {"train_loader": range(150), "val_loader": range(150, 650), "pool_loader": range(650, 1797)}

# Pages that bring everything with them.
SELF_CONTAINED = {"README.md", "CONTRIBUTING.md", "quickstart.md", "callables.md", "object-store.md"}
# Pages about a detector of digits, of which the run is evaluated.
OF_DETECTION = {"filter-images.md"}
# Likewise of a detector of what stands in streets.
OF_DETECTION_3D = {"filter-frames.md"}
# What was done before a page begins; on all other pages the run is evaluated.
STAGES = {"trace.md": "trained", "evaluate.md": "traced", "cli.md": "filtered"}

# Results beside the page's own: as what, of which workspace, of which model.
EVALUATED = (("box_result", "detected", "digit_detector"), ("frame_result", "detected_frames", "street_detector"))


def page_names(page: str) -> dict[str, Any]:
    """Names that a page may use without defining them; fills the workspace as far as the page takes for granted."""
    names: dict[str, Any] = {"__name__": "__main__"}
    if page == "README.md":
        make_folder(Path("my_images"))
    if page in SELF_CONTAINED:
        return names
    if page in OF_DETECTION:
        return names | _detection()
    if page in OF_DETECTION_3D:
        return names | _detection_3d()
    if page == "evaluate.md":
        names |= _evaluated_boxes()
    names |= {"model": classifier()} | {name: loader(indices) for name, indices in LOADERS.items()}
    stage = STAGES.get(page, "evaluated")
    if stage != "trained":
        shutil.copytree(workspace(stage), os.environ["MLD_HOME"], dirs_exist_ok=True)
    if stage in ("evaluated", "filtered"):
        evaluator = Evaluator("digits_cnn", "v1")
        names["result"] = evaluator.get_result(evaluator.list_results()["result_name"][0])
    return names


@cache
def classifier() -> SmallNet:
    return small_classifier(LOADERS["train_loader"])


@cache
def workspace(stage: str) -> Path:
    """A folder with the run traced, evaluated, or its pool filtered too; made once, and copied for each page."""
    home = Path(tempfile.mkdtemp())
    if stage in BEFORE:
        shutil.copytree(workspace(BEFORE[stage]), home, dirs_exist_ok=True)
    with mock.patch.dict(os.environ, {"MLD_HOME": str(home)}):
        DO[stage]()
    return home


def _trace() -> None:
    classes = ClassificationTracer(classifier(), model_name="digits_cnn", version_name="v1")
    for dataset_type in ("train", "val"):
        for images, labels, ids in loader(LOADERS[f"{dataset_type}_loader"]):
            classes(images, labels, ids, dataset_type=dataset_type)
    classes.wait_for_save()


def _evaluate() -> None:
    Evaluator("digits_cnn", "v1").request_evaluation()


def _filter() -> None:
    data_filter = ClassificationDataFilter(classifier(), "digits_cnn", "v1")
    for images, _, ids in loader(LOADERS["pool_loader"]):
        data_filter(images, ids)
    data_filter.wait_for_save()


def _detection() -> dict[str, Any]:
    """An evaluated run of a detector, and loaders of its images."""
    shutil.copytree(workspace("detected"), os.environ["MLD_HOME"], dirs_exist_ok=True)
    evaluator = Evaluator("digit_detector", "v1")
    result = evaluator.get_result(evaluator.list_results()["result_name"][0])
    loaders = {f"{part}_loader": image_loader(ids) for part, ids in scenes().parts.items()}
    return {"detector": detector(), "result": result, **loaders}


def _detection_3d() -> dict[str, Any]:
    """The same of streets: an evaluated run of a detector, loaders of its frames, and the points by id."""
    shutil.copytree(workspace("detected_3d"), os.environ["MLD_HOME"], dirs_exist_ok=True)
    evaluator = Evaluator("point_pillars", "v1")
    result = evaluator.get_result(evaluator.list_results()["result_name"][0])
    loaders = {f"{part}_loader": frame_loader(ids) for part, ids in streets().parts.items()}
    return {"detector": street_detector(), "result": result, "points": dict(enumerate(streets().frames)), **loaders}


def _evaluated_boxes() -> dict[str, Any]:
    """Results of detectors in 2D and 3D, beside the classifier's run, and their images and points by id."""
    results = {}
    for name, stage, model_name in EVALUATED:
        with mock.patch.dict(os.environ, {"MLD_HOME": str(workspace(stage))}):
            evaluator = Evaluator(model_name, "v1")
            results[name] = evaluator.get_result(evaluator.list_results()["result_name"][0])
    return {**results, "pictures": dict(enumerate(scenes().images)), "clouds": street_frames.points}


@cache
def detector() -> SmallDetector:
    return digit_detector()


def _detect() -> None:
    trace(tracer(detector(), "digit_detector"), scenes().parts["train"])
    Evaluator("digit_detector", "v1").request_evaluation()


def _detect_3d() -> None:
    trace_streets(street_detector(), "point_pillars")
    Evaluator("point_pillars", "v1").request_evaluation()


def _boxes_alone(batch: Any) -> list[dict[str, Any]]:
    """Without what the made-up features give away."""
    names = ("boxes", "labels", "scores", "candidates")
    return [{name: found[name] for name in names} for found in street_frames.detect(batch)]


def _detect_frames() -> None:
    traced = ObjectDetection3DTracer(_boxes_alone, "street_detector", "v1", n_class=2)
    for dataset_type, frames in (("train", range(100)), ("val", range(100, 300))):
        for batch, ids in street_frames.batches(frames):
            traced(batch, street_frames.annotations(ids), ids, dataset_type=dataset_type)
    traced.wait_for_save()
    Evaluator("street_detector", "v1").request_evaluation()


BEFORE = {"evaluated": "traced", "filtered": "evaluated"}
DO = {
    "traced": _trace,
    "evaluated": _evaluate,
    "filtered": _filter,
    "detected": _detect,
    "detected_3d": _detect_3d,
    "detected_frames": _detect_frames,
}
