"""Handwritten digits, loaders that yield ``(image, label, index)``, and a small classifier short of labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Images ``(1797, 1, 8, 8)`` in 0..1 and labels ``(1797,)``, in a fixed random order."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    images = torch.as_tensor(data.images, dtype=torch.float32)[order, None] / 16
    return images, torch.as_tensor(data.target, dtype=torch.int64)[order]


class DigitsDataset(Dataset[tuple[torch.Tensor, int, int]]):
    """Some of the digits; an item is (image, label, its index among all digits)."""

    def __init__(self, indices: Sequence[int]) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int, int]:
        images, labels = digits()
        index = int(self.indices[position])
        return images[index], int(labels[index]), index


def loader(indices: Sequence[int], batch_size: int = 64) -> DataLoader[tuple[torch.Tensor, int, int]]:
    return DataLoader(DigitsDataset(indices), batch_size=batch_size)


class SmallNet(nn.Module):
    """Two convolutions and a linear head: 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16, 32), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(32, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


def train(model: nn.Module, batches: Callable[[], Sequence[int]] | Sequence[int], epochs: int = 12) -> None:
    """Train on the digits with these indices; the same start gives the same weights."""
    indices = torch.as_tensor(list(batches() if callable(batches) else batches))
    images, labels = digits()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(epochs):
        for part in indices[torch.randperm(len(indices), generator=generator)].split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[part]), labels[part]).backward()
            optimizer.step()
    model.eval()


def small_classifier(indices: Sequence[int], seed: int = 0) -> SmallNet:
    """A ``SmallNet`` trained on the digits with these indices."""
    torch.manual_seed(seed)
    model = SmallNet()
    train(model, indices)
    return model
