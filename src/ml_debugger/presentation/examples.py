"""Which boxes to show as examples: the most telling ones of each kind of error, and objects that were missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.detection_codes import CODE_MEANINGS, missed_codes
from ml_debugger.columns import BOX_COLUMNS, ERROR_COLUMNS
from ml_debugger.errors import InputError
from ml_debugger.presentation.samples import Wanted, has_code, select

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Example", "Neighbour", "choose_examples"]

MISSED_AT: Final = 2  # missed objects take turns with the kinds of wrong boxes, after the two most frequent ones
SAME_PLACE: Final = (
    0.05  # share of a neighbour that lies in the box which an example is about, from which on it is told
)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another box of the image: an annotated one, a region to be ignored, or another prediction."""

    box: Box
    label: int
    ignored: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """A predicted box, or an annotated one that was missed, and what is around it.

    Attributes:
        input_id: Of the image, as given.
        box: The box it is about, pixels.
        code: Error code.
        zone: None where it was missed.
        is_error: Whether the prediction is wrong.
        label: Predicted class; None where it was missed.
        truth: Annotated class; None where there is none.
        score: The model's own confidence; None where it was missed.
        error_proba: Per error column, those that are known.
        truths: Annotated boxes of the image; not the missed one.
        others: Other predictions of the image.
        size: Width and height of the image as the model saw it; None where unknown.
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
        """The annotated box of its class that it overlaps most."""
        found = [(overlap(one.box, self.box), one) for one in self.truths if one.label == self.truth]
        best = max(found, key=lambda pair: pair[0], default=(0.0, None))
        return best[1] if best[0] > 0 else None


def choose_examples(
    samples: pd.DataFrame, truths: pd.DataFrame, wanted: Wanted, n: int, *, integer_ids: bool = False
) -> list[Example]:
    """Up to ``n`` examples: one of each kind of error, then a second of each, and so on.

    The most frequent kinds come first; within a kind the highest ``error_proba``, of missed objects the largest. No
    image comes twice while there are others.

    Args:
        samples: All stored sample rows of the result.
        truths: Its truth rows.
        wanted: Which; with a zone, missed objects are left out, which are in none.
        n: How many at most.
        integer_ids: Whether ids were given as int.

    Raises:
        ConfigError: If a zone is unknown.
        InputError: If ``n`` is not at least 1, or nothing is there to be shown.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise InputError(f"n: expected an int of at least 1, got {n!r}")
    if not set(BOX_COLUMNS) <= set(samples.columns) or not len(truths.columns):
        raise InputError(
            "this result has no boxes to draw: examples are for detection, evaluated by this version or a later one"
        )
    boxes = select(samples, wanted)
    boxes = boxes[np.isfinite(boxes[list(BOX_COLUMNS)].to_numpy(float)).all(axis=1)]
    missed = _missed(truths, wanted)
    if not len(boxes) and not len(missed):
        raise InputError(
            f"nothing to show: no {'wrong ' if wanted.only_errors else ''}box or missed object fits "
            f"dataset_type={wanted.dataset_type!r}, zone={wanted.zone!r}, error_code={wanted.error_code!r}"
        )
    around = _Around(samples, truths, integer_ids)
    return [around.example(row) for row in _in_turns(_kinds(boxes, missed), n)]


def overlap(first: Box, second: Box) -> float:
    """Area that two boxes share, in square pixels."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)


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


def _kinds(boxes: pd.DataFrame, missed: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """Rows by kind of code, each kind in the order in which it is shown."""
    ranked = boxes.sort_values(["error_proba", "input_id", "unit"], ascending=[False, True, True], kind="stable")
    kinds: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for row in _dicts(ranked):
        kinds.setdefault((_letter(row["error_code"]), row["is_error"]), []).append(row)
    ordered = [rows for _, rows in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0]))]
    if len(missed):
        area = (missed["x2"] - missed["x1"]) * (missed["y2"] - missed["y1"])
        largest = missed.assign(area=area).sort_values(["area", "input_id"], ascending=[False, True], kind="stable")
        ordered.insert(MISSED_AT, list(_dicts(largest)))
    return ordered


def _dicts(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    return ({str(name): value for name, value in row.items()} for row in frame.to_dict("records"))


def _in_turns(kinds: list[list[dict[str, Any]]], n: int) -> list[dict[str, Any]]:
    """Up to ``n`` rows, one of each kind in turn; of a kind the first of an image that has none yet, or the first."""
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
    """What lies around a box: the other boxes of its image."""

    def __init__(self, samples: pd.DataFrame, truths: pd.DataFrame, integer_ids: bool) -> None:
        self._samples = samples
        self._truths = truths
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
            box=_box([row[name] for name in BOX_COLUMNS]),
            code=row["error_code"],
            zone=None if missed else row["zone"],
            is_error=missed or bool(row["is_error"]),
            label=None if missed else int(row["label"]),
            truth=None if row["truth"] is None or row["truth"] != row["truth"] else int(row["truth"]),
            score=None if missed else float(row["score"]),
            error_proba={name: float(row[name]) for name in ERROR_COLUMNS if row.get(name) is not None},
            truths=tuple(_neighbours(truths, "truth")),
            others=tuple(_neighbours(samples, "label")),
            size=size,
        )


def _neighbours(frame: pd.DataFrame, label: str) -> Iterator[Neighbour]:
    boxes: NDArray[np.float64] = frame[list(BOX_COLUMNS)].to_numpy(float)
    for box, name, ignored in zip(boxes, frame[label].tolist(), frame["ignored"].tolist(), strict=True):
        if np.isfinite(box).all():
            yield Neighbour(_box(box.tolist()), int(name), bool(ignored))


def _box(sides: list[float]) -> Box:
    x1, y1, x2, y2 = (float(side) for side in sides)
    return x1, y1, x2, y2


def _size(truths: pd.DataFrame) -> tuple[int, int] | None:
    known: NDArray[np.float64] = truths[["image_width", "image_height"]].to_numpy(float)
    known = known[np.isfinite(known).all(axis=1)]
    return (round(known[0, 0]), round(known[0, 1])) if len(known) else None
