"""Evaluations of runs of every kind: a result, or an error that says what is missing."""

from __future__ import annotations

import json
import warnings
from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from ml_debugger.columns import ZONES
from ml_debugger.errors import ConfigError, EvaluationError, EvaluationWarning, InputError
from ml_debugger.estimation.metrics import auroc
from ml_debugger.service.evaluation import Evaluation, run_evaluation
from ml_debugger.tasks.scoring import score_rows
from tests.helpers.labelled_runs import TASK, Part, Run, error_pair, make_part, request


def evaluate(parts: dict[str, Part], fields=None, shuffle=None, **options) -> Evaluation:
    return run_evaluation(request(**options), TASK, Run(parts, fields, shuffle).read, fields=tuple(fields or ()))


def quietly(parts: dict[str, Part], **options) -> Evaluation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EvaluationWarning)
        return evaluate(parts, **options)


@cache
def usual() -> Evaluation:
    return evaluate({"train": make_part(500, 1), "val": make_part(900, 2)})


def column(result: Evaluation, name: str) -> np.ndarray:
    return np.array(result.samples[name].to_pylist())


def test_learns_where_the_model_errs() -> None:
    metrics = usual().metrics
    assert metrics["auroc"] > metrics["baseline"]["auroc"] + 0.05
    assert metrics["nll"] < metrics["baseline"]["nll"]
    assert metrics["ece"] < 0.05
    assert usual().info["estimator"]["error_proba"]["used"] == ["signed_ridge"]


def test_metrics_are_those_of_the_samples_with_intervals() -> None:
    metrics = usual().metrics
    wrong = column(usual(), "is_error")
    assert metrics["error_rate"] == pytest.approx(wrong.mean()) == pytest.approx(1 - metrics["accuracy"])
    assert metrics["auroc"] == pytest.approx(auroc(column(usual(), "error_proba"), wrong))
    for name in ("accuracy", "error_rate", "auroc", "e_aurc", "brier", "nll"):
        for table in (metrics, metrics["baseline"]):
            assert table[f"{name}_low"] <= table[name] <= table[f"{name}_high"]


def test_samples_are_the_held_out_rows() -> None:
    samples = usual().samples
    assert samples.num_rows == 900
    assert set(samples["dataset_type"].to_pylist()) == {"val"}
    expected = [
        "input_id", "id_kind", "recording_id", "unit", "dataset_type", "n_epoch", "label", "score", "error_proba",
        "zone",
        "support", "truth", "is_error", "error_code", "ignored",
    ]  # fmt: skip
    assert samples.schema.names == expected
    np.testing.assert_array_equal(column(usual(), "is_error"), column(usual(), "truth") != column(usual(), "label"))
    assert samples["error_code"].null_count == 0


def test_zones_and_codes_count_every_sample_once() -> None:
    zones = usual().zones.to_pylist()
    assert [row["zone"] for row in zones] == list(ZONES)
    assert sum(row["count"] for row in zones) == 900
    assert sum(usual().error_codes["count"].to_pylist()) == 900
    rate = {row["zone"]: row["error_rate"] for row in zones}
    ordered = [rate[zone] for zone in ("stable_coverage", "operational_coverage", "hotspot") if rate[zone] is not None]
    assert len(ordered) >= 2
    assert ordered == sorted(ordered)


def test_live_zones_are_those_of_the_result() -> None:
    """What the model says of certification rows, which nothing was fitted on, is what the result says of them."""
    run = Run({"val": make_part(900, 2)})
    result = evaluate({"train": make_part(500, 1), "val": make_part(900, 2)}, bootstrap=0, certification_share=1 / 3)
    scored = score_rows(TASK, result.model, run.tables["records"], "r")
    by_id = dict(zip(result.samples["input_id"].to_pylist(), column(result, "error_proba").tolist(), strict=True))
    same = sum(by_id[row["input_id"]] == row["error_proba"] for row in scored.to_pylist())
    assert same >= result.info["promise"]["certification_rows"] == 300
    assert result.info["promise"]["certified_on"] == "split"


def test_everything_is_json() -> None:
    json.dumps([usual().info, usual().metrics, dict(usual().model.meta)], allow_nan=False)
    assert set(usual().info["limits"]) == {"min_support", "t_hi", "c_hi", "c_lo", "t_lo"}
    assert usual().info["roles"] == {"fit_on": ["val"], "bank_from": ["train"]}


def test_the_order_in_the_store_does_not_matter() -> None:
    first = evaluate({"train": make_part(200, 1), "val": make_part(300, 2)}, shuffle=1, bootstrap=0)
    second = evaluate({"train": make_part(200, 1), "val": make_part(300, 2)}, shuffle=2, bootstrap=0)
    assert first.samples.drop_columns("recording_id").equals(second.samples.drop_columns("recording_id"))
    assert first.model.to_bytes() == second.model.to_bytes()


def test_stages_are_told() -> None:
    told: list[tuple[str, float]] = []
    parts = {"train": make_part(100, 1), "val": make_part(100, 2)}
    run_evaluation(request(bootstrap=0), TASK, Run(parts).read, lambda stage, done: told.append((stage, done)))
    assert [done for _, done in told] == sorted(done for _, done in told)
    assert told[-1][1] == 1.0


def test_additional_fields_are_carried() -> None:
    parts = {"train": make_part(60, 1), "val": make_part(80, 2)}
    result = evaluate(parts, fields={"weather": [f"w{row}" for row in range(140)]}, bootstrap=0)
    by_id = dict(zip(result.samples["input_id"].to_pylist(), result.samples["weather"].to_pylist(), strict=True))
    assert by_id["0"] == "w60"
    assert by_id["79"] == "w139"


@pytest.mark.parametrize("tag", ["val", "golden set"])
def test_one_held_out_tag_serves_both_by_cross_fitting(tag: str) -> None:
    result = evaluate({tag: make_part(600, 2)})
    assert result.info["roles"] == {"fit_on": [tag], "bank_from": [tag]}
    assert result.metrics["auroc"] > result.metrics["baseline"]["auroc"] + 0.03


def test_train_only_with_errors_is_used_and_said() -> None:
    result = evaluate({"train": make_part(600, 1)}, bootstrap=0)
    assert result.samples.num_rows == 600
    assert any("training rows only" in note for note in result.info["notes"])
    assert "only training rows are labelled" in result.info["promise"]["sentence"]
    assert result.info["limits"]["t_lo"] == 0, "what holds on training rows is no promise for others"


def test_train_only_without_errors_says_what_to_trace() -> None:
    part = make_part(600, 1)
    right = part.subset(part.logits.argmax(axis=1) == part.labels)
    with pytest.warns(EvaluationWarning, match="trace held-out labelled inputs"):
        result = evaluate({"train": right}, bootstrap=0)
    assert "only training rows" in result.info["estimator"]["error_proba"]["reason"]


def test_roles_can_be_chosen() -> None:
    parts = {tag: make_part(200, seed) for seed, tag in enumerate(("train", "val", "test"))}
    result = evaluate(parts, fit_on=["test"], bank_from=["train", "val"], bootstrap=0)
    assert set(result.samples["dataset_type"].to_pylist()) == {"test"}
    default = evaluate(parts, bootstrap=0)
    assert set(default.samples["dataset_type"].to_pylist()) == {"test", "val"}
    shared = evaluate(parts, bank_from=["train", "val"], fit_on=["val"], bootstrap=0)
    assert shared.samples.num_rows == 200
    with pytest.raises(ConfigError, match=r"fit_on: no labelled rows of dataset_type \['vall'\]; labelled are"):
        evaluate(parts, fit_on=["vall"])


def test_nothing_labelled() -> None:
    part = make_part(50)
    with pytest.raises(EvaluationError, match="no labelled rows"):
        evaluate({"pool": Part(part.features, part.logits, None)})


def test_truths_without_their_records() -> None:
    run = Run({"val": make_part(30)})
    run.tables["records"] = run.tables["records"].slice(0, 0)
    with pytest.raises(EvaluationError, match="no record has a truth"):
        run_evaluation(request(), TASK, run.read)


def test_rows_without_a_label_are_left_out_and_counted() -> None:
    part = make_part(300, 2)
    part.labels = [None if row < 40 else int(label) for row, label in enumerate(part.labels)]
    result = evaluate({"train": make_part(200, 1), "val": part}, bootstrap=0)
    assert result.samples.num_rows == 260
    assert any("40 of 500 traced rows" in note for note in result.info["notes"])


def test_too_few_rows_say_how_many_there_are() -> None:
    with pytest.raises(EvaluationError, match="too few labelled rows: 19 of val, an evaluation needs at least 20"):
        evaluate({"train": make_part(100, 1), "val": make_part(19, 2)})
    assert quietly({"train": make_part(100, 1), "val": make_part(20, 2)}).samples.num_rows == 20


def test_few_bank_rows_are_helped_out() -> None:
    result = evaluate({"train": make_part(5, 1), "val": make_part(300, 2)}, bootstrap=0)
    assert any("only 5 usable rows of train" in note for note in result.info["notes"])


def only(part: Part, chosen: np.ndarray) -> Part:
    return part.subset(chosen)


def test_no_errors_at_all() -> None:
    part = make_part(500, 2)
    right = only(part, part.logits.argmax(axis=1) == part.labels)
    with pytest.warns(EvaluationWarning, match="is wrong"):
        result = evaluate({"train": make_part(300, 1), "val": right}, bootstrap=20)
    assert result.metrics["auroc"] is None
    assert result.metrics["error_rate"] == 0.0
    assert result.info["estimator"]["error_proba"]["used"] == ["baseline"]
    proba = column(result, "error_proba")
    assert proba.max() < 0.2
    assert len(np.unique(proba)) > 100


def test_everything_wrong() -> None:
    part = make_part(900, 2)
    wrong = only(part, part.logits.argmax(axis=1) != part.labels)
    with pytest.warns(EvaluationWarning, match="held-out rows are wrong: check that labels"):
        result = evaluate({"train": make_part(300, 1), "val": wrong}, bootstrap=20)
    assert result.metrics["error_rate"] == 1.0
    assert column(result, "error_proba").min() > 0.5


def test_one_class_only() -> None:
    part = make_part(900, 2)
    result = evaluate({"train": make_part(300, 1), "val": only(part, part.labels == 1)}, bootstrap=0)
    assert any("annotated class 1" in note for note in result.info["notes"])


def test_few_errors_are_calibrated_only() -> None:
    part = make_part(500, 2)
    chosen = part.logits.argmax(axis=1) == part.labels
    chosen[np.flatnonzero(~chosen)[:7]] = True
    result = evaluate({"train": make_part(300, 1), "val": only(part, chosen)}, bootstrap=0)
    assert "7 errors among" in result.info["estimator"]["error_proba"]["reason"]
    assert any("7 errors among" in note for note in result.info["notes"])


def test_non_finite_rows_are_outliers_and_not_learned_from() -> None:
    part = make_part(600, 2)
    part.features, part.logits = part.features.copy(), part.logits.copy()
    part.features[:20], part.logits[20:30] = np.nan, np.inf
    train = make_part(300, 1)
    train.features = train.features.copy()
    train.features[:5] = np.inf
    with pytest.warns(EvaluationWarning, match="30 held-out rows have NaN or infinite values"):
        result = evaluate({"train": train, "val": part}, bootstrap=0)
    zones = dict(zip(result.samples["input_id"].to_pylist(), result.samples["zone"].to_pylist(), strict=True))
    assert {zones[str(row)] for row in range(30)} == {"aleatoric_hotspot"}
    assert result.samples.num_rows == 600
    assert np.isfinite(column(result, "error_proba")).all()
    assert all(np.isfinite(array).all() for array in result.model.arrays.values())


def test_mostly_broken_features_leave_the_logits() -> None:
    part = make_part(300, 2)
    part.features = np.full_like(part.features, np.nan)
    with pytest.warns(EvaluationWarning, match="the logits are used instead"):
        result = evaluate({"train": make_part(100, 1), "val": part}, bootstrap=0)
    assert result.info["vectors"] == "logits"


def test_broken_logits_everywhere() -> None:
    part = make_part(100, 2)
    part.logits = np.full_like(part.logits, np.nan)
    with pytest.raises(EvaluationError, match="too few usable rows: 100 of 100"):
        evaluate({"train": make_part(100, 1), "val": part})
    part.features = np.full_like(part.features, np.nan)
    with pytest.raises(EvaluationError, match="too few usable rows: 100 of 100"):
        evaluate({"val": part})  # and no warning of "0 of 100 rows"


def test_without_features_the_logits_do() -> None:
    train, val = make_part(400, 1), make_part(600, 2)
    result = evaluate(
        {"train": Part(None, train.logits, train.labels), "val": Part(None, val.logits, val.labels)}, bootstrap=0
    )
    assert result.info["vectors"] == "logits"
    assert any("shows no features" in note for note in result.info["notes"])
    scored = score_rows(TASK, result.model, Run({"pool": Part(None, val.logits, None)}).tables["records"], "r")
    assert np.isfinite(scored["error_proba"].to_numpy()).all()


def test_changing_widths_are_refused() -> None:
    with pytest.raises(InputError, match="expected vectors of one length"):
        evaluate({"train": make_part(2000, 1, width=5), "val": make_part(2000, 2, width=6)})


@pytest.mark.parametrize(("n_classes", "width"), [(2, 3), (1000, 4), (3, 700), (4, 1)])
def test_any_shape(n_classes: int, width: int) -> None:
    parts = {
        "train": make_part(150, 1, n_classes=n_classes, width=width),
        "val": make_part(150, 2, n_classes=n_classes, width=width),
    }
    result = quietly(parts, bootstrap=0)
    assert np.isfinite(column(result, "error_proba")).all()


def test_classes_unseen_in_the_bank_and_constant_features() -> None:
    train = make_part(300, 1)
    train = only(train, train.labels < 2)
    val = make_part(300, 2)
    train.features, val.features = (
        np.concatenate([part.features, np.ones((len(part.logits), 3))], axis=1) for part in (train, val)
    )
    assert np.isfinite(column(evaluate({"train": train, "val": val}, bootstrap=0), "support")).all()


def test_the_same_input_in_several_epochs_is_one_group() -> None:
    first, second = make_part(100, 2), make_part(100, 3)
    first.n_epoch, second.n_epoch = 1, 2
    run = Run({"a": first, "b": second})
    for kind in run.tables:
        position = run.tables[kind].schema.get_field_index("dataset_type")
        run.tables[kind] = run.tables[kind].set_column(position, "dataset_type", pa.array(["val"] * 200))
    from ml_debugger.service.evaluation_options import EvaluationOptions
    from ml_debugger.service.evaluation_rows import group_rows, read_rows

    rows = read_rows(TASK, run.read, (), EvaluationOptions())
    groups, copies = group_rows(rows, np.ones(200, dtype=bool))
    assert len(np.unique(groups)) == 100
    assert copies == 0


def test_copies_do_not_leak() -> None:
    """Every row under two ids, labels at random: a neighbour would know its copy's label, the estimate must not."""
    random = np.random.default_rng(0)
    part = make_part(300, 2)
    part.labels = np.where(random.random(300) < 0.5, part.logits.argmax(axis=1), (part.logits.argmax(axis=1) + 1) % 4)
    double = part.subset(np.repeat(np.arange(300), 2))
    result = evaluate({"val": double}, bootstrap=0)
    assert any("300 rows are exact copies" in note for note in result.info["notes"])
    assert abs(result.metrics["auroc"] - 0.5) < 0.1
    across = evaluate({"train": part, "val": part}, bootstrap=0)
    assert abs(across.metrics["auroc"] - 0.5) < 0.1


def test_discrete_outputs_are_not_taken_for_copies() -> None:
    part = make_part(400, 2)
    part.features, part.logits = (
        np.sign(part.features[:, :2]),
        part.logits.round()[:, :4] * 0 + np.sign(part.features[:, :1]),
    )
    part.logits = np.repeat(np.array([[2.0, 1.0, 0.0, 0.0], [0.0, 1.0, 2.0, 0.0]], dtype=np.float32), 200, axis=0)
    result = quietly({"val": part}, bootstrap=0)
    assert not any("copies" in note for note in result.info["notes"])


def test_shuffled_labels_fall_back_to_the_calibrated_confidence() -> None:
    part = make_part(600, 2)
    random = np.random.default_rng(3)
    label = part.logits.argmax(axis=1)
    part.labels = np.where(random.random(600) < 0.3, (label + 1) % 4, label)
    result = evaluate({"train": make_part(300, 1), "val": part})
    assert result.info["estimator"]["error_proba"]["used"] == ["baseline"]
    assert any(note.startswith("error_proba is the calibrated confidence: ") for note in result.info["notes"])
    assert abs(result.metrics["auroc"] - 0.5) < 0.08


def test_large_runs_are_subsampled_the_same_way() -> None:
    parts = {"train": make_part(700, 1), "val": make_part(900, 2)}
    options = {"max_fit_rows": 300, "max_bank_rows": 200, "bootstrap": 0}
    first, second = (evaluate(parts, shuffle=seed, **options) for seed in (1, 2))
    assert first.samples.num_rows == 300
    assert first.samples["input_id"].equals(second.samples["input_id"])
    assert sum("are used (max_" in note for note in first.info["notes"]) == 2
    other = evaluate(parts, **options, seed=5)
    assert not first.samples["input_id"].equals(other.samples["input_id"])


def test_promises_and_their_absence() -> None:
    promise = usual().info["promise"]
    assert promise["rows"] > 0
    assert promise["bound"] <= promise["risk"] == pytest.approx(usual().metrics["error_rate"] / 3)
    row = usual().zones.to_pylist()[0]
    assert row["zone"] == "stable_coverage"
    assert row["promise"] == promise["sentence"]
    few = evaluate({"train": make_part(100, 1), "val": make_part(30, 2)}, bootstrap=0)
    assert few.info["limits"]["t_lo"] == 0
    assert "label about" in few.info["promise"]["sentence"]
    assert few.zones.to_pylist()[0]["count"] == 0
    strict = evaluate({"train": make_part(500, 1), "val": make_part(900, 2)}, stable_risk=0.001, bootstrap=0)
    assert strict.info["limits"]["t_lo"] == 0


def test_rows_next_to_a_hotspot_are_not_stable_whatever_can_be_promised() -> None:
    result = evaluate({"train": make_part(500, 1), "val": make_part(900, 2)}, bootstrap=0, stable_risk=0.9)
    limits = result.info["limits"]
    assert 0.0 < limits["t_lo"] <= limits["t_hi"] / 2
    assert all(row["count"] for row in result.zones.to_pylist() if row["zone"].endswith("_coverage"))


def test_promises_given_up() -> None:
    result = evaluate({"train": make_part(300, 1), "val": make_part(600, 2)}, bootstrap=0, t_lo=0.04)
    assert "t_lo was set" in result.info["promise"]["sentence"]
    assert result.info["limits"]["t_lo"] == 0.04


def test_a_third_of_the_error_rate_or_half_of_it() -> None:
    """Every tenth label is wrong, which no estimate can see: a third cannot be promised, half can."""
    part = make_part(3000, 2)
    label = part.logits.argmax(axis=1)
    wrong = label != np.asarray(part.labels)
    noisy = np.random.default_rng(0).random(3000) < 0.07
    part.labels = np.where(noisy & ~wrong, (label + 1) % 4, part.labels)
    result = evaluate({"train": make_part(500, 1), "val": part}, bootstrap=0)
    assert result.info["promise"]["risk"] == pytest.approx(result.metrics["error_rate"] / 2)
    assert result.info["promise"]["bound"] <= result.info["promise"]["risk"]
    assert result.zones.to_pylist()[0]["count"] > 300


def test_limits_can_be_set() -> None:
    result = evaluate({"train": make_part(300, 1), "val": make_part(400, 2)}, bootstrap=0, t_hi=0.4, c_lo=0.1, c_hi=0.9)
    assert (result.info["limits"]["t_hi"], result.info["limits"]["c_lo"], result.info["limits"]["c_hi"]) == (
        0.4,
        0.1,
        0.9,
    )
    assert dict(result.model.meta["limits"]) == result.info["limits"]


def test_certification_rows_teach_nothing() -> None:
    """Turning their labels round changes neither the learner nor what it says."""
    parts = {"train": make_part(300, 1), "val": make_part(900, 2)}
    first = evaluate(parts, bootstrap=0, stable_risk=0.05, certification_share=1 / 3)
    run = Run({"val": parts["val"]})
    live = score_rows(TASK, first.model, run.tables["records"], "r")
    live_by_id = dict(zip(live["input_id"].to_pylist(), live["error_proba"].to_pylist(), strict=True))
    ids, proba = first.samples["input_id"].to_pylist(), first.samples["error_proba"].to_pylist()
    certifying = {int(name) for name, value in zip(ids, proba, strict=True) if live_by_id[name] == value}
    assert len(certifying) >= 300
    label = parts["val"].logits.argmax(axis=1)
    labels = np.array(parts["val"].labels)
    chosen = np.array(sorted(certifying))
    labels[chosen] = np.where(labels[chosen] == label[chosen], (label[chosen] + 1) % 4, label[chosen])
    second = evaluate(
        {"train": parts["train"], "val": Part(parts["val"].features, parts["val"].logits, labels)},
        bootstrap=0,
        stable_risk=0.05,
        certification_share=1 / 3,
    )
    for path, array in first.model.arrays.items():
        if not path.startswith("outlier"):
            np.testing.assert_array_equal(array, second.model.arrays[path], err_msg=path)


def test_a_real_small_case() -> None:
    """Handwritten digits and a linear model: errors are found at least about as well as by confidence alone."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order] / 16.0, labels[order]
    model = LogisticRegression(max_iter=200).fit(images[:100], labels[:100])
    parts = {
        tag: Part(
            images[rows].astype(np.float32), model.decision_function(images[rows]).astype(np.float32), labels[rows]
        )
        for tag, rows in (("train", slice(0, 100)), ("val", slice(100, 1000)), ("test", slice(1000, None)))
    }
    result = evaluate({tag: parts[tag] for tag in ("train", "val")})
    scored = score_rows(TASK, result.model, Run({"test": parts["test"]}).tables["records"], "r")
    wrong = parts["test"].logits.argmax(axis=1) != parts["test"].labels
    proba, confidence = scored["error_proba"].to_numpy(), scored["score"].to_numpy()
    assert auroc(proba, wrong) > auroc(-confidence, wrong) - 0.005
    assert abs(proba.mean() - wrong.mean()) < 0.04


@pytest.mark.data
@pytest.mark.parametrize(("name", "least"), [("mnist_cnn", 0.953), ("g36_cnn_lsmix", 0.897), ("mnist9_cnn", 0.937)])
def test_real_pairs_reach_the_reference(name: str, least: float) -> None:
    """AUROC on rows that nothing saw, with a third of val kept for the promise; beside it what was promised."""
    pair = error_pair(name)
    result = evaluate({tag: pair[tag] for tag in ("train", "val")}, bootstrap=0)
    scored = score_rows(TASK, result.model, Run({"test": pair["test"]}).tables["records"], "r")
    wrong = pair["test"].logits.argmax(axis=1) != pair["test"].labels
    assert auroc(scored["error_proba"].to_numpy(), wrong) > least
    stable = np.array(scored["zone"].to_pylist()) == "stable_coverage"
    if stable.any():
        assert wrong[stable].mean() < 1.3 * result.info["promise"]["risk"]
