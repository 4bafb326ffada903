"""Image classifiers: the public CIFAR-10 ResNets as they are, and small networks trained here on MNIST and digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as f

from benchmarks.error_detection.makers.tracing import trace
from benchmarks.error_detection.traces import Split

__all__ = ["ResNet", "corrupt", "make_digits_cnn", "make_mnist_cnn", "make_resnet20", "make_resnet32"]

Images = NDArray[np.float32]

CIFAR_MEAN, CIFAR_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two 3x3 convolutions; where the width grows the shortcut skips every other pixel and pads channels (option A)."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.stride = 1 if width_in == width else 2
        self.conv1 = nn.Conv2d(width_in, width, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, width_in, H, W)`` to ``(B, width, H / stride, W / stride)``."""
        shortcut = x
        if self.stride == 2:
            pad = x.shape[1] // 2
            shortcut = f.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad))
        x = f.relu(self.bn1(self.conv1(x)))
        return f.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet(nn.Module):
    """The CIFAR ResNet of 6n + 2 layers (He et al., CVPR 2016)."""

    def __init__(self, n_blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = (16, 16, 32, 64)
        for i in (1, 2, 3):
            blocks = [Block(widths[i - 1] if j == 0 else widths[i], widths[i]) for j in range(n_blocks)]
            setattr(self, f"layer{i}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, 3, 32, 32)`` to logits ``(B, 10)``."""
        x = f.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


class SmallNet(nn.Module):
    """Two convolutions, a hidden layer, a linear head; for grey images of any size."""

    def __init__(self, side: int, width: int = 64) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()
        )
        self.hidden = nn.Linear(16 * (side // 2) ** 2, width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, 1, H, W)`` to logits ``(B, 10)``."""
        return self.head(f.relu(self.hidden(self.convolutions(x).flatten(1))))


def make_resnet20(data: Path) -> dict[str, Split]:
    """The public ResNet-20 on JPEG copies of CIFAR-10."""
    return _make_resnet(data, "cifar10_resnet20.npz", n_blocks=3)


def make_resnet32(data: Path) -> dict[str, Split]:
    """The public ResNet-32 on the same."""
    return _make_resnet(data, "cifar10_resnet32.npz", n_blocks=5)


def make_mnist_cnn(data: Path) -> dict[str, Split]:
    """A small network trained on 2,000 MNIST images."""
    with np.load(data / "mnist" / "mnist.npz") as archive:
        arrays = dict(archive)
    rng = np.random.default_rng(0)
    train, test = (rng.permutation(len(arrays[f"y_{part}"])) for part in ("train", "test"))
    known = arrays["x_train"][train[:6000]].astype(np.float32) / 255, arrays["y_train"][train[:6000]].astype(np.int64)
    new = arrays["x_test"][test[:4000]].astype(np.float32) / 255, arrays["y_test"][test[:4000]].astype(np.int64)
    images, labels = np.concatenate([known[0], new[0]]), np.concatenate([known[1], new[1]])
    return _make_small(images, labels, sizes=(2000, 4000, 4000), epochs=4)


def make_digits_cnn(data: Path) -> dict[str, Split]:
    """A small network trained on 400 of scikit-learn's 8x8 digits; needs no data folder."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = (digits.images[order] / 16).astype(np.float32)
    return _make_small(images, digits.target[order].astype(np.int64), sizes=(400, 700, 697), epochs=12)


def corrupt(images: Images, seed: int) -> Images:
    """Images ``(N, H, W, ...)`` in 0..1: noise on a third, a shift by pixels on a third, low contrast on the rest."""
    rng = np.random.default_rng(seed)
    found, kind = images.copy(), rng.integers(0, 3, len(images))
    noise = rng.normal(0, 0.15, images.shape).astype(np.float32)
    found[kind == 0] = np.clip(images + noise, 0, 1)[kind == 0]
    step = max(1, images.shape[1] // 8)
    found[kind == 1] = np.roll(images, (step, -step), axis=(1, 2))[kind == 1]
    found[kind == 2] = (0.5 + 0.35 * (images - 0.5))[kind == 2]
    return found


def _make_resnet(data: Path, file: str, n_blocks: int) -> dict[str, Split]:
    with np.load(data / "models" / file) as archive:
        state = {name: torch.from_numpy(archive[name]) for name in archive.files}
    model = ResNet(n_blocks)
    # Counters of batches seen are not in the file and mean nothing in evaluation.
    missing, unexpected = model.load_state_dict(state, strict=False)
    wrong = [name for name in missing if not name.endswith("num_batches_tracked")] + list(unexpected)
    if wrong:
        raise ValueError(f"{file}: its parameters do not fit this ResNet, first {wrong[0]!r}")
    with np.load(data / "cifar10" / "cifar10_jpg_subset.npz") as archive:
        arrays = dict(archive)
    order = np.random.default_rng(0).permutation(len(arrays["y_test"]))
    images, labels = arrays["x_test"][order].astype(np.float32) / 255, arrays["y_test"][order].astype(np.int64)
    known = arrays["x_train"].astype(np.float32) / 255, arrays["y_train"].astype(np.int64)
    half = len(labels) // 2
    parts = {
        "train": known,
        "val": (images[:half], labels[:half]),
        "test": (images[half:], labels[half:]),
        "shift": (corrupt(images[half:], seed=1), labels[half:]),
    }
    return trace(model.eval(), {name: (_as_colour(x), y) for name, (x, y) in parts.items()})


def _as_colour(images: Images) -> torch.Tensor:
    normal = (images - np.float32(CIFAR_MEAN)) / np.float32(CIFAR_DEVIATION)
    return torch.from_numpy(np.ascontiguousarray(normal.transpose(0, 3, 1, 2)))


def _make_small(images: Images, labels: NDArray, sizes: tuple[int, int, int], epochs: int) -> dict[str, Split]:
    """Train on the first rows, trace all; ``sizes`` are of train, val and test."""
    ends = np.cumsum(sizes)
    train, val, test = (slice(end - size, end) for size, end in zip(sizes, ends, strict=True))
    model = _fit(
        SmallNet(images.shape[1]), torch.from_numpy(images[train, None]), torch.from_numpy(labels[train]), epochs
    )
    parts = {name: (images[rows], labels[rows]) for name, rows in (("train", train), ("val", val), ("test", test))}
    parts["shift"] = corrupt(images[test], seed=1), labels[test]
    return trace(model, {name: (torch.from_numpy(x[:, None]), y) for name, (x, y) in parts.items()})


def _fit(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, epochs: int) -> nn.Module:
    """Adam on cross-entropy, batches of 64; repeatable."""
    torch.manual_seed(0)
    for layer in model.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(labels)).split(64):
            optimiser.zero_grad()
            f.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimiser.step()
    return model.eval()
