"""The selection strategies by name. Each is one function of a pool and n, registered once below.

To add one: write the function, name its paper in the docstring, add a line to ``STRATEGIES``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_debugger.columns import HOTSPOTS, ZONES
from ml_debugger.errors import ConfigError
from ml_debugger.selection.diversity import cover, distinct_rows, gradient_spread, reduce_width, represent, unit_rows

__all__ = ["STRATEGIES", "Picks", "Pool", "Strategy", "Vectors", "find_strategy"]

FloatArray = NDArray[np.floating]

# What the strategies that read features look at, at most: it bounds their memory whatever the size of the pool.
DIVERSE_ROWS: Final = 16_384
COVERAGE_ROWS: Final = 8_192
BADGE_ROWS: Final = 16_384
RANDOM_SHARE: Final = 0.15


@dataclass(frozen=True, slots=True)
class Vectors:
    """Features ``(N, D)`` float32 and logits ``(N, C)`` float32 of N candidates; None where the model shows none."""

    features: FloatArray | None
    logits: FloatArray | None


class Pool(Protocol):
    """What a strategy may ask of the pool. Candidates are Arrow tables, each input once, ties by ``input_id``."""

    @property
    def seed(self) -> int:
        """The query's seed."""

    def best(self, n: int, *, descending: bool = True) -> pa.Table:
        """Up to n candidates with the greatest (or smallest) rank value, best first."""

    def best_per_zone(self, n: int, *, skip: Collection[str] = ()) -> pa.Table:
        """Up to n candidates of every zone with the greatest rank value; best first within a zone."""

    def sample(self, n: int, *, skip: Collection[str] = ()) -> pa.Table:
        """Up to n candidates drawn uniformly by the seed."""

    def vectors(self, rows: pa.Table) -> Vectors:
        """Features and logits of candidates, in their order."""

    def beside_labelled(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """``(N, D)`` features as ``(N, K)``, and the labelled rows ``(R, K)`` in the same space."""


@dataclass(frozen=True, slots=True)
class Picks:
    """Candidates picked, best first; notes for the user; what was left out, if anything."""

    rows: pa.Table
    notes: tuple[str, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to select.

    Attributes:
        name: As users give it.
        description: One line for people.
        pick: What is picked of a pool for a number of inputs.
        samples: Whether sampling may be combined with it.
        nested: Whether the answer for fewer inputs is the beginning of that for more.
    """

    name: str
    description: str
    pick: Callable[[Pool, int], Picks]
    samples: bool = False
    nested: bool = False


def find_strategy(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        ConfigError: If there is none; the message lists those there are.
    """
    if name not in STRATEGIES:
        raise ConfigError(f"strategy: expected one of {', '.join(STRATEGIES)}, or a filter dict, got {name!r}")
    return STRATEGIES[name]


def high_error_proba(pool: Pool, n: int) -> Picks:
    """Highest error probability first: hard example mining (Shrivastava et al., CVPR 2016) without labels.

    For finding errors. To train on, its picks repeat each other: in benchmarks/active_learning they were worth less
    than random ones where the pool holds near-duplicates.
    """
    return Picks(pool.best(n))


def low_error_proba(pool: Pool, n: int) -> Picks:
    """Lowest error probability first: what to thin out, or to pseudo-label (Lee, ICML workshop 2013)."""
    return Picks(pool.best(n, descending=False))


def random(pool: Pool, n: int) -> Picks:
    """Uniform over the inputs: the control every other strategy must beat (Lüth et al., NeurIPS 2023)."""
    return Picks(pool.sample(n))


def diverse_error(pool: Pool, n: int) -> Picks:
    """The likely errors of every kind: clusters of features weighted by error probability, one pick from each.

    The recommended default for labelling to train: worth the most in benchmarks/active_learning, significantly more
    than random, margin and a reference BADGE.
    Diverse mini-batch active learning (Zhdanov, 2019) with the error probability as the weight: weighted k-means with n
    clusters on unit rows of the principal components; the input nearest each centre is picked, so that neither
    near-duplicates nor outliers fill the answer. Looks at 16,384 inputs drawn by the seed (4 n if that is more), and at
    more while exact duplicates leave fewer than n.
    """
    wanted = max(DIVERSE_ROWS, 4 * n)
    while True:
        drawn = pool.sample(wanted)
        usable = _usable(pool, drawn)
        if len(usable.features) >= n or drawn.num_rows < wanted:
            break
        wanted *= 4
    x = unit_rows(reduce_width(usable.features))
    picked = represent(x, usable.rows["rank_value"].to_numpy(), n, np.random.default_rng(pool.seed))
    return Picks(usable.rows.take(pa.array(picked)), usable.notes, usable.reason)


def coverage(pool: Pool, n: int) -> Picks:
    """Typical inputs far from what the network learned from, for first rounds and small budgets.

    ProbCover (Yehuda et al., NeurIPS 2022) with the typicality of TypiClust (Hacohen et al., ICML 2022), on the
    features beside the training rows that the result keeps. Looks at 8,192 inputs drawn by the seed (2 n if that is
    more).
    """
    usable = _usable(pool, pool.sample(max(COVERAGE_ROWS, 2 * n)))
    x, labelled = pool.beside_labelled(usable.features)
    picked = cover(x, labelled, n)
    return Picks(usable.rows.take(pa.array(picked)), usable.notes, usable.reason)


def badge(pool: Pool, n: int) -> Picks:
    """Uncertain and diverse by the gradient of the last layer, (p - onehot) x feature, k-means++ on it.

    Second in benchmarks/active_learning; needs no held-out labels.
    BADGE (Ash et al., ICLR 2020); distances come from the factors, the outer product is never formed. Looks at
    16,384 inputs drawn by the seed (4 n if that is more). Without features the gradient of the bias is used.
    """
    usable = _usable(pool, pool.sample(max(BADGE_ROWS, 4 * n)))
    if usable.logits is None:
        raise ConfigError(
            "strategy 'badge' needs logits, and this model shows none; use diverse_error or zone_balanced"
        )
    features = usable.features if usable.has_features else np.ones((len(usable.logits), 1), np.float32)
    picked = gradient_spread(_residual(usable.logits), features, n, np.random.default_rng(pool.seed))
    return Picks(usable.rows.take(pa.array(picked)), usable.notes, usable.reason)


def zone_balanced(pool: Pool, n: int) -> Picks:
    """A quota per zone, and a random share of 15 %, last in the answer.

    Stratified selection (Neyman, JRSS 1934): zones take turns, the four hotspots first, each giving its highest error
    probabilities; a zone that runs out leaves its turns to the others. The labels of the random share, and of no
    other pick, re-estimate accuracy without bias.
    """
    drawn = pool.sample(round(RANDOM_SHARE * n))
    skip = set(drawn["input_id"].to_pylist())
    quota = n - drawn.num_rows
    zones = pa.array([*HOTSPOTS, *(zone for zone in ZONES if zone not in HOTSPOTS)])
    rows = pool.best_per_zone(quota, skip=skip)
    order = take_turns(pc.index_in(rows["zone"], value_set=zones).to_numpy())[:quota]
    rows = pa.concat_tables([rows.take(pa.array(order)), drawn])
    return Picks(rows, (f"the last {drawn.num_rows} of {rows.num_rows} ids are a uniform random sample of the pool",))


def take_turns(groups: NDArray[np.integer]) -> NDArray[np.int64]:
    """``(N,)`` positions in turns over ``(N,)`` groups, ascending: the first of each, then the second of each."""
    by_group = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[by_group], prepend=-1))
    turn = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    return by_group[np.argsort(turn, kind="stable")]


@dataclass(frozen=True, slots=True)
class _Usable:
    """Candidates with finite features, exact duplicates once; logits stand in where the model shows no features."""

    rows: pa.Table
    features: FloatArray
    logits: FloatArray | None
    has_features: bool
    notes: tuple[str, ...]
    reason: str | None


def _usable(pool: Pool, rows: pa.Table) -> _Usable:
    vectors = pool.vectors(rows)
    features = vectors.features if vectors.features is not None else vectors.logits
    if features is None:
        raise ConfigError(
            "this strategy needs features or logits, and this model shows none; use high_error_proba or zone_balanced"
        )
    finite = np.isfinite(features).all(axis=1)
    if vectors.logits is not None:
        finite &= np.isfinite(vectors.logits).all(axis=1)
    kept = np.flatnonzero(finite)
    kept = kept[distinct_rows(features[kept])]
    odd, doubles = int((~finite).sum()), int(finite.sum()) - len(kept)
    left_out = [f"{odd} with features that are not finite"] * (odd > 0) + [f"{doubles} exact duplicates"] * (
        doubles > 0
    )
    notes = () if vectors.features is not None else ("the model shows no features: its logits stand in for them",)
    return _Usable(
        rows.take(pa.array(kept)),
        features[kept],
        None if vectors.logits is None else vectors.logits[kept],
        vectors.features is not None,
        notes,
        f"left out: {', '.join(left_out)}" if left_out else None,
    )


def _residual(logits: FloatArray) -> FloatArray:
    """``(N, C)`` p - onehot of the predicted class; a single logit is a head with two classes."""
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    if not logits.size:
        return logits
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    residual: FloatArray = shifted / shifted.sum(axis=1, keepdims=True)
    residual[np.arange(len(logits)), logits.argmax(axis=1)] -= 1
    return residual


STRATEGIES: Final = {
    strategy.name: strategy
    for strategy in (
        Strategy("high_error_proba", "highest error probability first", high_error_proba, samples=True, nested=True),
        Strategy("low_error_proba", "lowest error probability first", low_error_proba, samples=True, nested=True),
        Strategy(
            "diverse_error",
            "likely errors of every kind, one from each of n clusters; recommended to train on",
            diverse_error,
        ),
        Strategy("coverage", "typical inputs far from labelled data; for the first round", coverage),
        Strategy("badge", "uncertain and diverse by the gradient of the last layer", badge),
        Strategy("zone_balanced", "a quota per zone and a random share", zone_balanced),
        Strategy("random", "uniform at random", random, nested=True),
    )
}
