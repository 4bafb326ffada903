"""Data of the 3D detection demo: streets seen by a LiDAR, with annotated cars, pedestrians and cyclists.

No package that the demo can ask for brings LiDAR frames, so streets are laid out at random and scanned by ray casting,
see `ml_debugger.demo.lidar`. A street has lanes with kerbs on ground that is not quite flat, cars parked and driving,
people and cyclists of the sizes they have in KITTI, and much that is annotated as nothing: walls, trees, hedges, poles,
bins, vans, parked bicycles. Things stand in each other's way. What fewer than five rays
meet is annotated to be ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes_3d import shared_areas
from ml_debugger.demo.lidar import SENSOR_HEIGHT, Lidar, Solids, Surface

__all__ = ["CLASS_NAMES", "PC_RANGE", "Streets", "make_streets"]

CLASS_NAMES: Final = ("Car", "Pedestrian", "Cyclist")
PC_RANGE: Final = (0.0, -25.6, -3.0, 51.2, 25.6, 1.0)
"""Where objects are, and where the detector looks: least x y z, greatest x y z, in metres from the sensor."""

SIZES: Final = ((3.9, 1.63, 1.52), (0.8, 0.6, 1.74), (1.76, 0.6, 1.74))
"""Mean length, width and height of each class in metres, as in KITTI."""

_SPREAD: Final = ((0.42, 0.1, 0.12), (0.12, 0.08, 0.12), (0.12, 0.08, 0.1))
_LEAST_POINTS: Final = 5
_TRIES: Final = 12
_APART: Final = 0.35
_MARGIN: Final = 1.0

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Target = dict[str, NDArray[Any]]
Part = tuple[tuple[float, float, float], tuple[float, float, float], bool, float, float]
"""A solid in the axes of a thing of length, width and height 1 that stands on 0: middle, sizes, round, bright, open."""


@dataclass(frozen=True, slots=True)
class Streets:
    """Annotated frames; ids are positions in these lists.

    Attributes:
        frames: N of ``(P, 4)`` float32, x y z in metres from the sensor (x forward, z up) and strength in 0..1.
        targets: N dicts of ``boxes (G, 7)``, ``labels (G,)``, positions in `CLASS_NAMES`, and ``ignore (G,)`` bool.
        parts: Ids by the name of the part of the data that they belong to.
    """

    frames: list[Float32]
    targets: list[Target]
    parts: dict[str, list[int]]

    def annotations(self, ids: list[int]) -> list[Target]:
        """Targets of some ids."""
        return [self.targets[number] for number in ids]


def make_streets(
    sizes: Mapping[str, int], seed: int, shown: Callable[[Iterable[int]], Iterable[int]] = lambda numbers: numbers
) -> Streets:
    """Lay out streets and scan them.

    Args:
        sizes: How many streets each part of the data has, by name.
        seed: Chooses everything: the same seed gives the same streets.
        shown: Wraps the numbers of the streets, for a progress bar.
    """
    lidar, rng = Lidar(), np.random.default_rng(seed)
    made = [_seen(_lay_out(rng), lidar, rng) for _ in shown(range(sum(sizes.values())))]
    ends = np.cumsum(list(sizes.values())).tolist()
    parts = {name: list(range(end - size, end)) for (name, size), end in zip(sizes.items(), ends, strict=True)}
    return Streets([frame for frame, _ in made], [target for _, target in made], parts)


@dataclass(slots=True)
class _Street:
    """One street while it is laid out: its axes, its ground, and the things on it."""

    yaw: float
    shift: float
    half_width: float
    ground: Surface
    boxes: list[Float64] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    solids: list[tuple[int, Float64, Part]] = field(default_factory=list)

    def add(self, label: int, box: Float64, parts: list[Part]) -> None:
        """A thing with the box ``(7,)``, standing on the ground; -1 is the label of what is not annotated."""
        box[2] = self.ground(box[0], box[1]) + box[5] / 2
        self.solids += [(len(self.boxes), _solid(box, part), part) for part in parts]
        self.boxes.append(box)
        self.labels.append(label)

    def at(self, along: float, across: float, turn: float, sizes: Float64) -> Float64:
        """``(7,)`` a box by where it is along and across the street."""
        cos, sin, side = np.cos(self.yaw), np.sin(self.yaw), across + self.shift
        return np.array([along * cos - side * sin, along * sin + side * cos, 0.0, *sizes, self.yaw + turn])

    def has_room(self, box: Float64) -> bool:
        """Whether a thing is within range, off the sensor, and apart from all others."""
        low, high = np.array(PC_RANGE[:2]) + _MARGIN, np.array(PC_RANGE[3:5]) - _MARGIN
        radius = np.hypot(box[3], box[4]) / 2
        if ((box[:2] < low) | (box[:2] > high)).any() or np.hypot(box[0], box[1]) < 3.0 + radius:
            return False
        others = np.array(self.boxes).reshape(-1, 7)
        reach = radius + _APART + np.hypot(others[:, 3], others[:, 4]) / 2
        others = others[np.hypot(others[:, 0] - box[0], others[:, 1] - box[1]) < reach]
        grown = box + np.array([0, 0, 0, _APART, _APART, 0, 0])
        return not len(others) or not shared_areas(np.broadcast_to(grown, others.shape), others).any()


def _solid(box: Float64, part: Part) -> Float64:
    """``(7,)`` a part of a thing with a box, in metres."""
    (along, across, up), sizes, *_ = part
    cos, sin = np.cos(box[6]), np.sin(box[6])
    x, y = along * box[3], across * box[4]
    bottom = box[2] - box[5] / 2
    centre = [box[0] + x * cos - y * sin, box[1] + x * sin + y * cos, bottom + up * box[5]]
    return np.array([*centre, *(box[3:6] * sizes), box[6]])


def _lay_out(rng: np.random.Generator) -> _Street:
    half_width = rng.uniform(3.0, 6.5)
    yaw, shift = rng.normal(0, 0.08), rng.uniform(-0.5, 0.5) * half_width
    street = _Street(yaw, shift, half_width, _ground(yaw, shift, half_width, rng))
    _add_surroundings(street, rng)
    _add_cars(street, rng)
    walk = half_width + rng.uniform(1.2, 3.0)
    for label, mean, turned in ((1, rng.choice([0.5, 2.5, 6.0]), False), (2, rng.choice([0.5, 3.0]), True)):
        for _ in range(rng.poisson(mean)):
            side = rng.choice([-1, 1]) * (walk if rng.random() < 0.7 else rng.uniform(0, half_width))
            turn = rng.choice([0, np.pi]) + rng.normal(0, 0.3) if turned else rng.uniform(-np.pi, np.pi)
            _try(street, label, _beside(rng.uniform(5, 42), side, turn, (3.0, 0.8)), rng)
    _add_clutter(street, walk, rng)
    return street


def _ground(yaw: float, shift: float, half_width: float, rng: np.random.Generator) -> Surface:
    """Ground that slopes and swells a little, with kerbs."""
    slope_x, slope_y = rng.normal(0, 0.008, 2)
    waves = [(rng.uniform(0, 0.05), *rng.uniform(0.08, 0.3, 2), rng.uniform(0, 6.3)) for _ in range(2)]
    kerb, cos, sin = rng.uniform(0, 0.16), np.cos(yaw), np.sin(yaw)

    def height(x: Float64, y: Float64) -> Float64:
        across = np.abs(y * cos - x * sin - shift) - half_width
        swell = sum(high * np.sin(x * kx + y * ky + phase) for high, kx, ky, phase in waves)
        return np.asarray(slope_x * x + slope_y * y + swell + kerb * np.clip(across / 0.2, 0, 1) - SENSOR_HEIGHT)

    return height


Place = Callable[[_Street, Float64, np.random.Generator], Float64]


def _beside(
    along: float,
    across: float,
    turn: float,
    spread: tuple[float, float],
) -> Place:
    """Boxes near a place along and across the street, up to a spread along and across."""

    def place(street: _Street, sizes: Float64, rng: np.random.Generator) -> Float64:
        return street.at(along + rng.normal(0, spread[0]), across + rng.normal(0, spread[1]), turn, sizes)

    return place


def _try(street: _Street, label: int, place: Place, rng: np.random.Generator) -> None:
    """Add an object of a class where there is room, of a size that the class may have."""
    sizes = np.array(SIZES[label]) + np.clip(rng.normal(0, 1, 3), -2, 2) * _SPREAD[label]
    for _ in range(_TRIES):
        box = place(street, sizes, rng)
        if street.has_room(box):
            street.add(label, box, _PARTS[label](rng))
            return


def _add_cars(street: _Street, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        parked = rng.random() < 0.6
        along, turn = rng.uniform(4, 9), rng.choice([0, np.pi])
        while parked and along < 50:
            if rng.random() < 0.6:
                across = side * (street.half_width - rng.uniform(0.8, 1.3))
                _try(street, 0, _beside(along, across, turn + rng.normal(0, 0.05), (0.2, 0.1)), rng)
            along += rng.uniform(5.0, 8.0)
    for _ in range(rng.poisson(2.5)):
        side = rng.choice([-1, 1])
        turn, across = (0.0 if side < 0 else np.pi), side * street.half_width / 2
        if rng.random() < 0.35:
            turn, across = rng.uniform(-np.pi, np.pi), rng.uniform(-18, 18)
        _try(street, 0, _beside(rng.uniform(6, 48), across, turn + rng.normal(0, 0.06), (3.0, 0.4)), rng)


def _add_surroundings(street: _Street, rng: np.random.Generator) -> None:
    """Walls and hedges on either side, and gaps between them."""
    for side in (-1, 1):
        across = side * (street.half_width + rng.uniform(3.5, 12.0))
        along = rng.uniform(0, 15)
        while along < 70 and rng.random() < 0.9:
            length, hedge = rng.uniform(5, 22), rng.random() < 0.3
            sizes = np.array([length, rng.uniform(0.4, 1.5), rng.uniform(0.8, 2.0) if hedge else rng.uniform(2.5, 9)])
            box = street.at(along + length / 2, across + rng.normal(0, 0.5), rng.normal(0, 0.03), sizes)
            street.add(-1, box, [_whole(is_round=False, bright=rng.uniform(0.1, 0.6), opening=0.3 if hedge else 0.0)])
            along += length + rng.exponential(5)


def _add_clutter(street: _Street, walk: float, rng: np.random.Generator) -> None:
    """What stands about and may be taken for an object."""
    for _ in range(rng.poisson(9)):
        sizes, parts = _CLUTTER[rng.integers(len(_CLUTTER))](rng)
        across = rng.choice([-1, 1]) * (walk + rng.uniform(-0.8, 5.0))
        turn = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.2)
        place = _beside(rng.uniform(5, 49), across, turn, (3.0, 0.5))
        for _ in range(_TRIES):
            box = place(street, np.array(sizes), rng)
            if street.has_room(box):
                street.add(-1, box, parts)
                break


def _seen(street: _Street, lidar: Lidar, rng: np.random.Generator) -> tuple[Float32, Target]:
    """The points of a street and the boxes of its objects; what no ray meets is not known of."""
    boxes = np.array([box for _, box, _ in street.solids])
    is_round, bright, opening = (
        np.array(list(column)) for column in zip(*(p[2:] for *_, p in street.solids), strict=True)
    )
    scan = lidar.scan(Solids(boxes, is_round, bright, opening), street.ground, rng)
    owner = np.append([thing for thing, *_ in street.solids], -1)[scan.solid]
    n_points = np.bincount(owner[owner >= 0], minlength=len(street.boxes))
    labels = np.array(street.labels)
    known = np.flatnonzero((labels >= 0) & (n_points > 0))
    target: Target = {
        "boxes": np.array(street.boxes)[known].astype(np.float32),
        "labels": labels[known].astype(np.int64),
        "ignore": n_points[known] < _LEAST_POINTS,
    }
    return scan.points, target


def _whole(*, is_round: bool, bright: float, opening: float = 0.0) -> Part:
    return (0.0, 0.0, 0.5), (1.0, 1.0, 1.0), is_round, bright, opening


def _car(rng: np.random.Generator) -> list[Part]:
    """A body and a cabin that narrows; glass lets most rays through."""
    paint, back, roof = rng.choice([0.04, 0.15, 0.4, 0.7]), rng.uniform(-0.16, -0.02), rng.uniform(0.35, 0.55)
    return [
        ((0.0, 0.0, 0.4), (0.96, 0.97, 0.44), False, paint, 0.0),
        ((0.0, 0.0, 0.32), (1.0, 0.9, 0.2), False, paint, 0.0),
        ((-0.31, 0.0, 0.12), (0.16, 0.96, 0.24), False, 0.05, 0.0),
        ((0.31, 0.0, 0.12), (0.16, 0.96, 0.24), False, 0.05, 0.0),
        ((back, 0.0, 0.72), (roof + 0.14, 0.88, 0.24), False, 0.1, 0.6),
        ((back, 0.0, 0.92), (roof, 0.78, 0.16), False, paint, 0.15),
    ]


def _pedestrian(rng: np.random.Generator) -> list[Part]:
    cloth, step = rng.uniform(0.08, 0.6), rng.uniform(0.0, 0.28)
    return [
        ((step, 0.16, 0.24), (0.22, 0.26, 0.5), True, cloth, 0.0),
        ((-step, -0.16, 0.24), (0.22, 0.26, 0.5), True, cloth, 0.0),
        ((0.0, 0.0, 0.64), (0.36, 0.85, 0.46), True, cloth, 0.0),
        ((step / 2, 0.42, 0.6), (0.2, 0.16, 0.36), True, cloth, 0.0),
        ((-step / 2, -0.42, 0.6), (0.2, 0.16, 0.36), True, cloth, 0.0),
        ((0.02, 0.0, 0.93), (0.26, 0.28, 0.14), True, 0.4, 0.0),
    ]


def _bicycle(rng: np.random.Generator) -> list[Part]:
    return [
        ((-0.31, 0.0, 0.2), (0.38, 0.1, 0.39), True, 0.3, 0.45),
        ((0.31, 0.0, 0.2), (0.38, 0.1, 0.39), True, 0.3, 0.45),
        ((0.0, 0.0, 0.38), (0.5, 0.12, 0.22), False, rng.uniform(0.1, 0.5), 0.6),
        ((0.25, 0.0, 0.58), (0.05, 0.8, 0.04), False, 0.3, 0.2),
    ]


def _cyclist(rng: np.random.Generator) -> list[Part]:
    cloth = rng.uniform(0.08, 0.6)
    return [
        *_bicycle(rng),
        ((-0.02, 0.2, 0.35), (0.2, 0.24, 0.4), True, cloth, 0.0),
        ((-0.02, -0.2, 0.35), (0.2, 0.24, 0.4), True, cloth, 0.0),
        ((-0.03, 0.0, 0.7), (0.28, 0.8, 0.4), True, cloth, 0.0),
        ((0.12, 0.0, 0.72), (0.3, 0.9, 0.12), True, cloth, 0.2),
        ((0.05, 0.0, 0.94), (0.13, 0.32, 0.14), True, 0.4, 0.0),
    ]


_PARTS: Final = (_car, _pedestrian, _cyclist)

Thing = tuple[tuple[float, float, float], list[Part]]


def _pole(rng: np.random.Generator) -> Thing:
    width = rng.uniform(0.08, 0.3)
    return (width, width, rng.uniform(1.0, 6.0)), [_whole(is_round=False, bright=0.3)]


def _tree(rng: np.random.Generator) -> Thing:
    crown, tall, trunk = rng.uniform(1.5, 4.0), rng.uniform(4.0, 8.0), rng.uniform(0.05, 0.15)
    parts: list[Part] = [
        ((0.0, 0.0, 0.3), (trunk, trunk, 0.6), False, 0.2, 0.0),
        ((0.0, 0.0, 0.7), (1.0, 1.0, 0.6), True, 0.3, 0.6),
    ]
    return (crown, crown, tall), parts


def _bush(rng: np.random.Generator) -> Thing:
    wide, long = rng.uniform(0.5, 2.2, 2)
    return (long, wide, rng.uniform(0.7, 2.0)), [_whole(is_round=True, bright=0.3, opening=0.4)]


def _bin(rng: np.random.Generator) -> Thing:
    return tuple(rng.uniform((0.4, 0.4, 0.8), (1.0, 0.9, 1.5))), [_whole(is_round=False, bright=0.3)]


def _van(rng: np.random.Generator) -> Thing:
    """A van is no car, and as in KITTI it looks much like one."""
    parts: list[Part] = [
        ((0.0, 0.0, 0.3), (1.0, 0.97, 0.4), False, 0.3, 0.0),
        ((-0.1, 0.0, 0.72), (0.8, 0.95, 0.56), False, 0.3, 0.05),
    ]
    return tuple(rng.uniform((4.4, 1.75, 1.95), (5.6, 2.0, 2.4))), parts


def _parked_bicycle(rng: np.random.Generator) -> Thing:
    return tuple(rng.uniform((1.6, 0.5, 1.6), (1.9, 0.7, 1.8))), _bicycle(rng)


_CLUTTER: Final = (_pole, _tree, _bush, _bin, _van, _parked_bicycle)
