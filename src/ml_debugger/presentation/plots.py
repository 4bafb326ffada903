"""Pictures of a result: matplotlib Axes in and out, data from Arrow or pandas.

Every function draws on ``ax`` and returns it; without ``ax`` it makes a figure of its own, which a notebook shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ml_debugger.columns import ERROR_PROBA, ZONES, Words, words_of
from ml_debugger.errors import InputError
from ml_debugger.presentation.frames import as_frame, equal_mass_bins
from ml_debugger.presentation.palette import Theme, find_theme
from ml_debugger.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ml_debugger.presentation.frames import Table

__all__ = ["plot_learning_curves", "plot_reliability", "plot_zones"]


@contextmanager
def drawing(theme: Theme, size: tuple[float, float], ax: Axes | None) -> Iterator[Axes]:
    """Draw in a theme on ``ax``, or on the axes of a new figure of this size in inches."""
    from matplotlib import pyplot

    with theme.applied():
        yield pyplot.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def plot_zones(zones: Table, ax: Axes | None = None, *, theme: str = "light", words: Words | None = None) -> Axes:
    """Bars: the share of rows in each zone. Points: the error rate inside it, with its 95 % interval.

    Args:
        zones: The zones table of a result.
        ax: Axes to draw on.
        theme: ``"light"`` or ``"dark"``.
        words: What rows are called.

    Raises:
        InputError: If a column is missing or the theme is unknown.
    """
    colours, units = find_theme(theme), (words or words_of(None)).units
    frame = as_frame(zones, ("zone", "count", "share", "error_rate", "error_low", "error_high"))
    frame = frame.set_index("zone").reindex(list(ZONES)).reset_index()
    share = frame["share"].fillna(0).to_numpy(float)
    rate, low, high = (frame[name].to_numpy(float) for name in ("error_rate", "error_low", "error_high"))
    rows = np.arange(len(frame))
    with drawing(colours, (8.2, 3.9), ax) as ax:
        ax.barh(rows, share, height=0.62, color=[colours.zones[name] for name in frame["zone"]], zorder=2)
        known = np.isfinite(rate)
        whiskers = np.nan_to_num(np.vstack([rate - low, high - rate]))[:, known]
        # a paper-coloured halo keeps points and whiskers legible on top of a bar
        for width, size, colour in ((4.5, 9.5, colours.paper), (1.6, 6.0, colours.ink)):
            ax.errorbar(
                rate[known], rows[known], xerr=whiskers, fmt="o", color=colour, ms=size, elinewidth=width,
                label="error rate inside the zone, 95 % interval" if colour == colours.ink else None,
                zorder=3 if colour == colours.paper else 4,
            )  # fmt: skip
        reach = np.nanmax(np.concatenate([share, high[known], [0.1]]))
        for row, (count, part, wrong) in enumerate(zip(frame["count"].fillna(0), share, rate, strict=True)):
            said = f"no {units}" if not count else f"{part:.0%} of {units} ({count:,.0f}), {wrong:.1%} wrong"
            ax.text(reach * 1.04, row, said, va="center", fontsize=9.5)
        labels = [f"{ZONES[name].category}\n{name}" for name in frame["zone"]]
        ax.set_yticks(rows, labels, fontsize=9)
        ax.invert_yaxis()
        ax.set_xlim(0, reach * 1.02)
        _percent(ax, "x")
        ax.grid(axis="x")
        ax.set_xlabel(f"share of {units} (bars), error rate (points)")
        ax.set_title(f"Zones: how many {units}, and how often they are wrong")
    return ax


def plot_reliability(  # noqa: PLR0913 - two curves and how to draw them
    error_proba: FloatArray,
    is_error: FloatArray,
    ax: Axes | None = None,
    *,
    baseline: FloatArray | None = None,
    n_bins: int = 10,
    theme: str = "light",
    column: str = ERROR_PROBA,
) -> Axes:
    """Does a predicted error probability of 20 % mean 20 % errors? Bins hold equal numbers of rows.

    Args:
        error_proba: ``(N,)`` predicted error probabilities.
        is_error: ``(N,)`` whether each row was wrong.
        ax: Axes to draw on.
        baseline: ``(N,)`` error probabilities to compare with, such as one minus the model's own confidence.
        n_bins: Number of bins.
        theme: ``"light"`` or ``"dark"``.
        column: Name of the probabilities.

    Raises:
        InputError: If the arrays differ in length, ``n_bins`` is not positive, or the theme is unknown.
    """
    colours = find_theme(theme)
    with drawing(colours, (5.4, 4.6), ax) as ax:
        said = "error probability" if column == ERROR_PROBA else column
        curves = [(said, error_proba, colours.accent, "o")]
        if baseline is not None:
            curves.insert(0, ("1 - model's own confidence", baseline, colours.contrast, "s"))
        reach = 0.1
        for name, proba, colour, marker in curves:
            bins = equal_mass_bins(proba, is_error, n_bins)
            whiskers = [bins["observed"] - bins["low"], bins["high"] - bins["observed"]]
            ax.errorbar(
                bins["predicted"], bins["observed"], yerr=whiskers, fmt=f"{marker}-", color=colour, ms=5.5,
                lw=1.6, elinewidth=1.1, capsize=2, alpha=0.95, label=name, zorder=3,
            )  # fmt: skip
            reach = float(np.nanmax([reach, *bins["predicted"], *bins["high"]]))
        ax.plot([0, 1], [0, 1], ls=(0, (4, 3)), lw=1.2, color=colours.muted, zorder=1)
        ax.annotate(
            "as promised", (0.9 * reach, 0.9 * reach), xytext=(-4, 8), textcoords="offset points", color=colours.muted,
            fontsize=9, rotation=45, rotation_mode="anchor", ha="center", transform_rotates_text=True,
        )  # fmt: skip
        reach = min(1.0, reach * 1.04)
        ax.set(xlim=(0, reach), ylim=(0, reach), xlabel=f"predicted {said}", ylabel="observed error rate")
        _percent(ax, "x", "y")
        ax.grid()
        ax.legend(loc="upper left")
        ax.set_title("Reliability: predicted against observed")
    return ax


def plot_learning_curves(
    curves: Table, ax: Axes | None = None, *, control: str = "random", theme: str = "light"
) -> Axes:
    """Accuracy against labels, one line per selection strategy: mean over seeds, band from lowest to highest seed.

    Args:
        curves: One row per measurement: ``strategy, seed, n_labels, accuracy``.
        ax: Axes to draw on.
        control: The strategy that the others are compared with; drawn dashed.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        InputError: If a column is missing, there are more strategies than colours, or the theme is unknown.
    """
    colours = find_theme(theme)
    frame = as_frame(curves, ("strategy", "seed", "n_labels", "accuracy"))
    with drawing(colours, (8.0, 4.4), ax) as ax:
        style = _strategy_styles(list(dict.fromkeys(frame["strategy"])), control, colours)
        ends = []
        for name, line_style in style.items():
            per_size = frame[frame["strategy"] == name].groupby("n_labels")["accuracy"]
            mean, sizes = per_size.mean(), per_size.mean().index.to_numpy(float)
            ax.plot(sizes, mean, marker="o", ms=4.5, lw=2, label=name, zorder=3, **line_style)
            band = {"color": line_style["color"], "alpha": 0.16, "lw": 0, "zorder": 2}
            ax.fill_between(sizes, per_size.min(), per_size.max(), **band)
            ends.append((float(mean.iloc[-1]), float(sizes[-1]), name, line_style["color"]))
        _label_ends(ax, ends)
        n_seeds = frame["seed"].nunique()
        ax.set(xlabel="labelled training images", ylabel="test accuracy")
        _percent(ax, "y")
        ax.grid(axis="y")
        ax.set_title(f"Learning curves: mean of {n_seeds} seeds, band = lowest to highest", pad=12)
    return ax


def _strategy_styles(names: list[str], control: str, colours: Theme) -> Mapping[str, dict[str, Any]]:
    palette = [colours.accent, *dict.fromkeys((colours.zones["hotspot"], colours.zones["recessive_hotspot"]))]
    tested = [name for name in names if name != control]
    if len(tested) > len(palette):
        raise InputError(f"curves: expected at most {len(palette)} strategies besides {control!r}, got {tested}")
    styles: dict[str, dict[str, Any]] = {name: {"color": colour} for name, colour in zip(tested, palette, strict=False)}
    if control in names:
        styles[control] = {"color": colours.muted, "ls": (0, (4, 2))}
    return styles


def _label_ends(ax: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Names at the right ends of the lines, pushed apart where they would overlap."""
    bottom, top = ax.get_ylim()
    gap, ends = 0.055 * (top - bottom), sorted(ends)
    heights = [end[0] for end in ends]
    for position in range(1, len(ends)):
        heights[position] = max(heights[position], heights[position - 1] + gap)
    shift = float(np.mean([height - end[0] for height, end in zip(heights, ends, strict=True)]))
    for (value, right, name, colour), height in zip(ends, heights, strict=True):
        ax.annotate(
            f"{name} {value:.1%}", (right, height - shift), xytext=(8, 0), textcoords="offset points", va="center",
            color=colour, fontsize=10, fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def _percent(ax: Axes, *sides: str) -> None:
    from matplotlib.ticker import PercentFormatter

    for side in sides:
        axis = ax.xaxis if side == "x" else ax.yaxis
        axis.set_major_formatter(PercentFormatter(1, decimals=None))
