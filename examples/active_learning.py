"""Active learning on handwritten digits: five rounds of 40 labels, chosen by diverse_error or at random.

Run it with: python examples/active_learning.py
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ml_debugger.data_filter import ClassificationDataFilter
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ClassificationTracer

ROUNDS = 5
PER_ROUND = 40
START, VALIDATION, TEST = 60, 400, 600


def load() -> tuple[Tensor, Tensor]:
    """Images ``(N, 64)`` and labels ``(N,)`` in a fixed random order."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    return torch.tensor(data.data / 16, dtype=torch.float32)[order], torch.tensor(data.target)[order]


def train(x: Tensor, y: Tensor) -> nn.Module:
    """A small network, trained from scratch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


def run(strategy: str) -> list[float]:
    """Test accuracy after each round of labelling what the strategy chooses."""
    x, y = load()
    ids = list(range(len(x)))
    test, validation = ids[:TEST], ids[TEST : TEST + VALIDATION]
    labelled, pool = ids[TEST + VALIDATION :][:START], ids[TEST + VALIDATION + START :]
    accuracies = []
    for _ in range(ROUNDS):
        model = train(x[labelled], y[labelled])
        with torch.no_grad():
            tracer = ClassificationTracer(model, "digits", strategy)
            tracer(x[labelled], y[labelled], labelled, dataset_type="train")
            tracer(x[validation], y[validation], validation, dataset_type="val")
            result = Evaluator("digits", strategy).request_evaluation()
            data_filter = ClassificationDataFilter(model, "digits", strategy, result.result_name)
            data_filter(x[pool], pool)
        queried = data_filter.query(PER_ROUND, strategy)
        labelled += queried
        pool = list(set(pool) - set(queried))
        accuracies.append((model(x[test]).argmax(1) == y[test]).float().mean().item())
    return accuracies


if __name__ == "__main__":
    for name in ("diverse_error", "random"):
        print(f"{name:8}", " ".join(f"{accuracy:.3f}" for accuracy in run(name)))
