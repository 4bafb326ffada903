"""From a model and labelled inputs to splits, through the tracer and the store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.error_detection.traces import Split
from ml_debugger.connect import connect
from ml_debugger.service.contract import RunKey, ScanRequest
from ml_debugger.training import ClassificationTracer

__all__ = ["Part", "trace"]

Part = tuple[Any, NDArray[np.integer]]
"""Model inputs (anything that slices by rows) and their ``(N,)`` labels."""

RUN = RunKey("benchmark", "v1")
BATCH = 256


def trace(model: Any, parts: Mapping[str, Part]) -> dict[str, Split]:
    """Splits as the tracer recorded them, by dataset type, in the order of the inputs."""
    with _workspace() as home:
        tracer = ClassificationTracer(model, RUN.model_name, RUN.version_name)
        for dataset_type, (inputs, labels) in parts.items():
            for start in range(0, len(labels), BATCH):
                rows = slice(start, start + BATCH)
                ids = list(range(start, start + len(labels[rows])))
                tracer(inputs[rows], labels[rows], ids, dataset_type=dataset_type)
        tracer.wait_for_save()
        return {dataset_type: _read(home, dataset_type) for dataset_type in parts}


@contextmanager
def _workspace() -> Iterator[str]:
    """An empty workspace of its own, named by the environment as a user would."""
    before = os.environ.get("MLD_HOME")
    with tempfile.TemporaryDirectory(prefix="mldebugger-bench-") as home:
        os.environ["MLD_HOME"] = home
        try:
            yield home
        finally:
            if before is None:
                del os.environ["MLD_HOME"]
            else:
                os.environ["MLD_HOME"] = before


def _read(home: str, dataset_type: str) -> Split:
    records = _scan(home, "records", ("input_id", "recording_id", "features", "logits"), dataset_type)
    truths = _scan(home, "truths", ("recording_id", "truth"), dataset_type)
    label_of = dict(zip(truths["recording_id"].to_pylist(), truths["truth"].to_pylist(), strict=True))
    labels = np.array([label_of[recording] for recording in records["recording_id"].to_pylist()])
    order = np.argsort([int(text) for text in records["input_id"].to_pylist()])
    return Split(_matrix(records["features"])[order], _matrix(records["logits"])[order], labels[order])


def _scan(home: str, kind: str, names: tuple[str, ...], dataset_type: str) -> pa.Table:
    request = ScanRequest(RUN, kind, columns=names, dataset_types=(dataset_type,))
    return pa.Table.from_batches(list(connect(home=home).service.scan(request)))


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    values = column.combine_chunks()
    return values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), -1).astype(np.float32)
