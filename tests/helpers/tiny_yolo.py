"""A stand-in for ultralytics' YOLO objects: what they offer, in a few lines, where the library is not installed."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.ops import batched_nms, box_convert

N_CLASS = 5
STRIDES = (8, 16)


class Detect(nn.Module):
    """Two levels, one anchor per cell; returns decoded boxes and scores beside the raw ones."""

    def __init__(self, width: int, end2end: bool = False) -> None:
        super().__init__()
        self.nc, self.stride, self.end2end = N_CLASS, torch.tensor(STRIDES), end2end
        self.box, self.cls = nn.Conv2d(width, 4, 1), nn.Conv2d(width, N_CLASS, 1)

    def forward(self, maps: list[torch.Tensor]) -> tuple[torch.Tensor, dict[str, Any]]:
        raw = {
            "boxes": torch.cat([self.box(level).flatten(2) for level in maps], 2),
            "scores": torch.cat([self.cls(level).flatten(2) for level in maps], 2),
            "feats": maps,
        }
        decoded = self._inference(raw)
        if not self.end2end:
            return decoded, raw
        table = decoded.transpose(1, 2)
        score, label = table[..., 4:].max(-1)
        best = score.topk(20).indices
        found = torch.cat([table[..., :4], score[..., None], label[..., None].float()], -1)
        return found.gather(1, best[..., None].expand(-1, -1, 6)), {"one2many": {}, "one2one": raw}

    def _inference(self, raw: dict[str, Any]) -> torch.Tensor:
        centres, sizes = [], []
        for level, stride in zip(raw["feats"], STRIDES, strict=True):
            down, across = torch.meshgrid(
                *(torch.arange(n, device=level.device) + 0.5 for n in level.shape[-2:]), indexing="ij"
            )
            centres.append(torch.stack([across, down]).flatten(1) * stride)
            sizes.append(torch.full_like(centres[-1], 2.0 * stride))
        centre = torch.cat(centres, 1) + 4 * raw["boxes"][:, :2].tanh()
        size = torch.cat(sizes, 1) * raw["boxes"][:, 2:].sigmoid()
        first, second = (centre - size / 2, centre + size / 2) if self.end2end else (centre, size)
        return torch.cat([first, second, raw["scores"].sigmoid()], 1)


class Layers(nn.Module):
    def __init__(self, end2end: bool) -> None:
        super().__init__()
        self.model = nn.ModuleList([nn.Conv2d(3, 16, 8, 8), nn.Conv2d(16, 16, 2, 2), Detect(16, end2end)])

    def forward(self, x: torch.Tensor) -> Any:
        first = self.model[0](x)
        return self.model[-1]([first, self.model[1](first)])


class TinyYolo(nn.Module):
    """Images of 64 x 64 pixels after letter-boxing; runs a copy of the model, as ultralytics does."""

    def __init__(self, end2end: bool = False, chunk: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model, self.task, self.overrides = Layers(end2end), "detect", {"iou": 0.6}
        with torch.no_grad():
            self.model.model[-1].cls.weight.normal_(0, 3)
        self.chunk, self.warm_up = chunk, False
        self.predictor: nn.Module | None = None

    def __call__(self, source: Any = None, stream: bool = False, **kwargs: Any) -> Any:
        return self.predict(source, stream, **kwargs)

    @torch.inference_mode()
    def predict(
        self, source: Any, stream: bool = False, conf: float = 0.25, iou: float = 0.6, max_det: int = 300
    ) -> Any:
        if self.predictor is None:
            self.predictor = copy.deepcopy(self.model).eval()
        if self.warm_up:
            self.predictor(torch.zeros(1, 3, 64, 64))
        step = self.chunk or len(source)
        found = [
            self._detect(source[start : start + step], conf, iou, max_det) for start in range(0, len(source), step)
        ]
        results = [result for part in found for result in part]
        return iter(results) if stream else results

    def _detect(self, images: list[np.ndarray], conf: float, iou: float, max_det: int) -> list[Any]:
        boxed, places = zip(*(_letter_box(image) for image in images), strict=True)
        device = self.predictor.model[0].weight.device
        decoded, _ = self.predictor(torch.stack(boxed).to(device))
        results = []
        for rows, image, (gain, pad) in zip(decoded, images, places, strict=True):
            if self.model.model[-1].end2end:
                boxes, score, label = rows[:, :4], rows[:, 4], rows[:, 5]
                kept = (score > conf).nonzero()[:, 0][:max_det]
            else:
                boxes = box_convert(rows[:4].T, "cxcywh", "xyxy")
                score, label = rows[4:].max(0)
                chosen = (score > conf).nonzero()[:, 0]
                kept = chosen[batched_nms(boxes[chosen], score[chosen], label[chosen], iou)][:max_det]
            height, width = image.shape[:2]
            own = (boxes[kept] - pad.to(device)) / gain.to(device)
            own = own.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
            inner = SimpleNamespace(xyxy=own, conf=score[kept], cls=label[kept].float())
            results.append(SimpleNamespace(boxes=inner, orig_shape=(height, width)))
        return results


def _letter_box(image: np.ndarray) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    height, width = image.shape[:2]
    gain = 64 / max(height, width)
    high, wide = round(height * gain), round(width * gain)
    top, left = round((64 - high) / 2 - 0.1), round((64 - wide) / 2 - 0.1)
    small = nn.functional.interpolate(torch.tensor(image).permute(2, 0, 1)[None] / 255, (high, wide))[0]
    canvas = torch.full((3, 64, 64), 0.5)
    canvas[:, top : top + high, left : left + wide] = small
    across, down = wide / width, high / height
    return canvas, (torch.tensor([across, down, across, down]), torch.tensor([left, top, left, top]))


def photos() -> list[np.ndarray]:
    """Three images of different shapes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, shape, dtype=np.uint8) for shape in ((60, 90, 3), (100, 64, 3), (50, 50, 3))]
