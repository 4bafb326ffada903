"""A network of one hidden layer in NumPy, trained by Adam: quick on a few thousand rows, repeatable for a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Gradient", "Network", "train_network"]

FloatArray = NDArray[np.floating]
Gradient = Callable[[FloatArray, NDArray], FloatArray]
"""From outputs ``(B, K)`` and targets ``(B, ...)`` to the loss's gradient in the outputs, ``(B, K)``."""

HIDDEN = 64
BATCH = 128
EPOCHS = 20
STEPS = (150, 500)  # at least, at most
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-3


@dataclass(frozen=True)
class Network:
    """``relu(x V + c) W + d``; ``parameters`` are V, c, W, d."""

    parameters: tuple[FloatArray, FloatArray, FloatArray, FloatArray]

    def hidden(self, inputs: FloatArray) -> FloatArray:
        """``(N, H)`` activations."""
        return np.maximum(inputs @ self.parameters[0] + self.parameters[1], 0)

    def __call__(self, inputs: FloatArray) -> FloatArray:
        """``(N, K)`` outputs."""
        return self.hidden(inputs) @ self.parameters[2] + self.parameters[3]


def train_network(inputs: FloatArray, targets: NDArray, width: int, gradient: Gradient, seed: int) -> Network:
    """A network of ``width`` outputs trained on N rows; Adam (Kingma & Ba 2015) with a step size that falls to zero."""
    rng = np.random.default_rng(seed)
    network = _start(inputs.shape[1], width, rng)
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in network.parameters]
    steps = int(np.clip(EPOCHS * len(inputs) / BATCH, *STEPS))
    for step in range(1, steps + 1):
        batch = rng.integers(0, len(inputs), min(BATCH, len(inputs)))
        slopes = backward(network, inputs[batch], targets[batch], gradient)
        rate = LEARNING_RATE * (1 - (step - 1) / steps)
        for parameter, slope, (first, second) in zip(network.parameters, slopes, moments, strict=True):
            first += 0.1 * (slope - first)
            second += 0.001 * (slope**2 - second)
            parameter -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return network


def backward(network: Network, inputs: FloatArray, targets: NDArray, gradient: Gradient) -> list[FloatArray]:
    """Gradients of the batch's mean loss plus weight decay, in the order of the parameters."""
    into, _, out, _ = network.parameters
    hidden = network.hidden(inputs)
    at_output = gradient(hidden @ out + network.parameters[3], targets) / len(inputs)
    at_hidden = (at_output @ out.T) * (hidden > 0)
    return [
        inputs.T @ at_hidden + WEIGHT_DECAY * into,
        at_hidden.sum(axis=0),
        hidden.T @ at_output + WEIGHT_DECAY * out,
        at_output.sum(axis=0),
    ]


def _start(n_inputs: int, width: int, rng: np.random.Generator) -> Network:
    into = rng.normal(0, np.sqrt(2 / n_inputs), (n_inputs, HIDDEN))
    out = rng.normal(0, np.sqrt(1 / HIDDEN), (HIDDEN, width))
    return Network((into, np.zeros(HIDDEN), out, np.zeros(width)))
