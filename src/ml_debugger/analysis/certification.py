"""How low an error probability must be to promise an error rate, tested on rows that had no part in their own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.intervals import binomial_upper, rows_for_promise

__all__ = ["Certificate", "certify"]

GROWTH = 1.1  # each tested threshold holds at least 10 % more rows than the one before
STARTS = (0.1, 0.5)  # shares of the rows at which a search starts: a few early errors, or noise throughout, end but one
MAX_ROWS = 10_000_000

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A promise about the rows below a threshold, or why there is none.

    Attributes:
        threshold: Rows with a lower error probability are promised; 0 where nothing can be promised.
        risk: The promised highest error rate; where nothing is promised, the one that was tried.
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
    relaxed: float | None = None,
    labels: int = 0,
) -> Certificate:
    """The largest threshold whose rows err at most at rate ``risk``, with ``confidence``.

    Thresholds are tested from one that holds a tenth of the rows upwards, and again from one that holds half of them,
    until the exact bound on the error rate below one exceeds ``risk``: fixed-sequence testing with several starts,
    Learn-then-Test (Angelopoulos et al. 2021). Which thresholds are tested does not depend on the errors, so a search
    needs no correction; the searches share the level (Bonferroni).

    Args:
        error_proba: ``(N,)`` of certification rows that may count as stable.
        is_error: ``(N,)``.
        risk: Between 0 and 1.
        confidence: Between 0 and 1.
        relaxed: A higher rate to promise where ``risk`` cannot be. Its searches share the level too, so that whichever
            comes out is promised with ``confidence``.
        labels: Labelled rows of the evaluation behind these N, for the sentence on how many it would take.
    """
    order = np.argsort(error_proba, kind="stable")
    ranked, errors = error_proba[order], np.concatenate([[0], np.cumsum(is_error[order])])
    risks = [risk] if relaxed is None else [risk, relaxed]
    level = 1.0 - (1.0 - confidence) / (len(risks) * len(STARTS))
    for tried in risks:
        found = max(_walk(ranked, errors, tried, level, start) for start in STARTS)
        if found[1]:
            return _promise(found, tried, confidence, level)
    sentence = _what_it_takes(errors, risks[-1], confidence, level, labels)
    return Certificate(0.0, risks[-1], confidence, 0, 0, 1.0, sentence)


def _walk(ranked: Float64, errors: NDArray[Any], risk: float, level: float, start: float) -> tuple[float, int, int]:
    """Threshold, rows and errors below it, of the last test passed; zeros if the first one fails."""
    needed = rows_for_promise(risk, level)
    found = 0.0, 0, 0
    for size in _sizes(max(needed, math.ceil(start * len(ranked))), len(ranked)):
        threshold = float(ranked[size]) if size < len(ranked) else math.nextafter(float(ranked[-1]), 2.0)
        rows = int(np.searchsorted(ranked, threshold, side="left"))
        if rows < needed:  # ties: the threshold holds fewer rows than were counted off
            continue
        if binomial_upper(int(errors[rows]), rows, level) > risk:
            break
        found = threshold, rows, int(errors[rows])
    return found


def _promise(found: tuple[float, int, int], risk: float, confidence: float, level: float) -> Certificate:
    threshold, rows, wrong = found
    bound = binomial_upper(wrong, rows, level)
    sentence = (
        f"at most {risk:.2%} of these rows are wrong, with {confidence:.0%} confidence, for data like the traced data: "
        f"{wrong} of {rows} certification rows were wrong, so the bound found is {bound:.2%}, within the limit of "
        f"{risk:.2%}"
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


def _what_it_takes(errors: NDArray[Any], risk: float, confidence: float, level: float, labels: int) -> str:
    """Why nothing is promised, and how many labels it would take."""
    rows, needed = len(errors) - 1, rows_for_promise(risk, level)
    start = f"nothing is promised: an error rate of at most {risk:.2%} with {confidence:.0%} confidence takes"
    if rows < needed:
        total = math.ceil(max(labels, 1) * needed / max(rows, 1)) if rows else needed
        return (
            f"{start} at least {needed} certification rows without an error, there are {rows}; label about {total} rows"
        )
    tested = max(needed, math.ceil(STARTS[-1] * rows))
    wrong = int(errors[tested])
    rate = wrong / tested
    if rate >= risk:
        return (
            f"{start} fewer errors: {wrong} of the {tested} certification rows that look safest were wrong; "
            "more labels alone will not help, a better model or a higher stable_risk will"
        )
    size = tested
    while size < MAX_ROWS and binomial_upper(math.ceil(rate * size), size, level) > risk:
        size = math.ceil(size * 1.1)
    total = math.ceil(max(labels, tested) * size / tested)
    return (
        f"{start} more evidence: among the {tested} certification rows that look safest {wrong} were wrong; "
        f"at that rate it takes about {total} labelled rows"
    )
