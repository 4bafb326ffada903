"""Train the detector of blood cells once, from scratch: ``python -m benchmarks.detection_errors.train_bccd``.

Needs torch, torchvision, NumPy, Pillow and safetensors only, so that it runs on a bare machine with a GPU. The images
are kept on the device as they are; flips, brightness and the size that the detector sees vary.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

__all__ = ["CLASSES", "WEIGHTS", "Cells", "average_precision", "build", "load", "main", "read_split", "save"]

CLASSES: Final = ("RBC", "WBC", "Platelets")  # labels 1, 2, 3; 0 is the background
WEIGHTS: Final = "bccd_fasterrcnn.safetensors"
SIZES: Final = (208, 224, 240, 256, 272)  # shorter sides while training
SIZE: Final = 240  # half of the images'
WIDTHS: Final = (3, 16, 32, 64, 64, 64)
STRIDES: Final = (2, 2, 2, 1, 1)
POOLED: Final = 5  # cells of a box along each side
N_HIDDEN: Final = 256
WARM_UP: Final = 100
GREATEST_GRADIENT: Final = 5.0


@dataclass(frozen=True)
class Cells:
    """B annotated images of one split.

    Attributes:
        names: Without suffix, one each.
        files: Paths, one each.
        boxes: ``(G, 4)`` x1 y1 x2 y2 in pixels of each image.
        labels: ``(G,)`` each, 1 to 3.
        degenerate: Annotated boxes without an area, which are left out.
    """

    names: tuple[str, ...]
    files: tuple[Path, ...]
    boxes: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]
    degenerate: int


def read_split(folder: Path, split: str) -> Cells:
    """A split of a folder in the format of Pascal VOC.

    Raises:
        FileNotFoundError: If the folder has no such split.
    """
    names = tuple((folder / "ImageSets" / "Main" / f"{split}.txt").read_text().split())
    boxes, labels, degenerate = [], [], 0
    for name in names:
        found = list(_objects(folder / "Annotations" / f"{name}.xml"))
        right = [(box, label) for box, label in found if box[2] > box[0] and box[3] > box[1]]
        degenerate += len(found) - len(right)
        boxes.append(np.array([box for box, _ in right], dtype=np.float32).reshape(-1, 4))
        labels.append(np.array([label for _, label in right], dtype=np.int64))
    files = tuple(folder / "JPEGImages" / f"{name}.jpg" for name in names)
    return Cells(names, files, tuple(boxes), tuple(labels), degenerate)


def _objects(path: Path) -> Iterator[tuple[list[float], int]]:
    for found in ET.parse(path).getroot().iter("object"):
        corners = [float(found.findtext(f"bndbox/{side}", "nan")) for side in ("xmin", "ymin", "xmax", "ymax")]
        yield corners, 1 + CLASSES.index(found.findtext("name", "").strip())


def build(sizes: tuple[int, ...] = (SIZE,)) -> Any:
    """Faster R-CNN on a small convolutional network of stride 8, at random weights: it trains in minutes on a CPU."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.rpn import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    layers: list[Any] = []
    for before, after, stride in zip(WIDTHS[:-1], WIDTHS[1:], STRIDES, strict=True):
        convolution = torch.nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        layers += [convolution, torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
    backbone = torch.nn.Sequential(*layers)
    backbone.out_channels = WIDTHS[-1]
    return FasterRCNN(
        backbone,
        min_size=sizes,
        max_size=2 * SIZE,
        rpn_anchor_generator=AnchorGenerator(((16, 32, 56, 96),), ((1.0,),)),
        rpn_pre_nms_top_n_train=600,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=600,
        rpn_post_nms_top_n_test=200,
        box_roi_pool=MultiScaleRoIAlign(["0"], POOLED, 2),
        box_head=TwoMLPHead(WIDTHS[-1] * POOLED**2, N_HIDDEN),
        box_predictor=FastRCNNPredictor(N_HIDDEN, 1 + len(CLASSES)),
        box_batch_size_per_image=96,
    )


def save(model: Any, path: Path) -> None:
    """The state dict as safetensors; weights with two or more axes in half precision."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    state = model.state_dict()
    half = {name: value.ndim >= 2 and value.is_floating_point() for name, value in state.items()}
    save_file(
        {name: (value.half() if half[name] else value).cpu().contiguous() for name, value in state.items()}, str(path)
    )


def load(path: Path) -> Any:
    """The detector with stored weights, ready to predict."""
    from safetensors.torch import load_file

    model = build()
    model.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in load_file(str(path)).items()}
    )
    return model.eval()


def pixels(files: Iterable[Path], device: str) -> list[Any]:
    """``(3, H, W)`` uint8 each, on the device."""
    found = []
    for path in files:
        with Image.open(path) as picture:
            found.append(torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).permute(2, 0, 1).to(device))
    return found


def flipped(image: Any, boxes: Any, across: bool, down: bool) -> tuple[Any, Any]:
    """Image ``(3, H, W)`` and boxes ``(G, 4)``, mirrored left to right and upside down."""
    height, width = image.shape[-2:]
    if across:
        image, boxes = (
            image.flip(-1),
            torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1),
        )
    if down:
        image, boxes = (
            image.flip(-2),
            torch.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], 1),
        )
    return image, boxes


def train(cells: Cells, options: argparse.Namespace) -> Any:
    """The detector after all epochs."""
    torch.manual_seed(options.seed)
    random = np.random.default_rng(options.seed)
    device, model = options.device, build(SIZES).to(options.device).train()
    images = pixels(cells.files, device)
    truths = [
        {"boxes": torch.from_numpy(boxes).to(device), "labels": torch.from_numpy(labels).to(device)}
        for boxes, labels in zip(cells.boxes, cells.labels, strict=True)
    ]
    steps = options.epochs * max(1, len(images) // options.batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=1e-2)
    pace = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _pace(step, steps))
    half = device.startswith("cuda")
    scaler = torch.amp.GradScaler("cuda", enabled=half)
    start = time.monotonic()
    for epoch in range(options.epochs):
        losses = []
        order = random.permutation(len(images))
        for first in range(0, max(1, len(images) // options.batch) * options.batch, options.batch):
            batch = [_drawn(images[place], truths[place], random) for place in order[first : first + options.batch]]
            with torch.autocast("cuda", dtype=torch.float16, enabled=half):
                loss = sum(model(*map(list, zip(*batch, strict=True))).values())
            optimiser.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimiser)
            torch.nn.utils.clip_grad_norm_(model.parameters(), GREATEST_GRADIENT)
            scaler.step(optimiser)
            scaler.update()
            pace.step()
            losses.append(loss.detach())
        _show(epoch + 1, options.epochs, float(torch.stack(losses).mean()), time.monotonic() - start)
    model.transform.min_size = (SIZE,)
    return model.eval()


def _pace(step: int, steps: int) -> float:
    """Share of the greatest learning rate: linear warm-up, then half a cosine."""
    warm_up = min(WARM_UP, max(1, steps // 5))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))


def _drawn(image: Any, truth: dict[str, Any], random: np.random.Generator) -> tuple[Any, dict[str, Any]]:
    across, down = (random.random(2) < 0.5).tolist()
    picture, boxes = flipped(image, truth["boxes"], across, down)
    gain, offset = random.uniform(0.8, 1.2), random.uniform(-0.1, 0.1)
    return (picture.float() / 255.0 * gain + offset).clamp(0.0, 1.0), {"boxes": boxes, "labels": truth["labels"]}


def _show(epoch: int, epochs: int, loss: float, seconds: float) -> None:
    left = seconds / epoch * (epochs - epoch)
    bar = "#" * round(30 * epoch / epochs)
    line = f"[{bar:<30}] epoch {epoch}/{epochs}, loss {loss:.3f}, {seconds:.0f} s, {left:.0f} s left"
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{line}" + ("\n" if epoch == epochs else ""))
    elif epoch == 1 or epoch == epochs or epoch % 10 == 0:
        sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def predictions(model: Any, cells: Cells, device: str) -> list[dict[str, Any]]:
    """The dicts that torchvision returns, of all images, on the CPU."""
    found = []
    with torch.no_grad():
        for image in pixels(cells.files, device):
            (output,) = model([image.float() / 255.0])
            found.append({name: value.cpu() for name, value in output.items()})
    return found


def average_precision(found: Sequence[dict[str, Any]], cells: Cells) -> float | None:
    """AP at IoU .5 by pycocotools, else torchmetrics; None where neither is installed."""
    try:
        return _by_pycocotools(found, cells)
    except ImportError:
        pass
    try:
        from torchmetrics.detection import MeanAveragePrecision

        metric = MeanAveragePrecision(iou_thresholds=[0.5])
    except ImportError:
        return None
    truths = [
        {"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)}
        for boxes, labels in zip(cells.boxes, cells.labels, strict=True)
    ]
    metric.update(list(found), truths)
    return float(metric.compute()["map_50"])


def _by_pycocotools(found: Sequence[dict[str, Any]], cells: Cells) -> float:
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict[str, Any]] = []
    for image, (boxes, labels) in enumerate(zip(cells.boxes, cells.labels, strict=True)):
        for box, label in zip(_corner_and_size(boxes), labels.tolist(), strict=True):
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": label, "bbox": box}
                | {"area": box[2] * box[3], "iscrowd": 0}
            )
    results = [
        {"image_id": image, "category_id": label, "bbox": box, "score": score}
        for image, output in enumerate(found)
        for box, label, score in zip(
            _corner_and_size(output["boxes"].numpy()), output["labels"].tolist(), output["scores"].tolist(), strict=True
        )
    ]
    if not results:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(cells.names))],
            "categories": [{"id": 1 + place, "name": name} for place, name in enumerate(CLASSES)],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[1])


def _corner_and_size(boxes: np.ndarray) -> list[list[float]]:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection_errors.train_bccd", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with Annotations, ImageSets, JPEGImages")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3, help="greatest learning rate of AdamW")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, help=f"file of the weights; by default {WEIGHTS} in the cache")
    options = parser.parse_args(arguments)
    if options.data is None:
        from benchmarks.error_detection.traces import data_folder

        options.data = data_folder() / "bccd" / "BCCD"
    if options.output is None:
        from benchmarks.error_detection.stored import cache_folder

        options.output = cache_folder() / WEIGHTS
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, save, and say how good it is on the test split."""
    options = _parsed(arguments)
    cells, held = read_split(options.data, "train"), read_split(options.data, "test")
    sys.stderr.write(
        f"{len(cells.names)} images, {sum(map(len, cells.boxes))} boxes, {cells.degenerate} degenerate ones left out\n"
    )
    save(train(cells, options), options.output)
    stored = load(options.output).to(options.device)
    precision = average_precision(predictions(stored, held, options.device), held)
    said = (
        "not measured: neither pycocotools nor torchmetrics is installed" if precision is None else f"{precision:.3f}"
    )
    sys.stdout.write(f"AP50 on {len(held.names)} test images: {said}\nweights: {options.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
