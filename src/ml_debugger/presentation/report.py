"""The report: one HTML file that needs nothing else, neither network nor other files."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ml_debugger.analysis.detection_codes import CODE_MEANINGS
from ml_debugger.columns import ERROR_COLUMNS, ERROR_PROBA, Words, words_of
from ml_debugger.presentation.box_shapes import UPRIGHT, shape_of_task
from ml_debugger.presentation.example_plot import Picture as Example
from ml_debugger.presentation.example_style import TRUTH
from ml_debugger.presentation.frames import as_frame
from ml_debugger.presentation.heatmap_plot import plot_heatmap
from ml_debugger.presentation.palette import THEMES
from ml_debugger.presentation.plots import plot_reliability, plot_zones
from ml_debugger.presentation.samples import KIND, outcomes
from ml_debugger.presentation.tables import (
    PARTS,
    limit_meaning,
    metric_rows,
    moment,
    part_rows,
    percent,
    zone_rows,
)

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
        examples: Drawn boxes (detection).
    """

    info: Mapping[str, Any]
    metrics: Mapping[str, Any]
    zones: Table
    error_codes: Table
    cells: Table
    samples: Table
    examples: Sequence[Example] = ()

    @property
    def words(self) -> Words:
        """What a row is called."""
        return words_of(self.info.get("task"))


def render_report(parts: ReportParts) -> str:
    """The report as one HTML page: pictures inlined, light and dark, no reference to anything outside.

    Raises:
        InputError: If a table lacks a column that the pictures need.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ml_debugger.presentation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    codes, missed = _wrong_codes(parts), _missed_codes(parts)
    return environment.get_template("report.html.jinja").render(
        info=parts.info,
        headline=_headline(parts, len(as_frame(parts.samples))),
        completed=moment(parts.info.get("completed_at")),
        notes=list(parts.info.get("notes") or ()),
        zones=zone_rows(_records(parts.zones)),
        metrics=metric_rows(parts.metrics, parts.words),
        parts=part_rows(parts.metrics, parts.words),
        words=parts.words,
        codes=_code_rows(codes),
        n_codes=len(codes),
        kinds=_kind_rows(parts),
        missed=_code_rows(missed),
        n_missed=len(missed),
        examples=parts.examples,
        truth_colour=TRUTH,
        from_above=shape_of_task(parts.info.get("task")) is UPRIGHT,
        facts=_facts(parts.info),
        limits=_limit_rows(parts),
        pictures={name: _inline(picture) for name, picture in _pictures(parts).items()},
        themes=THEMES,
    )


def _headline(parts: ReportParts, n_rows: int) -> list[tuple[str, str, str]]:
    """Value, title and small print of the numbers at the top."""
    rows, units = {row.title: row for row in metric_rows(parts.metrics)}, parts.words.units
    cards = [(f"{n_rows:,}", f"labelled {units}", "that the numbers rest on")]
    for title, said in (("Accuracy", "accuracy"), ("mAP", "mAP"), ("Error rate", "error rate")):
        if title in rows:
            interval = rows[title].interval
            cards.append((rows[title].ours, said, f"95 %: {interval}" if interval else "no interval"))
    if "AUROC" in rows:
        cards.append(
            (rows["AUROC"].ours, "AUROC of error detection", f"the model's own confidence: {rows['AUROC'].baseline}")
        )
    stable = [row for row in _records(parts.zones) if row["zone"] == "stable_coverage"]
    if stable:
        cards.append((percent(stable[0]["share"], 0), f"of {units} in stable_coverage", "can be left unlabelled"))
    missed = _missed_codes(parts)
    if len(missed):
        share = missed["share"].sum()
        cards.append((percent(share, 0), "of annotated objects missed", f"{missed['count'].sum():,} objects"))
    return cards


def _records(table: Table) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in as_frame(table).to_dict("records")]


def _wrong_codes(parts: ReportParts) -> pd.DataFrame:
    """The codes of rows where the model was wrong."""
    samples = as_frame(parts.samples, ("error_code", "is_error"))
    codes = as_frame(parts.error_codes, ("error_code", "zone", "count", "share", "example_ids"))
    return codes[codes["error_code"].isin(samples.loc[samples["is_error"], "error_code"])]


def _missed_codes(parts: ReportParts) -> pd.DataFrame:
    """The codes of what was missed: they are in no zone."""
    codes = as_frame(parts.error_codes, ("error_code", "zone", "count", "share", "example_ids"))
    return codes[codes["zone"].isna()]


def _kind_rows(parts: ReportParts) -> list[tuple[str, str, str, str]]:
    """Codes without their classes, what they mean, how many and which share; none in classification."""
    samples = as_frame(parts.samples, ("error_code", "is_error"))
    letters = samples["error_code"].str.extract(KIND, expand=False)
    rows = []
    for (letter, wrong), group in samples.groupby([letters, "is_error"]):
        name, meaning = CODE_MEANINGS[str(letter)]
        said = (
            meaning if letter != "A" else meaning + (", with the wrong class" if wrong else " and of the right class")
        )
        rows.append(
            (len(group), (f"DET:{letter}", f"{name}: {said}", f"{len(group):,}", percent(len(group) / len(samples))))
        )
    return [row for _, row in sorted(rows, key=lambda pair: (-pair[0], pair[1]))]


def _code_rows(codes: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "error_code": str(row["error_code"]),
            "zone": row["zone"] if isinstance(row["zone"], str) else "",
            "count": f"{int(row['count']):,}",
            "share": percent(row["share"]),
            "examples": ", ".join(str(name) for name in list(row["example_ids"])[:_MAX_EXAMPLES]),
        }
        for row in codes.head(_MAX_CODES).to_dict("records")
    ]


def _facts(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    hidden = ("notes", "limits")
    return [(name, _text(value)) for name, value in _flat(info) if name.split(".")[0] not in hidden]


def _limit_rows(parts: ReportParts) -> list[tuple[str, str, str]]:
    limits = parts.info.get("limits") or {}
    return [(name, _text(value), limit_meaning(name, parts.words)) for name, value in _flat(limits)]


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
    limits, words = parts.info.get("limits") or {}, parts.words

    def reliability(column: str) -> _Picture:
        frame = outcomes(samples, column)
        proba, wrong = frame[column].to_numpy(float), frame["wrong"].to_numpy(bool)
        baseline = 1 - frame["score"].to_numpy(float)

        def draw(ax: Axes, theme: str) -> None:
            plot_reliability(proba, wrong, ax, baseline=baseline, theme=theme, column=column)

        return _Picture((6.4, 4.9), draw)

    return {
        "zones": _Picture((8.6, 3.9), lambda ax, theme: plot_zones(parts.zones, ax, theme=theme, words=words)),
        "heatmap": _Picture(
            (7.6, 6.0), lambda ax, theme: plot_heatmap(parts.cells, limits, ax, theme=theme, words=words)
        ),
        "reliability": reliability(ERROR_PROBA),
        **{name: reliability(name) for name in ERROR_COLUMNS if name in PARTS and name in samples.columns},
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
