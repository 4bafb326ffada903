"""Bare callables: every form of output, real scikit-learn and ONNX Runtime models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ml_debugger.adapters import ADAPTERS, find_adapter
from ml_debugger.adapters.plain_callable import CallableClassifier
from ml_debugger.errors import CaptureError, InputError, MLDebuggerWarning

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, 3))
FEATURES = RNG.normal(size=(4, 6)).astype(np.float32)


class JaxLike:
    """An array that offers only a shape, a dtype, reshape and ``__array__``, like those of other frameworks."""

    def __init__(self, value: np.ndarray) -> None:
        self.value, self.shape, self.dtype = value, value.shape, value.dtype

    def reshape(self, *shape: Any) -> JaxLike:
        return JaxLike(self.value.reshape(*shape))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.value


class Frame:
    """Something that only converts."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return LOGITS


ALONE = {
    "numpy": LOGITS,
    "float16": LOGITS.astype(np.float16),
    "torch": torch.tensor(LOGITS, requires_grad=True),
    "jax_like": JaxLike(LOGITS),
    "converts": Frame(),
    "lists": LOGITS.tolist(),
    "list_of_rows": list(LOGITS),
    "list_of_tensors": list(torch.tensor(LOGITS)),
    "one_in_a_list": [LOGITS],
    "labels_first": [LOGITS.argmax(1), LOGITS],
    "without_features": (LOGITS, None),
}
WITH_FEATURES = {
    "tuple": (LOGITS, FEATURES),
    "list": [LOGITS, FEATURES],
    "lists": (LOGITS.tolist(), FEATURES.tolist()),
    "torch": (torch.tensor(LOGITS), torch.tensor(FEATURES)),
    "dict": {"features": FEATURES, "logits": LOGITS},
    "embeddings": {"embeddings": FEATURES, "probs": LOGITS},
    "map": (LOGITS, np.broadcast_to(FEATURES[:, :, None, None], (4, 6, 2, 5))),
    "tokens": (LOGITS, np.broadcast_to(FEATURES[:, None], (4, 2, 6))),
}


@pytest.mark.parametrize("form", ALONE)
def test_logits_alone(form: str) -> None:
    output, read = find_adapter(lambda x: ALONE[form]).run(None, 4)
    assert output is ALONE[form]
    np.testing.assert_allclose(read.logits, LOGITS, rtol=2e-3)
    assert read.features is None


@pytest.mark.parametrize("form", WITH_FEATURES)
def test_logits_and_features(form: str) -> None:
    adapter = find_adapter(lambda x: WITH_FEATURES[form])
    output, read = adapter.run(None, 4)
    assert output is WITH_FEATURES[form]
    np.testing.assert_allclose(read.logits, LOGITS, rtol=1e-6)
    np.testing.assert_allclose(read.features, FEATURES, rtol=1e-6)
    assert adapter.describe()["n_features"] == 6


def test_two_rows_in_a_list_are_rows() -> None:
    _, read = find_adapter(lambda x: [np.array([0.1, 3.0]), np.array([5.0, 0.2])]).run(None, 2)
    assert read.label.tolist() == [1, 0]


@pytest.mark.parametrize("form", [lambda z: z, lambda z: z[:, None], lambda z: z.tolist()])
def test_one_number_per_input(form: Any) -> None:
    z = np.array([-2.0, 0.3, 4.0])
    _, read = find_adapter(lambda x: form(z)).run(None, 3)
    np.testing.assert_allclose(read.logits, np.stack([np.zeros(3), z], 1))
    assert read.label.tolist() == [0, 1, 1]


def test_one_probability_per_input() -> None:
    p = np.linspace(0.05, 0.95, 10)
    adapter = find_adapter(lambda x: p[:x])
    _, read = adapter.run(10, 10)
    np.testing.assert_allclose(read.logits[:, 1], np.log(p / (1 - p)), rtol=1e-5, atol=1e-6)
    assert adapter.run(2, 2)[1].label.tolist() == [0, 0]  # decided once, for small batches too
    with pytest.warns(MLDebuggerWarning, match=r"all in 0\.\.1, for only 2 inputs"):
        _, read = find_adapter(lambda x: p[:x]).run(2, 2)
    np.testing.assert_allclose(read.logits[:, 1], p[:2])


def test_probabilities_are_decided_on_the_first_finite_batch() -> None:
    batches = iter([np.full((2, 3), np.nan), np.zeros((0, 3)), np.eye(3), np.array([[2.0, -1.0, 0.0]])])
    adapter = find_adapter(lambda x: next(batches))
    assert adapter.run(None, 2)[1].label.tolist() == [-1, -1]
    assert adapter.run(None, 0)[1].n_inputs == 0
    _, read = adapter.run(None, 3)
    assert read.label.tolist() == [0, 1, 2]
    assert np.isfinite(read.logits).all()
    with pytest.raises(CaptureError, match="earlier batches held probabilities"):
        adapter.run(None, 1)


def test_logits_stay_logits() -> None:
    batches = iter([LOGITS, np.eye(3)])
    adapter = find_adapter(lambda x: next(batches))
    adapter.run(None, 4)
    np.testing.assert_array_equal(adapter.run(None, 3)[1].logits, np.eye(3))


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        (LOGITS.argmax(1), CaptureError, "not labels"),
        ("text", CaptureError, "got str"),
        ({"a": 3}, CaptureError, "holding a: int"),
        (None, CaptureError, "got NoneType"),
        ([[1.0, 2.0], [1.0]], CaptureError, "expected floating-point logits"),
        ([], InputError, "4 ids were given, but the model returned logits for 0 inputs"),
        (np.zeros((4, 3, 5, 5)), InputError, "one per pixel"),
        (np.zeros((4, 9, 3)), InputError, "one per token or position"),
        (np.zeros((5, 3)), InputError, "4 ids were given, but the model returned logits for 5 inputs"),
        ({"logits": LOGITS, "features": FEATURES[:3]}, InputError, r"expected features \(4, D\)"),
    ],
)
def test_outputs_that_cannot_be_read(output: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        find_adapter(lambda x: output).run(None, 4)


def test_hashes_and_description() -> None:
    adapter = find_adapter(lambda x: LOGITS)
    assert adapter.weights_hash() is None
    assert adapter.architecture_hash is None
    adapter.run(None, 4)
    other = find_adapter(lambda x: LOGITS[:2])
    other.run(None, 2)
    assert adapter.architecture_hash == other.architecture_hash
    assert adapter.describe()["output"] == "logits"
    assert adapter.describe()["n_classes"] == 3


def test_inputs_are_opaque() -> None:
    seen: list[Any] = []

    def model(batch: Any) -> np.ndarray:
        seen.append(batch)
        return LOGITS

    def named(left: Any, right: Any) -> np.ndarray:
        seen.append((left, right))
        return LOGITS

    for batch in ({"left": 1, "right": 2}, [1, 2], "text", {1: 2}, {}):
        find_adapter(model).run(batch, 4)
        assert seen.pop() is batch
    find_adapter(named).run({"left": 1, "right": 2}, 4)
    assert seen == [(1, 2)]
    find_adapter(max).run([LOGITS.tolist()], 4)  # a builtin has no readable signature


@pytest.mark.parametrize(
    ("model", "message"),
    [(3, "got int; pass any function"), (type("Program", (), {"module": None})(), "program.module")],
)
def test_what_cannot_be_called_is_refused(model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_adapter(model)


def test_target_layers_of_a_callable_and_unknown_tasks_are_refused() -> None:
    with pytest.raises(InputError, match="has no layers to name"):
        find_adapter(lambda x: x, target_layers={"features": "fc"})
    tasks = ["classification", "object_detection", "object_detection_3d"]
    with pytest.raises(InputError, match=re.escape(f"expected one of {tasks}")):
        find_adapter(lambda x: x, task="segmentation")
    for task, last in zip(tasks, ("callable", "detector_callable", "detector_3d_callable"), strict=True):
        assert [name for name, entry in ADAPTERS.items() if entry.task == task][-1] == last  # it accepts everything


# --- scikit-learn


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x[:400] / 16, y[:400]


def test_scikit_learn(digits: tuple[np.ndarray, np.ndarray]) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    x, y = digits
    logistic = LogisticRegression(max_iter=300).fit(x[:300], y[:300])
    for model in (logistic, logistic.predict_proba, lambda rows: logistic.predict_proba(rows[:, :])):
        output, read = find_adapter(model).run(x[300:], 100)
        np.testing.assert_allclose(np.exp(read.logits), output, atol=1e-6)
        np.testing.assert_array_equal(read.label, logistic.predict(x[300:]))
        np.testing.assert_allclose(read.score, output.max(1), rtol=1e-5)
    forest = RandomForestClassifier(10, random_state=0).fit(x[:300], y[:300])
    _, read = find_adapter(forest).run(x[300:], 100)
    assert np.isfinite(read.logits).all()
    svm = LinearSVC().fit(x[:300], y[:300])
    _, read = find_adapter(svm).run(x[300:], 100)  # no predict_proba
    np.testing.assert_allclose(read.logits, svm.decision_function(x[300:]), rtol=1e-5)
    binary = LinearSVC().fit(x[:300], y[:300] > 4)
    _, read = find_adapter(binary.decision_function).run(x[300:], 100)
    np.testing.assert_array_equal(read.label == 1, binary.predict(x[300:]))


def test_scikit_learn_with_features_and_frames(digits: tuple[np.ndarray, np.ndarray]) -> None:
    import pandas as pd
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression

    x, y = digits
    pca = PCA(8).fit(x)
    head = LogisticRegression(max_iter=300).fit(pca.transform(x), y)

    def model(frame: pd.DataFrame) -> dict[str, np.ndarray]:
        features = pca.transform(frame.to_numpy())
        return {"logits": head.decision_function(features), "features": features}

    _, read = find_adapter(model).run(pd.DataFrame(x[:50]), 50)
    assert read.features.shape == (50, 8)
    assert (read.label == y[:50]).mean() > 0.8


def test_an_estimator_without_scores_is_refused() -> None:
    from sklearn.linear_model import LinearRegression

    with pytest.raises(InputError, match="no predict_proba or decision_function"):
        find_adapter(LinearRegression())


# --- ONNX Runtime


def test_onnx_runtime(tmp_path: Path) -> None:
    import onnxruntime
    from onnx import TensorProto, helper

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    tensors = [
        helper.make_tensor(name.replace(".", "_"), TensorProto.FLOAT, value.shape, value.ravel())
        for name, value in weights.items()
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "0_weight", "0_bias"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["features"]),
        helper.make_node("Gemm", ["features", "2_weight", "2_bias"], ["logits"], transB=1),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in (("x", 5), ("logits", 3), ("features", 4))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    x = torch.randn(6, 5)
    with torch.no_grad():
        features, logits = model[:2](x).numpy(), model(x).numpy()
    for call in (lambda rows: session.run(None, {"x": rows}), lambda rows: session.run(["logits"], {"x": rows})[0]):
        _, read = find_adapter(call).run(x.numpy(), 6)
        np.testing.assert_allclose(read.logits, logits, rtol=1e-4, atol=1e-5)
    _, read = find_adapter(lambda rows: session.run(None, {"x": rows})).run(x.numpy(), 6)
    np.testing.assert_allclose(read.features, features, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"session\.run"):
        find_adapter(session)


def test_the_callable_adapter_needs_no_framework() -> None:
    assert ADAPTERS["callable"].library is None
    assert isinstance(find_adapter(lambda x: x), CallableClassifier)
