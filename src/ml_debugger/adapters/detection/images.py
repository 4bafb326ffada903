"""Sizes of images, from whatever a detector takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.arrays import is_array, shape_of

__all__ = ["IMAGE_NAMES", "image_sizes"]

IMAGE_NAMES: Final = ("pixel_values", "images", "image", "imgs", "img", "inputs", "x")
CHANNELS: Final = (1, 3, 4)


def image_sizes(model_input: Any, n_inputs: int) -> NDArray[np.float32]:
    """``(B, 2)`` width and height in pixels; NaN where they cannot be told.

    Read are a list of images, a batch of images, and a mapping that holds either under one of `IMAGE_NAMES`. An image
    is an array ``(C, H, W)``, ``(H, W, C)`` or ``(H, W)``, or has a ``size`` (width, height), as PIL's.
    """
    sizes = np.full((n_inputs, 2), np.nan, dtype=np.float32)
    images = _images_of(model_input, n_inputs)
    for position, image in enumerate(images[:n_inputs]):
        sizes[position] = _size_of(image)
    return sizes


def _images_of(model_input: Any, n_inputs: int) -> Sequence[Any]:
    if isinstance(model_input, Mapping):
        found = next((model_input[name] for name in IMAGE_NAMES if name in model_input), None)
        return () if found is None else _images_of(found, n_inputs)
    if is_array(model_input):
        shape = shape_of(model_input)
        if len(shape) == 4:
            return [np.broadcast_to(np.uint8(0), shape[1:])] * shape[0]
        return [model_input] if n_inputs == 1 else ()
    if isinstance(model_input, list | tuple):
        return model_input
    return [model_input] if n_inputs == 1 else ()


def _size_of(image: Any) -> tuple[float, float]:
    if is_array(image):
        shape = shape_of(image)
        if len(shape) == 3 and shape[0] in CHANNELS:
            return shape[2], shape[1]
        if len(shape) == 3 and shape[2] in CHANNELS:
            return shape[1], shape[0]
        return (shape[1], shape[0]) if len(shape) == 2 else (np.nan, np.nan)
    size = getattr(image, "size", None)
    if isinstance(size, tuple) and len(size) == 2:
        return float(size[0]), float(size[1])
    return np.nan, np.nan
