"""Held-out rows as probes get them."""

from __future__ import annotations

import numpy as np
import pytest

from ml_debugger.estimation.bank import Bank, build_bank
from ml_debugger.estimation.probes import Sample, choose
from tests.helpers.labelled_runs import make_part


@pytest.fixture(name="make_sample")
def _make_sample():
    def make(n_rows: int = 600, seed: int = 2, **options) -> tuple[Bank, Sample]:
        known, part = make_part(n_rows, 1, **options), make_part(n_rows, seed, **options)
        bank = build_bank(known.features, np.asarray(known.labels))
        points, label = bank.place(part.features), part.logits.argmax(axis=1)
        choices, truth = choose(part.logits, label), np.asarray(part.labels)
        logits = choices.take(part.logits).astype(np.float64)
        wrong = (label != truth).astype(np.float64)
        n_classes = part.logits.shape[1]
        sample = Sample(
            points, bank.to_components(points), logits, choices, truth, wrong, np.arange(n_rows), n_classes, 0
        )
        return bank, sample

    return make
