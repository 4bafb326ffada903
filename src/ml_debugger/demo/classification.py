"""The classification demo: from a model short of labels to the images worth labelling, and what that is worth.

It uses the public classes only, so that it doubles as an example. The pool is treated as unlabelled throughout; its
true labels are used afterwards, to count how often what was said about it is right.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ml_debugger.data_filter import ClassificationDataFilter
from ml_debugger.demo import DemoOptions
from ml_debugger.demo.digits import Digits, batches, load_digits, predict, train
from ml_debugger.demo.findings import WIDTH, auroc, save_pictures, torch_threads, zone_lines
from ml_debugger.evaluator import Evaluator, Result
from ml_debugger.presentation.progress import tracked
from ml_debugger.presentation.tables import percent, text_table
from ml_debugger.training import ClassificationTracer

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

__all__ = ["run"]

MODEL_NAME: Final = "digits_cnn"
N_QUERY: Final = 50
CONTROL: Final = "random"
STRATEGIES: Final = ("high_error_proba", "diverse_error", "badge", "zone_balanced", "coverage")
LEARNERS: Final = ("high_error_proba", "diverse_error")
FILTERS: Final = ({"target_zones": ["critical_hotspot"]}, {"conditions": [{"error_proba": ">=0.5", "score": "<0.7"}]})

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Scored:
    """A model that was traced, evaluated, and run over the pool."""

    model: nn.Module
    result: Result
    data_filter: ClassificationDataFilter


def run(options: DemoOptions, say: Say) -> None:
    """Run the demo: one model looked at closely, then active learning against random selection."""
    with torch_threads(1):  # for a model and batches this small, handing work to more costs more than it gains
        _run(options, say)


def _run(options: DemoOptions, say: Say) -> None:
    start = time.perf_counter()
    digits = load_digits()
    split = digits.split(seed=0)
    say(f"Data     {len(digits.labels):,} handwritten digits of 8 x 8 pixels: " + _sizes(split))
    model = train(digits, split["train"], seed=0)
    right = {name: _accuracy(model, digits, split[name]) for name in ("train", "val", "pool")}
    accuracies = ", ".join(f"{name} {percent(value)}" for name, value in right.items())
    say(f"Model    a small CNN, trained on {len(split['train'])} images; accuracy: {accuracies}")
    scored = _score_pool(model, digits, split, version_name="close-up", n_epoch=0)
    say(f"Result   {scored.result.result_name}")
    for note in scored.result.notes:
        say(textwrap.fill(f"Note     {note}", WIDTH, subsequent_indent=" " * 9))
    scores = scored.data_filter.scores()
    scores["is_error"] = scores["label"].to_numpy() != digits.labels[scores["input_id"].to_numpy(int)]
    say("\n" + _zone_report(scored.result, scores))
    say("\n" + _first_queried(scored.data_filter, scores))
    curves = _active_learning(digits, options)
    say("\n" + _curve_report(curves))
    say("\nFiles")
    for title, path in _write_pictures(scored.result, curves, options).items():
        say(f"  {title:<16} {path}")
    say(f"\nDone in {time.perf_counter() - start:.0f} s. Every figure was measured in this run, on one small data set.")


def _score_pool(
    model: nn.Module, digits: Digits, split: dict[str, list[int]], version_name: str, n_epoch: int
) -> _Scored:
    """Trace the labelled data, evaluate, and run the data filter over the pool, as the guide's steps do."""
    import torch

    tracer = ClassificationTracer(model, MODEL_NAME, version_name)
    with torch.no_grad():
        for dataset_type in ("train", "val"):
            for ids in tracked(list(batches(split[dataset_type])), f"Tracing {dataset_type}"):
                tracer(digits.tensor(ids), digits.labels[ids], ids, dataset_type=dataset_type, n_epoch=n_epoch)
    tracer.wait_for_save()
    result = Evaluator(MODEL_NAME, version_name).request_evaluation(n_epoch=n_epoch)
    data_filter = ClassificationDataFilter(model, MODEL_NAME, version_name, result_name=result.result_name)
    with torch.no_grad():
        for ids in tracked(list(batches(split["pool"])), "Scoring the pool"):
            data_filter(digits.tensor(ids), ids)
    return _Scored(model, result, data_filter)


def _zone_report(result: Result, scores: pd.DataFrame) -> str:
    """Zones as the result describes them beside what happened in the pool, and how well its errors are found."""
    wrong = scores["is_error"].to_numpy(bool)
    ours, own = (auroc(value, wrong) for value in (scores["error_proba"], 1 - scores["score"]))
    return "\n".join(
        [
            "Zones    what the labelled data says, and what is true of the pool",
            *zone_lines(result, scores),
            f"AUROC    of finding the pool's errors: error probability {ours:.3f}, model's own confidence {own:.3f}",
        ]
    )


def _first_queried(data_filter: ClassificationDataFilter, scores: pd.DataFrame) -> str:
    """How many of the first images that each strategy picks the model really gets wrong."""
    wrong = scores.set_index("input_id")["is_error"]
    picked: dict[str, list[int]] = {name: data_filter.query(N_QUERY, name) for name in STRATEGIES}
    picked |= {str(condition): data_filter.query(N_QUERY, condition) for condition in FILTERS}
    picked["lowest confidence (baseline)"] = scores.nsmallest(N_QUERY, "score")["input_id"].tolist()
    rows = [
        (name, str(len(ids)), str(int(wrong.loc[ids].sum())), percent(wrong.loc[ids].mean()) if ids else "-")
        for name, ids in picked.items()
    ]
    rows.append(("random (expected)", str(N_QUERY), f"{N_QUERY * wrong.mean():.1f}", percent(wrong.mean())))
    table = text_table((f"first {N_QUERY} by", "images", "really wrong", "share"), rows, right=(1, 2, 3))
    return f"Query    {int(wrong.sum())} of {len(wrong):,} pool images are wrong; of those picked first:\n{table}"


def _active_learning(digits: Digits, options: DemoOptions) -> pd.DataFrame:
    """Test accuracy after each round of labelling, by strategy and seed."""
    import pandas as pd

    arms = [(strategy, seed) for seed in range(options.seeds) for strategy in (*LEARNERS, CONTROL)]
    title = f"Active learning, {options.rounds} rounds"
    rows = [row for strategy, seed in tracked(arms, title) for row in _one_arm(digits, strategy, seed, options.rounds)]
    return pd.DataFrame(rows)


def _one_arm(digits: Digits, strategy: str, seed: int, rounds: int) -> list[dict[str, Any]]:
    """Label ``N_QUERY`` images a round, as one strategy picks them, and train anew each time."""
    split = digits.split(seed)
    order = np.random.default_rng(seed)
    rows = []
    for n_epoch in range(rounds + 1):
        model = train(digits, split["train"], seed)
        rows.append(
            {
                "strategy": strategy,
                "seed": seed,
                "n_labels": len(split["train"]),
                "accuracy": _accuracy(model, digits, split["test"]),
            }
        )
        if n_epoch == rounds:
            break
        if strategy == CONTROL:
            queried = order.choice(split["pool"], N_QUERY, replace=False).tolist()
        else:
            scored = _score_pool(model, digits, split, version_name=f"{strategy}-seed{seed}", n_epoch=n_epoch)
            queried = scored.data_filter.query(N_QUERY, strategy)
        split["train"] += queried
        split["pool"] = sorted(set(split["pool"]) - set(queried))
    return rows


def _curve_report(curves: pd.DataFrame) -> str:
    mean = curves.pivot_table(index="n_labels", columns="strategy", values="accuracy", sort=False)
    final = curves[curves["n_labels"] == curves["n_labels"].max()].pivot(
        index="seed", columns="strategy", values="accuracy"
    )
    rows = [(str(size), *(percent(row[name]) for name in mean.columns)) for size, row in mean.iterrows()]
    lines = [
        f"Active learning: test accuracy, mean of {curves['seed'].nunique()} seeds, {N_QUERY} labels a round",
        text_table(("labels", *mean.columns), rows, right=range(len(mean.columns) + 1)),
    ]
    for name in LEARNERS:
        gains = 100 * (final[name] - final[CONTROL])
        each = ", ".join(f"{gain:+.1f}" for gain in gains)
        lines.append(
            f"At the end {name} is {gains.mean():+.1f} points from {CONTROL} (by seed: {each}); {_saved(mean, name)}"
        )
    return "\n".join(lines)


def _saved(mean: pd.DataFrame, strategy: str) -> str:
    """Labels at which a strategy first reaches what the control has at the end."""
    goal, last = mean[CONTROL].iloc[-1], mean.index[-1]
    reached = mean.index[mean[strategy] >= goal]
    if not len(reached):
        return f"it did not reach the {percent(goal)} that {CONTROL} has with {last} labels"
    return f"with {reached[0]} labels it has the {percent(goal)} that {CONTROL} has with {last}"


def _write_pictures(result: Result, curves: pd.DataFrame, options: DemoOptions) -> dict[str, Path]:
    from ml_debugger.presentation.plots import plot_learning_curves

    further = {"learning curves": lambda: plot_learning_curves(curves, control=CONTROL)}
    return save_pictures(result, further, options.out)


def _sizes(split: dict[str, list[int]]) -> str:
    said = {"train": "to train", "val": "to validate", "test": "to test", "pool": "in the pool, treated as unlabelled"}
    return ", ".join(f"{len(split[name]):,} {text}" for name, text in said.items())


def _accuracy(model: nn.Module, digits: Digits, ids: list[int]) -> float:
    return float((predict(model, digits, ids)[0] == digits.labels[ids]).mean())
