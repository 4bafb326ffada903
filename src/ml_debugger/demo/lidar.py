"""A spinning LiDAR that looks at a scene of simple solids: which ray meets what first, and which comes back.

The sensor is that of KITTI, a Velodyne HDL-64E 1.73 m above the road: 64 rings, the upper half a third of a degree
apart from +2 degrees down, the lower half half a degree; 0.17 degrees from ray to ray, of which those of a camera's
field are kept. Each ray ends at the first solid, or on the ground. It goes on through leaves, wires and glass with the
chance that the solid gives, and comes back the less likely the darker, the farther and the more aslant the surface is.
A return has 2 cm of noise along its ray, so that points lie on rings as those of a sensor do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["GROUND", "SENSOR_HEIGHT", "Lidar", "Scan", "Solids", "Surface"]

Float64 = NDArray[np.float64]
Surface = Callable[[Float64, Float64], Float64]
"""Height of the ground at x and y, in metres above the sensor: below 0."""

SENSOR_HEIGHT: Final = 1.73
GROUND: Final = -1
NOTHING: Final = -2

_UPPER: Final = np.linspace(2.0, -8.33, 32)
_LOWER: Final = np.linspace(-8.83, -24.33, 32)
_STEP: Final = 0.1728
_LOST: Final = 0.03
_POWER: Final = 6.0
_REACH: Final = 80.0
_NOISE: Final = 0.02
_GROUND_REFLECTS: Final = 0.25
_ROUNDS: Final = 2
_ON_GROUND: Final = 0.1
_NEAREST: Final = 0.5


@dataclass(frozen=True, slots=True)
class Solids:
    """S upright boxes and ellipsoids.

    Attributes:
        boxes: ``(S, 7)`` centre, sizes and yaw.
        is_round: ``(S,)`` whether one is the ellipsoid within its box.
        reflects: ``(S,)`` 0..1, how bright it is.
        lets_through: ``(S,)`` 0..1, chance that a ray goes on through it.
    """

    boxes: Float64
    is_round: NDArray[np.bool_]
    reflects: Float64
    lets_through: Float64


@dataclass(frozen=True, slots=True)
class Scan:
    """What one turn of the sensor gives.

    Attributes:
        points: ``(N, 4)`` float32, x y z in metres and the strength of the return in 0..1.
        solid: ``(N,)`` int64, position of the solid that each point lies on, -1 for the ground.
    """

    points: NDArray[np.float32]
    solid: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Rays:
    """``(R, A)`` rays: how far each goes, what it meets there, and how squarely."""

    depth: Float64
    solid: NDArray[np.int64]
    facing: Float64


class Lidar:
    """The sensor.

    Args:
        field: Degrees to either side of straight on that are kept; 180 for a whole turn.
    """

    def __init__(self, field: float = 41.0) -> None:
        self.elevation: Float64 = np.radians(np.concatenate([_UPPER, _LOWER]))
        count = int(2 * field / _STEP)
        self.azimuth: Float64 = np.radians((np.arange(count) - (count - 1) / 2) * _STEP)

    def scan(self, solids: Solids, ground: Surface, rng: np.random.Generator) -> Scan:
        """One turn in front of some solids; ``rng`` decides what is lost, and the noise."""
        azimuth = self.azimuth + np.radians(_STEP) * rng.uniform(-0.5, 0.5)
        flat = np.cos(self.elevation)[:, None]
        up = np.broadcast_to(np.sin(self.elevation)[:, None], (len(self.elevation), len(azimuth)))
        directions = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), up], axis=-1)
        rays = _to_ground(directions, ground)
        for place in range(len(solids.boxes)):
            window = self._window(solids.boxes[place], azimuth)
            if window is not None:
                _meet(rays, directions, window, (solids, place), rng)
        return _returns(rays, directions, solids, rng)

    def _window(self, box: Float64, azimuth: Float64) -> tuple[slice, slice] | None:
        """The rings and columns that may meet a box; None where it is aside."""
        radius, distance = np.hypot(box[3], box[4]) / 2, np.hypot(box[0], box[1])
        near = distance - radius
        if near < _NEAREST:
            return slice(0, len(self.elevation)), slice(0, len(azimuth))
        half, middle = np.arcsin(radius / distance), np.arctan2(box[1], box[0])
        columns = slice(*np.searchsorted(azimuth, (middle - half, middle + half)))
        low, high = box[2] - box[5] / 2, box[2] + box[5] / 2
        edges = [np.arctan2(z, reach) for z in (low, high) for reach in (near, distance + radius)]
        rings = slice(*np.searchsorted(-self.elevation, (-max(edges), -min(edges))))
        return (rings, columns) if rings.start < rings.stop and columns.start < columns.stop else None


def _to_ground(directions: Float64, ground: Surface) -> _Rays:
    """Where rays meet the ground when nothing is in their way, by the secant method from the foot of the sensor on."""
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    down = np.maximum(-z, 1e-3)
    before, depth = np.zeros_like(down), np.minimum(SENSOR_HEIGHT / down, _REACH)
    above, under = np.full_like(down, float(ground(np.zeros(1), np.zeros(1))[0])), _under(ground, x, y, down, depth)
    for _ in range(_ROUNDS):
        apart = under - above
        step = under * (depth - before) / np.where(apart == 0, np.inf, apart)
        before, above, depth = depth, under, np.clip(depth - step, _NEAREST, _REACH)
        under = _under(ground, x, y, down, depth)
    there = (z < 0) & (depth < _REACH) & (np.abs(under) < _ON_GROUND)
    return _Rays(np.where(there, depth, np.inf), np.where(there, GROUND, NOTHING), np.where(there, down, 0.0))


def _under(ground: Surface, x: Float64, y: Float64, down: Float64, depth: Float64) -> Float64:
    """How far rays are under the ground at some depth, in metres."""
    return ground(x * depth, y * depth) + down * depth


def _meet(
    rays: _Rays,
    directions: Float64,
    window: tuple[slice, slice],
    which: tuple[Solids, int],
    rng: np.random.Generator,
) -> None:
    """End the rays of a window on a solid where it is nearer than what they end on so far."""
    solids, place = which
    x, y, z, dx, dy, dz, yaw = solids.boxes[place]
    part = directions[window]
    cos, sin = np.cos(yaw), np.sin(yaw)
    along = np.stack(
        [part[..., 0] * cos + part[..., 1] * sin, part[..., 1] * cos - part[..., 0] * sin, part[..., 2]], -1
    )
    start = -np.array([x * cos + y * sin, y * cos - x * sin, z])
    half = np.array([dx, dy, dz]) / 2
    first, last, facing = _ellipsoid(along, start, half) if solids.is_round[place] else _slabs(along, start, half)
    meets = (first < last) & (first > _NEAREST)
    through = solids.lets_through[place]
    if through:
        meets &= rng.random(meets.shape) > through
        first = first + rng.random(meets.shape) * np.minimum(last - first, 0.5) * through  # leaves are met anywhere
    depth = rays.depth[window]
    nearer = meets & (first < depth)
    depth[nearer] = first[nearer]
    rays.solid[window][nearer] = place
    rays.facing[window][nearer] = facing[nearer]


def _slabs(along: Float64, start: Float64, half: Float64) -> tuple[Float64, Float64, Float64]:
    """Where rays enter and leave a box around 0, and how squarely they meet it; they enter after leaving if apart."""
    steps = np.where(np.abs(along) < 1e-9, 1e-9, along)
    one, other = (-half - start) / steps, (half - start) / steps
    enters, leaves = np.minimum(one, other), np.maximum(one, other)
    side = enters.argmax(axis=-1)
    facing = np.abs(np.take_along_axis(along, side[..., None], axis=-1))[..., 0]
    return enters.max(axis=-1), leaves.min(axis=-1), facing


def _ellipsoid(along: Float64, start: Float64, half: Float64) -> tuple[Float64, Float64, Float64]:
    """The same for the ellipsoid within that box."""
    unit, origin = along / half, start / half
    a, b = (unit**2).sum(axis=-1), (unit * origin).sum(axis=-1)
    inside = b**2 - a * ((origin**2).sum() - 1.0)
    root = np.sqrt(np.maximum(inside, 0.0))
    first, last = (-b - root) / a, (-b + root) / a
    normal = (origin + unit * first[..., None]) / half
    facing = np.abs((normal * along).sum(axis=-1)) / np.maximum(np.linalg.norm(normal, axis=-1), 1e-9)
    return first, np.where(inside > 0, last, first), facing


def _returns(rays: _Rays, directions: Float64, solids: Solids, rng: np.random.Generator) -> Scan:
    """The rays that come back, as points."""
    reflects = np.append(solids.reflects, [0.0, _GROUND_REFLECTS])[rays.solid]  # the last stand for -2 and -1
    known = np.where(np.isfinite(rays.depth), rays.depth, _REACH)
    strength = reflects * np.sqrt(rays.facing)
    comes = 1.0 - np.exp(-_POWER * strength * (_REACH / known) ** 2)
    back = (rays.solid != NOTHING) & (known < _REACH) & (rng.random(known.shape) < comes * (1.0 - _LOST))
    depth = known[back] + rng.normal(0.0, _NOISE, int(back.sum()))
    seen = np.clip(strength[back] * rng.uniform(0.8, 1.2, len(depth)), 0.0, 1.0)
    points: NDArray[Any] = np.concatenate([directions[back] * depth[:, None], seen[:, None]], axis=1)
    return Scan(points.astype(np.float32), rays.solid[back])
