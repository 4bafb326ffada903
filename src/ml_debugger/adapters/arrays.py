"""Arrays of any framework, by what they can do rather than by what they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import CaptureError

__all__ = ["describe_shape", "is_array", "is_float_array", "resolution", "shape_of", "to_float32"]


def is_array(value: Any) -> bool:
    """Whether a value is an array or tensor: it has a shape and a dtype."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def is_float_array(value: Any) -> bool:
    """Whether a value is an array of real floating-point numbers, of any framework and precision."""
    return is_array(value) and "float" in str(value.dtype)


def shape_of(value: Any) -> tuple[int, ...]:
    """Shape as a plain tuple."""
    return tuple(int(size) for size in value.shape)


def describe_shape(value: Any) -> str:
    """Shape and dtype for messages, or the type of what is not an array."""
    if is_array(value):
        return f"{type(value).__name__} {shape_of(value)} of {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__


def resolution(value: Any) -> float:
    """Machine epsilon of an array's dtype: how exactly its rows of probabilities can sum to one."""
    name = str(value.dtype)
    if "bfloat16" in name:
        return 2.0**-7
    return 2.0**-10 if "float16" in name else 2.0**-23


def to_float32(value: Any) -> NDArray[np.float32]:
    """A float32 copy on the CPU, from any device, precision and framework.

    The one place that reads tensors: they may require grad (so ``detach``), live on a device (so ``cpu``) or be
    bfloat16, which NumPy does not know (so ``float``).

    Raises:
        CaptureError: If the value cannot become an array of numbers.
    """
    if hasattr(value, "detach"):
        tensor = value.detach().float().cpu()
        value = tensor.resolve_neg() if hasattr(tensor, "resolve_neg") else tensor
        return np.array(value.numpy(), dtype=np.float32)
    try:
        return np.array(np.asarray(value), dtype=np.float32)
    except (TypeError, ValueError):
        raise CaptureError(f"model output: expected numbers, got {describe_shape(value)}") from None
