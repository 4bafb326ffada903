"""One example as a picture: the part of the image around a box, enlarged, with its boxes drawn by supervision."""

from __future__ import annotations

import importlib.util
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ml_debugger.errors import ConfigError, InputError
from ml_debugger.presentation.box_shapes import FLAT, Box, Rectangle, overlap
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
    from PIL.Image import Image

__all__ = ["check_drawing", "draw_example"]

_ROOM: Final = 1.7  # the part shown is so much larger than the boxes it is about
_SMALLEST: Final = (112.0, 84.0)  # a box of few pixels is not enlarged without end
_SHOWN: Final = 0.2  # share of a neighbour within the picture from which on it is drawn
_TOLERANCE: Final = 2.0  # pixels that an annotation may reach over the border of its image


def check_drawing() -> None:
    """See that supervision is there.

    Raises:
        ConfigError: If it is not; the message says what to install.
    """
    if importlib.util.find_spec("supervision") is None:
        raise ConfigError("examples are drawn by supervision: install with  pip install 'ml-debugger[detection]'")


def draw_example(image: Pixels, example: Example, class_names: ClassNames = None) -> Pixels:
    """The part of an image around an example, ``(h, w, 3)``, at most as large as ``CANVAS``.

    Args:
        image: ``(H, W, 3)`` RGB 0-255, as the model saw it.
        example: What to show.
        class_names: Names of classes.

    Raises:
        InputError: If the image has another size than the one that the model saw.
    """
    from PIL import Image

    height, width = image.shape[:2]
    _check_size((width, height), example)
    part = _window(example, (width, height))
    scale = min(CANVAS[0] / (part[2] - part[0]), CANVAS[1] / (part[3] - part[1]))
    size = max(1, round((part[2] - part[0]) * scale)), max(1, round((part[3] - part[1]) * scale))
    scene = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, box=part)
    return np.asarray(_annotated(scene, example, part, scale, class_names))


def _check_size(size: tuple[int, int], example: Example) -> None:
    """That the boxes are in the pixels of this image."""
    shown = f"images: the image of input_id {example.input_id!r} has {size[0]} x {size[1]} pixels, but "
    cure = "; give it as the model got it, in the size that the boxes belong to"
    if example.size is not None and example.size != size:
        raise InputError(f"{shown}its boxes are of one with {example.size[0]} x {example.size[1]}{cure}")
    annotated = [one.box for one in example.truths] + ([example.box] if example.missed else [])
    reach = [max((box[side] for box in annotated), default=0.0) - _TOLERANCE for side in (2, 3)]
    if not example.missed:
        reach = [max(reach[side], example.box[side]) for side in (0, 1)]  # where a prediction starts
    if reach[0] > size[0] or reach[1] > size[1]:
        raise InputError(f"{shown}it has boxes that reach to {reach[0]:.0f}, {reach[1]:.0f}{cure}")


def _window(example: Example, size: tuple[int, int]) -> Rectangle:
    """The part of the image to be shown, in its pixels: around the box and what it belongs to, in the canvas's form."""
    boxes = np.array([example.box] + ([] if example.partner is None else [example.partner.box]))
    limit = np.array(size, dtype=float)
    low, high = np.clip(boxes[:, :2].min(axis=0), 0, limit), np.clip(boxes[:, 2:].max(axis=0), 0, limit)
    span = np.maximum(_ROOM * (high - low), _SMALLEST)
    form = CANVAS[0] / CANVAS[1]
    span = np.minimum([max(span[0], span[1] * form), max(span[1], span[0] / form)], limit)
    start = np.clip((low + high - span) / 2, 0, limit - span)
    return float(start[0]), float(start[1]), float(start[0] + span[0]), float(start[1] + span[1])


def _annotated(scene: Image, example: Example, part: Rectangle, scale: float, class_names: ClassNames) -> Image:
    """Boxes below, labels above, so that no line crosses a text."""
    truths = [one for one in example.truths if _is_inside(one.box, part)]
    others = [one for one in example.others if _is_inside(one.box, part)]
    placed = _Placed(part, scale)
    told = [one for one in example.concerned if _is_inside(one.box, part)]
    regions, objects = ([one.box for one in truths if one.ignored is flag] for flag in (True, False))
    scene = _draw_boxes(scene, placed.all([one.box for one in others]), OTHER, 1)
    scene = _draw_boxes(scene, placed.all(regions), REGION, 2)
    scene = _draw_boxes(scene, placed.all(objects), TRUTH, 1)
    scene = _draw_boxes(scene, placed.all([one.box for one in told if not one.ignored]), TRUTH, 3)
    scene = _draw_boxes(scene, placed.all([example.box]), find_colour(example), 4)
    labels = LabelPlaces(scene.size)
    labels.add(placed.all([example.box])[0], headline(example), find_colour(example), ("TOP_LEFT", "BOTTOM_LEFT"))
    for one, box in zip(told, placed.all([one.box for one in told]), strict=True):
        labels.add(box, *label_truth(one, class_names))
    return _draw_labels(scene, labels)


def _is_inside(box: Box, part: Box) -> bool:
    return overlap(box, part) > _SHOWN * FLAT.areas([box])[0]


class _Placed:
    """From pixels of the image to pixels of the picture."""

    def __init__(self, part: Rectangle, scale: float) -> None:
        self._start = np.array([part[0], part[1]] * 2)
        self._scale = scale
        self._end = (np.array([part[2], part[3]] * 2) - self._start) * scale - 1

    def all(self, boxes: list[Box]) -> np.ndarray:
        """``(N, 4)``, cut at the border of the picture."""
        placed = (np.array(boxes, dtype=float).reshape(-1, 4) - self._start) * self._scale
        return np.asarray(np.clip(placed, 0.0, self._end))


def _supervision() -> Any:
    """The library, without its warning that it draws by NumPy where OpenCV is not installed: that is good enough."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="OpenCV", category=UserWarning)
        import supervision
    return supervision


def _draw_boxes(scene: Image, boxes: np.ndarray, colour: str, thickness: int) -> Image:
    if not len(boxes):
        return scene
    supervision = _supervision()
    found = supervision.Detections(xyxy=boxes, class_id=np.zeros(len(boxes), dtype=int))
    for width, shade in ((thickness + 2, HALO), (thickness, colour)):  # a dark border shows on any picture
        annotator = supervision.BoxAnnotator(supervision.Color.from_hex(shade), thickness=width)
        scene = annotator.annotate(scene, found)
    return scene


def _draw_labels(scene: Image, labels: LabelPlaces) -> Image:
    from matplotlib.colors import to_rgba
    from matplotlib.font_manager import findfont

    supervision, font = _supervision(), findfont("DejaVu Sans:bold")
    for label in labels.labels:
        annotator = supervision.RichLabelAnnotator(
            supervision.Color.from_hex(label.colour),
            text_color=supervision.Color.from_hex(ink_on(np.array(to_rgba(label.colour)))),
            font_path=font,
            font_size=FONT_SIZE,
            text_padding=PADDING,
            text_position=supervision.Position[label.corner],
            smart_position=True,  # keeps it within the picture
        )
        only = supervision.Detections(label.box[None], class_id=np.zeros(1, int))
        scene = annotator.annotate(scene, only, [label.text])
    return scene
