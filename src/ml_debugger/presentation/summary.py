"""The short form of a result: text for a terminal, HTML for a notebook."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from ml_debugger.columns import Words, words_of
from ml_debugger.presentation.palette import THEMES
from ml_debugger.presentation.tables import MetricRow, metric_rows, part_rows, text_table, zone_rows

__all__ = ["summary_html", "summary_text"]

WIDTH: Final = 100
_PART_HEADERS: Final = ("probability", "true for", "AUROC", "95% interval", "baseline", "Brier", "baseline", "ECE")


def summary_text(info: Mapping[str, Any], metrics: Mapping[str, Any], zones: Iterable[Mapping[str, Any]]) -> str:
    """Zones, metrics against the baseline and notes, as text for a terminal."""
    rows, words = zone_rows(zones), words_of(info.get("task"))
    zone_table = text_table(
        ("zone", "category", words.units, "share", "error rate", "95% interval"),
        [(row.zone, row.category, row.count, row.share, row.error_rate, row.interval) for row in rows],
        right=(2, 3, 4, 5),
    )
    metric_table = text_table(
        ("measure", "error model", "95% interval", "baseline"),
        [(row.title, row.ours, row.interval, row.baseline) for row in metric_rows(metrics)],
        right=(1, 2, 3),
    )
    parts = part_rows(metrics)
    part_table = text_table(
        _PART_HEADERS,
        [
            (row.name, row.rate, row.auroc, row.interval, row.baseline, row.brier, row.baseline_brier, row.ece)
            for row in parts
        ],
        right=range(1, len(_PART_HEADERS)),
    )
    promises = [_wrapped(f"{row.zone}: {row.promise}") for row in rows if row.promise]
    notes = [_wrapped(f"note: {note}") for note in info.get("notes") or ()]
    texts = [_title(info), "\n".join(notes), zone_table, "\n".join(promises), metric_table, part_table if parts else ""]
    return "\n\n".join(text for text in texts if text)


def summary_html(info: Mapping[str, Any], metrics: Mapping[str, Any], zones: Iterable[Mapping[str, Any]]) -> str:
    """The same for a notebook: plain tables that take the notebook's own light or dark style."""
    notes = "".join(f"<li>{escape(str(note))}</li>" for note in info.get("notes") or ())
    zone_cells = [
        (_chip(row.zone) + escape(row.zone), row.count, row.share, row.error_rate, row.interval, escape(row.promise))
        for row in zone_rows(zones)
    ]
    words = words_of(info.get("task"))
    zone_table = _html_table(("zone", words.units, "share", "error rate", "95% interval", "promise"), zone_cells)
    cells = _metric_cells(metrics, words)
    metric_table = _html_table(("measure", "error model", "95% interval", "baseline"), cells)
    parts = _part_cells(metrics, words)
    return (
        f"<div><strong>{escape(_title(info))}</strong>"
        + (f"<ul>{notes}</ul>" if notes else "")
        + zone_table
        + metric_table
        + (_html_table(_PART_HEADERS, parts) if parts else "")
        + "</div>"
    )


def _metric_cells(metrics: Mapping[str, Any], words: Words) -> list[tuple[str, ...]]:
    def cells(row: MetricRow) -> tuple[str, ...]:
        return (f'<span title="{escape(row.meaning)}">{escape(row.title)}</span>', row.ours, row.interval, row.baseline)

    return [cells(row) for row in metric_rows(metrics, words)]


def _part_cells(metrics: Mapping[str, Any], words: Words) -> list[tuple[str, ...]]:
    return [
        (
            f'<span title="{escape(row.meaning)}">{escape(row.name)}</span>',
            *(row.rate, row.auroc, row.interval, row.baseline, row.brier, row.baseline_brier, row.ece),
        )
        for row in part_rows(metrics, words)
    ]


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
