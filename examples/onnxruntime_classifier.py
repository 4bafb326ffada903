"""An ONNX Runtime session, traced as it is: a function that returns its logits and its features is enough.

Run it with: python examples/onnxruntime_classifier.py
"""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from ml_debugger.data_filter import ClassificationDataFilter
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ClassificationTracer


def build_session(network: MLPClassifier) -> onnxruntime.InferenceSession:
    """The trained network as ONNX, with its hidden layer as a second output; a stand-in for a model of your own."""
    (w0, w1), (b0, b1) = network.coefs_, network.intercepts_
    arrays = {"w0": w0, "b0": b0, "w1": w1, "b1": b1}
    tensors = [helper.make_tensor(name, TensorProto.FLOAT, a.shape, a.ravel().tolist()) for name, a in arrays.items()]
    nodes = [
        helper.make_node("Gemm", ["pixels", "w0", "b0"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["features"]),
        helper.make_node("Gemm", ["features", "w1", "b1"], ["logits"]),
    ]
    widths = {"pixels": w0.shape[0], "logits": w1.shape[1], "features": w0.shape[1]}
    ends = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", w]) for name, w in widths.items()}
    graph = helper.make_graph(nodes, "digits", [ends["pixels"]], [ends["logits"], ends["features"]], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    ids = np.arange(len(x))
    session = build_session(MLPClassifier(32, solver="lbfgs", max_iter=1000, random_state=0).fit(x[:200], y[:200]))

    def model(pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Logits (B, 10) and features (B, 32)."""
        logits, features = session.run(["logits", "features"], {"pixels": pixels})
        return {"logits": logits, "features": features}

    tracer = ClassificationTracer(model, "digits_onnx", "v1")
    tracer(x[:200], y[:200], ids[:200], dataset_type="train")
    tracer(x[200:800], y[200:800], ids[200:800], dataset_type="val")
    result = Evaluator("digits_onnx", "v1").request_evaluation()
    print(result.summary())

    data_filter = ClassificationDataFilter(model, "digits_onnx", "v1", result.result_name)
    output, _ = data_filter(x[800:], ids[800:])
    queried = data_filter.query(50, "high_error_proba")
    wrong = np.concatenate([np.zeros(800, bool), output["logits"].argmax(1) != y[800:]])
    print(f"Of the 50 queried {wrong[queried].sum()} are wrong; of 50 at random {50 * wrong[800:].mean():.0f}")
