"""Synthetic results: payloads in the shape of the service's, with numbers that are easy to check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ml_debugger.columns import ZONES
from ml_debugger.service.contract import ResultPayload

LIMITS = {"t_lo": 0.05, "t_hi": 0.25, "c_lo": 0.55, "c_hi": 0.8}


def assign_zone(error_proba: float, score: float, support: float) -> str:
    """The zone rules of the design, spelled out once more and slowly."""
    if support < 0.02:
        return "aleatoric_hotspot"
    if error_proba >= LIMITS["t_hi"]:
        if score >= LIMITS["c_hi"]:
            return "critical_hotspot"
        return "recessive_hotspot" if score < LIMITS["c_lo"] else "hotspot"
    return "stable_coverage" if error_proba < LIMITS["t_lo"] else "operational_coverage"


def make_samples(n: int = 400, seed: int = 0, n_classes: int = 4) -> pa.Table:
    """Labelled rows whose errors happen as often as ``error_proba`` says."""
    rng = np.random.default_rng(seed)
    error_proba = rng.beta(0.5, 2.0, n)
    score = np.clip(1 - 0.7 * error_proba - rng.uniform(0, 0.35, n), 1 / n_classes, 1)
    support = rng.uniform(0, 1, n)
    is_error = rng.uniform(size=n) < error_proba
    truth = rng.integers(0, n_classes, n)
    label = np.where(is_error, (truth + rng.integers(1, n_classes, n)) % n_classes, truth)
    zones = [assign_zone(*row) for row in zip(error_proba, score, support, strict=True)]
    return pa.table(
        {
            "input_id": pa.array([str(index) for index in range(n)]),
            "id_kind": pa.array(["int"] * n),
            "unit": pa.array(np.zeros(n, np.int64)),
            "dataset_type": pa.array(np.where(np.arange(n) % 3 == 0, "test", "val")),
            "n_epoch": pa.array([2] * n, pa.int64()),
            "label": pa.array(label),
            "score": pa.array(score),
            "error_proba": pa.array(error_proba),
            "zone": pa.array(zones),
            "support": pa.array(support),
            "truth": pa.array(truth),
            "is_error": pa.array(is_error),
            "error_code": pa.array([f"CLS{t}->{p}" for t, p in zip(truth, label, strict=True)]),
            "ignored": pa.array(np.zeros(n, bool)),
        }
    )


def make_zones(samples: pa.Table) -> pa.Table:
    """The zones table of some rows, all six zones."""
    frame = samples.to_pandas()
    rows = []
    for name, zone in ZONES.items():
        inside = frame[frame["zone"] == name]
        rate = float(inside["is_error"].mean()) if len(inside) else None
        rows.append(
            {
                "zone": name,
                "category": zone.category,
                "rule": f"rule of {name}",
                "count": len(inside),
                "share": len(inside) / max(len(frame), 1),
                "error_rate": rate,
                "error_low": None if rate is None else max(0.0, rate - 0.05),
                "error_high": None if rate is None else min(1.0, rate + 0.05),
                "promise": "at most 8.0 % wrong, with 95 % confidence, backed by 80 rows"
                if name == "stable_coverage"
                else None,
            }
        )
    return pa.Table.from_pylist(rows)


def make_error_codes(samples: pa.Table) -> pa.Table:
    """The error code table of some rows, right ones included."""
    frame = samples.to_pandas()
    groups = frame.groupby(["error_code", "zone"])["input_id"]
    rows = [
        {
            "error_code": code,
            "zone": zone,
            "count": len(ids),
            "share": len(ids) / len(frame),
            "example_ids": list(ids)[:5],
        }
        for (code, zone), ids in groups
    ]
    return pa.Table.from_pylist(sorted(rows, key=lambda row: -row["count"]))


def make_metrics() -> dict[str, Any]:
    """Metrics with intervals, and the same for the baseline."""
    names = {"error_rate": 0.2, "auroc": 0.9, "e_aurc": 0.02, "brier": 0.1, "ece": 0.03, "nll": 0.3}
    ours = {key: value for name, base in names.items() for key, value in _interval(name, base).items()}
    worse = {key: value for name, base in names.items() for key, value in _interval(name, base * 0.9).items()}
    return {**_interval("accuracy", 0.8), **ours, "baseline": worse}


def _interval(name: str, value: float) -> dict[str, float]:
    return {name: value, f"{name}_low": value - 0.01, f"{name}_high": value + 0.01}


def make_payload(n: int = 400, **info: Any) -> ResultPayload:
    """A whole result over ``n`` rows; keyword arguments replace entries of ``info``."""
    samples = make_samples(n)
    return ResultPayload(
        info={
            "result_name": "toy_v1_classification_v1_20260102",
            "model_name": "toy",
            "version_name": "v1",
            "method_name": "classification_v1",
            "task": "classification",
            "n_epoch": 2,
            "created_at": "2026-01-02T03:04:05+00:00",
            "completed_at": "2026-01-02T03:04:07+00:00",
            "options": {},
            "weights_hash": "abc123",
            "limits": dict(LIMITS),
            "notes": ["12 rows of older weights were left out"],
            **info,
        },
        metrics=make_metrics(),
        samples=samples,
        zones=make_zones(samples),
        error_codes=make_error_codes(samples),
        missed=pa.table({"input_id": pa.array([], pa.string()), "truth": pa.array([], pa.int64())}),
    )
