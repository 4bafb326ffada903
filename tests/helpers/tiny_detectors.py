"""Real detectors of every family with random weights, small enough to run in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD

N_CLASS = 4
SIDE = 64


class TinyBackbone(nn.Module):
    """Two feature maps of strides 8 and 16."""

    def __init__(self, width: int = 32, second: int | None = None) -> None:
        super().__init__()
        self.out_channels = width
        self.stem = nn.Sequential(nn.Conv2d(3, width, 8, 8), nn.ReLU(inplace=True))
        self.deep = nn.Conv2d(width, second or width, 2, 2)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        first = self.stem(x)
        return {"0": first, "1": self.deep(first)}


def _anchors(per_place: int = 1) -> AnchorGenerator:
    ratios = (0.5, 1.0, 2.0)[:per_place]
    return AnchorGenerator(sizes=((16,), (32,)), aspect_ratios=(ratios, ratios))


def faster_rcnn() -> FasterRCNN:
    return FasterRCNN(
        TinyBackbone(),
        num_classes=N_CLASS,
        rpn_anchor_generator=_anchors(3),
        min_size=SIDE,
        max_size=2 * SIDE,
        rpn_post_nms_top_n_test=60,
        box_score_thresh=0.1,
    )


def retina_net() -> RetinaNet:
    return RetinaNet(
        TinyBackbone(), N_CLASS, min_size=SIDE, max_size=2 * SIDE, anchor_generator=_anchors(3), detections_per_img=40
    )


def fcos() -> FCOS:
    return FCOS(TinyBackbone(), N_CLASS, min_size=SIDE, max_size=2 * SIDE, anchor_generator=_anchors())


def ssd() -> SSD:
    backbone = TinyBackbone(16, 24)
    backbone.out_channels = [16, 24]
    return SSD(backbone, DefaultBoxGenerator([[2], [2]]), (SIDE, SIDE), N_CLASS, detections_per_img=30)


FAMILIES: Final[dict[str, Callable[[], nn.Module]]] = {
    "rcnn": faster_rcnn,
    "retinanet": retina_net,
    "fcos": fcos,
    "ssd": ssd,
}


def tiny_detector(family: str, seed: int = 0) -> nn.Module:
    """A detector in eval mode whose scores spread over 0..1."""
    torch.manual_seed(seed)
    model = FAMILIES[family]().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ("cls" in name or "classification" in name) and parameter.ndim > 1:
                parameter.normal_(0, (2.0 / parameter[0].numel()) ** 0.5)
            elif "cls_logits.bias" in name:
                parameter.fill_(-1)
            elif family == "fcos" and "bbox_reg.bias" in name:
                parameter.fill_(1.5)  # boxes large enough to overlap
    return model


def images(seed: int = 0) -> list[torch.Tensor]:
    """Two images of different sizes, one wide and one high."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(3, 70, 90, generator=generator), torch.rand(3, 100, 64, generator=generator)]
