"""The 3D demo's detector: its output is what detectors may return, boxes come back from cells, and it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ml_debugger.analysis.boxes_3d import bev_iou
from ml_debugger.demo import point_pillars
from ml_debugger.demo.point_pillars import CELL, PointPillars, centres, train
from ml_debugger.demo.street_scenes import CLASS_NAMES, PC_RANGE, make_streets


@pytest.fixture(scope="module")
def streets():
    return make_streets({"train": 6, "val": 3}, seed=0)


@pytest.fixture(scope="module")
def trained(streets):
    return train(streets, streets.parts["train"], seed=0, epochs=20)


def frames_of(streets, ids):
    return [torch.from_numpy(streets.frames[number]) for number in ids]


def target(*boxes, ignore=()):
    return {
        "boxes": np.array([box[:7] for box in boxes], np.float32).reshape(-1, 7),
        "labels": np.array([box[7] for box in boxes], np.int64),
        "ignore": np.array([place in ignore for place in range(len(boxes))], bool),
    }


def slow_suppression(boxes, labels, scores, least, most):
    kept = []
    for place in torch.argsort(scores, descending=True).tolist():
        if scores[place] >= least and all(
            labels[other] != labels[place]
            or bev_iou(boxes[place][None].double().numpy(), boxes[other][None].double().numpy())[0] <= most
            for other in kept
        ):
            kept.append(place)
    return kept


@pytest.mark.parametrize("count", [0, 1, 60])
def test_suppression_keeps_the_best_of_each_class(count):
    generator = torch.Generator().manual_seed(5)
    scores = torch.rand(count, generator=generator).sort(descending=True).values
    labels = torch.randint(2, (count,), generator=generator)
    sizes = torch.tensor([4.0, 2.0, 1.5]).expand(count, 3)
    place, yaw = 15 * torch.rand(count, 3, generator=generator), 6 * torch.rand(count, 1, generator=generator)
    boxes = torch.cat([place, sizes, yaw], 1)
    kept = point_pillars._suppress(boxes, labels, scores, 0.2, 0.1)
    assert kept.tolist() == slow_suppression(boxes, labels, scores, 0.2, 0.1)
    assert len(kept) < max(count, 1) or count == 1


def test_cells_amid_an_object_learn_it_and_ignored_objects_are_nobodys():
    centre = centres()
    assert centre.shape == (64 * 64, 2)
    np.testing.assert_allclose(centre[0], np.array(PC_RANGE[:2]) + CELL / 2, rtol=1e-5)
    np.testing.assert_allclose(centre[1] - centre[0], [CELL, 0], atol=1e-5)
    car, person = (20.0, 0, -1, 4, 1.6, 1.5, 0.3, 0), (30.0, 5, -1, 0.8, 0.6, 1.7, 0, 1)
    classes, boxes = point_pillars._goals(target(car, person, (40.0, -5, -1, 4, 2, 1.5, 0, 0), ignore=[2]))

    def at(x, y):
        return int(((centre - torch.tensor([x, y])) ** 2).sum(1).argmin())

    assert classes[at(20, 0)] == 0
    np.testing.assert_allclose(boxes[at(20, 0)], car[:7])
    assert classes[at(30, 5)] == 1
    assert classes[at(40, -5)] == classes[at(41.6, -5)] == -2
    assert classes[at(10, 10)] == -1
    assert 2 <= (classes == 0).sum() <= 12
    assert (classes == 1).sum() >= 1
    assert (point_pillars._goals(target())[0] == -1).all()


@pytest.mark.parametrize("yaw", [-3.0, -1.4, 0.0, 0.7, 1.57, 3.1])
def test_boxes_come_back_from_what_cells_should_say(yaw):
    model = PointPillars()
    box = torch.tensor([20.3, 4.1, -0.9, 4.3, 1.7, 1.4, yaw])
    middle = centres()
    sides = torch.zeros(len(middle), 9)
    sides[:, :2] = (box[:2] - middle) / CELL
    sides[:, 2] = box[2]
    sides[:, 3:6] = box[3:6].log() - model.sizes[0]
    sides[:, 6], sides[:, 7] = torch.sin(2 * box[6]), torch.cos(2 * box[6])
    half = torch.atan2(sides[0, 6], sides[0, 7]) / 2
    sides[:, 8] = torch.where(torch.cos(box[6] - half) > 0, 5.0, -5.0)
    found = model.decode(sides, torch.zeros(len(middle), dtype=torch.long))
    torch.testing.assert_close(found[:, :6], box[:6].expand(len(middle), 6), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[:, 6], box[6].expand(len(middle)), atol=1e-4, rtol=0)
    classes, boxes = torch.zeros(1, len(middle), dtype=torch.long), box.expand(1, len(middle), 7)
    logits = torch.tensor([20.0, -20, -20]).expand(1, len(middle), 3)
    right = point_pillars._loss(model, sides[None], logits, boxes, classes)
    assert right < 0.01
    turned_sides = sides.clone()
    turned_sides[:, 8] *= -1
    assert point_pillars._loss(model, turned_sides[None], logits, boxes, classes) > right + 0.5


def test_mirroring_turns_annotations_with_the_frame():
    (mirrored,) = [point_pillars._mirrored(target((20.0, 3, -1, 4, 2, 1.5, 0.3, 0)), -1)]
    np.testing.assert_allclose(mirrored["boxes"], [[20, -3, -1, 4, 2, 1.5, -0.3]], rtol=1e-6)
    assert mirrored["labels"].tolist() == [0]


def test_the_output_is_one_dict_per_frame_with_all_that_is_known(trained, streets):
    with torch.no_grad():
        found = trained(frames_of(streets, streets.parts["val"]))
    assert len(found) == 3
    for frame in found:
        count = len(frame["scores"])
        assert frame["boxes"].shape == (count, 7)
        assert frame["features"].shape == (count, 64)
        assert frame["logits"].shape == (count, len(CLASS_NAMES))
        assert (frame["boxes"][:, 3:6] > 0).all()
        assert (frame["scores"] >= trained.score_thresh).all()
        assert (frame["scores"].diff() <= 0).all()
        torch.testing.assert_close(frame["logits"].sigmoid().max(1).values, frame["scores"])
        assert frame["candidates"]["scores"].shape == (len(frame["candidates"]["boxes"]), len(CLASS_NAMES))
        assert len(frame["candidates"]["boxes"]) >= count


@pytest.mark.parametrize("points", [torch.zeros(0, 4), torch.tensor([[-5.0, 0, 0, 0]]), torch.tensor([[20.0, 0, 0]])])
def test_a_frame_without_objects_gives_no_boxes(trained, points):
    (frame,) = trained([points])
    assert frame["boxes"].shape == (0, 7)
    assert frame["features"].shape == (0, 64)


def test_a_dict_of_points_will_do_too(trained, streets):
    frames = frames_of(streets, streets.parts["val"][:1])
    with torch.no_grad():
        (one,), (other,) = trained(frames), trained({"points": frames})
    torch.testing.assert_close(one["boxes"], other["boxes"])


def test_frames_of_a_batch_do_not_mix(trained, streets):
    frames = frames_of(streets, streets.parts["val"])
    with torch.no_grad():
        together, alone = trained(frames), [trained([frame])[0] for frame in frames]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one["boxes"], other["boxes"], atol=1e-3, rtol=1e-3)


def test_it_learns_what_it_is_shown(trained, streets):
    ids, found, there = streets.parts["train"], 0, 0
    with torch.no_grad():
        frames = trained(frames_of(streets, ids))
    for frame, known in zip(frames, streets.annotations(ids), strict=True):
        cars = known["boxes"][(known["labels"] == 0) & ~known["ignore"]]
        there += len(cars)
        for box in cars:
            same = frame["boxes"][frame["labels"] == 0].double().numpy()
            found += bool((bev_iou(np.broadcast_to(box, same.shape), same) > 0.5).any())
    assert found > 0.4 * there > 10


def test_the_same_seed_gives_the_same_detector_and_epochs_are_shown(streets):
    seen = []

    def shown(epochs):
        seen.append(len(epochs))
        return epochs

    one, other = (train(streets, streets.parts["val"], 4, 1, shown) for _ in range(2))
    torch.testing.assert_close(one.classes.weight, other.classes.weight)
    assert not one.training
    assert seen == [1, 1]


def test_pillars_with_many_points_keep_some_from_all_over_them():
    dense = torch.rand(1000, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.4, 0.4, 1, 1])
    dense = dense + torch.tensor([20.0, 0.0, -1.0, 0.0])
    few = torch.tensor([[30.0, 5.0, -1.0, 0.3], [30.1, 5.1, -0.5, 0.3]])
    outside = torch.tensor([[-1.0, 0, 0, 0], [60.0, 0, 0, 0], [20.0, 0, 5.0, 0]])
    kept = point_pillars.thinned(torch.cat([few, dense, outside]))
    assert kept.shape == (14, 3)
    assert {tuple(point) for point in few[:, :3].tolist()} <= {tuple(point) for point in kept.tolist()}
    there = {tuple(point): place for place, point in enumerate(dense[:, :3].tolist())}
    places = sorted(there[tuple(point)] for point in kept.tolist() if tuple(point) in there)
    assert np.diff(places).max() < 2 * 1000 / 12
    assert torch.equal(point_pillars.thinned(kept).sort(0).values, kept.sort(0).values)
    assert point_pillars.thinned(torch.zeros(0, 4)).shape == (0, 3)
