"""The benchmark of 3D boxes on detectors made up for the test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection3d_errors import __main__ as command
from benchmarks.detection3d_errors import report
from benchmarks.detection3d_errors.data import CLASSES, DETECTORS, TRUTHS, Objects, halves, record
from benchmarks.detection3d_errors.lidar_metadetect import lidar_metadetect_features
from benchmarks.detection3d_errors.protocol import MATCHINGS, World, answer, learn, missed_row, part_of, read_world
from benchmarks.detection_errors.protocol import OURS, compare, figures
from benchmarks.detection_errors.rivals import RIVALS
from tests.helpers.kitti import kitti_folder

N_FRAMES = 90
SETTING = ("BEV .5", 0.3)
SIZES = np.array([[4.0, 1.7, 1.5], [0.8, 0.7, 1.8], [1.8, 0.6, 1.7]])


def objects(frame: np.ndarray, label: np.ndarray, box: np.ndarray, score: np.ndarray, **columns: np.ndarray) -> Objects:
    count = len(frame)
    unknown = {"occluded": np.zeros(count, np.int64), "truncated": np.zeros(count)}
    box2d = columns.get("box2d", np.tile([0.0, 0.0, 10.0, 10.0], (count, 1)))
    name = columns.get("name", np.array(CLASSES)[label])
    return Objects(ids=3 * np.arange(N_FRAMES), frame=frame, name=name, box=box, box2d=box2d, score=score, **unknown)


def detected(truths: Objects, seed: int) -> Objects:
    """Each object again, aside by more the farther it is, whatever the score; and boxes where nothing is."""
    random = np.random.default_rng(seed)
    label = np.array([CLASSES.index(name) for name in truths.name])
    far = np.hypot(truths.box[:, 0], truths.box[:, 1])
    box = truths.box.copy()
    box[:, :2] += random.normal(size=(len(box), 2)) * SIZES[label, :2] * (far / 150)[:, None]
    ghost = random.random(len(box)) < 0.2
    box[ghost, 0] += 6.0
    score = np.clip(random.normal(0.6, 0.2, len(box)) + 0.1 - 0.3 * ghost, 0.05, 0.99)
    return objects(truths.frame, label, box, score, box2d=np.tile([50.0, 0.0, 60.0, 10.0], (len(box), 1)))


@pytest.fixture(scope="module")
def world() -> World:
    random = np.random.default_rng(0)
    frame = np.repeat(np.arange(N_FRAMES), 8)
    label = random.integers(0, 3, len(frame))
    place = np.stack([random.uniform(-30, 30, len(frame)), random.uniform(5, 60, len(frame))], axis=1)
    boxes = np.concatenate([place, np.full((len(frame), 1), -1.0), SIZES[label]], axis=1)
    boxes = np.concatenate([boxes, random.uniform(-3, 3, (len(frame), 1))], axis=1)
    truths = objects(frame, label, boxes, np.full(len(frame), np.nan))
    return World(truths, {name: detected(truths, seed) for seed, name in enumerate(DETECTORS)})


@pytest.fixture(scope="module")
def measured(world: World) -> report.Measured:
    known, asked = halves(N_FRAMES)
    found = report.Measured()
    command._measure(found, world, list(world.found), ("", known, asked), 0.3)
    return found


def test_features_are_those_of_the_box_and_its_candidates(world: World) -> None:
    found = world.found["PointPillars"]
    output = record(found, 0.3)
    features = lidar_metadetect_features(output, found)
    assert features.shape == (len(output.label), 72)
    assert np.isfinite(features).all()
    count = features[:, 3 + 12]
    assert (count >= 1).all()  # a box is one of its candidates
    alone = count == 1
    least, most, mean, spread = features[alone, 16:20].T  # of x
    for one in (least, most, mean):
        np.testing.assert_allclose(one, output.boxes[alone, 0], atol=1e-5)
    assert (spread == 0).all()


def test_parts_share_no_frame_and_boxes_beside_the_annotated_are_not_judged(world: World) -> None:
    known, asked = halves(N_FRAMES)
    parts = [part_of(world, "PointPillars", frames, SETTING) for frames in (known, asked)]
    names = [set(part.run.tables["inputs"]["input_id"].to_pylist()) for part in parts]
    assert [len(one) for one in names] == [45, 45]
    assert not names[0] & names[1]
    assert all(part.judged.all() for part in parts)
    regions = np.arange(8 * N_FRAMES) % 8 == 0
    truths = world.truths.rows(np.arange(len(world.truths)))
    truths.name[regions] = "DontCare"
    truths.box2d[regions] = [0, 0, 100, 100]
    inside = part_of(World(truths, world.found), "PointPillars", known, SETTING)
    assert inside.boxes.wrong.mean() < 0.02  # what is wrong, lies there
    assert not inside.judged.all()


def test_every_method_answers_for_every_box(measured: report.Measured) -> None:
    assert len(measured.answers) == len(measured.transferred) == len(DETECTORS) * len(MATCHINGS)
    assert all(len(found.proba) == 1 + len(RIVALS) for found in measured.answers.values())
    assert all(list(found.proba) == [OURS, report.ISOTONIC] for found in measured.transferred.values())
    for found in (*measured.answers.values(), *measured.transferred.values()):
        for name, values in found.proba.items():
            assert values.shape == (1, len(found.wrong)), name
            assert ((values >= 0) & (values <= 1)).all(), name
    shares = [found.wrong.mean() for found in measured.answers.values()]
    assert shares[0] < shares[2]  # overlaps of volumes ask for more


def test_distance_that_the_score_does_not_know_is_found(measured: report.Measured) -> None:
    found = measured.answers["PointPillars, BEV .5", 0.3]
    gain, low, _ = compare(found, ["score + isotonic"], draws=50)["score + isotonic"]["auroc"]
    assert 0 < low < gain
    assert figures(found, OURS)["ece"] < figures(found, OURS)["ece_bar"]


def test_the_tables(measured: report.Measured, tmp_path: Path) -> None:
    text = report.write(measured, tmp_path, draws=10)
    assert (tmp_path / "tables.md").read_text() == text
    for line in (
        f"| {OURS} |",
        "| LidarMetaDetect, boosting |",
        "| Cyclist |",
        "## Learned from the other",
        "## Missed",
    ):
        assert line in text
    assert 0.5 < measured.missed["PointPillars, BEV .5", 0.3]["with a missed object"] <= 1


def test_choosing_never_looks_at_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated, pool = halves(31)
    (_, known, asked), *others = command._splits(31, [0, 1])
    assert len(others) == 1
    assert not ((known | asked) & pool).any()
    np.testing.assert_array_equal(known ^ asked, evaluated)
    assert not np.array_equal(known, others[0][1])
    ((_, known, asked),) = command._splits(31, None)
    np.testing.assert_array_equal(asked, pool)
    np.testing.assert_array_equal(known, evaluated)


def test_without_data_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLD_TEST_DATA", str(tmp_path))
    assert command.main([]) == 1
    assert "set MLD_TEST_DATA" in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.slow
def test_real_detectors() -> None:
    """Of one detector: better than the calibrated score beyond chance, and calibrated."""
    world = read_world(kitti_folder("kitti3d"))
    assert (kitti_folder("kitti3d") / TRUTHS).exists()
    known, asked = (part_of(world, "Frustum-PointNet", frames, SETTING) for frames in halves(world.n_frames))
    model = learn(known)
    found = answer(known, model, asked)
    for gain, low, _ in compare(found, ["score + isotonic"], draws=200)["score + isotonic"].values():
        assert 0 < low < gain
    values = figures(found, OURS)
    assert values["ece"] < values["ece_bar"]
    assert missed_row(model, asked)["AUROC missed_proba"] > 0.7
