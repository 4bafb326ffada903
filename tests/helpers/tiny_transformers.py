"""transformers' detectors with random weights, small enough to run in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import nn
from transformers import (
    DetrConfig,
    DetrForObjectDetection,
    ResNetConfig,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrResNetConfig,
    YolosConfig,
    YolosForObjectDetection,
)

N_LABELS = 4
N_QUERIES = 12
WIDTH = 16
_BACKBONE: Final = {
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}
_SMALL: Final = {
    "d_model": WIDTH,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": WIDTH,
    "decoder_ffn_dim": WIDTH,
    "num_queries": N_QUERIES,
    "num_labels": N_LABELS,
    "use_timm_backbone": False,
}


def detr() -> DetrForObjectDetection:
    backbone = ResNetConfig(**_BACKBONE, out_features=["stage4"])
    return DetrForObjectDetection(DetrConfig(backbone_config=backbone, backbone=None, encoder_layers=1, **_SMALL))


def rt_detr() -> RTDetrForObjectDetection:
    backbone = RTDetrResNetConfig(**_BACKBONE, out_features=["stage2", "stage3", "stage4"])
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=WIDTH,
        encoder_in_channels=[8, 16, 16],
        decoder_in_channels=[WIDTH] * 3,
        feat_strides=[8, 16, 32],
        num_denoising=0,
        anchor_image_size=None,
        **_SMALL,
    )
    return RTDetrForObjectDetection(config)


def yolos() -> YolosForObjectDetection:
    config = YolosConfig(
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=WIDTH,
        image_size=[64, 96],
        num_detection_tokens=N_QUERIES,
        num_labels=N_LABELS,
    )
    return YolosForObjectDetection(config)


QUERY_FAMILIES: Final[dict[str, Callable[[], nn.Module]]] = {"detr": detr, "rt_detr": rt_detr, "yolos": yolos}


def tiny_query_detector(family: str) -> nn.Module:
    """A detector in eval mode whose scores spread over 0..1."""
    torch.manual_seed(0)
    model = QUERY_FAMILIES[family]().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "query_position" in name or "detection_tokens" in name:
                parameter.normal_()
            elif parameter.ndim > 1 and parameter.numel():
                parameter.normal_(0, 1.5 * parameter[0].numel() ** -0.5)
    return model


def pixel_values() -> torch.Tensor:
    """Two images."""
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
