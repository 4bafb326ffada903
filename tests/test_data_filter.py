"""The data filter: scores and flags live, selects afterwards, and the two never disagree."""

import numpy as np
import pytest
import torch

from ml_debugger.columns import BOX_3D_COLUMNS, ZONES
from ml_debugger.data_filter import ClassificationDataFilter, FilterConfig, SamplingConfig
from ml_debugger.errors import (
    ArchitectureMismatchError,
    ConfigError,
    EpochWarning,
    InputError,
    NotFoundError,
    ShortResultWarning,
    WeightsWarning,
)
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ClassificationTracer
from tests.helpers.blobs import BlobNet, fitted_net, make_blobs

POOL = 300


@pytest.fixture
def net():
    return fitted_net()


@pytest.fixture
def result(net):
    return evaluated(net)


def evaluated(net, *, n_epoch=None, **names):
    """Trace train and val rows of a net and evaluate."""
    tracer = ClassificationTracer(net, "blobs", "v1")
    for tag, seed in (("train", 1), ("val", 2)):
        for x, y, ids in make_blobs(400, seed=seed).batches():
            with torch.no_grad():
                tracer(x, y, [f"{tag}{i}" for i in ids], tag, n_epoch)
    return Evaluator("blobs", "v1").request_evaluation(**names)


def filled(net, n=POOL, **options):
    """A filter that has seen a pool of n, and its flags by id."""
    data_filter = ClassificationDataFilter(net, "blobs", "v1", **options)
    flags = {}
    for x, _, ids in make_blobs(n, seed=3).batches():
        with torch.no_grad():
            _, batch_flags = data_filter(x, ids)
        flags.update(zip(ids, batch_flags, strict=True))
    return data_filter, flags


def test_without_a_filter_every_flag_is_none_and_the_output_is_untouched(net, result):
    data_filter = ClassificationDataFilter(net, "blobs", "v1", result.result_name)
    x, _, ids = next(make_blobs(8, seed=3).batches())
    output, flags = data_filter(x, ids)
    torch.testing.assert_close(output, net(x), rtol=0, atol=0)
    assert flags == [None] * 8


def test_scores_has_the_documented_columns_and_values(net, result):
    data_filter, _ = filled(net)
    frame = data_filter.scores()
    assert list(frame.columns) == [
        "input_id", "unit", "dataset_type", "n_epoch", "label", "score", "error_proba", "zone", "support"
    ]  # fmt: skip
    assert sorted(frame["input_id"]) == list(range(POOL))
    assert frame["error_proba"].between(0, 1).all()
    assert frame["support"].between(0, 1).all()
    assert set(frame["zone"]) <= set(ZONES)
    assert {str(frame[name].dtype) for name in ("unit", "label")} == {"int64"}
    assert frame["n_epoch"].isna().all()
    logits = net(torch.from_numpy(make_blobs(POOL, seed=3).x)).detach()
    by_id = frame.set_index("input_id").sort_index()
    assert by_id["label"].tolist() == logits.argmax(1).tolist()
    np.testing.assert_allclose(by_id["score"], torch.softmax(logits.double(), 1).max(1).values, atol=1e-6)


def test_a_pool_adaptive_column_on_request(net, result):
    data_filter, _ = filled(net)
    plain, adapted = data_filter.scores(), data_filter.scores(pool_adaptive=True)
    assert list(adapted.columns) == [*plain.columns, "error_proba_pool"]
    assert adapted["error_proba_pool"].between(0, 1).all()
    assert adapted.sort_values("error_proba")["error_proba_pool"].is_monotonic_increasing
    limit = float(adapted["error_proba_pool"].nlargest(40).iloc[-1])
    found = data_filter.query(POOL, {"conditions": [{"error_proba_pool": f">={limit!r}"}]}, pool_adaptive=True)
    assert set(found) == set(adapted.loc[adapted["error_proba_pool"] >= limit, "input_id"])


def test_a_pool_adaptive_condition_without_the_option_says_what_to_do(net, result):
    data_filter, _ = filled(net, 8)
    with pytest.raises(ConfigError, match="pass pool_adaptive=True to query"):
        data_filter.query(5, {"conditions": [{"error_proba_pool": ">0.5"}]})
    with pytest.raises(ConfigError, match="filter_config cannot name it"):
        ClassificationDataFilter(net, "blobs", "v1", filter_config={"conditions": [{"error_proba_pool": ">0.5"}]})


def test_the_accuracy_of_a_pool_without_labels(net, result):
    data_filter, _ = filled(net)
    pool = make_blobs(POOL, seed=3)
    truth = (net(torch.from_numpy(pool.x)).argmax(1).numpy() == pool.y).mean()
    found = data_filter.estimate_accuracy()
    assert found.n_rows == POOL
    assert found.low <= truth <= found.high
    assert found.warning is None
    assert found.mean_error_proba == pytest.approx(data_filter.scores()["error_proba"].mean())


def test_the_accuracy_of_a_drifted_pool_comes_with_its_outliers(net, result):
    data_filter = ClassificationDataFilter(net, "blobs", "v1")
    far = make_blobs(200, seed=4, spread=6.0)
    with torch.no_grad():
        data_filter(torch.from_numpy(far.x), [f"far{i}" for i in range(200)], "far")
    found = data_filter.estimate_accuracy("far")
    zones = data_filter.scores("far")["zone"]
    assert found.outlier_share == (zones == "aleatoric_hotspot").mean() > 0.1
    assert "outliers" in found.warning
    assert f"{found.outlier_share:.1%} of them outliers" in str(found)


def test_the_accuracy_of_nothing_is_refused(net, result):
    with pytest.raises(NotFoundError, match="no scored rows of dataset_type 'pool'"):
        ClassificationDataFilter(net, "blobs", "v1").estimate_accuracy()


def test_scores_of_nothing_is_an_empty_frame_with_the_same_columns(net, result):
    data_filter = ClassificationDataFilter(net, "blobs", "v1")
    frame = data_filter.scores()
    assert len(frame) == 0
    assert list(frame.columns)[:2] == ["input_id", "unit"]
    assert list(data_filter.scores(pool_adaptive=True).columns) == [*frame.columns, "error_proba_pool"]


def test_error_proba_finds_real_errors(net, result):
    data_filter, _ = filled(net)
    pool = make_blobs(POOL, seed=3)
    wrong = net(torch.from_numpy(pool.x)).detach().argmax(1).numpy() != pool.y
    top = data_filter.query(50, "high_error_proba")
    bottom = data_filter.query(50, "low_error_proba")
    assert wrong[top].mean() > 1.5 * wrong.mean()
    assert wrong[bottom].mean() < 0.5 * wrong.mean()


@pytest.mark.parametrize(
    "config",
    [
        {"target_zones": ["critical_hotspot", "hotspot"]},
        {"conditions": [{"error_proba": ">=0.3"}]},
        {"conditions": [{"error_proba": ">=0.2", "score": "<0.7"}, {"score": ">0.99"}]},
        {"target_zones": ["stable_coverage"], "conditions": [{"error_proba": ">0.5"}]},
        FilterConfig(target_zones=["operational_coverage"]),
    ],
    ids=str,
)
def test_flags_and_query_agree(net, result, config):
    data_filter, flags = filled(net, filter_config=config)
    assert {type(flag) for flag in flags.values()} == {bool}
    flagged = {name for name, flag in flags.items() if flag is True}
    queried = data_filter.query(10 * POOL, config)
    assert set(queried) == flagged
    assert len(queried) == len(flagged)
    probabilities = data_filter.scores().set_index("input_id")["error_proba"][queried].to_numpy()
    assert (np.diff(probabilities) <= 0).all(), "matches come highest error_proba first"


def test_filter_config_never_narrows_query(net, result):
    data_filter, _ = filled(net, filter_config={"conditions": [{"error_proba": ">2"}]})
    assert len(data_filter.query(20, "high_error_proba")) == 20


@pytest.mark.parametrize(
    "strategy",
    ["high_error_proba", "low_error_proba", "diverse_error", "coverage", "badge", "zone_balanced", "random"],
)
def test_every_named_strategy_gives_distinct_ids_the_same_each_time(net, result, strategy):
    data_filter, _ = filled(net)
    first = data_filter.query(40, strategy)
    assert len(set(first)) == 40
    assert all(type(name) is int for name in first)
    assert data_filter.query(40, strategy) == first
    rest = data_filter.query(40, strategy, exclude=first)
    assert not set(rest) & set(first)


def test_sampling_config_draws_within_bounds(net, result):
    data_filter, _ = filled(net)
    drawn = data_filter.query(10, "high_error_proba", sampling=SamplingConfig(method="random", max_value=0.2, seed=1))
    probabilities = data_filter.scores().set_index("input_id")["error_proba"][drawn]
    assert len(drawn) == 10
    assert (probabilities <= 0.2).all()


def test_fewer_than_asked_for_warns_for_a_sort_and_not_for_a_filter(net, result):
    data_filter, _ = filled(net, n=20)
    with pytest.warns(ShortResultWarning, match="20"):
        assert len(data_filter.query(50, "high_error_proba")) == 20
    assert len(data_filter.query(50, {"conditions": [{"error_proba": ">=0"}]})) == 20


def test_type_cast_and_dataset_type(net, result):
    data_filter, _ = filled(net)
    x, _, ids = next(make_blobs(8, seed=4).batches())
    data_filter(x, [f"s{i}" for i in ids], dataset_type="stream")
    assert sorted(data_filter.query(8, "high_error_proba", "stream")) == [f"s{i}" for i in ids]
    assert all(type(i) is str for i in data_filter.query(3, "high_error_proba", type_cast=str))
    with pytest.raises(InputError, match="cannot convert"):
        data_filter.query(3, "high_error_proba", "stream", int)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("highest", "high_error_proba"),
        ({"target_zones": ["hot"]}, "critical_hotspot"),
        ({"conditions": [{"error": ">0.5"}]}, "error_proba"),
        ({"conditions": [{"error_proba": "~0.5"}]}, ">="),
        ({"conditions": [{"error_proba": ">=high"}]}, "number"),
        ({"zones": ["hotspot"]}, "target_zones"),
        (3, "strategy"),
    ],
)
def test_a_bad_strategy_is_refused_with_what_is_allowed(net, result, strategy, message):
    data_filter, _ = filled(net, n=20)
    with pytest.raises(ConfigError, match=message):
        data_filter.query(5, strategy)


def test_a_bad_filter_config_is_refused_at_construction(net, result):
    with pytest.raises(ConfigError, match="critical_hotspot"):
        ClassificationDataFilter(net, "blobs", "v1", filter_config={"target_zones": ["hot"]})


def test_numeric_additional_fields_can_be_conditions(net, result):
    data_filter = ClassificationDataFilter(
        net,
        "blobs",
        "v1",
        filter_config={"conditions": [{"lux": ">=5"}]},
        additional_fields=[{"name": "lux", "type": "float"}],
    )
    x, _, ids = next(make_blobs(8, seed=3).batches())
    _, flags = data_filter(x, ids, lux=[float(i) for i in ids])
    assert flags == [i >= 5 for i in ids]
    assert sorted(data_filter.query(8, {"conditions": [{"lux": ">=5"}]})) == [5, 6, 7]
    assert data_filter.scores().set_index("input_id")["lux"][6] == 6.0


def test_fields_named_as_numbers_of_a_box_in_space_are_fields_as_any_other(net, result):
    """Workspaces from before boxes in space have such fields."""
    data_filter = ClassificationDataFilter(
        net,
        "blobs",
        "v1",
        filter_config={"conditions": [{"x": ">=5", "yaw": "<7"}]},
        additional_fields=[{"name": name, "type": "float"} for name in BOX_3D_COLUMNS],
    )
    x, _, ids = next(make_blobs(8, seed=3).batches())
    _, flags = data_filter(x, ids, **{name: [float(i) for i in ids] for name in BOX_3D_COLUMNS})
    assert flags == [i in (5, 6) for i in ids]
    assert sorted(data_filter.query(8, {"conditions": [{"x": ">=5", "yaw": "<7"}]})) == [5, 6]
    frame = data_filter.scores().set_index("input_id")
    assert frame.loc[6, list(BOX_3D_COLUMNS)].tolist() == [6.0] * 7


def test_no_result_yet_says_what_to_do(net):
    ClassificationTracer(net, "blobs", "v1")
    with pytest.raises(NotFoundError, match="request_evaluation"):
        ClassificationDataFilter(net, "blobs", "v1")


def test_an_unknown_result_is_named(net, result):
    with pytest.raises(NotFoundError, match="'nothing'"):
        ClassificationDataFilter(net, "blobs", "v1", "nothing")


def test_without_a_name_the_newest_result_is_taken_and_said(net, result, caplog):
    newest = Evaluator("blobs", "v1").request_evaluation()
    assert newest.result_name != result.result_name
    data_filter = ClassificationDataFilter(net, "blobs", "v1")
    assert data_filter.result_name == newest.result_name
    assert newest.result_name in caplog.text


def test_other_weights_warn_and_other_architectures_are_refused(net, result):
    with pytest.warns(WeightsWarning, match=result.result_name):
        ClassificationDataFilter(fitted_net(seed=5), "blobs", "v1", result.result_name)
    with pytest.raises(ArchitectureMismatchError):
        ClassificationDataFilter(BlobNet(hidden=32), "blobs", "v1", result.result_name)


def test_the_epoch_is_the_results_and_another_explicit_one_warns(net):
    result = evaluated(net, n_epoch=5)
    with pytest.warns(EpochWarning, match="n_epoch=3.*epoch 5"):
        data_filter = ClassificationDataFilter(net, "blobs", "v1", result.result_name, 3)
    assert data_filter.n_epoch == 5
    data_filter, _ = filled(net, n=20, result_name=result.result_name, n_epoch=5)
    assert set(data_filter.scores()["n_epoch"]) == {5}


def test_without_a_name_n_epoch_chooses_the_newest_result_of_that_epoch(net):
    first = evaluated(net, n_epoch=1)
    evaluated(net, n_epoch=2)
    assert ClassificationDataFilter(net, "blobs", "v1", n_epoch=1).result_name == first.result_name
    with pytest.raises(NotFoundError, match="epoch 9"):
        ClassificationDataFilter(net, "blobs", "v1", n_epoch=9)


def test_another_result_scores_stored_rows_anew_without_inference(net, result):
    filled(net, n=64, result_name=result.result_name)
    other = Evaluator("blobs", "v1").request_evaluation(options={"fit_on": ["train"], "bank_from": ["val"]})
    data_filter = ClassificationDataFilter(net, "blobs", "v1", other.result_name)
    frame = data_filter.scores()
    assert len(frame) == 64, "no batch went through this filter: the rows come from the first one's features"
    assert len(data_filter.query(10, "high_error_proba")) == 10


def test_live_and_rescored_probabilities_agree_to_the_bit(net, result):
    live, _ = filled(net, n=100, result_name=result.result_name)
    same = Evaluator("blobs", "v1").request_evaluation()
    rescored = ClassificationDataFilter(net, "blobs", "v1", same.result_name).scores()
    left = live.scores().set_index("input_id").sort_index()
    right = rescored.set_index("input_id").sort_index()
    assert left["error_proba"].tolist() == right["error_proba"].tolist()
    assert left["zone"].tolist() == right["zone"].tolist()


def test_scope_pass_sees_only_what_this_object_recorded(net, result):
    filled(net, n=64)
    data_filter, _ = filled(net, n=10)
    assert len(data_filter.scores()) == 64
    assert len(data_filter.scores(scope="pass")) == 10
    assert sorted(data_filter.query(10, "high_error_proba", scope="pass")) == list(range(10))
    with pytest.raises(InputError, match="scope"):
        data_filter.scores(scope="all")


def test_a_plain_callable_reads_its_own_pass_by_default():
    weights = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)

    def model(x):
        return x @ weights, x

    tracer = ClassificationTracer(model, "plain", "v1")
    for tag, seed in (("train", 1), ("val", 2)):
        data = make_blobs(400, seed=seed)
        tracer(data.x, data.y, [f"{tag}{i}" for i in range(400)], tag)
    Evaluator("plain", "v1").request_evaluation()
    for n in (30, 12):
        data_filter = ClassificationDataFilter(model, "plain", "v1")
        data_filter(make_blobs(n, seed=3).x, list(range(n)))
        assert len(data_filter.scores()) == n
        assert sorted(data_filter.query(n, "high_error_proba")) == list(range(n))
    assert len(data_filter.scores(scope="run")) == 30


def test_notes_of_a_query_are_logged(caplog):
    def model(x):
        return x[:, :4]

    tracer = ClassificationTracer(model, "bare", "v1")
    data = make_blobs(300, seed=1)
    tracer(data.x, data.y, list(range(300)), "val")
    Evaluator("bare", "v1").request_evaluation()
    data_filter = ClassificationDataFilter(model, "bare", "v1")
    data_filter(make_blobs(20, seed=3).x, list(range(20)))
    caplog.clear()
    assert len(data_filter.query(5, "diverse_error")) == 5
    assert caplog.messages == ["query: the model shows no features: its logits stand in for them"]


def test_the_active_learning_loop_with_the_same_names_never_returns_an_id_twice():
    pool, train, seen = list(range(200)), list(range(1000, 1040)), set()
    data = make_blobs(1400, seed=8)
    for step in range(3):
        net = fitted_net(seed=step, steps=60 + 30 * step)
        tracer = ClassificationTracer(net, "loop", "v1")
        tracer(torch.from_numpy(data.x[train]), data.y[train], train)
        held_out = list(range(1100, 1400))
        tracer(torch.from_numpy(data.x[held_out]), data.y[held_out], held_out, "val")
        result = Evaluator("loop", "v1").request_evaluation()
        data_filter = ClassificationDataFilter(net, "loop", "v1", result.result_name)
        data_filter(torch.from_numpy(data.x[pool]), pool)
        queried = data_filter.query(n_data=25, strategy="high_error_proba")
        assert not set(queried) & seen
        seen |= set(queried)
        train += queried
        pool = list(set(pool) - set(queried))
        assert len(pool) == 200 - 25 * (step + 1)
        assert all(type(i) is int for i in train)
