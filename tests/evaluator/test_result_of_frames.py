"""A result of detection in 3D: its tables, pictures and report."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib import pyplot

from ml_debugger.columns import BOX_3D_COLUMNS
from ml_debugger.errors import ConfigError, InputError, NotFoundError
from ml_debugger.evaluator import Result
from ml_debugger.presentation.box_shapes import UPRIGHT
from ml_debugger.presentation.examples import choose_examples
from ml_debugger.presentation.samples import Wanted
from tests.helpers.box_results import box_payload, image_of, points_of

NAME = "object_detection_3d"
SAMPLES = [
    "input_id", "unit", "dataset_type", "n_epoch", "label", "score", "error_proba", "det_error_proba",
    "cls_error_proba", "zone", "support", "pred_size", "x", "y", "z", "dx", "dy", "dz", "yaw", "truth", "is_error",
    "error_code", "ignored",
]  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return Result(box_payload(NAME))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def test_a_row_per_box(result):
    frame = result.samples()
    assert list(frame.columns) == SAMPLES
    assert frame["truth"].isna().any()
    assert len(result.samples(include_ignored=True)) > len(frame)
    np.testing.assert_allclose(frame["pred_size"], frame["dx"] * frame["dy"] * frame["dz"], rtol=1e-4)
    assert list(result.missed().columns) == ["input_id", "dataset_type", "truth", *BOX_3D_COLUMNS]
    assert len(result.missed())


def test_the_same_scene_has_the_same_codes_as_on_images(result):
    """What differs is the shape of boxes alone."""
    flat = Result(box_payload())
    assert result.samples()["error_code"].str.replace("*", "").tolist() == (
        flat.samples()["error_code"].str.replace("*", "").tolist()
    )
    assert result.missed()["input_id"].tolist() == flat.missed()["input_id"].tolist()


def test_words_and_measures(result):
    text = " ".join(result.summary().split())
    for said in ("mAP 3D", "mAP distance", "det_error_proba", "missed_proba", "averaged over frames", " boxes "):
        assert said in text
    assert "image" not in text
    assert "mAP 50" not in text
    assert "seen from above" in result._repr_html_()


def test_examples_are_drawn_on_points_or_alone(result):
    on_points = result.plot_examples(4, frames=points_of, class_names=["car", "van", "bus"])
    alone = result.plot_examples(4, class_names=["car", "van", "bus"])
    for figure in (on_points, alone):
        assert len(figure.axes) == 4
        said = " ".join(text.get_text() for ax in figure.axes for text in ax.texts)
        assert "DET:NP:CLS" in said
        assert " m away, " in said
        assert "annotated van" in said or "annotated car" in said or "annotated bus" in said
        entries = [text.get_text() for text in figure.legends[0].get_texts()]
        assert len(entries) == 4
        assert "heading" in entries[-1]
    assert " points" in " ".join(text.get_text() for ax in on_points.axes for text in ax.texts)
    assert len({figure.axes[0].get_images()[0].get_array().tobytes() for figure in (on_points, alone)}) == 2


def test_what_cannot_be_drawn_is_refused(result):
    with pytest.raises(NotFoundError, match="frames: there is none"):
        result.plot_examples(2, frames={})
    with pytest.raises(InputError, match="pass the points as frames"):
        result.plot_examples(2, images=image_of)
    with pytest.raises(InputError, match="give points in the axes that the boxes are in"):
        result.plot_examples(2, frames=lambda input_id: points_of(input_id) + 300.0)
    with pytest.raises(InputError, match=r"expected points \(N, 3\)"):
        result.plot_examples(2, frames=image_of)
    with pytest.raises(ConfigError, match="stable_coverage"):
        result.plot_examples(2, zone="warm")
    with pytest.raises(InputError, match=r"nothing to show: no wrong box .* error_code='DET:X'"):
        result.plot_examples(2, error_code="DET:X")
    with pytest.raises(InputError, match="frames: these are boxes of images"):
        Result(box_payload()).plot_examples(2, frames=points_of)


def test_missed_objects_are_the_largest_and_stand_alone(result):
    payload = box_payload(NAME)
    samples, truths = payload.samples.to_pandas(), payload.truths.to_pandas()
    found = choose_examples(samples, truths, Wanted(error_code="DET:NP"), 4, UPRIGHT)
    volumes = [np.prod(one.box[3:6]) for one in found]
    assert volumes == sorted(volumes, reverse=True)
    assert all(one.partner is None and not one.concerned for one in found)  # nothing stands where they stand
    matched = choose_examples(samples, truths, Wanted(error_code="DET:M"), 4, UPRIGHT)
    assert all(one.partner is not None and one.concerned[0] is one.partner for one in matched)
    assert {one.size for one in (*found, *matched)} == {None}


def test_the_report_shows_examples_with_and_without_points(result, tmp_path):
    bare = result.report(tmp_path / "bare.html", n_examples=3).read_text()
    page = result.report(tmp_path / "r.html", frames=points_of, n_examples=5).read_text()
    assert (bare.count("data:image/jpeg;base64,"), page.count("data:image/jpeg;base64,")) == (3, 5)
    for text in (page, bare):
        assert not re.search(r"https?:|<script|<link|url\(", text)
        words = re.sub(r"<style>.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL)
        assert not re.search(r"(?<![._\w])(rows?|images?)\b", words)
        for said in ("labelled boxes", "over frames", "mAP distance", "Seen from above", "DET:NP:CLS"):
            assert said in words
    with pytest.raises(NotFoundError, match="frames: there is none"):
        result.report(tmp_path / "r.html", frames={})


def test_a_report_of_a_faultless_detector_has_no_examples(tmp_path):
    for name, source in ((NAME, {}), ("object_detection", {"images": image_of})):
        payload = box_payload(name)
        right = payload.samples.to_pandas()
        right["is_error"] = False
        truths = payload.truths.to_pandas().assign(missed=False)
        payload = type(payload)(
            payload.info,
            payload.metrics,
            type(payload.samples).from_pandas(right),
            payload.zones,
            payload.error_codes,
            payload.missed,
            type(payload.truths).from_pandas(truths),
        )
        text = Result(payload).report(tmp_path / "r.html", **source).read_text()
        assert "<h2>Examples</h2>" not in text
        with pytest.raises(InputError, match="nothing to show"):
            Result(payload).plot_examples(2, **source)
