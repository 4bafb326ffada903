"""Matching of boxes in 3D: the rules of 2D with other boxes, whatever overlap means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger.analysis.box_kinds import BOXES_2D, BOXES_3D
from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.matching import Match, MatchSettings, match
from ml_debugger.errors import ConfigError, InputError

CAR, PERSON = 0, 1
HERE = (10.0, 5.0, 0.8, 4.0, 2.0, 1.6, 0.3)

Row = tuple[object, ...]


def predicted(*rows: Row) -> PredictedBoxes:
    """Of one frame: (box, label, score) each."""
    return PredictedBoxes(
        np.zeros(len(rows), dtype=np.int64),
        np.array([row[0] for row in rows], dtype=float).reshape(-1, 7),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype=float),
    )


def annotated(*rows: Row) -> TrueBoxes:
    """Of one frame: (box, label) or (box, label, ignored) each."""
    return TrueBoxes(
        np.zeros(len(rows), dtype=np.int64),
        np.array([row[0] for row in rows], dtype=float).reshape(-1, 7),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([len(row) > 2 and row[2] for row in rows], dtype=bool),
    )


def match_3d(predictions: PredictedBoxes, truths: TrueBoxes, **chosen: object) -> Match:
    return match(predictions, truths, MatchSettings(**chosen), BOXES_3D)


def moved(box: tuple[float, ...], forward: float = 0.0, up: float = 0.0) -> tuple[float, ...]:
    """Along its own axis, and upwards, in metres."""
    x, y, z, *rest = box
    return (x + forward * math.cos(box[6]), y + forward * math.sin(box[6]), z + up, *rest)


@pytest.mark.parametrize(
    ("forward", "up", "codes"),
    [  # seen from above, of volumes, by 2 m
        (0.0, 0.0, "A A A"),
        (1.0, 0.0, "A A A"),  # 3 of 5 m
        (2.0, 0.0, "M M A"),  # 2 of 6 m
        (2.1, 0.0, "M M M"),
        (3.5, 0.0, "N N M"),
        (3.7, 0.0, "N N N"),
        (0.0, 0.8, "A M A"),  # half of the height
        (0.0, 1.6, "A N A"),
    ],
)
def test_what_overlap_means(forward: float, up: float, codes: str) -> None:
    one, truth = predicted((moved(HERE, forward, up), CAR, 0.9)), annotated((HERE, CAR))
    found = [match_3d(one, truth, measure=measure) for measure in ("iou_bev", "iou_3d", "distance")]
    assert " ".join(each.code[0] for each in found) == codes
    assert match_3d(one, truth).code.tolist() == found[0].code.tolist()  # seen from above unless told otherwise


def test_the_overlap_of_a_distance_is_half_at_its_limit() -> None:
    for limit in (0.5, 1.0, 2.0, 4.0):
        for share in (0.5, 1.0, 1.01):
            box = (HERE[0] + share * limit, *HERE[1:])
            found = match_3d(
                predicted((box, CAR, 0.9)), annotated((HERE, CAR)), measure="distance", centre_distance=limit
            )
            assert found.code.tolist() == ["A" if share <= 1 else "M"]
            assert found.iou == pytest.approx([1 - share / 2])


def test_measures_and_distances_by_class() -> None:
    """A person 1 m away: right by 2 m, wrong by .5 m, wrong by overlap; cars are compared by overlap all the time."""
    person = (20.0, 5.0, 0.9, 0.6, 0.6, 1.8, 0.0)
    boxes = predicted((moved(HERE, 1.0), CAR, 0.9), (moved(person, 1.0), PERSON, 0.8))
    truths = annotated((HERE, CAR), (person, PERSON))
    assert match_3d(boxes, truths).code.tolist() == ["A", "N"]
    near = match_3d(boxes, truths, measure_by_class={PERSON: "distance"})
    assert near.code.tolist() == ["A", "A"]
    assert near.iou == pytest.approx([3 / 5, 3 / 4])
    strict = match_3d(boxes, truths, measure_by_class={PERSON: "distance"}, centre_distance_by_class={PERSON: 0.5})
    assert strict.code.tolist() == ["A", "N"]
    assert match_3d(boxes, truths, measure="distance", measure_by_class={CAR: "iou_3d"}).code.tolist() == ["A", "A"]


def test_direction_counts_and_a_half_turn_does_not() -> None:
    truth = annotated((HERE, CAR))
    across, around = ((*HERE[:6], HERE[6] + turn) for turn in (math.pi / 2, math.pi))
    assert match_3d(predicted((across, CAR, 0.9)), truth).code.tolist() == ["M"]
    found = match_3d(predicted((around, CAR, 0.9)), truth)
    assert found.code.tolist() == ["A"]
    assert found.iou == pytest.approx([1])


def test_a_prediction_near_another_one_overlaps_no_pair() -> None:
    """What is near is said by the class of the prediction itself."""
    far = (40.0, 5.0, 0.8, 1.0, 1.0, 1.6, 0.0)
    boxes = predicted((far, CAR, 0.9), ((*far[:1], 7.0, *far[2:]), PERSON, 0.8))
    assert match_3d(boxes, annotated((HERE, CAR))).code.tolist() == ["N", "N"]
    by_person = match_3d(boxes, annotated((HERE, CAR)), measure_by_class={PERSON: "distance"})
    assert by_person.code.tolist() == ["N", "ON"]


@pytest.mark.parametrize("measure", ["iou_bev", "iou_3d", "distance"])
def test_regions_fragments_and_merged_objects_are_told_by_shares(measure: str) -> None:
    region = annotated(((10, 5, 0, 60, 60, 60, 0.0), CAR, True))
    assert match_3d(predicted((HERE, CAR, 0.9)), region, measure=measure, centre_distance=0.1).ignored.all()
    long = (0.0, 0.0, 0.0, 20.0, 3.0, 3.0, 0.5)
    halves = [(*moved(long, by)[:3], 9.0, 3.0, 3.0, 0.5) for by in (-5.0, 5.0)]
    chosen = {"measure": measure, "centre_distance": 1.0}
    split = match_3d(predicted(*((half, CAR, 0.9) for half in halves)), annotated((long, CAR)), **chosen)
    assert split.code.tolist() == ["SP", "SP"]
    merged = match_3d(predicted((long, CAR, 0.9)), annotated(*((half, CAR) for half in halves)), **chosen)
    assert merged.code.tolist() == ["SG"]
    assert not merged.missed.any()


def test_boxes_that_cover_nothing_are_undefined_and_not_missed() -> None:
    flat = (*HERE[:5], 0.0, 0.0)
    found = match_3d(predicted((flat, CAR, 0.9), (HERE, CAR, np.nan)), annotated((flat, CAR)))
    assert found.code.tolist() == ["U", "U"]
    assert not found.missed.any()


@pytest.mark.parametrize("measure", ["iou_bev", "iou_3d", "distance"])
def test_nothing_has_a_shape(measure: str) -> None:
    for boxes, truths in ((predicted(), annotated((HERE, CAR))), (predicted((HERE, CAR, 0.5)), annotated())):
        found = match_3d(boxes, truths, measure=measure)
        assert (len(found), len(found.missed)) == (len(boxes), len(truths))
        assert found.missed.all()


def test_boxes_and_settings_of_another_kind_are_refused() -> None:
    one, truth = predicted((HERE, CAR, 0.9)), annotated((HERE, CAR))
    with pytest.raises(InputError, match=r"expected shape \(U, 4\), x1 y1 x2 y2 in pixels, got \(1, 7\)"):
        match(one, truth)
    flat = PredictedBoxes(one.input_index, one.box[:, :4], one.label, one.score)
    with pytest.raises(InputError, match=r"expected shape \(U, 7\), x y z dx dy dz yaw"):
        match(flat, truth, kind=BOXES_3D)
    flat_truth = TrueBoxes(truth.input_index, truth.box[:, :4], truth.label, truth.ignored)
    for chosen in (MatchSettings(measure="iou_3d"), MatchSettings(measure_by_class={2: "iou_3d"})):
        with pytest.raises(ConfigError, match="by intersection over union only; leave measure 'iou_3d' out"):
            match(flat, flat_truth, chosen)
    assert not BOXES_2D.measures


# Properties

coordinate = st.integers(0, 10)
rectangle = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), coordinate, coordinate, coordinate, coordinate)
label = st.integers(0, 2)
rows_of = st.lists(st.tuples(rectangle, label, st.integers(0, 4).map(lambda n: n / 4)), max_size=8)
truths_of = st.lists(st.tuples(rectangle, label, st.integers(0, 9).map(lambda n: n == 0)), max_size=6)


def flat_scene(rows: list[Row], truths: list[Row]) -> tuple[PredictedBoxes, TrueBoxes]:
    one, other = (np.array([row[0] for row in each], dtype=float).reshape(-1, 4) for each in (rows, truths))
    labels, kinds = (np.array([row[1] for row in each], dtype=np.int64) for each in (rows, truths))
    index, other_index = (np.zeros(len(each), dtype=np.int64) for each in (rows, truths))
    return (
        PredictedBoxes(index, one, labels, np.array([row[2] for row in rows], dtype=float)),
        TrueBoxes(other_index, other, kinds, np.array([row[2] for row in truths], dtype=bool)),
    )


def upright(flat: np.ndarray, turn: float = 0.0) -> np.ndarray:
    """``(U, 7)`` boxes of equal height that have these rectangles seen from above, all turned about the origin."""
    x, y = (flat[:, 0] + flat[:, 2]) / 2, (flat[:, 1] + flat[:, 3]) / 2
    cos, sin = math.cos(turn), math.sin(turn)
    size = [flat[:, 2] - flat[:, 0], flat[:, 3] - flat[:, 1], np.full(len(flat), 1.0)]
    return np.stack(
        [x * cos - y * sin, x * sin + y * cos, np.zeros(len(flat)), *size, np.full(len(flat), turn)], axis=1
    )


def lifted(boxes: PredictedBoxes, truths: TrueBoxes, turn: float = 0.0) -> tuple[PredictedBoxes, TrueBoxes]:
    return (
        PredictedBoxes(boxes.input_index, upright(boxes.box, turn), boxes.label, boxes.score),
        TrueBoxes(truths.input_index, upright(truths.box, turn), truths.label, truths.ignored),
    )


def assert_same(found: Match, expected: Match, tolerance: float = 0.0) -> None:
    for name in ("truth", "code", "certain", "is_error", "det_error", "cls_error", "ignored", "missed"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    np.testing.assert_allclose(found.iou, expected.iou, rtol=tolerance, atol=tolerance)


@settings(deadline=None, max_examples=150)
@given(rows_of, truths_of, st.sampled_from(["iou_bev", "iou_3d"]))
def test_boxes_that_are_not_turned_are_matched_as_those_of_an_image_to_the_bit(rows, truths, measure: str) -> None:
    boxes, others = flat_scene(rows, truths)
    assert_same(match_3d(*lifted(boxes, others), measure=measure), match(boxes, others))


@settings(deadline=None, max_examples=100)
@given(rows_of, truths_of, st.floats(-math.pi, math.pi), st.integers(0, 99))
def test_the_direction_of_a_frame_does_not_matter(rows, truths, turn: float, seed: int) -> None:
    boxes, others = flat_scene(rows, truths)
    random = np.random.default_rng(seed)  # away from thresholds and ties, where rounding would decide
    boxes, others = (
        PredictedBoxes(
            boxes.input_index, boxes.box + random.normal(0, 0.02, boxes.box.shape), boxes.label, boxes.score
        ),
        TrueBoxes(
            others.input_index, others.box + random.normal(0, 0.02, others.box.shape), others.label, others.ignored
        ),
    )
    assert_same(match_3d(*lifted(boxes, others, turn)), match(boxes, others), tolerance=1e-9)


def nuscenes_pairs(boxes: PredictedBoxes, truths: TrueBoxes, limit: float) -> list[int]:
    """The true positives of the nuScenes evaluation: by falling score, each takes the nearest free one, if near."""
    pairs, taken = [-1] * len(boxes), set()
    for one in np.argsort(-boxes.score, kind="stable").tolist():
        free = [t for t in range(len(truths)) if t not in taken and truths.label[t] == boxes.label[one]]
        apart = {t: float(np.hypot(*(boxes.box[one, :2] - truths.box[t, :2]))) for t in free}
        best = min(free, key=apart.__getitem__, default=None)
        if best is not None and apart[best] < limit:
            pairs[one] = best
            taken.add(best)
    return pairs


@pytest.mark.parametrize("limit", [0.5, 1.0, 2.0, 4.0])
def test_right_boxes_by_distance_are_those_of_the_nuscenes_rule(limit: float) -> None:
    random = np.random.default_rng(int(limit * 10))
    n_right = 0
    for _ in range(40):
        n, m = random.integers(0, 25), random.integers(0, 15)
        sizes = np.array([[0, 4, 2, 1.5, 0]])
        box, other = (np.append(random.uniform(0, 5, (k, 2)), np.repeat(sizes, k, 0), axis=1) for k in (n, m))
        boxes = PredictedBoxes(np.zeros(n, np.int64), box, random.integers(0, 3, n), random.random(n))
        truths = TrueBoxes(np.zeros(m, np.int64), other, random.integers(0, 3, m), np.zeros(m, bool))
        found = match_3d(boxes, truths, measure="distance", centre_distance=limit)
        right = (found.code == "A") & ~found.cls_error
        assert np.where(right, found.truth, -1).tolist() == nuscenes_pairs(boxes, truths, limit)
        n_right += int(right.sum())
    assert n_right > 15
