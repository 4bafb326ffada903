"""A small classification world: Gaussian blobs, a torch classifier for them that errs, and batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

CLASSES, WIDTH = 4, 8


@dataclass(frozen=True)
class Blobs:
    """``x (N, 8)`` float32, ``y (N,)`` int64."""

    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]

    def batches(self, size: int = 64) -> Iterator[tuple[torch.Tensor, torch.Tensor, list[int]]]:
        """(inputs, labels, ids) with ids counting from 0."""
        for start in range(0, len(self.y), size):
            rows = slice(start, start + size)
            yield torch.from_numpy(self.x[rows]), torch.from_numpy(self.y[rows]), list(range(len(self.y)))[rows]


def make_blobs(n: int, seed: int = 0, spread: float = 1.1) -> Blobs:
    """N points around four fixed centres that overlap."""
    centres = np.random.default_rng(99).normal(size=(CLASSES, WIDTH))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, n)
    return Blobs((centres[y] + spread * rng.normal(size=(n, WIDTH))).astype(np.float32), y)


class BlobNet(nn.Module):
    """8 -> 16 -> 4; the head's input is the feature layer."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(WIDTH, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def fitted_net(seed: int = 0, steps: int = 150) -> BlobNet:
    """A net trained on 200 points: good, not perfect."""
    torch.manual_seed(seed)
    net = BlobNet()
    data = make_blobs(200, seed=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()
