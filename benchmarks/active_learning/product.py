"""Our strategies, as a user runs them: tracer, evaluator and data filter, in a workspace of their own."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.active_learning.data import Problem

__all__ = ["OURS", "score_pool", "workspace"]

IntArray = NDArray[np.int64]

OURS = ("high_error_proba", "diverse_error", "coverage", "badge", "zone_balanced")
MODEL_NAME = "active_learning"
BATCH = 1024


@contextmanager
def workspace() -> Iterator[None]:
    """A temporary workspace, embedded, without progress bars; the environment is put back afterwards."""
    names = ("MLD_HOME", "MLD_API_ENDPOINT", "MLD_DATABASE_URL", "MLD_PROGRESS")
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory(prefix="mld-active-learning-", ignore_cleanup_errors=True) as folder:
        os.environ.update(MLD_HOME=folder, MLD_API_ENDPOINT="", MLD_DATABASE_URL="", MLD_PROGRESS="off")
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def score_pool(model: Any, problem: Problem, labelled: IntArray, pool: IntArray, version: str) -> Any:
    """A data filter that has seen the pool, with a result learned from the traced labelled and val inputs."""
    import torch

    from ml_debugger.data_filter import ClassificationDataFilter
    from ml_debugger.evaluator import Evaluator
    from ml_debugger.training import ClassificationTracer

    tracer = ClassificationTracer(model, MODEL_NAME, version)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dataset_type, rows in (("train", labelled), ("val", problem.val)):
            for ids in batches(rows):
                tracer(torch.from_numpy(problem.inputs[ids]), problem.labels[ids], ids, dataset_type=dataset_type)
        tracer.wait_for_save()
        result = Evaluator(MODEL_NAME, version).request_evaluation()
        data_filter = ClassificationDataFilter(model, MODEL_NAME, version, result_name=result.result_name)
        for ids in batches(pool):
            data_filter(torch.from_numpy(problem.inputs[ids]), ids)
        data_filter.wait_for_save()
    return data_filter


def batches(rows: IntArray) -> Iterator[IntArray]:
    """Rows in batches; the last may be smaller."""
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]
