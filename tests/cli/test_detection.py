"""The command line on a run of a detector, in a workspace of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from ml_debugger.cli import app
from ml_debugger.data_filter import ObjectDetectionDataFilter
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ObjectDetectionTracer
from tests.helpers.box_results import image_of
from tests.helpers.labelled_boxes import detections

pytestmark = pytest.mark.filterwarnings("ignore::ml_debugger.errors.EvaluationWarning")
N = 80


class Detector:
    """Answers with what was made beforehand; an image is its number."""

    def __init__(self):
        self.output, self.truths = detections(N, 1)

    def __call__(self, images):
        return [self.of(number) for number in images]

    def of(self, number):
        mine = self.output.input_index == number
        names = {"boxes": "boxes", "labels": "label", "scores": "score", "features": "features", "logits": "logits"}
        return {name: np.asarray(getattr(self.output, field))[mine] for name, field in names.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Workspace, name of the result, the detector, and what the filter says of its boxes."""
    home, detect = tmp_path_factory.mktemp("cli") / "workspace", Detector()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLD_HOME", str(home))
        tracer = ObjectDetectionTracer(detect, "boxes", "v1")
        tracer(list(range(N)), detect.truths, list(range(N)), "val")
        result = Evaluator("boxes", "v1").request_evaluation(options={"bootstrap": 0, "learners": []})
        data_filter = ObjectDetectionDataFilter(detect, "boxes", "v1", result.result_name)
        data_filter(list(range(N)), list(range(N)))
        scores = data_filter.scores()
        ranked = {
            "top": data_filter.query(5, {"target_column": "det_error_proba", "top_n": 1}),
            "where": data_filter.query(5, {"bbox_filter": {"conditions": [{"score": "<0.6"}]}}),
            "all": data_filter.query(N, "high_error_proba", include_empty=True),
            "budget": data_filter.query(N, "high_error_proba", box_budget=9),
        }
    return home, result, detect, scores, ranked


def run(place, *arguments):
    environment = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "MLD_HOME": str(place[0])}
    return CliRunner().invoke(app, [str(one) for one in arguments], env=environment)


def test_a_unit_is_the_same_box_for_tracer_and_filter_and_in_the_output(place):
    _, result, detect, scores, _ = place
    for frame in (result.samples(include_ignored=True), scores):
        assert len(frame) == len(detect.output.label)
        for number, rows in frame.groupby("input_id"):
            boxes = detect.of(number)["boxes"]
            np.testing.assert_array_equal(rows[["x1", "y1", "x2", "y2"]].to_numpy(), boxes[rows["unit"]])
            np.testing.assert_array_equal(rows["label"], detect.of(number)["labels"][rows["unit"]])


def test_models_results_and_show(place):
    name = place[1].result_name
    assert "object_detection" in run(place, "models").stdout
    assert name in run(place, "results", "boxes", "v1").stdout
    shown = run(place, "show", name).stdout
    for said in (" boxes ", "mAP", "det_error_proba"):
        assert said in shown


@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        ("top", ["-n", 5, "--strategy", '{"target_column": "det_error_proba", "top_n": 1}']),
        ("where", ["-n", 5, "--where", "score<0.6"]),
        ("all", ["-n", N, "--include-empty"]),
        ("budget", ["-n", N, "--box-budget", 9]),
    ],
)
def test_queries_give_what_the_filter_gives(place, key, arguments):
    shown = run(place, "query", place[1].result_name, *arguments)
    assert shown.exit_code == 0, shown.output
    assert [int(line) for line in shown.stdout.split()] == place[4][key]


def test_images_without_boxes_come_only_when_asked_for(place):
    full = {int(line) for line in run(place, "query", place[1].result_name, "-n", N, "--include-empty").stdout.split()}
    shown = run(place, "query", place[1].result_name, "-n", N)
    assert full == set(range(N))
    assert {int(line) for line in shown.stdout.split()} == set(place[2].output.input_index.tolist()) < full
    assert "have no boxes that count, --include-empty takes them in" in shown.stderr


def test_strategies_by_name_and_zones(place):
    for extra in (["--strategy", "diverse_error"], ["--strategy", "random", "--seed", 1], ["--zone", "hotspot"]):
        shown = run(place, "query", place[1].result_name, "-n", 3, *extra)
        assert (shown.exit_code, len(shown.stdout.split())) == (0, 3), shown.output


def test_mistakes_in_a_strategy_say_what_is_allowed(place):
    shown = run(place, "query", place[1].result_name, "--strategy", '{"target": "x"}')
    assert shown.exit_code == 1
    assert "target_column" in shown.stderr
    broken = run(place, "query", place[1].result_name, "--strategy", '{"target_column": ')
    assert broken.exit_code == 2
    assert "not valid JSON" in broken.output


def test_export_has_every_box_of_the_chosen_images(place, tmp_path):
    shown = run(place, "export", place[1].result_name, "-n", 3, "-o", tmp_path / "x.csv")
    assert shown.exit_code == 0, shown.output
    assert "3 inputs in" in shown.stderr
    frame = pd.read_csv(tmp_path / "x.csv")
    assert {"unit", "det_error_proba", "cls_error_proba", "pred_size", "x1", "y1", "x2", "y2"} <= set(frame.columns)
    expected = place[3][place[3]["input_id"].isin(frame["input_id"])]
    assert len(frame) == len(expected)
    run(place, "export", place[1].result_name, "-n", 3, "-o", tmp_path / "x.jsonl")
    assert json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])["x2"] > 0


def test_the_report_shows_images_of_a_folder(place, tmp_path):
    pytest.importorskip("supervision")
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(N):
        Image.fromarray(image_of(number)).save(folder / f"{number:06d}.png")
    shown = run(place, "report", place[1].result_name, "-o", tmp_path / "r.html", "--images", folder)
    assert shown.exit_code == 0, shown.output
    assert Path(shown.stdout.strip()).read_text().count("data:image/jpeg") == 12
    lost = run(place, "report", place[1].result_name, "-o", tmp_path / "r.html", "--images", tmp_path / "none")
    assert lost.exit_code == 1
    assert "expected a folder of images" in lost.stderr
