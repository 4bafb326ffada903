"""Point clouds of frames, and how many there are, from whatever a detector of point clouds takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.arrays import is_array, shape_of, to_float32
from ml_debugger.adapters.detection.images import IMAGE_NAMES
from ml_debugger.errors import InputError

__all__ = ["count_frames", "frame_points"]

Float32 = NDArray[np.float32]

TABLE_AXES: Final = 2
POINT_NAMES: Final = ("inputs", "points")
POINT_WIDTHS: Final = range(3, 17)
"""Numbers of a point: x y z, and what a sensor adds; a table of another width holds something else."""


def count_frames(model_input: Any) -> int | None:
    """How many frames are in the input of a model; None where it cannot be told. See `frame_points`.

    Raises:
        InputError: If a dict contradicts itself, or says that it holds a number of frames that cannot be right.
    """
    frames = _frames_of(model_input)
    return None if frames is None else len(frames)


def frame_points(model_input: Any, n_inputs: int) -> list[Float32 | None]:
    """The points of each of B frames, ``(N, 3)`` x y z in metres; None where they cannot be told.

    Read are: points ``(N, 3..16)`` of one frame or ``(B, N, 3..16)`` of a batch; a list with one entry per frame; a
    dict with ``points`` of one frame, a batch or a list, also under ``inputs`` (mmdetection3d); and OpenPCDet's batch,
    a dict with ``batch_size`` whose ``points (N, 1 + C)`` start with the position in the batch. One table for several
    frames is read so too, without a ``batch_size``, if its first column holds such positions. A list as the input of a
    single frame may be anything, such as the sweeps of a sensor.

    Raises:
        InputError: If the input plainly holds another number of frames than there are ids.
    """
    frames = _frames_of(model_input)
    table = _one_table(model_input)
    if table is not None and n_inputs > 1:
        frames = _numbered(table, n_inputs)
    if frames is None or (len(frames) != n_inputs and _may_mean_another(model_input, frames, n_inputs)):
        return [None] * n_inputs
    if len(frames) != n_inputs:
        raise InputError(
            f"input_ids: {n_inputs} ids were given, but the model's input holds {len(frames)} frames; give one id per "
            "frame of the batch"
        )
    return [None if points is None else _copied(points) for points in frames]


def _copied(points: Any) -> Float32:
    """``(N, 3)``, copied column by column: far quicker than three numbers of each point."""
    if isinstance(points, np.ndarray) and points.dtype.kind in "iuf":
        return np.array(points.T, dtype=np.float32, order="C").T
    return np.stack([to_float32(points[:, axis]) for axis in range(3)]).T


def _one_table(model_input: Any) -> Any | None:
    """The one table of all points in an input that does not say how many frames they are of."""
    if isinstance(model_input, Mapping):
        name = next((name for name in POINT_NAMES if name in model_input), None)
        return None if name is None or "batch_size" in model_input else _one_table(model_input[name])
    table = _table(model_input)
    return table if table is not None and len(shape_of(table)) == TABLE_AXES else None


def _numbered(table: Any, n_inputs: int) -> Sequence[Any] | None:
    """The points of a table whose first column says which of B frames each is of; None where it does not."""
    if shape_of(table)[1] - 1 not in POINT_WIDTHS:
        return None
    rows = to_float32(table[:, :4])
    return _split(rows, n_inputs) if _are_positions(rows[:, 0], n_inputs) else None


def _are_positions(column: Float32, size: int) -> bool:
    return bool(((column >= 0) & (column < size) & (column == np.floor(column))).all())


def _split(rows: Float32, size: int) -> Sequence[Float32]:
    """Points by the position in their first column."""
    return [rows[rows[:, 0] == position, 1:] for position in range(size)]


def _may_mean_another(model_input: Any, frames: Sequence[Any], n_inputs: int) -> bool:
    """Whether the number of frames is a guess: parts of a single frame in a list, or pictures of several cameras."""
    if isinstance(model_input, Mapping):
        return "batch_size" not in model_input and all(points is None for points in frames)
    return n_inputs == 1 and isinstance(model_input, list | tuple)


def _frames_of(model_input: Any) -> Sequence[Any] | None:
    """One entry per frame, ``(N, 3)`` points or None; None where it cannot be told how many there are."""
    if isinstance(model_input, Mapping):
        return _frames_of_dict(model_input)
    if isinstance(model_input, list | tuple):
        found = [_frames_of(entry) for entry in model_input]
        frames = [one[0] for one in found if one is not None and len(one) == 1]
        return frames if len(frames) == len(found) else None
    table = _table(model_input)
    if table is None:
        return None
    shape = shape_of(table)
    if len(shape) in (2, 3) and shape[-1] in POINT_WIDTHS:
        return [table[:, :3]] if len(shape) == 2 else [points[:, :3] for points in table]
    return None


def _frames_of_dict(model_input: Mapping[str, Any]) -> Sequence[Any] | None:
    if "batch_size" in model_input:
        return _frames_of_batch(model_input)
    name = next((name for name in POINT_NAMES if name in model_input), None)
    found = None if name is None else _frames_of(model_input[name])
    if found is None and isinstance(model_input.get("data_samples"), list | tuple):
        return [None] * len(model_input["data_samples"])
    return _frames_of_images(model_input) if name is None else found


def _frames_of_images(model_input: Mapping[str, Any]) -> Sequence[Any] | None:
    """Of cameras alone: a list or a batch of images, or one ``(C, H, W)``."""
    image = next((model_input[name] for name in IMAGE_NAMES if name in model_input), None)
    if isinstance(image, list | tuple):
        return [None] * len(image)
    shape = shape_of(image) if is_array(image) else ()
    return [None] * (1 if len(shape) == 3 else shape[0]) if len(shape) >= 3 else None


def _frames_of_batch(model_input: Mapping[str, Any]) -> Sequence[Any]:
    """Of OpenPCDet's batch, whose points of all frames lie in one table."""
    given = model_input["batch_size"]
    size = given.item() if hasattr(given, "item") else given
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InputError(f"model_input: expected batch_size, the number of frames, as an int, got {given!r}")
    table = _table(model_input.get("points"))
    if table is None or len(shape_of(table)) != 2 or shape_of(table)[1] - 1 not in POINT_WIDTHS:
        return [None] * size
    rows = to_float32(table[:, :4])
    frame = rows[:, 0]
    if not _are_positions(frame, size):
        raise InputError(
            f"model_input: expected points (N, 1 + C) whose first column is the position in the batch, 0..{size - 1}, "
            f"got {frame.min():g} to {frame.max():g}; leave batch_size out where points are those of one frame"
        )
    return _split(rows, size)


def _table(value: Any) -> Any | None:
    """An array, also of mmdetection3d's points, which are objects around one."""
    inner = getattr(value, "tensor", None)
    return value if is_array(value) else inner if is_array(inner) else None
