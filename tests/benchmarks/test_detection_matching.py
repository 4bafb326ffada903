"""The matching benchmark: its scenes are no toys, its tables have their rows, and its limit is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import detection_matching as bench
from ml_debugger.analysis.matching import DETECTION_CODES, match


def test_scenes_hold_right_boxes_and_errors_of_most_kinds() -> None:
    predictions, truths = bench.make_scenes(300, 30, 10)
    assert len(predictions) == 9000
    assert len(truths) == 3000
    found = match(predictions, truths)
    assert set(found.code) >= set(DETECTION_CODES) - {"SG", "SP"}
    assert (found.code == "U").mean() < 0.05
    assert 0.05 < (found.code == "A").mean() < 0.5


def test_speed_table_has_a_row_per_case() -> None:
    lines = bench.speed_table(40, 5).splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["50", "200", "200", "1,200"]


@pytest.mark.slow
def test_matching_keeps_its_limit() -> None:
    assert bench.time_match(10_000, 30, 30)[0] < bench.LIMIT


def write_coco(folder: Path) -> None:
    annotations = [
        {"id": 11, "image_id": 7, "category_id": 1, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0},
        {"id": 12, "image_id": 7, "category_id": 1, "bbox": [100, 100, 200, 200], "area": 40000, "iscrowd": 1},
        {"id": 13, "image_id": 9, "category_id": 2, "bbox": [10, 10, 40, 40], "area": 1600, "iscrowd": 0},
    ]
    images = [{"id": number, "width": 400, "height": 400} for number in (7, 9)]
    instances = {"images": images, "annotations": annotations, "categories": [{"id": 1}, {"id": 2}]}
    (folder / "instances.json").write_text(json.dumps(instances))
    detections = [
        {"image_id": 7, "category_id": 1, "bbox": [11, 10, 40, 40], "score": 0.9},
        {"image_id": 7, "category_id": 1, "bbox": [120, 120, 20, 20], "score": 0.8},
        {"image_id": 9, "category_id": 1, "bbox": [10, 10, 40, 40], "score": 0.7},
    ]
    for name in bench.DETECTIONS:
        (folder / f"{name}.json").write_text(json.dumps(detections))


def test_agreement_counts_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    write_coco(tmp_path)
    same = bench.agreement(tmp_path, bench.DETECTIONS[0], 0.5)
    assert same == bench.Agreement(
        boxes=3, right=1, ignored=1, differing=0, partners_differing=0, truths=2, missed_differing=0
    )
    judged = bench.coco_verdicts
    monkeypatch.setattr(bench, "coco_verdicts", lambda instances, detections, iou: judged(instances, detections, 0.99))
    other = bench.agreement(tmp_path, bench.DETECTIONS[0], 0.5)
    assert (other.differing, other.partners_differing, other.missed_differing) == (1, 1, 1)


def test_codes_are_counted(tmp_path: Path) -> None:
    write_coco(tmp_path)
    row = bench.code_table(tmp_path).splitlines()[2]
    assert [cell.strip() for cell in row.split("|")[2:-1]] == ["3", "1", "2", *["0"] * 6, "0", "1", "0"]


def test_without_data_only_speed_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MLD_TEST_DATA", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["detection_matching", "--images", "40", "--boxes", "3"])
    assert bench.main() == 0
    assert "no agreement measured" in capsys.readouterr().out
    monkeypatch.setenv("MLD_TEST_DATA", str(tmp_path / "absent"))
    assert bench.coco_folder() is None
