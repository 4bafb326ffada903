"""The point clouds of examples: arrays, files, or what a detector takes for a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import InputError, NotFoundError
from ml_debugger.presentation.example_sources import Source, SourceKind, found_by_id

__all__ = ["frame_reader"]

Float32 = NDArray[np.float32]

_FRAMES: Final = SourceKind("frames", "points", (".pcd.bin", ".bin", ".npy"))
_KITTI_WIDTH: Final = 4
_NUSCENES_WIDTH: Final = 5  # of files that end in .pcd.bin
_FORMS: Final = (
    "points (N, 3) or wider, x y z first, as an array, a file (.npy, .bin as KITTI's, .pcd.bin as nuScenes') or a dict "
    "with points"
)
_KEYS: Final = ("inputs", "points")


def frame_reader(frames: Source) -> Callable[[int | str], Float32]:
    """A function from an input id to the points of its frame, ``(N, 3)`` x y z.

    Raises:
        InputError: If ``frames`` is no folder, mapping or function. The function raises it where there is something
            else than points, and NotFoundError where there is nothing.
    """
    find = found_by_id(frames, _FRAMES)
    return lambda input_id: _points(find(input_id), input_id)


def _points(found: Any, input_id: int | str) -> Float32:
    if isinstance(found, (str, Path)):
        return _from_array(_from_file(Path(found), input_id), input_id)
    if isinstance(found, Mapping):
        return _points_of_input(found, input_id)
    if isinstance(found, (list, tuple)) and len(found) == 1:  # a batch of this frame alone
        return _points(found[0], input_id)
    return _from_array(getattr(found, "tensor", found), input_id)  # mmdetection3d's points are objects around a tensor


def _points_of_input(found: Mapping[str, Any], input_id: int | str) -> Float32:
    """Of what a detector takes for the frame: a dict of one frame, or of a batch that holds this frame alone."""
    name = next((name for name in _KEYS if name in found), None)
    if name is None:
        raise _unknown(input_id, f"a dict with the keys {sorted(map(str, found))}")
    if "batch_size" not in found:
        return _points(found[name], input_id)
    if found["batch_size"] != 1:
        raise _unknown(input_id, f"a batch of {found['batch_size']} frames")
    return _from_array(found[name][:, 1:], input_id)  # the first column is the position in the batch


def _from_file(path: Path, input_id: int | str) -> NDArray[Any]:
    name = path.name.lower()
    try:
        if name.endswith(".npy"):
            values: NDArray[Any] = np.load(path, allow_pickle=False)
            return values
        if not name.endswith(".bin"):
            raise _unknown(input_id, f"the file {path}")
        values = np.fromfile(path, dtype="<f4")
    except FileNotFoundError:
        raise NotFoundError(f"frames: there is no file {path} for input_id {input_id!r}") from None
    except (ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"frames: {path} of input_id {input_id!r} cannot be read as points ({error})") from None
    width = _NUSCENES_WIDTH if name.endswith(".pcd.bin") else _KITTI_WIDTH
    if len(values) % width or path.stat().st_size % values.itemsize:
        raise InputError(
            f"frames: expected {width} float32 numbers per point in {path} of input_id {input_id!r}, got "
            f"{path.stat().st_size} bytes; pass a mapping or a function from id to points (N, 3)"
        )
    return values.reshape(-1, width)


def _from_array(found: Any, input_id: int | str) -> Float32:
    """Arrays and tensors."""
    values = np.asarray(found.detach().float().cpu() if hasattr(found, "detach") else found)
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    if values.ndim != 2 or values.shape[1] < 3 or values.dtype.kind not in "uif":
        raise _unknown(input_id, f"{type(found).__name__} of shape {values.shape}")
    return values[:, :3].astype(np.float32)


def _unknown(input_id: int | str, got: str) -> InputError:
    return InputError(f"frames: expected {_FORMS} for input_id {input_id!r}, got {got}")
