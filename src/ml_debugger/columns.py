"""The one place for names of tables, columns, zones and tags, and for the Arrow types of stored rows."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from ml_debugger.errors import InputError
from ml_debugger.types import Field

__all__ = [
    "COMMON_FIELDS",
    "ERROR_COLUMNS",
    "HOTSPOTS",
    "KINDS",
    "NUMERIC_COLUMNS",
    "WORDS",
    "ZONES",
    "Words",
    "Zone",
    "arrow_type",
    "box_columns",
    "box_columns_among",
    "reserved_columns",
    "schema_of",
    "words_of",
]

# Table kinds: one Delta table per kind, task and model.
INPUTS: Final = "inputs"
RECORDS: Final = "records"
TRUTHS: Final = "truths"
SCORES: Final = "scores"
KINDS: Final = (INPUTS, RECORDS, TRUTHS, SCORES)

# Tags with a meaning of their own; any other string is a dataset_type too.
TRAIN: Final = "train"
POOL: Final = "pool"

ERROR_PROBA: Final = "error_proba"
# Recalibrated for one pool, on request: never stored, since it depends on which rows make the pool.
ERROR_PROBA_POOL: Final = "error_proba_pool"
ERROR_COLUMNS: Final = ("error_proba", "det_error_proba", "cls_error_proba")
# What conditions and weights may name, besides numeric additional fields; a task offers those it has.
NUMERIC_COLUMNS: Final = ("score", *ERROR_COLUMNS, "pred_size")


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone: its name, the issue category shown to people, and what it means."""

    name: str
    category: str
    description: str


ZONES: Final = {
    zone.name: zone
    for zone in (
        Zone("stable_coverage", "Highly Stable", "High-quality output with stable internal features"),
        Zone("operational_coverage", "Stable", "Operationally acceptable with stable internal features"),
        Zone("hotspot", "Unstable", "Internal features are unstable, predictions fluctuate"),
        Zone("recessive_hotspot", "Under-Confidence", "Low model confidence, errors are predictable"),
        Zone("critical_hotspot", "Over-Confidence", "High error probability but high confidence predictions"),
        Zone("aleatoric_hotspot", "Outlier", "Insufficient features, model has difficulty learning"),
    )
}
HOTSPOTS: Final = ("hotspot", "recessive_hotspot", "critical_hotspot", "aleatoric_hotspot")


@dataclass(frozen=True, slots=True)
class Words:
    """What people call what a task is about: a unit, several units, and the inputs they belong to."""

    unit: str
    units: str
    inputs: str


_ROWS = Words("row", "rows", "inputs")
WORDS: Final = {
    "classification": _ROWS,
    "object_detection": Words("box", "boxes", "images"),
    "object_detection_3d": Words("box", "boxes", "frames"),
}
"""By the name of a task."""


def words_of(task: str | None) -> Words:
    """The words of a task; those of rows where it has none of its own."""
    return WORDS.get(task or "", _ROWS)


# Columns of ``context`` of predicted boxes; NaN where unknown. "Suppressed" are the candidates that a kept box stands
# for: those overlapping it that no better kept box took.
DETECTION_CONTEXT: Final = (
    "image_width",
    "image_height",
    "n_suppressed_same",
    "suppressed_score_sum",
    "suppressed_score_max",
    "suppressed_score_mean",
    "suppressed_score_std",
    "suppressed_iou_mean",
    "suppressed_iou_std",
    "side_std",
    "n_suppressed_other",
    "suppressed_other_score_max",
)
# Those of boxes in point clouds: how many points are inside, what share of its height and of its sides they span, how
# far it is from the border of the scene (metres, from above); then as above, with overlaps from above.
DETECTION_3D_CONTEXT: Final = (
    "n_points",
    "points_height",
    "points_spread",
    "border_distance",
    *DETECTION_CONTEXT[2:9],
    "size_std",
    "yaw_std",
    *DETECTION_CONTEXT[10:],
)
# Columns that the task adds to them: what the other boxes of the image say.
NEIGHBOUR_CONTEXT: Final = (
    "n_kept",
    "n_kept_same",
    "overlap_same",
    "overlap_other",
    "rank",
    "image_score",
    "score_to_best",
    "better_iou_same",
    "better_iou_other",
    "inside_better_same",
    "inside_better_other",
    "around_better_same",
    "around_better_other",
)
BOX_CONTEXT: Final = (*DETECTION_CONTEXT, *NEIGHBOUR_CONTEXT)  # as stored
# In 3D also whether another box is in front of it, and how it stands to those around: see analysis/box_scene.
SCENE_CONTEXT: Final = ("hidden", "turned", "raised", "nearest")
BOX_3D_CONTEXT: Final = (*DETECTION_3D_CONTEXT, *NEIGHBOUR_CONTEXT, *SCENE_CONTEXT)
# Columns of ``frame_context`` of images: what the candidates that no returned box stands for say about missed objects.
# Free candidates overlap no returned box, nor a better free one; thus each stands for one possible object.
FRAME_CONTEXT: Final = (
    "n_free_05",
    "n_free_10",
    "n_free_20",
    "n_free_threshold",
    "free_score_max",
    "free_score_sum",
    "n_kept",
    "kept_score_mean",
)

# The box of a predicted unit in public tables: in pixels; in metres and radians. Scores of a task without
# boxes have those of images, always null.
BOX_COLUMNS: Final = ("x1", "y1", "x2", "y2")
BOX_3D_COLUMNS: Final = ("x", "y", "z", "dx", "dy", "dz", "yaw")
_BOX_COLUMNS_BY_TASK: Final = {"object_detection_3d": BOX_3D_COLUMNS}
VECTORS: Final = ("features", "logits", "box", "context")  # list columns of records

_TIME = pa.timestamp("us", tz="UTC")
_VECTOR = pa.list_(pa.float32())

# Every stored row says which recording of which input it belongs to. ``recording_id`` is unique per recorded input.
COMMON_FIELDS: Final = (
    pa.field("input_id", pa.string(), nullable=False),
    pa.field("id_kind", pa.string(), nullable=False),  # "int" or "str": how the user gave the id
    pa.field("recording_id", pa.int64(), nullable=False),
    pa.field("recorded_at", _TIME, nullable=False),
    pa.field("version_name", pa.string(), nullable=False),
    pa.field("dataset_type", pa.string(), nullable=False),
    pa.field("n_epoch", pa.int64()),
    pa.field("weights_hash", pa.string()),
    pa.field("pass_id", pa.string(), nullable=False),
)

_UNIT_FIELDS = (
    pa.field("unit", pa.int64(), nullable=False),
    pa.field("label", pa.int64(), nullable=False),
    pa.field("score", pa.float64(), nullable=False),
)

_OWN_FIELDS = {
    INPUTS: (
        pa.field("n_units", pa.int64(), nullable=False),
        pa.field("frame_context", _VECTOR),  # numbers of the input as a whole, such as its candidates below threshold
    ),
    RECORDS: (
        *_UNIT_FIELDS,
        pa.field("features", _VECTOR),
        pa.field("logits", _VECTOR),
        pa.field("box", _VECTOR),
        pa.field("context", _VECTOR),
    ),
    TRUTHS: (
        pa.field("truth_index", pa.int64(), nullable=False),  # position in the input's ground truth
        pa.field("truth", pa.int64(), nullable=False),
        pa.field("box", _VECTOR),
        pa.field("ignored", pa.bool_(), nullable=False),
    ),
    SCORES: (
        *_UNIT_FIELDS,
        pa.field("result_name", pa.string(), nullable=False),
        pa.field("error_proba", pa.float64(), nullable=False),
        pa.field("det_error_proba", pa.float64()),
        pa.field("cls_error_proba", pa.float64()),
        pa.field("pred_size", pa.float64()),
        pa.field("support", pa.float64(), nullable=False),
        pa.field("zone", pa.string(), nullable=False),
    ),
}

_FIELD_TYPES = {"int": pa.int64(), "float": pa.float64(), "str": pa.string(), "bool": pa.bool_()}

_NOT_STORED: Final = frozenset({"is_error", "error_code", ERROR_PROBA_POOL, "rank_value", "selected", "model_name"})


def box_columns(task: str | None) -> tuple[str, ...]:
    """The box of a unit in the score rows of a task."""
    return _BOX_COLUMNS_BY_TASK.get(task or "", BOX_COLUMNS)


def box_columns_among(names: Collection[str]) -> tuple[str, ...]:
    """The box of a unit among the columns of a table; nothing where the table has no boxes."""
    return next((box for box in (BOX_COLUMNS, BOX_3D_COLUMNS) if set(box) <= set(names)), ())


def reserved_columns(task: str | None = None) -> frozenset[str]:
    """Names that additional fields of a task cannot have."""
    stored = (field.name for kind in KINDS for field in schema_of(kind, task=task))
    return _NOT_STORED | frozenset(stored) | frozenset(BOX_COLUMNS)


def arrow_type(field: Field) -> pa.DataType:
    """Arrow type of an additional field.

    Raises:
        InputError: If the type is not one of ``int``, ``float``, ``str`` and ``bool``.
    """
    try:
        return _FIELD_TYPES[field.type]
    except KeyError:
        raise InputError(
            f"additional field {field.name!r}: type must be one of {sorted(_FIELD_TYPES)}, got {field.type!r}"
        ) from None


@functools.lru_cache(maxsize=256)  # bounded: a server is told the additional columns by its clients
def schema_of(kind: str, additional: tuple[Field, ...] = (), task: str | None = None) -> pa.Schema:
    """Arrow schema of one kind of table, with the model's additional columns at the end.

    Args:
        kind: One of `KINDS`.
        additional: The ``additional_fields`` for records and scores, the ``additional_label_fields`` for truths.
        task: Of the model; scores differ in the columns of the box.
    """
    own = _OWN_FIELDS[kind]
    if kind == SCORES:
        at = [field.name for field in own].index("support")
        own = (*own[:at], *(pa.field(name, pa.float32()) for name in box_columns(task)), *own[at:])
    extra = [pa.field(field.name, arrow_type(field)) for field in additional]
    return pa.schema([*COMMON_FIELDS, *own, *extra])
