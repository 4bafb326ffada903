"""Results of detection over images and frames that are made here, without a store."""

from __future__ import annotations

import copy
import functools
import warnings
from typing import Any

import numpy as np

from ml_debugger.service.contract import EvaluationRequest, ResultPayload, RunKey
from ml_debugger.service.evaluation import Evaluation, run_evaluation
from ml_debugger.tasks import TASKS
from tests.helpers.labelled_boxes import METRES, BoxRun, detections, frame_detections

N_IMAGES = 120
WIDTH = HEIGHT = 640  # as the context of the detections says
INFO = {
    "result_name": "toy_v1_od_v1_20260102",
    "model_name": "toy",
    "version_name": "v1",
    "method_name": "od_v1",
    "task": "object_detection",
    "n_epoch": None,
    "created_at": "2026-01-02T03:04:05+00:00",
    "completed_at": "2026-01-02T03:04:07+00:00",
    "options": {},
    "weights_hash": "w",
}


@functools.cache
def crowded_run(name: str = "object_detection") -> BoxRun:
    """120 images or frames; every twentieth object is annotated as a crowd."""
    make = detections if name == "object_detection" else frame_detections
    output, truths = make(N_IMAGES, 3)
    count = 0
    for truth in truths:
        truth["ignored"] = np.zeros(len(truth["labels"]), dtype=bool)
        for place in range(len(truth["labels"])):
            count += 1
            truth["ignored"][place] = count % 20 == 0
    return BoxRun({"train": make(40, 8), "val": (output, truths)}, TASKS[name])


@functools.cache
def box_evaluation(name: str = "object_detection") -> Evaluation:
    """The evaluation of that run."""
    request = EvaluationRequest(RunKey("toy", "v1"), result_name="r", n_epoch=None, options={"bootstrap": 12})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run_evaluation(request, TASKS[name], crowded_run(name).read)


def box_payload(name: str = "object_detection", **info: Any) -> ResultPayload:
    """Its result; keyword arguments replace entries of ``info``."""
    found = box_evaluation(name)
    tables = (found.samples, found.zones, found.error_codes, found.missed, found.truths)
    named = INFO | {"task": name, "method_name": TASKS[name].method}
    return ResultPayload({**found.info, **named, **info}, copy.deepcopy(found.metrics), *tables)


def points_of(input_id: Any) -> np.ndarray:
    """``(N, 4)`` points for an id: the ground before the sensor."""
    random = np.random.default_rng(int(input_id))
    place = random.uniform((0, -16), (METRES * HEIGHT, 16), (4000, 2))
    return np.concatenate([place, random.normal(-1.7, 0.02, (4000, 1)), np.ones((4000, 1))], axis=1)


def image_of(input_id: Any) -> np.ndarray:
    """A picture for an id: as large as the model saw it, of a colour of its own."""
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    picture[..., 0] = 40 + 7 * int(input_id) % 200
    return picture
