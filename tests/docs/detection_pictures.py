"""The pictures of ``docs/concepts/detection-codes.md``: small scenes, and the codes that the package gives them.

``python -m tests.docs.detection_pictures`` draws them anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.detection_codes import detection_codes, missed_codes
from ml_debugger.analysis.matching import Match, match
from tests.docs.fences import ROOT

FOLDER = ROOT / "docs" / "concepts" / "pictures"
WIDTH, HEIGHT, LINE = 260, 150, 17
ANNOTATED, REGION, PREDICTED = "#2b8a3e", "#5c636a", ("#d9480f", "#1c5fd4")
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Scene:
    """One image: annotated boxes with their classes, predicted ones with theirs, best score first.

    Attributes:
        truths: (box, class) each; class -1 marks a region to be ignored.
        predictions: (box, class) each.
        shows: What a reader should see.
    """

    truths: tuple[tuple[Box, int], ...]
    predictions: tuple[tuple[Box, int], ...]
    shows: str

    def match(self) -> Match:
        """What the package says."""
        predictions, truths = self.arrays()
        return match(predictions, truths)

    def arrays(self) -> tuple[PredictedBoxes, TrueBoxes]:
        """The scene as the package takes it."""
        index, box, label = _columns(self.predictions)
        truth_index, truth_box, truth_label = _columns(self.truths)
        score = 0.9 - 0.1 * np.arange(len(index))
        return PredictedBoxes(index, box, label, score), TrueBoxes(truth_index, truth_box, truth_label, truth_label < 0)

    def codes(self) -> list[str]:
        """Codes of the predictions, then those of missed annotations."""
        predictions, truths = self.arrays()
        found = match(predictions, truths)
        annotated = found.annotated(truths.label)
        codes = detection_codes(found.code, annotated, predictions.label, found.certain)
        return codes + missed_codes(truths.label[found.missed])


def _columns(rows: tuple[tuple[Box, int], ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes = np.array([box for box, _ in rows], dtype=float).reshape(-1, 4)
    return np.zeros(len(rows), dtype=np.int64), boxes, np.array([label for _, label in rows], dtype=np.int64)


OBJECT = (70, 30, 190, 120)

SCENES = {
    "a": Scene(((OBJECT, 3),), (((74, 26, 194, 116), 3),), "a predicted box right on an annotated one"),
    "a-class": Scene(((OBJECT, 3),), (((74, 26, 194, 116), 5),), "the same with another class"),
    "a-star": Scene(((OBJECT, 3),), (((104, 36, 218, 128), 3),), "an overlap just above the threshold"),
    "m": Scene(((OBJECT, 3),), (((122, 44, 236, 134), 3),), "a predicted box that overlaps an annotated one a little"),
    "sp": Scene(
        ((OBJECT, 3),),
        (((68, 54, 122, 122), 3), ((130, 32, 192, 100), 3)),
        "two predicted boxes inside one annotated box",
    ),
    "sg": Scene(
        (((40, 40, 118, 120), 3), ((134, 36, 214, 118), 3)),
        (((34, 30, 222, 126), 3),),
        "one predicted box around two annotated ones",
    ),
    "d": Scene(
        ((OBJECT, 3),),
        (((74, 26, 194, 116), 3), ((52, 36, 178, 134), 3)),
        "two predicted boxes on one annotated box",
    ),
    "on": Scene(
        (((40, 30, 150, 120), 3),),
        (((37, 27, 148, 116), 3), ((96, 54, 196, 142), 5)),
        "a predicted box that overlaps only another predicted box that has its annotation",
    ),
    "n": Scene(
        (((20, 30, 110, 110), 3),),
        (((24, 28, 112, 108), 3), ((160, 40, 235, 120), 5)),
        "a predicted box where nothing is annotated",
    ),
    "u": Scene(
        (((30, 24, 236, 128), -1),),
        (((100, 46, 190, 112), 3),),
        "a predicted box in a region to be ignored",
    ),
    "np": Scene(
        (((20, 30, 110, 110), 3), ((150, 40, 230, 120), 5)),
        (((24, 28, 112, 108), 3),),
        "an annotated box that no predicted box belongs to",
    ),
}  # fmt: skip
"""By the name of the picture's file."""


def draw(scene: Scene) -> str:
    """The scene as SVG: annotations in green, predictions dashed in orange and blue, their codes below."""
    found, codes = scene.match(), scene.codes()
    parts = [f'<path d="M0 {HEIGHT}H{WIDTH}" stroke="#c9cdd3"/>']
    for box, label in scene.truths:
        is_region = label < 0
        fill = ' fill-opacity="0.25"' if is_region else ' fill-opacity="0.10"'
        colour = REGION if is_region else ANNOTATED
        parts.append(_rect(box, colour, fill))
        parts.append(_text((box[0] + 5, box[1] + 17), "ignore" if is_region else f"class {label}", colour))
    for number, (box, label) in enumerate(scene.predictions):
        parts.append(_rect(box, PREDICTED[number], ' fill-opacity="0" stroke-dasharray="6 4"'))
        code = found.code[number] + ("" if found.certain[number] else "*")
        side, anchor = ((box[2] - 6, "end"), (box[0] + 6, "start"))[number]
        style = f'font-family="sans-serif" font-weight="bold" text-anchor="{anchor}"'
        parts.append(_text((side, box[3] - 7), f"{code} ({label})", PREDICTED[number], style))
    for line, code in enumerate(codes):
        colour = PREDICTED[line] if line < len(scene.predictions) else ANNOTATED
        parts.append(_text((8, HEIGHT + LINE * (line + 1) - 2), code, colour, 'font-family="monospace"'))
    height = HEIGHT + LINE * len(codes) + 6
    title = f"<title>{escape(scene.shows)}</title>"
    body = "\n".join(
        f"  {part}" for part in [title, f'<rect width="{WIDTH}" height="{height}" fill="#f6f7f9"/>', *parts]
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img">\n{body}\n</svg>\n'
    )


def _rect(box: Box, colour: str, more: str) -> str:
    x1, y1, x2, y2 = box
    return (
        f'<rect x="{x1}" y="{y1}" width="{x2 - x1}" height="{y2 - y1}" fill="{colour}" stroke="{colour}" '
        f'stroke-width="2.5"{more}/>'
    )


def _text(at: tuple[int, int], text: str, colour: str, style: str = 'font-family="sans-serif"') -> str:
    halo = 'stroke="#f6f7f9" stroke-width="3" paint-order="stroke"'
    return f'<text x="{at[0]}" y="{at[1]}" font-size="13" {style} fill="{colour}" {halo}>{escape(text)}</text>'


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, scene in SCENES.items():
        (FOLDER / f"det-{name}.svg").write_text(draw(scene))


if __name__ == "__main__":
    main()
