"""Queries over stored boxes: how long a pool of detections takes to become an answer, in how much memory, how it grows.

Run with ``python -m benchmarks.detection_query [--images 1e5 1e6] [--rounds 5] [--folder FOLDER]``. Each image has ten
boxes on average (0 to 20), so 1e6 images are 10 M boxes; 2 % of the images are recorded twice, so that the newest
recording has to win. The pool is written through the service, without vectors: queries do not look at them. A query is
``service.query`` as a data filter calls it, its check for missing scores included, for 100 images. Each line is a
process of its own with two threads; its peak memory is all of it, Python and libraries included. Beside the wall clock
stands the processor time of all threads, which other work on the machine lengthens less: on free cores the answer takes
no longer than it. Growth is that of the larger pool over that of the smaller one, divided by the ratio of the boxes: 1
is linear.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.query import peak_mib
from ml_debugger import columns
from ml_debugger.service.contract import AppendRequest, EvaluationRequest, ModelSchema, QueryRequest, RunKey
from ml_debugger.service.local import LocalService

RUN = RunKey("benchmark", "v1")
SCHEMA = ModelSchema("object_detection", "benchmark", None, None)
WEIGHTS, EPOCH, N_DATA = "weights", 0, 100
APPEND_IMAGES = 50_000
RE_RECORDED = 0.02
MOST_BOXES = 20
THREADS = 2
QUESTIONS: dict[str, Any] = {
    "high_error_proba": "high_error_proba",
    "top 3": {"top_n": 3},
    "top 5, weighted median": {"top_n": 5, "aggregation": "median", "weight_column": "pred_size"},
    "filter, top 5, weighted median": {
        "bbox_filter": {"conditions": [{"score": ">=0.3", "error_proba": ">=0.1"}]},
        "top_n": 5,
        "aggregation": "median",
        "weight_column": "pred_size",
    },
    "threshold": {"top_n": 3, "img_error_threshold": 0.6},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=float, nargs="+", default=[1e5, 1e6])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the pools are made, and kept for the next run")
    parser.add_argument("--worker", metavar="QUESTION", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve(arguments.worker, arguments.folder, arguments.rounds)
        return
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="detection-query-"))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {THREADS} threads\n")
    print("| question | images | boxes | CPU s, median | least | wall s, least | peak MiB | growth |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    try:
        pools = {int(images): folder / f"{int(images)}" for images in sorted(arguments.images)}
        for images, pool in pools.items():
            if not (pool / "result.json").exists():
                build(pool, images)
        for question in QUESTIONS:
            table(question, pools, arguments.rounds)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


def table(question: str, pools: dict[int, Path], rounds: int) -> None:
    """One table row per pool; the pools take turns, so that a busy machine slows both."""
    workers = {images: start(question, pool) for images, pool in pools.items()}
    seconds: dict[int, list[float]] = {images: [] for images in pools}
    walls: dict[int, list[float]] = {images: [] for images in pools}
    peaks: dict[int, float] = {}
    for worker in workers.values():
        ask(worker)  # the first answer loads libraries
    for _ in range(rounds):
        for images, worker in workers.items():
            answer = ask(worker)
            seconds[images].append(answer["seconds"])
            walls[images].append(answer["wall"])
            peaks[images] = answer["peak_mib"]
    for worker in workers.values():
        worker.communicate()
    smallest, boxes = min(pools), {images: about(pool)["boxes"] for images, pool in pools.items()}
    for images in pools:
        median = statistics.median(seconds[images])
        growth = ""
        if images != smallest:
            ratios = [one / other for one, other in zip(seconds[images], seconds[smallest], strict=True)]
            growth = f"{statistics.median(ratios) * boxes[smallest] / boxes[images]:.2f}"
        print(
            f"| {question} | {images:,} | {boxes[images]:,} | {median:.2f} | {min(seconds[images]):.2f} | "
            f"{min(walls[images]):.2f} | {peaks[images]:,.0f} | {growth} |",
            flush=True,
        )


def start(question: str, pool: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.detection_query", "--folder", str(pool), "--worker", question]
    threads = {"POLARS_MAX_THREADS": str(THREADS), "OMP_NUM_THREADS": str(THREADS)}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads}
    )


def ask(worker: subprocess.Popen[str]) -> dict[str, Any]:
    """One answer of a worker."""
    worker.stdin.write("ask\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"a worker ended with status {worker.wait()}")
    return json.loads(line)


def serve(question: str, pool: Path, rounds: int) -> None:
    """Answer once per line of standard input."""
    service = LocalService.open(str(pool))
    request = query_of(pool, QUESTIONS[question])
    for _ in sys.stdin:
        began, spent = time.perf_counter(), time.process_time()
        answer = service.query(request)
        seconds, wall = time.process_time() - spent, time.perf_counter() - began
        found = {"seconds": seconds, "wall": wall, "peak_mib": peak_mib(), "ids": list(answer.input_ids)}
        print(json.dumps(found), flush=True)


def query_of(pool: Path, strategy: Any, n_data: int = N_DATA) -> QueryRequest:
    name = about(pool)["result_name"]
    return QueryRequest(RUN, name, n_data, strategy, n_epoch=EPOCH, weights_hash=WEIGHTS)


def about(pool: Path) -> dict[str, Any]:
    """Name of the result and number of boxes of a pool."""
    return json.loads((pool / "result.json").read_text())


def build(folder: Path, n_images: int) -> None:
    """A workspace with an evaluated run and n_images scored pool images, some recorded twice."""
    shutil.rmtree(folder, ignore_errors=True)
    service = LocalService.open(str(folder))
    service.append(AppendRequest("labelled", RUN, SCHEMA, labelled_images(300)))
    result_name = service.evaluate(EvaluationRequest(RUN, options={"bootstrap": 5})).info["result_name"]
    rng = np.random.default_rng(0)
    again = rng.choice(n_images, int(RE_RECORDED * n_images), replace=False)
    first, boxes = 1_000_000, 0
    for images in (*chunks(np.arange(n_images)), *chunks(again)):
        tables = scored_images(images, first, result_name, rng)
        service.append(AppendRequest(f"pool-{first}", RUN, SCHEMA, tables))
        first += len(images)
        boxes += tables[columns.SCORES].num_rows
    (folder / "result.json").write_text(json.dumps({"result_name": result_name, "boxes": boxes}))


def chunks(images: np.ndarray) -> list[np.ndarray]:
    return [images[at : at + APPEND_IMAGES] for at in range(0, len(images), APPEND_IMAGES)]


def labelled_images(n: int) -> dict[str, pa.Table]:
    """A detector that is right two times in three: four predicted boxes an image, one object under each."""
    rng = np.random.default_rng(1)
    units, at = 4 * n, np.repeat(np.arange(n), 4)
    common = common_values(np.array([f"val_{i}" for i in range(n)]), 0, "val")
    corner = np.stack([100.0 * np.tile(np.arange(4), n), rng.uniform(0, 300, units)], axis=1)
    true = np.concatenate([corner, corner + 60], axis=1)
    wrong = rng.random(units) < 1 / 3
    score = np.clip(rng.normal(np.where(wrong, 0.5, 0.7), 0.15), 0.3, 0.99)
    unit = {"unit": np.tile(np.arange(4), n), "label": np.zeros(units, np.int64), "score": score}
    lists = {"box": list((true + 45.0 * wrong[:, None]).astype(np.float32))}
    truths = {"truth_index": unit["unit"], "truth": unit["label"], "ignored": np.zeros(units, bool)}
    repeated = {name: take(values, at) for name, values in common.items()}
    return {
        columns.INPUTS: rows(columns.INPUTS, {**common, "n_units": np.full(n, 4)}),
        columns.RECORDS: rows(columns.RECORDS, {**repeated, **unit, **lists}),
        columns.TRUTHS: rows(columns.TRUTHS, {**repeated, **truths, "box": list(true.astype(np.float32))}),
    }


def scored_images(images: np.ndarray, first: int, result_name: str, rng: np.random.Generator) -> dict[str, pa.Table]:
    """Input and score rows of images with 0 to `MOST_BOXES` boxes each."""
    n = len(images)
    scattered = images.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # ids in no order, as content hashes are
    common = common_values(np.array([f"{value:016x}" for value in scattered.tolist()]), first, "pool")
    counts = rng.integers(0, MOST_BOXES + 1, n)
    at = np.repeat(np.arange(n), counts)
    units = len(at)
    corner, size = rng.uniform(0, 400, (units, 2)), rng.gamma(2.0, 40.0, (units, 2))
    box = np.concatenate([corner, corner + size], axis=1)
    proba = rng.beta(0.6, 3, (3, units))
    values = {
        "unit": np.arange(units) - np.repeat(np.cumsum(counts) - counts, counts),
        "label": rng.integers(0, 80, units),
        "score": rng.uniform(0.05, 1, units),
        "result_name": pa.repeat(result_name, units),
        **dict(zip(columns.ERROR_COLUMNS, proba, strict=True)),
        "pred_size": size.prod(axis=1),
        **dict(zip(columns.BOX_COLUMNS, box.T.astype(np.float32), strict=True)),
        "support": rng.random(units),
        "zone": pa.array(columns.ZONES).take(pa.array(rng.choice(6, units, p=[0.6, 0.2, 0.12, 0.03, 0.02, 0.03]))),
    }
    repeated = {name: take(column, at) for name, column in common.items()}
    return {
        columns.INPUTS: rows(columns.INPUTS, {**common, "n_units": counts}),
        columns.SCORES: rows(columns.SCORES, {**repeated, **values}),
    }


def common_values(ids: np.ndarray, first: int, dataset_type: str) -> dict[str, Any]:
    n = len(ids)
    recordings = np.arange(first, first + n)
    texts = {
        "id_kind": "str",
        "version_name": RUN.version_name,
        "dataset_type": dataset_type,
        "weights_hash": WEIGHTS,
        "pass_id": "pass",
    }
    return {
        **{name: pa.repeat(value, n) for name, value in texts.items()},
        "input_id": pa.array(ids.tolist()),
        "recording_id": recordings,
        "recorded_at": 1_760_000_000_000_000 + recordings // 8 * 1000,
        "n_epoch": np.full(n, EPOCH),
    }


def take(values: Any, at: np.ndarray) -> Any:
    return values[at] if isinstance(values, np.ndarray) else values.take(pa.array(at))


def rows(kind: str, values: dict[str, Any]) -> pa.Table:
    schema = columns.schema_of(kind)
    n = len(values["recording_id"])
    arrays = [
        pa.array(values[field.name], field.type) if field.name in values else pa.nulls(n, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


if __name__ == "__main__":
    main()
