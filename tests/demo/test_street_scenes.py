"""The data of the 3D detection demo: what is annotated is there, stands on the ground, and is no ghost."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.analysis.boxes_3d import shared_areas
from ml_debugger.analysis.points_in_boxes import points_in_boxes
from ml_debugger.demo.street_scenes import CLASS_NAMES, PC_RANGE, SIZES, make_streets

PARTS = {"train": 12, "val": 5, "pool": 3}


@pytest.fixture(scope="module")
def streets():
    return make_streets(PARTS, seed=3)


def test_frames_are_points_and_parts_cover_them_once(streets):
    assert len(streets.frames) == len(streets.targets) == 20
    for frame in streets.frames:
        assert frame.dtype == np.float32
        assert frame.shape[1] == 4
        assert np.isfinite(frame).all()
        assert 10_000 < len(frame) < 32_000
    assert {name: len(ids) for name, ids in streets.parts.items()} == PARTS
    assert sorted(number for ids in streets.parts.values() for number in ids) == list(range(20))


def test_every_class_is_there_in_its_size_and_within_range(streets):
    labels = np.concatenate([target["labels"] for target in streets.targets])
    boxes = np.concatenate([target["boxes"] for target in streets.targets])
    assert boxes.dtype == np.float32
    assert labels.dtype == np.int64
    assert set(labels.tolist()) == set(range(len(CLASS_NAMES)))
    for label, size in enumerate(SIZES):
        np.testing.assert_allclose(boxes[labels == label, 3:6].mean(0), size, rtol=0.15)
    assert (boxes[:, :3] > PC_RANGE[:3]).all()
    assert (boxes[:, :3] < PC_RANGE[3:]).all()
    bottom = boxes[:, 2] - boxes[:, 5] / 2
    assert np.abs(bottom + 1.73).max() < 1.0


def test_boxes_hold_the_points_of_their_objects(streets):
    for frame, target in zip(streets.frames, streets.targets, strict=True):
        grown = target["boxes"] + np.array([0, 0, 0, 0.1, 0.1, 0.1, 0], np.float32)
        box, _ = points_in_boxes(frame, grown)
        count = np.bincount(box, minlength=len(grown))
        assert (count[~target["ignore"]] >= 5).all()
        assert (count >= 1).all()


def test_few_points_are_to_be_ignored_and_most_objects_are_not(streets):
    ignored = np.concatenate([target["ignore"] for target in streets.targets])
    assert ignored.dtype == np.bool_
    assert 0 < ignored.mean() < 0.3


def test_objects_stand_apart(streets):
    for target in streets.targets:
        one, other = np.triu_indices(len(target["boxes"]), 1)
        assert not shared_areas(target["boxes"][one], target["boxes"][other]).any()


def test_objects_hide_one_another_and_much_is_no_object(streets):
    """Things near hold many points, things far few; and most points above the ground belong to nothing annotated."""
    counts, distance, outside = [], [], []
    for frame, target in zip(streets.frames, streets.targets, strict=True):
        box, point = points_in_boxes(frame, target["boxes"])
        counts += np.bincount(box, minlength=len(target["boxes"])).tolist()
        distance += np.hypot(*target["boxes"][:, :2].T).tolist()
        above = frame[:, 2] > -1.0
        above[point] = False
        outside.append(above.sum())
    counts, distance = np.array(counts), np.array(distance)
    assert np.median(counts[distance < 15]) > 5 * np.median(counts[distance > 35])
    cars = np.concatenate([target["labels"] for target in streets.targets]) == 0
    near = cars & (distance < 20)
    assert counts[near].min() < 0.1 * counts[near].max()
    assert np.mean(outside) > 500


def test_the_seed_chooses_everything(streets):
    again, other = make_streets({"train": 2}, seed=3), make_streets({"train": 2}, seed=4)
    for one, two in zip(again.frames, streets.frames, strict=False):
        np.testing.assert_array_equal(one, two)
    assert all((a["boxes"] == b["boxes"]).all() for a, b in zip(again.targets, streets.targets, strict=False))
    assert len(other.frames[0]) != len(again.frames[0])


def test_annotations_come_in_the_order_asked_for(streets):
    found = streets.annotations([4, 1])
    assert found[0] is streets.targets[4]
    assert found[1] is streets.targets[1]
