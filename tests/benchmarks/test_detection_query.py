"""The pool of the query benchmark gives the answers that its rows give by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks import detection_query as benchmark
from ml_debugger import columns
from ml_debugger.service.local import LocalService
from tests.helpers.box_aggregation_reference import image_values

IMAGES = 400


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool") / "workspace"
    benchmark.build(folder, IMAGES)
    return folder


def newest_boxes(pool: Path) -> list[dict[str, Any]]:
    """Score rows of the newest recording of each image."""
    files = {kind: str(pool / "tables" / kind / "**" / "dataset_type=pool" / "*.parquet") for kind in columns.KINDS}
    inputs = pl.read_parquet(files[columns.INPUTS])
    newest = inputs.sort("recorded_at", "recording_id").unique("input_id", keep="last")
    assert newest.height == IMAGES < inputs.height
    return pl.read_parquet(files[columns.SCORES]).join(newest, on="recording_id", how="semi").to_dicts()


@pytest.mark.parametrize("question", benchmark.QUESTIONS)
def test_answers_are_those_of_the_slow_reference(pool: Path, question: str) -> None:
    strategy = benchmark.QUESTIONS[question]
    config = strategy if isinstance(strategy, dict) else {}
    boxes = newest_boxes(pool)
    names = {row["recording_id"]: row["input_id"] for row in boxes}
    values = {names[one]: value for one, value in image_values(boxes, config).items()}
    threshold = config.get("img_error_threshold", 0.0)
    expected = sorted((one for one, value in values.items() if value >= threshold), key=lambda one: (-values[one], one))
    answer = LocalService.open(str(pool)).query(benchmark.query_of(pool, strategy, 2 * IMAGES))
    assert len(answer.input_ids) == len(expected) > 0
    assert answer.rank_values == pytest.approx([values[one] for one in expected])
    assert set(answer.input_ids) == set(expected)


def test_the_worker_answers(pool: Path) -> None:
    worker = benchmark.start("top 3", pool)
    answer = benchmark.ask(worker)
    worker.communicate()
    assert len(answer["ids"]) == benchmark.N_DATA
    assert answer["peak_mib"] > 0
