"""Which boxes are shown."""

from __future__ import annotations

import pytest

from ml_debugger.errors import ConfigError, InputError
from ml_debugger.presentation.examples import choose_examples, nothing_to_show
from ml_debugger.presentation.samples import Wanted
from tests.helpers.box_results import box_payload
from tests.helpers.payloads import make_payload

ERRORS = Wanted(only_errors=True)


@pytest.fixture(scope="module")
def frames():
    payload = box_payload()
    return payload.samples.to_pandas(), payload.truths.to_pandas()


def kind(example):
    return example.code.split(":")[1].rstrip("*")


def test_each_kind_of_error_is_shown_first_once(frames):
    samples, truths = frames
    wrong = samples[samples["is_error"]]
    kinds = set(wrong["error_code"].str.extract(r"DET:(\w+)", expand=False)) | {"NP"}
    examples = choose_examples(samples, truths, ERRORS, 12)
    assert [kind(one) for one in examples][: len(kinds)] != []
    assert {kind(one) for one in examples[: len(kinds)]} == kinds
    assert kind(examples[2]) == "NP"
    assert len(examples) == 12
    assert all(one.is_error for one in examples)
    assert len({one.input_id for one in examples}) == 12  # there are enough images


def test_the_most_likely_errors_come_first(frames):
    samples, truths = frames
    found = choose_examples(samples, truths, Wanted(error_code="DET:M", only_errors=True), 3)
    best = samples[samples["error_code"].str.startswith(("DET:M:", "DET:M*:"))]["error_proba"].max()
    values = [one.error_proba["error_proba"] for one in found]
    assert values[0] == best
    assert values == sorted(values, reverse=True)
    assert {kind(one) for one in found} == {"M"}


def test_missed_objects_are_the_largest_and_have_no_prediction(frames):
    samples, truths = frames
    found = choose_examples(samples, truths, Wanted(error_code="DET:NP"), 4)
    areas = [(one.box[2] - one.box[0]) * (one.box[3] - one.box[1]) for one in found]
    assert areas == sorted(areas, reverse=True)
    for one in found:
        assert (one.missed, one.zone, one.label, one.score, one.error_proba) == (True, None, None, None, {})
        assert one.truth is not None
        assert one.box not in [other.box for other in one.truths]


def test_zones_tags_and_right_boxes_can_be_asked_for(frames):
    samples, truths = frames
    zone = samples["zone"].mode()[0]
    assert {one.zone for one in choose_examples(samples, truths, Wanted(zone=zone), 8)} == {zone}
    right = choose_examples(samples, truths, Wanted(error_code="DET:A"), 30)
    assert {one.is_error for one in right} == {True, False}
    assert {one.meaning for one in right} == {"right", "in the right place, with the wrong class"}
    with pytest.raises(InputError, match="'val'"):
        choose_examples(samples, truths, Wanted(dataset_type="test"), 3)
    with pytest.raises(ConfigError, match="stable_coverage"):
        choose_examples(samples, truths, Wanted(zone="warm"), 3)


def test_what_is_around_is_told(frames):
    samples, truths = frames
    for one in choose_examples(samples, truths, ERRORS, 20):
        rows = samples[(samples["input_id"] == one.input_id) & (samples["dataset_type"] == "val")]
        assert len(one.others) == len(rows) - (not one.missed)
        if one.code.startswith("DET:M"):
            assert one.partner is not None
            assert one.partner.label == one.truth
        assert one.size in ((640, 640), None)


def test_where_nothing_fits_nothing_is_chosen(frames):
    wanted = Wanted(error_code="DET:X", only_errors=True)
    assert choose_examples(*frames, wanted, 3) == []
    assert str(nothing_to_show(wanted)) == (
        "nothing to show: no wrong box or missed object fits dataset_type=None, zone=None, error_code='DET:X'"
    )


@pytest.mark.parametrize("n", [0, -1, True, 2.5, "3"])
def test_the_number_must_be_one(frames, n):
    with pytest.raises(InputError, match="n: expected an int of at least 1"):
        choose_examples(*frames, ERRORS, n)


def test_other_tasks_have_no_boxes():
    payload = make_payload()
    with pytest.raises(InputError, match="no boxes to draw"):
        choose_examples(payload.samples.to_pandas(), payload.truths.to_pandas(), ERRORS, 3)
