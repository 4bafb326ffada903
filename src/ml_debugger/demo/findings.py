"""What demos of every task show of their findings: zones beside the truth, pictures and the report."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ml_debugger.presentation.tables import percent, text_table, zone_rows

if TYPE_CHECKING:
    import pandas as pd

    from ml_debugger.evaluator import Result

__all__ = ["WIDTH", "auroc", "save_pictures", "torch_threads", "zone_lines"]

WIDTH: Final = 110
_MOST_PIXELS: Final = 1600


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """PyTorch with so many threads, for as long as the block lasts."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def zone_lines(result: Result, scores: pd.DataFrame) -> list[str]:
    """Zones as the result describes them, beside what happened in the pool, and the promises.

    Args:
        result: What the labelled data says.
        scores: The pool's units: ``zone``, and ``is_error`` as the truth says.
    """
    known = zone_rows(result.zones.to_dict("records"))
    rows = []
    for row in known:
        inside = scores[scores["zone"] == row.zone]
        rate = percent(inside["is_error"].mean()) if len(inside) else "-"
        rows.append((row.zone, row.share, row.error_rate, row.interval, percent(len(inside) / len(scores)), rate))
    headers = ("zone", "share of val", "error rate", "95% interval", "share of pool", "TRUE error rate")
    promises = [f"Promise  {row.promise}" for row in known if row.promise]
    return [
        text_table(headers, rows, right=range(1, 6)),
        *(textwrap.fill(promise, WIDTH, subsequent_indent=" " * 9) for promise in promises),
    ]


def auroc(value: Any, is_error: Any) -> float:
    """How often a wrong unit has a greater value than a right one, ``(N,)`` each; NaN where all are of one kind."""
    from sklearn.metrics import roc_auc_score

    if len(set(is_error)) < 2:
        return float("nan")
    area: float = roc_auc_score(is_error, value)
    return area


def save_pictures(
    result: Result, further: Mapping[str, Callable[[], Any]], out: Path, **report: Any
) -> dict[str, Path]:
    """Draw the pictures of a result and further ones, write its report; returns paths by title.

    Args:
        result: What is drawn.
        further: By title what draws a picture, a figure or axes; they come first.
        out: Folder to write to.
        **report: What else the report is given.
    """
    from matplotlib import pyplot

    own: dict[str, Callable[[], Any]] = {
        "heatmap": result.plot_heatmap,
        "zones": result.plot_zones,
        "reliability": result.plot_reliability,
    }
    paths: dict[str, Path] = {}
    for title, draw in {**further, **own}.items():
        paths[title] = (out / f"{title.replace(' ', '_')}.png").absolute()
        figure = draw().figure
        figure.savefig(paths[title], dpi=min(160, _MOST_PIXELS / figure.get_figwidth()))
        pyplot.close(figure)
    paths["report"] = result.report(out / "report.html", **report)
    return paths
