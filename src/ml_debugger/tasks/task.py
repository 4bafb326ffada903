"""A task is a value: the functions that differ between kinds of models, tied together in one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger.analysis import MatchSettings
from ml_debugger.estimation import ErrorModel, Layout
from ml_debugger.selection import BBoxStrategy, FilterConfig
from ml_debugger.types import ModelOutput

__all__ = [
    "RIDGE",
    "Description",
    "Diagnosis",
    "Judged",
    "Lessons",
    "Quality",
    "Reads",
    "Task",
    "Units",
    "Votes",
    "no_sizes",
    "share_of_right_units",
]

RIDGE: Final = ("signed_ridge",)

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Units:
    """U units as arrays.

    Attributes:
        label: ``(U,)`` int64 predicted classes; -1 where there is none.
        score: ``(U,)`` float64, the model's own confidence.
        features: ``(U, D)`` float32, rows of NaN where a unit has none; D = 0 where no unit has.
        logits: ``(U, C)`` float32, likewise.
        box: ``(U, 4)`` or ``(U, 7)`` float32, likewise; None stands for no columns.
        context: ``(U, K)`` float32 further numbers of each unit, likewise.
    """

    label: Int64
    score: Float64
    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    box: NDArray[np.float32] = None  # type: ignore[assignment]  # None is replaced by (U, 0) when it is built
    context: NDArray[np.float32] = None  # type: ignore[assignment]  # likewise

    def __post_init__(self) -> None:
        for name in ("box", "context"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.empty((len(self.label), 0), dtype=np.float32))

    def __len__(self) -> int:
        return len(self.label)

    def rows(self, chosen: NDArray[Any] | slice) -> Units:
        """Some of the units."""
        return Units(
            self.label[chosen],
            self.score[chosen],
            self.features[chosen],
            self.logits[chosen],
            self.box[chosen],
            self.context[chosen],
        )


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the truth says about N recorded units.

    Attributes:
        labelled: ``(N,)`` whether the truth of the unit is known.
        truth: ``(N,)`` int64 annotated class; -1 where there is none.
        is_error: ``(N,)``; False where not labelled.
        ignored: ``(N,)`` whether the unit lies in a region that the truth marks as to be ignored.
        missed: Truths that no unit covers (detection).
        notes: What people should know.
        details: Per name ``(N,)``: what else the task's targets and codes need.
        truths: What was annotated, to be drawn (detection).
    """

    labelled: Bool
    truth: Int64
    is_error: Bool
    ignored: Bool
    missed: pa.Table
    notes: tuple[str, ...] = ()
    details: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    truths: pa.Table = field(default_factory=lambda: pa.table({}))

    def rows(self, chosen: NDArray[Any] | slice) -> Diagnosis:
        """That of some of the units; what is said of truths stays whole."""
        return Diagnosis(
            self.labelled[chosen],
            self.truth[chosen],
            self.is_error[chosen],
            self.ignored[chosen],
            self.missed,
            self.notes,
            {name: values[chosen] for name, values in self.details.items()},
            self.truths,
        )


@dataclass(frozen=True, slots=True)
class Description:
    """What the estimator sees of U units.

    Attributes:
        descriptors: ``(U, K)`` float64, each oriented so that larger = more likely wrong.
        baseline: ``(U,)`` float64 log-odds of the baseline score.
        outlying: ``(U, J)`` float64, what tells units unlike the traced ones; larger = farther.
    """

    descriptors: Float64
    baseline: Float64
    outlying: Float64

    def rows(self, chosen: NDArray[Any]) -> Description:
        """Those of some of the units."""
        return Description(self.descriptors[chosen], self.baseline[chosen], self.outlying[chosen])


@dataclass(frozen=True, slots=True)
class Votes:
    """What the features of U units vote for.

    Attributes:
        classes: ``(U, V)`` int64, most voted first; -1 for none.
        shares: ``(U, V)`` float64.
    """

    classes: Int64
    shares: Float64

    def rows(self, chosen: NDArray[Any]) -> Votes:
        """Those of some of the units."""
        return Votes(self.classes[chosen], self.shares[chosen])


@dataclass(frozen=True, slots=True)
class Judged:
    """What the error model makes of U labelled units.

    Attributes:
        zones: ``(U,)``.
        votes: Of the units.
        error_proba: Per error column ``(U,)``.
    """

    zones: NDArray[np.object_]
    votes: Votes
    error_proba: Mapping[str, Float64]


@dataclass(frozen=True, slots=True)
class Lessons:
    """N labelled units and what may be learned from each.

    Attributes:
        units: The units, with finite logits and vectors.
        truth: ``(N,)`` annotated classes; -1 where there is none.
        is_error: ``(N,)``.
        groups: ``(N,)`` units that must not be split between folds.
        held: ``(N,)`` the units to be described; the others only serve the reference.
    """

    units: Units
    truth: Int64
    is_error: Bool
    groups: NDArray[Any]
    held: Bool


@dataclass(frozen=True, slots=True)
class Reads:
    """Which stored columns a task looks at, besides those that every task does.

    Attributes:
        records: Of record rows, to diagnose them.
        truths: Of truth rows, likewise.
        inputs: Of input rows, to learn what inputs as a whole say.
        vectors: List columns of record rows that estimation reads as matrices.
        fallback: That of ``vectors`` which is measured where a model shows no features; a run without it cannot be
            evaluated.
    """

    records: tuple[str, ...] = ()
    truths: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ("features", "logits")
    fallback: str = "logits"


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a model is by the task's own measures, in place of the share of right units.

    Attributes:
        metrics: By name, with ``_low`` and ``_high``; None where a measure is undefined or cannot be had.
        notes: What people should know.
    """

    metrics: Mapping[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def share_of_right_units(
    records: pa.Table, truths: pa.Table, matching: MatchSettings | None, draws: int, seed: int
) -> Quality:
    """Most tasks have no measure of their own."""
    return Quality()


def no_sizes(units: Units) -> NDArray[np.float32]:
    """Most inputs have no size that matters."""
    return np.full((len(units), 2), np.nan, dtype=np.float32)


def _no_columns(units: Units) -> Mapping[str, NDArray[Any]]:
    """Most tasks add nothing to a score row."""
    return {}


def _as_they_are(error_proba: Mapping[str, Float64]) -> Mapping[str, Float64]:
    """One column fits together with itself."""
    return error_proba


@dataclass(frozen=True, slots=True)
class Task:
    """The functions of one task.

    Attributes:
        name: As stored with a model, such as ``"classification"``.
        method: Name of its evaluation method, part of result names; ``"default"`` means this.
        config: Validates ``filter_config`` and strategy dicts.
        parse_config: (value, names of numeric additional fields) -> config; raises ConfigError.
        candidates: (scored rows, config, selected_only=False) -> one row per input.
        predictions: (ModelOutput, input rows) -> record rows.
        truths: (ground truth, input rows, C or None) -> truth rows.
        diagnose: (record rows without vectors, truth rows, thresholds or None) -> Diagnosis; raises ConfigError where
            the task has no use for thresholds.
        usable: (units, kind of vectors) -> ``(U,)`` where the baseline is known, ``(U,)`` where the vectors are too.
        learn: (lessons, kind of vectors, seed) -> (arrays of the reference, Description of the held units, Votes of
            them). No held unit, nor its group, has a part in what is said of it.
        describe: (units, ErrorModel) -> Description.
        votes: (units, ErrorModel) -> Votes.
        layout: What is known about the columns of the descriptors.
        learners: Names of those used where nobody asks for others.
        baseline: units whose baseline is known -> ``(U,)`` log-odds of the baseline score.
        targets: Diagnosis -> per error column ``(U,)`` 0/1, NaN where the question does not arise.
        codes: (Diagnosis, predicted labels, Judged, least share of a vote) -> error codes.
        reads: Stored columns that it looks at.
        score_columns: units -> further columns of their score rows.
        quality: (record rows, truth rows, thresholds or None, bootstrap draws, seed) -> the model's own measures, of
            held-out rows.
        input_sizes: units -> ``(U, 2)`` width and height of their inputs in pixels, NaN where unknown.
        reconcile: Error columns as learned one by one -> error columns that fit together; row by row, to the bit.
    """

    name: str
    method: str
    config: type[FilterConfig] | type[BBoxStrategy]
    parse_config: Callable[..., FilterConfig | BBoxStrategy]
    candidates: Callable[..., Any]
    predictions: Callable[[ModelOutput, pa.Table], pa.Table]
    truths: Callable[[Any, pa.Table, int | None], pa.Table]
    diagnose: Callable[[pa.Table, pa.Table, MatchSettings | None], Diagnosis]
    usable: Callable[[Units, str], tuple[Bool, Bool]]
    learn: Callable[[Lessons, str, int], tuple[dict[str, NDArray[Any]], Description, Votes]]
    describe: Callable[[Units, ErrorModel], Description]
    votes: Callable[[Units, ErrorModel], Votes]
    layout: Layout
    baseline: Callable[[Units], Float64]
    targets: Callable[[Diagnosis], Mapping[str, NDArray[Any]]]
    codes: Callable[[Diagnosis, Int64, Judged, float], list[str]]
    reads: Reads = Reads()
    learners: tuple[str, ...] = RIDGE
    score_columns: Callable[[Units], Mapping[str, NDArray[Any]]] = _no_columns
    quality: Callable[[pa.Table, pa.Table, MatchSettings | None, int, int], Quality] = share_of_right_units
    input_sizes: Callable[[Units], NDArray[np.float32]] = no_sizes
    reconcile: Callable[[Mapping[str, Float64]], Mapping[str, Float64]] = _as_they_are
