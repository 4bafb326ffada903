"""The tables, as text and as a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection_errors.protocol import OURS, Answers, compare, figures

__all__ = [
    "gains_table",
    "mean_gains_table",
    "methods_table",
    "promises_table",
    "rivals_of",
    "table",
    "write",
    "zones_table",
]

Setting = tuple[str, float]
STABLE: Final = "stable_coverage"
SAFEST_FIRST: Final = (
    STABLE,
    "operational_coverage",
    "hotspot",
    "recessive_hotspot",
    "critical_hotspot",
    "aleatoric_hotspot",
)
NAMES = {
    "auroc": "AUROC",
    "brier": "Brier",
    "ece": "ECE",
    "ece_bar": "ECE accepted",
    "laece": "LaECE",
    "iou_r2": "IoU R2",
}


def write(
    measured: Mapping[Setting, Answers], missed: Mapping[Setting, Mapping[str, float]], folder: Path, draws: int = 500
) -> str:
    """Every table as Markdown, written to ``tables.md`` in a folder too; ``draws`` of images make the intervals."""
    parts = []
    for (detector, threshold), found in measured.items():
        boxes = f"{len(found.wrong)} boxes, {found.wrong.mean():.1%} wrong"
        parts.append(
            f"## {detector} at score {threshold}: {boxes}\n\n{methods_table(found)}\n\n{gains_table(found, draws)}\n"
        )
    parts.append(f"## Mean of the settings\n\n{mean_gains_table(measured)}\n")
    parts.append(f"## What stable_coverage promises, and what was seen\n\n{promises_table(measured)}\n")
    parts.append(f"## Error rates of the zones\n\n{zones_table(measured)}\n")
    names = list(next(iter(missed.values())))
    rows = [
        [f"{name} at {threshold}", *(f"{row[key]:.3f}" for key in names)] for (name, threshold), row in missed.items()
    ]
    parts.append(f"## Missed objects\n\n{table(['setting', *names], rows)}\n")
    text = "\n".join(parts)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tables.md").write_text(text)
    return text


def rivals_of(found: Answers) -> list[str]:
    """All methods but ours."""
    return [name for name in found.proba if name != OURS]


def methods_table(found: Answers) -> str:
    rows = []
    for method in found.proba:
        values = figures(found, method)
        rows.append([method, *(f"{values[name]:.4f}" for name in NAMES)])
    return table(["method", *NAMES.values()], rows)


def gains_table(found: Answers, draws: int) -> str:
    rows = []
    for rival, gains in compare(found, rivals_of(found), draws).items():
        rows.append([rival, *(f"{gain:+.4f} ({low:+.4f} to {high:+.4f})" for gain, low, high in gains.values())])
    return table([f"{OURS} better than", "AUROC", "Brier"], rows)


def mean_gains_table(measured: Mapping[Setting, Answers]) -> str:
    rows = []
    for rival in rivals_of(next(iter(measured.values()))):
        gains = [
            [figures(found, OURS)[name] - figures(found, rival)[name] for name in ("auroc", "brier")]
            for found in measured.values()
        ]
        auroc, brier = (sum(column) / len(column) for column in zip(*gains, strict=True))
        rows.append([rival, f"{auroc:+.4f}", f"{-brier:+.4f}"])
    return table([f"{OURS} better than", "AUROC", "Brier"], rows)


def promises_table(measured: Mapping[Setting, Answers]) -> str:
    rows = [[f"{name} at {threshold}", *promise_row(found)] for (name, threshold), found in measured.items()]
    head = ("promises", "promised", "boxes", "images", "observed by image", "observed by box", "error rate of all")
    return table(["setting", *head], rows)


def promise_row(found: Answers) -> list[str]:
    """Of the boxes in ``stable_coverage``, in images that had no part in the promise: promised and observed rates.

    The promise is about the mean over images of the error rate among their stable boxes.
    """
    stable = found.zone == STABLE
    rates = [_rates(found.image[mine], found.wrong[mine]) for mine in stable]
    by_image, wrong = np.concatenate(rates), np.concatenate([found.wrong[mine] for mine in stable])
    promised = found.promised[stable]
    return [
        f"{np.isfinite(found.promised).mean():.0%}",
        *(f"{values.mean():.1%}" if len(values) else "-" for values in (promised, stable.mean(axis=1))),
        f"{len(by_image) / len(stable):.0f}",
        *(f"{values.mean():.1%}" if len(values) else "-" for values in (by_image, wrong)),
        f"{found.wrong.mean():.1%}",
    ]


def _rates(image: NDArray[np.int64], wrong: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Error rate of each image."""
    member = np.unique(image, return_inverse=True)[1]
    return np.bincount(member, wrong) / np.maximum(np.bincount(member), 1)


def zones_table(measured: Mapping[Setting, Answers]) -> str:
    rows = []
    for (name, threshold), found in measured.items():
        wrong = np.broadcast_to(found.wrong, found.zone.shape)
        cells = []
        for zone in SAFEST_FIRST:
            mine = found.zone == zone
            cells.append(f"{wrong[mine].mean():.1%} of {mine.mean():.0%}" if mine.any() else "-")
        rows.append([f"{name} at {threshold}", *cells])
    return table(["setting", *SAFEST_FIRST], rows)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
