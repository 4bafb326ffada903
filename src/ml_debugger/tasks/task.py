"""A task is a value: the functions that differ between kinds of models, tied together in one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger.estimation import Bank
from ml_debugger.selection import FilterConfig
from ml_debugger.types import ModelOutput

__all__ = ["Description", "Diagnosis", "Task", "Units"]

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
        categories: ``(U,)`` int64, such as the predicted class.
        vote_classes: ``(U, V)`` int64, the classes that the features vote for, most voted first; -1 for none.
        vote_shares: ``(U, V)`` float64.
    """

    descriptors: Float64
    baseline: Float64
    categories: Int64
    vote_classes: Int64
    vote_shares: Float64


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
        reference: (units, truth, is_error, kind of vectors, seed) -> Bank.
        describe: (units, bank, kind of vectors) -> Description.
        baseline: units with finite logits -> ``(U,)`` log-odds of the baseline score.
        targets: is_error -> per error column ``(U,)`` 0/1.
        outlier_axis: Positions of the descriptors that make the outlier axis.
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
    reference: Callable[[Units, Int64, Bool, str, int], Bank]
    describe: Callable[[Units, Bank, str], Description]
    baseline: Callable[[Units], Float64]
    targets: Callable[[Bool], Mapping[str, Bool]]
    outlier_axis: tuple[int, ...]
    codes: Callable[[Int64, Int64, NDArray[np.object_], Int64, Float64, float], list[str]]
