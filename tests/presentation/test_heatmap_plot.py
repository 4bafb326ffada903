"""The heatmap draws every cell, and the limits of the zones where they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb

from ml_debugger.presentation.heatmap_plot import HEATMAP_COLUMNS, plot_heatmap
from ml_debugger.presentation.palette import THEMES
from tests.helpers.payloads import LIMITS


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


@pytest.fixture
def cells():
    rows = [
        (0.0, 0.1, 0.9, 1.0, 16, 0.75),
        (0.9, 1.0, 0.0, 0.1, 64, 0.0),
        (0.4, 0.5, 0.4, 0.5, 0, float("nan")),
    ]
    return pd.DataFrame(rows, columns=HEATMAP_COLUMNS)


def squares_of(ax):
    return ax.collections[0]


def test_squares_have_the_colour_of_their_error_rate_and_grow_with_their_count(cells):
    squares = squares_of(plot_heatmap(cells, LIMITS))
    assert squares.get_array().tolist() == [0.75, 0.0]
    assert squares.get_clim() == (0, 1)
    boxes = [path.get_extents() for path in squares.get_paths()]
    assert 0.05 < boxes[0].width < boxes[1].width < 0.1
    assert (boxes[0].x0 + boxes[0].x1, boxes[0].y0 + boxes[0].y1) == pytest.approx((0.1, 1.9))


def test_counts_are_written_where_there_is_room(cells):
    numbers = list(plot_heatmap(cells, {}).texts)
    assert [(text.get_text(), text.get_color()) for text in numbers] == [("16", "#000000"), ("64", "#000000")]
    narrow = cells.assign(score_high=cells["score_low"] + 0.05)
    assert not plot_heatmap(narrow, {}).texts


@pytest.mark.parametrize("theme", THEMES)
def test_numbers_stand_out_from_their_squares(cells, theme):
    many = pd.concat([cells.iloc[:1].assign(error_rate=rate) for rate in np.linspace(0, 1, 11)])
    ax = plot_heatmap(many, {}, theme=theme)
    fills = squares_of(ax).cmap(np.linspace(0, 1, 11))
    for text, fill in zip(ax.texts, fills, strict=True):
        bright, dark = sorted((luminance(fill[:3]), luminance(to_rgb(text.get_color()))), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) > 4


def luminance(rgb):
    return float(np.dot(np.asarray(rgb) ** 2.2, (0.2126, 0.7152, 0.0722)))


def test_limits_are_drawn_and_written(cells):
    ax = plot_heatmap(cells, LIMITS)
    lines = {line.get_label(): line for line in ax.lines}
    for name in ("t_lo", "t_hi"):
        assert set(lines[name].get_ydata()) == {LIMITS[name]}
    for name in ("c_lo", "c_hi"):
        assert set(lines[name].get_xdata()) == {LIMITS[name]}
        assert list(lines[name].get_ydata()) == [LIMITS["t_hi"], 1]
    assert {f"{name} = {value:.3g}" for name, value in LIMITS.items()} <= {text.get_text() for text in ax.texts}


def test_zones_tile_the_plane(cells):
    ax = plot_heatmap(cells, LIMITS)
    areas = {patch.get_gid(): patch.get_width() * patch.get_height() for patch in ax.patches}
    assert sum(areas.values()) == pytest.approx(1)
    assert areas["critical_hotspot"] == pytest.approx(0.2 * 0.75)
    legend = [text.get_text().split(" ")[0] for text in ax.get_legend().get_texts()]
    assert legend == list(areas)


@pytest.mark.parametrize("nothing", [None, 0.0])
def test_an_empty_stable_zone_is_neither_drawn_nor_listed(cells, nothing):
    ax = plot_heatmap(cells, {**LIMITS, "t_lo": nothing})
    assert "stable_coverage" not in {patch.get_gid() for patch in ax.patches}
    assert "t_lo" not in {line.get_label() for line in ax.lines}


def test_hotspots_without_limits_on_confidence_are_one_zone(cells):
    ax = plot_heatmap(cells, {"t_lo": 0.1, "t_hi": 0.3})
    assert [patch.get_gid() for patch in ax.patches] == ["stable_coverage", "operational_coverage", "hotspot"]


def test_no_rows_and_no_limits_still_give_axes(cells):
    ax = plot_heatmap(cells.iloc[:0], {})
    assert not len(squares_of(ax).get_paths())
    assert ax.get_legend() is None
