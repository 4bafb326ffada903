"""Data and model of the classification demo: scikit-learn's handwritten digits, and a small CNN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.types import FloatArray, IntArray

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["N_TEST", "N_TRAIN", "N_VAL", "Digits", "batches", "load_digits", "predict", "train"]

N_TRAIN: Final = 80
N_VAL: Final = 300
N_TEST: Final = 400
_EPOCHS: Final = 40
_BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class Digits:
    """All 1,797 images; ids are positions in these arrays.

    Attributes:
        images: ``(N, 1, 8, 8)`` float32 in 0..1.
        labels: ``(N,)`` int64, the digit shown.
    """

    images: NDArray[np.float32]
    labels: IntArray

    def split(self, seed: int) -> dict[str, list[int]]:
        """Ids at random for ``train`` (few on purpose), ``val`` and ``test``; the rest is the ``pool``."""
        order = np.random.default_rng(seed).permutation(len(self.labels)).tolist()
        cuts = np.cumsum([0, N_TRAIN, N_VAL, N_TEST]).tolist()
        parts = {
            name: order[low:high] for name, low, high in zip(("train", "val", "test"), cuts, cuts[1:], strict=False)
        }
        return {**parts, "pool": order[cuts[-1] :]}

    def tensor(self, ids: list[int]) -> Tensor:
        """Images of some ids, ``(B, 1, 8, 8)``."""
        import torch

        return torch.from_numpy(self.images[ids])


def load_digits() -> Digits:
    """The digits as they ship with scikit-learn: nothing is downloaded."""
    from sklearn.datasets import load_digits as load

    bunch: Any = load()
    images = (bunch.images / 16.0).astype(np.float32)[:, None]
    return Digits(images, bunch.target.astype(np.int64))


def train(digits: Digits, ids: list[int], seed: int) -> nn.Module:
    """A small CNN trained from scratch on some images."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    order = np.random.default_rng(seed)
    for _ in range(_EPOCHS):
        for part in batches(order.permutation(ids).tolist(), _BATCH):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(digits.tensor(part)), torch.from_numpy(digits.labels[part]))
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
    return model.eval()


def predict(model: nn.Module, digits: Digits, ids: list[int]) -> tuple[IntArray, FloatArray]:
    """Predicted digits ``(N,)`` and the model's own confidences ``(N,)``."""
    import torch

    with torch.no_grad():
        confidence, label = model(digits.tensor(ids)).softmax(1).max(1)
    return label.numpy(), confidence.numpy()


def batches(ids: list[int], size: int = 128) -> Iterator[list[int]]:
    """Ids in batches."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
