"""A workspace written before columns were added is read, queried, appended to and tidied as any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import query as benchmark
from ml_debugger import columns
from ml_debugger.service.contract import AppendRequest, QueryRequest
from ml_debugger.service.local import LocalService
from tests.helpers.rows import ids_of, scan

ADDED = {"frame_context", *columns.BOX_COLUMNS}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An evaluated run and 300 scored inputs, without the columns that came later."""
    before = {
        kind: tuple(field for field in fields if field.name not in ADDED)
        for kind, fields in columns._OWN_FIELDS.items()
    }
    with monkeypatch.context() as earlier:
        earlier.setattr(columns, "_OWN_FIELDS", before)
        earlier.setattr(columns, "box_columns", lambda task: ())
        earlier.setattr(columns, "schema_of", columns.schema_of.__wrapped__)  # kept ones are of now
        benchmark.build(tmp_path / "earlier", 300)
    return tmp_path / "earlier"


def test_rows_of_before_and_of_now_are_read_together(folder: Path) -> None:
    service = LocalService.open(str(folder))
    assert not ADDED & {*stored_columns(service, columns.INPUTS), *stored_columns(service, columns.SCORES)}
    before = scan(service, columns.INPUTS, benchmark.RUN, dataset_types=("pool",))
    assert before.num_rows == 300
    assert before["frame_context"].null_count == 300
    result_name = (folder / "result_name").read_text()
    request = QueryRequest(benchmark.RUN, result_name, 400, "high_error_proba", n_epoch=0, weights_hash="weights")
    assert set(service.query(request).input_ids) == set(ids_of(before))

    rng = benchmark.np.random.default_rng(3)
    tables = benchmark.scored_rows(benchmark.np.arange(1_000, 1_020), 9_000_000, result_name, rng)
    for number in range(20):  # enough commits that small files are merged
        service.append(
            AppendRequest(
                f"now-{number}", benchmark.RUN, benchmark.SCHEMA, {k: t.slice(number, 1) for k, t in tables.items()}
            )
        )
    assert stored_columns(service, columns.INPUTS)[-1] == "frame_context"
    assert set(columns.BOX_COLUMNS) <= set(stored_columns(service, columns.SCORES))
    found = set(ids_of(before)) | set(tables[columns.INPUTS]["input_id"].to_pylist())
    assert set(service.query(request).input_ids) == found
    assert set(ids_of(scan(service, columns.INPUTS, benchmark.RUN, dataset_types=("pool",)))) == found
    assert (
        scan(service, columns.SCORES, benchmark.RUN, dataset_types=("pool",), result_name=result_name).num_rows == 320
    )


def stored_columns(service: LocalService, kind: str) -> list[str]:
    """Columns of a table as it lies there."""
    from deltalake import DeltaTable

    folder = f"{service.workspace.location}/tables/{kind}/classification/{benchmark.RUN.model_name}"
    return [field.name for field in DeltaTable(folder).schema().fields]
