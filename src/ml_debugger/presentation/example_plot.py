"""Examples side by side: as one matplotlib figure, or as pictures with their words for the report."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ml_debugger.columns import ZONES
from ml_debugger.presentation.example_drawers import Drawer
from ml_debugger.presentation.example_style import (
    CANVAS,
    OTHER,
    TRUTH,
    ClassNames,
    Pixels,
    find_colour,
    name_class,
)
from ml_debugger.presentation.examples import Example
from ml_debugger.presentation.palette import Theme, find_theme
from ml_debugger.presentation.tables import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["Picture", "draw_pictures", "plot_pictures"]

_COLUMNS: Final = 3
# In inches: a picture, the caption below it, and what lies between and around.
_WIDTH: Final = 4.1
_HEIGHT: Final = _WIDTH * CANVAS[1] / CANVAS[0]
_CAPTION: Final = 1.15
_GAP: Final = 0.22
_TITLE: Final = 0.45
_LEGEND: Final = 0.4
_LINE: Final = 0.175
_LONGEST: Final = 44  # letters of a line of a caption
_QUALITY: Final = 85
_FRONT: Final = "|"  # in the legend: the front of a box, which the line of the heading crosses


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn example and what is said below it.

    Attributes:
        pixels: ``(h, w, 3)``.
        title: Error code and input.
        colour: Of the box that it is about.
        zone: Its name; empty for a missed object.
        category: Of the zone, or that it was missed.
        lines: What it means, classes, probabilities, and more about boxes in 3D.
    """

    pixels: Pixels
    title: str
    colour: str
    zone: str
    category: str
    lines: tuple[str, ...]

    @property
    def width_share(self) -> str:
        """Its width as a share of the widest."""
        return percent(min(self.pixels.shape[1] / CANVAS[0], 1.0), 0)

    def uri(self) -> str:
        """The picture as a data URI."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, format="JPEG", quality=_QUALITY)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def draw_pictures(examples: Sequence[Example], draw: Drawer, class_names: ClassNames = None) -> list[Picture]:
    """The pictures of some examples.

    Args:
        examples: What to show.
        draw: What draws one of them.
        class_names: From class id to name, or None.

    Raises:
        NotFoundError: If there is nothing to draw on for an id.
        InputError: If what is there cannot be drawn on, or the boxes do not belong to it.
    """
    return [_picture(example, *draw(example), class_names) for example in examples]


def _picture(example: Example, pixels: Pixels, more: tuple[str, ...], class_names: ClassNames) -> Picture:
    zone = "" if example.zone is None else example.zone
    return Picture(
        pixels=pixels,
        title=f"{example.code}  in {_shortened(str(example.input_id), _LONGEST - 6 - len(example.code))}",
        colour=find_colour(example),
        zone=zone,
        category=ZONES[zone].category if zone else "missed object",
        lines=(_capital(example.meaning), _classes(example, class_names), *_numbers(example), *more),
    )


def _classes(example: Example, class_names: ClassNames) -> str:
    annotated = "nothing" if example.truth is None else name_class(example.truth, class_names)
    if example.label is None:
        return f"annotated {annotated}, not found"
    return f"predicted {name_class(example.label, class_names)}, annotated {annotated}"


def _numbers(example: Example) -> list[str]:
    if example.score is None:
        return []
    names = {"error_proba": "error", "det_error_proba": "place", "cls_error_proba": "class"}
    said = [f"{names[name]} {percent(value, 0)}" for name, value in example.error_proba.items()]
    return [f"{', '.join(said)}; score {example.score:.2f}"]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _shortened(text: str, longest: int) -> str:
    """The beginning and the end of a long text."""
    if len(text) <= longest:
        return text
    kept = max(longest - 1, 2)
    return f"{text[: kept // 2]}…{text[-(kept - kept // 2) :]}"


def plot_pictures(pictures: Sequence[Picture], *, title: str, theme: str = "light", from_above: bool = False) -> Figure:
    """The pictures in rows of three, each with its caption below, and a legend of the colours.

    Args:
        pictures: At least one.
        title: Of the figure.
        theme: ``"light"`` or ``"dark"``.
        from_above: Whether they show boxes from above, with their headings.

    Raises:
        InputError: If the theme is unknown.
    """
    from matplotlib import pyplot

    colours = find_theme(theme)
    n_columns = min(len(pictures), _COLUMNS)
    n_rows = math.ceil(len(pictures) / n_columns)
    width = _GAP + n_columns * (_WIDTH + _GAP)
    entries = _legend(colours, from_above)
    legend = _LEGEND if n_columns > 1 else len(entries) * _LEGEND * 0.7  # its entries one below the other
    height = _TITLE + n_rows * (_HEIGHT + _CAPTION) + legend
    with colours.applied():
        figure = pyplot.figure(figsize=(width, height))
        figure.text(_GAP / width, 1 - 0.14 / height, title, fontsize=12, fontweight="bold", va="top")
        for number, picture in enumerate(pictures):
            row, column = divmod(number, n_columns)
            left, bottom = (
                _GAP + column * (_WIDTH + _GAP),
                legend + _CAPTION + (n_rows - 1 - row) * (_HEIGHT + _CAPTION),
            )
            ax = figure.add_axes((left / width, bottom / height, _WIDTH / width, _HEIGHT / height))
            _draw(ax, picture, colours)
        ncols = len(entries) if n_columns > 1 else 1
        figure.legend(handles=entries, loc="lower left", ncols=ncols, fontsize=9, frameon=False)
    return figure


def _draw(ax: Axes, picture: Picture, colours: Theme) -> None:
    """A picture at the bottom left of its place, so that narrow and low ones keep their scale beside the others."""
    height = picture.pixels.shape[0]
    ax.imshow(picture.pixels, interpolation="lanczos", aspect="auto")
    ax.set(xlim=(0, CANVAS[0]), ylim=(height, height - CANVAS[1]))
    ax.set_axis_off()
    said = f"{picture.category} ({picture.zone})" if picture.zone else picture.category
    lines: list[tuple[float, str, dict[str, Any]]] = [
        (0.0, picture.title, {"fontsize": 9.5, "fontweight": "bold"}),
        (0.17, said, {"fontsize": 9}),
        *((0.0, line, {"fontsize": 8.5, "color": colours.muted}) for line in picture.lines),
    ]
    for number, (indent, text, style) in enumerate(lines):
        place = -(0.07 + number * _LINE) / _HEIGHT
        ax.text(indent / _WIDTH, place, text, transform=ax.transAxes, va="top", ha="left", **style)
        if indent:
            ax.text(0.0, place, "■", transform=ax.transAxes, va="top", ha="left", fontsize=9, color=picture.colour)


def _legend(colours: Theme, from_above: bool) -> list[Line2D]:
    from matplotlib.lines import Line2D

    quiet = colours.muted if colours.name == "light" else OTHER
    entries = [
        Line2D([], [], color=TRUTH, lw=3, label="annotated"),
        Line2D([], [], color=colours.zones["critical_hotspot"], lw=4, label="prediction, in the colour of its zone"),
        Line2D([], [], color=quiet, lw=1.5, label="other predictions"),
    ]
    heading = Line2D([], [], color=quiet, lw=1.5, marker=_FRONT, markersize=9, label="heading, out of the front")
    return [*entries, heading] if from_above else entries
