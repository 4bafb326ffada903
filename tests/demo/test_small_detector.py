"""The demo's detector: its output is what detectors may return, its suppression is the usual one, and it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms, generalized_box_iou

from ml_debugger.demo import small_detector
from ml_debugger.demo.digit_scenes import N_CLASSES, make_scenes
from ml_debugger.demo.small_detector import centres, train


@pytest.fixture(scope="module")
def scenes():
    return make_scenes({"train": 24, "val": 12}, seed=0)


@pytest.fixture(scope="module")
def trained(scenes):
    return train(scenes, scenes.parts["train"], seed=0, epochs=30)


def random_boxes(count, seed=0):
    corner = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) * 60
    size = 5 + torch.rand(count, 2, generator=torch.Generator().manual_seed(seed + 1)) * 40
    return torch.cat([corner, corner + size], 1)


@pytest.mark.parametrize("count", [0, 1, 80])
def test_suppression_is_the_usual_one(count):
    boxes, generator = random_boxes(count), torch.Generator().manual_seed(5)
    scores = torch.rand(count, generator=generator)
    labels = torch.randint(3, (count,), generator=generator)
    kept = small_detector._suppress(boxes, labels, scores, 0.2, 0.5)
    usual = batched_nms(boxes, scores, labels, 0.5)
    assert kept.tolist() == usual[scores[usual] >= 0.2].tolist()


def test_generalised_overlap_is_the_usual_one():
    one, other = random_boxes(50, 1), random_boxes(50, 3)
    found = small_detector._generalised_iou(one, other)
    torch.testing.assert_close(found, generalized_box_iou(one, other).diagonal())


def test_cells_amid_a_box_learn_it_and_the_smaller_box_wins():
    centre = centres(16, 16)
    assert centre.shape == (256, 2)
    assert centre[0].tolist() == [4, 4]
    assert centre[17].tolist() == [12, 12]
    target = {
        "boxes": np.array([[0, 0, 64, 64], [20, 20, 40, 40]], np.float32),
        "labels": np.array([7, 2]),
    }
    classes, boxes = small_detector._goals(target, centre)
    at = {tuple(place): index for index, place in enumerate(centre.int().tolist())}
    assert classes[at[28, 28]] == 2
    assert boxes[at[28, 28]].tolist() == [20, 20, 40, 40]
    assert classes[at[44, 44]] == 7
    assert classes[at[60, 60]] == -1
    empty = {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)}
    assert (small_detector._goals(empty, centre)[0] == -1).all()


def test_the_output_is_one_dict_per_image_with_all_that_is_known(trained, scenes):
    with torch.no_grad():
        images = trained(torch.from_numpy(scenes.images[:5]))
    assert len(images) == 5
    for image in images:
        count = len(image["scores"])
        assert image["boxes"].shape == (count, 4)
        assert image["features"].shape == (count, 64)
        assert image["logits"].shape == (count, N_CLASSES)
        assert (image["boxes"][:, 2:] > image["boxes"][:, :2]).all()
        assert (image["scores"] >= trained.score_thresh).all()
        assert (image["scores"].diff() <= 0).all()
        torch.testing.assert_close(image["logits"].sigmoid().max(1).values, image["scores"])
        assert image["candidates"]["scores"].shape == (len(image["candidates"]["boxes"]), N_CLASSES)
        assert len(image["candidates"]["boxes"]) >= count


def test_an_image_without_digits_gives_no_boxes(trained):
    (image,) = trained(torch.zeros(1, 3, 128, 128))
    assert image["boxes"].shape == (0, 4)
    assert image["features"].shape == (0, 64)


def test_it_learns_what_it_is_shown(trained, scenes):
    ids = scenes.parts["train"]
    with torch.no_grad():
        images = trained(torch.from_numpy(scenes.images[ids]))
    found = 0
    for image, target in zip(images, scenes.annotations(ids), strict=True):
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            same = image["boxes"][image["labels"] == int(label)]
            middle = (same[:, :2] + same[:, 2:]) / 2
            found += bool(((middle - torch.from_numpy(box[:2] + box[2:]) / 2).abs().amax(1) < 8).any())
    assert found > 0.6 * sum(len(target["labels"]) for target in scenes.annotations(ids))


def test_the_same_seed_gives_the_same_detector(scenes):
    one, other = (train(scenes, scenes.parts["val"], seed=4, epochs=1) for _ in range(2))
    torch.testing.assert_close(one.classes.weight, other.classes.weight)
    assert not one.training


def test_epochs_are_shown(scenes):
    seen = []
    train(scenes, scenes.parts["val"], seed=0, epochs=3, shown=lambda epochs: (seen.append(len(epochs)), epochs)[1])
    assert seen == [3]
