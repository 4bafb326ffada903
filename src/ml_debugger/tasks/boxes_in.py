"""Annotated boxes as people have them, as arrays: torchvision targets, COCO annotations, supervision's Detections.

Annotations of point clouds are read by the same functions, see ``boxes_3d_in``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes import TrueBoxes
from ml_debugger.errors import InputError

__all__ = [
    "ANY_CLASS",
    "IGNORE_KEYS",
    "RawTruths",
    "TruthForm",
    "Truths",
    "check_finite",
    "first_of",
    "listed",
    "read_truths",
    "rows_of",
    "shape_in_words",
]

ANY_CLASS: Final = -1
"""Label of a region to be ignored whatever is predicted there."""

IGNORE_KEYS: Final = ("iscrowd", "ignore", "ignored")
FORMS: Final = (
    'a dict with "boxes" (G, 4) in pixels x1 y1 x2 y2 and "labels" (G,) (torchvision), a list of COCO annotations '
    '(dicts with "bbox" x y width height and "category_id"), or a supervision Detections'
)

HINTS: Final = {
    "bbox": "; put the COCO annotations of an image into a list",
    "class_labels": "; these labels are in fractions of the image: pass the annotations that they were made of",
}
"""What to do about a dict of another kind, by a key that it has."""

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Truths:
    """The annotations of a batch.

    Attributes:
        boxes: All of them, image by image, in the order in which they came; those without an extent are to be ignored.
        position: ``(G,)`` int64, position of each among the annotations of its image.
        known: ``(B,)`` whether an image is annotated; an image without any object is.
    """

    boxes: TrueBoxes
    position: Int64
    known: Bool


@dataclass(frozen=True, slots=True)
class RawTruths:
    """The annotations of one input as they came.

    Attributes:
        box: Numbers of the boxes.
        label: Their class ids.
        ignored: Whether each is to be ignored, or None.
        is_coco: Whether a box is x y width height.
    """

    box: Any
    label: Any
    ignored: Any
    is_coco: bool = False


@dataclass(frozen=True, slots=True)
class TruthForm:
    """How the annotations of one task are written.

    Attributes:
        noun: What an input is called.
        width: Numbers of a box.
        expected: What an entry may be, for messages.
        raw: Entry, and where it stands -> the annotations as they came.
        boxes: Those, and where -> ``(G, width)``.
        extent: Boxes, ``(G,)`` whether to be ignored, the annotations and where -> ``(G,)`` whether a box covers
            something; refuses boxes that cannot be right.
    """

    noun: str
    width: int
    expected: str
    raw: Callable[[Any, str], RawTruths]
    boxes: Callable[[RawTruths, str], Float64]
    extent: Callable[[Float64, Bool, RawTruths, str], Bool]


def read_truths(
    ground_truth: Any, n_inputs: int, n_classes: int | None = None, form: TruthForm | None = None
) -> Truths:
    """Read the ground truth of a batch: one entry per image, None where an image is not annotated.

    A crowd or a region to be ignored is marked by ``iscrowd`` (COCO), ``ignore`` or ``ignored``; its label may be -1,
    which means every class. Boxes may reach beyond the image. A box without an area (``x1 == x2``) is kept and
    ignored; it can be found by nobody.

    Args:
        ground_truth: B entries, each a dict with ``boxes (G, 4)`` and ``labels (G,)``, a list of COCO annotations (also
            under the key ``"annotations"``), or a supervision ``Detections``; lists, arrays or tensors.
        n_inputs: B.
        n_classes: C where it is known: labels are less.
        form: How they are written; default: as above.

    Raises:
        InputError: If something cannot be right; the message says where, and what to do.
    """
    form = form or _IMAGE_TRUTHS
    entries = _entries(ground_truth, n_inputs, form)
    images, positions, boxes, labels, ignored = [], [], [], [], []
    for image, entry in enumerate(entries):
        if entry is None:
            continue
        where = f"ground_truth[{image}]"
        box, label, is_ignored = _read_entry(entry, where, n_classes, form)
        images.append(np.full(len(label), image, dtype=np.int64))
        positions.append(np.arange(len(label), dtype=np.int64))
        boxes.append(box)
        labels.append(label)
        ignored.append(is_ignored)
    nothing = np.empty(0, dtype=np.int64)
    true_boxes = TrueBoxes(
        input_index=np.concatenate([nothing, *images]),
        box=np.concatenate([np.empty((0, form.width)), *boxes]),
        label=np.concatenate([nothing, *labels]),
        ignored=np.concatenate([nothing.astype(bool), *ignored]),
    )
    known = np.array([entry is not None for entry in entries], dtype=bool)
    return Truths(true_boxes, np.concatenate([nothing, *positions]), known)


def _entries(ground_truth: Any, n_inputs: int, form: TruthForm) -> Sequence[Any]:
    if not isinstance(ground_truth, (list, tuple)):
        raise InputError(
            f"ground_truth: expected a list with one entry per {form.noun}, got {type(ground_truth).__name__}; "
            f"each entry is {form.expected}, or None where the {form.noun} is not annotated"
        )
    if len(ground_truth) != n_inputs:
        is_flat = n_inputs == 1 and ground_truth and all(isinstance(e, Mapping) and "bbox" in e for e in ground_truth)
        hint = "; for one image with COCO annotations pass [annotations]" if is_flat else ""
        raise InputError(
            f"ground_truth: expected {n_inputs} entries, one per {form.noun}, got {len(ground_truth)}{hint}"
        )
    return ground_truth


def _read_entry(entry: Any, where: str, n_classes: int | None, form: TruthForm) -> tuple[Float64, Int64, Bool]:
    """``(G, 4)`` boxes, ``(G,)`` labels, ``(G,)`` whether to be ignored."""
    raw = form.raw(entry, where)
    box = form.boxes(raw, where)
    label = _labels(raw.label, len(box), where)
    ignored = _flags(raw.ignored, len(box), where)
    ignored |= ~form.extent(box, ignored, raw, where)
    _check_labels(label, ignored, where, n_classes)
    return box, label, ignored


def _raw(entry: Any, where: str) -> RawTruths:
    if isinstance(entry, Mapping):
        if "annotations" in entry:
            return _raw_coco(entry["annotations"], where)
        if "boxes" not in entry or "labels" not in entry:
            hint = next((text for name, text in HINTS.items() if name in entry), "")
            raise InputError(f"{where}: expected {FORMS}, got a dict with the keys {sorted(map(str, entry))}{hint}")
        _check_format(entry["boxes"], where)
        return RawTruths(entry["boxes"], entry["labels"], first_of(entry, IGNORE_KEYS))
    if hasattr(entry, "xyxy") and hasattr(entry, "class_id"):
        if entry.class_id is None and len(entry.xyxy):
            raise InputError(f"{where}: expected Detections with class_id, got None; set it to the class of each box")
        label = [] if entry.class_id is None else entry.class_id
        return RawTruths(entry.xyxy, label, first_of(getattr(entry, "data", None) or {}, IGNORE_KEYS))
    if isinstance(entry, (list, tuple)):
        return _raw_coco(entry, where)
    raise InputError(f"{where}: expected {FORMS}, got {type(entry).__name__}")


def _check_format(boxes: Any, where: str) -> None:
    """Boxes of torchvision's own kind say what their numbers mean."""
    form = getattr(getattr(boxes, "format", None), "value", "XYXY")
    if form != "XYXY":
        raise InputError(
            f"{where}: expected boxes in the format XYXY, got {form}; convert them by "
            "torchvision.transforms.v2.ConvertBoundingBoxFormat"
        )


def _raw_coco(annotations: Any, where: str) -> RawTruths:
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, Mapping) or "bbox" not in annotation or "category_id" not in annotation:
            got = sorted(map(str, annotation)) if isinstance(annotation, Mapping) else type(annotation).__name__
            raise InputError(f'{where}[{number}]: expected a dict with "bbox" and "category_id", got {got}')
    return RawTruths(
        [annotation["bbox"] for annotation in annotations],
        [annotation["category_id"] for annotation in annotations],
        [first_of(annotation, IGNORE_KEYS) or 0 for annotation in annotations],
        is_coco=True,
    )


def first_of(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of some names that has a value, or None."""
    return next((values[name] for name in names if values.get(name) is not None), None)


def listed(value: Any) -> Any:
    """Lists of numbers, from an array, a tensor on any device, or lists of either."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def rows_of(value: Any, width: int) -> Float64:
    """Boxes as rows of numbers: ``(0, width)`` where there is none, ``(1,)`` where they are no table of numbers."""
    if isinstance(value, np.ndarray) and value.size and value.dtype.kind in "iuf":
        return value.astype(np.float64)
    numbers = listed(value)
    try:
        rows = np.array(numbers, dtype=np.float64)
    except (TypeError, ValueError):
        rows = np.empty(1)
    return np.empty((0, width)) if rows.size == 0 and isinstance(numbers, list) else rows


def _image_boxes(raw: RawTruths, where: str) -> Float64:
    """``(G, 4)`` x1 y1 x2 y2."""
    box = rows_of(raw.box, 4)
    if box.ndim != 2 or box.shape[1] != 4:
        hint = "; for one box use shape (1, 4)" if box.shape == (4,) else ""
        raise InputError(
            f"{where}: expected boxes of shape (G, 4), four numbers each, got {shape_in_words(raw.box)}{hint}"
        )
    if raw.is_coco:
        box[:, 2:] += box[:, :2]
    return box


def _labels(value: Any, count: int, where: str) -> Int64:
    if isinstance(value, np.ndarray) and value.shape == (count,) and value.dtype.kind == "i":
        return value.astype(np.int64)
    labels = listed(value)
    if not isinstance(labels, list) or len(labels) != count:
        raise InputError(f"{where}: expected {count} labels, one per box, got {shape_in_words(value)}")
    for number, label in enumerate(labels):
        if isinstance(label, bool) or not isinstance(label, (int, float)) or not float(label).is_integer():
            raise InputError(f"{where}: expected integer class ids as labels, got {label!r} for box {number}")
    return np.array(labels, dtype=np.int64)


def _flags(value: Any, count: int, where: str) -> Bool:
    if value is None:
        return np.zeros(count, dtype=bool)
    flags = listed(value)
    if not isinstance(flags, list) or len(flags) != count or any(flag not in (0, 1) for flag in flags):
        raise InputError(f"{where}: expected {count} crowd flags, 0 or 1 each, got {shape_in_words(value)}")
    return np.array(flags, dtype=bool)


def shape_in_words(value: Any) -> str:
    """What came in place of an array, for messages."""
    if hasattr(value, "shape"):
        return f"shape {tuple(value.shape)}"
    return f"{len(value)} entries: {value!r:.80}" if isinstance(value, (list, tuple)) else repr(value)


def check_finite(box: Float64, where: str) -> None:
    """Refuse boxes with NaN or infinite numbers.

    Raises:
        InputError: If there are any.
    """
    bad = np.flatnonzero(~np.isfinite(box).all(axis=1))
    if len(bad):
        raise InputError(
            f"{where}: expected finite boxes, got {box[bad[0]].tolist()} for box {bad[0]}; "
            "leave such boxes out of the ground truth"
        )


def _image_extent(box: Float64, ignored: Bool, raw: RawTruths, where: str) -> Bool:
    """``(G,)`` whether a box has an area."""
    check_finite(box, where)
    bad = np.flatnonzero((box[:, 2:] < box[:, :2]).any(axis=1))
    if len(bad):
        order = "width and height of at least 0" if raw.is_coco else "x1 <= x2 and y1 <= y2"
        hint = "" if raw.is_coco else "; boxes given as x y width height are to be converted"
        raise InputError(
            f"{where}: expected boxes with {order}, got x1 y1 x2 y2 = {box[bad[0]].tolist()} for box {bad[0]}{hint}"
        )
    return np.asarray((box[:, 0] != box[:, 2]) & (box[:, 1] != box[:, 3]))


def _check_labels(label: Int64, ignored: Bool, where: str, n_classes: int | None) -> None:
    wrong = (label < 0) & ~(ignored & (label == ANY_CLASS))
    expected = "at least 0, or -1 for a region marked as crowd or ignore"
    if n_classes is not None:
        wrong |= label >= n_classes
        expected = f"0..{n_classes - 1}, the class ids of the model, or -1 for a region marked as crowd or ignore"
    bad = np.flatnonzero(wrong)
    if len(bad):
        raise InputError(
            f"{where}: expected labels {expected}, got {label[bad[0]]} for box {bad[0]}; "
            "map the ids of the annotations to those of the model"
        )


_IMAGE_TRUTHS: Final = TruthForm("image", 4, FORMS, _raw, _image_boxes, _image_extent)
