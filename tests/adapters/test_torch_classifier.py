"""The torch adapter on small models of one's own: what it reads, and that it leaves everything as it was."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ml_debugger.adapters import find_adapter
from ml_debugger.adapters.torch_classifier import TorchClassifier
from ml_debugger.errors import CaptureError, InputError, MLDebuggerWarning
from ml_debugger.types import ModelOutput

N_FEATURES, N_CLASSES = 6, 3


class Net(nn.Module):
    """Convolution, pooling, linear head; keeps what an adapter should find."""

    def __init__(self, n_classes: int = N_CLASSES) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, N_FEATURES, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(N_FEATURES, n_classes)
        self.truth: tuple[torch.Tensor, torch.Tensor] | None = None

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(functional.relu(self.conv(x))).flatten(1)

    def forward(self, x: torch.Tensor) -> Any:
        features = self.features(x)
        logits = self.fc(features)
        self.truth = (features.detach().clone(), logits.detach().clone())
        return self.answer(logits)

    def answer(self, logits: torch.Tensor) -> Any:
        return logits


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def images(n: int = 4) -> torch.Tensor:
    return torch.randn(n, 1, 8, 8)


def ran(model: nn.Module, x: Any, n: int, **kwargs: Any) -> tuple[Any, ModelOutput, TorchClassifier]:
    adapter = find_adapter(model, **kwargs)
    assert isinstance(adapter, TorchClassifier)
    adapter.run(x, n)  # the first call finds the head, the second uses it
    output, read = adapter.run(x, n)
    return output, read, adapter


def check(model: Net, read: ModelOutput) -> None:
    assert model.truth is not None
    features, logits = model.truth
    np.testing.assert_allclose(read.features, features.float().numpy(), rtol=1e-6)
    np.testing.assert_allclose(read.logits, logits.float().numpy(), rtol=1e-6)
    np.testing.assert_array_equal(read.label, logits.argmax(1).numpy())
    np.testing.assert_allclose(read.score, logits.double().softmax(1).max(1).values.numpy(), rtol=1e-5)


def test_reads_features_logits_label_and_score() -> None:
    model = Net()
    output, read, adapter = ran(model, images(), 4)
    check(model, read)
    assert torch.equal(output, model.truth[1])
    assert adapter.describe() == {
        "adapter": "torch_classifier",
        "model": "Net",
        "architecture": "Net (81 parameters, conv.weight (6, 1, 3, 3) to fc.weight (3, 6))",
        "head": "fc",
        "feature_layers": ["input of fc"],
        "n_features": N_FEATURES,
        "n_classes": N_CLASSES,
        "output": "logits",
        "runs_uncompiled": False,
    }


@dataclasses.dataclass
class Answer:
    loss: float
    logits: torch.Tensor


class Answered:
    """An object with an attribute ``logits``."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits


ANSWERS = {
    "tensor": lambda z: z,
    "tuple": lambda z: (z, torch.zeros(len(z), 9)),
    "tuple_loss_first": lambda z: (torch.tensor(1.0), z),
    "list": lambda z: [z, [z, z]],
    "nested": lambda z: ((z,), None),
    "dict": lambda z: {"aux": torch.zeros(len(z), 5), "logits": z},
    "dict_out": lambda z: {"aux": torch.zeros(len(z), 5), "out": z},
    "dict_other": lambda z: {"ids": torch.zeros(len(z), 3, dtype=torch.int64), "classes": z},
    "dataclass": lambda z: Answer(1.0, z),
    "attribute": Answered,
    "map_1x1": lambda z: z[:, :, None, None],
    "log_softmax": lambda z: z.log_softmax(1),
    "scaled": lambda z: z * 10,
    "copy": lambda z: z.clone(),
    "column_major": lambda z: z.t().contiguous().t(),
}


@pytest.mark.parametrize("form", ANSWERS)
def test_every_form_of_output(form: str) -> None:
    class Model(Net):
        def answer(self, logits: torch.Tensor) -> Any:
            self.returned = ANSWERS[form](logits)
            return self.returned

    model = Model()
    output, read, _ = ran(model, images(), 4)
    assert output is model.returned
    np.testing.assert_allclose(read.features, model.truth[0].numpy())
    np.testing.assert_array_equal(read.label, model.truth[1].argmax(1).numpy())


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_batch_sizes(n: int) -> None:
    model = Net()
    _, read, adapter = ran(model, images(n), n)
    check(model, read)
    assert read.features.shape == (n, N_FEATURES)
    _, read = adapter.run(images(5), 5)
    assert read.features.shape == (5, N_FEATURES)


def test_empty_batch_first_does_not_fix_the_head() -> None:
    model = Net()
    adapter = find_adapter(model)
    adapter.run(images(0), 0)
    assert adapter.describe()["feature_layers"] is None
    check(model, adapter.run(images(3), 3)[1])


@pytest.mark.parametrize("shape", ["column", "vector"])
@pytest.mark.parametrize("squash", [False, True])
def test_one_logit(shape: str, squash: bool) -> None:
    class Model(Net):
        def answer(self, logits: torch.Tensor) -> Any:
            z = logits.sigmoid() if squash else logits
            return z if shape == "column" else z.squeeze(1)

    model = Model(1)
    _, read, adapter = ran(model, images(5), 5)
    expected = np.concatenate([np.zeros((5, 1)), model.truth[1].numpy()], axis=1)
    np.testing.assert_allclose(read.logits, expected, atol=1e-5)
    np.testing.assert_array_equal(read.label, (expected[:, 1] > 0).astype(int))
    assert adapter.describe()["output"] == ("one_probability" if squash else "one_logit")


def test_probabilities_become_log_probabilities() -> None:
    class Model(Net):
        def answer(self, logits: torch.Tensor) -> Any:
            return logits.softmax(1)

    model = Model()
    _, read, adapter = ran(model, images(), 4)
    np.testing.assert_allclose(read.logits, model.truth[1].log_softmax(1).numpy(), atol=1e-5)
    assert adapter.describe()["output"] == "probabilities"
    assert adapter.describe()["head"] == "fc"


def test_multi_label_sigmoids_become_logits() -> None:
    class Model(Net):
        def answer(self, logits: torch.Tensor) -> Any:
            return logits.sigmoid()

    model = Model()
    _, read, _ = ran(model, images(), 4)
    np.testing.assert_allclose(read.logits, model.truth[1].numpy(), atol=1e-4)


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (4, 7, 3)])
def test_maps_and_sequences_of_logits_are_refused(shape: tuple[int, ...]) -> None:
    class Model(Net):
        def answer(self, logits: torch.Tensor) -> Any:
            return {"out": torch.zeros(shape)}

    with pytest.raises(InputError, match="segmentation and token tasks are not supported"):
        find_adapter(Model()).run(images(), 4)


def test_labels_instead_of_logits_are_refused() -> None:
    class Model(Net):
        def answer(self, logits: torch.Tensor) -> Any:
            return logits.argmax(1)

    with pytest.raises(CaptureError, match="not labels"):
        find_adapter(Model()).run(images(), 4)


@pytest.mark.parametrize("squash", [True, False])
def test_an_unknown_head_that_gives_probabilities_is_told_to_give_logits(squash: bool) -> None:
    class Model(Net):
        def answer(self, logits: torch.Tensor) -> Any:
            difference = logits[:, 1] - logits[:, 0]
            return difference.sigmoid() if squash else difference - 5

    with pytest.raises(CaptureError, match="no layer was found whose output is the logits") as caught:
        find_adapter(Model(2)).run(images(4), 4)
    assert ("return the logits, before the sigmoid" in str(caught.value)) == squash


def test_number_of_inputs_must_fit() -> None:
    with pytest.raises(InputError, match=r"3 ids were given, but the model returned logits for 4 inputs"):
        find_adapter(Net()).run(images(4), 3)


def test_nan_and_infinite_outputs_go_through() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3, bias=False)
            nn.init.eye_(self.fc.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x) + self.shift

    inf, nan = float("inf"), float("nan")
    model = Model()
    model.shift = torch.tensor([[0, 0, 0], [nan, 0, 0], [inf, 0, 0], [-inf, 0, 1], [-inf, -inf, -inf]])
    _, read, _ = ran(model, torch.tensor([[3.0, 2, 1]] * 5), 5)
    np.testing.assert_array_equal(read.label, [0, -1, -1, 1, -1])
    assert ((read.score >= 0) & (read.score <= 1)).all()
    assert np.isnan(read.logits[1, 0])
    assert read.features.shape == (5, 3)
    _, read, _ = ran(Net(), torch.full((2, 1, 8, 8), nan), 2)
    assert read.label.tolist() == [-1, -1]
    assert np.isnan(read.features).all()


# --- how the model runs


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_mode_grad_and_hooks_stay(training: bool, grad: bool) -> None:
    model = Net().train(training)
    seen: list[int] = []
    own = model.fc.register_forward_hook(lambda *_: seen.append(1))
    before = dict(model.fc._forward_hooks)
    with torch.set_grad_enabled(grad):
        output, read, _ = ran(model, images(), 4)
        assert torch.is_grad_enabled() is grad
    assert output.requires_grad is grad
    if grad:
        output.sum().backward()
        assert model.conv.weight.grad is not None
    assert model.training is training
    assert dict(model.fc._forward_hooks) == before
    assert all(not m._forward_hooks for name, m in model.named_modules() if name != "fc")
    assert len(seen) == 2
    own.remove()
    check(model, read)


@pytest.mark.parametrize("after_first", [False, True])
def test_an_error_inside_forward_leaves_no_hooks(after_first: bool) -> None:
    class Model(Net):
        broken = False

        def answer(self, logits: torch.Tensor) -> Any:
            if self.broken:
                raise ZeroDivisionError
            return logits

    model = Model()
    adapter = find_adapter(model)
    if after_first:
        adapter.run(images(), 4)
    model.broken = True
    with pytest.raises(ZeroDivisionError):
        adapter.run(images(), 4)
    assert all(not module._forward_hooks for module in model.modules())
    model.broken = False
    check(model, adapter.run(images(2), 2)[1])


def test_what_was_read_survives_changes_of_the_output() -> None:
    model = Net().requires_grad_(False)
    output, read, _ = ran(model, images(), 4)
    output.zero_()
    check(model, read)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precisions(dtype: torch.dtype) -> None:
    model = Net().to(dtype)
    _, read, _ = ran(model, images().to(dtype), 4)
    check(model, read)
    assert read.features.dtype == read.logits.dtype == np.float32


def test_bfloat16_probabilities() -> None:
    class Model(Net):
        def answer(self, logits: torch.Tensor) -> Any:
            return logits.softmax(1) * 1

    model = Model(100).bfloat16()
    _, read, adapter = ran(model, images().bfloat16(), 4)
    assert adapter.describe()["output"] == "probabilities"
    assert read.logits.max() < 0


def test_autocast() -> None:
    model = Net()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, read, _ = ran(model, images(), 4)
    assert output.dtype == torch.bfloat16
    check(model, read)


def test_channels_last_and_strided_inputs() -> None:
    model = Net().to(memory_format=torch.channels_last)
    x = torch.randn(4, 1, 16, 16)[:, :, ::2, ::2].to(memory_format=torch.channels_last)
    _, read, _ = ran(model, x, 4)
    check(model, read)


def test_inference_mode() -> None:
    model = Net()
    with torch.inference_mode():
        _, read, _ = ran(model, images(), 4)
    check(model, read)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda() -> None:
    model = Net().cuda().half()
    _, read, _ = ran(model, images().cuda().half(), 4)
    features, logits = model.truth
    np.testing.assert_allclose(read.features, features.float().cpu().numpy())
    np.testing.assert_allclose(read.logits, logits.float().cpu().numpy())


# --- which layer


class Shared(nn.Module):
    """One head used on several inputs; returns the answer of one of them."""

    def __init__(self, chosen: int) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)
        self.chosen = chosen

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return [self.fc(x), self.fc(x * 2), self.fc(x * 3)][self.chosen]


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_a_shared_head_gives_the_run_that_was_returned(chosen: int) -> None:
    x = torch.randn(4, 5)
    _, read, _ = ran(Shared(chosen), x, 4)
    np.testing.assert_allclose(read.features, x.numpy() * (chosen + 1), rtol=1e-6)


class Chunked(nn.Module):
    """Runs a model on parts of the batch, as replicas and micro-batches do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.inner(part) for part in x.split(2)])


def test_a_batch_run_in_parts_is_joined() -> None:
    net, x = Net(), images(5)
    _, read, adapter = ran(Chunked(net), x, 5)
    np.testing.assert_allclose(read.features, net.features(x).detach().numpy(), rtol=1e-5)
    assert adapter.describe()["head"] == "inner.fc"


def test_rows_that_do_not_fit_are_an_error() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x.repeat(2, 1)).view(2, len(x), 3).mean(0)

    with pytest.raises(CaptureError, match=r"layer 'fc': expected features of 4 inputs, got \(8, 5\)"):
        find_adapter(Model()).run(torch.randn(4, 5), 4)


def test_in_place_operations_after_the_layer_do_not_alter_features() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 4)
            self.fc = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.linear(x)
            self.hidden = hidden.detach().clone()
            logits = self.fc(hidden.relu_())
            self.positive = hidden.detach().clone()
            hidden.mul_(0)
            return logits

    model = Model()
    x = torch.randn(4, 5)
    with torch.no_grad():
        _, read, _ = ran(model, x, 4)
        np.testing.assert_array_equal(read.features, model.positive.numpy())
        _, read, _ = ran(model, x, 4, target_layers={"features": "linear"})
        np.testing.assert_array_equal(read.features, model.hidden.numpy())


def test_convolution_head() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.Conv2d(6, 3, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    x = images()
    _, read, adapter = ran(model, x, 4)
    np.testing.assert_allclose(read.features, model[0](x).mean((2, 3)).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert adapter.describe()["head"] == "1"


def test_one_dimensional_convolution_head() -> None:
    model = nn.Sequential(nn.Conv1d(2, 6, 3), nn.Conv1d(6, 3, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    x = torch.randn(4, 2, 9)
    _, read, _ = ran(model, x, 4)
    np.testing.assert_allclose(read.features, model[0](x).mean(2).detach().numpy(), rtol=1e-5, atol=1e-6)


class Tokens(nn.Module):
    """A decoder: the head runs on every token, the last real one answers."""

    def __init__(self, take: str) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 5)
        self.score = nn.Linear(5, 3)
        self.take = take

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits = self.score(self.embed(input_ids))
        if self.take == "last":
            return logits[torch.arange(len(input_ids)), attention_mask.sum(1) - 1]
        return (logits * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True)


@pytest.mark.parametrize("take", ["last", "mean"])
def test_token_heads(take: str) -> None:
    model = Tokens(take)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
    batch = {"input_ids": torch.tensor([[3, 4, 0, 0], [5, 6, 7, 8], [9, 0, 0, 0]]), "attention_mask": mask}
    _, read, _ = ran(model, batch, 3)
    hidden = model.embed(batch["input_ids"]).detach()
    expected = hidden[torch.arange(3), mask.sum(1) - 1]
    if take == "mean":
        expected = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    np.testing.assert_allclose(read.features, expected.numpy(), rtol=1e-5)


def test_custom_leaf_head_is_found_by_what_it_returns() -> None:
    class Cosine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.normalize(x) @ functional.normalize(self.weight).t()

    model = nn.Sequential(nn.Linear(4, 5), Cosine())
    x = torch.randn(4, 4)
    _, read, adapter = ran(model, x, 4)
    np.testing.assert_allclose(read.features, model[0](x).detach().numpy(), rtol=1e-5)
    assert adapter.describe()["head"] == "1"


def test_unknown_head_is_an_error_with_the_cure() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.back = nn.Linear(4, 5)
            self.weight = nn.Parameter(torch.randn(3, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.back(x) @ self.weight.t()

    model = Model()
    with pytest.raises(
        CaptureError, match=r"target_layers=\{'features': '<module path>'\} \(top modules: \['back'\]\)"
    ):
        find_adapter(model).run(torch.randn(4, 4), 4)
    x = torch.randn(4, 4)
    _, read, _ = ran(model, x, 4, target_layers={"features": "back"})
    np.testing.assert_allclose(read.features, model.back(x).detach().numpy(), rtol=1e-6)
    _, read = find_adapter(lambda x: model(x) * 1).run(x, 4)
    assert read.features is None


# --- target_layers


def test_target_layers_features_and_logits() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
    x = images()
    first, mid = model[0](x), model[:4](x)
    _, read, _ = ran(model, x, 4, target_layers={"features": "0"})
    np.testing.assert_allclose(read.features, first.mean((2, 3)).detach().numpy(), rtol=1e-5, atol=1e-6)
    _, read, _ = ran(model, x, 4, target_layers={"early": "0", "late": "3"})
    assert read.features.shape == (4, 12)
    np.testing.assert_allclose(read.features[:, 6:], mid.detach().numpy(), rtol=1e-5)
    whole = nn.Sequential(model, nn.Sigmoid(), nn.Linear(3, 8))
    _, read, adapter = ran(whole, x, 4, target_layers={"logits": "0.4"})
    np.testing.assert_allclose(read.logits, model(x).detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(read.features, mid.detach().numpy(), rtol=1e-5)
    assert adapter.describe()["head"] == "0.4"
    _, read, _ = ran(whole, x, 4, target_layers={"logits": "0.4", "features": "0.3"})
    np.testing.assert_allclose(read.features, mid.detach().numpy(), rtol=1e-5)


def test_target_layers_accept_the_prefix_of_wrappers() -> None:
    model = Net()
    _, read, _ = ran(model, images(), 4, target_layers={"features": "module.pool"})
    np.testing.assert_allclose(read.features, model.truth[0].numpy())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"features": "convv"}, r"no module 'convv'; did you mean one of \['conv'\]"),
        ({"features": "zzzzzzzz"}, r"top modules are \['conv', 'pool', 'fc'\]"),
        ({"features": 3}, "no module 3"),
        ({}, "expected a dict"),
        ("fc", "expected a dict"),
    ],
)
def test_bad_target_layers(layers: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_adapter(Net(), target_layers=layers)


@pytest.mark.parametrize("alias", ["features", "logits"])
def test_a_target_layer_that_does_not_run_is_named(alias: str) -> None:
    class Model(Net):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(2, 2)

    with pytest.raises(CaptureError, match="layer 'unused' did not run"):
        find_adapter(Model(), target_layers={alias: "unused"}).run(images(), 4)


def test_a_nested_module_used_under_two_names() -> None:
    block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model = nn.Sequential(block, block, nn.Linear(4, 3))
    x = torch.randn(5, 4)
    _, read, _ = ran(model, x, 5)
    np.testing.assert_allclose(read.features, block(block(x)).detach().numpy(), rtol=1e-5)
    _, read, _ = ran(model, x, 5, target_layers={"features": "1"})
    np.testing.assert_allclose(read.features, block(block(x)).detach().numpy(), rtol=1e-5)


# --- inputs


def test_inputs_go_through_untouched() -> None:
    class Model(Net):
        def forward(self, batch: Any) -> Any:
            self.got = batch
            return super().forward(torch.stack(batch["images"]) if isinstance(batch, dict) else torch.stack(batch))

    model = Model()
    for batch in ({"images": list(images())}, list(images())):
        ran(model, batch, 4)
        assert model.got is batch


def test_a_dict_of_parameters_becomes_keywords() -> None:
    class Model(Net):
        def forward(self, image: torch.Tensor, scale: float = 1.0) -> Any:
            return super().forward(image * scale)

    model, x = Model(), images()
    output, read, _ = ran(model, {"image": x, "scale": 2.0}, 4)
    check(model, read)
    assert torch.equal(output, model(x, 2.0))


def test_two_adapters_and_a_copy_do_not_disturb_each_other() -> None:
    model = Net()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, two = find_adapter(model), find_adapter(model)
        x = images()
        first, second = one.run(x, 4)[1], two.run(x, 4)[1]
        third = find_adapter(copy.deepcopy(model)).run(x, 4)[1]
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.features, third.features)


def test_scripted_models_give_logits_only() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        models = [
            torch.jit.trace(module, images()),
            torch.jit.script(module),
            torch.export.export(module, (images(),)).module(),
        ]
    for model in models:
        adapter = find_adapter(model)
        with pytest.warns(MLDebuggerWarning, match="only its logits are recorded"):
            _, read = adapter.run(images(), 4)
        assert read.features is None
        assert read.logits.shape == (4, 3)
        assert adapter.run(images(), 4)[1].features is None
        assert adapter.weights_hash() == find_adapter(module).weights_hash()
