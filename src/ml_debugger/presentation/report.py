"""The report: one HTML file that needs nothing else, neither network nor other files."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ml_debugger.presentation.frames import as_frame
from ml_debugger.presentation.heatmap_plot import plot_heatmap
from ml_debugger.presentation.palette import THEMES
from ml_debugger.presentation.plots import plot_reliability, plot_zones
from ml_debugger.presentation.tables import LIMITS, metric_rows, moment, percent, zone_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ml_debugger.presentation.frames import Table

__all__ = ["ReportParts", "render_report"]

_MAX_CODES: Final = 25
_MAX_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class _Picture:
    """A size in inches, and what draws on axes in the theme of that name."""

    size: tuple[float, float]
    draw: Callable[[Axes, str], Any]


@dataclass(frozen=True, slots=True)
class ReportParts:
    """What a report shows: the parts of a result.

    Attributes:
        info: Names, times, options, limits and notes.
        metrics: Numbers with intervals, and the same for the baseline.
        zones: The zones table.
        error_codes: The error code table.
        cells: The cells of the heatmap.
        samples: The labelled rows: ``score, error_proba, is_error, error_code``.
    """

    info: Mapping[str, Any]
    metrics: Mapping[str, Any]
    zones: Table
    error_codes: Table
    cells: Table
    samples: Table


def render_report(parts: ReportParts) -> str:
    """The report as one HTML page: pictures inlined, light and dark, no reference to anything outside.

    Raises:
        InputError: If a table lacks a column that the pictures need.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ml_debugger.presentation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    codes = _wrong_codes(parts)
    return environment.get_template("report.html.jinja").render(
        info=parts.info,
        headline=_headline(parts, len(as_frame(parts.samples))),
        completed=moment(parts.info.get("completed_at")),
        notes=list(parts.info.get("notes") or ()),
        zones=zone_rows(_records(parts.zones)),
        metrics=metric_rows(parts.metrics),
        codes=_code_rows(codes),
        n_codes=len(codes),
        facts=_facts(parts.info),
        limits=_limit_rows(parts.info.get("limits") or {}),
        pictures={name: _inline(picture) for name, picture in _pictures(parts).items()},
        themes=THEMES,
    )


def _headline(parts: ReportParts, n_rows: int) -> list[tuple[str, str, str]]:
    """Value, title and small print of the numbers at the top."""
    rows = {row.title: row for row in metric_rows(parts.metrics)}
    cards = [(f"{n_rows:,}", "labelled rows", "that the numbers rest on")]
    for title in ("Accuracy", "mAP", "Error rate"):
        if title in rows:
            cards.append((rows[title].ours, title.lower(), f"95 %: {rows[title].interval}"))
    if "AUROC" in rows:
        cards.append(
            (rows["AUROC"].ours, "AUROC of error detection", f"the model's own confidence: {rows['AUROC'].baseline}")
        )
    stable = [row for row in _records(parts.zones) if row["zone"] == "stable_coverage"]
    if stable:
        cards.append((percent(stable[0]["share"], 0), "of rows in stable_coverage", "can be left unlabelled"))
    return cards


def _records(table: Table) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in as_frame(table).to_dict("records")]


def _wrong_codes(parts: ReportParts) -> pd.DataFrame:
    """The codes of rows where the model was wrong."""
    samples = as_frame(parts.samples, ("error_code", "is_error"))
    codes = as_frame(parts.error_codes, ("error_code", "zone", "count", "share", "example_ids"))
    return codes[codes["error_code"].isin(samples.loc[samples["is_error"], "error_code"])]


def _code_rows(codes: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "error_code": str(row["error_code"]),
            "zone": str(row["zone"]),
            "count": f"{int(row['count']):,}",
            "share": percent(row["share"]),
            "examples": ", ".join(str(name) for name in list(row["example_ids"])[:_MAX_EXAMPLES]),
        }
        for row in codes.head(_MAX_CODES).to_dict("records")
    ]


def _facts(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    hidden = ("notes", "limits")
    return [(name, _text(value)) for name, value in _flat(info) if name.split(".")[0] not in hidden]


def _limit_rows(limits: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(name, _text(value), LIMITS.get(name, "")) for name, value in _flat(limits)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:
    if value is None or value in ({}, [], ()):
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _pictures(parts: ReportParts) -> dict[str, _Picture]:
    samples = as_frame(parts.samples, ("score", "error_proba", "is_error"))
    limits = parts.info.get("limits") or {}

    def reliability(ax: Axes, theme: str) -> None:
        baseline = 1 - samples["score"].to_numpy(float)
        proba, wrong = samples["error_proba"].to_numpy(float), samples["is_error"].to_numpy(bool)
        plot_reliability(proba, wrong, ax, baseline=baseline, theme=theme)

    return {
        "zones": _Picture((8.6, 3.9), lambda ax, theme: plot_zones(parts.zones, ax, theme=theme)),
        "heatmap": _Picture((7.6, 6.0), lambda ax, theme: plot_heatmap(parts.cells, limits, ax, theme=theme)),
        "reliability": _Picture((6.4, 4.9), reliability),
    }


def _inline(picture: _Picture) -> dict[str, str]:
    """Data URIs of a picture, by theme."""
    from matplotlib.figure import Figure

    uris = {}
    for name, theme in THEMES.items():
        with theme.applied():
            figure = Figure(figsize=picture.size, layout="constrained")
            picture.draw(figure.subplots(), name)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        uris[name] = "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return uris
