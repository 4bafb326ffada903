"""What tracing and filtering cost: the call of a tracer or filter against the bare forward of the same model.

Run it with: python benchmarks/bench_overhead.py [--pairs 60] [--threads 2] [--cpu-time]

Each round times a block of calls of the bare forward, of the tracer and of the filter on the same batch, in random
order; ratios are taken within a round, so that a busy machine slows all sides. Nothing is written while a block is
timed: what its writer thread does is timed apart, as ``wait_for_save()`` of a full buffer (8,192 rows, the default),
and its share per call is added as if nothing of it overlapped with the model. ``--cpu-time`` counts the processor time
of the process (all its threads) instead of the wall clock, for a machine that is doing other work. The ResNet-20 has
its published weights and real images where they are at hand, else random ones.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ml_debugger.data_filter import ClassificationDataFilter
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ClassificationTracer

DATA = Path(os.environ.get("MLD_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILTER = {"target_zones": ["critical_hotspot"], "conditions": [{"error_proba": ">=0.5"}]}
BANK_ROWS, HELD_OUT_ROWS, WRONG = 2048, 1024, 0.2
BUFFER_ROWS, FLUSHES = 8192, 3


@dataclass(frozen=True)
class Case:
    """One model, one batch, and the bounds its overheads must hold."""

    name: str
    model: nn.Module
    batch: torch.Tensor
    bank: torch.Tensor
    calls: int
    tracer_bound: float
    filter_bound: float


def cases() -> list[Case]:
    """The two models: a small one where overhead shows most, and the usual one."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    cifar = cifar_images(2000)
    return [
        Case("CIFAR ResNet-20, batch 128", resnet20(), cifar[:128], cifar, 4, 1.05, 1.08),
        # The bank's images are smaller than the timed ones: the features have the same width and cost less to make.
        Case(
            "ResNet-18 224 px, batch 32",
            resnet18(weights=None, num_classes=100).eval(),
            torch.randn(32, 3, 224, 224),
            torch.randn(1024, 3, 64, 64),
            2,
            1.02,
            1.03,
        ),
    ]


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters: strided, padded with zero channels."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.pad = stride, (width - width_in) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps (B, D, H, W)."""
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return functional.relu(out + functional.pad(shortcut, (0, 0, 0, 0, self.pad, self.pad)))


class CifarResNet(nn.Module):
    """ResNet-(6n+2) for 32x32 images; logits (B, 10)."""

    def __init__(self, n: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = (16, 16, 32, 64)
        for stage in (1, 2, 3):
            first = Block(widths[stage - 1], widths[stage], 1 if stage == 1 else 2)
            rest = [Block(widths[stage], widths[stage], 1) for _ in range(n - 1)]
            setattr(self, f"layer{stage}", nn.Sequential(first, *rest))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, 32, 32), normalised."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.linear(out.mean(dim=(2, 3)))


def resnet20() -> CifarResNet:
    """ResNet-20 in eval mode, with the published weights where they are at hand, else random ones."""
    model = CifarResNet(3).eval()
    path = DATA / "models" / "cifar10_resnet20.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as arrays:
            state = {name: torch.from_numpy(arrays[name]) for name in arrays}
        missing, unexpected = model.load_state_dict(state, strict=False)
        if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
            raise ValueError(f"{path}: not a ResNet-20: missing {missing}, unexpected {unexpected}")
    return model


def cifar_images(n: int) -> torch.Tensor:
    """Up to n normalised CIFAR-10 images (N, 3, 32, 32), random noise where the images are not at hand."""
    path = DATA / "cifar10" / "cifar10_jpg_subset.npz"
    if not path.exists():
        return torch.randn(n, 3, 32, 32)
    with np.load(path, allow_pickle=False) as arrays:
        pixels = next(arrays[name] for name in sorted(arrays) if arrays[name].ndim == 4)[:n]
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def median_interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Median and its distribution-free 95 % interval, from order statistics."""
    ordered = np.sort(ratios)
    reach = 1.96 * np.sqrt(len(ordered)) / 2
    low, high = int(np.floor(len(ordered) / 2 - reach)), int(np.ceil(len(ordered) / 2 + reach))
    return float(np.median(ordered)), float(ordered[max(low, 0)]), float(ordered[min(high, len(ordered) - 1)])


def prepare(case: Case) -> tuple[ClassificationTracer, ClassificationDataFilter]:
    """A tracer, and a filter with a full bank; labels are the model's own with a share of wrong ones."""
    os.environ["MLD_HOME"] = tempfile.mkdtemp(prefix="mld-bench-")
    rng = np.random.default_rng(0)
    tracer = ClassificationTracer(case.model, "bench", "v1")
    for kind, rows in (("train", BANK_ROWS), ("val", HELD_OUT_ROWS)):
        for start in range(0, rows, 128):
            x = case.bank[np.arange(start, start + 128) % len(case.bank)]
            x = x + 0.05 * torch.randn_like(x)
            labels = case.model(x).argmax(1).numpy()
            wrong = rng.random(len(x)) < WRONG
            labels[wrong] = (labels[wrong] + 1) % case.model(x[:1]).shape[1]
            tracer(x, labels, [f"{kind}{start + i}" for i in range(len(x))], dataset_type=kind)
    result = Evaluator("bench", "v1").request_evaluation()
    os.environ["MLD_BUFFER_ROWS"], os.environ["MLD_BUFFER_MB"] = str(2 * BUFFER_ROWS), "512"
    timed = ClassificationTracer(case.model, "bench", "v1")
    data_filter = ClassificationDataFilter(case.model, "bench", "v1", result.result_name, filter_config=FILTER)
    return timed, data_filter


def measure(case: Case, pairs: int, clock: Callable[[], float]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Seconds per call of each contender, per round (pairs,); seconds to write a full buffer of each role."""
    tracer, data_filter = prepare(case)
    numbers = itertools.count()

    def trace(x: torch.Tensor) -> None:
        tracer(x, np.zeros(len(x), np.int64), list(itertools.islice(numbers, len(x))), dataset_type="timed")

    def filter_(x: torch.Tensor) -> None:
        data_filter(x, list(itertools.islice(numbers, len(x))))

    contenders = {"bare": (case.model, None), "tracer": (trace, tracer), "filter": (filter_, data_filter)}
    flushes = {name: flush_seconds(case, call, role, clock) for name, (call, role) in contenders.items() if role}
    random = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(-2, pairs):
        for name in random.permutation(list(contenders)).tolist():
            call, role = contenders[name]
            start = clock()
            for _ in range(case.calls):
                call(case.batch)
            if turn >= 0:  # the first rounds warm up
                times[name].append((clock() - start) / case.calls)
            if role:
                role.wait_for_save()
    return {name: np.array(seconds) for name, seconds in times.items()}, flushes


def flush_seconds(case: Case, call: Callable[[torch.Tensor], Any], role: Any, clock: Callable[[], float]) -> float:
    """Median of what it takes to write a full buffer."""
    found = []
    for _ in range(FLUSHES):
        for start in range(0, BUFFER_ROWS, 128):
            call(case.bank[np.arange(start, start + 128) % len(case.bank)])
        started = clock()
        role.wait_for_save()
        found.append(clock() - started)
    return float(np.median(found))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--model", choices=["resnet20", "resnet18"], help="only this one")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    torch.set_num_threads(arguments.threads)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {arguments.threads} threads\n")
    print(
        "| model | bare forward, ms | call | added, ms | writing, ms | ratio without writing | ratio | 95 % interval | "
        "bound | holds |"
    )
    print("|---|--:|---|--:|--:|--:|--:|---|--:|---|")
    chosen = {"resnet20": slice(0, 1), "resnet18": slice(1, 2)}.get(arguments.model, slice(None))
    for case in cases()[chosen]:
        with torch.no_grad():
            times, flushes = measure(case, arguments.pairs, clock)
        bare = times.pop("bare")
        for name, seconds in times.items():
            flush = flushes[name] * len(case.batch) / BUFFER_ROWS
            alone = float(np.median(seconds / bare))
            ratio, low, high = median_interval((seconds + flush) / bare)
            bound = {"tracer": case.tracer_bound, "filter": case.filter_bound}[name]
            print(
                f"| {case.name} | {1e3 * np.median(bare):.1f} | {name} | {1e3 * np.median(seconds - bare):.2f} | "
                f"{1e3 * flush:.2f} | {alone:.3f} | {ratio:.3f} | {low:.3f} to {high:.3f} | {bound} | "
                f"{'yes' if low <= bound else 'NO'} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
