"""The short form of a result: text for a terminal, HTML for a notebook."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from ml_debugger.presentation.palette import THEMES
from ml_debugger.presentation.tables import MetricRow, metric_rows, text_table, zone_rows

__all__ = ["summary_html", "summary_text"]

WIDTH: Final = 100


def summary_text(info: Mapping[str, Any], metrics: Mapping[str, Any], zones: Iterable[Mapping[str, Any]]) -> str:
    """Zones, metrics against the baseline and notes, as text for a terminal."""
    rows = zone_rows(zones)
    zone_table = text_table(
        ("zone", "category", "rows", "share", "error rate", "95% interval"),
        [(row.zone, row.category, row.count, row.share, row.error_rate, row.interval) for row in rows],
        right=(2, 3, 4, 5),
    )
    metric_table = text_table(
        ("measure", "error model", "95% interval", "baseline"),
        [(row.title, row.ours, row.interval, row.baseline) for row in metric_rows(metrics)],
        right=(1, 2, 3),
    )
    promises = [_wrapped(f"{row.zone}: {row.promise}") for row in rows if row.promise]
    notes = [_wrapped(f"note: {note}") for note in info.get("notes") or ()]
    parts = [_title(info), "\n".join(notes), zone_table, "\n".join(promises), metric_table]
    return "\n\n".join(part for part in parts if part)


def summary_html(info: Mapping[str, Any], metrics: Mapping[str, Any], zones: Iterable[Mapping[str, Any]]) -> str:
    """The same for a notebook: plain tables that take the notebook's own light or dark style."""
    notes = "".join(f"<li>{escape(str(note))}</li>" for note in info.get("notes") or ())
    zone_cells = [
        (_chip(row.zone) + escape(row.zone), row.count, row.share, row.error_rate, row.interval, escape(row.promise))
        for row in zone_rows(zones)
    ]
    zone_table = _html_table(("zone", "rows", "share", "error rate", "95% interval", "promise"), zone_cells)
    metric_table = _html_table(("measure", "error model", "95% interval", "baseline"), _metric_cells(metrics))
    return (
        f"<div><strong>{escape(_title(info))}</strong>"
        + (f"<ul>{notes}</ul>" if notes else "")
        + zone_table
        + metric_table
        + "</div>"
    )


def _metric_cells(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    def cells(row: MetricRow) -> tuple[str, ...]:
        return (f'<span title="{escape(row.meaning)}">{escape(row.title)}</span>', row.ours, row.interval, row.baseline)

    return [cells(row) for row in metric_rows(metrics)]


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _title(info: Mapping[str, Any]) -> str:
    epoch = info.get("n_epoch")
    return f"{info.get('result_name')} (epoch {'not numbered' if epoch is None else epoch})"


def _chip(zone: str) -> str:
    colour = THEMES["light"].zones[zone]
    return f'<span style="display:inline-block;width:.8em;height:.8em;margin-right:.4em;background:{colour}"></span>'


def _html_table(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{header}</th>" for header in headers)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
