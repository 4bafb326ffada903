"""One example of a point cloud as a picture: the surroundings of a box from above, and where in the frame they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.points_in_boxes import points_in_boxes
from ml_debugger.presentation.bev_view import View, look_at, overlook
from ml_debugger.presentation.box_shapes import Box, Rectangle, overlap
from ml_debugger.presentation.example_style import (
    CANVAS,
    HALO,
    OTHER,
    REGION,
    TRUTH,
    ClassNames,
    Pixels,
    find_colour,
    headline,
    label_truth,
)
from ml_debugger.presentation.examples import Example
from ml_debugger.presentation.label_places import FONT_SIZE, PADDING, LabelPlaces
from ml_debugger.presentation.palette import ink_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_frame"]

Float64 = NDArray[np.float64]

_DPI: Final = 100
_POINT: Final = 72 / _DPI  # points, in which matplotlib measures lines and letters, per pixel
_PAPER: Final = "#151b26"
_RINGS: Final = "#2f3a4d"
_QUIET: Final = "#8391a8"
_GROUND: Final = ("#3d4a61", "#7f92b3", "#c9d5ea")  # points, from low to high
_SENSOR: Final = "#ffffff"
_INSET: Final = 136.0  # side of the map of the whole frame
_INSET_MARGIN: Final = 8.0
_STRIP: Final = 18.0  # height of the line of text below it
_MAX_RINGS: Final = 5
_MAP_RINGS: Final = 4
_TICK: Final = 9.0  # pixels that the line of the heading reaches beyond the front


def draw_frame(points: NDArray[Any] | None, example: Example, class_names: ClassNames = None) -> Pixels:
    """The surroundings of an example from above, ``(h, w, 3)``, as large as ``CANVAS``; forward (+x) is up.

    In a corner a map of the whole frame, with the sensor at the origin and what part the picture shows.

    Args:
        points: ``(N, 3)`` x y z in metres, in the axes of the boxes; None where there are none, boxes are drawn alone.
        example: What to show.
        class_names: Names of classes.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cloud = np.empty((0, 3)) if points is None else np.asarray(points[:, :3], dtype=np.float64)
    cloud = cloud[np.isfinite(cloud).all(axis=1)]
    with mpl.rc_context({"font.family": "DejaVu Sans", "path.sketch": None}):
        figure = Figure(figsize=(CANVAS[0] / _DPI, CANVAS[1] / _DPI), dpi=_DPI, facecolor=_PAPER)
        canvas = FigureCanvasAgg(figure)
        ax = figure.add_axes((0, 0, 1, 1), xlim=(0, CANVAS[0]), ylim=(CANVAS[1], 0))
        ax.set_axis_off()
        _draw_scene(ax, cloud, example, class_names)
        canvas.draw()  # type: ignore[no-untyped-call]  # of matplotlib
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]  # likewise
        return np.ascontiguousarray(pixels[..., :3])


def _draw_scene(ax: Axes, cloud: Float64, example: Example, class_names: ClassNames) -> None:
    partner = example.partner
    about = [example.box] if partner is None else [example.box, partner.box]
    view = look_at(about, CANVAS)
    every = [example.box, *(one.box for one in (*example.truths, *example.others))]
    corner = _free_corner([view.around(box) for box in about])
    whole = overlook(view, every, cloud[:, :2], (*corner[:3], corner[3] - _STRIP))
    _draw_rings(ax, view)
    _draw_points(ax, view, cloud, example.box)
    _draw_boxes(ax, view, example)
    labels = LabelPlaces(CANVAS, [corner])
    pair = _around(view, about)  # no text on the two boxes themselves
    labels.add(pair, headline(example), find_colour(example), ("TOP_LEFT", "BOTTOM_LEFT"))
    for one in example.concerned:
        labels.add(pair if one is partner else _around(view, [one.box]), *label_truth(one, class_names))
    _draw_ring_names(ax, view, labels)
    _draw_sensor(ax, view, 11.0, 4)
    _draw_labels(ax, labels)
    _draw_map(ax, whole, view, cloud, example)


def _around(view: View, boxes: list[Box]) -> np.ndarray:
    """``(4,)`` the rectangle around some boxes and the lines of their headings, pixels."""
    each = np.array([view.around(box) for box in boxes])
    room = _TICK + 2.0
    return np.concatenate([each[:, :2].min(axis=0) - room, each[:, 2:].max(axis=0) + room])


def _draw_points(ax: Axes, view: View, cloud: Float64, box: Box) -> None:
    """Points by height, those in the box brighter."""
    from matplotlib.colors import LinearSegmentedColormap

    shown = cloud[view.shows(cloud[:, :2])]
    if not len(shown):
        return
    shown = shown[np.argsort(shown[:, 2], kind="stable")]  # high ones on top
    low, high = np.quantile(shown[:, 2], (0.02, 0.98))
    ramp = LinearSegmentedColormap.from_list("height", list(_GROUND))
    colours = ramp(np.clip((shown[:, 2] - low) / max(high - low, 0.5), 0, 1))
    size = np.clip(view.scale / 11.0, 1.0, 3.0) * _POINT
    at = view.pixels(shown[:, :2])
    ax.scatter(at[:, 0], at[:, 1], s=size**2, c=colours, linewidths=0, zorder=2)
    within = at[points_in_boxes(shown, np.array([box]))[1]]
    ax.scatter(within[:, 0], within[:, 1], s=(1.3 * size) ** 2, c="#ffffff", linewidths=0, zorder=2)


def _draw_boxes(ax: Axes, view: View, example: Example) -> None:
    told = example.concerned
    for one in example.others:
        _draw_box(ax, view, one.box, OTHER, 1.0)
    for one in example.truths:
        colour = REGION if one.ignored else TRUTH
        _draw_box(ax, view, one.box, colour, 3.0 if one in told and not one.ignored else 1.5)
    _draw_box(ax, view, example.box, find_colour(example), 4.0, filled=True)


def _draw_box(ax: Axes, view: View, box: Box, colour: str, width: float, *, filled: bool = False) -> None:
    """The outline of a box, and a line from its middle through its front: where it is heading."""
    from matplotlib.patches import Polygon

    corners = view.outline(box)
    middle, front = corners.mean(axis=0), (corners[0] + corners[3]) / 2
    ahead = front - middle
    tip = front + ahead / max(float(np.hypot(*ahead)), 1e-9) * _TICK
    if filled:
        ax.add_patch(Polygon(corners, facecolor=colour, alpha=0.16, zorder=1))
    for thickness, shade in ((width + 2, HALO), (width, colour)):  # a dark border shows between other lines
        style: dict[str, Any] = {"color": shade, "linewidth": thickness * _POINT, "zorder": 3}
        ax.plot(*np.stack([middle, tip]).T, solid_capstyle="butt", **style)
        ax.plot(*np.concatenate([corners, corners[:2]]).T, **style)


def _draw_rings(ax: Axes, view: View) -> None:
    """Circles of round distances around the sensor."""
    from matplotlib.patches import Circle

    for radius in view.rings(_MAX_RINGS):
        ax.add_patch(Circle(view.origin, radius * view.scale, fill=False, edgecolor=_RINGS, linewidth=_POINT, zorder=0))


def _draw_ring_names(ax: Axes, view: View, labels: LabelPlaces) -> None:
    """Their distances, where they leave the picture and nothing else stands."""
    for radius in view.rings(_MAX_RINGS):
        text = f"{radius:g} m"
        width, height = 8.5 * len(text), 15.0
        for left, top in view.exits(radius, (width, height)):
            place = (left, top, left + width, top + height)
            if labels.is_free(place):
                ax.text(left, top, text, va="top", ha="left", fontsize=13 * _POINT, color=_QUIET, zorder=4)
                labels.take(place)
                break


def _draw_sensor(ax: Axes, view: View, size: float, zorder: int) -> None:
    """An arrow head at the origin that points forward."""
    across, down = view.origin
    if view.shows(np.zeros((1, 2)))[0]:
        shape = size * np.array([[0.0, -1.0], [0.65, 0.8], [0.0, 0.45], [-0.65, 0.8]]) + [across, down]
        ax.fill(*shape.T, facecolor=_SENSOR, edgecolor=HALO, linewidth=_POINT, zorder=zorder)


def _draw_labels(ax: Axes, labels: LabelPlaces) -> None:
    from matplotlib.colors import to_rgba

    for label in labels.labels:
        left, top, _, _ = label.place
        ax.text(
            left + PADDING,
            top + PADDING,
            label.text,
            va="top",
            fontsize=FONT_SIZE * _POINT,
            fontweight="bold",
            color=ink_on(np.array(to_rgba(label.colour))),
            bbox={"facecolor": label.colour, "edgecolor": "none", "pad": PADDING * _POINT},
            zorder=5,
        )


def _free_corner(about: Sequence[np.ndarray]) -> Rectangle:
    """Of the four corners the first where the map covers nothing of what the picture is about, or the least."""
    width, height = CANVAS
    far = (width - _INSET - _INSET_MARGIN, height - _INSET - _STRIP - _INSET_MARGIN)
    starts = [(far[0], _INSET_MARGIN), (_INSET_MARGIN, _INSET_MARGIN), far, (_INSET_MARGIN, far[1])]
    places = [(left, top, left + _INSET, top + _INSET + _STRIP) for left, top in starts]
    return min(places, key=lambda place: sum(overlap(place, tuple(one)) for one in about))


def _draw_map(ax: Axes, whole: View, view: View, cloud: Float64, example: Example) -> None:
    """The whole frame, small: points, boxes, the sensor, and the part that the picture shows."""
    from matplotlib import patches

    left, top, right, bottom = whole.frame
    size = (right - left, bottom - top)
    ax.add_patch(patches.Rectangle((left, top), size[0], size[1] + _STRIP, facecolor=_PAPER, zorder=6))
    sheet = patches.Rectangle((left, top), *size, facecolor="none", edgecolor=_QUIET, linewidth=_POINT, zorder=8)
    ax.add_patch(sheet)
    if len(cloud):
        ax.imshow(_density(whole, cloud), extent=(left, right, bottom, top), aspect="auto", zorder=6)
    parts: list[Any] = []
    for radius in whole.rings(_MAP_RINGS):
        ring = patches.Circle(
            whole.origin, radius * whole.scale, fill=False, edgecolor=_RINGS, linewidth=_POINT, zorder=6
        )
        parts.append(ax.add_patch(ring))
    colours = [(one.box, OTHER) for one in example.others]
    colours += [(one.box, TRUTH) for one in example.truths if not one.ignored]
    for box, colour in [*colours, (example.box, find_colour(example))]:
        corners = whole.outline(box)
        parts += ax.fill(*corners.T, facecolor=colour, edgecolor=colour, linewidth=1.2 * _POINT, zorder=7)
    corner = whole.pixels(np.array(view.centre) + np.array(view.reach))
    width, height = 2 * view.reach[1] * whole.scale, 2 * view.reach[0] * whole.scale
    parts.append(
        ax.add_patch(
            patches.Rectangle(tuple(corner), width, height, fill=False, edgecolor=_SENSOR, linewidth=_POINT, zorder=7)
        )
    )
    for part in parts:
        part.set_clip_path(sheet)
    _draw_sensor(ax, whole, 7.0, 8)
    _draw_map_scale(ax, whole)


def _draw_map_scale(ax: Axes, whole: View) -> None:
    """How far the rings of the map are apart."""
    rings = whole.rings(_MAP_RINGS)
    text = f"map, rings {rings[0]:g} m" if rings else "map"
    left, _, _, bottom = whole.frame
    ax.text(left + 4, bottom + 2, text, va="top", fontsize=12.5 * _POINT, color=_QUIET, zorder=8)


def _density(whole: View, cloud: Float64) -> NDArray[np.float64]:
    """``(h, w, 4)`` colours of the map: how many points there are."""
    from matplotlib.colors import to_rgba

    left, top, right, bottom = whole.frame
    at = whole.pixels(cloud[:, :2])
    bins = (int(bottom - top), int(right - left))
    count, _, _ = np.histogram2d(at[:, 1], at[:, 0], bins=bins, range=((top, bottom), (left, right)))
    colours = np.empty((*count.shape, 4))
    colours[...] = to_rgba(_GROUND[1])
    colours[..., 3] = np.minimum(np.log1p(count) / 4.0, 1.0)
    return colours
