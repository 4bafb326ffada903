"""The benchmark of matching in 3D: KITTI's rule by hand, its overlaps, its tables, and the real frames."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import detection3d_matching as bench
from ml_debugger.analysis.boxes_3d import bev_iou, iou_3d
from tests.helpers import boxes_3d_reference as slow

FOLDER = bench.kitti_folder()  # read before the environment is cleaned
NAMES = ["Car", "Pedestrian", "Cyclist", "Van", "Truck", "DontCare"]
needs_kitti = pytest.mark.skipif(FOLDER is None, reason="the kitti3d data is not there")

Row = tuple[int, str, float, float]  # frame, class, x to the right, score


def table(rows: list[Row], **columns: list[float]) -> dict[str, np.ndarray]:
    """Cars of 4 x 1.6 x 1.5 m that stand side by side, 100 pixels high unless told otherwise."""
    count = len(rows)
    height = np.array(columns.get("height", [100.0] * count))
    return {
        "names": np.array(NAMES),
        "frame": np.array([row[0] for row in rows], dtype=np.int16),
        "cls": np.array([NAMES.index(row[1]) for row in rows], dtype=np.uint8),
        "bbox2d": np.stack([np.zeros(count), np.zeros(count), np.full(count, 50.0), height], axis=1),
        "hwl": np.tile([1.5, 1.6, 4.0], (count, 1)),
        "xyz": np.array([(row[2], 1.7, 20.0) for row in rows]).reshape(-1, 3),
        "ry": np.zeros(count),
        "score": np.array([row[3] for row in rows]),
        "occ": np.array(columns.get("occ", [0] * count), dtype=np.int8),
        "trunc": np.zeros(count, dtype=np.float32),
    }


def write(folder: Path, found: dict[str, np.ndarray], truths: dict[str, np.ndarray]) -> None:
    np.savez(folder / "gt_val.npz", **truths)
    for detector in bench.DETECTORS:
        np.savez(folder / f"det_{detector}_A.npz", **found)


def verdicts(folder: Path, **options: bool) -> tuple[list[int], list[int]]:
    found, truths = bench.detections_of(folder, "pointpillars"), bench.read_kitti3d(folder, "gt_val")
    pairs = bench.kitti_pairs(found, truths)
    theirs = bench.kitti_verdicts(found, truths, pairs, "Car", 0, **options)
    return theirs.tolist(), bench.our_verdicts(found, truths, "Car", 0).tolist()


def test_rows_of_kitti_are_read_in_our_convention(tmp_path: Path) -> None:
    write(tmp_path, table([]), table([(7, "Car", 3.0, np.nan), (8, "DontCare", 0.0, np.nan)]))
    truths = bench.read_kitti3d(tmp_path, "gt_val")
    assert truths.frame.tolist() == [7]
    assert truths.box[0] == pytest.approx([3.0, 20.0, -(1.7 - 0.75), 4.0, 1.6, 1.5, 0.0])


def test_the_rule_of_kitti_by_hand(tmp_path: Path) -> None:
    truths = table(
        [(1, "Car", 0.0, np.nan), (1, "Car", 10.0, np.nan), (1, "Van", 20.0, np.nan), (2, "Truck", 0.0, np.nan)],
        occ=[0, 2, 0, 0],
    )
    found = table(
        [
            (1, "Car", 0.1, 0.9),  # right
            (1, "Car", 10.1, 0.9),  # on a hidden car: neither
            (1, "Car", 20.1, 0.9),  # on a van: neither
            (1, "Car", 40.0, 0.9),  # where nothing is
            (2, "Car", 0.0, 0.9),  # on a truck
            (1, "Pedestrian", 0.0, 0.9),  # of another class
            (1, "Car", 30.0, 0.9),  # small
            (1, "Car", 2.0, 0.9),  # too far away
        ],
        height=[100, 100, 100, 100, 100, 100, 30, 100],
    )
    write(tmp_path, found, truths)
    assert verdicts(tmp_path) == ([1, -1, -1, 0, 0, -1, -1, 0],) * 2


def test_of_several_kitti_prefers_the_most_overlap_and_its_first_pass_the_best_score(tmp_path: Path) -> None:
    write(tmp_path, table([(1, "Car", 0.3, 0.9), (1, "Car", 0.0, 0.5)]), table([(1, "Car", 0.0, np.nan)]))
    assert verdicts(tmp_path) == ([0, 1], [1, 0])
    assert verdicts(tmp_path, by_score=True) == ([1, 0], [1, 0])
    found, truths = bench.detections_of(tmp_path, "fpointnet"), bench.read_kitti3d(tmp_path, "gt_val")
    pairs = bench.kitti_pairs(found, truths)
    counted = bench.agreement(found, truths, pairs, "Car", 0, least=0.0)
    assert counted == bench.Agreement(2, 1, 1, 1, 1, differing=2, differing_by_score=0)
    assert bench.agreement(found, truths, pairs, "Car", 0, least=0.6) == bench.Agreement(1, 1, 0, 1, 0, 0, 0)


def test_a_small_detection_is_taken_only_where_no_other_is_left(tmp_path: Path) -> None:
    small, large = (1, "Car", 0.0, 0.9), (1, "Car", 0.2, 0.5)
    write(tmp_path, table([small, large], height=[30.0, 100.0]), table([(1, "Car", 0.0, np.nan)]))
    assert verdicts(tmp_path) == ([-1, 1],) * 2


def random_rows(count: int, seed: int) -> bench.KittiRows:
    random = np.random.default_rng(seed)
    return bench.KittiRows(
        frame=random.integers(0, 2, count),
        name=np.full(count, "Car"),
        height=np.full(count, 50.0),
        hwl=random.uniform(1, 5, (count, 3)),
        xyz=random.uniform(-3, 3, (count, 3)),
        ry=random.uniform(-math.pi, math.pi, count),
        score=random.random(count),
        hard=np.zeros(count, bool),
    )


def test_overlaps_in_the_axes_of_the_camera_are_ours() -> None:
    found, truths = random_rows(40, 1), random_rows(30, 2)
    pairs = bench.kitti_pairs(found, truths)
    one, other = found.box[pairs.found], truths.box[pairs.truth]
    np.testing.assert_allclose(pairs.overlap, np.stack([bev_iou(one, other), iou_3d(one, other)], axis=1), atol=1e-12)
    assert pairs.overlap == pytest.approx(
        np.array([(slow.bev_iou(a, b), slow.iou_3d(a, b)) for a, b in zip(one, other, strict=True)])
    )
    count, *differences = bench.overlap_difference(found, truths, pairs)
    assert count > 100
    assert max(differences) < 1e-12


def test_a_comparison_that_misses_pairs_stops() -> None:
    found, truths = random_rows(20, 1), random_rows(20, 2)
    pairs = bench.kitti_pairs(found, truths)
    few = bench.KittiPairs(pairs.found[:3], pairs.truth[:3], pairs.overlap[:3])
    with pytest.raises(SystemExit, match="the comparison is wrong"):
        bench.overlap_difference(found, truths, few)


def test_the_benchmark_prints_a_row_per_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kitti3d").mkdir()
    write(tmp_path / "kitti3d", table([(1, "Car", 0.3, 0.9)]), table([(1, "Car", 0.0, np.nan)]))
    monkeypatch.setenv("MLD_TEST_DATA", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["detection3d_matching"])
    assert bench.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("`iou_3d`" in line for line in lines) == len(bench.DETECTORS)
    assert sum("| BEV |" in line for line in lines) == len(bench.DETECTORS) * len(bench.CLASSES) * len(bench.SCORES)
    assert "| pointpillars | Car | BEV | 0.0 | 1 | 1 | 0 | 1 | 0 | 0 | 0 |" in lines


def test_without_data_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["detection3d_matching"])
    for folder in (tmp_path, tmp_path / "absent"):
        monkeypatch.setenv("MLD_TEST_DATA", str(folder))
        assert bench.main() == 1
    assert "set MLD_TEST_DATA" in capsys.readouterr().out


@pytest.mark.data
@needs_kitti
@pytest.mark.parametrize("detector", bench.DETECTORS)
def test_real_boxes_are_judged_as_by_kitti(detector: str) -> None:
    found, truths = bench.detections_of(FOLDER, detector), bench.read_kitti3d(FOLDER, "gt_val")
    found, truths = found.rows(found.frame < 2000), truths.rows(truths.frame < 2000)
    pairs = bench.kitti_pairs(found, truths)
    count, *differences = bench.overlap_difference(found, truths, pairs)
    assert count > 2000
    assert max(differences) < 1e-9
    for column in (0, 1):
        same = bench.agreement(found, truths, pairs, "Car", column, least=0.0)
        assert same.right == same.our_right > 200
        assert same.wrong == same.our_wrong
        assert same.differing_by_score == 0


@pytest.mark.data
@needs_kitti
@pytest.mark.parametrize("measure", bench.MEASURES)
def test_all_frames_of_a_detector_are_matched_in_time(measure: str) -> None:
    seconds, matched = bench.time_match(FOLDER, "pointpillars", measure)
    assert len(matched) > 18_000
    assert seconds < bench.LIMIT / 10
