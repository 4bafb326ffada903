"""All that descriptors refer to: the space of the features, the rows kept of it, and the probes learned on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.bank import MAX_ROWS, Bank, build_bank, with_rows
from ml_debugger.estimation.descriptors import Described, Opinions, error_log_odds
from ml_debugger.estimation.neighbours import Looked, look, top_votes
from ml_debugger.estimation.probes import (
    AnchoredProbe,
    Choices,
    KernelProbe,
    Sample,
    choose,
    fit_anchored,
    fit_kernel,
    fit_mixture,
)
from ml_debugger.estimation.probes.kernel import MAX_LANDMARKS, place_landmarks

__all__ = ["Examples", "Reference", "fit_reference"]

ENOUGH_ROWS = 500  # rows of their own from which on the training rows alone say where features live
CHUNK = 2048

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Examples:
    """N labelled rows.

    Attributes:
        vectors: ``(N, D)`` finite features, or logits where the model shows none.
        logits: ``(N, C)`` finite.
        label: ``(N,)`` predicted classes.
        truth: ``(N,)`` annotated classes.
        groups: ``(N,)`` rows that must not learn from each other.
    """

    vectors: NDArray[Any]
    logits: NDArray[Any]
    label: Int64
    truth: Int64
    groups: NDArray[Any]

    def __len__(self) -> int:
        return len(self.truth)


@dataclass(frozen=True, slots=True)
class Reference:
    """What descriptors of a classified unit refer to.

    Attributes:
        bank: Space and rows.
        anchored: The linear probe.
        kernel: The kernel probe.
        mixture: ``(3,)`` weights of network, linear and kernel probe.
    """

    bank: Bank
    anchored: AnchoredProbe
    kernel: KernelProbe
    mixture: Float64

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by path, for saving."""
        parts = {
            "bank": self.bank.to_arrays(),
            "anchored": self.anchored.to_arrays(),
            "kernel": self.kernel.to_arrays(),
        }
        found = {f"{path}/{name}": array for path, part in parts.items() for name, array in part.items()}
        return {**found, "mixture": self.mixture}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Reference:
        """The reference whose arrays these are."""

        def part(path: str) -> dict[str, NDArray[Any]]:
            return {name[len(path) + 1 :]: array for name, array in arrays.items() if name.startswith(path + "/")}

        return cls(
            Bank.from_arrays(part("bank")),
            AnchoredProbe.from_arrays(part("anchored")),
            KernelProbe.from_arrays(part("kernel")),
            arrays["mixture"],
        )


def fit_reference(known: Examples, held: Examples, *, seed: int = 0) -> tuple[Reference, Described]:
    """Learn the reference, and describe the held-out rows as if none of them, nor its group, had had a part in it.

    Args:
        known: Rows that the network learned from, or that nothing else is learned from; may be none. No group of
            theirs is among the held-out rows.
        held: Held-out rows; at least one.
        seed: Of every draw.
    """
    few = len(known) < min(ENOUGH_ROWS, len(held))
    vectors, truth = _joined(known, held) if few else (known.vectors, known.truth)
    bank = build_bank(vectors, truth, seed=seed)
    there, here = _placed(bank, known), _placed(bank, held)
    random = np.random.default_rng(seed)
    choices = choose(held.logits, held.label)
    sample = _sample(held, here, choices, seed)
    anchored, linear_scores, scaled = fit_anchored(bank, sample)
    kernel, kernel_scores, apart = _learn_kernel(random, sample, (there, known.truth), here)
    experts = np.stack([scaled, linear_scores, kernel_scores])
    mixture = fit_mixture(experts, sample)
    bank, looked, votes = _learn_neighbours(random, bank, sample, (there, known.truth), held.label)
    said = Opinions(choices, experts, mixture, looked, apart)
    described = Described(said.columns(), error_log_odds(held.logits, held.label), said.outlying(), *votes)
    return Reference(bank, anchored, kernel, mixture), described


@dataclass(frozen=True, slots=True)
class _Placed:
    """Rows in both spaces."""

    components: Float64
    points: Float64

    def __len__(self) -> int:
        return len(self.points)

    def rows(self, chosen: Any) -> _Placed:
        return _Placed(self.components[chosen], self.points[chosen])

    def and_then(self, other: _Placed) -> _Placed:
        return _Placed(np.concatenate([self.components, other.components]), np.concatenate([self.points, other.points]))


def _placed(bank: Bank, examples: Examples) -> _Placed:
    parts = [bank.place(np.asarray(examples.vectors[part], dtype=np.float32)) for part in _chunks(len(examples))]
    points = np.concatenate(parts) if parts else np.zeros((0, bank.axes.shape[1]))
    return _Placed(bank.to_components(points), points)


def _sample(held: Examples, here: _Placed, choices: Choices, seed: int) -> Sample:
    return Sample(
        points=here.points,
        components=here.components,
        logits=np.asarray(choices.take(held.logits), dtype=np.float64),
        choices=choices,
        truth=held.truth,
        wrong=(held.label != held.truth).astype(np.float64),
        groups=np.unique(held.groups, return_inverse=True)[1],
        n_classes=held.logits.shape[1],
        seed=seed,
    )


def _learn_kernel(
    random: np.random.Generator, sample: Sample, known: tuple[_Placed, Int64], here: _Placed
) -> tuple[KernelProbe, Float64, Float64]:
    """The probe, its out-of-fold scores, and the distance of each row to the nearest landmark."""
    there, truth = known
    from_known, from_held = _draw(random, len(there), len(here), MAX_LANDMARKS)
    kept = there.rows(from_known).and_then(here.rows(from_held))
    start = place_landmarks(kept.components, kept.points)
    owners = np.concatenate([np.full(len(from_known), -1), sample.groups[from_held]])
    similar, apart = _similarities(start, here, sample.groups[:, None] == owners)
    similar_known, _ = _similarities(start, there, None)
    own, _ = start.similarities(kept.components, kept.points)
    probe, scores = fit_kernel(start, sample, similar, (similar_known, truth), own)
    return probe, scores, apart


def _similarities(start: KernelProbe, placed: _Placed, hidden: NDArray[np.bool_] | None) -> tuple[Float32, Float64]:
    parts = [
        start.similarities(placed.components[part], placed.points[part], None if hidden is None else hidden[part])
        for part in _chunks(len(placed))
    ]
    if not parts:
        return np.zeros((0, start.landmarks.shape[1]), dtype=np.float32), np.zeros(0)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _learn_neighbours(
    random: np.random.Generator, bank: Bank, sample: Sample, known: tuple[_Placed, Int64], label: Int64
) -> tuple[Bank, Looked, tuple[Int64, Float64]]:
    """The bank with rows of both kinds; what they say of each held-out row but for itself and its group; votes."""
    there, truth = known
    from_known, from_held = _draw(random, len(there), len(sample), MAX_ROWS)
    points = np.concatenate([there.points[from_known], sample.points[from_held]])
    is_held = np.arange(len(points)) >= len(from_known)
    bank, order = with_rows(bank, points, np.concatenate([truth[from_known], sample.truth[from_held]]), is_held)
    owners = np.concatenate([np.full(len(from_known), -1), sample.groups[from_held]])[order]
    found = [
        _ask(bank, sample.points[part], label[part], sample.groups[part, None] == owners)
        for part in _chunks(len(sample))
    ]
    against, near, distance, classes, shares = (np.concatenate(values) for values in zip(*found, strict=True))
    return bank, Looked(against, near, distance), (classes, shares)


def _ask(bank: Bank, points: Float64, label: Int64, hidden: NDArray[np.bool_]) -> tuple[NDArray[Any], ...]:
    looked = look(bank, points, label, hidden)
    return looked.against, looked.against_near, looked.distance, *top_votes(bank, points, hidden)


def _joined(first: Examples, second: Examples) -> tuple[NDArray[Any], Int64]:
    return np.concatenate([first.vectors, second.vectors]), np.concatenate([first.truth, second.truth])


def _chunks(n_rows: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, n_rows)) for start in range(0, n_rows, CHUNK)]


def _draw(random: np.random.Generator, n_known: int, n_held: int, count: int) -> tuple[Int64, Int64]:
    """Positions of up to ``count`` rows, half of each kind as far as there are as many."""
    from_known = min(n_known, max(count // 2, count - n_held))
    from_held = min(n_held, count - from_known)
    return random.permutation(n_known)[:from_known], random.permutation(n_held)[:from_held]
