"""The heatmap: confidence against error probability, with the limits of the zones drawn in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ml_debugger.columns import ZONES, Words, words_of
from ml_debugger.presentation.frames import as_frame
from ml_debugger.presentation.palette import Theme, find_theme, ink_on
from ml_debugger.presentation.plots import drawing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.collections import PatchCollection

    from ml_debugger.presentation.frames import Table

__all__ = ["HEATMAP_COLUMNS", "plot_heatmap"]

# Sides of squares, as shares of their cell: one row, and the fullest cell.
_SMALLEST: Final = 0.5
_LARGEST: Final = 0.96
# Cells at least this wide get their count written on them.
_ROOM_FOR_NUMBERS: Final = 1 / 16

HEATMAP_COLUMNS = ("score_low", "score_high", "error_proba_low", "error_proba_high", "count", "error_rate")


@dataclass(frozen=True, slots=True)
class _Region:
    zone: str
    left: float
    bottom: float
    right: float
    top: float


def plot_heatmap(
    cells: Table,
    limits: Mapping[str, float | None],
    ax: Axes | None = None,
    *,
    title: str = "Heatmap: confidence against error probability",
    theme: str = "light",
    words: Words | None = None,
) -> Axes:
    """Each square is one cell: its size and number say how many rows, its colour how many of them were wrong.

    Args:
        cells: One row per cell: ``score_low, score_high, error_proba_low, error_proba_high, count, error_rate``.
        limits: Limits of the zones: ``t_lo`` (0 where nothing is promised), ``t_hi`` on error probability, ``c_lo``,
            ``c_hi`` on confidence; None or missing where the result has none.
        ax: Axes to draw on.
        title: Title of the picture.
        theme: ``"light"`` or ``"dark"``.
        words: What rows are called.

    Raises:
        InputError: If a column is missing or the theme is unknown.
    """
    colours = find_theme(theme)
    frame = as_frame(cells, HEATMAP_COLUMNS)
    with drawing(colours, (7.6, 6.0), ax) as ax:
        regions = _regions(limits)
        _draw_regions(ax, regions, colours)
        _draw_limits(ax, limits, colours)
        squares = _draw_cells(ax, frame[frame["count"] > 0], colours)
        bar = ax.figure.colorbar(squares, ax=ax, fraction=0.046, pad=0.02)
        bar.set_label(f"observed error rate of the {(words or words_of(None)).units} in a square")
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="model's own confidence (score)", ylabel="error probability")
        ax.set_title(title, pad=22)
        _draw_legend(ax, regions, colours)
    return ax


def _draw_cells(ax: Axes, frame: pd.DataFrame, colours: Theme) -> PatchCollection:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    cells = frame[list(HEATMAP_COLUMNS)].to_numpy(float)
    left, right, bottom, top, count, rate = cells.T
    # most rows often share one cell: on a linear scale all others would be dots
    side = _SMALLEST + (_LARGEST - _SMALLEST) * np.log(count) / np.log(max(count.max(initial=2), 2))
    width, height = (right - left) * side, (top - bottom) * side
    patches = [
        Rectangle((x, y), w, h)
        for x, y, w, h in zip((left + right - width) / 2, (bottom + top - height) / 2, width, height, strict=True)
    ]
    squares = PatchCollection(patches, cmap=colours.colormap(), edgecolor=colours.muted, lw=0.5, zorder=3)
    squares.set_array(rate)
    squares.set_clim(0, 1)
    ax.add_collection(squares)
    if len(cells) and (right - left).min() >= _ROOM_FOR_NUMBERS:
        fills = squares.cmap(rate)
        for x, y, n, fill in zip((left + right) / 2, (bottom + top) / 2, count, fills, strict=True):
            ax.text(x, y, f"{n:.0f}", ha="center", va="center", fontsize=7.5, color=ink_on(fill), zorder=6)
    return squares


def _regions(limits: Mapping[str, float | None]) -> list[_Region]:
    t_lo, t_hi = limits.get("t_lo"), limits.get("t_hi")
    if t_hi is None:
        return []
    c_lo, c_hi = limits.get("c_lo"), limits.get("c_hi")
    below = min(t_lo or 0.0, t_hi)
    c_hi = 1.0 if c_hi is None else c_hi
    c_lo = 0.0 if c_lo is None else min(c_lo, c_hi)
    regions = [
        _Region("stable_coverage", 0, 0, 1, below),
        _Region("operational_coverage", 0, below, 1, t_hi),
        _Region("hotspot", c_lo, t_hi, c_hi, 1),
        _Region("recessive_hotspot", 0, t_hi, c_lo, 1),
        _Region("critical_hotspot", c_hi, t_hi, 1, 1),
    ]
    return [region for region in regions if region.right > region.left and region.top > region.bottom]


def _draw_regions(ax: Axes, regions: list[_Region], colours: Theme) -> None:
    from matplotlib.patches import Rectangle

    for region in regions:
        size = (region.right - region.left, region.top - region.bottom)
        ax.add_patch(
            Rectangle(
                (region.left, region.bottom),
                *size,
                facecolor=colours.zones[region.zone],
                alpha=0.13,
                lw=0,
                zorder=1,
                gid=region.zone,
            )
        )


def _draw_limits(ax: Axes, limits: Mapping[str, float | None], colours: Theme) -> None:
    from matplotlib.patheffects import withStroke

    style: dict[str, Any] = {"color": colours.ink, "lw": 1.1, "ls": (0, (5, 3)), "zorder": 2}
    halo = [withStroke(linewidth=2.5, foreground=colours.paper)]
    note: dict[str, Any] = {"color": colours.ink, "fontsize": 8.5, "zorder": 7, "path_effects": halo}
    t_hi = limits.get("t_hi")
    for name in ("t_lo", "t_hi"):
        value = limits.get(name)
        if value:
            ax.plot([0, 1], [value, value], label=name, **style)
            ax.text(0.008, value + 0.008, f"{name} = {value:.3g}", va="bottom", **note)
    for name, side in (("c_lo", "right"), ("c_hi", "left")):
        value = limits.get(name)
        if value is not None and t_hi is not None:
            ax.plot([value, value], [t_hi, 1], label=name, **style)
            # above the axes, leaning away from each other: the two limits may be close
            ax.text(value, 1.012, f"{name} = {value:.3g}", va="bottom", ha=side, **note)


def _draw_legend(ax: Axes, regions: list[_Region], colours: Theme) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=colours.zones[region.zone], alpha=0.55, label=f"{region.zone} ({ZONES[region.zone].category})")
        for region in regions
    ]
    if patches:
        ax.legend(
            handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=2, fontsize=9, handlelength=1.2
        )
