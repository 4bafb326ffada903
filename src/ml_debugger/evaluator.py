"""Evaluator and Result: learn where a traced model errs, and look at what was learned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_debugger.columns import COMMON_FIELDS, ZONES
from ml_debugger.connect import connect
from ml_debugger.errors import ConfigError, InputError
from ml_debugger.ids import restore_ids
from ml_debugger.service.contract import EvaluationRequest, ResultPayload, RunKey
from ml_debugger.types import Epoch

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["Evaluator", "Result"]

# The public columns of samples come in this order, additional fields after them.
_SAMPLE_COLUMNS = (
    "input_id", "unit", "dataset_type", "n_epoch", "label", "score", "error_proba", "zone", "support",
    "truth", "is_error", "error_code", "ignored",
)  # fmt: skip
_INTERNAL_COLUMNS = frozenset(column.name for column in COMMON_FIELDS) | {"result_name"}
_LISTED = (
    "result_name",
    "method_name",
    "n_epoch",
    "created_at",
    "completed_at",
    "options",
    "n_samples",
    "error_rate",
)


class Evaluator:
    """Requests evaluations of a traced model, and finds earlier ones.

    Needs no model and no task, only the names that the tracer was given.

    Args:
        model_name: Name used with the tracer.
        version_name: Name used with the tracer.
        api_endpoint: Endpoint of a server; default ``MLD_API_ENDPOINT``, empty = embedded.
        api_key: Key for the server; default ``MLD_API_KEY``.

    Attributes:
        service_client: The service that answers.

    Raises:
        ServiceConnectionError: If the endpoint cannot be used.
        StoreError: If the workspace cannot be opened.
    """

    def __init__(
        self, model_name: str, version_name: str, api_endpoint: str | None = None, api_key: str | None = None
    ) -> None:
        self.model_name = model_name
        self.version_name = version_name
        self._run = RunKey(model_name, version_name)
        self._connection = connect(api_endpoint, api_key)
        self.service_client = self._connection.service

    def request_evaluation(
        self,
        method_name: str = "default",
        result_name: str | None = None,
        n_epoch: Epoch = "latest",
        options: Mapping[str, Any] | None = None,
    ) -> Result:
        """Learn from the labelled rows of the run where the model errs; returns when done.

        Rows that tracers of this process still hold are written first. A progress bar shows on a terminal
        (``MLD_PROGRESS``: ``auto``, ``on`` or ``off``).

        Args:
            method_name: Evaluation method; ``"default"`` is the task's own.
            result_name: Name for the result; default ``{model}_{version}_{method}_{YYYYMMDD}``, made unique.
            n_epoch: Epoch to evaluate: a number, None for rows without one, ``"latest"`` for the one traced last,
                ``"all"`` for the rows of all epochs together.
            options: Settings of the method, such as ``{"stable_risk": 0.02}``; see the guide "Evaluate".

        Raises:
            NotFoundError: If nothing was traced under these names or this epoch.
            EvaluationError: If the labelled rows do not allow an evaluation; the message says what is missing.
            ConfigError: If an option or the method is unknown; the message lists what is allowed.

        Warns:
            EvaluationWarning: If the evaluation fell back to something simpler or left rows out.
        """
        from ml_debugger.presentation.progress import progress_bar

        self._connection.flush(self._run)
        request = EvaluationRequest(self._run, method_name, result_name, n_epoch, options)
        with progress_bar(f"Evaluating {self.model_name} {self.version_name}") as bar:
            return Result(self.service_client.evaluate(request, bar))

    def list_results(
        self, result_name: str | None = None, method_name: str | None = None, n_epoch: Epoch = "latest"
    ) -> pd.DataFrame:
        """Results of this model and version, oldest first.

        Args:
            result_name: Only the result of this name.
            method_name: Only results of this method; ``"default"`` is the task's own.
            n_epoch: Only results of this epoch; ``"latest"`` for the newest evaluated, ``"all"`` for every one.

        Returns:
            One row per result: ``result_name, method_name, n_epoch, created_at, completed_at, options, n_samples,
            error_rate``; no rows if there is none.
        """
        table = self.service_client.list_results(self._run, result_name, method_name, n_epoch)
        frame: pd.DataFrame = table.select(list(_LISTED)).to_pandas()
        return _nullable_integers(frame, "n_epoch")

    def get_result(self, result_name: str) -> Result:
        """A result by name.

        Raises:
            NotFoundError: If this model and version have no such result.
        """
        return Result(self.service_client.get_result(result_name, self._run))

    def __repr__(self) -> str:
        return f"Evaluator(model_name={self.model_name!r}, version_name={self.version_name!r})"


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
        """One row per error code and zone, most frequent first: ``error_code, zone, count, share, example_ids``."""
        frame: pd.DataFrame = self._payload.error_codes.to_pandas()
        frame["example_ids"] = [[self._as_given(name) for name in ids] for ids in frame["example_ids"]]
        return frame

    def missed(self) -> pd.DataFrame:
        """Labelled objects that no prediction covered (detection); empty in classification."""
        frame: pd.DataFrame = self._payload.missed.to_pandas()
        return self._public(frame)

    def samples(
        self,
        dataset_type: str | Iterable[str] | None = None,
        zone: str | Iterable[str] | None = None,
        error_code: str | Iterable[str] | None = None,
        *,
        only_errors: bool = False,
        include_ignored: bool = False,
    ) -> pd.DataFrame:
        """The labelled rows that the evaluation rests on.

        Args:
            dataset_type: Only these tags, one or several.
            zone: Only these zones, one or several.
            error_code: Only these error codes, one or several, such as ``"CLS3->5"``.
            only_errors: Only rows where the model was wrong.
            include_ignored: Also rows in regions that the truth marks as to be ignored.

        Returns:
            One row per labelled unit: ``input_id`` (as given), ``unit, dataset_type, n_epoch, label, score,
            error_proba`` (out-of-fold), ``zone, support, truth, is_error, error_code, ignored``, additional fields.

        Raises:
            ConfigError: If a zone is unknown.
            InputError: If no row of the result has a ``dataset_type``.
        """
        frame = self._public(self._payload.samples.to_pandas())
        _check_known("zone", zone, ZONES, ConfigError)
        _check_known("dataset_type", dataset_type, sorted(frame["dataset_type"].unique()), InputError)
        keep = frame["dataset_type"].notna() if include_ignored else ~frame["ignored"]
        for name, wanted in (("dataset_type", dataset_type), ("zone", zone), ("error_code", error_code)):
            if wanted is not None:
                keep &= frame[name].isin(_listed(wanted))
        if only_errors:
            keep &= frame["is_error"]
        return frame[keep].reset_index(drop=True)

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
        return plot_heatmap(cells, cells.attrs["limits"], ax, title=title, theme=theme)

    def plot_zones(self, ax: Axes | None = None, *, theme: str = "light") -> Axes:
        """Draw share and error rate of each zone; returns the Axes drawn on."""
        from ml_debugger.presentation.plots import plot_zones

        return plot_zones(self._payload.zones, ax, theme=theme)

    def plot_reliability(self, ax: Axes | None = None, *, n_bins: int = 10, theme: str = "light") -> Axes:
        """Draw predicted against observed error rates, beside the model's own confidence; returns the Axes drawn on."""
        from ml_debugger.presentation.plots import plot_reliability

        frame = self.samples()
        proba, wrong = frame["error_proba"].to_numpy(float), frame["is_error"].to_numpy(bool)
        baseline = 1 - frame["score"].to_numpy(float)
        return plot_reliability(proba, wrong, ax, baseline=baseline, n_bins=n_bins, theme=theme)

    def summary(self) -> str:
        """Zones, metrics and notes as text for a terminal."""
        from ml_debugger.presentation.summary import summary_text

        return summary_text(self._payload.info, self._payload.metrics, self._payload.zones.to_pylist())

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML file with pictures, tables and every number; returns its path.

        Raises:
            InputError: If the file cannot be written.
        """
        from ml_debugger.presentation.files import write_text
        from ml_debugger.presentation.report import ReportParts, render_report

        parts = ReportParts(
            self._payload.info,
            self._payload.metrics,
            self._payload.zones,
            self.error_codes,
            self.heatmap(),
            self.samples(),
        )
        return write_text(Path(path), render_report(parts))

    def __repr__(self) -> str:
        n_rows = self._payload.samples.num_rows
        return (
            f"Result({self.result_name!r}, method_name={self.method_name!r}, n_epoch={self.n_epoch!r}, rows={n_rows})"
        )

    def _repr_html_(self) -> str:
        from ml_debugger.presentation.summary import summary_html

        return summary_html(self._payload.info, self._payload.metrics, self._payload.zones.to_pylist())

    def _as_given(self, input_id: str) -> int | str:
        return int(input_id) if self._integer_ids else input_id

    def _public(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Ids as given, our columns in their order, internal ones left out."""
        if "id_kind" in frame.columns:
            frame["input_id"] = restore_ids(frame["input_id"].tolist(), frame["id_kind"].tolist())
        known = [name for name in _SAMPLE_COLUMNS if name in frame.columns]
        rest = [name for name in frame.columns if name not in known and name not in _INTERNAL_COLUMNS]
        return _nullable_integers(frame[known + rest], "n_epoch", "truth")


def _heatmap_bins(n_rows: int) -> int:
    """Cells along each axis: fewer where few rows would leave them all but empty."""
    return min(max(int(math.sqrt(n_rows) / 1.5), 10), 20)


def _nullable_integers(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    present = [name for name in names if name in frame.columns]
    return frame.astype(dict.fromkeys(present, "Int64"))


def _listed(wanted: str | Iterable[str]) -> list[str]:
    return [wanted] if isinstance(wanted, str) else list(wanted)


def _check_known(
    argument: str, wanted: str | Iterable[str] | None, known: Iterable[str], error: type[InputError]
) -> None:
    allowed = list(known)
    unknown = [name for name in _listed(() if wanted is None else wanted) if name not in allowed]
    if unknown:
        raise error(f"{argument}: expected some of {allowed}, got {unknown}")
