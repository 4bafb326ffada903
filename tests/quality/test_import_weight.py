"""Importing the package is quick and loads nothing heavy; each face loads only what it needs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest

HEAVY = (
    "torch",
    "pandas",
    "pyarrow",
    "numpy",
    "polars",
    "deltalake",
    "sqlalchemy",
    "matplotlib",
    "sklearn",
    "pydantic",
    "httpx",
    "fastapi",
)
FRAMEWORKS = ("torch", "torchvision", "timm", "transformers", "onnxruntime", "sklearn", "matplotlib", "pandas")
LIMIT_SECONDS = 0.2
RUNS = 9


def loaded_after(statement: str, names: tuple[str, ...]) -> set[str]:
    code = f"import sys; {statement}; print(*[name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def test_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import ml_debugger", HEAVY) == set()


@pytest.mark.parametrize("face", ["training", "data_filter", "evaluator", "cli"])
def test_no_face_loads_a_model_framework(face: str) -> None:
    assert loaded_after(f"import ml_debugger.{face}", FRAMEWORKS) == set()


def test_the_embedded_mode_needs_nothing_of_the_server_and_its_client() -> None:
    statement = "from ml_debugger.connect import connect; connect('', home='memory://')"
    assert loaded_after(statement, ("httpx", "fastapi", "uvicorn", "prometheus_client", "psycopg")) == set()


def test_the_import_is_quick() -> None:
    """Best of several interleaved runs: what the import costs beyond starting Python."""
    pairs = [(seconds("import ml_debugger"), seconds("pass")) for _ in range(RUNS)]
    with_import, bare = zip(*pairs, strict=True)
    assert min(with_import) - min(bare) < LIMIT_SECONDS, statistics.median(with_import)
