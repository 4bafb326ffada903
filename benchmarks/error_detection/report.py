"""The tables: Markdown for people, CSV for everything else. Every pair is shown, losses included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.error_detection import bars
from benchmarks.error_detection.baselines import BASELINES
from benchmarks.error_detection.protocol import PRODUCT, Measured
from benchmarks.error_detection.traces import REPORTED

__all__ = ["markdown", "read", "render", "write"]

Row = dict[str, Any]


def write(measured: Measured, folder: Path) -> str:
    """Write ``report.md`` and one CSV per table; the report's text."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in fields(measured):
        rows = getattr(measured, table.name)
        if rows:
            pl.DataFrame(rows, infer_schema_length=None).write_csv(folder / f"{table.name}.csv")
    text = render(measured)
    (folder / "report.md").write_text(text, encoding="utf-8")
    return text


def read(folder: Path) -> Measured:
    """What an earlier run wrote; tables that are not there stay empty."""
    measured = Measured()
    for table in fields(measured):
        path = folder / f"{table.name}.csv"
        if path.exists():
            getattr(measured, table.name).extend(pl.read_csv(path, infer_schema_length=None).to_dicts())
    return measured


def render(measured: Measured) -> str:
    """All tables as Markdown."""
    sections: list[tuple[str, Callable[[Measured], str]]] = [
        ("Bars", bars_table),
        ("Reference values reproduced", reference_table),
        *((f"AUROC of error detection, {split}", _on(split, ranking_table)) for split in REPORTED),
        *((f"Selective risk and false alarms, {split}", _on(split, tail_table)) for split in REPORTED),
        *((f"Calibration, {split}", _on(split, calibration_table)) for split in REPORTED),
        *((f"Every method, {split}, mean over pairs", _on(split, method_table)) for split in REPORTED),
        ("Fewer labelled val rows (AUROC on test, mean over draws)", size_table),
        *((f"Zones, {split}: share / error rate", _on(split, zone_table)) for split in REPORTED),
        ("Promise of stable_coverage", promise_table),
        ("Negative controls", control_table),
    ]
    parts = [f"## {title}\n\n{table}" for title, make in sections if (table := make(measured))]
    return "\n\n".join(["# Error detection", *parts]) + "\n"


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; floats keep four decimals. Empty without rows."""
    body = [[_cell(value) for value in row] for row in rows]
    if not body:
        return ""
    lines = [list(head), ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _on(split: str, make: Callable[[Measured, str], str]) -> Callable[[Measured], str]:
    return lambda measured: make(measured, split)


def _select(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _mean(values: Iterable[float | None]) -> float:
    kept = [value for value in values if value is not None and value == value]
    return sum(kept) / len(kept) if kept else float("nan")


def bars_table(measured: Measured) -> str:
    """What the estimator must show, and whether it does."""
    return markdown(("bar", "found", "met"), bars.check(measured))


def reference_table(measured: Measured) -> str:
    """Our figures minus the reference's."""
    names = ("msp_test", "msp_shift", "best_test", "best_shift", "e_aurc", "brier", "ece")
    rows = [
        (
            row["pair"],
            f"{row['best']} / {row['reference_best']}",
            *(f"{row[name]:.4f} ({row[name] - row['reference_' + name]:+.4f})" for name in names if name in row),
        )
        for row in measured.reference
    ]
    return markdown(("pair", "best on val, ours / reference", *names), rows)


def ranking_table(measured: Measured, split: str) -> str:
    """The product against MSP, the best baseline on val, and the best on this very split."""
    rows = _select(measured.comparisons, split=split, val="all", figure="auroc")
    body = []
    for pair in dict.fromkeys(row["pair"] for row in rows):
        by_role = {row["against"]: row for row in rows if row["pair"] == pair}
        msp, on_val, on_split = by_role["msp"], by_role["best on val"], by_role[f"best on {split}"]
        body.append(
            (
                pair,
                msp["val_errors"],
                msp["error_rate"],
                msp["theirs"],
                _named(on_val),
                _named(on_split),
                msp["ours"],
                _gap(msp),
                _gap(on_val),
                _gap(on_split),
            )
        )
    roles = ("msp", "best on val", f"best on {split}")
    means = [_mean(r[side] for r in rows if r["against"] == role) for role in roles for side in ("theirs",)]
    gaps = [f"{_mean(r['value'] for r in rows if r['against'] == role):+.4f}" for role in roles]
    if body:
        body.append(("mean", "", "", *means, _mean(r["ours"] for r in rows if r["against"] == "msp"), *gaps))
    head = ("pair", "val errors", "error rate", "MSP", "best on val", f"best on {split}", PRODUCT)
    return markdown((*head, "- MSP", "- best on val", f"- best on {split}"), body)


def _named(row: Row) -> str:
    return f"{row['baseline']} {row['theirs']:.4f}"


def _gap(row: Row, unit: float = 1.0, digits: int = 4) -> str:
    mark = {1: " **+**", -1: " **-**", 0: ""}[row["verdict"]]
    value, low, high = (f"{unit * row[name]:+.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]{mark}"


def tail_table(measured: Measured, split: str) -> str:
    """E-AURC in thousandths with intervals, and the share of right rows flagged when 95 % of the errors are."""
    rows = _select(measured.comparisons, split=split, val="all", figure="e_aurc")
    body = []
    for pair in dict.fromkeys(row["pair"] for row in rows):
        by_role = {row["against"]: row for row in rows if row["pair"] == pair}
        msp, on_val, on_split = by_role["msp"], by_role["best on val"], by_role[f"best on {split}"]
        flagged = {row["method"]: row["fpr95"] for row in _select(measured.figures, pair=pair, split=split, val="all")}
        theirs = [f"{1000 * row['theirs']:.1f}" for row in (msp, on_val, on_split)]
        gaps = [_gap(row, 1000.0, 1) for row in (on_val, on_split)]
        rates = [flagged["msp"], flagged[on_val["baseline"]], flagged[PRODUCT]]
        body.append((pair, *theirs, f"{1000 * msp['ours']:.1f}", *gaps, *rates))
    names = ("MSP", "best on val", f"best on {split}", PRODUCT)
    gaps = ("- best on val", f"- best on {split}")
    return markdown(("E-AURC x 1000", *names, *gaps, "FPR95 MSP", "best on val", PRODUCT), body)


def calibration_table(measured: Measured, split: str) -> str:
    """Brier, NLL, ECE and bias of calibrated MSP and of the product."""
    rows = _select(measured.figures, split=split, val="all")
    briers = {
        r["pair"]: r for r in _select(measured.comparisons, split=split, val="all", figure="brier", against="msp")
    }
    body = []
    for pair in dict.fromkeys(row["pair"] for row in rows):
        by_method = {row["method"]: row for row in rows if row["pair"] == pair}
        msp, ours = by_method["msp"], by_method[PRODUCT]
        body.append(
            (
                pair,
                msp["brier"],
                ours["brier"],
                _gap(briers[pair]),
                msp["nll"],
                ours["nll"],
                msp["ece"],
                ours["ece"],
                ours["ece_null95"],
                msp["bias"],
                ours["bias"],
            )
        )
    if body:
        body.append(("mean", *(_column_mean(body, i) for i in range(1, 11))))
    head = ("pair", "Brier MSP", "Brier", "Brier - MSP", "NLL MSP", "NLL", "ECE MSP", "ECE", "ECE by chance (95 %)")
    return markdown((*head, "bias MSP", "bias"), body)


def _column_mean(body: list[tuple[Any, ...]], position: int) -> float | str:
    values = [row[position] for row in body]
    return _mean(values) if all(isinstance(value, float) for value in values) else ""


def method_table(measured: Measured, split: str) -> str:
    """Mean figures of every method; E-AURC relative to MSP's; on how many pairs its AUROC is above MSP's."""
    rows = _select(measured.figures, split=split, val="all")
    msp = {row["pair"]: row for row in rows if row["method"] == "msp"}
    body = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        wins = sum(row["auroc"] > msp[row["pair"]]["auroc"] + 1e-9 for row in own)
        relative = _mean(row["e_aurc"] / msp[row["pair"]]["e_aurc"] - 1 for row in own)
        means = [_mean(row[name] for row in own) for name in ("auroc", "fpr95", "brier", "nll", "ece")]
        source = BASELINES[method].source if method in BASELINES else "this project"
        body.append((method, means[0], f"{relative:+.0%}", *means[1:], f"{wins} of {len(own)}", source))
    head = ("method", "AUROC", "E-AURC, to MSP", "FPR95", "Brier", "NLL", "ECE", "above MSP", "source")
    return markdown(head, body)


def size_table(measured: Measured) -> str:
    """AUROC on test by val size: MSP, the best baseline on val, the product."""
    rows = _select(measured.figures, split="test")
    sizes = list(dict.fromkeys(row["val"] for row in rows))
    body = []
    for pair in dict.fromkeys(row["pair"] for row in rows):
        line: list[Any] = [pair]
        for size in sizes:
            own = _select(rows, pair=pair, val=size)
            line += [_mean(_one(own, "msp")), _mean(bars.best_on_val(own)), _mean(_one(own, PRODUCT))]
        body.append(tuple(line))
    width = 1 + 3 * len(sizes)
    complete = [row for row in body if all(value == value for value in row)]
    if complete:
        body.append(("mean of pairs with every size", *(_mean(row[i] for row in complete) for i in range(1, width))))
    names = [f"{what}, {size}" for size in sizes for what in ("MSP", "best on val", PRODUCT)]
    return markdown(("pair", *names), body)


def _one(rows: list[Row], method: str) -> list[float]:
    return [row["auroc"] for row in rows if row["method"] == method]


def zone_table(measured: Measured, split: str) -> str:
    """Share and error rate of each zone with all val rows."""
    rows = _select(measured.zones, split=split, val="all")
    names = list(dict.fromkeys(row["zone"] for row in rows))
    body = []
    for pair in dict.fromkeys(row["pair"] for row in rows):
        own = {row["zone"]: row for row in rows if row["pair"] == pair}
        error_rate = next(iter(own.values()))["error_rate"]
        body.append((pair, error_rate, *(_share(own[name]) for name in names)))
    return markdown(("pair", "error rate", *names), body)


def _share(row: Row) -> str:
    rate = row["zone_error"]
    return f"{row['share']:.3f} / {rate:.3f}" if rate is not None and rate == rate else f"{row['share']:.3f} / -"


def promise_table(measured: Measured) -> str:
    """Per pair with all val rows, then over all draws of each size."""
    rows = _select(measured.promises, val="all")
    body = [
        (
            r["pair"],
            r["split"],
            r["promised"],
            r["stable_share"],
            r["stable_error"],
            r["kept"],
            r["broken"],
            r["ordered"],
        )
        for r in rows
    ]
    for split in REPORTED:
        for size in dict.fromkeys(row["val"] for row in measured.promises):
            own = _select(measured.promises, split=split, val=size)
            made = [row for row in own if row["kept"] is not None]
            counts = [f"{sum(bool(row[name]) for row in made)} of {len(made)}" for name in ("kept", "broken")]
            share = _mean(row["stable_share"] for row in own)
            ordered = f"{sum(row['ordered'] for row in own)} of {len(own)}"
            body.append((f"all pairs, {size} val rows", split, "", share, "", *counts, ordered))
    head = ("pair", "split", "promised", "stable share", "its error rate", "kept", "surely broken", "zones ordered")
    return markdown(head, body)


def control_table(measured: Measured) -> str:
    """What the Result says of itself against the truth, with and without each disturbance."""
    names = ("pair", "control", "fell_back", "result_auroc", "test_auroc", "result_brier", "test_brier", "test_ece")
    return markdown(names, [tuple(row[name] for name in names) for row in measured.controls])
