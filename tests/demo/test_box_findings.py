"""What demos of detectors say of the pool: counted by hand, in 2D and in 3D."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ml_debugger.analysis.box_kinds import BOXES_2D, BOXES_3D
from ml_debugger.columns import BOX_3D_COLUMNS, BOX_COLUMNS
from ml_debugger.demo import box_findings
from ml_debugger.demo.box_findings import STRATEGIES, BoxPool, Topic, batches, model_text
from ml_debugger.selection import BBoxStrategy
from ml_debugger.selection.strategies import STRATEGIES as REGISTERED

FLAT = Topic("images", "digit", list("0123456789"), BOXES_2D, BOX_COLUMNS)
UPRIGHT = Topic("frames", "class", ["Car", "Cyclist"], BOXES_3D, BOX_3D_COLUMNS)


def test_every_strategy_shown_is_valid():
    for strategy in STRATEGIES:
        assert strategy in REGISTERED if isinstance(strategy, str) else BBoxStrategy(**strategy)


def target(*boxes):
    return {
        "boxes": np.array([box[:4] for box in boxes], np.float32).reshape(-1, 4),
        "labels": np.array([box[4] for box in boxes], np.int64),
    }


class Data:
    """Annotations of some inputs, by position."""

    def __init__(self, targets):
        self.targets, self.parts = targets, {"val": [10, 11, 12]}

    def annotations(self, ids):
        return [self.targets[number] for number in ids]


class Said:
    """Stands in for a data filter over three images, of which the last has no boxes."""

    def scores(self):
        rows = [
            (12, 0, 3, 0.9, 10, 10, 30, 30),  # right
            (12, 1, 4, 0.5, 60, 60, 80, 80),  # on nothing
            (10, 0, 5, 0.8, 10, 10, 30, 30),  # of the wrong class
        ]
        return pd.DataFrame(rows, columns=["input_id", "unit", "label", "score", "x1", "y1", "x2", "y2"])

    def missed_proba(self):
        return pd.DataFrame({"input_id": [12, 10, 11], "n_units": [2, 1, 0], "missed_proba": [0.2, 0.1, 0.9]})


@pytest.fixture
def pool():
    targets = [target()] * 10 + [target((10, 10, 30, 30, 6)), target((0, 0, 9, 9, 1)), target((10, 10, 30, 32, 3))]
    return BoxPool.read(Said(), Data(targets), FLAT)


def test_the_truth_of_the_pool_is_that_of_its_annotations(pool):
    assert pool.boxes["is_error"].tolist() == [False, True, True]
    assert pool.inputs.index.tolist() == [10, 11, 12]
    assert pool.inputs["n_boxes"].tolist() == [1, 0, 2]
    assert pool.inputs["n_wrong"].tolist() == [1, 0, 1]
    assert pool.inputs["n_objects"].tolist() == [1, 1, 1]
    assert pool.inputs["n_missed"].tolist() == [0, 1, 0]
    assert pool.inputs["score"].tolist()[::2] == [0.8, 0.7]
    assert box_findings._errs(pool.inputs).tolist() == [True, True, True]


def test_a_row_of_the_query_table_counts_what_the_images_hold(pool):
    assert box_findings._query_row("some", pool.inputs.loc[[12, 11]]) == ("some", "2", "2", "1", "50.0%", "2", "1")
    assert box_findings._query_row("none", pool.inputs.loc[[]]) == ("none", "0", "0", "0", "-", "0", "0")


def test_flags_are_reported_with_what_the_images_hold(pool):
    flags = {10: True, 11: False, 12: False}
    said = " ".join(box_findings._flag_text(flags, pool, [10]).split())
    assert "1 of 3 pool images were flagged" in said
    assert "of their boxes 100.0% are wrong, of the boxes of the others 50.0%" in said
    assert "a query for the same returns the same images" in said
    assert "returns OTHER images" in " ".join(box_findings._flag_text(flags, pool, [10, 12]).split())


class SaidOfFrames:
    """Stands in for a data filter over two frames of a LiDAR."""

    def scores(self):
        rows = [
            (1, 0, 0, 0.9, 10.2, 5, 0, 4, 2, 1.5, 3.1),  # right, seen from its other end
            (1, 1, 0, 0.4, 30, 5, 0, 4, 2, 1.5, 0),  # on what is to be ignored
            (0, 0, 1, 0.6, 10, 5, 0, 4, 2, 1.5, 1.6),  # across the object
        ]
        return pd.DataFrame(rows, columns=["input_id", "unit", "label", "score", *BOX_3D_COLUMNS])

    def missed_proba(self):
        return pd.DataFrame({"input_id": [0, 1], "n_units": [1, 2], "missed_proba": [0.9, 0.1]})


@pytest.fixture
def frames():
    boxes = np.array([[10, 5, 0, 4, 2, 1.5, 0], [30, 5, 0, 4, 2, 1.5, 0]], np.float32)
    one = {"boxes": boxes[:1], "labels": np.array([1]), "ignore": np.array([False])}
    other = {"boxes": boxes, "labels": np.array([0, 0]), "ignore": np.array([False, True])}
    return BoxPool.read(SaidOfFrames(), Data([one, other]), UPRIGHT)


def test_boxes_of_frames_are_compared_as_seen_from_above_and_ignored_ones_do_not_count(frames):
    assert frames.boxes["is_error"].tolist() == [False, True]
    assert frames.boxes["input_id"].tolist() == [1, 0]
    assert frames.inputs["n_boxes"].tolist() == [1, 1]
    assert frames.inputs["n_objects"].tolist() == [1, 1]
    assert frames.inputs["n_missed"].tolist() == [0, 0]  # a misplaced box belongs to its object
    said = model_text("a model", "AP of 0.5; ", frames)
    assert "of its boxes in the pool 50.0% are right, 0.0% of the pool's objects are missed" in " ".join(said.split())


def test_texts_use_the_words_of_the_demo(frames):
    assert "1 of 2 pool frames were flagged" in box_findings._flag_text({0: True, 1: False}, frames, [0])


def test_where_every_frame_misses_an_object_there_is_none_to_tell_from_others(frames):
    none = replace(frames, inputs=frames.inputs.assign(n_missed=0))
    assert box_findings._missed_line(none).startswith("None of the ")
    assert box_findings._missed_line(replace(none, inputs=none.inputs.assign(n_missed=1))).startswith("Each of the ")


def test_ids_come_in_pieces():
    assert list(batches([5, 6, 7], 2)) == [[5, 6], [7]]
    assert list(batches([])) == []
