from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os, pyarrow as pa
from ml_debugger.service import results
content = results._parquet(pa.table({"id": ["a", "b"] * 500}))
before = len(os.listdir("/proc/self/task"))
assert results._read_parquet(content).num_rows == 1000
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_reading_starts_no_thread_that_could_outlive_the_interpreter() -> None:
    # one that releases Python's bytes while the interpreter ends aborts the process, now and then
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "0"
