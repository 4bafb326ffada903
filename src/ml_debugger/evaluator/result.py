"""Result: look at what an evaluation has learned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_debugger.columns import ERROR_PROBA, Words, words_of
from ml_debugger.presentation.samples import Wanted, outcomes, public_frame, select
from ml_debugger.service.contract import ResultPayload

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ml_debugger.presentation.example_plot import Picture
    from ml_debugger.presentation.example_sources import Source
    from ml_debugger.presentation.example_style import ClassNames

__all__ = ["Result"]


class Result:
    """What an evaluation learned: tables as pandas frames, pictures, a summary and a report.

    Made by :class:`Evaluator`, not by hand. All error probabilities in it are out-of-fold: no row was predicted by a
    model that had seen its label.
    """

    def __init__(self, payload: ResultPayload) -> None:
        self._payload = payload
        kinds = set(payload.samples["id_kind"].to_pylist()) if "id_kind" in payload.samples.column_names else set()
        self._integer_ids = kinds == {"int"}

    @property
    def result_name(self) -> str:
        """Name of the result, as data filters take it."""
        return str(self._payload.info["result_name"])

    @property
    def method_name(self) -> str:
        """Evaluation method that was used."""
        return str(self._payload.info["method_name"])

    @property
    def n_epoch(self) -> int | str | None:
        """Epoch that was evaluated, ``"latest"`` resolved; None for rows without one."""
        epoch: int | str | None = self._payload.info["n_epoch"]
        return epoch

    @property
    def created_at(self) -> datetime:
        """When the evaluation was requested (UTC)."""
        return datetime.fromisoformat(self._payload.info["created_at"])

    @property
    def completed_at(self) -> datetime:
        """When the evaluation was done (UTC)."""
        return datetime.fromisoformat(self._payload.info["completed_at"])

    @property
    def info(self) -> dict[str, Any]:
        """Names, times, options, limits of the zones, how the error model was made, and notes."""
        return dict(self._payload.info)

    @property
    def notes(self) -> list[str]:
        """What to know before trusting the numbers: fall-backs, rows left out."""
        return list(self._payload.info.get("notes") or ())

    @property
    def metrics(self) -> dict[str, Any]:
        """Numbers with 95 % intervals (``auroc``, ``auroc_low``, ``auroc_high``), the same under ``baseline``."""
        return dict(self._payload.metrics)

    @property
    def zones(self) -> pd.DataFrame:
        """One row per zone, all six.

        Columns: ``zone, category, rule, count, share, error_rate, error_low, error_high, promise``.
        """
        frame: pd.DataFrame = self._payload.zones.to_pandas()
        return frame

    @property
    def error_codes(self) -> pd.DataFrame:
        """One row per error code and zone, most frequent first: ``error_code, zone, count, share, example_ids``.

        In detection, objects that no box was predicted for follow, one row per class (``DET:NP:CLS3->``): they are in
        no zone, and their ``share`` is that of the annotated objects, not of the predicted boxes.
        """
        frame: pd.DataFrame = self._payload.error_codes.to_pandas()
        frame["example_ids"] = [[self._as_given(name) for name in ids] for ids in frame["example_ids"]]
        return frame

    def missed(self) -> pd.DataFrame:
        """Annotated objects that no prediction belongs to (detection); none in classification.

        Returns:
            One row per object: ``input_id`` (as given), ``dataset_type, truth`` (class), ``x1, y1, x2, y2`` (pixels);
            in 3D ``x, y, z, dx, dy, dz`` (metres), ``yaw`` (radians) instead.
        """
        return public_frame(self._payload.missed.to_pandas(), self._task, missed=True)

    def samples(
        self,
        dataset_type: str | Iterable[str] | None = None,
        zone: str | Iterable[str] | None = None,
        error_code: str | Iterable[str] | None = None,
        *,
        only_errors: bool = False,
        include_ignored: bool = False,
    ) -> pd.DataFrame:
        """The labelled rows that the evaluation rests on: inputs in classification, predicted boxes in detection.

        Args:
            dataset_type: Only these tags, one or several.
            zone: Only these zones, one or several.
            error_code: Only these error codes, one or several, such as ``"CLS3->5"``, or how they begin up to a colon,
                such as ``"DET:M"``.
            only_errors: Only rows where the model was wrong.
            include_ignored: Also boxes in crowds and regions that the truth marks as to be ignored. Nothing was learned
                from them and no figure counts them; the finished error model scored them.

        Returns:
            One row per labelled unit: ``input_id`` (as given), ``unit`` (position in the model's output; 0 in
            classification), ``dataset_type, n_epoch, label, score, error_proba`` (out-of-fold), ``zone, support, truth,
            is_error, error_code, ignored``, additional fields. Detection adds ``det_error_proba`` (wrong place),
            ``cls_error_proba`` (wrong class if the place is right), ``pred_size`` (square pixels) and ``x1, y1, x2,
            y2`` (pixels), in 3D ``pred_size`` (cubic metres), ``x, y, z, dx, dy, dz`` (metres) and ``yaw`` (radians);
            ``truth`` is missing where a box belongs to no annotation.

        Raises:
            ConfigError: If a zone is unknown.
            InputError: If no row of the result has a ``dataset_type``.
        """
        wanted = Wanted(dataset_type, zone, error_code, only_errors, include_ignored)
        return select(public_frame(self._payload.samples.to_pandas(), self._task), wanted)

    def heatmap(self, class_id: int | None = None) -> pd.DataFrame:
        """Counts and error rates over confidence and error probability.

        Args:
            class_id: Only rows predicted as this class.

        Returns:
            One row per cell that holds rows: ``score_low, score_high, error_proba_low, error_proba_high, count,
            n_errors, error_rate``; ``attrs["limits"]`` holds the limits of the zones.
        """
        from ml_debugger.analysis.heatmap import heatmap

        frame = self.samples()
        if class_id is not None:
            frame = frame[frame["label"] == class_id]
        score, proba = frame["score"].to_numpy(float), frame["error_proba"].to_numpy(float)
        cells = heatmap(score, proba, frame["is_error"].to_numpy(bool), _heatmap_bins(len(frame)))
        table: pd.DataFrame = cells.to_pandas()
        table.attrs["limits"] = dict(self._payload.info.get("limits") or {})
        return table

    def plot_heatmap(self, class_id: int | None = None, ax: Axes | None = None, *, theme: str = "light") -> Axes:
        """Draw the heatmap with the limits of the zones; returns the Axes drawn on."""
        from ml_debugger.presentation.heatmap_plot import plot_heatmap

        cells = self.heatmap(class_id)
        of_class = "" if class_id is None else f", predicted class {class_id}"
        title = f"Heatmap: confidence against error probability{of_class}"
        return plot_heatmap(cells, cells.attrs["limits"], ax, title=title, theme=theme, words=self._words)

    def plot_zones(self, ax: Axes | None = None, *, theme: str = "light") -> Axes:
        """Draw share and error rate of each zone; returns the Axes drawn on."""
        from ml_debugger.presentation.plots import plot_zones

        return plot_zones(self._payload.zones, ax, theme=theme, words=self._words)

    def plot_reliability(
        self, ax: Axes | None = None, *, column: str = ERROR_PROBA, n_bins: int = 10, theme: str = "light"
    ) -> Axes:
        """Draw predicted against observed error rates, beside the model's own confidence; returns the Axes drawn on.

        Args:
            ax: Axes to draw on.
            column: In detection also ``"det_error_proba"``, and ``"cls_error_proba"`` over boxes in the right place.
            n_bins: Number of bins.
            theme: ``"light"`` or ``"dark"``.

        Raises:
            InputError: If the result has no such column.
        """
        from ml_debugger.presentation.plots import plot_reliability

        frame = outcomes(self.samples(), column)
        proba, wrong = frame[column].to_numpy(float), frame["wrong"].to_numpy(bool)
        baseline = 1 - frame["score"].to_numpy(float)
        return plot_reliability(proba, wrong, ax, baseline=baseline, n_bins=n_bins, theme=theme, column=column)

    def plot_examples(  # noqa: PLR0913 - what is shown, of what, and how
        self,
        n: int = 6,
        *,
        images: Source | None = None,
        frames: Source | None = None,
        zone: str | Iterable[str] | None = None,
        error_code: str | Iterable[str] | None = None,
        dataset_type: str | Iterable[str] | None = None,
        only_errors: bool = True,
        class_names: Sequence[str] | Mapping[int, str] | None = None,
        theme: str = "light",
    ) -> Figure:
        """Draw predicted and annotated boxes on parts of images, or in 3D on points from above (detection).

        One of each kind of error, the most frequent kinds first, then a second of each; of a kind the boxes with the
        highest ``error_proba``, of missed objects the largest. Images need ``ml-debugger[detection]``.

        Args:
            n: How many at most.
            images: In 2D, where images are: a folder with files named after the input ids (``139.jpg`` or
                ``000000000139.jpg`` for 139), or a mapping or function from input id to a file, a PIL image or an
                array ``(H, W, 3)`` or ``(3, H, W)``, RGB. As the model got them: in the pixels of the boxes.
            frames: In 3D, where point clouds are: a folder with files named after the input ids (``.npy``; ``.bin`` of
                float32 x y z reflectance, as KITTI's; ``.pcd.bin`` with five numbers per point, as nuScenes'), or a
                mapping or function from input id to a file, points ``(N, 3)`` or wider, x y z first, or the model's
                input for that frame alone. In metres, in the axes of the boxes. None draws the boxes alone.
            zone: Only boxes in these zones, one or several; without missed objects, which are in none.
            error_code: Only these error codes, one or several, or how they begin, such as ``"DET:M"`` or ``"DET:NP"``.
            dataset_type: Only these tags, one or several.
            only_errors: Leave out boxes that are right.
            class_names: Names of the classes, by class id.
            theme: ``"light"`` or ``"dark"``.

        Returns:
            The Figure, with one Axes for each example.

        Raises:
            ConfigError: If supervision is not installed (in 2D), or a zone is unknown.
            InputError: If nothing fits, there are no images in 2D, or what is there for an id cannot be read or does
                not belong to the boxes: an image of another size than the model got, points in other axes.
            NotFoundError: If there is nothing for an input id.
        """
        from ml_debugger.presentation.box_shapes import UPRIGHT, shape_of_task
        from ml_debugger.presentation.example_drawers import missing_source
        from ml_debugger.presentation.example_plot import plot_pictures
        from ml_debugger.presentation.examples import nothing_to_show

        shape = shape_of_task(self._task)
        wanted = Wanted(dataset_type, zone, error_code, only_errors)
        pictures = self._pictures(wanted, n, images, frames, class_names)
        if pictures is None:
            raise missing_source(shape)
        if not pictures:
            raise nothing_to_show(wanted)
        title = f"Examples: {self.result_name}"
        return plot_pictures(pictures, title=title, theme=theme, from_above=shape is UPRIGHT)

    def summary(self) -> str:
        """Zones, metrics and notes as text for a terminal."""
        from ml_debugger.presentation.summary import summary_text

        return summary_text(self._payload.info, self._payload.metrics, self._payload.zones.to_pylist())

    def report(
        self,
        path: str | Path,
        *,
        images: Source | None = None,
        frames: Source | None = None,
        n_examples: int = 12,
        class_names: Sequence[str] | Mapping[int, str] | None = None,
    ) -> Path:
        """Write one self-contained HTML file with pictures, tables and every number; returns its path.

        Args:
            path: File to write.
            images: In 2D detection, where images are, as for :meth:`plot_examples`: the report then shows examples.
            frames: In 3D detection, where point clouds are, likewise; without them the examples are boxes alone.
            n_examples: How many examples at most.
            class_names: Names of the classes, by class id, for the examples.

        Raises:
            InputError: If the file cannot be written, or an image or a frame cannot be read or does not belong to the
                boxes.
            NotFoundError: If there is no image or frame for an input id.
            ConfigError: If images are given and supervision is not installed.
        """
        from ml_debugger.presentation.files import write_text
        from ml_debugger.presentation.report import ReportParts, render_report

        pictures = self._pictures(Wanted(only_errors=True), n_examples, images, frames, class_names)
        parts = ReportParts(
            self._payload.info,
            self._payload.metrics,
            self._payload.zones,
            self.error_codes,
            self.heatmap(),
            self.samples(),
            pictures or (),
        )
        return write_text(Path(path), render_report(parts))

    def __repr__(self) -> str:
        n_rows = len(self.samples())
        facts = f"method_name={self.method_name!r}, n_epoch={self.n_epoch!r}, {self._words.units}={n_rows}"
        return f"Result({self.result_name!r}, {facts})"

    def _repr_html_(self) -> str:
        from ml_debugger.presentation.summary import summary_html

        return summary_html(self._payload.info, self._payload.metrics, self._payload.zones.to_pylist())

    @property
    def _task(self) -> str | None:
        task: str | None = self._payload.info.get("task")
        return task

    @property
    def _words(self) -> Words:
        return words_of(self._task)

    def _pictures(
        self, wanted: Wanted, n: int, images: Source | None, frames: Source | None, class_names: ClassNames
    ) -> list[Picture] | None:
        """Pictures of what is wanted; None where there is nothing to draw on."""
        from ml_debugger.presentation.box_shapes import shape_of_task
        from ml_debugger.presentation.example_drawers import find_drawer
        from ml_debugger.presentation.example_plot import draw_pictures
        from ml_debugger.presentation.examples import choose_examples

        shape = shape_of_task(self._task)
        draw = find_drawer(shape, images, frames, class_names)
        if shape is None or draw is None:
            return None
        samples, truths = self._payload.samples.to_pandas(), self._payload.truths.to_pandas()
        examples = choose_examples(samples, truths, wanted, n, shape, integer_ids=self._integer_ids)
        return draw_pictures(examples, draw, class_names)

    def _as_given(self, input_id: str) -> int | str:
        return int(input_id) if self._integer_ids else input_id


def _heatmap_bins(n_rows: int) -> int:
    """Cells along each axis: fewer where few rows would leave them all but empty."""
    return min(max(int(math.sqrt(n_rows) / 1.5), 10), 20)
