"""YOLOX-nano run on images here, so that the candidates before suppression are visible."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidates", "open_session", "raw_candidates"]

SIZE: Final = 416
STRIDES: Final = (8, 16, 32)
FILL: Final = 114
LOWEST: Final = 0.01  # candidates below this score are dropped

Float32 = NDArray[np.float32]
Candidates = tuple[Float32, Float32, Float32]
"""Of one image: ``(M, 4)`` boxes in its pixels, ``(M, C)`` scores (objectness times class), ``(M,)`` objectness."""


def open_session(model: Path) -> Any:
    """An ONNX Runtime session on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def raw_candidates(session: Any, image: Path) -> Candidates:
    """What the detector says about one image before suppression."""
    from PIL import Image

    with Image.open(image) as picture:
        picture = picture.convert("RGB")
        ratio = min(SIZE / picture.width, SIZE / picture.height)
        size = (int(picture.width * ratio), int(picture.height * ratio))
        width, height = picture.width, picture.height
        pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    canvas = np.full((SIZE, SIZE, 3), FILL, dtype=np.float32)
    canvas[: size[1], : size[0]] = pixels[:, :, ::-1]
    (output,) = session.run(None, {"images": canvas.transpose(2, 0, 1)[None]})
    boxes, scores, objectness = _decode(output[0])
    kept = scores.max(axis=1) >= LOWEST
    boxes = boxes[kept] / ratio
    limits = np.array([width, height, width, height], dtype=np.float32)
    return np.clip(boxes, 0, limits).astype(np.float32), scores[kept], objectness[kept]


def _decode(output: Float32) -> Candidates:
    """``(A, 5 + C)`` raw rows as boxes on the canvas, scores of the classes, and objectness."""
    cells, strides = [], []
    for stride in STRIDES:
        side = SIZE // stride
        y, x = np.mgrid[:side, :side]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((side * side, 1), stride))
    stride = np.concatenate(strides)
    centre = (output[:, :2] + np.concatenate(cells)) * stride
    half = np.exp(output[:, 2:4]) * stride / 2
    return np.concatenate([centre - half, centre + half], axis=1), output[:, 4:5] * output[:, 5:], output[:, 4]
