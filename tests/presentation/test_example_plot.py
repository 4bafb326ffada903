"""Examples side by side: captions that say everything, within the figure and off each other."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
from matplotlib import pyplot

from ml_debugger.errors import ConfigError
from ml_debugger.presentation.example_drawers import image_drawer
from ml_debugger.presentation.example_plot import draw_pictures, plot_pictures
from tests.helpers.examples import EXAMPLE, GREY, MISSED

pytest.importorskip("supervision")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def test_captions_say_code_zone_classes_and_probabilities():
    long = replace(EXAMPLE, input_id="a" * 60 + ".jpg")
    pictures = draw_pictures([EXAMPLE, MISSED, long], image_drawer(lambda input_id: GREY), {123: "cup"})
    box, missed, other = pictures
    assert box.title == "DET:SG*:CLS123->456  in street.jpg"
    assert (box.category, box.zone) == ("Over-Confidence", "critical_hotspot")
    assert box.lines == (
        "One prediction over several annotations",
        "predicted 456, annotated cup",
        "error 91%, place 85%, class 12%; score 0.44",
    )
    assert (missed.category, missed.zone) == ("missed object", "")
    assert missed.lines == ("An annotation that no prediction belongs to", "annotated cup, not found")
    assert len(other.title) <= 44
    assert other.title.endswith(".jpg")
    assert box.uri().startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_captions_stay_within_the_figure_and_off_each_other(theme, count):
    code = replace(EXAMPLE, code="DET:SG*:CLS1203->1204")
    pictures = draw_pictures([code] * count, image_drawer(lambda input_id: GREY))
    figure = plot_pictures(pictures, title="Examples", theme=theme)
    assert len(figure.axes) == count
    figure.canvas.draw()
    width, height = figure.bbox.size
    renderer = figure.canvas.get_renderer()
    texts = [text.get_window_extent(renderer) for ax in figure.axes for text in ax.texts]
    texts += [figure.legends[0].get_window_extent(renderer)]
    for at, one in enumerate(texts):
        assert one.x0 >= 0
        assert one.x1 <= width
        assert 0 <= one.y0 < one.y1 <= height
        assert not any(one.overlaps(other) for other in texts[:at])


def test_without_supervision_it_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "supervision" else find(name))
    with pytest.raises(ConfigError, match=r"pip install 'ml-debugger\[detection\]'"):
        image_drawer(lambda input_id: GREY)
