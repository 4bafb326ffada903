"""Evaluations, results, filling of scores and queries against every store."""

from __future__ import annotations

import datetime
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest

from ml_debugger import columns
from ml_debugger.errors import ConfigError, EvaluationError, EvaluationWarning, InputError, NotFoundError
from ml_debugger.service.contract import EvaluationRequest, QueryRequest, ResultPayload, RunKey
from ml_debugger.service.local import LocalService
from ml_debugger.service.rows import Narrowing, RunRows
from ml_debugger.store.artifacts import Artifacts
from tests.contracts.conftest import Place
from tests.helpers.labelled import LABELLED_SCHEMA, labelled_tables
from tests.helpers.rows import RUN, append, ids_of, scan

pytestmark = pytest.mark.filterwarnings("ignore::ml_debugger.errors.EvaluationWarning")
FAST = {"bootstrap": 20}


def trace(service: LocalService, dataset_type: str, n: int = 60, **options: object) -> None:
    append(service, labelled_tables(n, dataset_type, **options), schema=LABELLED_SCHEMA)


def evaluate(service: LocalService, **changes: object) -> ResultPayload:
    return service.evaluate(EvaluationRequest(RUN, **{"options": FAST, **changes}))


def trace_all(service: LocalService) -> LocalService:
    trace(service, "train")
    trace(service, "val", seed=1)
    trace(service, "pool", seed=2, labels=False)
    return service


@pytest.fixture
def traced(service: LocalService) -> LocalService:
    return trace_all(service)


def test_a_result_comes_back_as_it_was_made(traced: LocalService, place: Place) -> None:
    made = evaluate(traced)
    today = datetime.datetime.now(datetime.UTC)
    assert made.info["result_name"] == f"model_v1_classification_v1_{today:%Y%m%d}"
    assert made.info["n_epoch"] == 0
    assert made.info["weights_hash"] == "w1"
    services = [traced] if place.location == "memory://" else [traced, place.open()]
    for service in services:
        found = service.get_result(made.info["result_name"])
        assert found.info == made.info
        assert found.metrics == made.metrics
        for table in ("samples", "zones", "error_codes", "missed"):
            assert getattr(found, table).equals(getattr(made, table))
        assert (
            service.get_error_model(made.info["result_name"]).meta
            == traced.get_error_model(made.info["result_name"]).meta
        )


def test_results_are_listed_oldest_first_with_names_of_their_own(traced: LocalService) -> None:
    first, second = evaluate(traced), evaluate(traced)
    named = evaluate(traced, result_name="mine / é")
    names = [result.info["result_name"] for result in (first, second, named)]
    assert names[1] == f"{names[0]}_2"
    table = traced.list_results(RUN, None, None, "latest")
    assert table["result_name"].to_pylist() == names
    assert table["n_samples"].to_pylist() == [60] * 3
    assert table["completed_at"].to_pylist() == sorted(table["completed_at"].to_pylist())
    assert traced.list_results(RUN, names[1], "default", "all").num_rows == 1
    assert traced.list_results(RUN, None, "classification_v1", "all").num_rows == 3
    assert traced.list_results(RUN, None, "other_v1", "all").num_rows == 0
    assert traced.list_results(RUN, None, None, 5).num_rows == 0
    assert traced.list_results(RunKey("model", "v9"), None, None, "all").num_rows == 0
    assert traced.get_result(None, RUN).info["result_name"] == names[2]


def test_a_taken_name_is_refused_before_any_work(traced: LocalService) -> None:
    evaluate(traced, result_name="mine")
    with pytest.raises(InputError, match="'mine' is taken"):
        evaluate(traced, result_name="mine")


def test_a_failed_evaluation_gives_its_name_back(embedded: LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
    traced = trace_all(embedded)

    def fail(*_: object) -> None:
        raise EvaluationError("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(Artifacts, "put", fail)
        with pytest.raises(EvaluationError, match="on purpose"):
            evaluate(traced, result_name="mine")
    assert traced.list_results(RUN, None, None, "all").num_rows == 0
    assert evaluate(traced, result_name="mine").info["result_name"] == "mine"


def test_what_is_not_there_is_told(traced: LocalService) -> None:
    with pytest.raises(NotFoundError, match="no result"):
        traced.get_result(None, RUN)
    with pytest.raises(NotFoundError, match="'nonsense'"):
        traced.get_result("nonsense")
    with pytest.raises(NotFoundError, match="'nonsense'"):
        traced.get_error_model("nonsense")
    with pytest.raises(NotFoundError, match="'nonsense'"):
        traced.query(QueryRequest(RUN, "nonsense", 5, "high_error_proba"))
    with pytest.raises(InputError, match="got neither"):
        traced.get_result(None)
    with pytest.raises(InputError, match="method_name"):
        evaluate(traced, method_name="other_v1")
    with pytest.raises(EvaluationError, match=r"labelled epochs: \[0\]"):
        evaluate(traced, n_epoch=7)


def test_a_run_without_labels_cannot_be_evaluated(service: LocalService) -> None:
    trace(service, "pool", labels=False)
    with pytest.raises(EvaluationError, match="no labelled rows"):
        evaluate(service)


def test_results_of_epochs(traced: LocalService) -> None:
    trace(traced, "train", n_epoch=1, seed=3)
    trace(traced, "val", n_epoch=1, seed=4)
    evaluate(traced, result_name="one")
    evaluate(traced, result_name="zero", n_epoch=0)
    assert traced.get_result("one").info["n_epoch"] == 1
    assert traced.get_result(None, RUN).info["result_name"] == "zero"
    assert traced.get_result(None, RUN, 1).info["result_name"] == "one"
    assert traced.list_results(RUN, None, None, "latest")["n_epoch"].to_pylist() == [0]
    assert traced.list_results(RUN, None, None, "all")["n_epoch"].to_pylist() == [1, 0]


@pytest.mark.parametrize("epoch", ["newest", 0.5, True, -1, "0"], ids=repr)
def test_an_epoch_that_means_nothing_is_refused_by_every_call(traced: LocalService, epoch: object) -> None:
    """Once, 0.5 was epoch 0, and a misspelt word found no results without a word."""
    calls = [
        lambda: evaluate(traced, n_epoch=epoch),
        lambda: traced.list_results(RUN, None, None, epoch),
        lambda: traced.get_result(None, RUN, epoch),
        lambda: scan(traced, n_epoch=epoch),
    ]
    for call in calls:
        with pytest.raises(InputError, match="n_epoch: expected 'latest', 'all', None or an int"):
            call()


def test_an_epoch_may_be_an_integer_of_numpy(traced: LocalService) -> None:
    assert evaluate(traced, n_epoch=np.int64(0)).info["n_epoch"] == 0
    assert traced.list_results(RUN, None, None, np.int32(0)).num_rows == 1


def test_labels_that_a_newer_recording_hides_are_told(traced: LocalService) -> None:
    trace(traced, "val", n=20, seed=1, labels=False)  # as a data filter over the held-out inputs would
    with pytest.warns(EvaluationWarning, match=r"recorded again without labels.*\(20 of 'val'\)"):
        result = evaluate(traced)
    assert result.samples.num_rows == 40
    assert any("20 of 'val'" in note for note in result.info["notes"])
    trace(traced, "val", n=20, seed=1)
    result = evaluate(traced)
    assert result.samples.num_rows == 60
    assert not any("again without labels" in note for note in result.info["notes"])


def test_options_may_hold_values_of_numpy(traced: LocalService) -> None:
    options = {"bootstrap": np.int64(20), "fit_on": np.array(["val"])}
    assert evaluate(traced, options=options).info["options"] == {"bootstrap": 20, "fit_on": ["val"]}


@pytest.mark.parametrize("options", [{"bootstrap": object()}, {("a",): 1}, 5], ids=["object", "key", "number"])
def test_options_that_cannot_be_stored_are_refused_before_any_work(traced: LocalService, options: object) -> None:
    with pytest.raises(ConfigError, match="options: expected a dict"):
        evaluate(traced, options=options)


@pytest.mark.parametrize("name", ["", "  ", 5, "two\nlines", "\udcff"], ids=repr)
def test_a_name_that_no_result_can_have_is_refused(traced: LocalService, name: object) -> None:
    with pytest.raises(InputError, match="result_name: expected a non-empty printable str"):
        evaluate(traced, result_name=name)
    assert traced.list_results(RUN, None, None, "all").num_rows == 0


def test_evaluations_read_the_newest_weights_and_say_what_they_leave_out(service: LocalService) -> None:
    trace(service, "train", n=70, weights="old")
    trace(service, "train", n=40, weights="new")
    trace(service, "val", n=50, weights="new", seed=1)
    with pytest.warns(EvaluationWarning, match="30 labelled inputs"):
        result = evaluate(service)
    assert result.info["weights_hash"] == "new"
    assert any("30 labelled inputs" in note for note in result.info["notes"])
    with pytest.warns(EvaluationWarning, match="mixes 1 epochs and 2 sets of weights"):
        union = evaluate(service, n_epoch="all")
    assert union.info["weights_hash"] is None
    assert union.info["n_epoch"] == "all"
    listed = service.list_results(RUN, None, None, "all").to_pylist()[-1]
    assert listed["n_epoch"] is None
    assert '"n_epoch": "all"' in listed["options"]


def test_all_epochs_of_one_epoch_are_that_epoch(traced: LocalService) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = evaluate(traced, n_epoch="all")
    assert not any("mixes" in str(warning.message) for warning in caught)
    assert result.info["weights_hash"] == "w1"


def test_missing_scores_are_made_once(traced: LocalService) -> None:
    name = evaluate(traced).info["result_name"]
    first = scan(traced, "scores", result_name=name, dataset_types=("pool",))
    assert ids_of(first) == ids_of(scan(traced, dataset_types=("pool",)))
    again = scan(traced, "scores", result_name=name, dataset_types=("pool",))
    assert again.equals(first)
    trace(traced, "pool", n=20, seed=9, labels=False)  # re-traced: only these are scored anew
    latest = scan(traced, "scores", result_name=name, dataset_types=("pool",))
    assert latest.num_rows == 60
    assert n_stored_scores(traced) == 80
    other = evaluate(traced).info["result_name"]
    assert scan(traced, "scores", result_name=other, dataset_types=("pool",)).num_rows == 60
    assert n_stored_scores(traced) == 140


def n_stored_scores(service: LocalService) -> int:
    model = service.workspace.metadata.model("model")
    assert model is not None
    return RunRows(service.workspace, model, RUN).frame(columns.SCORES, Narrowing()).collect().height


def test_scores_are_made_once_by_many_at_once(traced: LocalService) -> None:
    name = evaluate(traced).info["result_name"]
    found: list[list[str]] = []

    def work() -> None:
        found.append(ids_of(scan(traced, "scores", result_name=name, dataset_types=("pool",))))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(ids == found[0] and len(ids) == 60 for ids in found)
    assert n_stored_scores(traced) == 60


def test_inputs_without_units_need_no_scores(traced: LocalService) -> None:
    name = evaluate(traced).info["result_name"]
    tables = labelled_tables(1, "pool", labels=False)
    records = tables["records"].slice(0, 0)
    inputs = tables["inputs"]
    at = inputs.column_names.index("n_units")
    inputs = inputs.set_column(at, inputs.schema.field("n_units"), [[0]])
    append(traced, {"inputs": inputs, "records": records}, schema=LABELLED_SCHEMA)
    assert scan(traced, "scores", result_name=name, dataset_types=("pool",)).num_rows == 59


def test_queries_see_the_narrowed_newest_rows(traced: LocalService) -> None:
    name = evaluate(traced).info["result_name"]
    request = QueryRequest(RUN, name, 60, "high_error_proba", weights_hash="w1")
    answer = traced.query(request)
    assert sorted(answer.input_ids) == ids_of(scan(traced, dataset_types=("pool",)))
    assert list(answer.rank_values) == sorted(answer.rank_values, reverse=True)
    trace(traced, "pool", n=10, weights="w2", pass_id="p2", labels=False)
    assert sorted(traced.query(request).input_ids) == sorted(answer.input_ids)
    newer = replace(request, weights_hash="w2", n_data=10)
    assert sorted(traced.query(newer).input_ids) == sorted(f"pool{number}" for number in range(10))
    one_pass = replace(request, weights_hash=None, pass_id="p2", n_data=10)
    assert sorted(traced.query(one_pass).input_ids) == sorted(f"pool{number}" for number in range(10))
    chosen = traced.query(replace(request, strategy="coverage", n_data=5))
    assert len(set(chosen.input_ids)) == 5


def test_recreate_leaves_results_but_no_rows(traced: LocalService) -> None:
    name = evaluate(traced).info["result_name"]
    append(traced, {}, schema=LABELLED_SCHEMA, recreate=True)
    assert traced.get_result(name).samples.num_rows == 60
    assert scan(traced, "scores", result_name=name).num_rows == 0


def test_a_progress_is_told(traced: LocalService) -> None:
    seen: list[tuple[str, float]] = []
    traced.evaluate(EvaluationRequest(RUN, options=FAST), lambda stage, done: seen.append((stage, done)))
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    assert seen[-1][1] == 1.0
