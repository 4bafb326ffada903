"""A result of detection over images that are drawn here, without a store."""

from __future__ import annotations

import copy
import functools
import warnings
from typing import Any

import numpy as np

from ml_debugger.service.contract import EvaluationRequest, ResultPayload, RunKey
from ml_debugger.service.evaluation import Evaluation, run_evaluation
from ml_debugger.tasks import TASKS
from tests.helpers.labelled_boxes import BoxRun, detections

TASK = TASKS["object_detection"]
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
def crowded_run() -> BoxRun:
    """120 images; every twentieth object is annotated as a crowd."""
    output, truths = detections(N_IMAGES, 3)
    count = 0
    for truth in truths:
        truth["ignored"] = np.zeros(len(truth["labels"]), dtype=bool)
        for place in range(len(truth["labels"])):
            count += 1
            truth["ignored"][place] = count % 20 == 0
    return BoxRun({"train": detections(40, 8), "val": (output, truths)})


@functools.cache
def box_evaluation() -> Evaluation:
    """The evaluation of that run."""
    request = EvaluationRequest(RunKey("toy", "v1"), result_name="r", n_epoch=None, options={"bootstrap": 12})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run_evaluation(request, TASK, crowded_run().read)


def box_payload(**info: Any) -> ResultPayload:
    """Its result; keyword arguments replace entries of ``info``."""
    found = box_evaluation()
    tables = (found.samples, found.zones, found.error_codes, found.missed, found.truths)
    return ResultPayload({**found.info, **INFO, **info}, copy.deepcopy(found.metrics), *tables)


def image_of(input_id: Any) -> np.ndarray:
    """A picture for an id: as large as the model saw it, of a colour of its own."""
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    picture[..., 0] = 40 + 7 * int(input_id) % 200
    return picture
