"""What the pictures show is what the tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex

from ml_debugger.columns import ZONES
from ml_debugger.errors import InputError
from ml_debugger.presentation.frames import equal_mass_bins
from ml_debugger.presentation.palette import THEMES
from ml_debugger.presentation.plots import plot_learning_curves, plot_reliability, plot_zones
from tests.helpers.payloads import make_samples, make_zones


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


@pytest.fixture
def curves():
    rows = [
        {"strategy": name, "seed": seed, "n_labels": 50 + 50 * step, "accuracy": base + 0.05 * step + 0.01 * seed}
        for name, base in (("high_error_proba", 0.7), ("random", 0.6))
        for seed in range(3)
        for step in range(4)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("theme", THEMES)
def test_zone_bars_are_the_shares_in_the_zones_colours(theme):
    zones = make_zones(make_samples())
    ax = plot_zones(zones, theme=theme)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(zones["share"].to_pylist())
    assert [to_hex(bar.get_facecolor()) for bar in ax.patches] == list(THEMES[theme].zones.values())
    names = [label.get_text().split("\n")[1] for label in ax.get_yticklabels()]
    assert names == list(ZONES)


def test_zone_points_are_the_error_rates_with_their_intervals():
    zones = make_zones(make_samples()).to_pandas().dropna(subset=["error_rate"])
    ax = plot_zones(zones)
    points, _, (whiskers,) = ax.containers[-1]
    assert points.get_xdata() == pytest.approx(zones["error_rate"].to_numpy())
    ends = np.array([segment[:, 0] for segment in whiskers.get_segments()])
    assert ends == pytest.approx(zones[["error_low", "error_high"]].to_numpy(float))


def test_zones_without_rows_say_so():
    ax = plot_zones(make_zones(make_samples(0)))
    assert [text.get_text() for text in ax.texts] == ["no rows"] * len(ZONES)


def test_given_axes_are_drawn_on_and_returned():
    _, ax = pyplot.subplots()
    assert plot_zones(make_zones(make_samples()), ax) is ax
    assert len(pyplot.get_fignums()) == 1


def test_reliability_points_are_bins_of_equal_mass_beside_the_baseline():
    rows = make_samples().to_pandas()
    ax = plot_reliability(rows["error_proba"], rows["is_error"], baseline=1 - rows["score"], n_bins=8)
    drawn = {container.get_label(): container for container in ax.containers}
    for name, proba in (("error probability", rows["error_proba"]), ("1 - model's own confidence", 1 - rows["score"])):
        bins = equal_mass_bins(proba, rows["is_error"], 8)
        points, _, (whiskers,) = drawn[name]
        assert points.get_xdata() == pytest.approx(bins["predicted"].to_numpy())
        assert points.get_ydata() == pytest.approx(bins["observed"].to_numpy())
        ends = np.array([segment[:, 1] for segment in whiskers.get_segments()])
        assert ends == pytest.approx(bins[["low", "high"]].to_numpy())


def test_reliability_without_a_baseline_has_one_curve():
    rows = make_samples().to_pandas()
    assert len(plot_reliability(rows["error_proba"], rows["is_error"]).containers) == 1


def test_learning_curves_are_means_over_seeds_with_their_range(curves):
    ax = plot_learning_curves(curves)
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines) == ["high_error_proba", "random"]
    for name, line in lines.items():
        mean = curves[curves["strategy"] == name].groupby("n_labels")["accuracy"].mean()
        assert line.get_xdata().tolist() == mean.index.tolist()
        assert line.get_ydata() == pytest.approx(mean.to_numpy())
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    tested = curves[curves["strategy"] == "high_error_proba"]["accuracy"]
    assert (heights.min(), heights.max()) == pytest.approx((tested.min(), tested.max()))
    assert lines["random"].get_linestyle() == "--"
    assert "3 seeds" in ax.get_title(loc="left")


def test_labels_at_the_ends_do_not_overlap(curves):
    equal = curves.assign(accuracy=0.5 + 0.001 * curves["n_labels"])
    ax = plot_learning_curves(equal)
    bottom, top = ax.get_ylim()
    heights = sorted(text.xy[1] for text in ax.texts)
    assert np.diff(heights).min() > 0.05 * (top - bottom)


def test_too_many_strategies_are_refused(curves):
    many = pd.concat([curves.assign(strategy=f"s{number}") for number in range(5)])
    with pytest.raises(InputError, match="at most 3 strategies besides 'random'"):
        plot_learning_curves(many)
