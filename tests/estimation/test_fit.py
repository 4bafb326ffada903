"""``fit`` knows no task: any table, any targets, any groups."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ml_debugger.estimation import FitSettings, Layout, fit
from ml_debugger.estimation.metrics import auroc
from ml_debugger.estimation.numbers import sigmoid
from tests.estimation.learners.test_signed_ridge import example


def test_the_gate_adopts_what_is_better_and_says_why() -> None:
    design, wrong = example()
    found = fit(design.descriptors, {"error_proba": wrong}, np.arange(len(wrong)), design.baseline)
    record = found.targets["error_proba"]
    assert record["learners"] == ["signed_ridge"]
    assert record["nll"] < record["baseline_nll"]
    figures = f"(log loss {record['nll']:.3f} against {record['baseline_nll']:.3f})"
    assert record["reason"] == f"the learned error model: clearly better than the calibrated confidence {figures}"
    assert auroc(found.out_of_fold["error_proba"], wrong) > auroc(found.baseline["error_proba"], wrong) + 0.1
    assert (record["n_rows"], record["n_errors"]) == (len(wrong), int(wrong.sum()))


@pytest.mark.parametrize("seed", range(8))
def test_shuffled_errors_fall_back_to_the_baseline(seed: int) -> None:
    design, wrong = example(600, seed)
    shuffled = np.random.default_rng(seed).permutation(wrong)
    found = fit(design.descriptors, {"error_proba": shuffled}, np.arange(600), design.baseline)
    record = found.targets["error_proba"]
    assert record["learners"] == []
    gate = (
        r"the calibrated confidence: the learned error model was (no|not clearly) better than (it|the error rate alone)"
    )
    assert re.match(gate + r" \(log loss 0\.\d{3} against 0\.\d{3}(, within chance)?\)$", record["reason"])
    assert abs(auroc(found.out_of_fold["error_proba"], shuffled) - 0.5) < 0.08
    assert not any(path.startswith("error_proba/signed_ridge") for path in found.arrays)


def test_a_layout_says_how_clear_the_gain_must_be() -> None:
    random = np.random.default_rng(0)
    baseline, hint = random.normal(size=(2, 150))
    wrong = (random.random(150) < sigmoid(-1 + baseline + 0.4 * hint)).astype(float)
    records = [
        fit(hint[:, None], {"t": wrong}, np.arange(150), baseline, FitSettings(layout=Layout(margin=margin))).targets[
            "t"
        ]
        for margin in (1.0, 0.0)
    ]
    assert [record["learners"] for record in records] == [[], ["signed_ridge"]]
    assert "not clearly better than it" in records[0]["reason"]
    assert records[1]["reason"].startswith("the learned error model: better than the calibrated confidence (log loss")


def test_no_margin_still_refuses_errors_that_are_noise() -> None:
    adopted = 0
    for seed in range(6):
        design, wrong = example(600, seed)
        shuffled = np.random.default_rng(seed).permutation(wrong)
        settings = FitSettings(layout=Layout(margin=0.0, mixed=True))
        found = fit(design.descriptors, {"t": shuffled}, np.arange(600), design.baseline, settings)
        adopted += bool(found.targets["t"]["learners"])
    assert adopted <= 1


@pytest.mark.parametrize(
    ("settings", "n_rows", "reason"),
    [
        (FitSettings(learners=()), 600, "no learner was asked for"),
        (FitSettings(min_errors=100000), 600, "errors among 600 rows, a learner needs at least 100000"),
        (FitSettings(why_baseline="because"), 600, "because"),
    ],
)
def test_reasons_not_to_learn(settings: FitSettings, n_rows: int, reason: str) -> None:
    design, wrong = example(n_rows)
    found = fit(design.descriptors, {"t": wrong}, np.arange(n_rows), design.baseline, settings)
    assert found.targets["t"]["learners"] == []
    assert reason in found.targets["t"]["reason"]
    np.testing.assert_array_equal(found.out_of_fold["t"], found.baseline["t"])


def test_few_groups_are_not_enough_for_cross_fitting() -> None:
    design, wrong = example(300)
    found = fit(design.descriptors, {"t": wrong}, np.arange(300) % 4, design.baseline)
    assert "4 distinct inputs" in found.targets["t"]["reason"]


def test_few_right_answers() -> None:
    design, _ = example(100)
    found = fit(design.descriptors, {"t": np.arange(100) >= 3}, np.arange(100), design.baseline)
    assert "3 right answers" in found.targets["t"]["reason"]


def test_boxes_with_three_targets_and_groups() -> None:
    """A table as detection has it: several boxes an image, three outcomes, no features or classes anywhere."""
    random = np.random.default_rng(0)
    images = np.repeat(np.arange(150), 6)
    table = random.normal(size=(900, 5)) + random.normal(size=150)[images][:, None]
    score = random.normal(size=900)
    place = random.random(900) < sigmoid(2 * table[:, 0] + 0.3 * score - 1)
    kind = random.random(900) < sigmoid(2 * table[:, 1] + 0.3 * score - 1)
    targets = {"error_proba": place | kind, "det_error_proba": place, "cls_error_proba": kind}
    found = fit(table, targets, images, score)
    assert set(found.targets) == set(targets) == set(found.out_of_fold)
    for name, target in targets.items():
        assert found.targets[name]["learners"] == ["signed_ridge"]
        assert auroc(found.out_of_fold[name], target) > auroc(score, target) + 0.05
        assert abs(found.out_of_fold[name].mean() - target.mean()) < 0.02


def test_copies_in_one_group_do_not_leak() -> None:
    """Errors that nothing explains, every row five times: grouped, the gate sees that nothing was learned."""
    random = np.random.default_rng(1)
    rows = np.repeat(np.arange(80), 5)
    table, wrong, score = (
        random.normal(size=(80, 40))[rows],
        (random.random(80) < 0.4)[rows],
        random.normal(size=80)[rows],
    )
    found = fit(table, {"t": wrong}, rows, score)
    assert found.targets["t"]["learners"] == []


def test_same_rows_same_arrays() -> None:
    design, wrong = example(300)
    first, second = (fit(design.descriptors, {"t": wrong}, np.arange(300), design.baseline) for _ in range(2))
    for path, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[path])


def test_rows_where_a_question_does_not_arise_have_no_part_in_its_answer() -> None:
    design, wrong = example()
    asked = np.arange(len(wrong)) % 3 > 0
    outcome = np.where(asked, wrong, np.nan)
    groups = np.arange(len(wrong))
    found = fit(design.descriptors, {"all": wrong, "asked": outcome}, groups, design.baseline)
    alone = fit(design.descriptors[asked], {"asked": wrong[asked]}, groups[asked], design.baseline[asked])
    assert found.targets["asked"] == alone.targets["asked"]
    np.testing.assert_array_equal(found.out_of_fold["asked"][asked], alone.out_of_fold["asked"])
    np.testing.assert_array_equal(found.baseline["asked"][asked], alone.baseline["asked"])
    others = found.out_of_fold["asked"][~asked]
    assert auroc(others, wrong[~asked]) > auroc(found.baseline["asked"][~asked], wrong[~asked])


def test_a_question_that_never_arises_is_answered_by_a_half() -> None:
    design, _ = example(200)
    nothing = np.full(200, np.nan)
    found = fit(design.descriptors, {"never": nothing}, np.arange(200), design.baseline)
    assert (found.out_of_fold["never"] == 0.5).all()
    assert found.targets["never"]["learners"] == []
    assert found.targets["never"]["n_rows"] == 0
