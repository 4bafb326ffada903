"""Memory and speed of tracing a million rows of 512 features into a new workspace folder.

Run with ``python -m benchmarks.store_memory [rows]``. Rows go through the writer and the service as a tracer's do, in
batches of 128 inputs with labels; the model itself costs nothing here. The peak is that of this process.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from ml_debugger import columns
from ml_debugger.recording.writer import Writer
from ml_debugger.service.contract import ModelSchema, RunKey, ScanRequest
from ml_debugger.service.local import LocalService

BATCH, WIDTH, CLASSES = 128, 512, 10
RUN = RunKey("benchmark", "v1")
SCHEMA = ModelSchema("classification", "benchmark", WIDTH, CLASSES)
MIB = 2**20


def main() -> None:
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    folder = Path(tempfile.mkdtemp(prefix="store_memory"))
    try:
        _run(folder, n_rows)
    finally:
        shutil.rmtree(folder)


def _run(folder: Path, n_rows: int) -> None:
    before = psutil.Process().memory_info().rss
    service = LocalService.open(str(folder))
    writer = Writer(service.append, RUN)
    with _Peak() as peak:
        start = time.perf_counter()
        for tables in _batches(n_rows):
            writer.put(SCHEMA, tables)
        writer.flush()
        seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    files = sum(1 for path in folder.rglob("*.parquet"))
    print(f"traced      {n_rows:,} rows x {WIDTH} float32 in {seconds:.1f} s: {n_rows / seconds:,.0f} rows/s")
    print(f"memory      {before / MIB:.0f} MiB before, peak {peak.mib:.0f} MiB; ", end="")
    print(f"vectors alone are {n_rows * WIDTH * 4 / MIB:,.0f} MiB")
    print(f"on disk     {size / MIB:,.0f} MiB in {files} Parquet files")
    with _Peak() as peak:
        start = time.perf_counter()
        found = sum(batch.num_rows for batch in service.scan(ScanRequest(RUN, columns.RECORDS)))
        seconds = time.perf_counter() - start
    print(f"read back   {found:,} rows in {seconds:.1f} s, peak {peak.mib:.0f} MiB")
    print(f"maximum resident set of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def _batches(n_rows: int) -> Iterator[dict[str, pa.Table]]:
    """Input, record and truth rows of batches of random vectors."""
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((64 * BATCH, WIDTH), dtype=np.float32)
    pass_id = uuid.uuid4().hex
    for start in range(0, n_rows, BATCH):
        n = min(BATCH, n_rows - start)
        offset = rng.integers(0, len(pool) - n)
        features = np.maximum(pool[offset : offset + n] + rng.standard_normal(dtype=np.float32), 0)
        logits = features[:, :CLASSES]
        common = {
            "input_id": [f"image_{start + number:08d}" for number in range(n)],
            "id_kind": ["str"] * n,
            "recording_id": np.arange(start, start + n),
            "recorded_at": [time.time_ns() // 1000] * n,
            "version_name": [RUN.version_name] * n,
            "dataset_type": ["train"] * n,
            "n_epoch": [0] * n,
            "weights_hash": ["weights"] * n,
            "pass_id": [pass_id] * n,
        }
        ones, zeros = np.ones(n, np.int64), np.zeros(n, np.int64)
        labels = logits.argmax(1)
        yield {
            columns.INPUTS: _table(columns.INPUTS, {**common, "n_units": ones}),
            columns.RECORDS: _table(
                columns.RECORDS,
                {
                    **common,
                    "unit": zeros,
                    "label": labels,
                    "score": rng.random(n),
                    "features": _lists(features),
                    "logits": _lists(logits),
                },
            ),
            columns.TRUTHS: _table(
                columns.TRUTHS, {**common, "truth_index": zeros, "truth": labels, "ignored": [False] * n}
            ),
        }


def _lists(matrix: np.ndarray) -> pa.Array:
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.ravel()))


def _table(kind: str, values: dict[str, object]) -> pa.Table:
    schema = columns.schema_of(kind)
    n = len(values["input_id"])
    arrays = [
        pa.array(values[field.name], type=field.type) if field.name in values else pa.nulls(n, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


class _Peak:
    """Greatest resident size of this process while the block runs, looked at every 20 ms."""

    def __enter__(self) -> _Peak:
        self.mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(0.02):
            self.mib = max(self.mib, process.memory_info().rss / MIB)


if __name__ == "__main__":
    main()
