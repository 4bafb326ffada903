"""Error codes: how a labelled unit was right or wrong, in the words of the guide."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["MIN_VOTE", "classification_codes", "code_table", "missed_table"]

MIN_VOTE: Final = 0.15
"""Least share of the features' vote with which a class is named in a code of a hotspot."""

N_EXAMPLES: Final = 5
VOUCHED: Final = ("critical_hotspot", "aleatoric_hotspot")
FLUCTUATING: Final = "hotspot"

Int64 = NDArray[np.int64]


def classification_codes(
    truth: Int64,
    label: Int64,
    zones: NDArray[np.object_],
    vote_classes: Int64,
    vote_shares: NDArray[np.float64],
    *,
    min_vote: float = MIN_VOTE,
) -> list[str]:
    """Error code of each of N labelled rows.

    ``CLS3->5``: annotated 3, predicted 5. ``CLS3->7|1``: a hotspot whose features vote for several classes, most
    voted first;
    the annotated class is left out unless it was predicted. ``CLS3->5**``: in ``critical_hotspot`` or
    ``aleatoric_hotspot`` the
    features' own first choice is the annotation and the prediction differs; without ``**`` there, suspect the label.

    Args:
        truth: ``(N,)`` annotated classes.
        label: ``(N,)`` predicted classes; -1 where the model gave none.
        zones: ``(N,)`` zone names.
        vote_classes: ``(N, V)`` classes that the features vote for, most voted first; -1 for none.
        vote_shares: ``(N, V)`` their shares.
        min_vote: Least share to be named.
    """
    columns = zip(
        truth.tolist(), label.tolist(), zones.tolist(), vote_classes.tolist(), vote_shares.tolist(), strict=True
    )
    return [_code(row, min_vote) for row in columns]


def _code(row: tuple[int, int, str, list[int], list[float]], min_vote: float) -> str:
    truth, label, zone, classes, shares = row
    plain = f"CLS{truth}->{label}"
    if zone in VOUCHED:
        return f"{plain}**" if label != truth and classes[:1] == [truth] else plain
    if zone != FLUCTUATING:
        return plain
    voted = [voted for voted, share in zip(classes, shares, strict=True) if voted >= 0 and share >= min_vote]
    named = [voted for voted in voted if voted != truth or label == truth]
    if label not in named:
        named.append(label)
    return f"CLS{truth}->{'|'.join(map(str, named))}"


def code_table(codes: list[str], zones: NDArray[np.object_], input_ids: list[str]) -> pa.Table:
    """One row per error code and zone, most frequent first: count, share of all rows, and a few example ids."""
    groups: dict[tuple[str, str], list[str]] = {}
    for code, zone, input_id in zip(codes, zones.tolist(), input_ids, strict=True):
        groups.setdefault((code, zone), []).append(input_id)
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    columns: dict[str, list[Any]] = {
        "error_code": [code for (code, _), _ in ranked],
        "zone": [zone for (_, zone), _ in ranked],
        "count": [len(ids) for _, ids in ranked],
        "share": [len(ids) / len(codes) for _, ids in ranked],
        "example_ids": [list(dict.fromkeys(ids))[:N_EXAMPLES] for _, ids in ranked],
    }
    return pa.table(columns, schema=_SCHEMA)


def missed_table(codes: list[str], input_ids: list[str], n_truths: int) -> pa.Table:
    """One row per code of missed truths, most frequent first; in no zone, and the share is that of all truths."""
    groups: dict[str, list[str]] = {}
    for code, input_id in zip(codes, input_ids, strict=True):
        groups.setdefault(code, []).append(input_id)
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    columns: dict[str, list[Any]] = {
        "error_code": [code for code, _ in ranked],
        "zone": [None] * len(ranked),
        "count": [len(ids) for _, ids in ranked],
        "share": [len(ids) / n_truths for _, ids in ranked],
        "example_ids": [list(dict.fromkeys(ids))[:N_EXAMPLES] for _, ids in ranked],
    }
    return pa.table(columns, schema=_SCHEMA)


_SCHEMA = pa.schema(
    [
        pa.field("error_code", pa.string(), nullable=False),
        pa.field("zone", pa.string()),  # null for what was missed
        pa.field("count", pa.int64(), nullable=False),
        pa.field("share", pa.float64(), nullable=False),
        pa.field("example_ids", pa.list_(pa.string()), nullable=False),
    ]
)
