"""One example as a picture: the part of the image around a box, enlarged, with its boxes drawn by supervision."""

from __future__ import annotations

import importlib.util
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ml_debugger.errors import ConfigError, InputError
from ml_debugger.presentation.example_images import Pixels
from ml_debugger.presentation.examples import Box, Example, Neighbour, overlap
from ml_debugger.presentation.palette import find_theme, ink_on

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["CANVAS", "OTHER", "TRUTH", "ClassNames", "check_drawing", "draw_example", "find_colour", "name_class"]

ClassNames = Any
"""A sequence or mapping from class id to name, or None."""

CANVAS: Final = (560, 420)
"""Width and height of a picture in pixels; less where an image is narrower or lower."""

TRUTH: Final = "#12c46b"
OTHER: Final = "#f2f4f7"
_REGION: Final = "#98a2b3"
_HALO: Final = "#101828"

_ROOM: Final = 1.7  # the part shown is so much larger than the boxes it is about
_SMALLEST: Final = (112.0, 84.0)  # a box of few pixels is not enlarged without end
_FONT_SIZE: Final = 17
_PADDING: Final = 5
_LETTER: Final = 11.5  # about the width of a letter
_CORNERS: Final = {  # of a box: whether a label there is at the right end, and above
    "BOTTOM_LEFT": (False, False),
    "BOTTOM_RIGHT": (True, False),
    "TOP_LEFT": (False, True),
    "TOP_RIGHT": (True, True),
}
_SHOWN: Final = 0.2  # share of a neighbour within the picture from which on it is drawn
_BESIDE: Final = 0.1  # overlap (IoU) from which on two boxes have to do with each other
_TOLERANCE: Final = 2.0  # pixels that an annotation may reach over the border of its image


def check_drawing() -> None:
    """See that supervision is there.

    Raises:
        ConfigError: If it is not; the message says what to install.
    """
    if importlib.util.find_spec("supervision") is None:
        raise ConfigError("examples are drawn by supervision: install with  pip install 'ml-debugger[detection]'")


def find_colour(example: Example) -> str:
    """The colour of the box that an example is about: that of its zone; a missed object is annotated."""
    return TRUTH if example.zone is None else find_theme("light").zones[example.zone]


def name_class(label: int, class_names: ClassNames) -> str:
    """A class by name where names are given, else by number."""
    try:
        return str(label) if class_names is None else str(class_names[label])
    except (KeyError, IndexError):
        return str(label)


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


def _window(example: Example, size: tuple[int, int]) -> Box:
    """The part of the image to be shown, in its pixels: around the box and what it belongs to, in the canvas's form."""
    boxes = np.array([example.box] + ([] if example.partner is None else [example.partner.box]))
    limit = np.array(size, dtype=float)
    low, high = np.clip(boxes[:, :2].min(axis=0), 0, limit), np.clip(boxes[:, 2:].max(axis=0), 0, limit)
    span = np.maximum(_ROOM * (high - low), _SMALLEST)
    form = CANVAS[0] / CANVAS[1]
    span = np.minimum([max(span[0], span[1] * form), max(span[1], span[0] / form)], limit)
    start = np.clip((low + high - span) / 2, 0, limit - span)
    return float(start[0]), float(start[1]), float(start[0] + span[0]), float(start[1] + span[1])


def _annotated(scene: Image, example: Example, part: Box, scale: float, class_names: ClassNames) -> Image:
    """Boxes below, labels above, so that no line crosses a text."""
    truths = [one for one in example.truths if _is_inside(one.box, part)]
    others = [one for one in example.others if _is_inside(one.box, part)]
    placed = _Placed(part, scale)
    told = sorted((one for one in truths if _is_told(one, example)), key=lambda one: one is not example.partner)
    regions, objects = ([one.box for one in truths if one.ignored is flag] for flag in (True, False))
    scene = _draw_boxes(scene, placed.all([one.box for one in others]), OTHER, 1)
    scene = _draw_boxes(scene, placed.all(regions), _REGION, 2)
    scene = _draw_boxes(scene, placed.all(objects), TRUTH, 1)
    scene = _draw_boxes(scene, placed.all([one.box for one in told if not one.ignored]), TRUTH, 3)
    scene = _draw_boxes(scene, placed.all([example.box]), find_colour(example), 4)
    labels = _Labels(scene.size)
    labels.add(placed.all([example.box])[0], _headline(example), find_colour(example), ("TOP_LEFT", "BOTTOM_LEFT"))
    for one, box in zip(told, placed.all([one.box for one in told]), strict=True):
        text = f"{'ignored' if one.ignored else 'true'} {name_class(one.label, class_names)}"
        labels.add(box, text, _REGION if one.ignored else TRUTH, tuple(_CORNERS))
    return labels.draw(scene)


def _headline(example: Example) -> str:
    proba = example.error_proba.get("error_proba")
    return example.code if proba is None else f"{example.code}  {proba:.0%}"


def _is_inside(box: Box, part: Box) -> bool:
    return overlap(box, part) > _SHOWN * _area(box)


def _is_told(one: Neighbour, example: Example) -> bool:
    """Whether an annotated box is drawn thick and with its class: those that the example has to do with."""
    if one is example.partner:
        return True
    shared = overlap(one.box, example.box)
    return shared >= _BESIDE * (_area(one.box) + _area(example.box) - shared) > 0


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


class _Placed:
    """From pixels of the image to pixels of the picture."""

    def __init__(self, part: Box, scale: float) -> None:
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
    for width, shade in ((thickness + 2, _HALO), (thickness, colour)):  # a dark border shows on any picture
        annotator = supervision.BoxAnnotator(supervision.Color.from_hex(shade), thickness=width)
        scene = annotator.annotate(scene, found)
    return scene


class _Labels:
    """Texts at the corners of boxes, each where it covers no other one."""

    def __init__(self, size: tuple[int, int]) -> None:
        from matplotlib.font_manager import findfont

        self._size = size
        self._font = findfont("DejaVu Sans:bold")
        self._added: list[tuple[np.ndarray, str, str, str]] = []
        self._taken: list[Box] = []

    def add(self, box: np.ndarray, text: str, colour: str, corners: tuple[str, ...]) -> None:
        """A text at the first of some corners of a box that is free; where none is, it is left out."""
        width, height = _LETTER * len(text) + 2 * _PADDING, _FONT_SIZE + 2 * _PADDING
        places = {corner: self._place(box, corner, width, height) for corner in corners}
        free = [corner for corner, place in places.items() if all(overlap(place, one) == 0 for one in self._taken)]
        if not free and self._taken:
            return
        corner = free[0] if free else corners[0]
        self._taken.append(places[corner])
        self._added.append((box, text, colour, corner))

    def _place(self, box: np.ndarray, corner: str, width: float, height: float) -> Box:
        """Where supervision puts a label, moved into the picture."""
        at_right, above = _CORNERS[corner]
        left = float(box[2]) - width if at_right else float(box[0])
        top = float(box[1]) - height if above else float(box[3])
        left, top = min(max(left, 0.0), self._size[0] - width), min(max(top, 0.0), self._size[1] - height)
        return left, top, left + width, top + height

    def draw(self, scene: Image) -> Image:
        """Draw them; the first one last, on top."""
        from matplotlib.colors import to_rgba

        supervision = _supervision()
        for box, text, colour, corner in reversed(self._added):
            annotator = supervision.RichLabelAnnotator(
                supervision.Color.from_hex(colour),
                text_color=supervision.Color.from_hex(ink_on(np.array(to_rgba(colour)))),
                font_path=self._font,
                font_size=_FONT_SIZE,
                text_padding=_PADDING,
                text_position=supervision.Position[corner],
                smart_position=True,  # keeps it within the picture
            )
            scene = annotator.annotate(scene, supervision.Detections(box[None], class_id=np.zeros(1, int)), [text])
        return scene
