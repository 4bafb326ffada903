"""Traced, labelled rows without a store: arrays in, the tables and reader of an evaluation out."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ml_debugger import columns
from ml_debugger.service.contract import EvaluationRequest, RunKey
from ml_debugger.tasks import TASKS
from ml_debugger.types import ModelOutput

TASK = TASKS["classification"]
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@dataclass
class Part:
    """Rows of one dataset_type."""

    features: np.ndarray | None
    logits: np.ndarray
    labels: Sequence[int | None] | np.ndarray | None
    ids: Sequence[str] | None = None
    n_epoch: int | None = None

    def subset(self, chosen: np.ndarray) -> Part:
        features = None if self.features is None else self.features[chosen]
        labels = None if self.labels is None else np.asarray(self.labels)[chosen]
        return Part(features, self.logits[chosen], labels, None, self.n_epoch)


def softmax(logits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
        return shifted / shifted.sum(axis=1, keepdims=True)


def model_output(features: np.ndarray | None, logits: np.ndarray) -> ModelOutput:
    finite = np.isfinite(logits).all(axis=1)
    label = np.where(finite, np.where(finite[:, None], logits, 0.0).argmax(axis=1), -1)
    score = np.where(finite, np.nan_to_num(softmax(logits)).max(axis=1), 0.0)
    kept = None if features is None else features.astype(np.float32)
    return ModelOutput(len(logits), np.arange(len(logits)), label, score, kept, logits.astype(np.float32))


def input_rows(
    n_inputs: int, tag: str = "val", ids: Sequence[str] | None = None, start: int = 0, n_epoch=None
) -> pa.Table:
    names = list(ids) if ids is not None else [str(position) for position in range(n_inputs)]
    data = {
        "input_id": names,
        "id_kind": ["str"] * n_inputs,
        "recording_id": list(range(start, start + n_inputs)),
        "recorded_at": [NOW] * n_inputs,
        "version_name": ["v1"] * n_inputs,
        "dataset_type": [tag] * n_inputs,
        "n_epoch": [n_epoch] * n_inputs,
        "weights_hash": ["w"] * n_inputs,
        "pass_id": ["p"] * n_inputs,
        "n_units": [1] * n_inputs,
        "frame_context": [None] * n_inputs,
    }
    return pa.table(data, schema=columns.schema_of("inputs"))


class Run:
    """Tables of one run, read as the store reads them: in batches, narrowed by dataset_type."""

    def __init__(self, parts: dict[str, Part], fields: dict[str, Sequence] | None = None, shuffle: int | None = None):
        records, truths, start = [], [], 0
        for tag, part in parts.items():
            count = len(part.logits)
            inputs = input_rows(count, tag, part.ids, start, part.n_epoch)
            start += count
            records.append(TASK.predictions(model_output(part.features, part.logits), inputs))
            if part.labels is not None:
                truths.append(TASK.truths(part.labels, inputs, part.logits.shape[1]))
        self.tables = {"records": pa.concat_tables(records)}
        self.tables["truths"] = pa.concat_tables(truths) if truths else columns.schema_of("truths").empty_table()
        for name, values in (fields or {}).items():
            self.tables["records"] = self.tables["records"].append_column(name, pa.array(values))
        if shuffle is not None:
            random = np.random.default_rng(shuffle)
            self.tables = {kind: table.take(random.permutation(table.num_rows)) for kind, table in self.tables.items()}

    def read(self, kind: str, names: tuple[str, ...], tags: tuple[str, ...] | None) -> Iterator[pa.RecordBatch]:
        table = self.tables[kind]
        if tags is not None:
            table = table.filter(pa.array(np.isin(table["dataset_type"].to_pylist(), tags)))
        yield from table.select(list(names)).to_batches(max_chunksize=997)


def request(**options) -> EvaluationRequest:
    return EvaluationRequest(RunKey("model", "v1"), options=options or None)


def make_part(n_rows: int, seed: int = 0, *, n_classes: int = 4, width: int = 12, noise: float = 1.0) -> Part:
    """Gaussian classes seen by a model with blurred class means: features show the errors, logits do not."""
    centres = np.random.default_rng(99).normal(size=(n_classes, width))
    random = np.random.default_rng(seed)
    labels = random.integers(0, n_classes, n_rows)
    features = centres[labels] + noise * random.normal(size=(n_rows, width))
    blurred = centres + 0.6 * np.random.default_rng(98).normal(size=centres.shape)
    logits = features @ blurred.T - 0.5 * (blurred**2).sum(axis=1)
    return Part(features.astype(np.float32), logits.astype(np.float32), labels)


def data_folder() -> Path:
    """The folder with real test data; skips where there is none."""
    given = os.environ.get("MLD_TEST_DATA")
    folder = Path(given) if given else Path(__file__).parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real test data not found at {folder}; set MLD_TEST_DATA to its folder")
    return folder


def error_pair(name: str) -> dict[str, Part]:
    """Train, val, test and shift rows of a real pair of data and trained model."""
    path = data_folder() / "error_pairs" / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"real test data not found at {path}")
    with np.load(path) as archive:
        return {
            tag: Part(archive[f"{tag}_f"].astype(np.float32), archive[f"{tag}_z"], archive[f"{tag}_y"].astype(np.int64))
            for tag in ("train", "val", "test", "shift")
        }
