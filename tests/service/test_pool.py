"""The pool's column in the service: streamed, in the order asked for, the same for scan and query, never stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from ml_debugger import columns
from ml_debugger.errors import ConfigError, InputError, NotFoundError
from ml_debugger.estimation.pool import Recalibration
from ml_debugger.service.contract import EvaluationRequest, QueryRequest, ScanRequest
from ml_debugger.service.local import LocalService
from ml_debugger.service.pool import add_pool_column, summarise_held_out, summarise_pool
from tests.helpers.labelled import LABELLED_SCHEMA, labelled_tables
from tests.helpers.rows import RUN, append

pytestmark = pytest.mark.filterwarnings("ignore::ml_debugger.errors.EvaluationWarning")
ADAPTED = ("input_id", columns.ERROR_PROBA_POOL, "zone")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Train, val, and a pool whose features and logits lie elsewhere."""
    made = LocalService.open(str(tmp_path_factory.mktemp("workspace")))
    for seed, tag in enumerate(("train", "val", "pool")):
        tables = labelled_tables(120, tag, seed=seed, labels=tag != "pool")
        if tag == "pool":
            tables[columns.RECORDS] = flattened(tables[columns.RECORDS])
        append(made, tables, schema=LABELLED_SCHEMA)
    return made


@pytest.fixture(scope="module")
def result_name(service):
    return service.evaluate(EvaluationRequest(RUN, options={"bootstrap": 20})).info["result_name"]


def flattened(records):
    """The same predictions with half of the confidence: the logits shrunk, the score with them."""
    logits = np.array(records["logits"].to_pylist(), dtype=np.float32) * 0.5
    odds = np.exp(logits.astype(np.float64))
    changes = {
        "logits": pa.array(logits.tolist(), pa.list_(pa.float32())),
        "score": (odds / odds.sum(1)[:, None]).max(1),
    }
    for name, values in changes.items():
        position = records.schema.get_field_index(name)
        records = records.set_column(position, records.schema.field(name), pa.array(values))
    return records


def scores(service, result_name, names=None, **changes):
    request = ScanRequest(RUN, columns.SCORES, names, ("pool",), result_name=result_name, pool_adaptive=True)
    return pa.Table.from_batches(service.scan(replace(request, **changes)))


def test_columns_come_as_asked_for(service, result_name):
    assert scores(service, result_name, ADAPTED).column_names == list(ADAPTED)
    everything = scores(service, result_name)
    assert everything.column_names[-1] == columns.ERROR_PROBA_POOL
    assert everything.num_rows == 120


def test_a_drifted_pool_is_changed_in_one_direction_and_keeps_its_order(service, result_name):
    table = scores(service, result_name, ("error_proba", columns.ERROR_PROBA_POOL))
    static, pool = (column.to_numpy() for column in table.columns)
    order = np.argsort(static)
    assert pool.mean() > static.mean()
    assert (np.diff(pool[order]) >= 0).all()


def test_nothing_of_it_is_stored(service, result_name):
    scores(service, result_name)
    plain = scores(service, result_name, pool_adaptive=False)
    assert columns.ERROR_PROBA_POOL not in plain.column_names
    with pytest.raises(NotFoundError, match=columns.ERROR_PROBA_POOL):
        scores(service, result_name, ADAPTED, pool_adaptive=False)


def test_only_scores_have_it(service, result_name):
    with pytest.raises(InputError, match="pool_adaptive: only scores have"):
        scores(service, result_name, kind=columns.RECORDS)


def test_an_empty_pool_has_no_rows(service, result_name):
    assert not list(service.scan(ScanRequest(
        RUN, columns.SCORES, ADAPTED, ("other",), result_name=result_name, pool_adaptive=True
    )))  # fmt: skip


def test_conditions_of_a_query_mean_what_scores_show(service, result_name):
    table = scores(service, result_name, ("input_id", columns.ERROR_PROBA_POOL))
    values = np.sort(table[columns.ERROR_PROBA_POOL].to_numpy())
    limit = float(values[60:62].mean())
    wanted = {i for i, p in zip(*(column.to_pylist() for column in table.columns), strict=True) if p > limit}
    conditions = {"conditions": [{columns.ERROR_PROBA_POOL: f">{limit!r}"}]}
    request = QueryRequest(RUN, result_name, 120, conditions, pool_adaptive=True)
    answer = service.query(request)
    assert set(answer.input_ids) == wanted
    assert len(wanted) == len(answer.input_ids) == 59
    with pytest.raises(ConfigError, match="pass pool_adaptive=True"):
        service.query(replace(request, pool_adaptive=False))


def test_the_rank_of_a_strategy_is_the_same_with_it(service, result_name):
    request = QueryRequest(RUN, result_name, 20, "high_error_proba")
    assert service.query(request) == service.query(replace(request, pool_adaptive=True))


def test_held_out_rows_are_the_samples_that_count(service, result_name):
    samples = service.get_result(result_name).samples
    whole = summarise_held_out(samples)
    assert whole.n_rows == samples.num_rows == 120
    assert whole.wrong.sum() == sum(samples["is_error"].to_pylist())
    position = samples.schema.get_field_index("ignored")
    ignored = samples.set_column(position, "ignored", pa.array(np.arange(120) < 20))
    assert summarise_held_out(ignored).n_rows == 100


def test_rows_without_a_confidence_are_summarised(service, result_name):
    batch = scores(service, result_name, pool_adaptive=False).to_batches()[0]
    broken = batch.set_column(batch.schema.get_field_index("score"), "score", pa.array(np.full(len(batch), np.nan)))
    summary = summarise_pool([broken, batch])
    assert summary.n_rows == 2 * len(batch)
    assert summary.counts[1][0] == len(batch)


def test_the_column_is_made_batch_by_batch():
    batches = (pa.record_batch({"error_proba": [0.1 * n, 0.2], "unit": [n, n]}) for n in range(3))
    streamed = add_pool_column(batches, ("error_proba_pool", "unit"), Recalibration(1.0, 1.0))
    first = next(streamed)
    assert first.schema.names == ["error_proba_pool", "unit"]
    assert [batch["unit"][0].as_py() for batch in (first, *streamed)] == [0, 1, 2]
