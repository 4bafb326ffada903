"""Classifiers of timm, torchvision and transformers, built from their configurations without weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ml_debugger.adapters import find_adapter
from ml_debugger.types import ModelOutput

C = 7


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def traced(
    model: nn.Module, batch: Any, n: int, wrap: Callable[[nn.Module], nn.Module] = lambda m: m
) -> tuple[Any, Any, Any]:
    """Two runs in eval mode: the second output, what was read, and the description."""
    adapter = find_adapter(wrap(model.eval()))
    with torch.no_grad():
        adapter.run(batch, n)
        output, read = adapter.run(batch, n)
    assert all(not module._forward_hooks for module in model.modules())
    return output, read, adapter.describe()


def check_head(model: nn.Module, read: ModelOutput, path: str) -> None:
    """The features, put through the head, give the logits."""
    head = model.get_submodule(path)
    with torch.no_grad():
        logits = head(torch.from_numpy(read.features))
    np.testing.assert_allclose(logits.numpy(), read.logits, rtol=1e-4, atol=1e-5)


TORCHVISION = {
    "resnet18": "fc",
    "alexnet": "classifier.6",
    "mobilenet_v3_small": "classifier.3",
    "shufflenet_v2_x0_5": "fc",
    "mnasnet0_5": "classifier.1",
    "densenet121": "classifier",
    "efficientnet_b0": "classifier.1",
    "regnet_y_400mf": "fc",
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str) -> None:
    from torchvision import models

    model = models.get_model(name, weights=None, num_classes=C)
    output, read, found = traced(model, torch.randn(2, 3, 64, 64), 2)
    assert found["head"] == TORCHVISION[name]
    check_head(model, read, found["head"])
    np.testing.assert_array_equal(read.logits, output.numpy())


def test_torchvision_vision_transformer() -> None:
    from torchvision.models import VisionTransformer

    model = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=C)
    _, read, found = traced(model, torch.randn(3, 3, 32, 32), 3)
    assert found["head"] == "heads.head"
    check_head(model, read, "heads.head")


def test_torchvision_squeezenet_averages_its_map() -> None:
    from torchvision.models import squeezenet1_1

    model = squeezenet1_1(weights=None, num_classes=C)
    x = torch.randn(2, 3, 64, 64)
    _, read, found = traced(model, x, 2)
    assert found["head"] == "classifier.1"
    with torch.no_grad():
        expected = model.features(x).mean((2, 3))
    np.testing.assert_allclose(read.features, expected.numpy(), rtol=1e-5, atol=1e-6)


def test_torchvision_googlenet_in_train_mode_returns_a_named_tuple() -> None:
    from torchvision.models import googlenet

    model = googlenet(weights=None, num_classes=C, init_weights=False).train()
    adapter = find_adapter(model)
    output, read = adapter.run(torch.randn(2, 3, 64, 64), 2)
    assert adapter.describe()["head"] == "fc"
    np.testing.assert_array_equal(read.logits, output.logits.detach().numpy())
    assert model.training


def test_target_layer_of_torchvision() -> None:
    from torchvision.models import resnet18

    model = resnet18(weights=None, num_classes=C).eval()
    x = torch.randn(2, 3, 64, 64)
    auto = find_adapter(model).run(x, 2)[1]
    for layer in ("avgpool", "layer4"):
        read = find_adapter(model, target_layers={"features": layer}).run(x, 2)[1]
        np.testing.assert_allclose(read.features, auto.features, rtol=1e-4, atol=1e-6)


TIMM = {
    "resnet10t": "fc",
    "mobilenetv3_small_050": "classifier",
    "convnext_atto": "head.fc",
    "regnetx_002": "head.fc",
    "mobilevit_xxs": "head.fc",
    "test_vit": "head",
    "test_efficientnet": "classifier",
    "test_byobnet": "head.fc",
}


@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str) -> None:
    import timm

    model = timm.create_model(name, pretrained=False, num_classes=C)
    size = model.pretrained_cfg.get("input_size", (3, 64, 64))[-1] if "vit" in name else 64
    _, read, found = traced(model, torch.randn(2, 3, size, size), 2)
    assert found["head"] == TIMM[name]
    check_head(model, read, found["head"])


def test_timm_swin_with_token_maps() -> None:
    import timm

    model = timm.create_model(
        "swin_tiny_patch4_window7_224", pretrained=False, num_classes=C, img_size=64, window_size=2, embed_dim=16,
        depths=(1, 1), num_heads=(1, 2),
    )  # fmt: skip
    _, read, found = traced(model, torch.randn(2, 3, 64, 64), 2)
    assert found["head"] == "head.fc"
    check_head(model, read, "head.fc")


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
TEXT = {"vocab_size": 50, "max_position_embeddings": 32}
VISION = {"image_size": 16, "patch_size": 8}


def text_batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 50, (3, 9))
    mask = torch.ones(3, 9, dtype=torch.int64)
    for row, length in enumerate((9, 5, 7)):
        ids[row, length:] = 0
        mask[row, length:] = 0
    return {"input_ids": ids, "attention_mask": mask}


TEXTS = {
    "Bert": ({**SMALL, **TEXT}, "classifier"),
    "Roberta": ({**SMALL, **TEXT, "pad_token_id": 0}, "classifier.out_proj"),
    "DistilBert": ({"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24, **TEXT}, "classifier"),
    "Electra": ({**SMALL, **TEXT, "embedding_size": 16}, "classifier.out_proj"),
    "GPT2": (
        {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 50, "n_positions": 32, "pad_token_id": 0},
        "score",
    ),
    "Llama": ({**SMALL, **TEXT, "num_key_value_heads": 2, "pad_token_id": 0}, "score"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_transformers_text(name: str) -> None:
    import transformers

    settings, head = TEXTS[name]
    config = getattr(transformers, f"{name}Config")(num_labels=C, **settings)
    model = getattr(transformers, f"{name}ForSequenceClassification")(config)
    batch = text_batch()
    for given in (batch, transformers.BatchEncoding(batch)):
        output, read, found = traced(model, given, 3)
        assert found["head"] == head
        assert type(output).__name__.endswith("Output") or hasattr(output, "logits")
        np.testing.assert_allclose(read.logits, output.logits.numpy(), rtol=1e-6)
        check_head(model, read, head)


def test_transformers_with_labels_in_the_input_and_a_tuple_out() -> None:
    import transformers

    model = transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=C, **SMALL, **TEXT))
    batch = {**text_batch(), "labels": torch.tensor([0, 1, 2])}
    output, read, _ = traced(model, batch, 3)
    np.testing.assert_array_equal(read.logits, output.logits.numpy())
    output, read, _ = traced(model, {**batch, "return_dict": False}, 3)
    np.testing.assert_array_equal(read.logits, output[1].numpy())


IMAGES = {
    "ViT": ({**SMALL, **VISION}, "ViTForImageClassification", "classifier"),
    "Dinov2": ({**SMALL, **VISION}, "Dinov2ForImageClassification", "classifier"),
    "Siglip": ({"vision_config": {**SMALL, **VISION}}, "SiglipForImageClassification", "classifier"),
    "CLIP": ({"vision_config": {**SMALL, **VISION}}, "CLIPForImageClassification", "classifier"),
    "ResNet": (
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        "ResNetForImageClassification",
        "classifier.1",
    ),
    "ConvNext": (
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
        "ConvNextForImageClassification",
        "classifier",
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_transformers_images(name: str) -> None:
    import transformers

    settings, model_class, head = IMAGES[name]
    model = getattr(transformers, model_class)(getattr(transformers, f"{name}Config")(num_labels=C, **settings))
    output, read, found = traced(model, {"pixel_values": torch.randn(2, 3, 16, 16)}, 2)
    assert found["head"] == head
    np.testing.assert_array_equal(read.logits, output.logits.numpy())
    assert read.features.shape == (2, 32 if name == "Dinov2" else 16)


# --- wrappers


@pytest.mark.parametrize("kind", ["data", "distributed"])
def test_parallel_wrappers(kind: str, tmp_path: Path) -> None:
    from torchvision.models import resnet18

    model = resnet18(weights=None, num_classes=C)
    x = torch.randn(2, 3, 32, 32)
    _, plain, _ = traced(model, x, 2)
    bare = find_adapter(model)
    if kind == "data":
        wrapped: nn.Module = nn.DataParallel(model)
        _, read, found = traced(model, x, 2, lambda m: wrapped)
    else:
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
        try:
            wrapped = nn.parallel.DistributedDataParallel(model)
            _, read, found = traced(model, x, 2, lambda m: wrapped)
        finally:
            torch.distributed.destroy_process_group()
    np.testing.assert_array_equal(read.features, plain.features)
    assert found["head"] == "fc"
    adapter = find_adapter(wrapped, target_layers={"features": "module.avgpool"})
    assert adapter.architecture_hash == bare.architecture_hash
    assert adapter.weights_hash() == bare.weights_hash()
