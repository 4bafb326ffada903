"""The error model: arrays and numbers only, the same at rest and in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.errors import StoreError
from ml_debugger.estimation.bank import Bank
from ml_debugger.estimation.blocks import MANY, in_blocks
from ml_debugger.estimation.calibration import calibrate
from ml_debugger.estimation.learners import LEARNERS, Design
from ml_debugger.estimation.outliers import outlier_score, support_of
from ml_debugger.estimation.reference import Reference

__all__ = ["FORMAT", "ErrorModel", "Predictions"]

FORMAT = 3
META_KEY = "ml_debugger"

Float64 = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What an error model says about U units.

    Attributes:
        error_proba: ``{target: (U,)}`` calibrated probabilities.
        support: ``(U,)`` share of held-out rows at least as outlying.
    """

    error_proba: Mapping[str, Float64]
    support: Float64


@dataclass(frozen=True, slots=True)
class ErrorModel:
    """A fitted error estimator.

    Attributes:
        arrays: Every array by path: ``reference/...``, ``outlier/...``, ``<target>/<learner>/...``,
            ``<target>/calibrator/...`` and
            ``<target>/baseline/...``; ``frames/<target>/...`` of inputs as a whole. Read-only.
        meta: JSON: ``task``, ``n_classes``, ``vectors`` (``"features"`` or ``"logits"``), ``targets`` (per target the
            learners
            in use and why), ``limits`` (of the zones).
    """

    arrays: Arrays
    meta: Mapping[str, Any] = field(default_factory=dict)
    _ready: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for array in self.arrays.values():
            array.flags.writeable = False

    def part(self, path: str) -> dict[str, NDArray[Any]]:
        """The arrays below a path, by the rest of their names."""
        prefix = path + "/"
        return {name[len(prefix) :]: array for name, array in self.arrays.items() if name.startswith(prefix)}

    def reference(self) -> Reference:
        """What descriptors refer to."""
        found: Reference = self.once("reference", lambda: Reference.from_arrays(self.part("reference")))
        return found

    def bank(self) -> Bank | None:
        """The space of the features and the rows kept of it; None where the task keeps none."""
        return self.reference().bank if self.part("reference/bank") else None

    def predict(self, descriptors: Float64, baseline: Float64, outlying: Float64) -> Predictions:
        """Calibrated error probabilities of U units; the same bits for a unit in every batch.

        Args:
            descriptors: ``(U, K)`` finite, as the task describes units.
            baseline: ``(U,)`` log-odds of the baseline score.
            outlying: ``(U, J)`` what tells units unlike the traced ones.
        """
        names = list(self.meta["targets"])
        estimators = self.once("estimators", lambda: [self._estimator(name) for name in names])
        outlier = self.once("outlier", lambda: self.part("outlier"))

        def block(descriptors: Float64, baseline: Float64, outlying: Float64) -> tuple[Float64, ...]:
            design = Design(descriptors, baseline)
            support = support_of(outlier, outlier_score(outlier, outlying))
            return (support, *(_estimate(parts, calibrator, design) for parts, calibrator in estimators))

        support, *probabilities = in_blocks(block, descriptors, baseline, outlying, most=MANY)
        return Predictions(dict(zip(names, probabilities, strict=True)), support)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What is made from the model once, since live scoring asks for it with every batch."""
        if name not in self._ready:
            self._ready[name] = make()
        return self._ready[name]

    def predict_baseline(self, baseline: Float64) -> dict[str, Float64]:
        """Calibrated probabilities from the baseline score alone, for units whose features cannot be used."""
        return {name: _calibrated(self.part(f"{name}/baseline"), baseline) for name in self.meta["targets"]}

    def predict_frames(self, descriptors: Float64, baseline: Float64) -> dict[str, Float64]:
        """Calibrated probabilities of inputs as a whole, per target; the same bits in every batch."""
        names = list(self.meta.get("frames", ()))
        inner = self.once("frames", lambda: ErrorModel(self.part("frames"), {"targets": self.meta.get("frames", {})}))
        estimators = [inner._estimator(name) for name in names]

        def block(descriptors: Float64, baseline: Float64) -> tuple[Float64, ...]:
            design = Design(descriptors, baseline)
            return tuple(_estimate(parts, calibrator, design) for parts, calibrator in estimators)

        return dict(zip(names, in_blocks(block, descriptors, baseline) if names else (), strict=True))

    def _estimator(self, target: str) -> tuple[list[tuple[str, dict[str, NDArray[Any]]]], dict[str, NDArray[Any]]]:
        learners = self.meta["targets"][target]["learners"]
        if not learners:
            return [], self.part(f"{target}/baseline")
        ready = [(name, LEARNERS[name].prepare(self.part(f"{target}/{name}"))) for name in learners]
        return ready, self.part(f"{target}/calibrator")

    def to_bytes(self) -> bytes:
        """The model as safetensors with its JSON in the header; :meth:`from_bytes` gives back the same bits."""
        from safetensors.numpy import save

        header = json.dumps({"format": FORMAT, "meta": self.meta}, sort_keys=True, allow_nan=False)
        ordered = {name: np.asarray(self.arrays[name], order="C") for name in sorted(self.arrays)}
        return bytes(save(ordered, metadata={META_KEY: header}))

    @classmethod
    def from_bytes(cls, data: bytes) -> ErrorModel:
        """The model that :meth:`to_bytes` wrote.

        Raises:
            StoreError: If the bytes are damaged, not an error model, or of a newer format.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            length = int.from_bytes(data[:8], "little")
            header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][META_KEY])
            arrays = {name: np.array(array) for name, array in load(data).items()}
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"error model: expected safetensors written by MLdebugger, got {len(data)} bytes: {error}"
            ) from None
        if header["format"] < FORMAT:
            raise StoreError(f"error model: format {header['format']} is older than {FORMAT}; evaluate the run again")
        if header["format"] > FORMAT:
            raise StoreError(f"error model: format {header['format']} is newer than {FORMAT}; upgrade ml-debugger")
        return cls(arrays, header["meta"])


def _estimate(parts: list[tuple[str, dict[str, NDArray[Any]]]], calibrator: Arrays, design: Design) -> Float64:
    if not parts:
        return calibrate(calibrator, design.baseline)
    log_odds = [LEARNERS[name].log_odds(arrays, design) for name, arrays in parts]
    return calibrate(calibrator, sum(log_odds[1:], log_odds[0]) / float(len(log_odds)))


def _calibrated(calibrator: Arrays, log_odds: Float64) -> Float64:
    def block(rows: Float64) -> tuple[Float64]:
        return (calibrate(calibrator, rows),)

    return np.asarray(in_blocks(block, log_odds)[0])
