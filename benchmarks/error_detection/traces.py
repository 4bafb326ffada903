"""Traces of a fixed classifier: features, logits and labels of its train, val, test and shifted rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["REPORTED", "Pair", "Split", "data_folder", "list_pairs", "load_pair", "save_pair"]

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]

PROJECT = Path(__file__).parents[2]
REPORTED = ("test", "shift")
"""The splits that figures are reported on; nothing is ever fitted or chosen there."""


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of one dataset type.

    Attributes:
        features: ``(N, D)`` float32, the input of the classifier head.
        logits: ``(N, C)`` float32.
        labels: ``(N,)`` int64.
    """

    features: FloatArray
    logits: FloatArray
    labels: IntArray

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def wide(self) -> FloatArray:
        """The logits in float64, ``(N, C)``: a float32 softmax saturates at 1."""
        return self.logits.astype(np.float64)

    @cached_property
    def predicted(self) -> IntArray:
        """``(N,)`` predicted class."""
        return self.logits.argmax(axis=1)

    @cached_property
    def errors(self) -> IntArray:
        """``(N,)`` 1 where the prediction differs from the label."""
        return (self.predicted != self.labels).astype(np.int64)

    def take(self, rows: IntArray) -> Split:
        """The given rows, as a split of their own."""
        return Split(self.features[rows], self.logits[rows], self.labels[rows])

    def relabel(self, labels: IntArray) -> Split:
        """The same outputs with other labels."""
        return Split(self.features, self.logits, labels)


@dataclass(frozen=True, eq=False)
class Pair:
    """One (data set, trained model): ``train`` fills banks, ``val`` is fitted on, ``reported`` only looked at.

    Attributes:
        weight: ``(C, D)`` of the model's last layer, with ``bias`` ``(C,)``; some baselines read them.
        reported: Splits by name, of ``REPORTED``; every pair has ``test``.
    """

    name: str
    train: Split
    val: Split
    reported: Mapping[str, Split]
    weight: FloatArray
    bias: FloatArray
    source: str = field(default="error_pairs")

    @property
    def n_classes(self) -> int:
        """Width of the logits."""
        return self.train.logits.shape[1]


def data_folder() -> Path:
    """Where the real data lies: ``MLD_TEST_DATA``, else ``../shared/data`` beside the project.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    folder = Path(os.environ.get("MLD_TEST_DATA") or PROJECT.parent / "shared" / "data")
    if not folder.is_dir():
        raise FileNotFoundError(f"no data folder at {folder}: set MLD_TEST_DATA to the folder that holds error_pairs/")
    return folder


def list_pairs(folder: Path) -> dict[str, Path]:
    """Pair files of a folder, by name."""
    return {path.stem: path for path in sorted(folder.glob("*.npz"))}


def load_pair(path: Path) -> Pair:
    """A pair from its ``.npz``; arrays ``{train,val,test,shift}_{f,z,y}``, and the last layer as ``W``, ``b``.

    Without ``W`` the last layer is solved from the train rows: logits are an affine map of its input.

    Raises:
        KeyError: If train, val or test is missing.
    """
    with np.load(path) as archive:
        arrays = dict(archive)
    splits = dict(_splits(arrays))
    if "W" in arrays:
        weight, bias = arrays["W"].astype(np.float64), arrays["b"].astype(np.float64)
    else:
        weight, bias = solve_last_layer(splits["train"])
    reported = {name: splits[name] for name in REPORTED if name in splits or name == "test"}
    source = str(arrays.get("source", "error_pairs"))
    return Pair(path.stem, splits["train"], splits["val"], reported, weight, bias, source)


def save_pair(path: Path, splits: Mapping[str, Split], source: str) -> None:
    """Write splits as a pair file that ``load_pair`` reads; complete or not at all."""
    arrays = {"source": np.array(source)}
    for name, split in splits.items():
        arrays |= {f"{name}_f": split.features, f"{name}_z": split.logits, f"{name}_y": split.labels}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)
    partial.replace(path)


def solve_last_layer(split: Split) -> tuple[FloatArray, FloatArray]:
    """``(C, D)`` weights and ``(C,)`` bias that best map features to logits, by least squares."""
    inputs = np.c_[split.features.astype(np.float64), np.ones(len(split))]
    solution, *_ = np.linalg.lstsq(inputs, split.wide, rcond=None)
    return solution[:-1].T, solution[-1]


def _splits(arrays: Mapping[str, NDArray]) -> Iterator[tuple[str, Split]]:
    for name in ("train", "val", *REPORTED):
        if f"{name}_y" in arrays:
            features, logits = arrays[f"{name}_f"].astype(np.float32), arrays[f"{name}_z"].astype(np.float32)
            yield name, Split(features, logits, arrays[f"{name}_y"].astype(np.int64))
