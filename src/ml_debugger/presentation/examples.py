"""Which boxes to show as examples: the most telling ones of each kind of error, and objects that were missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.detection_codes import CODE_MEANINGS, missed_codes
from ml_debugger.columns import ERROR_COLUMNS
from ml_debugger.errors import InputError
from ml_debugger.presentation.box_shapes import FLAT, Box, BoxShape, shape_of
from ml_debugger.presentation.samples import Wanted, has_code, select

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Example", "Neighbour", "choose_examples", "nothing_to_show"]

MISSED_AT: Final = 2  # missed objects take turns with the kinds of wrong boxes, after the two most frequent ones
BESIDE: Final = 0.1  # overlap (IoU) from which on two boxes have to do with each other


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another box of the image or frame: an annotated one, a region to be ignored, or another prediction."""

    box: Box
    label: int
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """A predicted box, or an annotated one that was missed, and what is around it.

    Attributes:
        input_id: Of the image or frame, as given.
        box: The box it is about.
        code: Error code.
        zone: None where it was missed.
        is_error: Whether the prediction is wrong.
        label: Predicted class; None where it was missed.
        truth: Annotated class; None where there is none.
        score: The model's own confidence; None where it was missed.
        error_proba: Per error column, those that are known.
        truths: Annotated boxes of the input; not the missed one.
        others: Other predictions of the input.
        size: Width and height of the image as the model saw it; None where unknown, and for frames.
    """

    input_id: int | str
    box: Box
    code: str
    zone: str | None
    is_error: bool
    label: int | None
    truth: int | None
    score: float | None
    error_proba: dict[str, float]
    truths: tuple[Neighbour, ...]
    others: tuple[Neighbour, ...]
    size: tuple[int, int] | None

    @property
    def missed(self) -> bool:
        """Whether it is an annotated box that no prediction belongs to."""
        return self.label is None

    @property
    def meaning(self) -> str:
        """The code in words."""
        letter = _letter(self.code)
        if letter == "A":
            return "right" if not self.is_error else "in the right place, with the wrong class"
        return CODE_MEANINGS[letter][1]

    @property
    def partner(self) -> Neighbour | None:
        """The annotated box of its class that it overlaps most, or that it belongs to by its distance."""
        found = [one for one in self.truths if one.label == self.truth]
        best = shape_of(self.box).nearest(self.box, [one.box for one in found], touching=self.missed)
        return None if best is None else found[best]

    @property
    def concerned(self) -> list[Neighbour]:
        """The annotated boxes that it has to do with, its partner first."""
        partner = self.partner
        beside = shape_of(self.box).beside(self.box, [one.box for one in self.truths], BESIDE)
        found = [one for one, flag in zip(self.truths, beside, strict=True) if flag or one is partner]
        return sorted(found, key=lambda one: one is not partner)


def choose_examples(
    samples: pd.DataFrame,
    truths: pd.DataFrame,
    wanted: Wanted,
    n: int,
    shape: BoxShape = FLAT,
    *,
    integer_ids: bool = False,
) -> list[Example]:
    """Up to ``n`` examples: one of each kind of error, then a second of each, and so on.

    The most frequent kinds come first; within a kind the highest ``error_proba``, of missed objects the largest. No
    input comes twice while there are others.

    Args:
        samples: All stored sample rows of the result.
        truths: Its truth rows.
        wanted: Which; with a zone, missed objects are left out, which are in none.
        n: How many at most.
        shape: Of the boxes.
        integer_ids: Whether ids were given as int.

    Returns:
        None at all if nothing fits.

    Raises:
        ConfigError: If a zone is unknown.
        InputError: If ``n`` is not at least 1, or the tables have no boxes.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise InputError(f"n: expected an int of at least 1, got {n!r}")
    if not set(shape.columns) <= set(samples.columns) or not len(truths.columns):
        raise InputError(
            "this result has no boxes to draw: examples are for detection, evaluated by this version or a later one"
        )
    boxes = select(samples, wanted)
    boxes = boxes[np.isfinite(boxes[list(shape.columns)].to_numpy(float)).all(axis=1)]
    missed = _missed(truths, wanted)
    around = _Around(samples, truths, shape, integer_ids)
    return [around.example(row) for row in _in_turns(_kinds(boxes, missed, shape), n)]


def nothing_to_show(wanted: Wanted) -> InputError:
    """The error that says what was asked for, where nothing fits."""
    return InputError(
        f"nothing to show: no {'wrong ' if wanted.only_errors else ''}box or missed object fits "
        f"dataset_type={wanted.dataset_type!r}, zone={wanted.zone!r}, error_code={wanted.error_code!r}"
    )


def _missed(truths: pd.DataFrame, wanted: Wanted) -> pd.DataFrame:
    """The missed objects among the truth rows, with their codes."""
    rows = truths[truths["missed"]]
    rows = rows.assign(error_code=missed_codes(rows["truth"].to_numpy()))
    if wanted.zone is not None:
        return rows[:0]
    if wanted.dataset_type is not None:
        tags = [wanted.dataset_type] if isinstance(wanted.dataset_type, str) else list(wanted.dataset_type)
        rows = rows[rows["dataset_type"].isin(tags)]
    return rows if wanted.error_code is None else rows[has_code(rows["error_code"], wanted.error_code)]


def _letter(code: str) -> str:
    return code.split(":")[1].rstrip("*")


def _kinds(boxes: pd.DataFrame, missed: pd.DataFrame, shape: BoxShape) -> list[list[dict[str, Any]]]:
    """Rows by kind of code, each kind in the order in which it is shown."""
    ranked = boxes.sort_values(["error_proba", "input_id", "unit"], ascending=[False, True, True], kind="stable")
    kinds: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for row in _dicts(ranked):
        kinds.setdefault((_letter(row["error_code"]), row["is_error"]), []).append(row)
    ordered = [rows for _, rows in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))]
    if len(missed):
        size = shape.sizes(missed[list(shape.columns)].to_numpy())
        largest = missed.assign(size=size).sort_values(["size", "input_id"], ascending=[False, True], kind="stable")
        ordered.insert(MISSED_AT, list(_dicts(largest)))
    return ordered


def _dicts(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    return ({str(name): value for name, value in row.items()} for row in frame.to_dict("records"))


def _in_turns(kinds: list[list[dict[str, Any]]], n: int) -> list[dict[str, Any]]:
    """Up to ``n`` rows, one of each kind in turn; of a kind the first of an input that has none yet, or the first."""
    waiting, seen = [list(rows) for rows in kinds], set()
    chosen: list[dict[str, Any]] = []
    while len(chosen) < n and any(waiting):
        for rows in waiting:
            if rows and len(chosen) < n:
                place = next((at for at, row in enumerate(rows) if row["recording_id"] not in seen), 0)
                chosen.append(rows.pop(place))
                seen.add(chosen[-1]["recording_id"])
    return chosen


class _Around:
    """What lies around a box: the other boxes of its image or frame."""

    def __init__(self, samples: pd.DataFrame, truths: pd.DataFrame, shape: BoxShape, integer_ids: bool) -> None:
        self._samples = samples
        self._truths = truths
        self._columns = list(shape.columns)
        self._integer_ids = integer_ids

    def example(self, row: dict[str, Any]) -> Example:
        """The example of a sample row, or of the truth row of a missed object."""
        missed = "unit" not in row
        samples = self._samples[self._samples["recording_id"] == row["recording_id"]]
        truths = self._truths[self._truths["recording_id"] == row["recording_id"]]
        size = _size(truths)
        truths = truths[truths["truth_index"] >= 0]
        if missed:
            truths = truths[truths["truth_index"] != row["truth_index"]]
        else:
            samples = samples[samples["unit"] != row["unit"]]
        named = int(row["input_id"]) if self._integer_ids else row["input_id"]
        return Example(
            input_id=named,
            box=tuple(float(row[name]) for name in self._columns),
            code=row["error_code"],
            zone=None if missed else row["zone"],
            is_error=missed or bool(row["is_error"]),
            label=None if missed else int(row["label"]),
            truth=None if row["truth"] is None or row["truth"] != row["truth"] else int(row["truth"]),
            score=None if missed else float(row["score"]),
            error_proba={name: float(row[name]) for name in ERROR_COLUMNS if row.get(name) is not None},
            truths=tuple(self._neighbours(truths, "truth")),
            others=tuple(self._neighbours(samples, "label")),
            size=size,
        )

    def _neighbours(self, frame: pd.DataFrame, label: str) -> Iterator[Neighbour]:
        boxes: NDArray[np.float64] = frame[self._columns].to_numpy(float)
        for box, name, ignored in zip(boxes, frame[label].tolist(), frame["ignored"].tolist(), strict=True):
            if np.isfinite(box).all():
                yield Neighbour(tuple(box.tolist()), int(name), bool(ignored))


def _size(truths: pd.DataFrame) -> tuple[int, int] | None:
    known: NDArray[np.float64] = truths[["image_width", "image_height"]].to_numpy(float)
    known = known[np.isfinite(known).all(axis=1)]
    return (round(known[0, 0]), round(known[0, 1])) if len(known) else None
