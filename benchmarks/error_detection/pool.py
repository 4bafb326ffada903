"""``python -m benchmarks.error_detection.pool``: pools without labels, recalibrated and with their accuracy estimated.

Each pair is evaluated on train and val rows; then its test rows, its shifted rows and an even mixture of both are
pools whose labels only the tables see. Smaller pools drawn from them show how often the interval holds.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from benchmarks.error_detection import metrics
from benchmarks.error_detection.product import Traced, evaluate
from benchmarks.error_detection.report import markdown
from benchmarks.error_detection.traces import Pair, data_folder, list_pairs, load_pair
from ml_debugger.estimation.pool import PoolSummary, recalibrate
from ml_debugger.estimation.pool_accuracy import estimate_accuracy
from ml_debugger.service.pool import summarise_held_out
from ml_debugger.tasks.scoring import OUTLIER_ZONE

__all__ = ["CHOSEN_ON", "Pool", "main", "measure", "measure_pair", "render"]

Row = dict[str, Any]

# The pairs that the constants of estimation.pool and pool_accuracy were chosen on; the others confirm.
CHOSEN_ON = (
    "cifar10_resnet20",
    "g36_cnn",
    "g36_cnn_lsmix",
    "glyph_cnn",
    "mnist9_cnn",
    "mnist_cnn",
    "shape_res",
    "tab_mlp_overfit",
)
SIZES, DRAWS = (100, 300, 1000), 20
MIXTURE = "half of each"


@dataclass(frozen=True, eq=False)
class Pool:
    """Scored rows and their labels, ``(N,)`` each."""

    scored: Mapping[str, NDArray[np.floating]]
    outlier: NDArray[np.bool_]
    errors: NDArray[np.integer]

    def __len__(self) -> int:
        return len(self.errors)

    def take(self, rows: NDArray[np.integer]) -> Pool:
        """Some of the rows."""
        return Pool({name: one[rows] for name, one in self.scored.items()}, self.outlier[rows], self.errors[rows])

    def plus(self, other: Pool) -> Pool:
        """The rows of both."""
        scored = {name: np.concatenate([one, other.scored[name]]) for name, one in self.scored.items()}
        return Pool(scored, np.r_[self.outlier, other.outlier], np.r_[self.errors, other.errors])


def measure_pair(pair: Pair, draws: int = DRAWS) -> tuple[list[Row], list[Row]]:
    """One row per pool of a pair, and one per smaller pool drawn from it, ``draws`` of each size."""
    evaluated = evaluate([Traced.of(pair.train, "train"), Traced.of(pair.val, "val")])
    held_out = summarise_held_out(evaluated.samples)
    pools = {}
    for name, split in pair.reported.items():
        found = evaluated.estimate(split)
        confidence = softmax(split.wide, axis=1).max(axis=1)
        scored = {"error_proba": found.error_proba, "score": confidence, "support": found.support}
        pools[name] = Pool(scored, found.zone == OUTLIER_ZONE, split.errors)
    random = np.random.default_rng(0)
    if len(pools) == 2:
        pools[MIXTURE] = _mixture(*pools.values(), random)
    rows = [{"pair": pair.name, "pool": name, **measure(held_out, pool)} for name, pool in pools.items()]
    drawn = [
        {"pair": pair.name, "pool": name, "size": size, **measure(held_out, pool.take(_some(pool, size, random)))}
        for name, pool in pools.items()
        for size in SIZES
        for _ in range(draws)
    ]
    return rows, drawn


def measure(held_out: PoolSummary, pool: Pool) -> Row:
    """What is estimated of one pool, and what its labels say."""
    summary = PoolSummary()
    summary.add(dict(pool.scored), pool.outlier)
    static = pool.scored["error_proba"]
    adapted = recalibrate(held_out, summary).apply(static)
    found = estimate_accuracy(held_out, summary)
    true = float(pool.errors.mean())
    return {
        "true": true,
        "static": float(static.mean()),
        "estimate": 1.0 - found.accuracy,
        "low": 1.0 - found.high,
        "high": 1.0 - found.low,
        "covered": 1.0 - found.high <= true <= 1.0 - found.low,
        "warned": found.warning is not None,
        "drift": found.drift,
        "outliers": found.outlier_share,
        "ece_static": metrics.ece(static, pool.errors),
        "ece_pool": metrics.ece(adapted, pool.errors),
        "brier_static": metrics.brier(static, pool.errors),
        "brier_pool": metrics.brier(adapted, pool.errors),
    }


def render(rows: Sequence[Row], drawn: Sequence[Row]) -> str:
    """All tables as Markdown."""
    pools = list(dict.fromkeys(row["pool"] for row in rows))
    parts = ["# Pools without labels", "## Mean over pairs", _summary(rows, pools)]
    parts += ["## Share of smaller pools whose accuracy lies in the interval", _coverage(drawn, pools)]
    for pool in pools:
        parts += [f"## Pool: {pool}", _table([row for row in rows if row["pool"] == pool])]
    return "\n\n".join(parts) + "\n"


def _summary(rows: Sequence[Row], pools: Sequence[str]) -> str:
    halves: dict[str, Callable[[Row], bool]] = {
        "chosen on": lambda row: row["pair"] in CHOSEN_ON,
        "confirming": lambda row: row["pair"] not in CHOSEN_ON,
        "all": lambda _: True,
    }
    head = (
        "Pool", "Pairs", "n", "Accuracy off by: static", "estimate", "ECE static", "ECE pool", "Brier static",
        "Brier pool", "In the interval", "Interval width", "Warned",
    )  # fmt: skip
    body = []
    for pool in pools:
        for half, belongs in halves.items():
            some = [row for row in rows if row["pool"] == pool and belongs(row)]
            if not some:
                continue
            off = [_mean(abs(row[name] - row["true"]) for row in some) for name in ("static", "estimate")]
            figures = [_mean(row[name] for row in some) for name in ("ece_static", "ece_pool")]
            figures += [_mean(row[name] for row in some) for name in ("brier_static", "brier_pool")]
            covered, warned = (f"{sum(row[name] for row in some)} of {len(some)}" for name in ("covered", "warned"))
            width = _mean(row["high"] - row["low"] for row in some)
            body.append((pool, half, len(some), *off, *figures, covered, width, warned))
    return markdown(head, body)


def _coverage(drawn: Sequence[Row], pools: Sequence[str]) -> str:
    body = []
    for pool in pools:
        found = [[row["covered"] for row in drawn if row["pool"] == pool and row["size"] == size] for size in SIZES]
        body.append((pool, *(f"{_mean(one):.1%}" for one in found)))
    return markdown(("Pool", *(f"{size} rows" for size in SIZES)), body)


def _table(rows: Sequence[Row]) -> str:
    names = ("true", "static", "estimate")
    head = ("Pair", "Error rate", "Mean error_proba", "Estimate", "95 % interval", "Holds", "Drift", "Outliers")
    body = [
        (
            row["pair"],
            *(f"{row[name]:.3f}" for name in names),
            f"{row['low']:.3f} to {row['high']:.3f}",
            row["covered"],
            f"{row['drift']:.2f}",
            f"{row['outliers']:.1%}",
            row["ece_static"],
            row["ece_pool"],
        )
        for row in rows
    ]
    return markdown((*head, "ECE static", "ECE pool"), body)


def _mixture(one: Pool, other: Pool, random: np.random.Generator) -> Pool:
    size = min(len(one), len(other)) // 2
    return one.take(_some(one, size, random)).plus(other.take(_some(other, size, random)))


def _some(pool: Pool, size: int, random: np.random.Generator) -> NDArray[np.integer]:
    return random.permutation(len(pool))[:size]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _measure_path(draws: int, path: Path) -> tuple[list[Row], list[Row]]:
    return measure_pair(load_pair(path), draws)


def _measure_all(paths: Sequence[Path], draws: int, jobs: int) -> Iterator[tuple[list[Row], list[Row]]]:
    if jobs == 1:
        yield from map(partial(_measure_path, draws), paths)
        return
    # Not forked: the threads of the libraries that are loaded by now would not come along.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(_measure_path, draws), paths)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status is 0 unless there is nothing to measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.error_detection.pool", description=__doc__)
    parser.add_argument("--pairs", nargs="*", default=None, help="names of pairs; default all there are")
    parser.add_argument("--draws", type=int, default=DRAWS, help="smaller pools of each size")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="worker processes")
    options = parser.parse_args(arguments)
    try:
        paths = list_pairs(data_folder() / "error_pairs")
    except FileNotFoundError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    chosen = [path for name, path in paths.items() if options.pairs is None or name in options.pairs]
    if not chosen:
        sys.stderr.write(f"--pairs: expected some of {sorted(paths)}, got {options.pairs or 'none'}\n")
        return 1
    rows, drawn = [], []
    for path, (found, smaller) in zip(chosen, _measure_all(chosen, options.draws, options.jobs), strict=True):
        rows += found
        drawn += smaller
        sys.stderr.write(f"{path.stem}\n")
    sys.stdout.write(render(rows, drawn))
    return 0


if __name__ == "__main__":
    sys.exit(main())
