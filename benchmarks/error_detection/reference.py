"""Reference values of an earlier trial on the development pairs: to be reproduced first, then to be beaten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.error_detection import metrics
from benchmarks.error_detection.baselines import REFERENCE_POOL
from benchmarks.error_detection.baselines.logits import msp
from benchmarks.error_detection.scores import Scored
from benchmarks.error_detection.traces import Pair
from ml_debugger.estimation.calibration import calibrate, fit_calibrator

__all__ = ["REFERENCE", "Reference", "reference_row"]


@dataclass(frozen=True)
class Reference:
    """AUROC on test and shift of MSP, of the best score on val, and of the trial estimator; MSP's test figures."""

    msp: tuple[float, float]
    best: str
    best_auroc: tuple[float, float]
    trial: tuple[float, float]
    msp_e_aurc: float  # x 1000
    msp_brier: float  # after Platt scaling
    msp_ece: float


_ROWS = """
cifar10_resnet20   .8619 .7605 entropy              .8635 .7630 .8898 .7958  30.7 .1112 .0133
fashion_cnn_lsmix  .8580 .8007 centroid_trust       .8585 .7408 .8912 .7385  32.1 .1115 .0143
g36_cnn            .9024 .8618 msp                  .9024 .8618 .9117 .8630  28.7 .1109 .0195
g36_cnn_lsmix      .8705 .8362 msp                  .8705 .8362 .9034 .8635  46.4 .1348 .0289
g36_mlp            .8029 .7016 entropy              .8077 .6933 .8546 .8089  90.1 .1758 .0203
glyph_cnn          .8335 .8215 msp                  .8335 .8215 .8582 .8319  91.9 .1653 .0218
glyph_cnn_lsmix    .8273 .7285 msp                  .8273 .7285 .8576 .7496 106.3 .1690 .0242
glyph_mlp_overfit  .7220 .6318 relative_mahalanobis .7516 .7074 .8290 .7718 188.4 .2017 .0416
mnist9_cnn         .8609 .8401 centroid_trust       .9332 .8688 .9429 .7843  53.6 .1399 .0305
mnist_cnn          .9365 .8582 trust_score          .9516 .8716 .9580 .8876   5.5 .0451 .0123
mnist_mlp          .8940 .7831 trust_score          .9396 .8545 .9417 .8646  12.5 .0639 .0103
shape2_cnn         .9781 .8162 msp                  .9781 .8162 .9797 .8275   1.3 .0270 .0043
shape_cnn_ls       .8406 .7054 msp                  .8406 .7054 .8598 .7238  63.7 .1565 .0153
shape_res          .7491 .6529 trust_score          .7621 .6082 .8132 .6583 145.3 .2015 .0436
tab_mlp            .8212 .8096 geometric_margin     .8183 .8069 .8363 .8377  34.2 .0784 .0393
tab_mlp_overfit    .8297 .8115 trust_score          .8331 .8527 .8545 .8652  36.7 .0851 .0394
"""


def _parse(line: str) -> tuple[str, Reference]:
    name, test, shift, best, *rest = line.split()
    values = [float(value) for value in rest]
    return name, Reference(
        (float(test), float(shift)), best, (values[0], values[1]), (values[2], values[3]), *values[4:]
    )


REFERENCE = dict(_parse(line) for line in _ROWS.strip().splitlines())
"""By pair. MSP's figures need no choices and must come out the same; distances depend on the implementation."""


def reference_row(pair: Pair, methods: dict[str, Scored]) -> dict[str, Any] | None:
    """Our values beside the reference's; None for a pair without. The best on val is out of the same 15 scores."""
    if pair.name not in REFERENCE:
        return None
    reference, test = REFERENCE[pair.name], pair.reported["test"]
    pool = [name for name in REFERENCE_POOL if name in methods]
    best = max(pool, key=lambda name: methods[name].val_auroc)
    platt = fit_calibrator(msp(pair.val), pair.val.errors)
    proba = calibrate(platt, msp(test))
    row: dict[str, Any] = {"pair": pair.name, "best": best, "reference_best": reference.best}
    for position, (name, split) in enumerate(pair.reported.items()):
        row[f"msp_{name}"] = metrics.auroc(methods["msp"].score[name], split.errors)
        row[f"reference_msp_{name}"] = reference.msp[position]
        row[f"best_{name}"] = metrics.auroc(methods[best].score[name], split.errors)
        row[f"reference_best_{name}"] = reference.best_auroc[position]
    row |= {"e_aurc": 1000 * metrics.e_aurc(msp(test), test.errors), "reference_e_aurc": reference.msp_e_aurc}
    row |= {"brier": metrics.brier(proba, test.errors), "reference_brier": reference.msp_brier}
    return row | {"ece": metrics.ece(proba, test.errors), "reference_ece": reference.msp_ece}
