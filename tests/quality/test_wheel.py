"""The built wheel works in an empty environment, with no torch and nothing of this checkout."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.quality.source import PACKAGE, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT], check=True, capture_output=True)
    return next(out.glob("ml_debugger-*.whl"))


@pytest.fixture(scope="module")
def binaries(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel and its core dependencies only."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel]
    subprocess.run(pip, check=True)
    return place / "bin"


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours <= inside
    assert all(name.startswith(("ml_debugger/", "ml_debugger-")) for name in inside)


def run(binaries: Path, tmp_path: Path, *command: str) -> str:
    environment = {"PATH": str(binaries), "MLD_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [binaries / command[0], *command[1:]],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_runs_without_torch(binaries: Path, tmp_path: Path) -> None:
    assert "demo" in run(binaries, tmp_path, "mldebugger", "--help")
    assert "classification" in run(binaries, tmp_path, "mldebugger", "demo", "--help")


def test_a_callable_is_traced_evaluated_and_filtered_without_torch(binaries: Path, tmp_path: Path) -> None:
    code = """
import importlib.util
import numpy as np
from ml_debugger.training import ClassificationTracer
from ml_debugger.evaluator import Evaluator
from ml_debugger.data_filter import ClassificationDataFilter

assert importlib.util.find_spec("torch") is None
rng = np.random.default_rng(0)
truth = rng.integers(0, 3, 900)
inputs = np.eye(3)[truth] * 1.5 + rng.normal(size=(900, 3))
model = lambda batch: batch
tracer = ClassificationTracer(model, "m", "v")
tracer(inputs[:300], truth[:300], range(300), "train")
tracer(inputs[300:600], truth[300:600], range(300, 600), "val")
tracer.wait_for_save()
result = Evaluator("m", "v").request_evaluation()
data_filter = ClassificationDataFilter(model, "m", "v", result.result_name)
data_filter(inputs[600:], range(600, 900))
ids = data_filter.query(10, "high_error_proba")
assert len(set(ids)) == 10 and all(type(i) is int for i in ids)
print(result.metrics["accuracy"])
"""
    assert 0.5 < float(run(binaries, tmp_path, "python", "-W", "error::DeprecationWarning", "-c", code)) < 1
    assert "m_v_classification_v1" in run(binaries, tmp_path, "mldebugger", "models")


def test_the_extra_server_is_all_that_a_server_needs(wheel: Path, binaries: Path, tmp_path: Path) -> None:
    """As the Dockerfile installs it; what it installs reaches PostgreSQL too."""
    pip = [binaries / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", f"{wheel}[server]"]
    subprocess.run(pip, check=True)
    run(binaries, tmp_path, "python", "-c", "import psycopg")
    environment = {"PATH": str(binaries), "HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [binaries / "mldebugger", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as process:
        lines = iter(process.stdout.readline, "")
        endpoint = next(line.split()[2] for line in lines if line.startswith("Listening on"))
        with urllib.request.urlopen(f"{endpoint}/readyz", timeout=30) as answer:
            assert answer.status == 200
        process.terminate()
        assert process.wait(60) == 0
