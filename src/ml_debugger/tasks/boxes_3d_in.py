"""Annotated 3D boxes as people have them, as arrays: OpenPCDet's ``gt_boxes``, mmdetection3d's samples, plain dicts.

Boxes become geometric centre, sizes and yaw with z up, see `ml_debugger.analysis.box_conventions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.box_conventions import (
    BOX_WIDTH,
    ROW_WIDTHS,
    describe_rows,
    from_box_object,
    is_box_object,
)
from ml_debugger.errors import InputError
from ml_debugger.tasks.boxes_in import (
    ANY_CLASS,
    IGNORE_KEYS,
    RawTruths,
    TruthForm,
    Truths,
    check_finite,
    first_of,
    listed,
    read_truths,
    rows_of,
)

__all__ = ["check_provider", "provided_truths", "read_truths_3d"]

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]

FORMS: Final = (
    "a dict with gt_boxes (G, 8), the class in the last column (OpenPCDet), a Det3DDataSample with gt_instances_3d, or "
    "a dict with gt_bboxes_3d and gt_labels_3d, bboxes_3d and labels_3d (mmdetection3d) or boxes (G, 7) and labels (G,)"
)
NAMES: Final = (("gt_bboxes_3d", "gt_labels_3d"), ("bboxes_3d", "labels_3d"))
"""What mmdetection3d calls boxes and labels: in a data set's annotations, and in instances."""

ENTRY_FIELDS: Final = ("gt_instances_3d", "eval_ann_info", "bboxes_3d")
"""What tells that an object is the annotations of one frame."""

HINTS: Final = {
    "translation": (
        "; of nuScenes' annotations make boxes: centre = translation, dx dy dz = size[1], size[0], size[2], yaw = that "
        "of rotation, all in the axes of the sensor that the model's boxes are in"
    ),
    "location": (
        "; of KITTI's annotations make boxes in the axes that the model's boxes are in, from the middle of the bottom, "
        "h w l and rotation_y: see ml_debugger.analysis.box_conventions.from_camera"
    ),
    "gt_boxes_lidar": "; pass it as boxes, beside the class ids as labels",
}
"""What to do about a dict of another kind, by a key that it has."""

MOST_TURNS: Final = 4 * np.pi
"""No yaw in radians is more than two turns; one in degrees soon is."""


def read_truths_3d(ground_truth: Any, n_inputs: int, n_classes: int | None = None) -> Truths:
    """Read the ground truth of a batch of frames: one entry per frame, None where a frame is not annotated.

    An object to be ignored is marked by ``ignore``, ``ignored`` or ``iscrowd``, in mmdetection3d's forms by the label
    -1. A box without an extent is kept and ignored; so is one of negative size if it is marked, as KITTI's DontCare,
    which have no place in space. OpenPCDet's rows of zeros at the end are no boxes. Velocities, also NaN, are left out.

    Args:
        ground_truth: B entries, each a dict with ``boxes (G, 7)`` or ``(G, 9)`` and ``labels (G,)``, one of OpenPCDet
            or mmdetection3d, or a ``Det3DDataSample``; or those of a batch in one: OpenPCDet's ``gt_boxes (B, G, 8)``,
            also in its dict, mmdetection3d's dict with ``data_samples``; where B is 1, the entry itself.
        n_inputs: B.
        n_classes: C where it is known: labels are less.

    Raises:
        InputError: If something cannot be right; the message says where, and what to do.
    """
    return read_truths(_entries(ground_truth, n_inputs), n_inputs, n_classes, _FRAME_TRUTHS)


def check_provider(provider: Any) -> None:
    """Refuse what cannot be asked for annotations.

    Raises:
        InputError: If it cannot be called.
    """
    if not callable(provider):
        raise InputError(
            f"ground_truth_provider: expected a function of an input id, got {type(provider).__name__}; of a dict pass "
            "its get"
        )


def provided_truths(provider: Callable[[Any], Any], input_ids: Sequence[Any]) -> list[Any]:
    """The annotations of some inputs from a function of the user's, one entry each as `read_truths_3d` reads them.

    Args:
        provider: Id as the user gave it -> an entry, or None where the input is not annotated.
        input_ids: B ids.

    Raises:
        InputError: If it cannot be called, or knows an id not.
    """
    check_provider(provider)
    entries = []
    for name in input_ids:
        try:
            entries.append(provider(name))
        except LookupError as error:
            raise InputError(
                f"ground_truth_provider: raised {type(error).__name__} for the input {name!r}; return None where an "
                "input is not annotated"
            ) from error
    return entries


def _entries(ground_truth: Any, n_inputs: int) -> Any:
    """A list of entries, of the forms that hold a whole batch too."""
    found = ground_truth
    if isinstance(found, Mapping) and "data_samples" in found:
        found = found["data_samples"]
    if isinstance(found, Mapping) and _n_axes(found.get("gt_boxes")) == 3:
        found = found["gt_boxes"]
    if _n_axes(found) == 3:
        return [{"gt_boxes": rows} for rows in found]
    is_entry = isinstance(found, Mapping) or any(hasattr(found, name) for name in ENTRY_FIELDS)
    return [found] if n_inputs == 1 and is_entry else found


def _n_axes(value: Any) -> int:
    return len(getattr(value, "shape", ()))


def _get(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, Mapping) else getattr(entry, name, None)


def _raw(entry: Any, where: str) -> RawTruths:
    inside = _get(entry, "gt_instances_3d")
    if (
        inside is None or _get(inside, "bboxes_3d") is None
    ):  # in tests the annotations are kept for the evaluation alone
        inside = _get(entry, "eval_ann_info") or inside
    if inside is not None:
        return _raw(inside, where)
    for box, label in NAMES:
        if _get(entry, box) is not None and _get(entry, label) is not None:
            labels = listed(_get(entry, label))
            unknown = [one == ANY_CLASS for one in labels] if isinstance(labels, list) else None
            return RawTruths(_get(entry, box), labels, unknown)
    if isinstance(entry, Mapping):
        if "gt_boxes" in entry:
            return _raw_rows(entry["gt_boxes"], where)
        if "boxes" in entry and "labels" in entry:
            return RawTruths(entry["boxes"], entry["labels"], first_of(entry, IGNORE_KEYS))
        hint = next((text for name, text in HINTS.items() if name in entry), "")
        raise InputError(f"{where}: expected {FORMS}, got a dict with the keys {sorted(map(str, entry))}{hint}")
    nested = isinstance(entry, (list, tuple)) and len(entry) and isinstance(entry[0], Mapping)
    hint = next((text for name, text in HINTS.items() if nested and name in entry[0]), "")
    raise InputError(f"{where}: expected {FORMS}, got {type(entry).__name__}{hint}")


def _raw_rows(value: Any, where: str) -> RawTruths:
    """Of OpenPCDet's rows: a box, perhaps its velocity, and the class, 1 for the first; zeros fill up a batch."""
    rows = rows_of(value, BOX_WIDTH + 1)
    if rows.ndim != 2 or rows.shape[1] - 1 not in ROW_WIDTHS:
        raise InputError(
            f"{where}: expected gt_boxes (G, 8), or (G, 10) with the velocity, the class in the last column, got shape "
            f"{rows.shape}; boxes and labels apart are given as boxes and labels"
        )
    filled = np.flatnonzero(rows[:, :BOX_WIDTH].any(axis=1) | (rows[:, -1] != 0))
    rows = rows[: filled[-1] + 1 if len(filled) else 0]
    return RawTruths(rows[:, :-1], rows[:, -1], None)


def _frame_boxes(raw: RawTruths, where: str) -> Float64:
    """``(G, 7)``."""
    if is_box_object(raw.box):
        return np.asarray(from_box_object(raw.box, lambda value: np.array(listed(value), float), where), float)
    box = rows_of(raw.box, BOX_WIDTH)
    if box.ndim != 2 or box.shape[1] not in ROW_WIDTHS:
        raise InputError(f"{where}: expected {describe_rows('G', box.shape)}")
    return box[:, :BOX_WIDTH]


def _frame_extent(box: Float64, ignored: Bool, raw: RawTruths, where: str) -> Bool:
    """``(G,)`` whether a box has a volume; those to be ignored may be of no size at all."""
    check_finite(box, where)
    sizes = box[:, 3:6]
    bad = np.flatnonzero((sizes < 0).any(axis=1) & ~ignored)
    if len(bad):
        raise InputError(
            f"{where}: expected sizes dx dy dz of at least 0, got {sizes[bad[0]].tolist()} for box {bad[0]}; leave out "
            "what has no box (KITTI's DontCare), or mark it by ignore"
        )
    np.maximum(sizes, 0.0, out=sizes)
    bad = np.flatnonzero((np.abs(box[:, 6]) > MOST_TURNS) & ~ignored)
    if len(bad):
        raise InputError(f"{where}: expected yaw in radians, got {box[bad[0], 6]:g} for box {bad[0]}; convert degrees")
    return np.asarray((sizes > 0).all(axis=1))


_FRAME_TRUTHS: Final = TruthForm("frame", BOX_WIDTH, FORMS, _raw, _frame_boxes, _frame_extent)
