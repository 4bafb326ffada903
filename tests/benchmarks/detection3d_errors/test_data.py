"""KITTI's detections and annotations as they are read for the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.detection3d_errors.data import (
    CLASSES,
    DETECTORS,
    TRUTHS,
    annotations,
    detections,
    dont_care_share,
    halves,
    read_objects,
    record,
)
from ml_debugger.columns import DETECTION_3D_CONTEXT
from ml_debugger.tasks.boxes_3d_in import read_truths_3d
from tests.helpers.kitti import kitti_folder

NAMES = np.array(["Car", "Pedestrian", "Cyclist", "Van", "Truck", "DontCare"])


def write(path: Path, rows: list[tuple[int, str, dict[str, Any]]]) -> Path:
    """A file of three frames, 4, 7 and 9, with these objects."""
    default = {"bbox2d": [0, 0, 10, 10], "hwl": [1.5, 1.6, 4.0], "xyz": [2.0, 1.5, 20.0], "ry": 0.3, "score": np.nan}
    default |= {"occ": 0, "trunc": 0.0}
    columns = {name: np.array([{**default, **own}[name] for _, _, own in rows]) for name in default}
    columns["frame"] = np.array([frame for frame, _, _ in rows], dtype=np.int16)
    columns["cls"] = np.array([NAMES.tolist().index(name) for _, name, _ in rows], dtype=np.uint8)
    np.savez(path, names=NAMES, frames=np.array([4, 7, 9], dtype=np.int16), **columns)
    return path


@pytest.fixture
def truths(tmp_path: Path) -> Any:
    no_place = {"hwl": [-1, -1, -1], "xyz": [-1000, -1000, -1000], "ry": -10}
    rows = [
        (9, "Car", {}),
        (4, "DontCare", {**no_place, "bbox2d": [0, 0, 10, 10]}),
        (4, "Car", {"ry": -1.0}),
        (4, "Van", {}),
        (4, "DontCare", {**no_place, "bbox2d": [0, 5, 10, 30]}),
        (9, "Truck", {}),
        (9, "Cyclist", {}),
    ]
    return read_objects(write(tmp_path / "truths.npz", rows))


def test_boxes_are_in_our_convention(truths: Any) -> None:
    assert truths.ids.tolist() == [4, 7, 9]
    assert truths.frame.tolist() == [0, 0, 0, 0, 2, 2, 2]
    assert truths.name.tolist() == ["DontCare", "Car", "Van", "DontCare", "Car", "Truck", "Cyclist"]
    np.testing.assert_allclose(truths.box[1], [2, 20, -0.75, 4, 1.6, 1.5, 1])
    np.testing.assert_allclose(truths.box[4], [2, 20, -0.75, 4, 1.6, 1.5, -0.3])


def test_annotations_are_what_a_tracer_takes(truths: Any) -> None:
    found = read_truths_3d(annotations(truths), 3, len(CLASSES))
    assert found.boxes.input_index.tolist() == [0, 0, 2, 2]
    assert found.boxes.label.tolist() == [0, 0, 0, 2]
    assert found.boxes.ignored.tolist() == [False, True, False, False]
    assert found.known.all()


def test_detections_are_what_an_adapter_hands_over(tmp_path: Path, truths: Any) -> None:
    inside, half, beside = [1, 1, 9, 4], [-8, 2, 8, 8], [20, 0, 30, 10]
    rows = [
        (7, "Pedestrian", {"score": 0.5, "bbox2d": inside}),
        (4, "Car", {"score": 0.25, "bbox2d": half}),
        (4, "Cyclist", {"score": 0.125, "bbox2d": inside}),
        (4, "Cyclist", {"score": 0.75, "bbox2d": beside}),
    ]
    found = read_objects(write(tmp_path / "found.npz", rows))
    assert [len(frame["boxes"]) for frame in detections(found)] == [3, 1, 0]
    output = record(found, 0.2)
    assert output.n_inputs == 3
    assert output.input_index.tolist() == [0, 0, 1]
    assert output.label.tolist() == [0, 2, 1]
    assert output.score.tolist() == [0.25, 0.75, 0.5]
    assert output.unit.tolist() == [0, 2, 0]
    assert output.boxes.shape == (3, 7)
    n_other = output.context[:, DETECTION_3D_CONTEXT.index("n_suppressed_other")]
    assert n_other.tolist() == [2, 1, 0]  # boxes of the other class at the same place, also those below the threshold
    seen = annotations(truths, found.rows(dont_care_share(found, truths) >= 0.5))
    assert [frame["ignore"].tolist() for frame in seen] == [[False, True, True, True], [], [False, False]]
    assert seen[0]["labels"].tolist() == [0, 0, 0, 2]
    later = found.of_frames(np.array([False, True, True]))
    assert (later.ids.tolist(), later.frame.tolist(), later.name.tolist()) == ([7, 9], [0], ["Pedestrian"])
    np.testing.assert_allclose(dont_care_share(found, truths), [0.5, 1, 0, 0])
    assert dont_care_share(found.rows(np.zeros(4, dtype=bool)), truths).shape == (0,)


@pytest.mark.parametrize("n_frames", [0, 1, 7, 100])
def test_every_frame_is_in_one_half(n_frames: int) -> None:
    evaluated, pool = halves(n_frames)
    assert evaluated.sum() == n_frames // 2
    assert (evaluated ^ pool).all()
    np.testing.assert_array_equal(evaluated, halves(n_frames)[0])
    assert n_frames < 7 or not np.array_equal(evaluated, halves(n_frames, seed=1)[0])


@pytest.mark.data
@pytest.mark.parametrize("detector", DETECTORS)
def test_real_detections_lie_on_real_annotations(detector: str) -> None:
    """Two detectors, both read as the annotations are: most sure cars stand where a car was annotated."""
    folder = kitti_folder("kitti3d")
    truths, found = read_objects(folder / TRUTHS), read_objects(folder / DETECTORS[detector])
    assert len(truths.ids) == 1884
    np.testing.assert_array_equal(truths.ids, found.ids)
    cars = read_truths_3d(annotations(truths), 1884, len(CLASSES)).boxes
    sure = np.flatnonzero((found.name == "Car") & (found.score > 0.8) & (dont_care_share(found, truths) < 0.5))
    distance, best = np.full(len(sure), np.inf), np.zeros(len(sure), dtype=np.int64)
    for place, row in enumerate(sure):
        near = np.flatnonzero((cars.input_index == found.frame[row]) & (cars.label == 0))
        if len(near):
            apart = np.linalg.norm(cars.box[near, :3] - found.box[row, :3], axis=1)
            distance[place], best[place] = apart.min(), near[apart.argmin()]
    close = distance < 1
    assert close.mean() > 0.85
    turned = np.abs(np.sin(found.box[sure[close], 6] - cars.box[best[close], 6]))  # of half a turn no matter
    assert np.median(turned) < 0.05
    assert (np.median(np.abs(found.box[sure[close], 3:6] - cars.box[best[close], 3:6]), axis=0) < 0.3).all()
