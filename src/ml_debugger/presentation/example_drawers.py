"""From an example to its picture: on images for boxes of images, on point clouds from above for boxes in 3D."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import InputError
from ml_debugger.presentation.bev_drawing import draw_frame
from ml_debugger.presentation.box_shapes import UPRIGHT, BoxShape
from ml_debugger.presentation.example_drawing import check_drawing, draw_example
from ml_debugger.presentation.example_frames import frame_reader
from ml_debugger.presentation.example_images import image_reader
from ml_debugger.presentation.example_sources import Source
from ml_debugger.presentation.example_style import ClassNames, Pixels
from ml_debugger.presentation.examples import Example
from ml_debugger.presentation.frame_facts import frame_facts

__all__ = ["Drawer", "find_drawer", "frame_drawer", "image_drawer", "missing_source"]

Drawer: TypeAlias = Callable[[Example], tuple[Pixels, tuple[str, ...]]]
"""From an example to its picture, and what to say of it besides what is said of every box."""

_FEW: Final = 100  # points that need not lie where the boxes are
_SLACK: Final = 5.0  # metres that a box may lie beyond all points


def find_drawer(
    shape: BoxShape | None, images: Source | None, frames: Source | None, class_names: ClassNames = None
) -> Drawer | None:
    """The drawer for boxes of a shape; None where there is nothing to draw on.

    Args:
        shape: Of the boxes; None for a task without boxes.
        images: Where images are, for boxes of images.
        frames: Where point clouds are, for boxes in 3D, which are drawn alone without.
        class_names: Names of classes.

    Raises:
        InputError: If the boxes are of the other kind than what they are to be drawn on, or there are none.
        ConfigError: If images are given and supervision is not installed.
    """
    if shape is None and (images is not None or frames is not None):
        raise missing_source(shape)
    if shape is UPRIGHT:
        if images is not None:
            raise InputError("images: these are boxes of point clouds, drawn from above; pass the points as frames")
        return frame_drawer(frames, class_names)
    if frames is not None:
        raise InputError("frames: these are boxes of images; pass the images as images")
    return None if images is None else image_drawer(images, class_names)


def missing_source(shape: BoxShape | None) -> InputError:
    """The error that says what is missing where there is nothing to draw on."""
    if shape is None:
        return InputError("this result has no boxes to draw: examples are for detection")
    return InputError("images: expected a folder, or a mapping or function from input id to image, got None")


def image_drawer(images: Source, class_names: ClassNames = None) -> Drawer:
    """Draws on images.

    Raises:
        InputError: If ``images`` is no source. The drawer raises it where what is there is no image, or has another
            size than the model saw, and NotFoundError where nothing is.
        ConfigError: If supervision is not installed.
    """
    check_drawing()
    read = image_reader(images)
    return lambda example: (draw_example(read(example.input_id), example, class_names), ())


def frame_drawer(frames: Source | None, class_names: ClassNames = None) -> Drawer:
    """Draws on points seen from above, or boxes alone.

    Raises:
        InputError: If ``frames`` is no source. The drawer raises it where what is there is no points, or lies elsewhere
            than the boxes, and NotFoundError where nothing is.
    """
    read = None if frames is None else frame_reader(frames)

    def draw(example: Example) -> tuple[Pixels, tuple[str, ...]]:
        points = None if read is None else read(example.input_id)
        if points is not None:
            _check_axes(points, example)
        return draw_frame(points, example, class_names), (frame_facts(points, example),)

    return draw


def _check_axes(points: NDArray[np.float32], example: Example) -> None:
    """That boxes are where points are: points in other axes than the boxes would be a picture of nothing."""
    known = points[np.isfinite(points).all(axis=1)]
    if len(known) < _FEW:
        return
    low, high = known[:, :2].min(axis=0), known[:, :2].max(axis=0)
    every = np.array([example.box, *(one.box for one in (*example.truths, *example.others))])[:, :2]
    if ((every >= low - _SLACK) & (every <= high + _SLACK)).all(axis=1).any():
        return
    raise InputError(
        f"frames: the points of input_id {example.input_id!r} reach from x {low[0]:.0f} to {high[0]:.0f} m and from y "
        f"{low[1]:.0f} to {high[1]:.0f} m, but none of its boxes is there, the first at x {every[0, 0]:.0f}, y "
        f"{every[0, 1]:.0f} m; give points in the axes that the boxes are in"
    )
