"""How low an error probability must be to promise an error rate, tested on rows that nothing was fitted on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.intervals import binomial_upper, rows_for_promise

__all__ = ["Certificate", "certify"]

GROWTH = 1.05  # each tested threshold holds at least 5 % more rows than the one before
MAX_ROWS = 10_000_000

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A promise about the rows below a threshold, or why there is none.

    Attributes:
        threshold: Rows with a lower error probability are promised; 0 where nothing can be promised.
        risk: The promised highest error rate.
        confidence: Of the promise.
        rows: Certification rows below the threshold.
        errors: Errors among them.
        bound: One-sided upper bound of the error rate from those rows.
        sentence: The promise in words, or what it would take.
    """

    threshold: float
    risk: float
    confidence: float
    rows: int
    errors: int
    bound: float
    sentence: str


def certify(
    error_proba: Float64,
    is_error: NDArray[np.bool_],
    risk: float,
    confidence: float = 0.95,
    *,
    labels: int = 0,
) -> Certificate:
    """The largest threshold whose rows err at most at rate ``risk``, with ``confidence``.

    Thresholds are tested from the smallest that holds enough rows upwards, until the exact bound on the error rate
    below one
    exceeds ``risk``: fixed-sequence testing, Learn-then-Test (Angelopoulos et al. 2021). Which thresholds are tested
    does not
    depend on the errors, so the promise holds without correction.

    Args:
        error_proba: ``(N,)`` of certification rows that may count as stable.
        is_error: ``(N,)``.
        risk: Between 0 and 1.
        confidence: Between 0 and 1.
        labels: Labelled rows of the evaluation behind these N, for the sentence on how many it would take.
    """
    order = np.argsort(error_proba, kind="stable")
    ranked, errors = error_proba[order], np.concatenate([[0], np.cumsum(is_error[order])])
    needed = rows_for_promise(risk, confidence)
    found: tuple[float, int, int] | None = None
    for size in _sizes(needed, len(ranked)):
        threshold = float(ranked[size]) if size < len(ranked) else math.nextafter(float(ranked[-1]), 2.0)
        rows = int(np.searchsorted(ranked, threshold, side="left"))
        if rows < needed:  # ties: the threshold holds fewer rows than were counted off
            continue
        if binomial_upper(int(errors[rows]), rows, confidence) > risk:
            break
        found = threshold, rows, int(errors[rows])
    if found is None:
        sentence = _what_it_takes(errors, needed, risk, confidence, labels)
        return Certificate(0.0, risk, confidence, 0, 0, 1.0, sentence)
    threshold, rows, wrong = found
    bound = binomial_upper(wrong, rows, confidence)
    sentence = (
        f"at most {risk:.2%} of these rows are wrong, with {confidence:.0%} confidence, for data like the traced data: "
        f"{wrong} of {rows} certification rows were wrong, which bounds the rate at {bound:.2%}"
    )
    return Certificate(threshold, risk, confidence, rows, wrong, bound, sentence)


def _sizes(needed: int, rows: int) -> Iterator[int]:
    """Numbers of rows to test, growing from the fewest that could suffice to all."""
    size = needed
    while size < rows:
        yield size
        size = max(size + 1, math.ceil(size * GROWTH))
    if needed <= rows:
        yield rows


def _what_it_takes(errors: NDArray[Any], needed: int, risk: float, confidence: float, labels: int) -> str:
    """Why nothing is promised, and how many labels it would take."""
    rows = len(errors) - 1
    start = f"nothing is promised: an error rate of at most {risk:.2%} with {confidence:.0%} confidence takes"
    if rows < needed:
        total = math.ceil(max(labels, 1) * needed / max(rows, 1)) if rows else needed
        return (
            f"{start} at least {needed} certification rows without an error, there are {rows}; label about {total} rows"
        )
    wrong = int(errors[needed])
    rate = wrong / needed
    if rate >= risk:
        return (
            f"{start} fewer errors: {wrong} of the {needed} certification rows that look safest were wrong; "
            "more labels alone will not help, a better model or a higher stable_risk will"
        )
    size = needed
    while size < MAX_ROWS and binomial_upper(math.ceil(rate * size), size, confidence) > risk:
        size = math.ceil(size * 1.1)
    total = math.ceil(max(labels, needed) * size / needed)
    return (
        f"{start} more evidence: among the {needed} certification rows that look safest {wrong} were wrong; "
        f"at that rate it takes about {total} labelled rows"
    )
