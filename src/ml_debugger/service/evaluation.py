"""One evaluation: labelled rows in; error model, zones, codes and metrics out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.analysis import Certificate, ZoneLimits, assign_zones, certify, fit_limits, zone_table
from ml_debugger.analysis.intervals import rows_for_promise
from ml_debugger.errors import EvaluationError, EvaluationWarning, warn
from ml_debugger.estimation import ErrorModel, FitSettings
from ml_debugger.estimation.folds import split_groups
from ml_debugger.service.contract import EvaluationRequest, Progress
from ml_debugger.service.evaluation_frames import Frames, learn_frames
from ml_debugger.service.evaluation_metrics import measure_result
from ml_debugger.service.evaluation_options import EvaluationOptions
from ml_debugger.service.evaluation_rows import Reader, Rows, group_rows, read_rows
from ml_debugger.service.evaluation_samples import (
    aside_table,
    error_code_table,
    missed_truths,
    sample_table,
    truth_table,
)
from ml_debugger.tasks.learning import Labelled, Learned, learn
from ml_debugger.tasks.scoring import OUTLIER_ZONE
from ml_debugger.tasks.task import Judged, Task

__all__ = ["MIN_ROWS", "Evaluation", "run_evaluation"]

MIN_ROWS = 20
FEW_TRAIN_ERRORS = 0.02  # an error rate on training rows below this says nothing about errors elsewhere
STABLE = 1.0 / 3.0  # share of the error rate that stable_coverage promises, and what it promises if it cannot
RELAXED = 1.0 / 2.0
STABLE_LIMIT = 1.0 / 2.0  # share of t_hi that t_lo may reach: next to a hotspot nothing is stable, whatever the average
NO_ERRORS_RISK = 0.01  # what stable_coverage tries to promise where no error was seen

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation gives, but for names and times.

    Attributes:
        model: The error model with the limits of the zones.
        info: JSON: ``limits``, ``promise``, ``estimator``, ``roles``, ``notes`` and more.
        metrics: JSON; None where a metric is undefined.
        samples: One row per held-out labelled unit.
        zones: One row per zone.
        error_codes: One row per code and zone.
        missed: Truths that no unit covers.
        truths: What was annotated, to be drawn.
    """

    model: ErrorModel
    info: dict[str, Any]
    metrics: dict[str, Any]
    samples: pa.Table
    zones: pa.Table
    error_codes: pa.Table
    missed: pa.Table
    truths: pa.Table


def run_evaluation(
    request: EvaluationRequest,
    task: Task,
    read: Reader,
    progress: Progress | None = None,
    fields: Sequence[str] = (),
) -> Evaluation:
    """Learn where a run errs.

    Args:
        request: Its ``options``; names and epoch are resolved by the caller.
        task: Of the model.
        read: (kind, columns, dataset_types or None) -> newest rows of the run and epoch, streamed.
        progress: Told of each stage.
        fields: Additional columns of records, carried into ``samples``.

    Raises:
        ConfigError: If an option is not valid.
        EvaluationError: If the labelled rows do not allow an evaluation.

    Warns:
        EvaluationWarning: If the evaluation had to fall back to something simpler.
    """
    options = EvaluationOptions.read(request.options or {}, "options")
    tell = progress or _silent
    tell("reading labelled rows", 0.0)
    rows = read_rows(task, read, fields, options)
    tell("learning", 0.3)
    vectors = _choose_vectors(task, rows)
    plan = _plan(task, rows, vectors, options)
    learned = learn(task, plan.labelled, vectors, plan.settings)
    tell("measuring", 0.8)
    result = _with_frames(_conclude(task, rows, plan, learned, options), learn_frames(task, rows, read, options))
    tell("done", 1.0)
    return result


def _with_frames(found: Evaluation, frames: Frames) -> Evaluation:
    """What was learned of inputs as a whole, added to what was learned of units."""
    if not frames.targets:
        return found
    model = ErrorModel({**found.model.arrays, **frames.arrays}, {**found.model.meta, "frames": frames.targets})
    estimator = {name: {**one, "used": one["learners"] or ["baseline"]} for name, one in frames.targets.items()}
    info = {**found.info, "estimator": {**found.info["estimator"], **estimator}}
    return replace(found, model=model, info=info, metrics={**found.metrics, **frames.metrics})


def _silent(stage: str, done: float) -> None:
    """No one wants to know."""


def _choose_vectors(task: Task, rows: Rows) -> str:
    """Features where most rows that can be judged have finite ones, else what the task falls back to."""
    fallback = task.reads.fallback
    has_logits, whole = task.usable(rows.units, "features")
    if whole.sum() * 2 >= has_logits.sum() and whole.any():
        return "features"
    count = int((has_logits & ~whole).sum())
    if rows.units.features.shape[1] and count:
        text = f"{count} of {len(whole)} rows have NaN or infinite features: the {fallback} are used instead"
        _warn(rows.notes, text)
    elif not rows.units.features.shape[1]:
        rows.notes.append(f"the model shows no features: error estimation rests on its {fallback} alone")
    return fallback


@dataclass(frozen=True, slots=True)
class _Plan:
    """Who plays which part, and what is to be promised."""

    labelled: Labelled
    settings: FitSettings
    risk: float
    needed: int
    error_rate: float
    several: bool  # inputs have several units, which are not independent
    words: columns.Words


def _plan(task: Task, rows: Rows, vectors: str, options: EvaluationOptions) -> _Plan:
    _, whole = task.usable(rows.units, vectors)
    usable, words = rows.held_out & whole, columns.words_of(task.name)
    groups, copies = group_rows(rows, whole, options.group_by)
    _check_enough(task, rows, usable, groups, options.group_by)
    if copies:
        rows.notes.append(
            f"{copies} {words.units} are exact copies of another; copies are kept in one fold and out of the bank"
        )
    broken = int((rows.held_out & ~whole).sum())
    if broken:
        _warn(
            rows.notes,
            f"{broken} held-out {words.units} have NaN or infinite values: they are not learned from and are "
            f"{OUTLIER_ZONE}",
        )
    in_bank = _choose_bank(rows, whole)
    is_error = rows.diagnosis.is_error
    errors, count = int(is_error[usable].sum()), int(usable.sum())
    rate = errors / count
    risk = options.stable_risk or (rate * STABLE if errors else NO_ERRORS_RISK)
    needed = rows_for_promise(risk, options.confidence)
    certifying = np.zeros(len(groups), dtype=bool)
    if options.t_lo is None and options.certification_share and count * options.certification_share >= needed:
        certifying[usable] = split_groups(groups[usable], options.certification_share, seed=options.seed)
    settings = FitSettings(
        learners=task.learners if options.learners is None else options.learners,
        n_folds=options.n_folds,
        min_errors=options.min_errors,
        seed=options.seed,
        why_baseline=_why_baseline(rows, errors, count, options),
    )
    if settings.why_baseline is None:
        _note_extremes(rows, usable, errors, words.units)
    labelled = Labelled(
        rows.units,
        rows.diagnosis.truth,
        task.targets(rows.diagnosis),
        groups,
        in_bank,
        rows.held_out,
        certifying,
    )
    several = options.group_by is not None or bool((rows.table["unit"].to_numpy() > 0).any())
    return _Plan(labelled, settings, risk, needed, rate, several, words)


def _check_enough(task: Task, rows: Rows, usable: Bool, groups: NDArray[Any], group_by: str | None) -> None:
    held_out, count = int(rows.held_out.sum()), int(usable.sum())
    tags = ", ".join(rows.fit_on)
    needed = task.reads.fallback
    if getattr(rows.units, needed).shape[1] == 0:
        raise EvaluationError(f"the traced rows hold no {needed}: trace a model that returns them, then evaluate")
    if held_out < MIN_ROWS:
        raise EvaluationError(
            f"too few labelled rows: {held_out} of {tags}, an evaluation needs at least {MIN_ROWS}; "
            f"trace more labelled inputs (labelled so far: {rows.counts})"
        )
    if count < MIN_ROWS:
        raise EvaluationError(
            f"too few usable rows: {held_out - count} of {held_out} labelled rows of {tags} have NaN or infinite "
            f"{needed} or features; check the model's inputs and weights, then trace again"
        )
    distinct = len(np.unique(groups[usable]))
    if distinct < MIN_ROWS // 2:
        kind = "inputs" if group_by is None else f"values of {group_by}"
        raise EvaluationError(
            f"too few distinct {kind}: the {count} labelled rows of {tags} are {distinct} {kind}, an evaluation needs "
            f"at least {MIN_ROWS // 2}; trace more {kind}"
        )


def _choose_bank(rows: Rows, whole: Bool) -> Bool:
    found = int((rows.in_bank & whole).sum())
    if found >= MIN_ROWS or bool((rows.in_bank == rows.held_out).all()):
        return rows.in_bank
    tags = ", ".join(rows.bank_from)
    rows.notes.append(f"only {found} usable rows of {tags}: the held-out rows serve as reference too, by cross-fitting")
    return rows.in_bank | rows.held_out


def _why_baseline(rows: Rows, errors: int, count: int, options: EvaluationOptions) -> str | None:
    """Training rows with hardly any error cannot teach what errors look like."""
    if set(rows.fit_on) != {columns.TRAIN}:
        return None
    if errors >= options.min_errors and errors / count > FEW_TRAIN_ERRORS:
        rows.notes.append(
            "learned from training rows only, where models err less than elsewhere: error_proba is likely too low; "
            "trace held-out labelled inputs (dataset_type 'val') for honest figures"
        )
        return None
    _warn(
        rows.notes,
        f"only training rows are labelled and {errors} of {count} are wrong: the calibrated confidence is used; trace "
        "held-out labelled inputs (dataset_type 'val') so that errors can be learned",
    )
    return f"only training rows, {errors} of {count} wrong"


def _note_extremes(rows: Rows, usable: Bool, errors: int, units: str) -> None:
    count = int(usable.sum())
    if errors == 0:
        _warn(
            rows.notes,
            f"none of the {count} held-out {units} is wrong, so errors cannot be learned; the confidence is calibrated",
        )
    elif errors == count:
        _warn(
            rows.notes,
            f"all {count} held-out {units} are wrong: check that labels and class ids fit the model's outputs",
        )
    classes = np.unique(rows.diagnosis.truth[usable])
    if len(classes) == 1:
        rows.notes.append(
            f"all held-out {units} have the annotated class {int(classes[0])}: figures hold for that class only"
        )


def _warn(notes: list[str], text: str) -> None:
    notes.append(text)
    warn(text, EvaluationWarning)


def _conclude(task: Task, rows: Rows, plan: _Plan, learned: Learned, options: EvaluationOptions) -> Evaluation:
    """Zones, codes, tables and metrics of the held-out rows."""
    held = rows.held_out
    probability, support = learned.error_proba[columns.ERROR_PROBA][held], learned.support[held]
    score, is_error = rows.units.score[held], rows.diagnosis.is_error[held]
    whole = learned.whole[held]
    limits = fit_limits(
        probability[whole], score[whole], support[whole], plan.error_rate, options.model_dump(include=_LIMIT_OPTIONS)
    )
    safe = whole & (support >= limits.min_support) & (probability < limits.t_hi * STABLE_LIMIT)
    certifying = plan.labelled.certifying[held] if options.certification_share else whole
    promise = _promise(probability, is_error, certifying & safe, plan, options)
    if set(rows.fit_on) == {columns.TRAIN} and promise.rows:
        promise = replace(promise, threshold=0.0, rows=0, errors=0, bound=1.0, sentence=_TRAIN_ONLY)
    highest = limits.t_hi if options.t_lo is not None else limits.t_hi * STABLE_LIMIT
    limits = replace(limits, t_lo=min(promise.threshold, highest))
    zones = assign_zones(limits, probability, score, support)
    zones[~whole] = OUTLIER_ZONE
    proba = {name: values[held] for name, values in learned.error_proba.items()}
    judged = Judged(zones, learned.votes.rows(held), proba)
    codes = task.codes(rows.diagnosis.rows(held), rows.units.label[held], judged, options.min_vote)
    model = ErrorModel(learned.model.arrays, {**learned.model.meta, "limits": limits.to_json()})
    scored = {**proba, **task.score_columns(rows.units.rows(held)), "support": support, "zone": zones}
    samples = sample_table(rows.table.filter(pa.array(held)), rows.diagnosis.rows(held), scored, codes)
    ids = samples["input_id"].to_pylist()
    if rows.aside is not None:
        samples = pa.concat_tables([samples, aside_table(task, rows.aside, model, limits, options.min_vote)])
    return Evaluation(
        model=model,
        info=_info(rows, plan, learned, limits, promise, options),
        metrics=measure_result(learned, rows, plan.labelled, options),
        samples=samples,
        zones=zone_table(limits, zones, is_error, promise),
        error_codes=error_code_table(rows, codes, zones, ids),
        missed=missed_truths(rows),
        truths=truth_table(task, rows),
    )


_TRAIN_ONLY = (
    "nothing is promised: only training rows are labelled, and models err less on them than elsewhere; trace held-out "
    "labelled inputs (dataset_type 'val')"
)
_LIMIT_OPTIONS = {"t_hi", "c_lo", "c_hi", "c_lo_percentile", "c_hi_percentile", "outlier_share"}


def _promise(
    probability: Float64, is_error: Bool, certifying: Bool, plan: _Plan, options: EvaluationOptions
) -> Certificate:
    """The certificate of ``stable_coverage``, or why there is none."""
    nothing = Certificate(0.0, plan.risk, options.confidence, 0, 0, 1.0, "")
    if options.t_lo is not None:
        return replace(nothing, threshold=options.t_lo, sentence=f"nothing is promised: t_lo was set to {options.t_lo}")
    count = int(plan.labelled.held_out.sum())
    if not certifying.any():
        total = int(np.ceil(plan.needed / (options.certification_share or 1.0)))
        sentence = (
            f"nothing is promised: an error rate of at most {plan.risk:.2%} with {options.confidence:.0%} confidence "
            f"takes at least {plan.needed} certification {plan.words.units}; label about {total} held-out "
            f"{plan.words.units}, there are {count}"
        )
        return replace(nothing, sentence=sentence)
    relaxed = None if options.stable_risk or plan.error_rate == 0.0 else plan.error_rate * RELAXED
    groups = plan.labelled.groups[plan.labelled.held_out][certifying] if plan.several else None
    return certify(
        probability[certifying],
        is_error[certifying],
        plan.risk,
        options.confidence,
        relaxed=relaxed,
        labels=count,
        groups=groups,
        words=plan.words,
    )


def _info(
    rows: Rows, plan: _Plan, learned: Learned, limits: ZoneLimits, promise: Certificate, options: EvaluationOptions
) -> dict[str, Any]:
    meta = learned.model.meta
    certified = {
        "risk": promise.risk,
        "confidence": promise.confidence,
        "rows": promise.rows,
        "errors": promise.errors,
        "bound": promise.bound,
        "sentence": promise.sentence,
        "certification_rows": int(plan.labelled.certifying.sum()),
        "certified_on": "split" if options.certification_share else "cross-fitted",
    }
    estimator = {
        name: {**target, "used": target["learners"] or ["baseline"]} for name, target in meta["targets"].items()
    }
    reasons = [f"{name} is {target['reason']}" for name, target in estimator.items() if not target["learners"]]
    return {
        "limits": limits.to_json(),
        "promise": certified,
        "estimator": estimator,
        "vectors": meta["vectors"],
        "roles": {"fit_on": list(rows.fit_on), "bank_from": list(rows.bank_from)},
        "labelled": rows.counts,
        "settings": options.model_dump(mode="json"),
        "notes": [*rows.notes, *reasons],
    }
