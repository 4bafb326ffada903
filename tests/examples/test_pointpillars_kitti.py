"""The example on KITTI reads its frames rightly: boxes hold the points of their objects, and only ours are named."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_debugger.analysis.points_in_boxes import points_in_boxes
from ml_debugger.demo.street_scenes import CLASS_NAMES, PC_RANGE
from tests.helpers.kitti import DATA, kitti_folder, lidar_rows, read_frame

EXAMPLE = Path(__file__).parents[2] / "examples" / "pointpillars_kitti.py"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names of the example, without running it."""
    kitti_folder()
    monkeypatch.setenv("MLD_TEST_DATA", str(DATA))
    return runpy.run_path(str(EXAMPLE))


def frame_names() -> list[str]:
    return sorted(path.stem for path in (kitti_folder() / "velodyne").glob("*.bin"))


def test_there_are_thirteen_frames() -> None:
    assert len(frame_names()) == 13


def test_boxes_are_those_of_the_annotations_in_the_axes_of_the_lidar(example: dict[str, Any]) -> None:
    for name in frame_names():
        frame = read_frame(kitti_folder(), name)
        known = lidar_rows(frame)
        known[:, 2] += known[:, 5] / 2
        inside = ((known[:, :3] > PC_RANGE[:3]) & (known[:, :3] < PC_RANGE[3:])).all(axis=1)
        read = example["read_annotations"](name)
        np.testing.assert_allclose(read["boxes"][:, :6], known[inside, :6], atol=0.03)  # the camera is a little aslant
        turned = read["boxes"][:, 6] - known[inside, 6]
        np.testing.assert_allclose(np.cos(turned), 1.0, atol=1e-6)
        called = [one for one, within in zip(frame.names, inside, strict=True) if within]
        assert read["ignore"].tolist() == [one not in CLASS_NAMES for one in called]
        named = [CLASS_NAMES[label] for label in read["labels"][~read["ignore"]]]
        assert named == [one for one in called if one in CLASS_NAMES]


def test_nearly_all_boxes_hold_points_that_the_detector_is_given(example: dict[str, Any]) -> None:
    counts = []
    for name in frame_names():
        points, read = example["read_points"](name).numpy(), example["read_annotations"](name)
        assert points.shape[1] == 4
        assert (points[:, 0] > 0).all()
        box, _ = points_in_boxes(points, read["boxes"])
        counts += np.bincount(box, minlength=len(read["boxes"])).tolist()
    assert len(counts) > 40
    assert np.mean(np.array(counts) > 0) > 0.9


def test_without_data_it_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLD_TEST_DATA", str(tmp_path))
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "No KITTI frames" in capsys.readouterr().out
    assert "set MLD_TEST_DATA" in (EXAMPLE.read_text())
