"""The images of examples: arrays, PIL images or files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from ml_debugger.errors import InputError, NotFoundError
from ml_debugger.presentation.example_sources import Source, SourceKind, found_by_id
from ml_debugger.presentation.example_style import Pixels

__all__ = ["image_reader"]

_IMAGES: Final = SourceKind(
    "images", "image", (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
)


def image_reader(images: Source) -> Callable[[int | str], Pixels]:
    """A function from an input id to its image, ``(H, W, 3)`` RGB 0-255.

    Raises:
        InputError: If ``images`` is no folder, mapping or function. The function raises it where there is something
            else than an image, and NotFoundError where there is nothing.
    """
    find = found_by_id(images, _IMAGES)
    return lambda input_id: _pixels(find(input_id), input_id)


def _pixels(image: Any, input_id: int | str) -> Pixels:
    from PIL import Image, UnidentifiedImageError

    if isinstance(image, (str, Path)):
        try:
            with Image.open(image) as opened:
                return np.asarray(opened.convert("RGB"))
        except FileNotFoundError:
            raise NotFoundError(f"images: there is no file {image} for input_id {input_id!r}") from None
        except (UnidentifiedImageError, OSError) as error:
            raise InputError(f"images: {image} of input_id {input_id!r} cannot be read as an image ({error})") from None
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    return _from_array(image, input_id)


def _from_array(image: Any, input_id: int | str) -> Pixels:
    """Arrays and tensors: channels last or first, 0-255 or 0..1, grey or colour."""
    values = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    if values.ndim == 3 and values.shape[0] in (1, 3) and values.shape[2] not in (1, 3, 4):
        values = values.transpose(1, 2, 0)
    if values.ndim == 2:
        values = values[:, :, None]
    is_image = values.ndim == 3 and values.shape[2] in (1, 3, 4) and values.dtype.kind in "uifb"
    if not is_image or not values.size:
        raise InputError(
            f"images: expected an array (H, W), (H, W, 3) or (3, H, W), a PIL image or a file for input_id "
            f"{input_id!r}, got {type(image).__name__} of shape {values.shape}"
        )
    if values.dtype.kind == "f" and np.nanmax(values) <= 1.0:
        values = values * 255.0
    colour = np.clip(np.nan_to_num(values), 0, 255).astype(np.uint8)[:, :, :3]
    return np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3)))
