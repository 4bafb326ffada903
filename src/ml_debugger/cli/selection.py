"""What ``query`` and ``export`` select: options of the command line as a request, and the answer as a table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    import pandas as pd

    from ml_debugger.service.contract import RunKey, Service

__all__ = ["Choice", "read_strategy", "select", "with_scores"]

_UNIT: Final = ("input_id", "unit", "label", "score")
_SAID: Final = ("zone", "support")


def _is_of_boxes(task: str) -> bool:
    from ml_debugger.columns import words_of  # not at the top: it loads pyarrow

    return words_of(task).unit == "box"


def _exported(task: str) -> tuple[str, ...]:
    """What is written of each unit."""
    from ml_debugger.columns import ERROR_COLUMNS, ERROR_PROBA, box_columns

    if not _is_of_boxes(task):
        return (*_UNIT, ERROR_PROBA, *_SAID)
    return (*_UNIT, *ERROR_COLUMNS, *_SAID, "pred_size", *box_columns(task))


@dataclass(frozen=True, slots=True)
class Choice:
    """What to choose: how many, how, among which, by which probabilities, also without boxes, how many boxes."""

    n_data: int
    strategy: str | dict[str, Any]
    dataset_type: str
    seed: int
    pool_adaptive: bool
    include_empty: bool
    box_budget: int | None


def read_strategy(name: str | None, zones: list[str] | None, where: list[str] | None) -> str | dict[str, Any]:
    """A strategy as the service takes it: a name, or a filter."""
    chosen: dict[str, Any] = {}
    if zones:
        chosen["target_zones"] = zones
    if where:
        chosen["conditions"] = [_parse_condition(text) for text in where]
    if name is not None and chosen:
        raise typer.BadParameter("--strategy cannot be combined with --zone or --where: a filter is its own strategy")
    return chosen or _named(name or "high_error_proba")


def _named(text: str) -> str | dict[str, Any]:
    """A name, or a strategy written as JSON."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--strategy: not valid JSON ({error}), got {text!r}") from None
    return found


def _for_boxes(strategy: str | dict[str, Any], task: str) -> str | dict[str, Any]:
    """For detectors, zones and conditions say which boxes of an input count."""
    if _is_of_boxes(task) and isinstance(strategy, dict) and set(strategy) <= {"target_zones", "conditions"}:
        return {"bbox_filter": strategy} if strategy else strategy
    return strategy


def _parse_condition(text: str) -> dict[str, str]:
    """``"error_proba>=0.5,score<0.7"`` as ``{"error_proba": ">=0.5", "score": "<0.7"}``."""
    pairs = [re.fullmatch(r"\s*(\w+)\s*([<>=!].*)", part) for part in text.split(",")]
    if None in pairs:
        raise typer.BadParameter(f"--where: expected conditions like 'error_proba>=0.5,score<0.7', got {text!r}")
    return {pair[1]: pair[2].strip() for pair in pairs if pair}


def _run_of(service: Service, result_name: str) -> tuple[RunKey, Mapping[str, Any]]:
    from ml_debugger.service.contract import RunKey

    info = service.get_result(result_name).info
    return RunKey(info["model_name"], info["version_name"]), info


def select(service: Service, result_name: str, chosen: Choice) -> pd.DataFrame:
    """Ids (as given) and rank values, best first; notes and shortfall go to stderr."""
    import pandas as pd

    from ml_debugger.ids import restore_ids
    from ml_debugger.service.contract import QueryRequest

    run, info = _run_of(service, result_name)
    answer = service.query(
        QueryRequest(
            run,
            result_name,
            chosen.n_data,
            _for_boxes(chosen.strategy, info["task"]),
            dataset_type=chosen.dataset_type,
            n_epoch=info["n_epoch"],
            weights_hash=info["weights_hash"],
            seed=chosen.seed,
            pool_adaptive=chosen.pool_adaptive,
            include_empty=chosen.include_empty,
            box_budget=chosen.box_budget,
        )
    )
    for note in (*answer.notes, *filter(None, [answer.shortfall])):
        said = note.replace("include_empty=True", "--include-empty")
        typer.secho(f"note: {said}", fg="yellow", err=True)
    ids = pd.Series(restore_ids(answer.input_ids, answer.id_kinds), dtype=object)
    return pd.DataFrame({"input_id": ids, "rank_value": pd.Series(answer.rank_values, dtype=float)})


def with_scores(service: Service, result_name: str, chosen: Choice, selected: pd.DataFrame) -> pd.DataFrame:
    """The chosen ids with what was said about each of their units."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from ml_debugger.service.contract import ScanRequest

    run, info = _run_of(service, result_name)
    exported = _exported(info["task"])
    request = ScanRequest(
        run,
        "scores",
        (*exported, "error_proba_pool") if chosen.pool_adaptive else exported,
        (chosen.dataset_type,),
        n_epoch=info["n_epoch"],
        weights_hash=info["weights_hash"],
        result_name=result_name,
        pool_adaptive=chosen.pool_adaptive,
    )
    wanted = pa.array(selected["input_id"].astype(str).tolist(), pa.string())
    found = [batch.filter(pc.is_in(batch["input_id"], wanted)) for batch in service.scan(request)]
    if not found:
        return selected
    units = pa.Table.from_batches(found).to_pandas()
    ranked = selected.assign(text=selected["input_id"].astype(str))
    return ranked.merge(units.rename(columns={"input_id": "text"}), on="text", how="left").drop(columns="text")
