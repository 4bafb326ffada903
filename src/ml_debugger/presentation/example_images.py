"""Where the images of examples come from: a folder, a mapping or a function; arrays, PIL images or files in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import InputError, NotFoundError

__all__ = ["ImageSource", "Pixels", "image_reader"]

Pixels: TypeAlias = NDArray[np.uint8]
ImageSource: TypeAlias = str | Path | Mapping[Any, Any] | Callable[[Any], Any]
"""A folder, or a mapping or function from input id to an image: an array, a PIL image, or a file."""

_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")


def image_reader(images: ImageSource) -> Callable[[int | str], Pixels]:
    """A function from an input id to its image, ``(H, W, 3)`` RGB 0-255.

    Raises:
        InputError: If ``images`` is no folder, mapping or function. The function raises it where there is something
            else than an image, and NotFoundError where there is nothing.
    """
    find = _finder(images)

    def read(input_id: int | str) -> Pixels:
        found = find(input_id)
        if found is None:
            raise NotFoundError(f"images: there is none for input_id {input_id!r}")
        return _pixels(found, input_id)

    return read


def _finder(images: ImageSource) -> Callable[[int | str], Any]:
    if isinstance(images, (str, Path)):
        return _in_folder(Path(images))
    if isinstance(images, Mapping):
        return lambda input_id: images[input_id] if input_id in images else images.get(str(input_id))
    if callable(images):
        return images
    raise InputError(
        f"images: expected a folder, or a mapping or function from input id to image, got {type(images).__name__}"
    )


def _in_folder(folder: Path) -> Callable[[int | str], Path]:
    """Files by name, by name without ending, or by number where names are numbers (``000000000139.jpg`` is 139)."""
    if not folder.is_dir():
        raise InputError(f"images: expected a folder of images, got {str(folder)!r}, which is none")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    by_name: dict[str, set[Path]] = {}
    for path in files:
        names = {path.name, path.stem, path.relative_to(folder).as_posix()}
        if path.stem.isdecimal():
            names.add(str(int(path.stem)))
        for name in names:
            by_name.setdefault(name, set()).add(path)

    def find(input_id: int | str) -> Path:
        found = sorted(by_name.get(str(input_id), ()))
        if not found:
            raise NotFoundError(
                f"images: no file in {folder} is named after input_id {input_id!r} (looked for {str(input_id)!r} with "
                f"and without an ending, among {len(files)} images); pass a mapping or a function from id to image"
            )
        if len(found) > 1:
            raise InputError(
                f"images: input_id {input_id!r} may be {found[0]} or {found[1]}; pass a mapping from id to image"
            )
        return found[0]

    return find


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
