"""A task is a value: the functions that differ between kinds of models, tied together in one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger.estimation import ErrorModel, Layout
from ml_debugger.selection import FilterConfig
from ml_debugger.types import ModelOutput

__all__ = ["Description", "Diagnosis", "Lessons", "Task", "Units", "Votes"]

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
    """

    label: Int64
    score: Float64
    features: NDArray[np.float32]
    logits: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.label)

    def rows(self, chosen: NDArray[Any]) -> Units:
        """Some of the units."""
        return Units(self.label[chosen], self.score[chosen], self.features[chosen], self.logits[chosen])


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
    """

    labelled: Bool
    truth: Int64
    is_error: Bool
    ignored: Bool
    missed: pa.Table
    notes: tuple[str, ...] = ()


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
class Lessons:
    """N labelled units and what may be learned from each.

    Attributes:
        units: The units, with finite logits and vectors.
        truth: ``(N,)`` annotated classes.
        groups: ``(N,)`` units that must not be split between folds.
        held: ``(N,)`` the units to be described; the others only serve the reference.
    """

    units: Units
    truth: Int64
    groups: NDArray[Any]
    held: Bool


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
        diagnose: (record rows without vectors, truth rows) -> Diagnosis.
        usable: (units, kind of vectors) -> ``(U,)`` finite logits, ``(U,)`` finite logits and vectors.
        learn: (lessons, kind of vectors, seed) -> (arrays of the reference, Description of the held units, Votes of
            them). No held unit, nor its group, has a part in what is said of it.
        describe: (units, ErrorModel) -> Description.
        votes: (units, ErrorModel) -> Votes.
        layout: What is known about the columns of the descriptors.
        baseline: units with finite logits -> ``(U,)`` log-odds of the baseline score.
        targets: is_error -> per error column ``(U,)`` 0/1.
        codes: (truth, label, zones, vote classes, vote shares, least share) -> error codes.
    """

    name: str
    method: str
    config: type[FilterConfig]
    parse_config: Callable[..., FilterConfig]
    candidates: Callable[..., Any]
    predictions: Callable[[ModelOutput, pa.Table], pa.Table]
    truths: Callable[[Any, pa.Table, int | None], pa.Table]
    diagnose: Callable[[pa.Table, pa.Table], Diagnosis]
    usable: Callable[[Units, str], tuple[Bool, Bool]]
    learn: Callable[[Lessons, str, int], tuple[dict[str, NDArray[Any]], Description, Votes]]
    describe: Callable[[Units, ErrorModel], Description]
    votes: Callable[[Units, ErrorModel], Votes]
    layout: Layout
    baseline: Callable[[Units], Float64]
    targets: Callable[[Bool], Mapping[str, Bool]]
    codes: Callable[[Int64, Int64, NDArray[np.object_], Int64, Float64, float], list[str]]
