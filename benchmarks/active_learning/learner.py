"""The networks, and the one recipe that trains them: the same for every strategy, seed and round of a setting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NETWORKS", "Network", "Outputs", "forward", "train"]

FloatArray = NDArray[np.floating]
BATCH = 32


@dataclass(frozen=True)
class Network:
    """How to build it for inputs of a shape, and its recipe: AdamW, cosine to zero, a fixed number of steps."""

    build: Callable[[tuple[int, ...], int], Any]
    steps: int
    rate: float
    decay: float
    flip: bool = False


@dataclass(frozen=True)
class Outputs:
    """What a network says of N inputs: ``features (N, D)`` that enter its last layer, ``proba (N, C)``."""

    features: FloatArray
    proba: FloatArray


def _linear(shape: tuple[int, ...], n_classes: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.Identity(), nn.Linear(shape[0], n_classes))


def _head(shape: tuple[int, ...], n_classes: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(shape[0], 64), nn.ReLU(), nn.Linear(64, n_classes))


def _mlp(shape: tuple[int, ...], n_classes: int) -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Flatten(), nn.Linear(int(np.prod(shape)), 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, n_classes),
    )  # fmt: skip


def _digits_cnn(shape: tuple[int, ...], n_classes: int) -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(384, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, n_classes),
    )  # fmt: skip


def _cifar_cnn(shape: tuple[int, ...], n_classes: int) -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(192, n_classes),
    )  # fmt: skip


NETWORKS = {
    "linear": Network(_linear, 150, 2e-2, 1e-1),
    "head": Network(_head, 250, 5e-3, 1e-2),
    "mlp": Network(_mlp, 300, 2e-3, 1e-2),
    "digits_cnn": Network(_digits_cnn, 200, 3e-3, 1e-2),
    "cifar_cnn": Network(_cifar_cnn, 250, 6e-3, 5e-2, flip=True),
}


def train(network: str, inputs: FloatArray, labels: NDArray[np.int64], n_classes: int, seed: int) -> Any:
    """A model trained from scratch on ``(N, ...)`` inputs; every step sees a batch of 32 drawn by epochs."""
    import torch
    from torch.nn.functional import cross_entropy

    recipe = NETWORKS[network]
    torch.manual_seed(seed)
    model = recipe.build(inputs.shape[1:], n_classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=recipe.decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
    rng = np.random.default_rng(seed)
    epochs = -(-recipe.steps * BATCH // len(y))
    rows = torch.from_numpy(np.concatenate([rng.permutation(len(y)) for _ in range(epochs)]))
    for step in range(recipe.steps):
        part = rows[step * BATCH : (step + 1) * BATCH]
        batch = x[part]
        if recipe.flip and rng.random() < 0.5:
            batch = batch.flip(-1)
        optimizer.zero_grad()
        cross_entropy(model(batch), y[part]).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def forward(model: Any, inputs: FloatArray, size: int = 1024) -> Outputs:
    """Features and probabilities of ``(N, ...)`` inputs."""
    import torch

    features, proba = [], []
    with torch.no_grad():
        for start in range(0, len(inputs), size):
            entering = model[:-1](torch.from_numpy(inputs[start : start + size]))
            features.append(entering.numpy())
            proba.append(model[-1](entering).double().softmax(1).numpy())
    return Outputs(np.concatenate(features), np.concatenate(proba))
