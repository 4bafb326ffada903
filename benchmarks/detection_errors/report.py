"""The tables, as text and as a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.detection_errors.protocol import OURS, Answers, compare, figures
from benchmarks.detection_errors.rivals import RIVALS

__all__ = ["write"]

Setting = tuple[str, float]
NAMES = {
    "auroc": "AUROC",
    "brier": "Brier",
    "ece": "ECE",
    "ece_noise": "ECE by chance",
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
        parts.append(f"## {detector} at score {threshold}: {boxes}\n\n{_methods(found)}\n\n{_gains(found, draws)}\n")
    parts.append(f"## Mean of the settings\n\n{_mean_gains(measured)}\n")
    names = list(next(iter(missed.values())))
    rows = [
        [f"{name} at {threshold}", *(f"{row[key]:.3f}" for key in names)] for (name, threshold), row in missed.items()
    ]
    parts.append(f"## Missed objects\n\n{_table(['setting', *names], rows)}\n")
    text = "\n".join(parts)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tables.md").write_text(text)
    return text


def _methods(found: Answers) -> str:
    rows = []
    for method in (OURS, *RIVALS):
        values = figures(found, method)
        rows.append([method, *(f"{values[name]:.4f}" for name in NAMES)])
    return _table(["method", *NAMES.values()], rows)


def _gains(found: Answers, draws: int) -> str:
    rows = []
    for rival in RIVALS:
        gains = compare(found, rival, draws)
        rows.append([rival, *(f"{gain:+.4f} ({low:+.4f} to {high:+.4f})" for gain, low, high in gains.values())])
    return _table([f"{OURS} better than", "AUROC", "Brier"], rows)


def _mean_gains(measured: Mapping[Setting, Answers]) -> str:
    rows = []
    for rival in RIVALS:
        gains = [
            [figures(found, OURS)[name] - figures(found, rival)[name] for name in ("auroc", "brier")]
            for found in measured.values()
        ]
        auroc, brier = (sum(column) / len(column) for column in zip(*gains, strict=True))
        rows.append([rival, f"{auroc:+.4f}", f"{-brier:+.4f}"])
    return _table([f"{OURS} better than", "AUROC", "Brier"], rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
