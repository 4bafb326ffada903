"""Queries over stored pool rows, beside DuckDB on the same Parquet files: time, peak memory, growth with the pool.

Run with ``python -m benchmarks.query [--rows 1e6 1e7] [--pairs 30] [--folder FOLDER]``. The pool is written through
the service, 5 % of its inputs twice, so that the newest recording has to win. Ours is ``service.query`` as a data
filter calls it, its check for missing scores included. DuckDB is asked twice: ``verified`` is our own way by hand
(take the best rows, then look up only their inputs), ``group by`` is the question as one would write it (the newest
recording of every input first). All give the same ids, which is checked. Each engine lives in a process of its own
and has two threads; runs alternate, and the peak is that of a fresh process that answers once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ml_debugger import columns
from ml_debugger.service.contract import AppendRequest, EvaluationRequest, ModelSchema, QueryRequest, RunKey
from ml_debugger.service.local import LocalService

RUN = RunKey("benchmark", "v1")
SCHEMA = ModelSchema("classification", "benchmark", 8, 4)
WEIGHTS, EPOCH, N_DATA = "weights", 0, 50
APPEND_ROWS = 500_000
RE_RECORDED = 0.05
QUESTIONS: dict[str, Any] = {
    "top-50": "high_error_proba",
    "zone": {"target_zones": ["critical_hotspot"]},
}
ENGINES = ("ours", "duckdb verified", "duckdb group by")
SLOW_PAIRS = 5  # the group-by takes long


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, nargs="+", default=[1e6, 1e7])
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="where the pools are made, and kept for the next run")
    parser.add_argument("--worker", nargs=2, metavar=("ENGINE", "QUESTION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve(*arguments.worker, arguments.folder)
        return
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="query"))
    print(f"{'rows':>10} {'question':8} {'engine':16} {'median s':>9} {'peak MiB':>9}  ours / engine [95 % interval]")
    try:
        for rows in arguments.rows:
            pool = folder / f"{int(rows)}"
            if not (pool / "result_name").exists():
                build(pool, int(rows))
            for question in QUESTIONS:
                compare(pool, int(rows), question, arguments.pairs)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


def compare(pool: Path, rows: int, question: str, pairs: int) -> None:
    """One table row per engine."""
    peaks = {engine: ask(start(engine, question, pool))["peak_mib"] for engine in ENGINES}
    workers = {engine: start(engine, question, pool) for engine in ENGINES}
    answers = {engine: ask(worker)["ids"] for engine, worker in workers.items()}
    if len({tuple(ids) for ids in answers.values()}) != 1:
        raise SystemExit(f"the engines disagree: {answers}")
    seconds: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    for pair in range(pairs):
        for engine in ENGINES if pair % 2 else ENGINES[::-1]:
            if engine != "duckdb group by" or pair < SLOW_PAIRS:
                seconds[engine].append(ask(workers[engine])["seconds"])
    for worker in workers.values():
        worker.communicate()
    for engine in ENGINES:
        ratios = [ours / theirs for ours, theirs in zip(seconds["ours"], seconds[engine], strict=False)]
        low, high = interval(ratios)
        ratio = (
            "" if engine == "ours" else f"{statistics.median(ratios):.2f} [{low:.2f}, {high:.2f}], {len(ratios)} pairs"
        )
        median = statistics.median(seconds[engine])
        print(f"{rows:>10,} {question:8} {engine:16} {median:>9.3f} {peaks[engine]:>9.0f}  {ratio}", flush=True)


def interval(values: list[float]) -> tuple[float, float]:
    """95 % interval of the median, by resampling."""
    drawn = np.random.default_rng(0).choice(values, (2000, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(low), float(high)


def start(engine: str, question: str, pool: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.query", "--folder", str(pool), "--worker", engine, question]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(worker: subprocess.Popen[str]) -> dict[str, Any]:
    """One answer of a worker."""
    worker.stdin.write("ask\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"a worker ended with status {worker.wait()}")
    return json.loads(line)


def serve(engine: str, question: str, pool: Path) -> None:
    """Answer once per line of standard input."""
    answer = ours(question, pool) if engine == "ours" else duckdb(engine, question, pool)
    for _ in sys.stdin:
        began = time.perf_counter()
        ids = next(answer)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "peak_mib": peak_mib(), "ids": ids}), flush=True)


def peak_mib() -> float:
    """Greatest resident size of this process; ``getrusage`` would count that of the parent at the fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def ours(question: str, pool: Path) -> Iterator[list[str]]:
    service = LocalService.open(str(pool))
    result_name = (pool / "result_name").read_text()
    request = QueryRequest(RUN, result_name, N_DATA, QUESTIONS[question], n_epoch=EPOCH, weights_hash=WEIGHTS)
    while True:
        yield list(service.query(request).input_ids)


def duckdb(engine: str, question: str, pool: Path) -> Iterator[list[str]]:
    import duckdb
    from deltalake import DeltaTable

    connection = duckdb.connect(config={"threads": 2})
    for kind in (columns.INPUTS, columns.SCORES):
        files = DeltaTable(str(pool / "tables" / kind / "classification" / RUN.model_name)).file_uris()
        connection.read_parquet(files, hive_partitioning=True).create_view(kind)
    partition = f"version_name = '{RUN.version_name}' and dataset_type = 'pool'"
    run = f"{partition} and n_epoch = {EPOCH} and weights_hash = '{WEIGHTS}'"
    selected = "zone = 'critical_hotspot'" if question == "zone" else "true"
    scored = f"from scores where {run} and result_name = '{(pool / 'result_name').read_text()}' and {selected}"
    best_first = "order by error_proba desc, input_id"
    if engine == "duckdb verified":
        query = f"""
            with best as materialized (select input_id, recording_id, error_proba {scored} {best_first} limit 126),
            newest as (
                select arg_max(recording_id, (recorded_at, recording_id)) as recording_id from inputs
                where {run} and input_id in (select input_id from best) group by input_id
            )
            select input_id from best semi join newest using (recording_id) {best_first} limit {N_DATA}"""
    else:
        query = f"""
            with newest as (
                select arg_max(recording_id, (recorded_at, recording_id)) as recording_id from inputs
                where {run} group by input_id
            ),
            scored as (select input_id, recording_id, error_proba {scored})
            select input_id from scored semi join newest using (recording_id) {best_first} limit {N_DATA}"""
    while True:
        yield [row[0] for row in connection.execute(query).fetchall()]


def build(folder: Path, n_rows: int) -> None:
    """A workspace with an evaluated run and n_rows scored pool inputs, some recorded twice."""
    shutil.rmtree(folder, ignore_errors=True)
    service = LocalService.open(str(folder))
    service.append(AppendRequest("labelled", RUN, SCHEMA, labelled_rows(600)))
    result_name = service.evaluate(EvaluationRequest(RUN)).info["result_name"]
    rng = np.random.default_rng(0)
    again = rng.choice(n_rows, int(RE_RECORDED * n_rows), replace=False)
    first = 1_000
    for inputs in (*chunks(np.arange(n_rows)), *chunks(again)):
        tables = scored_rows(inputs, first, result_name, rng)
        service.append(AppendRequest(f"pool-{first}", RUN, SCHEMA, tables))
        first += len(inputs)
    (folder / "result_name").write_text(result_name)


def chunks(inputs: np.ndarray) -> list[np.ndarray]:
    return [inputs[at : at + APPEND_ROWS] for at in range(0, len(inputs), APPEND_ROWS)]


def labelled_rows(n: int) -> dict[str, pa.Table]:
    """A model that is right two times in three."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 4, n)
    logits = rng.normal(size=(n, 4)) + 1.5 * np.eye(4)[truth]
    features = np.concatenate([logits, rng.normal(size=(n, 4))], axis=1)
    common = common_values([f"val_{at}" for at in range(n)], 0, "val")
    unit = {"unit": np.zeros(n, np.int64), "label": logits.argmax(axis=1), "score": np.full(n, 0.5)}
    vectors = {"features": list(features.astype(np.float32)), "logits": list(logits.astype(np.float32))}
    truths = {"truth_index": np.zeros(n, np.int64), "truth": truth, "ignored": np.zeros(n, bool)}
    return {
        columns.INPUTS: table(columns.INPUTS, {**common, "n_units": np.ones(n, np.int64)}),
        columns.RECORDS: table(columns.RECORDS, {**common, **unit, **vectors}),
        columns.TRUTHS: table(columns.TRUTHS, {**common, **truths}),
    }


def scored_rows(inputs: np.ndarray, first: int, result_name: str, rng: np.random.Generator) -> dict[str, pa.Table]:
    n = len(inputs)
    scattered = inputs.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # ids in no order, as content hashes are
    common = common_values([f"{value:016x}" for value in scattered.tolist()], first, "pool")
    scores = {
        "unit": np.zeros(n, np.int64),
        "label": rng.integers(0, 4, n),
        "score": rng.random(n),
        "result_name": pa.repeat(result_name, n),
        "error_proba": rng.beta(0.6, 3, n),
        "support": rng.random(n),
        "zone": pa.array(columns.ZONES).take(pa.array(rng.choice(6, n, p=[0.6, 0.2, 0.12, 0.03, 0.02, 0.03]))),
    }
    return {
        columns.INPUTS: table(columns.INPUTS, {**common, "n_units": np.ones(n, np.int64)}),
        columns.SCORES: table(columns.SCORES, {**common, **scores}),
    }


def common_values(ids: list[str], first: int, dataset_type: str) -> dict[str, Any]:
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
        "input_id": ids,
        "recording_id": recordings,
        "recorded_at": 1_760_000_000_000_000 + recordings // 256 * 1000,
        "n_epoch": np.full(n, EPOCH),
    }


def table(kind: str, values: dict[str, Any]) -> pa.Table:
    schema = columns.schema_of(kind)
    n = len(values["recording_id"])
    arrays = [
        pa.array(values[field.name], field.type) if field.name in values else pa.nulls(n, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


if __name__ == "__main__":
    main()
