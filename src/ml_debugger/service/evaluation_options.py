"""Options of an evaluation: every number of the estimator and the zones that a user may set."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ml_debugger.analysis import MatchSettings
from ml_debugger.errors import ConfigError
from ml_debugger.estimation import LEARNERS
from ml_debugger.selection.configs import Config, Number, Seed, Text

__all__ = ["EvaluationOptions"]

Share = Annotated[Number, Field(ge=0.0, lt=1.0)]
Inner = Annotated[Number, Field(gt=0.0, lt=1.0)]
Probability = Annotated[Number, Field(ge=0.0, le=1.0)]
Percentile = Annotated[Number, Field(ge=0.0, le=100.0)]
Folds = Annotated[int, Field(strict=True, ge=2, le=50)]
Size = Annotated[int, Field(strict=True, ge=1)]
Cap = Annotated[int, Field(strict=True, ge=100)]
Matching = Annotated[MatchSettings, BeforeValidator(MatchSettings.read)]
Draws = Annotated[int, Field(strict=True, ge=0, le=10_000)]


class EvaluationOptions(Config):
    """What ``request_evaluation(options=...)`` takes.

    Args:
        fit_on: dataset_types that learner and calibrator use; default all labelled ones but those of ``bank_from``.
        bank_from: dataset_types of the reference statistics; default ``train``.
        learners: Names of learners whose log-odds are averaged; default those of the task; ``()`` = the calibrated
            baseline only.
        stable_risk: Error rate that ``stable_coverage`` promises; default a third of the error rate, or half of it
            where a third cannot be promised.
        confidence: Of that promise.
        certification_share: Share of the held-out inputs kept for the promise, unseen by probes, learner and
            calibrator; 0 = none is kept, and out-of-fold values of all of them certify.
        t_lo: Error probability below which a row is ``stable_coverage``; setting it gives up the promise.
        t_hi: Error probability from which on a row is a hotspot; default twice the error rate within 0.2..0.5.
        c_lo: Confidence below which a hotspot is recessive; default the percentile below.
        c_hi: Confidence from which on a hotspot is critical; default the percentile below.
        c_lo_percentile: Of the confidence of held-out rows with ``error_proba >= t_hi``.
        c_hi_percentile: Likewise.
        outlier_share: Share of held-out rows that are ``aleatoric_hotspot``.
        min_vote: Least share of the features' vote with which a class is named in an error code.
        min_errors: With fewer errors only the baseline is calibrated.
        n_folds: Folds of the cross-fitting.
        group_by: Name of an additional field; inputs with the same value, such as the frames of a drive, are never
            split between folds, and are one piece of evidence for the promise and the intervals.
        max_fit_rows: More held-out rows are subsampled, always the same ones for the same ids and seed.
        max_bank_rows: Likewise for the rows of the reference statistics.
        matching: A dict of thresholds by which predicted belong to annotated boxes: names of ``MatchSettings``.
        bootstrap: Draws for the intervals of the metrics.
        seed: Of everything random.

    Raises:
        ConfigError: On an unknown option or a value out of its range.
    """

    guide: ClassVar[str] = ""

    fit_on: tuple[Text, ...] | None = None
    bank_from: tuple[Text, ...] | None = None
    learners: tuple[Text, ...] | None = None
    stable_risk: Inner | None = None
    confidence: Inner = 0.95
    certification_share: Share = 0.0
    t_lo: Probability | None = None
    t_hi: Probability | None = None
    c_lo: Probability | None = None
    c_hi: Probability | None = None
    c_lo_percentile: Percentile = 40.0
    c_hi_percentile: Percentile = 75.0
    outlier_share: Share = 0.02
    min_vote: Probability = 0.15
    min_errors: Size = 10
    n_folds: Folds = 5
    group_by: Text | None = None
    max_fit_rows: Cap = 50_000
    max_bank_rows: Cap = 20_000
    matching: Matching | None = None
    bootstrap: Draws = 200
    seed: Seed = 0

    @field_validator("fit_on", "bank_from", mode="after")
    @classmethod
    def _check_tags(cls, tags: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if tags is not None and not tags:
            raise ConfigError("name at least one dataset_type, or leave the option out")
        return tags

    @field_validator("learners", mode="after")
    @classmethod
    def _check_learners(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = sorted(set(names or ()) - set(LEARNERS))
        if unknown:
            raise ConfigError(f"no such learner: {', '.join(unknown)}; available: {', '.join(LEARNERS)}")
        return names

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        for low, high in (("t_lo", "t_hi"), ("c_lo", "c_hi"), ("c_lo_percentile", "c_hi_percentile")):
            below, above = getattr(self, low), getattr(self, high)
            if below is not None and above is not None and below > above:
                raise ConfigError(f"{low} {below} is above {high} {above}")
        return self


_NAMES: Final = ", ".join(EvaluationOptions.model_fields)
EvaluationOptions.guide = f"Allowed options: {_NAMES}."
