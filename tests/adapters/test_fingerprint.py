"""Architecture and weights hashes: equal where the model is the same, different where it is not."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from ml_debugger.adapters.fingerprint import (
    SAMPLES,
    WeightsHash,
    callable_architecture,
    module_architecture,
    module_summary,
    unwrap,
)


def net(width: int = 600, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40), activation(), nn.Flatten(), nn.Linear(width, 10))


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_wrappers_and_forms_share_the_hashes(process_group: None) -> None:
    model = net()
    forms = {
        "data parallel": nn.DataParallel(model),
        "distributed": nn.parallel.DistributedDataParallel(model),
        "compiled": torch.compile(model, backend="eager"),
        "both": torch.compile(nn.DataParallel(model), backend="eager"),
        "train": copy.deepcopy(model).train(),
        "channels_last": copy.deepcopy(model).to(memory_format=torch.channels_last),
        "double": copy.deepcopy(model).double(),
    }
    for name, form in forms.items():
        assert module_architecture(form) == module_architecture(model), name
        assert WeightsHash(form)() == WeightsHash(model)(), name
    assert unwrap(forms["both"]) is model
    assert module_architecture(copy.deepcopy(model).half()) == module_architecture(model)
    assert module_architecture(nn.Sequential(torch.compile(model, backend="eager"))) == module_architecture(
        nn.Sequential(model)
    )


def test_other_architectures_differ() -> None:
    first = module_architecture(net())
    assert first != module_architecture(net(601))
    assert first != module_architecture(net(activation=nn.GELU))
    assert first != module_architecture(nn.Sequential(net()))
    assert first == module_architecture(net())


def test_a_person_knows_a_model_by_its_summary() -> None:
    shown = "Sequential (7,210 parameters, 0.weight (40, 3, 3, 3) to 4.weight (10, 600))"
    assert module_summary(net()) == module_summary(torch.compile(nn.DataParallel(net()))) == shown
    assert module_summary(nn.Sequential(torch.compile(nn.Linear(2, 3)))).endswith("0.weight (3, 2) to 0.weight (3, 2))")
    assert module_summary(nn.ReLU()) == "ReLU (0 parameters)"


def test_caches_in_buffers_do_not_count() -> None:
    model = net()
    before = module_architecture(model)
    model.register_buffer("cache", torch.zeros(7), persistent=False)
    assert module_architecture(model) == before
    model.register_buffer("table", torch.zeros(7))
    assert module_architecture(model) != before


def test_a_lazy_model_has_no_hash_before_it_ran() -> None:
    model = nn.Sequential(nn.LazyLinear(3))
    assert module_architecture(model) is None
    model(torch.randn(2, 4))
    assert module_architecture(model) == module_architecture(nn.Sequential(nn.Linear(4, 3)))


def test_callables_differ_by_what_they_return_only() -> None:
    first = callable_architecture("classification", {"logits": 3, "features": None})
    assert first == callable_architecture("classification", {"features": None, "logits": 3})
    assert first != callable_architecture("classification", {"logits": 4, "features": None})
    assert first != callable_architecture("classification", {"logits": 3, "features": 5})
    assert first != callable_architecture("other", {"logits": 3, "features": None})


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_one_optimizer_step_changes_the_weights(optimizer: type[torch.optim.Optimizer]) -> None:
    model = net(40 * 16)
    weights = WeightsHash(model)
    before = weights()
    assert weights() == before
    model(torch.randn(4, 3, 6, 6)).square().sum().backward()
    optimizer(model.parameters(), lr=1e-3).step()
    after = weights()
    assert after != before
    assert WeightsHash(model)() == after


def test_forward_in_train_mode_does_not_change_the_weights() -> None:
    model = net(40 * 16).train()
    before = WeightsHash(model)()
    model(torch.randn(4, 3, 6, 6))
    assert WeightsHash(model)() == before


def test_every_way_to_write_is_noticed() -> None:
    model = net()
    weights = WeightsHash(model)
    seen = [weights()]
    model.load_state_dict({name: value * 2 for name, value in model.state_dict().items()})
    seen.append(weights())
    for parameter in model.parameters():
        parameter.data.mul_(0.5)  # leaves the version as it was
    seen.append(weights())
    assert seen[2] == seen[0] != seen[1]
    model[4].weight.data = torch.zeros_like(model[4].weight)
    seen.append(weights())
    assert len(set(seen)) == 3


def test_unusual_parameters() -> None:
    assert WeightsHash(nn.ReLU())() is None
    with torch.inference_mode():
        model = nn.Linear(4, 4)
    assert WeightsHash(model)() == WeightsHash(model)()
    empty = nn.ParameterList([nn.Parameter(torch.zeros(0, 3)), nn.Parameter(torch.zeros(3))])
    assert WeightsHash(empty)() is not None


def test_a_hash_reads_few_elements_and_nothing_when_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.ModuleList(nn.Linear(500, 500, bias=False) for _ in range(20))
    read: list[int] = []
    sample = WeightsHash._sample
    monkeypatch.setattr(
        WeightsHash, "_sample", lambda self, parameter: read.append(len(found := sample(self, parameter))) or found
    )
    weights = WeightsHash(model)
    first = weights()
    assert sum(read) == 20 * SAMPLES < 5_000_000 / 20
    assert weights() == first
    assert len(read) == 20, "unchanged parameters are not read again"
