"""What one live batch costs to score, what an error model weighs, and how long it takes to fit: one thread, NumPy.

    python benchmarks/bench_scoring.py [--fit] [--rows 50000]

Of a batch of 32: from arrays to arrays (descriptors and prediction), and from record rows to score rows (with what
Arrow takes). Times are CPU times of this process (``time.process_time``), which other processes on the machine disturb
least; the least is nearest to what the code costs, the median is what it costs here and now. A model is fitted on 2,000
training and 2,000 held-out rows.
"""

from __future__ import annotations

import argparse
import datetime
import os
import resource
import sys
import time
from dataclasses import dataclass
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is loaded

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.analysis import ZoneLimits
from ml_debugger.estimation import ErrorModel, FitSettings
from ml_debugger.tasks import TASKS
from ml_debugger.tasks.learning import Labelled, learn
from ml_debugger.tasks.scoring import score_rows, score_units
from ml_debugger.tasks.task import Units
from ml_debugger.types import ModelOutput

TASK = TASKS["classification"]
BATCH = 32
SHAPES = ((10, 512), (10, 2048), (100, 512), (100, 2048), (1000, 512), (1000, 2048))
LIMITS = {10: 0.5, 100: 0.5, 1000: 1.0}  # milliseconds for a batch of 32


@dataclass(frozen=True)
class Made:
    """Rows of a classifier that errs: features around class centres, logits that see part of them."""

    units: Units
    truth: NDArray[np.int64]

    @classmethod
    def of(cls, n_rows: int, n_classes: int, width: int, seed: int) -> Made:
        random = np.random.default_rng(seed)
        centres = np.random.default_rng(0).normal(size=(n_classes, width)).astype(np.float32)
        truth = random.integers(0, n_classes, n_rows)
        apart = 3 + 1.25 * np.log10(n_classes)  # about a tenth of the rows are errors, whatever C is
        features = centres[truth] * np.float32(apart / np.sqrt(width))
        features += random.normal(size=(n_rows, width)).astype(np.float32)
        half = width // 2
        logits = features[:, :half] @ centres[:, :half].T * np.float32(8 / width)
        label = logits.argmax(axis=1)
        score = 1.0 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
        return cls(Units(label, score.astype(np.float64), features, logits), truth)


def fit_model(n_classes: int, width: int, n_train: int, n_held: int) -> tuple[ErrorModel, float]:
    """An error model, and the CPU seconds it took."""
    rows = Made.of(n_train + n_held, n_classes, width, 1)
    held = np.arange(n_train + n_held) >= n_train
    labelled = Labelled(
        rows.units,
        rows.truth,
        {columns.ERROR_PROBA: rows.units.label != rows.truth},
        np.arange(len(held)),
        ~held,
        held,
        held & False,
    )
    started = time.process_time()
    found = learn(TASK, labelled, "features", FitSettings()).model
    seconds = time.process_time() - started
    limits = ZoneLimits(min_support=0.02, t_hi=0.4, c_hi=0.9, c_lo=0.5, t_lo=0.1)
    return ErrorModel(found.arrays, {**found.meta, "limits": limits.to_json()}), seconds


def batch_rows(units: Units) -> pa.Table:
    """Record rows of one batch, as a recorder makes them."""
    count = len(units)
    given = {
        "input_id": [str(row) for row in range(count)],
        "id_kind": ["str"] * count,
        "recording_id": list(range(count)),
        "recorded_at": [datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)] * count,
        "version_name": ["v1"] * count,
        "dataset_type": ["pool"] * count,
        "n_epoch": [None] * count,
        "weights_hash": ["w"] * count,
        "pass_id": ["p"] * count,
        "n_units": [1] * count,
        "frame_context": [None] * count,
    }
    inputs = pa.table(given, schema=columns.schema_of(columns.INPUTS))
    output = ModelOutput(count, np.arange(count), units.label, units.score, units.features, units.logits)
    return TASK.predictions(output, inputs)


def time_calls(function: Any, *arguments: Any, calls: int) -> NDArray[np.float64]:
    """Milliseconds of CPU of each call."""
    for _ in range(20):
        function(*arguments)
    found = np.empty(calls)
    for call in range(calls):
        started = time.process_time_ns()
        function(*arguments)
        found[call] = (time.process_time_ns() - started) / 1e6
    return found


def time_shape(n_classes: int, width: int, calls: int) -> str:
    """One line of the table."""
    model, seconds = fit_model(n_classes, width, 2000, 2000)
    units = Made.of(BATCH, n_classes, width, 7).units
    estimator = time_calls(score_units, TASK, model, units, calls=calls)
    whole = time_calls(score_rows, TASK, model, batch_rows(units), "bench", calls=calls)
    size = len(model.to_bytes()) / 1e6
    return (
        f"| {n_classes} | {width} | {estimator.min():.2f} | {np.median(estimator):.2f} | {whole.min():.2f} | "
        f"{np.median(whole):.2f} | {LIMITS[n_classes]} | {size:.1f} | {seconds:.1f} |"
    )


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--fit", action="store_true", help="also fit large tables")
    parser.add_argument("--rows", type=int, nargs="*", default=[2000, 10_000, 50_000])
    options = parser.parse_args()
    out = sys.stdout.write
    out(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n\n")
    out("| classes | features | arrays, least ms | median | rows, least ms | median | limit | MB | fit, CPU s |\n")
    out("|---|---|---|---|---|---|---|---|---|\n")
    for n_classes, width in SHAPES:
        out(time_shape(n_classes, width, options.calls) + "\n")
        sys.stdout.flush()
    if options.fit:
        out("\n| held-out rows x 512 features, 100 classes | CPU s | peak memory MB |\n|---|---|---|\n")
        for n_rows in options.rows:
            _, seconds = fit_model(100, 512, min(n_rows, 20_000), n_rows)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            out(f"| {n_rows} | {seconds:.1f} | {peak:.0f} |\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
