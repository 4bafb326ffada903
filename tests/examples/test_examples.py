"""Every example runs, and prints something."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("MLD_TEST_DATA") or ROOT.parent / "shared" / "data").absolute()
SLOW = {"pointpillars_kitti", "yolox_onnx"}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.filterwarnings("ignore::ml_debugger.errors.MLDebuggerWarning")
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if path.stem in SLOW else [], id=path.stem) for path in EXAMPLES],
)
def test_an_example_runs(
    path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLD_TEST_DATA", str(DATA))
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()
