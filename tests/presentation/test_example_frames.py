"""Point clouds are found by id wherever the user has them, and refused with words where they are not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ml_debugger.errors import InputError, NotFoundError
from ml_debugger.presentation.example_frames import frame_reader
from tests.helpers.kitti import kitti_folder, read_frame

POINTS = np.arange(24, dtype=np.float32).reshape(6, 4)
WIDE = np.arange(40, dtype=np.float32).reshape(8, 5)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sweeps").mkdir()
    POINTS.tofile(tmp_path / "000134.bin")
    WIDE.tofile(tmp_path / "sweeps" / "LIDAR_TOP__7.pcd.bin")
    np.save(tmp_path / "drive.npy", POINTS.astype(np.float64))
    (tmp_path / "000134.txt").write_text("labels")
    return tmp_path


@pytest.mark.parametrize(
    ("input_id", "points"),
    [
        (134, POINTS),
        ("000134", POINTS),
        ("000134.bin", POINTS),
        ("LIDAR_TOP__7", WIDE),
        ("sweeps/LIDAR_TOP__7.pcd.bin", WIDE),
        ("drive", POINTS),
    ],
)
def test_files_are_found_by_the_id(folder, input_id, points):
    found = frame_reader(folder)(input_id)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, points[:, :3])


def test_files_of_kitti():
    folder = kitti_folder()
    found = frame_reader(folder / "velodyne")(134)
    np.testing.assert_array_equal(found, read_frame(folder, "000134").points)


@pytest.mark.parametrize(
    "found",
    [
        POINTS,
        POINTS[:, :3].astype(np.float64),
        torch.from_numpy(POINTS).requires_grad_(),
        torch.from_numpy(POINTS).bfloat16(),
        POINTS[None],
        [POINTS],
        SimpleNamespace(tensor=torch.from_numpy(POINTS)),
        {"points": POINTS, "frame_id": "000134"},
        {"inputs": {"points": [torch.from_numpy(POINTS)]}, "data_samples": []},
        {"batch_size": 1, "points": np.concatenate([np.zeros((6, 1), np.float32), POINTS], axis=1)},
    ],
    ids=["array", "float64", "tensor", "bfloat16", "batch", "list", "object", "dict", "mmdet3d", "openpcdet"],
)
def test_what_a_detector_takes_for_a_frame(found):
    for frames in ({7: found}, {"7": found}, lambda input_id: found):
        read = frame_reader(frames)(7)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, POINTS[:, :3])


def test_a_frame_may_be_empty(tmp_path):
    (tmp_path / "1.bin").write_bytes(b"")
    assert frame_reader(tmp_path)(1).shape == (0, 3)
    assert frame_reader({1: np.empty((0, 4))})(1).shape == (0, 3)


def test_what_is_missing_is_named(folder):
    with pytest.raises(NotFoundError, match=r"frames: no file .* input_id 5 .*among 3 frames.*from id to points"):
        frame_reader(folder)(5)
    for frames in ({}, lambda input_id: None):
        with pytest.raises(NotFoundError, match="frames: there is none for input_id 'a'"):
            frame_reader(frames)("a")
    with pytest.raises(NotFoundError, match=r"there is no file .*none\.bin for input_id 5"):
        frame_reader({5: folder / "none.bin"})(5)
    with pytest.raises(InputError, match="frames: expected a folder, or a mapping or function from input id to points"):
        frame_reader(17)
    with pytest.raises(InputError, match="frames: expected a folder of frames, got "):
        frame_reader(folder / "nowhere")


@pytest.mark.parametrize(
    ("found", "got"),
    [
        (np.zeros((4, 2)), r"ndarray of shape \(4, 2\)"),
        (np.zeros((2, 5, 4)), r"ndarray of shape \(2, 5, 4\)"),
        (np.array([["a", "b", "c"]]), "ndarray of shape"),
        ({"image": 1}, r"a dict with the keys \['image'\]"),
        ({"batch_size": 2, "points": POINTS}, "a batch of 2 frames"),
        ([POINTS, POINTS], r"list of shape \(2, 6, 4\)"),
    ],
)
def test_what_is_no_frame_is_refused(found, got):
    with pytest.raises(InputError, match=rf"frames: expected points \(N, 3\) .* for input_id 3, got {got}"):
        frame_reader({3: found})(3)


def test_files_that_hold_something_else_are_refused(folder):
    (folder / "odd.bin").write_bytes(bytes(20))
    (folder / "byte.bin").write_bytes(bytes(33))
    (folder / "odd.pcd.bin").write_bytes(bytes(16))
    (folder / "text.npy").write_text("no array")
    read = frame_reader(lambda name: folder / name)
    for name, width in (("odd.bin", 4), ("byte.bin", 4), ("odd.pcd.bin", 5)):
        with pytest.raises(InputError, match=rf"expected {width} float32 numbers per point in .* pass a mapping"):
            read(name)
    with pytest.raises(InputError, match=r"text\.npy of input_id 'text\.npy' cannot be read as points"):
        read("text.npy")
    with pytest.raises(InputError, match=r"got the file .*000134\.txt"):
        read("000134.txt")
    (folder / "folder.bin").mkdir()
    with pytest.raises(InputError, match=r"folder\.bin .* cannot be read as points"):
        read("folder.bin")
