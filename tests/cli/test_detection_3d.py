"""The command line on a run of a detector of point clouds, in a workspace of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from ml_debugger.cli import app
from ml_debugger.columns import BOX_3D_COLUMNS
from ml_debugger.data_filter import ObjectDetection3DDataFilter
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ObjectDetection3DTracer
from tests.helpers.street_frames import annotations, batches, detect, points

N = 60
WHERE = {"bbox_filter": {"conditions": [{"pred_size": ">=2", "score": "<0.8"}]}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, pd.DataFrame, list[int]]:
    """Workspace, name of the result, scores of the pool, and what the filter selects."""
    home = tmp_path_factory.mktemp("cli") / "workspace"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLD_HOME", str(home))
        tracer = ObjectDetection3DTracer(detect, "streets", "v1")
        for batch, ids in batches(range(N)):
            tracer(batch, annotations(ids), ids, "val")
        tracer.wait_for_save()
        result = Evaluator("streets", "v1").request_evaluation(options={"bootstrap": 0, "learners": []})
        data_filter = ObjectDetection3DDataFilter(detect, "streets", "v1", result.result_name)
        for batch, ids in batches(range(N)):
            data_filter(batch, ids)
        return home, result.result_name, data_filter.scores(), data_filter.query(8, WHERE)


def run(place: Any, *arguments: Any) -> Result:
    environment = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "MLD_HOME": str(place[0])}
    return CliRunner().invoke(app, [str(one) for one in arguments], env=environment)


def test_models_results_and_show(place: Any) -> None:
    assert "object_detection_3d" in run(place, "models").stdout
    assert place[1] in run(place, "results", "streets", "v1").stdout
    shown = run(place, "show", place[1]).stdout
    for said in (" boxes ", "mAP", "det_error_proba"):
        assert said in shown


def test_conditions_say_which_boxes_count(place: Any) -> None:
    shown = run(place, "query", place[1], "-n", 8, "--where", "pred_size>=2,score<0.8")
    assert shown.exit_code == 0, shown.output
    assert [int(line) for line in shown.stdout.split()] == place[3]


def test_export_has_every_box_of_the_chosen_frames(place: Any, tmp_path: Path) -> None:
    shown = run(place, "export", place[1], "-n", 3, "-o", tmp_path / "x.csv")
    assert shown.exit_code == 0, shown.output
    frame = pd.read_csv(tmp_path / "x.csv").sort_values(["input_id", "unit"])
    scores = place[2][place[2]["input_id"].isin(frame["input_id"])].sort_values(["input_id", "unit"])
    names = ["unit", "det_error_proba", "cls_error_proba", "pred_size", *BOX_3D_COLUMNS]
    np.testing.assert_allclose(frame[names], scores[names], rtol=1e-6)
    assert "x1" not in frame


def test_the_report_shows_frames_of_a_folder(place: Any, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(N):
        np.save(folder / f"{number:06d}.npy", points(number))
    shown = run(place, "report", place[1], "-o", tmp_path / "r.html", "--frames", folder)
    assert shown.exit_code == 0, shown.output
    assert Path(shown.stdout.strip()).read_text().count("data:image/jpeg") == 12
    lost = run(place, "report", place[1], "-o", tmp_path / "r.html", "--frames", tmp_path / "none")
    assert lost.exit_code == 1
    assert "expected a folder of" in lost.stderr
