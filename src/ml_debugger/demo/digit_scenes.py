"""Data of the detection demo: handwritten digits painted on crops of photographs, all of it shipped with scikit-learn.

No package that the demo can ask for brings an annotated set of images, so the scenes are composed. What they are
composed of is real: 1,797 handwritten digits, and the two sample photographs (CC BY 2.0). Every scene is another one,
no digit of one part of the data is in another part, and halves of digits lie about that are no objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.types import IntArray

__all__ = ["N_CLASSES", "SIDE", "Scenes", "make_scenes"]

SIDE: Final = 128
N_CLASSES: Final = 10
_DIGITS: Final = (2, 7)
_FRAGMENTS: Final = (0, 2)
_SIZES: Final = (22, 46)
_TILT: Final = 15.0
_INK: Final = 0.5
_TRIES: Final = 30
_MOST_SHARED: Final = 0.2

Float32 = NDArray[np.float32]
Target = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Scenes:
    """Annotated images; ids are positions in these lists.

    Attributes:
        images: ``(N, 3, 128, 128)`` float32 in 0..1.
        targets: N dicts of ``boxes (G, 4)``, x1 y1 x2 y2 in pixels, and ``labels (G,)``, the digit shown.
        parts: Ids by the name of the part of the data that they belong to.
    """

    images: Float32
    targets: list[Target]
    parts: dict[str, list[int]]

    def annotations(self, ids: list[int]) -> list[Target]:
        """Targets of some ids."""
        return [self.targets[number] for number in ids]


def make_scenes(sizes: Mapping[str, int], seed: int) -> Scenes:
    """Compose scenes.

    Args:
        sizes: How many scenes each part of the data has, by name.
        seed: Chooses everything: the same seed gives the same scenes.
    """
    from sklearn.datasets import load_digits, load_sample_images

    bunch: Any = load_digits()
    digits, classes = (bunch.images / 16.0).astype(np.float32), bunch.target.astype(np.int64)
    photographs: list[Float32] = [
        one.astype(np.float32).transpose(2, 0, 1) / np.float32(255) for one in load_sample_images().images
    ]
    rng = np.random.default_rng(seed)
    own = np.array_split(rng.permutation(len(digits)), len(sizes))
    made: list[tuple[Float32, Target]] = []
    parts: dict[str, list[int]] = {}
    for (name, size), members in zip(sizes.items(), own, strict=True):
        parts[name] = list(range(len(made), len(made) + size))
        made += [_compose(digits[members], classes[members], photographs, rng) for _ in range(size)]
    return Scenes(np.stack([image for image, _ in made]), [target for _, target in made], parts)


def _compose(
    digits: Float32, classes: IntArray, photographs: list[Float32], rng: np.random.Generator
) -> tuple[Float32, Target]:
    """One scene and its annotations."""
    canvas = _background(photographs, rng)
    boxes: list[Float32] = []
    for _ in range(rng.integers(*_FRAGMENTS, endpoint=True)):
        shape = _halved(_drawn(digits[rng.integers(len(digits))], rng), rng)
        _place(canvas, shape, boxes, rng)
    n_fragments, labels = len(boxes), []
    for chosen in rng.choice(len(digits), rng.integers(*_DIGITS, endpoint=True), replace=False):
        if _place(canvas, _drawn(digits[chosen], rng), boxes, rng):
            labels.append(classes[chosen])
    canvas += rng.normal(0, 0.03, canvas.shape)
    there = np.array(boxes[n_fragments:], dtype=np.float32).reshape(-1, 4)
    target: Target = {"boxes": there, "labels": np.array(labels, dtype=np.int64)}
    return canvas.clip(0, 1).astype(np.float32), target


def _background(photographs: list[Float32], rng: np.random.Generator) -> Float32:
    """A crop of a photograph, pale enough for ink to show."""
    from scipy.ndimage import zoom

    photograph = photographs[rng.integers(len(photographs))]
    side = int(rng.integers(SIDE // 2, min(photograph.shape[1:])))
    top, left = (int(rng.integers(size - side + 1)) for size in photograph.shape[1:])
    crop = photograph[:, top : top + side, left : left + side]
    scaled = np.stack([zoom(channel, SIDE / side, order=1)[:SIDE, :SIDE] for channel in crop])
    return np.asarray(rng.uniform(0.15, 0.35) + rng.uniform(0.4, 0.7) * scaled, dtype=np.float32)


def _drawn(digit: Float32, rng: np.random.Generator) -> Float32:
    """``(h, w)`` how much ink each pixel has: the digit enlarged, turned a little, cut to what is inked."""
    from scipy.ndimage import rotate, zoom

    large = zoom(np.pad(digit, 2), rng.uniform(*_SIZES) / len(digit), order=3)
    turned = rotate(large, rng.uniform(-_TILT, _TILT), reshape=False, order=1)
    ink = ((turned - 0.25) / 0.35).clip(0, 1)
    rows, columns = (np.flatnonzero((ink > _INK).any(axis)) for axis in (1, 0))
    return np.asarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def _halved(ink: Float32, rng: np.random.Generator) -> Float32:
    """A part of a digit that is none any more."""
    height, width = ink.shape
    halves = (ink[: height // 2], ink[-(height // 2) :], ink[:, : width // 2], ink[:, -(width // 2) :])
    return halves[rng.integers(len(halves))]


def _place(canvas: Float32, ink: Float32, boxes: list[Float32], rng: np.random.Generator) -> bool:
    """Paint ink where it covers little of what is there, add its box, and say whether there was room."""
    height, width = ink.shape
    if not min(height, width) or max(height, width) >= SIDE:
        return False
    for _ in range(_TRIES):
        x, y = int(rng.integers(SIDE - width)), int(rng.integers(SIDE - height))
        box = np.array([x, y, x + width, y + height], dtype=np.float32)
        if all(_shared(box, other) <= _MOST_SHARED for other in boxes):
            break
    else:
        return False
    under = canvas[:, y : y + height, x : x + width]
    light = under.mean() < 0.5
    colour = rng.uniform(0.75, 1.0, 3) if light else rng.uniform(0.0, 0.25, 3)
    under += ink * rng.uniform(0.7, 1.0) * (colour[:, None, None] - under)
    boxes.append(box)
    return True


def _shared(one: Float32, other: Float32) -> float:
    """The part of the smaller box that lies in the other."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    areas = [float((box[2:] - box[:2]).prod()) for box in (one, other)]
    return float(sides.clip(0).prod()) / min(areas)
