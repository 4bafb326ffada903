"""Compiled models: hooks fire, before and after the model ran by itself, and without recompiling on every call."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ml_debugger.adapters import find_adapter
from ml_debugger.adapters.compiled import compiled_entry, is_compiled, runs_compiled
from ml_debugger.errors import CaptureError, MLDebuggerWarning


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.back = nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5), nn.ReLU())
        self.fc = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.fc(self.back(x))}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.manual_seed(0)
    torch.compiler.reset()
    with warnings.catch_warnings():
        # The compiler looks at .grad of the tensors that reach it, and warns of that itself.
        warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor")
        yield
    torch.compiler.reset()


def expected(model: nn.Module, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        features = model.back(x)
        return features.numpy(), model.fc(features).numpy()


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.mark.parametrize("ran_before", [False, True])
def test_a_compiled_model_runs_compiled(ran_before: bool) -> None:
    inner = Net().eval()
    model = torch.compile(inner, backend="eager")
    if ran_before:
        model(torch.randn(4, 8))
    adapter = find_adapter(model)
    for n in (4, 4, 6, 7, 4):
        x = torch.randn(n, 8)
        output, read = adapter.run(x, n)
        features, logits = expected(inner, x)
        np.testing.assert_allclose(read.features, features, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(read.logits, logits, rtol=1e-5, atol=1e-6)
        assert output["logits"].shape == (n, 3)
        model(x)  # the user's own call, between ours
    assert all(not module._forward_hooks for module in model.modules())
    compiled = graphs()
    for n in (4, 9, 4):
        x = torch.randn(n, 8)
        _, read = adapter.run(x, n)
        np.testing.assert_allclose(read.features, expected(inner, x)[0], rtol=1e-5, atol=1e-6)
    assert graphs() == compiled
    assert compiled >= 2  # ours and the user's
    assert adapter.describe()["runs_uncompiled"] is False
    assert adapter.describe()["head"] == "fc"


def test_two_adapters_of_one_compiled_model() -> None:
    inner = Net().eval()
    model = torch.compile(inner, backend="eager")
    one, two = find_adapter(model), find_adapter(model)
    for _ in range(3):
        x = torch.randn(4, 8)
        for adapter in (one, two):
            np.testing.assert_allclose(adapter.run(x, 4)[1].features, expected(inner, x)[0], rtol=1e-5, atol=1e-6)


def test_training_and_target_layers() -> None:
    inner = Net().train()
    model = torch.compile(inner, backend="aot_eager")
    model(torch.randn(4, 8))
    adapter = find_adapter(model, target_layers={"features": "_orig_mod.back.0", "logits": "fc"})
    x = torch.randn(4, 8)
    for _ in range(2):
        output, read = adapter.run(x, 4)
        np.testing.assert_allclose(read.features, inner.back[0](x).detach().numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(read.logits, output["logits"].detach().numpy(), rtol=1e-6)
    output["logits"].sum().backward()
    assert inner.back[0].weight.grad is not None
    assert inner.training


@pytest.mark.slow
def test_the_default_compiler() -> None:
    inner = Net().eval()
    model = torch.compile(inner)
    model(torch.randn(4, 8))
    adapter = find_adapter(model)
    for n in (4, 4, 5):
        x = torch.randn(n, 8)
        np.testing.assert_allclose(adapter.run(x, n)[1].features, expected(inner, x)[0], rtol=1e-4, atol=1e-5)


def partly(how: str) -> tuple[nn.Module, nn.Module]:
    inner = Net().eval()
    if how == "itself":
        inner.compile(backend="eager")
    elif how == "head":
        inner.fc = torch.compile(inner.fc, backend="eager")
    elif how == "forward":
        inner.forward = torch.compile(inner.forward, backend="eager")
    elif how == "inside":
        return nn.Sequential(torch.compile(inner, backend="eager")), inner
    elif how == "hooked":
        model = torch.compile(inner, backend="eager")
        model.register_forward_hook(lambda *_: None)
        return model, inner
    return inner, inner


@pytest.mark.parametrize("how", ["itself", "head", "forward", "inside", "hooked"])
def test_layers_in_compiled_parts_are_read_uncompiled(how: str) -> None:
    model, inner = partly(how)
    x = torch.randn(4, 8)
    model(x)
    adapter = find_adapter(model)
    with pytest.warns(MLDebuggerWarning, match="run uncompiled"):
        adapter.run(x, 4)
    for _ in range(2):
        x = torch.randn(4, 8)
        model(x)
        np.testing.assert_allclose(adapter.run(x, 4)[1].features, expected(inner, x)[0], rtol=1e-5, atol=1e-6)
    assert adapter.describe()["runs_uncompiled"] is True
    assert "_orig_mod" not in adapter.describe()["head"]


def test_a_compiled_backbone_does_not_matter() -> None:
    model = Net().eval()
    model.back = torch.compile(model.back, backend="eager")
    x = torch.randn(4, 8)
    model(x)
    adapter = find_adapter(model)
    for _ in range(2):
        _, read = adapter.run(x, 4)
    np.testing.assert_allclose(read.features, expected(model, x)[0], rtol=1e-5)
    assert adapter.describe()["runs_uncompiled"] is False
    assert runs_compiled(model, ["back.0"])
    assert not runs_compiled(model, ["fc"])
    assert is_compiled(model.back)
    assert compiled_entry(model) is None


def test_a_missed_capture_names_the_layer_and_the_cure() -> None:
    class Hidden(Net):
        """Its compiled part is a method: nothing shows it."""

        def __init__(self) -> None:
            super().__init__()
            self.compiled = torch.compile(self.classify, backend="eager")

        def classify(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x)

        def forward(self, x: torch.Tensor) -> Any:
            return {"logits": self.compiled(self.back(x))}

    model = Hidden().eval()
    x = torch.randn(4, 8)
    model(x)
    adapter = find_adapter(model)
    adapter.run(x, 4)
    with pytest.raises(CaptureError, match=r"layer 'fc' did not run.*set_stance\('force_eager'\)"):
        adapter.run(x, 4)
    with torch.compiler.set_stance("force_eager"):
        _, read = adapter.run(x, 4)
    np.testing.assert_allclose(read.features, expected(model, x)[0], rtol=1e-5)
    torch.compiler.reset()
    np.testing.assert_allclose(adapter.run(x, 4)[1].features, expected(model, x)[0], rtol=1e-5)
