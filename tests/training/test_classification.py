"""The tracer: runs the model untouched, records whole batches, refuses what cannot be right."""

import numpy as np
import pytest
import torch

from ml_debugger.columns import INPUTS, RECORDS, TRUTHS
from ml_debugger.connect import connect
from ml_debugger.errors import ArchitectureMismatchError, InputError, ServiceConnectionError
from ml_debugger.service.contract import RunKey, ScanRequest
from ml_debugger.training import ClassificationTracer
from tests.helpers.blobs import BlobNet, fitted_net, make_blobs

RUN = RunKey("blobs", "v1")


def stored(kind, run=RUN, **narrow):
    """Stored newest rows of a run as a list of dicts: by time, and by id within one call, whose rows have one time."""
    rows = connect().service.scan(ScanRequest(run, kind, **narrow))
    return sorted(
        (row for batch in rows for row in batch.to_pylist()), key=lambda row: (row["recorded_at"], row["input_id"])
    )


@pytest.fixture
def tracer():
    return ClassificationTracer(fitted_net(), "blobs", "v1")


def batch(n=5, seed=0):
    blobs = make_blobs(n, seed=seed)
    return torch.from_numpy(blobs.x), torch.from_numpy(blobs.y)


def test_the_models_own_output_is_returned_and_its_rows_are_stored():
    net = fitted_net()
    tracer = ClassificationTracer(net, "blobs", "v1")
    x, y = batch()
    output = tracer(x, y, ["a", "b", "c", "d", "e"], "val", 3)
    torch.testing.assert_close(output, net(x), rtol=0, atol=0)
    assert output.requires_grad, "the caller's grad mode decides, as without a tracer"
    tracer.wait_for_save()
    inputs, records, truths = stored(INPUTS), stored(RECORDS), stored(TRUTHS)
    assert [row["input_id"] for row in inputs] == ["a", "b", "c", "d", "e"]
    assert {(row["dataset_type"], row["n_epoch"], row["n_units"], row["id_kind"]) for row in inputs} == {
        ("val", 3, 1, "str")
    }
    by_id = {row["input_id"]: row for row in records}
    for position, name in enumerate("abcde"):
        logits = output[position].detach().numpy()
        np.testing.assert_array_equal(np.float32(by_id[name]["logits"]), logits)
        assert by_id[name]["label"] == logits.argmax()
        assert by_id[name]["score"] == pytest.approx(torch.softmax(output[position], 0).max().item())
        np.testing.assert_array_equal(np.float32(by_id[name]["features"]), net.body(x)[position].detach().numpy())
    assert {row["input_id"]: row["truth"] for row in truths} == dict(zip("abcde", y.tolist(), strict=True))


def test_an_input_without_a_label_is_recorded_without_a_truth(tracer):
    x, _ = batch(3)
    tracer(x, [1, None, -1], [10, 11, 12])
    tracer.wait_for_save()
    assert len(stored(INPUTS)) == 3
    assert [row["input_id"] for row in stored(TRUTHS)] == ["10"]


def test_the_last_of_two_equal_ids_in_one_batch_wins(tracer):
    x, _ = batch(2)
    tracer(x, [1, 2], ["same", "same"])
    tracer.wait_for_save()
    assert [row["truth"] for row in stored(TRUTHS)] == [2]


def test_additional_fields_become_columns_of_records_and_truths():
    tracer = ClassificationTracer(
        fitted_net(),
        "blobs",
        "v1",
        additional_fields=[{"name": "site", "type": "str"}, {"name": "lux", "type": "float"}],
        additional_label_fields=[{"name": "annotator", "type": "int"}],
    )
    x, y = batch(2)
    tracer(x, y, [0, 1], site=["north", "south"], lux=3.5, annotator=torch.tensor([7, 8]))
    tracer.wait_for_save()
    assert sorted((row["site"], row["lux"]) for row in stored(RECORDS)) == [("north", 3.5), ("south", 3.5)]
    assert sorted(row["annotator"] for row in stored(TRUTHS)) == [7, 8]


def test_an_undeclared_keyword_is_an_error_that_lists_the_declared(tracer):
    x, y = batch(2)
    with pytest.raises(InputError, match=r"unknown keyword argument 'site'.*additional_label_fields"):
        tracer(x, y, [0, 1], site="north")


def test_an_undeclared_keyword_where_none_are_declared(tracer):
    x, y = batch(2)
    with pytest.raises(InputError, match="'site': no additional fields are declared"):
        tracer(x, y, [0, 1], site="north")


@pytest.mark.parametrize(
    ("ids", "labels", "message"),
    [
        ([0, 1, 2], [0, 0], "3"),
        ([0, 1], [0, 1, 2], "ground_truth"),
        ([0, 1], [0, 99], "99"),
        ("ab", [0, 1], "one id per input"),
    ],
    ids=["too many ids", "too many labels", "label out of range", "a string as ids"],
)
def test_a_batch_that_does_not_fit_is_refused_whole(tracer, ids, labels, message):
    x, y = batch(2)
    with pytest.raises(InputError, match=message):
        tracer(x, labels, ids)
    tracer(x, y, ["good0", "good1"])
    tracer.wait_for_save()
    assert [row["input_id"] for row in stored(INPUTS)] == ["good0", "good1"]
    assert len(stored(RECORDS)) == len(stored(TRUTHS)) == 2


@pytest.mark.parametrize("bad", [-1, 1.5, True, "3"], ids=repr)
def test_an_epoch_is_a_non_negative_int_or_none(tracer, bad):
    x, y = batch(2)
    with pytest.raises(InputError, match="n_epoch"):
        tracer(x, y, [0, 1], n_epoch=bad)


def test_a_numpy_epoch_is_an_int(tracer):
    x, y = batch(2)
    tracer(x, y, [0, 1], n_epoch=np.int64(4))
    tracer.wait_for_save()
    assert {row["n_epoch"] for row in stored(INPUTS)} == {4}


@pytest.mark.parametrize("bad", ["", "  ", None, 3, "a\nb", "x" * 256], ids=repr)
def test_names_must_be_storable(bad):
    with pytest.raises(InputError, match="model_name"):
        ClassificationTracer(fitted_net(), bad, "v1")
    with pytest.raises(InputError, match="version_name"):
        ClassificationTracer(fitted_net(), "blobs", bad)


def test_another_architecture_under_the_same_name_is_an_error_that_says_so():
    ClassificationTracer(fitted_net(), "blobs", "v1")
    with pytest.raises(ArchitectureMismatchError) as caught:
        ClassificationTracer(BlobNet(hidden=32), "blobs", "v2")
    assert (
        "was first used with architecture BlobNet (212 parameters, body.0.weight (16, 8) to head.weight (4, 16)), "
        "got BlobNet (420 parameters, body.0.weight (32, 8) to head.weight (4, 32));" in str(caught.value)
    )


def test_force_table_recreate_removes_this_version_and_spares_its_neighbour():
    x, y = batch(2)
    for version in ("v1", "v2"):
        tracer = ClassificationTracer(fitted_net(), "blobs", version)
        tracer(x, y, [0, 1])
        tracer.wait_for_save()
    ClassificationTracer(fitted_net(), "blobs", "v1", force_table_recreate=True)
    assert stored(INPUTS, RunKey("blobs", "v1")) == []
    assert len(stored(INPUTS, RunKey("blobs", "v2"))) == 2


def test_a_callable_needs_no_torch_and_its_name_is_bound_at_its_first_call():
    weights = np.eye(3, dtype=np.float32)
    tracer = ClassificationTracer(lambda x: x @ weights, "plain", "v1", force_table_recreate=True)
    tracer(np.eye(3, dtype=np.float32), [0, 1, 2], [0, 1, 2])
    tracer.wait_for_save()
    rows = stored(RECORDS, RunKey("plain", "v1"))
    assert [row["label"] for row in rows] == [0, 1, 2]
    assert {row["weights_hash"] for row in rows} == {None}
    other = ClassificationTracer(lambda x: x[:, :2], "plain", "v1")
    with pytest.raises(ArchitectureMismatchError, match=r"\(3 classes, no features\), got callable \(2 classes,"):
        other(np.eye(3, dtype=np.float32), [0, 1, 0], [0, 1, 2])


def test_weights_hash_changes_with_a_training_step_and_not_otherwise():
    net = fitted_net()
    tracer = ClassificationTracer(net, "blobs", "v1")
    x, y = batch(4)
    tracer(x, y, [0, 1, 2, 3], "first")
    tracer(x, y, [0, 1, 2, 3], "again")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(tracer(x, y, [0, 1, 2, 3], "again"), y).backward()
    optimizer.step()
    tracer(x, y, [0, 1, 2, 3], "stepped")
    tracer.wait_for_save()
    hashes = {
        tag: {row["weights_hash"] for row in stored(INPUTS, dataset_types=(tag,))}
        for tag in ("first", "again", "stepped")
    }
    assert hashes["first"] == hashes["again"] != hashes["stepped"]


def test_an_empty_batch_is_normal(tracer):
    tracer(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64), [])
    tracer.wait_for_save()
    assert stored(INPUTS) == []


def test_an_endpoint_without_a_server_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("MLD_API_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("MLD_API_KEY", "mldbg_test")
    monkeypatch.setenv("MLD_API_RETRIES", "0")
    with pytest.raises(ServiceConnectionError, match=r"nobody answers at http://127\.0\.0\.1:1"):
        ClassificationTracer(fitted_net(), "blobs", "v1")
    ClassificationTracer(fitted_net(), "blobs", "v1", api_endpoint="")


def test_describe_names_the_feature_layer(tracer):
    x, y = batch(2)
    tracer(x, y, [0, 1])
    assert "head" in str(tracer.describe())
