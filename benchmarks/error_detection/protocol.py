"""What is measured on one pair: every method at every val size, paired comparisons, zones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.error_detection import bootstrap, metrics, zones
from benchmarks.error_detection.baselines import Geometry
from benchmarks.error_detection.controls import control_rows
from benchmarks.error_detection.product import Evaluated, Traced, evaluate
from benchmarks.error_detection.reference import reference_row
from benchmarks.error_detection.scores import Scored, make_folds
from benchmarks.error_detection.stored import baseline_scores
from benchmarks.error_detection.traces import Pair, Split

__all__ = ["PRODUCT", "Draw", "Measured", "Plan", "measure_pair"]

FloatArray = NDArray[np.floating]

PRODUCT = "ml_debugger"
COMPARED = ("auroc", "e_aurc", "brier", "nll")


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        sizes: Val sizes and how many random subsets of each; None is all val rows, once.
        resamples: Of the paired bootstrap.
        methods: Baselines to run; None is all.
        cache: Folder of baseline scores of earlier runs; None computes them anew.
        controls: Whether to run the negative controls.
    """

    sizes: tuple[tuple[int | None, int], ...] = ((None, 1), (1000, 3), (300, 3))
    resamples: int = 500
    methods: tuple[str, ...] | None = None
    cache: Path | None = None
    controls: bool = True


@dataclass(frozen=True)
class Draw:
    """One subset of the val rows: ``size`` asked for (None = all), and its number."""

    size: int | None
    number: int
    rows: NDArray[np.integer]

    @property
    def label(self) -> str:
        """The size in words."""
        return "all" if self.size is None else str(self.size)


@dataclass
class Measured:
    """Flat tables of one pair, ready for CSV: each a list of records."""

    figures: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    zones: list[dict[str, Any]] = field(default_factory=list)
    promises: list[dict[str, Any]] = field(default_factory=list)
    controls: list[dict[str, Any]] = field(default_factory=list)
    reference: list[dict[str, Any]] = field(default_factory=list)

    def extend(self, other: Measured) -> None:
        """Append another's records."""
        for one in fields(self):
            getattr(self, one.name).extend(getattr(other, one.name))


def make_draws(val: Split, plan: Plan) -> Iterator[Draw]:
    """Subsets of the val rows, right and wrong rows in proportion; sizes that val does not exceed are left out."""
    for size, count in plan.sizes:
        if size is None:
            yield Draw(None, 0, np.arange(len(val)))
            continue
        for number in range(count if size < len(val) else 0):
            # One part of a stratified partition into len / size parts.
            folds = make_folds(val.errors, seed=1000 + number, n_folds=max(2, round(len(val) / size)))
            order = np.argsort(folds, kind="stable")
            yield Draw(size, number, np.sort(order[:size]))


def measure_pair(pair: Pair, plan: Plan) -> Measured:
    """Every table of one pair."""
    geometry = Geometry(pair.train, pair.weight, pair.bias)
    measured = Measured()
    for draw in make_draws(pair.val, plan):
        measured.extend(_measure_draw(pair, geometry, draw, plan))
    if plan.controls:
        measured.controls += control_rows(pair)
    return measured


def _measure_draw(pair: Pair, geometry: Geometry, draw: Draw, plan: Plan) -> Measured:
    val = pair.val.take(draw.rows)
    methods = baseline_scores(pair, geometry, val, plan.methods, plan.cache)
    started = time.perf_counter()
    evaluated = evaluate([Traced.of(pair.train, "train"), Traced.of(val, "val")])
    seconds = time.perf_counter() - started
    estimates = {name: evaluated.estimate(split) for name, split in pair.reported.items()}
    methods[PRODUCT] = Scored(
        np.full(len(val), np.nan),
        {name: found.error_proba for name, found in estimates.items()},
        {name: found.error_proba for name, found in estimates.items()},
        note=_describe(evaluated, seconds),
    )
    key = {"pair": pair.name, "source": pair.source, "val": draw.label, "draw": draw.number}
    measured = Measured()
    if draw.size is None and (row := reference_row(pair, methods)):
        measured.reference.append(row)
    for name, split in pair.reported.items():
        here = {**key, "split": name, "error_rate": float(split.errors.mean()), "val_errors": int(val.errors.sum())}
        measured.figures += [_figures(here, method, found, split, name) for method, found in methods.items()]
        if draw.number == 0:
            measured.comparisons += _compare(here, methods, split, name, plan.resamples)
        measured.zones += [{**here, **row} for row in zones.zone_rows(estimates[name].zone, split.errors)]
        measured.promises.append({**here, **zones.promise_row(evaluated, estimates[name].zone, split.errors)})
    return measured


def _describe(evaluated: Evaluated, seconds: float) -> str:
    used = "baseline" if evaluated.fell_back else "learned"
    return f"{used}, fitted in {seconds:.1f} s"


def _figures(key: dict[str, Any], method: str, found: Scored, split: Split, name: str) -> dict[str, Any]:
    figures = metrics.measure(found.score[name], found.proba[name], split.errors, null=key["val"] == "all")
    return {**key, "method": method, "val_auroc": found.val_auroc, "note": found.note, **figures}


def best_baseline(methods: dict[str, Scored], split: Split | None = None, name: str = "") -> str:
    """The baseline with the highest AUROC: on val, or on a reported split, which favours the baselines."""
    baselines = [method for method in methods if method != PRODUCT]
    if split is None:
        return max(baselines, key=lambda method: methods[method].val_auroc)
    return max(baselines, key=lambda method: metrics.auroc(methods[method].score[name], split.errors))


def _compare(
    key: dict[str, Any], methods: dict[str, Scored], split: Split, name: str, resamples: int
) -> list[dict[str, Any]]:
    """The product against MSP and the two best baselines, with paired intervals for each figure."""
    weights = bootstrap.draw_weights(len(split), resamples, seed=0)
    against = {
        "msp": "msp",
        "best on val": best_baseline(methods),
        f"best on {name}": best_baseline(methods, split, name),
    }
    rows = {method: _resampled(methods[method], split, name, weights) for method in {PRODUCT, *against.values()}}
    points = {
        method: metrics.measure(methods[method].score[name], methods[method].proba[name], split.errors, null=False)
        for method in rows
    }
    found = []
    for role, baseline in against.items():
        for figure in COMPARED:
            gap = bootstrap.difference(
                points[PRODUCT][figure] - points[baseline][figure], rows[PRODUCT][figure] - rows[baseline][figure]
            )
            found.append(
                {
                    **key,
                    "against": role,
                    "baseline": baseline,
                    "figure": figure,
                    "ours": points[PRODUCT][figure],
                    "theirs": points[baseline][figure],
                    **asdict(gap),
                    # Better is larger for AUROC and smaller for the others.
                    "verdict": gap.sign if figure == "auroc" else -gap.sign,
                }
            )
    return found


def _resampled(found: Scored, split: Split, name: str, weights: FloatArray) -> dict[str, FloatArray]:
    score, proba, errors = found.score[name], found.proba[name], split.errors
    kept = np.clip(proba, 1e-6, 1 - 1e-6)
    return {
        "auroc": bootstrap.auroc_rows(score, errors, weights),
        "e_aurc": bootstrap.e_aurc_rows(score, errors, weights),
        "brier": bootstrap.mean_rows((proba - errors) ** 2, weights),
        "nll": bootstrap.mean_rows(-np.where(errors == 1, np.log(kept), np.log1p(-kept)), weights),
    }
