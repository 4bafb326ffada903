"""The tables, as text and as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.detection3d_errors.data import CLASSES
from benchmarks.detection_errors.protocol import OURS, Answers, compare, figures
from benchmarks.detection_errors.report import NAMES, promises_table, rivals_of, table, zones_table

__all__ = ["ISOTONIC", "Measured", "summary", "write"]

ISOTONIC: Final = "score + isotonic"
BOOSTING: Final = "LidarMetaDetect, boosting"
FIGURES: Final = ("auroc", "brier", "ece", "laece")


@dataclass
class Measured:
    """What was measured.

    Attributes:
        answers: By name of the setting and score threshold.
        transferred: Likewise, learned from another detector.
        missed: By setting, as :func:`~benchmarks.detection3d_errors.protocol.missed_row`.
    """

    answers: dict[tuple[str, float], Answers] = field(default_factory=dict)
    transferred: dict[tuple[str, float], Answers] = field(default_factory=dict)
    missed: dict[tuple[str, float], Mapping[str, float]] = field(default_factory=dict)


def write(measured: Measured, folder: Path, draws: int = 500) -> str:
    """Every table as Markdown, written to ``tables.md`` in a folder too; ``draws`` of frames make the intervals."""
    parts = [f"## Gains over {ISOTONIC}, and calibration\n\n{summary(measured.answers, draws)}\n"]
    for (name, score), found in measured.answers.items():
        boxes = f"{len(found.wrong)} boxes in {len(np.unique(found.image))} frames, {found.wrong.mean():.1%} wrong"
        parts.append(f"### {name}, score {score}\n\n{boxes}.\n\n{_methods(found, draws)}\n\n{_classes(found)}\n")
    if measured.transferred:
        parts.append(f"## Learned from the other detector\n\n{_transfer(measured, draws)}\n")
    parts.append(f"## What stable_coverage promises, and what was seen\n\n{promises_table(measured.answers)}\n")
    parts.append(f"## Error rates of the zones\n\n{zones_table(measured.answers)}\n")
    if measured.missed:
        names = list(next(iter(measured.missed.values())))
        rows = [[*_setting(key), *(f"{row[name]:.3f}" for name in names)] for key, row in measured.missed.items()]
        parts.append(f"## Missed objects\n\n{table(['setting', 'score', *names], rows)}\n")
    text = "\n".join(parts)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tables.md").write_text(text)
    return text


def summary(answers: Mapping[tuple[str, float], Answers], draws: int = 500) -> str:
    """Per setting, ours against score + isotonic and against boosting with intervals, and whether ECE is accepted."""
    rows = []
    for key, found in answers.items():
        ours, gains = figures(found, OURS), compare(found, [ISOTONIC, BOOSTING], draws)
        calibration = f"{ours['ece']:.4f} ({ours['ece_bar']:.4f})"
        cells = [_gain(gains[rival][name]) for rival in (ISOTONIC, BOOSTING) for name in ("auroc", "brier")]
        rows.append([*_setting(key), str(len(found.wrong)), f"{found.wrong.mean():.1%}", *cells, calibration])
    against = [f"{name} over {rival}" for rival in ("isotonic", "boosting") for name in ("AUROC", "Brier")]
    return table(["setting", "score", "boxes", "wrong", *against, "ECE (accepted)"], rows)


def _setting(key: tuple[str, float]) -> tuple[str, str]:
    return key[0], str(key[1])


def _gain(values: tuple[float, float, float]) -> str:
    gain, low, high = values
    return f"{gain:+.4f} ({low:+.4f} to {high:+.4f})"


def _methods(found: Answers, draws: int) -> str:
    gains = compare(found, rivals_of(found), draws)
    rows = []
    for method in found.proba:
        values = figures(found, method)
        beaten = [_gain(gain) for gain in gains[method].values()] if method in gains else ["", ""]
        rows.append([method, *(f"{values[name]:.4f}" for name in NAMES), *beaten])
    return table(["method", *NAMES.values(), "AUROC gained", "Brier gained"], rows)


def _classes(found: Answers) -> str:
    """Ours, the calibrated score and boosting class by class; the LaECE of one class is about its own overlaps."""
    rows = []
    for label in np.unique(found.label).tolist():
        mine = found.rows(found.label == label)
        for method in (OURS, ISOTONIC, BOOSTING):
            values = figures(mine, method)
            counts = [str(len(mine.wrong)), f"{mine.wrong.mean():.1%}"]
            rows.append([CLASSES[label], *counts, method, *(f"{values[name]:.4f}" for name in FIGURES)])
    return table(["class", "boxes", "wrong", "method", *(NAMES[name] for name in FIGURES)], rows)


def _transfer(measured: Measured, draws: int) -> str:
    rows = []
    for key, found in measured.transferred.items():
        at_home = figures(measured.answers[key], OURS)
        ours, theirs, gains = (
            figures(found, OURS),
            figures(found, ISOTONIC),
            compare(found, [ISOTONIC], draws)[ISOTONIC],
        )
        rows.append(
            [
                *_setting(key),
                *(f"{values[name]:.4f}" for name in ("auroc", "brier", "ece") for values in (ours, theirs, at_home)),
                *(_gain(gain) for gain in gains.values()),
            ]
        )
    head = [f"{NAMES[name]} {who}" for name in ("auroc", "brier", "ece") for who in ("ours", "isotonic", "at home")]
    return table(["asked about", "score", *head, "AUROC gained", "Brier gained"], rows)
