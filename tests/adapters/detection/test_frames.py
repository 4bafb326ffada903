"""Point clouds in every form that detectors take them, and how many frames they are of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ml_debugger.adapters.detection.frames import count_frames, frame_points
from ml_debugger.errors import InputError
from tests.helpers.mmdet3d_standins import BasePoints, Det3DDataSample

ONE = np.arange(20, dtype=np.float32).reshape(5, 4)
TWO = np.arange(100, 112, dtype=np.float32).reshape(3, 4)
IMAGE = np.zeros((3, 20, 30), dtype=np.float32)


def collated(*frames: np.ndarray) -> np.ndarray:
    """As OpenPCDet puts frames together: the position in the batch stands before each point."""
    return np.concatenate([np.pad(frame, ((0, 0), (1, 0)), constant_values=n) for n, frame in enumerate(frames)])


BATCHES: dict[str, Any] = {
    "a list of tensors": [torch.tensor(ONE), torch.tensor(TWO)],
    "a tuple of arrays": (ONE, TWO),
    "a list of dicts": [{"points": ONE}, {"points": torch.tensor(TWO), "img": IMAGE}],
    "a dict of a list": {"points": [torch.tensor(ONE), torch.tensor(TWO)]},
    "points of mmdetection3d": {"points": [BasePoints(ONE, 4), BasePoints(TWO, 4)], "img": [IMAGE, IMAGE]},
    "a batch of mmdetection3d": {
        "inputs": {"points": [torch.tensor(ONE), torch.tensor(TWO)], "img": torch.zeros(2, 3, 20, 30)},
        "data_samples": [Det3DDataSample(), Det3DDataSample()],
    },
    "a batch of OpenPCDet": {"points": collated(ONE, TWO), "batch_size": 2, "gt_boxes": np.zeros((2, 3, 8))},
    "the same on a device": {"points": torch.tensor(collated(ONE, TWO)), "batch_size": torch.tensor(2)},
}


@pytest.mark.parametrize("form", BATCHES)
def test_points_of_a_batch(form: str) -> None:
    assert count_frames(BATCHES[form]) == 2
    first, second = frame_points(BATCHES[form], 2)
    np.testing.assert_array_equal(first, ONE[:, :3])
    np.testing.assert_array_equal(second, TWO[:, :3])
    assert first.dtype == np.float32
    with pytest.raises(
        InputError, match="3 ids were given, but the model's input holds 2 frames; give one id per frame"
    ):
        frame_points(BATCHES[form], 3)


SINGLES: dict[str, Any] = {
    "an array": ONE,
    "a tensor": torch.tensor(ONE),
    "points of mmdetection3d": BasePoints(ONE, 4),
    "a dict": {"points": ONE, "img": IMAGE, "frame_id": "000001"},
    "a dict of mmdetection3d": {"inputs": {"points": torch.tensor(ONE)}, "data_samples": Det3DDataSample()},
    "a batch of one": torch.tensor(ONE)[None],
    "a batch of one of OpenPCDet": {"points": collated(ONE), "batch_size": np.int64(1)},
}


@pytest.mark.parametrize("form", SINGLES)
def test_points_of_one_frame(form: str) -> None:
    assert count_frames(SINGLES[form]) == 1
    np.testing.assert_array_equal(frame_points(SINGLES[form], 1)[0], ONE[:, :3])


def test_a_tensor_of_frames() -> None:
    frames = torch.zeros(4, 100, 5)
    assert count_frames(frames) == 4
    assert [points.shape for points in frame_points(frames, 4)] == [(100, 3)] * 4


def test_frames_without_points() -> None:
    nothing = np.zeros((0, 4), dtype=np.float32)
    assert [points.shape for points in frame_points([nothing, ONE], 2)] == [(0, 3), (5, 3)]
    middle = {"points": collated(ONE, nothing, TWO), "batch_size": 3}
    assert [len(points) for points in frame_points(middle, 3)] == [5, 0, 3]
    assert frame_points({"points": np.zeros((0, 5)), "batch_size": 0}, 0) == []
    assert frame_points([], 0) == []


@pytest.mark.parametrize(
    ("model_input", "count"),
    [
        ({"img": [IMAGE, IMAGE]}, 2),
        ({"img": np.zeros((2, 3, 20, 30))}, 2),
        ({"img": IMAGE}, 1),
        ({"img": np.zeros((2, 6, 3, 20, 30))}, 2),
        ({"batch_size": 2, "voxels": np.zeros((7, 32, 4))}, 2),
        ({"inputs": {"voxels": np.zeros((7, 32, 4))}, "data_samples": [None, None]}, 2),
        ({"voxels": np.zeros((7, 32, 4))}, None),
        (np.zeros((1, 64, 200, 200)), None),
        (np.zeros((2, 2)), None),
        ("frame.bin", None),
        ([ONE, "frame.bin"], None),
        (None, None),
    ],
)
def test_where_there_are_no_points(model_input: Any, count: int | None) -> None:
    assert count_frames(model_input) == count
    assert frame_points(model_input, 2 if count is None else count) == [None] * (2 if count is None else count)


def test_what_may_mean_something_else_is_left_to_the_model() -> None:
    """Sweeps of one frame in a list, or six cameras: what the model returns says how many frames there are."""
    assert frame_points([ONE, TWO, ONE], 1) == [None]
    assert frame_points({"img": np.zeros((6, 3, 20, 30))}, 1) == [None]


@pytest.mark.parametrize("form", ["table", "tensor", "dict", "prepared"])
def test_one_table_of_several_frames_without_their_number(form: str) -> None:
    table = collated(ONE, np.zeros((0, 4), np.float32), TWO)
    given: dict[str, Any] = {"table": table, "tensor": torch.tensor(table), "dict": {"points": table}}
    found = frame_points(given.get(form, {"inputs": {"points": torch.tensor(table)}}), 3)
    assert [len(points) for points in found] == [5, 0, 3]
    np.testing.assert_array_equal(found[2], TWO[:, :3])


@pytest.mark.parametrize("table", [ONE, {"points": ONE + 0.5}, collated(ONE) + 2, np.zeros((3, 3))])
def test_one_table_that_says_nothing_of_its_frames_is_left_to_the_model(table: Any) -> None:
    assert frame_points(table, 2) == [None, None]


@pytest.mark.parametrize("given", [[ONE], {"points": [ONE]}, ONE[None]])
def test_what_is_of_one_frame_is_not_of_two(given: Any) -> None:
    with pytest.raises(InputError, match="2 ids were given, but the model's input holds 1 frames"):
        frame_points(given, 2)


@pytest.mark.parametrize("size", [-1, 2.5, True, "2", None])
def test_a_batch_size_that_cannot_be_right_is_refused(size: Any) -> None:
    with pytest.raises(InputError, match="batch_size, the number of frames, as an int, got"):
        count_frames({"points": ONE, "batch_size": size})


def test_a_batch_whose_points_are_not_numbered_is_refused() -> None:
    for points in (collated(ONE, TWO), collated(ONE) - 0.5, collated(ONE) * np.nan):
        with pytest.raises(InputError, match=r"first column is the position in the batch, 0\.\.0, got"):
            frame_points({"points": points, "batch_size": 1}, 1)
    with pytest.raises(InputError, match="2 ids were given, but the model's input holds 1 frames"):
        frame_points({"voxels": np.zeros((7, 32, 4)), "batch_size": 1}, 2)


def test_the_input_is_not_altered_or_shared() -> None:
    points = ONE.copy()
    frame_points(points, 1)[0][:] = -1
    np.testing.assert_array_equal(points, ONE)
