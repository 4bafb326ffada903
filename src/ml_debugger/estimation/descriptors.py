"""What is measured about one prediction: each descriptor is oriented so that larger means more likely wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.estimation.blocks import in_blocks
from ml_debugger.estimation.neighbours import Looked, look, top_votes
from ml_debugger.estimation.probes import Choices, choose, error_odds, mixed

if TYPE_CHECKING:
    from ml_debugger.estimation.reference import Reference

__all__ = ["CLASS_DESCRIPTORS", "Described", "Descriptor", "Opinions", "describe", "error_log_odds", "vote"]

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One descriptor: ``text`` says what it is."""

    name: str
    text: str


CLASS_DESCRIPTORS: Final = (
    Descriptor("linear_probe", "log-odds against the predicted class by a probe anchored at the network's logits"),
    Descriptor("kernel_probe", "the same by a kernel ridge probe on lifted cosines"),
    Descriptor("mixed_probe", "the same by network and both probes together"),
    Descriptor("vote_against", "share of the neighbours' kernel vote that is not for the predicted class"),
    Descriptor("near_vote_against", "the same of a vote in which only near neighbours count"),
    Descriptor("distance", "cosine distance to the nearest labelled row (Sun et al. 2022)"),
)
"""The baseline comes first in every learner, so it is not repeated here."""


@dataclass(frozen=True, slots=True)
class Described:
    """Descriptors of U units.

    Attributes:
        descriptors: ``(U, K)`` float64, in the order of ``CLASS_DESCRIPTORS``.
        baseline: ``(U,)`` log-odds that the softmax probability of the predicted class is wrong.
        outlying: ``(U, J)`` float64, what tells units unlike the traced ones; larger = farther.
        vote_classes: ``(U, V)`` int64, the classes that the features vote for, most voted first; -1 where there are
            fewer. Only of held-out rows; see :func:`vote`.
        vote_shares: ``(U, V)`` float64.
    """

    descriptors: Float64
    baseline: Float64
    outlying: Float64
    vote_classes: Int64
    vote_shares: Float64


@dataclass(frozen=True, slots=True)
class Opinions:
    """What probes and neighbours say of U units.

    Attributes:
        choices: Classes that the probes look at.
        experts: ``(3, U, T)`` scores of network, linear and kernel probe.
        mixture: ``(3,)`` their weights.
        looked: The neighbours' vote.
        apart: ``(U,)`` distance to the nearest landmark of the kernel probe.
    """

    choices: Choices
    experts: Float64
    mixture: Float64
    looked: Looked
    apart: Float64

    def columns(self) -> Float64:
        """``(U, K)`` in the order of ``CLASS_DESCRIPTORS``."""
        (_, linear, kernel), together = mixed(self.experts, self.choices.own, self.mixture)
        return _columns(linear, kernel, together, self.looked.against, self.looked.against_near, self.looked.distance)

    def outlying(self) -> Float64:
        """``(U, 2)`` distances by direction, and by direction and length."""
        return _columns(self.looked.distance, self.apart)


def describe(
    reference: Reference, vectors: NDArray[Any], logits: NDArray[Any], label: Int64
) -> tuple[Float64, Float64, Float64]:
    """Descriptors, baseline and outlying of U new units; the same bits for a unit whatever the batch it comes in.

    Args:
        reference: What they refer to.
        vectors: ``(U, D)`` finite features, of the kind that the reference was learned on.
        logits: ``(U, C)`` finite logits, C >= 2.
        label: ``(U,)`` predicted classes, 0..C-1.
    """
    anchored, kernel, bank = reference.anchored, reference.kernel, reference.bank
    temperature = np.float64(anchored.temperature)

    def block(vectors: NDArray[Any], logits: NDArray[Any], label: Int64) -> tuple[NDArray[Any], ...]:
        points = bank.place(np.asarray(vectors, dtype=np.float32))
        choices = choose(logits, label)
        seen = choices.take(logits)
        experts = np.empty((3, *seen.shape))
        np.multiply(seen, temperature, out=experts[0])
        np.add(experts[0], anchored.correction(points, choices), out=experts[1])
        similar, apart = kernel.similarities(bank.to_components(points), points)
        experts[2] = kernel.scores(similar, choices)
        said = Opinions(choices, experts, reference.mixture, look(bank, points, label), apart)
        return said.columns(), error_odds(logits, label), said.outlying()

    descriptors, baseline, outlying = in_blocks(block, vectors, logits, label)
    return descriptors, baseline, outlying


def _columns(*values: Float64) -> Float64:
    table = np.empty((len(values[0]), len(values)))
    for column, each in enumerate(values):
        table[:, column] = each
    return table


def vote(reference: Reference, vectors: NDArray[Any]) -> tuple[Int64, Float64]:
    """``(U, V)`` classes that the features of new units vote for, most voted first, and their shares."""

    def block(vectors: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        points = reference.bank.place(np.asarray(vectors, dtype=np.float32))
        return top_votes(reference.bank, points)

    classes, shares = in_blocks(block, vectors)
    return classes, shares


def error_log_odds(logits: NDArray[Any], label: Int64) -> Float64:
    """``(U,)`` log((1 - p) / p) of the softmax probability p of the predicted class: the baseline of every comparison.

    Args:
        logits: ``(U, C)`` finite logits, C >= 2.
        label: ``(U,)`` predicted classes.
    """

    def block(logits: NDArray[Any], label: Int64) -> tuple[NDArray[Any], ...]:
        return (error_odds(logits, label),)

    return np.asarray(in_blocks(block, logits, label)[0])
