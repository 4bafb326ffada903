"""How low an error probability must be to promise an error rate, tested on rows that had no part in their own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.intervals import binomial_upper, mean_upper, rows_for_promise
from ml_debugger.columns import Words, words_of

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


def certify(  # noqa: PLR0913 - the numbers of one test
    error_proba: Float64,
    is_error: NDArray[np.bool_],
    risk: float,
    confidence: float = 0.95,
    *,
    relaxed: float | None = None,
    labels: int = 0,
    groups: NDArray[Any] | None = None,
    words: Words | None = None,
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
        groups: ``(N,)`` rows that are not independent, such as the boxes of one image. The promise then is about the
            error rate among the rows of a group, averaged over groups, and it is groups that count as evidence.
        words: What the sentence calls rows and groups.
    """
    said = words or words_of(None)
    order = np.argsort(error_proba, kind="stable")
    ranked, evidence = error_proba[order], _Evidence.of(is_error[order], None if groups is None else groups[order])
    risks = [risk] if relaxed is None else [risk, relaxed]
    level = 1.0 - (1.0 - confidence) / (len(risks) * len(STARTS))
    for tried in risks:
        found = max(_walk(ranked, evidence, tried, level, start) for start in STARTS)
        if found[1]:
            return _promise(found, evidence, tried, confidence, level, said)
    sentence = _what_it_takes(evidence, risks[-1], confidence, level, labels, said)
    return Certificate(0.0, risks[-1], confidence, 0, 0, 1.0, sentence)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Errors of ranked rows, and the groups they belong to where rows are not independent.

    Attributes:
        errors: ``(N + 1,)`` errors among the first rows.
        is_error: ``(N,)``.
        groups: ``(N,)`` 0, 1, ...; or None.
    """

    errors: NDArray[Any]
    is_error: NDArray[np.bool_]
    groups: NDArray[np.int64] | None

    @classmethod
    def of(cls, is_error: NDArray[np.bool_], groups: NDArray[Any] | None) -> _Evidence:
        """Of rows in their order."""
        member = None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64)
        return cls(np.concatenate([[0], np.cumsum(is_error)]), is_error, member)

    def count(self, rows: int) -> int:
        """Independent observations among the first rows."""
        return rows if self.groups is None else len(np.unique(self.groups[:rows]))

    def upper(self, rows: int, level: float) -> float:
        """Upper bound of the error rate of such rows."""
        if self.groups is None:
            return binomial_upper(int(self.errors[rows]), rows, level)
        held = np.bincount(self.groups[:rows])
        rates = np.bincount(self.groups[:rows], self.is_error[:rows])[held > 0] / held[held > 0]
        return mean_upper(float(rates.mean()), len(rates), level) if rows else 1.0


def _walk(ranked: Float64, evidence: _Evidence, risk: float, level: float, start: float) -> tuple[float, int, int]:
    """Threshold, rows and errors below it, of the last test passed; zeros if the first one fails."""
    needed = rows_for_promise(risk, level)
    found = 0.0, 0, 0
    for size in _sizes(max(needed, math.ceil(start * len(ranked))), len(ranked)):
        threshold = float(ranked[size]) if size < len(ranked) else math.nextafter(float(ranked[-1]), 2.0)
        rows = int(np.searchsorted(ranked, threshold, side="left"))
        if evidence.count(rows) < needed:  # ties: the threshold holds fewer rows than were counted off; few groups
            continue
        if evidence.upper(rows, level) > risk:
            break
        found = threshold, rows, int(evidence.errors[rows])
    return found


def _promise(
    found: tuple[float, int, int],
    evidence: _Evidence,
    risk: float,
    confidence: float,
    level: float,
    words: Words,
) -> Certificate:
    threshold, rows, wrong = found
    bound, units = evidence.upper(rows, level), words.units
    by_group = evidence.groups is not None
    where, mean = (
        (f" of {evidence.count(rows)} {words.inputs}", f", averaged over {words.inputs}") if by_group else ("", "")
    )
    sentence = (
        f"at most {risk:.2%} of these {units} are wrong{mean}, with {confidence:.0%} confidence, for data like the "
        f"traced data: {wrong} of {rows} certification {units}{where} were wrong, so the bound found is {bound:.2%}, "
        f"within the limit of {risk:.2%}"
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


def _what_it_takes(evidence: _Evidence, risk: float, confidence: float, level: float, labels: int, words: Words) -> str:
    """Why nothing is promised, and how many labels it would take."""
    errors, needed, units = evidence.errors, rows_for_promise(risk, level), words.units
    rows = len(errors) - 1
    start = f"nothing is promised: an error rate of at most {risk:.2%} with {confidence:.0%} confidence takes"
    if rows < needed:
        total = math.ceil(max(labels, 1) * needed / max(rows, 1)) if rows else needed
        return (
            f"{start} at least {needed} certification {units} without an error, there are {rows}; label about {total} "
            f"{units}"
        )
    tested = max(needed, math.ceil(STARTS[-1] * rows))
    wrong = int(errors[tested])
    rate = wrong / tested
    if rate >= risk:
        return (
            f"{start} fewer errors: {wrong} of the {tested} certification {units} that look safest were wrong; "
            "more labels alone will not help, a better model or a higher stable_risk will"
        )
    size = tested
    while size < MAX_ROWS and binomial_upper(math.ceil(rate * size), size, level) > risk:
        size = math.ceil(size * 1.1)
    total = math.ceil(max(labels, tested) * size / tested)
    return (
        f"{start} more evidence: among the {tested} certification {units} that look safest {wrong} were wrong; "
        f"at that rate it takes about {total} labelled {units}"
    )
