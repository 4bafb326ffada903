"""A result of detection: its tables, pictures and report."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib import pyplot

from ml_debugger.errors import ConfigError, InputError, NotFoundError
from ml_debugger.evaluator import Result
from tests.helpers.box_results import box_payload, image_of
from tests.helpers.payloads import make_payload

SAMPLES = [
    "input_id", "unit", "dataset_type", "n_epoch", "label", "score", "error_proba", "det_error_proba",
    "cls_error_proba", "zone", "support", "pred_size", "x1", "y1", "x2", "y2", "truth", "is_error", "error_code",
    "ignored",
]  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return Result(box_payload())


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def test_a_row_per_box(result):
    frame = result.samples()
    assert list(frame.columns) == SAMPLES
    assert str(frame["truth"].dtype) == "Int64"
    assert frame["truth"].isna().any()
    assert frame["error_code"].notna().all()
    assert frame["unit"].max() > 0
    assert not frame["ignored"].any()
    area = (frame["x2"] - frame["x1"]) * (frame["y2"] - frame["y1"])
    np.testing.assert_allclose(frame["pred_size"], area, rtol=1e-4)


def test_ignored_boxes_are_shown_when_asked_for(result):
    everything = result.samples(include_ignored=True)
    assert everything["ignored"].sum() == len(everything) - len(result.samples()) > 0
    assert everything.loc[everything["ignored"], "error_code"].str.startswith("DET:U:").all()
    assert repr(result).endswith(f"boxes={len(result.samples())})")


def test_codes_can_be_asked_for_by_their_kind(result):
    found = result.samples(error_code="DET:M")
    assert set(found["error_code"].str.extract(r"(DET:\w+)", expand=False)) == {"DET:M"}


def test_missed_objects(result):
    frame = result.missed()
    assert list(frame.columns) == ["input_id", "dataset_type", "truth", "x1", "y1", "x2", "y2"]
    codes = result.error_codes
    missed = codes[codes["zone"].isna()]
    assert missed["count"].sum() == len(frame) > 0
    assert missed["error_code"].str.startswith("DET:NP:CLS").all()
    assert list(Result(make_payload()).missed().columns) == ["input_id", "truth"]


@pytest.mark.parametrize("column", ["error_proba", "det_error_proba", "cls_error_proba"])
def test_reliability_of_each_part(result, column):
    ax = result.plot_reliability(column=column)
    said = "error probability" if column == "error_proba" else column
    assert ax.get_xlabel() == f"predicted {said}"
    assert said in [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_part_that_there_is_not(result):
    with pytest.raises(InputError, match="column: expected one of"):
        result.plot_reliability(column="missed_proba")
    with pytest.raises(InputError, match=r"expected one of \['error_proba'\]"):
        Result(make_payload()).plot_reliability(column="det_error_proba")


def test_pictures_and_texts_speak_of_boxes(result):
    zones = result.plot_zones()
    assert "boxes" in zones.get_title("left")
    assert "boxes" in zones.get_xlabel()
    assert all("boxes" in text.get_text() for text in zones.texts)
    assert "predicted class 1" in result.plot_heatmap(1).get_title("left")
    assert result.heatmap(1)["count"].sum() == (result.samples()["label"] == 1).sum()
    text = result.summary()
    assert (
        " boxes " in text.splitlines()[text.splitlines().index(next(x for x in text.splitlines() if "category" in x))]
    )
    for said in ("mAP 50", "det_error_proba", "cls_error_proba", "missed_proba", "averaged over images"):
        assert said in " ".join(text.split())
    assert "rows" not in text
    assert max(map(len, text.splitlines())) <= 100
    page = result._repr_html_()
    assert "<th>boxes</th>" in page
    assert page.count("<table>") == 3


def test_examples_are_a_figure(result):
    figure = result.plot_examples(4, images=image_of, class_names=["cup", "dog", "car"], theme="dark")
    assert len(figure.axes) == 4
    said = " ".join(text.get_text() for ax in figure.axes for text in ax.texts)
    assert "DET:NP:CLS" in said
    assert "annotated " in said
    with pytest.raises(NotFoundError, match="images: there is none"):
        result.plot_examples(2, images={})
    with pytest.raises(InputError, match="its boxes are of one with 640 x 640"):
        result.plot_examples(2, images=lambda input_id: np.zeros((480, 640, 3), np.uint8))
    with pytest.raises(ConfigError, match="stable_coverage"):
        result.plot_examples(2, images=image_of, zone="warm")


def test_the_report_speaks_of_boxes_and_shows_examples(result, tmp_path):
    bare = result.report(tmp_path / "bare.html").read_text()
    page = result.report(tmp_path / "r.html", images=image_of, n_examples=5).read_text()
    assert page.count("data:image/jpeg;base64,") == 5
    assert bare.count("data:image/jpeg") == 0
    assert "<h2>Examples</h2>" in page
    assert "<h2>Examples</h2>" not in bare
    for text in (page, bare):
        assert not re.search(r"https?:|<script|<link|url\(", text)
        words = re.sub(r"<style>.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL)
        assert not re.search(r"(?<![._\w])rows?\b", words)
        for said in (
            "labelled boxes",
            "of annotated objects missed",
            "det_error_proba",
            "Missed objects",
            "DET:NP:CLS",
        ):
            assert said in words
        assert "AUROC of error detection" in words


def test_the_report_without_average_precision(tmp_path):
    payload = box_payload()
    payload.metrics.update({f"{name}{end}": None for name in ("map", "map50") for end in ("", "_low", "_high")})
    words = Result(payload).report(tmp_path / "r.html").read_text()
    assert "no interval" in words
