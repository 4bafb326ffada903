"""What an evaluation takes as rows, classes and features grow, and what subsampling above a cap loses.

    python benchmarks/fit_scaling.py [--rows 1000 5000 20000 50000 100000] [--million] [--threads 2]

Rows come from a generated stream, as from the store, through the product's own evaluation. Every line is a process of
its own, so that its peak memory (resident, Python and libraries included) is its own. AUROC is of finding errors among
20,000 fresh rows. Times are this machine's; how they grow along the table is what to read.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.estimation.metrics import auroc
from ml_debugger.service.contract import EvaluationRequest, RunKey
from ml_debugger.service.evaluation import run_evaluation
from ml_debugger.tasks import TASKS
from ml_debugger.tasks.scoring import score_units
from ml_debugger.tasks.task import Units
from ml_debugger.types import ModelOutput

TASK = TASKS["classification"]
BATCH = 8192
N_TRAIN, N_TEST = 20_000, 20_000
TRAIN, VAL, TEST = 1, 2, 3
MILLION = 1_000_000
APART = 5.5  # length of a class centre, in standard deviations of the noise


@dataclass(frozen=True)
class Case:
    """One line: held-out rows, classes, width, and the cap above which rows are subsampled."""

    rows: int
    n_classes: int = 100
    width: int = 512
    cap: int = 50_000


def make_batch(case: Case, part: int, number: int, size: int) -> tuple[Units, NDArray[np.int64]]:
    """Rows of a classifier that errs: features around class centres, logits that see half of them."""
    random = np.random.default_rng((part, number))
    centres = np.random.default_rng(0).normal(size=(case.n_classes, case.width)).astype(np.float32)
    truth = random.integers(0, case.n_classes, size)
    centres *= np.float32(APART / np.sqrt(case.width))
    features = centres[truth]
    features += random.standard_normal(features.shape, dtype=np.float32)
    half = case.width // 2
    logits = features[:, :half] @ centres[:, :half].T
    score = 1.0 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    return Units(logits.argmax(axis=1), score.astype(np.float64), features, logits), truth


def sizes(total: int) -> Iterator[tuple[int, int]]:
    """(number, size) of each batch."""
    for number, start in enumerate(range(0, total, BATCH)):
        yield number, min(BATCH, total - start)


def input_rows(tag: str, first: int, size: int) -> pa.Table:
    """Input rows as a recorder would have made them."""
    rows = range(first, first + size)
    constant = {"id_kind": "str", "recorded_at": 1, "version_name": "v1", "dataset_type": tag, "n_epoch": None}
    constant |= {"weights_hash": "w", "pass_id": "p", "n_units": 1, "frame_context": None}
    data = {"input_id": [f"{tag}-{row}" for row in rows], "recording_id": list(rows)}
    data |= {name: [value] * size for name, value in constant.items()}
    schema = columns.schema_of(columns.INPUTS)
    return pa.table([pa.array(data[field.name], type=field.type) for field in schema], schema=schema)


def reader(case: Case) -> Any:
    """What the store gives an evaluation: rows of one kind, streamed, generated anew for each pass."""

    def read(kind: str, names: tuple[str, ...] | None, tags: tuple[str, ...] | None = None) -> Iterator[pa.RecordBatch]:
        for tag, part, total, offset in (("train", TRAIN, N_TRAIN, 0), ("val", VAL, case.rows, N_TRAIN)):
            if tags is not None and tag not in tags:
                continue
            for number, size in sizes(total):
                inputs = input_rows(tag, offset + number * BATCH, size)
                units, truth = make_batch(case, part, number, size)
                if kind == columns.TRUTHS:
                    table = TASK.truths(truth, inputs, case.n_classes)
                else:
                    output = ModelOutput(size, np.arange(size), units.label, units.score, units.features, units.logits)
                    table = TASK.predictions(output, inputs)
                yield from (table if names is None else table.select(list(names))).to_batches()

    return read


def measure(case: Case) -> dict[str, float]:
    """Seconds, peak memory and AUROC of one evaluation, in this process."""
    options = {"bootstrap": 0, "max_fit_rows": case.cap}
    request = EvaluationRequest(RunKey("scaling", "v1"), result_name="scaling", n_epoch=None, options=options)
    read = reader(case)
    started, cpu = time.perf_counter(), time.process_time()
    found = run_evaluation(request, TASK, read)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    scored, wrong = [], []
    for number, size in sizes(N_TEST):
        units, truth = make_batch(case, TEST, number, size)
        scored.append(score_units(TASK, found.model, units)[0][columns.ERROR_PROBA])
        wrong.append(units.label != truth)
    return {
        "seconds": seconds,
        "cpu": cpu,
        "peak": peak,
        "auroc": auroc(np.concatenate(scored), np.concatenate(wrong)),
        "megabytes": len(found.model.to_bytes()) / 1e6,
    }


def line(case: Case, threads: int) -> str:
    """One line of a table, measured in a process of its own."""
    settings = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    shape = json.dumps([case.rows, case.n_classes, case.width, case.cap])
    done = subprocess.run(
        [sys.executable, __file__, "--case", shape], env={**os.environ, **settings}, stdout=subprocess.PIPE, check=True
    )
    found = json.loads(done.stdout)
    used = min(case.rows, case.cap)
    return (
        f"| {case.rows:,} | {used:,} | {case.n_classes} | {case.width} | {found['seconds']:.0f} | {found['cpu']:.0f} | "
        f"{found['peak']:,.0f} | {found['auroc']:.4f} | {found['megabytes']:.1f} |\n"
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 5000, 20_000, 50_000, 100_000])
    parser.add_argument("--million", action="store_true", help="also a million rows, subsampled to the default cap")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        sys.stdout.write(json.dumps(measure(Case(*json.loads(options.case)))))
        return 0
    cases = [Case(rows, cap=max(rows, 20)) for rows in options.rows]
    cases += [Case(20_000, n_classes=count) for count in (10, 1000)]
    cases += [Case(20_000, width=width) for width in (128, 2048)]
    if options.million:
        cases.append(Case(MILLION))
    sys.stdout.write(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n\n")
    sys.stdout.write("| held-out rows | used | classes | features | s | CPU s | peak MB | AUROC | model MB |\n")
    sys.stdout.write("|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
    for case in cases:
        sys.stdout.write(line(case, options.threads))
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
