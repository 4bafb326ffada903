"""Further pairs from real data, traced by our own tracer and read back from its store; made once, kept outside git."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.error_detection.makers import images, tables
from benchmarks.error_detection.traces import Split, save_pair

__all__ = ["MAKERS", "make_pairs"]

MAKERS: dict[str, Callable[[Path], dict[str, Split]]] = {
    "cifar10_jpg_resnet20": images.make_resnet20,
    "cifar10_jpg_resnet32": images.make_resnet32,
    "mnist_small_cnn": images.make_mnist_cnn,
    "digits_cnn": images.make_digits_cnn,
    "digits_mlp": tables.make_digits_mlp,
    "rt_polarity_mlp": tables.make_text_mlp,
}
"""By pair: from the data folder to traced splits."""


def make_pairs(folder: Path, data: Path, names: tuple[str, ...] | None = None) -> list[Path]:
    """Make the pairs that the folder lacks.

    Args:
        folder: Where pair files are kept.
        data: The folder of the real data.
        names: Of ``MAKERS``; None is all.
    """
    made = []
    for name in names or tuple(MAKERS):
        path = folder / f"{name}.npz"
        if not path.exists():
            started = time.perf_counter()
            save_pair(path, MAKERS[name](data), source="traced")
            sys.stderr.write(f"made {name} in {time.perf_counter() - started:.0f} s\n")
        made.append(path)
    return made
