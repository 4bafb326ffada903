"""Probes: classifiers learned anew from the features of labelled rows, which doubt the network's prediction."""

from __future__ import annotations

from ml_debugger.estimation.probes.anchored import AnchoredProbe, fit_anchored
from ml_debugger.estimation.probes.choices import Choices, choose, error_odds
from ml_debugger.estimation.probes.kernel import KernelProbe, fit_kernel
from ml_debugger.estimation.probes.mixing import fit_mixture, mixed
from ml_debugger.estimation.probes.sample import Sample

__all__ = [
    "AnchoredProbe",
    "Choices",
    "KernelProbe",
    "Sample",
    "choose",
    "error_odds",
    "fit_anchored",
    "fit_kernel",
    "fit_mixture",
    "mixed",
]
