"""Every classification code block of the original guide, run word for word with a real model, loaders and labels."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from ml_debugger.columns import ZONES
from ml_debugger.data_filter import ClassificationDataFilter
from ml_debugger.errors import ServiceConnectionError
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ClassificationTracer
from tests.guide import blocks
from tests.guide.blocks import Block
from tests.helpers.digits import SmallNet, digits, loader, small_classifier, train

TRAIN = range(150)
VAL = range(150, 550)
POOL = range(550, 1797)
RESULT_NAME = "resnet18_v1_classification_v1_20251219"


@pytest.fixture(scope="module")
def model() -> SmallNet:
    return small_classifier(TRAIN)


@pytest.fixture(scope="module")
def workspace(model: SmallNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the guide's prerequisite holds: tracing and evaluation are complete."""
    home = tmp_path_factory.mktemp("guide")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLD_HOME", str(home))
        evaluate(model, "resnet18", RESULT_NAME)
        evaluate(model, "my_model", None, n_epoch=5)
    return home


@pytest.fixture
def names(workspace: Path, model: SmallNet, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Names that the guide's blocks use and do not define."""
    monkeypatch.setenv("MLD_HOME", str(workspace))
    return {
        "model": model,
        "device": torch.device("cpu"),
        "pool_dataloader": loader(POOL),
        "ClassificationDataFilter": ClassificationDataFilter,
        "ClassificationTracer": ClassificationTracer,
    }


def trace(tracer: ClassificationTracer, train_indices: Any = TRAIN, n_epoch: int | None = None) -> None:
    for dataset_type, indices in (("train", train_indices), ("val", VAL)):
        for image, label, ids in loader(indices):
            with torch.no_grad():
                tracer(image, label, ids, dataset_type, n_epoch)
    tracer.wait_for_save()


def evaluate(model: SmallNet, model_name: str, result_name: str | None, n_epoch: int | None = None) -> Any:
    trace(ClassificationTracer(model, model_name, "v1"), n_epoch=n_epoch)
    return Evaluator(model_name, "v1").request_evaluation(result_name=result_name)


def run(
    block: Block, names: dict[str, Any], fill: dict[int, str] | None = None, credentials: tuple[str, str] = ("", "")
) -> None:
    exec(compile(block.code(fill, credentials), f"guide lines {block.first}-{block.last}", "exec"), names)


def scores(names: dict[str, Any]) -> pd.DataFrame:
    return names["data_filter"].scores().set_index("input_id")


def predictions(model: SmallNet, indices: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(digits()[0][list(indices)]).argmax(1)


@pytest.fixture
def queried(names: dict[str, Any]) -> dict[str, Any]:
    """The names after steps 1 and 2 of the batch method."""
    run(blocks.INITIALIZE, names)
    run(blocks.INFER, names)
    return names


def test_the_result_name_comes_from_the_result(names: dict[str, Any]) -> None:
    names["evaluator"] = Evaluator("resnet18", "v1")
    run(blocks.RESULT_NAME, names)
    assert names["result_name"].startswith("resnet18_v1_classification_v1_")
    assert names["result_name"] != RESULT_NAME


def test_batch_method_gives_the_models_output_and_no_flags(queried: dict[str, Any], model: SmallNet) -> None:
    assert queried["filter_flags"] == [None] * len(queried["ids"])
    with torch.no_grad():
        assert torch.equal(queried["model_output"], model(queried["input_data"]))
    table = scores(queried)
    assert sorted(table.index) == list(POOL)
    assert set(table["dataset_type"]) == {"pool"}
    assert set(table["zone"]) <= set(ZONES)


def test_real_time_method_flags_what_a_query_would_select(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run(blocks.INITIALIZE_REAL_TIME, names)
    run(blocks.INFER_REAL_TIME, names)
    assert all(type(flag) is bool for flag in names["filter_flags"])
    flagged = [int(index) for index in names["new_data_indices"]]
    assert f"Total {len(flagged)} data points matched" in capsys.readouterr().out
    table = scores(names)
    assert flagged
    assert set(flagged) == set(table.index[table["zone"] == "critical_hotspot"])
    assert set(flagged) == set(names["data_filter"].query(len(POOL), {"target_zones": ["critical_hotspot"]}))


def test_sort_strategy_takes_the_likeliest_errors(queried: dict[str, Any], model: SmallNet) -> None:
    run(blocks.QUERY_SORT, queried)
    ids = queried["queried_ids"]
    table = scores(queried)
    assert len(ids) == len(set(ids)) == 50
    assert table.loc[ids, "error_proba"].is_monotonic_decreasing
    assert table.loc[ids, "error_proba"].min() >= table.drop(index=ids)["error_proba"].max()
    labels = digits()[1]
    wrong_here = (predictions(model, ids) != labels[ids]).float().mean()
    wrong_in_pool = (predictions(model, POOL) != labels[list(POOL)]).float().mean()
    assert wrong_here > 2 * wrong_in_pool


def test_low_error_proba_takes_the_other_end(queried: dict[str, Any]) -> None:
    table = scores(queried)
    ids = queried["data_filter"].query(n_data=50, strategy="low_error_proba")
    assert table.loc[ids, "error_proba"].is_monotonic_increasing
    assert table.loc[ids, "error_proba"].max() <= table.drop(index=ids)["error_proba"].min()


def test_zone_strategy_stays_in_its_zones(queried: dict[str, Any]) -> None:
    run(blocks.QUERY_ZONES, queried)
    chosen = scores(queried).loc[queried["queried_ids"]]
    assert 0 < len(chosen) <= 50
    assert set(chosen["zone"]) <= {"hotspot", "critical_hotspot"}
    assert chosen["error_proba"].is_monotonic_decreasing


def test_threshold_strategy_keeps_its_bound(queried: dict[str, Any]) -> None:
    run(blocks.QUERY_THRESHOLD, queried)
    table = scores(queried)
    matching = (table["error_proba"] >= 0.8).sum()
    assert len(queried["queried_ids"]) == min(50, matching)
    assert (table.loc[queried["queried_ids"], "error_proba"] >= 0.8).all()


def test_combined_conditions_hold_together(queried: dict[str, Any]) -> None:
    run(blocks.QUERY_COMBINED, queried)
    table = scores(queried)
    matching = table[(table["error_proba"] >= 0.5) & (table["score"] < 0.7)]
    assert len(matching) > 0
    assert len(queried["queried_ids"]) == min(50, len(matching))
    assert set(queried["queried_ids"]) <= set(matching.index)


def test_zones_and_conditions_are_alternatives(queried: dict[str, Any]) -> None:
    strategy = {"target_zones": ["critical_hotspot"], "conditions": [{"error_proba": ">=0.5", "score": "<0.7"}]}
    table = scores(queried)
    either = (table["zone"] == "critical_hotspot") | ((table["error_proba"] >= 0.5) & (table["score"] < 0.7))
    assert set(queried["data_filter"].query(len(table), strategy)) == set(table.index[either])


def test_optional_parameters(queried: dict[str, Any]) -> None:
    run(blocks.QUERY_OPTIONS, queried)
    assert len(queried["queried_ids"]) == 50
    assert all(type(index) is int for index in queried["queried_ids"])
    assert set(queried["queried_ids"]) <= set(POOL)


def test_type_cast_sees_the_stored_text(queried: dict[str, Any]) -> None:
    ids = queried["data_filter"].query(5, "high_error_proba", "pool", str)
    assert [int(text) for text in ids] == queried["data_filter"].query(5, "high_error_proba")


def test_dataset_types_are_kept_apart(queried: dict[str, Any]) -> None:
    image, _, indices = next(iter(loader(range(20))))
    queried["data_filter"](image, indices, "night")
    assert set(queried["data_filter"].query(20, "high_error_proba", dataset_type="night")) == set(range(20))
    assert sorted(scores(queried).index) == list(POOL)


@pytest.fixture(params=["embedded", "server"])
def credentials(request: pytest.FixtureRequest, model: SmallNet, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Endpoint and key for the block: none, or those of a server at which the guide's prerequisite holds."""
    if request.param == "server":
        request.getfixturevalue("served")
        evaluate(model, "my_model", None, n_epoch=5)
    found = os.environ.get("MLD_API_ENDPOINT", ""), os.environ.get("MLD_API_KEY", "")
    for name in ("MLD_API_ENDPOINT", "MLD_API_KEY"):
        monkeypatch.setenv(name, "set by the block")
    return found


def test_complete_sample(names: dict[str, Any], model: SmallNet, credentials: tuple[str, str]) -> None:
    evaluator = Evaluator("my_model", "v1", *credentials)
    result = evaluator.get_result(evaluator.list_results()["result_name"][0])
    del names["model"], names["device"], names["pool_dataloader"]
    names |= {"result": result, "trained_model": model, "pool": loader(POOL)}
    run(blocks.COMPLETE, names, {230: "trained_model", 231: "pool"}, credentials)
    assert (os.environ["MLD_API_ENDPOINT"], os.environ["MLD_API_KEY"]) == credentials
    table = scores(names)
    ids = names["queried_ids"]
    assert len(set(ids)) == 100
    assert all(type(index) is int for index in ids)
    assert table.loc[ids, "error_proba"].min() >= table.drop(index=ids)["error_proba"].max()
    assert sorted(names["critical_data_indices"]) == sorted(table.index[table["zone"] == "critical_hotspot"])


def test_credentials_are_read_when_an_object_is_built(
    names: dict[str, Any], model: SmallNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set after the import, as the guide does; no embedded mode stands in for an endpoint where nobody answers."""
    monkeypatch.setenv("MLD_API_ENDPOINT", "https://mld.invalid")
    monkeypatch.setenv("MLD_API_KEY", "mldbg_test")
    monkeypatch.setenv("MLD_API_RETRIES", "0")
    with pytest.raises(ServiceConnectionError, match=r"mld\.invalid"):
        run(blocks.INITIALIZE, names)
    with pytest.raises(ConnectionError):
        Evaluator("resnet18", "v1")
    assert "mldbg_test" not in repr(sys.exc_info())


@pytest.mark.filterwarnings("ignore::ml_debugger.errors.EvaluationWarning")
def test_active_learning_loop(names: dict[str, Any]) -> None:
    torch.manual_seed(1)
    model = SmallNet()
    n_iterations, n_data = 3, 100
    sizes: list[int] = []
    bought: list[int] = []
    evaluator = Evaluator("active", "v1")

    def train_model(model: SmallNet, indices: list[int]) -> None:
        train(model, indices, epochs=6)

    def infer_pool(data_filter: ClassificationDataFilter) -> None:
        sizes.append(len(names["pool_indices"]))
        for image, _, indices in loader(names["pool_indices"]):
            data_filter(image, indices)
        if sizes[1:]:
            bought.extend(names["queried_ids"])

    names |= {
        "model": model,
        "model_name": "active",
        "version_name": "v1",
        "n_iterations": n_iterations,
        "train_model": train_model,
        "train_indices": list(TRAIN),
        "pool_indices": list(POOL),
        "evaluator": evaluator,
        "collect_data": lambda tracer: trace(tracer, names["train_indices"]),
        "infer_pool": infer_pool,
    }
    names["train_dataloader"] = names["train_indices"]  # the loop extends this very list
    run(blocks.ACTIVE_LEARNING, names, {365: "collect_data(tracer)", 371: "infer_pool(data_filter)"})
    bought.extend(names["queried_ids"])
    assert sizes == [len(POOL) - n_data * n for n in range(n_iterations)]
    assert len(names["pool_indices"]) == len(POOL) - n_data * n_iterations
    assert len(bought) == len(set(bought)) == n_data * n_iterations
    assert names["train_indices"] == [*TRAIN, *bought]
    assert all(type(index) is int for index in names["train_indices"])
    assert set(bought).isdisjoint(names["pool_indices"])
    assert len(evaluator.list_results(n_epoch="all")) == n_iterations


def test_epoch_of_the_result_is_used(names: dict[str, Any]) -> None:
    evaluator = Evaluator("my_model", "v1")
    names["result"] = evaluator.get_result(evaluator.list_results()["result_name"][0])
    run(blocks.EPOCH, names)
    image, _, indices = next(iter(loader(POOL)))
    names["data_filter"](image, indices)
    assert set(scores(names)["n_epoch"]) == {5}


def test_retrained_epochs_are_told_apart(names: dict[str, Any], model: SmallNet) -> None:
    """After epochs 0-9 and then 0-4 the latest is 4; an explicit epoch, or another version, is told apart."""
    image, label, indices = next(iter(loader(VAL, batch_size=400)))
    tracer = ClassificationTracer(model, "retrained", "v1")
    evaluator = Evaluator("retrained", "v1")
    for n_epoch in (*range(10), *range(5)):
        tracer(image, label, indices, "val", n_epoch)
    assert evaluator.request_evaluation().n_epoch == 4
    assert evaluator.request_evaluation(n_epoch=9).n_epoch == 9
    run(blocks.EPOCH_SOLUTION, names, {393: "model, 'retrained', 'v1'"})
    assert names["data_filter"].n_epoch == 9

    ClassificationTracer(model, "retrained", "v2")(image, label, indices, "val")
    result = Evaluator("retrained", "v2").request_evaluation()
    run(blocks.VERSION_SOLUTION, names, {395: "model, 'retrained'"})
    assert names["data_filter"].result_name == result.result_name
