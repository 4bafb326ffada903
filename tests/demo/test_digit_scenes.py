"""The data of the detection demo: what is annotated is there, and parts do not share digits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ml_debugger.demo import digit_scenes
from ml_debugger.demo.digit_scenes import N_CLASSES, SIDE, make_scenes

SIZES = {"train": 6, "val": 9, "pool": 5}


@pytest.fixture(scope="module")
def scenes():
    return make_scenes(SIZES, seed=3)


def test_images_are_scaled_and_parts_cover_them_once(scenes):
    assert scenes.images.shape == (20, 3, SIDE, SIDE)
    assert scenes.images.dtype == np.float32
    assert scenes.images.min() >= 0
    assert scenes.images.max() <= 1
    assert {name: len(ids) for name, ids in scenes.parts.items()} == SIZES
    assert sorted(number for ids in scenes.parts.values() for number in ids) == list(range(20))


def test_every_image_has_annotated_digits_inside(scenes):
    for target in scenes.targets:
        boxes = target["boxes"]
        assert 1 <= len(boxes) == len(target["labels"]) <= 7
        assert ((boxes >= 0) & (boxes <= SIDE)).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 3).all()
        assert set(target["labels"].tolist()) <= set(range(N_CLASSES))


def test_boxes_hold_ink(scenes):
    """Where a box is, the image differs from the same scene without its digit."""
    changed = []
    for image, target in zip(scenes.images, scenes.targets, strict=True):
        for x1, y1, x2, y2 in target["boxes"].astype(int):
            inside = image[:, y1:y2, x1:x2]
            changed.append(np.ptp(inside.mean(0)))
    assert np.median(changed) > 0.25


def test_the_seed_chooses_everything(scenes):
    again, other = make_scenes(SIZES, seed=3), make_scenes(SIZES, seed=4)
    np.testing.assert_array_equal(again.images, scenes.images)
    assert all((a["boxes"] == b["boxes"]).all() for a, b in zip(again.targets, scenes.targets, strict=True))
    assert not np.array_equal(other.images, scenes.images)


def test_no_digit_is_in_two_parts(monkeypatch):
    drawn = []

    def compose(digits, classes, photographs, rng):
        drawn.append({digit.tobytes() for digit in digits})
        return np.zeros((3, 2, 2), np.float32), {}

    monkeypatch.setattr(digit_scenes, "_compose", compose)
    make_scenes({"a": 1, "b": 1, "c": 1}, seed=0)
    assert [len(one) > 500 for one in drawn] == [True] * 3
    assert not any(one & other for one, other in itertools.combinations(drawn, 2))


def test_annotations_come_in_the_order_asked_for(scenes):
    assert [target["labels"].tolist() for target in scenes.annotations([4, 1])] == [
        scenes.targets[4]["labels"].tolist(),
        scenes.targets[1]["labels"].tolist(),
    ]
