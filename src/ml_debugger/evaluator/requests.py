"""Evaluator: have a traced model evaluated, and find earlier results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml_debugger.connect import connect
from ml_debugger.evaluator.result import Result
from ml_debugger.presentation.samples import nullable_integers
from ml_debugger.service.contract import EvaluationRequest, RunKey
from ml_debugger.types import Epoch

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Evaluator"]

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
        return nullable_integers(frame, "n_epoch")

    def get_result(self, result_name: str) -> Result:
        """A result by name.

        Raises:
            NotFoundError: If this model and version have no such result.
        """
        return Result(self.service_client.get_result(result_name, self._run))

    def __repr__(self) -> str:
        return f"Evaluator(model_name={self.model_name!r}, version_name={self.version_name!r})"
