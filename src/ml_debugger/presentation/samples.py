"""The labelled units of a result as people get them: columns in their order, and filters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ml_debugger.columns import COMMON_FIELDS, ERROR_COLUMNS, ERROR_PROBA, ZONES, box_columns
from ml_debugger.errors import ConfigError, InputError
from ml_debugger.ids import restore_ids

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KIND", "Wanted", "has_code", "nullable_integers", "outcomes", "public_frame", "select"]

# The public columns come in this order, those of the box in between, additional fields after them.
_BEFORE: Final = (
    "input_id", "unit", "dataset_type", "n_epoch", "label", "score", *ERROR_COLUMNS, "zone", "support", "pred_size",
)  # fmt: skip
_AFTER: Final = ("truth", "is_error", "error_code", "ignored")
_BEFORE_MISSED: Final = ("input_id", "dataset_type", "truth")
_INTERNAL: Final = frozenset(column.name for column in COMMON_FIELDS) | {"result_name"}
KIND: Final = r"^DET:(\w+)\*?:"
"""The kind of a code of detection, as a pattern."""

_IN_PLACE: Final = r"DET:A\*?:"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which labelled units are wanted; None wants all.

    Attributes:
        dataset_type: Tags, one or several.
        zone: Zones, one or several.
        error_code: Error codes or how they begin up to a colon, one or several.
        only_errors: Only where the model was wrong.
        include_ignored: Also units in regions that the truth marks as to be ignored.
    """

    dataset_type: str | Iterable[str] | None = None
    zone: str | Iterable[str] | None = None
    error_code: str | Iterable[str] | None = None
    only_errors: bool = False
    include_ignored: bool = False


def select(frame: pd.DataFrame, wanted: Wanted) -> pd.DataFrame:
    """The wanted rows, in their order.

    Raises:
        ConfigError: If a zone is unknown.
        InputError: If no row has a ``dataset_type``.
    """
    _check_known("zone", wanted.zone, ZONES, ConfigError)
    _check_known("dataset_type", wanted.dataset_type, sorted(frame["dataset_type"].unique()), InputError)
    keep = frame["dataset_type"].notna() if wanted.include_ignored else ~frame["ignored"]
    for name, values in (("dataset_type", wanted.dataset_type), ("zone", wanted.zone)):
        if values is not None:
            keep &= frame[name].isin(_listed(values))
    if wanted.error_code is not None:
        keep &= has_code(frame["error_code"], wanted.error_code)
    if wanted.only_errors:
        keep &= frame["is_error"]
    return frame[keep].reset_index(drop=True)


def has_code(codes: pd.Series[str], wanted: str | Iterable[str]) -> pd.Series[bool]:
    """Which codes are among the wanted ones, or begin like one up to a colon: ``"DET:M"`` means certain or not."""
    names = _listed(wanted)
    found = codes.isin(names)
    for name in names:
        found |= codes.str.startswith((f"{name}:", f"{name}*:"))
    return found


def outcomes(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows where the question of an error column arises, with ``wrong``: its answer.

    Raises:
        InputError: If the result has no such column.
    """
    offered = [name for name in ERROR_COLUMNS if name in frame.columns]
    if column not in offered:
        raise InputError(f"column: expected one of {offered}, got {column!r}")
    if column == ERROR_PROBA:
        return frame.assign(wrong=frame["is_error"])
    in_place = frame["error_code"].str.match(_IN_PLACE)
    if column == "det_error_proba":
        return frame.assign(wrong=~in_place)
    return frame[in_place].assign(wrong=frame["is_error"])


def public_frame(frame: pd.DataFrame, task: str | None = None, *, missed: bool = False) -> pd.DataFrame:
    """Ids as given, our columns in their order, internal ones left out."""
    if "id_kind" in frame.columns:
        frame["input_id"] = restore_ids(frame["input_id"].tolist(), frame["id_kind"].tolist())
    box = box_columns(task)
    order = (*_BEFORE_MISSED, *box) if missed else (*_BEFORE, *box, *_AFTER)
    known = [name for name in order if name in frame.columns]
    rest = [] if missed else [name for name in frame.columns if name not in known and name not in _INTERNAL]
    return nullable_integers(frame[known + rest], "n_epoch", "truth")


def nullable_integers(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Those columns that are there as integers that may be missing."""
    kinds: dict[str, Any] = {name: "Int64" for name in names if name in frame.columns}
    return frame.astype(kinds)


def _listed(wanted: str | Iterable[str]) -> list[str]:
    return [wanted] if isinstance(wanted, str) else list(wanted)


def _check_known(
    argument: str, wanted: str | Iterable[str] | None, known: Iterable[str], error: type[InputError]
) -> None:
    allowed = list(known)
    unknown = [name for name in _listed(() if wanted is None else wanted) if name not in allowed]
    if unknown:
        raise error(f"{argument}: expected some of {allowed}, got {unknown}")
