"""A YOLOX detector in ONNX Runtime, traced and filtered as it is: decoding, suppression and all, in one function.

Run it with: python examples/yolox_onnx.py
It looks for models/yolox_nano.onnx and coco355/ in ../shared/data, or in the folder that MLD_TEST_DATA names; point it
to your own model and images by changing `load_data`. It writes pictures of wrong boxes (yolox_examples.png) and the
report (yolox_report.html), for which supervision must be installed: ml-debugger[detection].
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image

from ml_debugger.data_filter import ObjectDetectionDataFilter
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ObjectDetectionTracer

DATA = Path(os.environ.get("MLD_TEST_DATA", "../shared/data"))
SIDE, STRIDES = 416, (8, 16, 32)
N_LABELLED, N_POOL = 120, 40  # enough for a first look; all of them say more
WORST = {"target_column": "error_proba", "top_n": 3, "img_error_threshold": 0.6}


class YoloX:
    """Images in, one dict of boxes per image out, with what the network knows besides."""

    def __init__(self, path: Path, score_thresh: float = 0.3, iou_thresh: float = 0.45) -> None:
        network = onnx.load(path)
        self.heads = feature_names(network)
        # What the class convolutions look at becomes an output too: it is what the model knows about each place.
        network.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.heads)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        data = network.SerializeToString()
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.score_thresh, self.iou_thresh = score_thresh, iou_thresh
        cells = [np.stack(np.meshgrid(*[np.arange(SIDE // s)] * 2), axis=-1).reshape(-1, 2) for s in STRIDES]
        self.grid = np.concatenate(cells).astype(np.float32)
        self.stride = np.concatenate([np.full((len(c), 1), s) for c, s in zip(cells, STRIDES, strict=True)])

    def __call__(self, images: list[np.ndarray]) -> list[dict[str, object]]:
        """Boxes of images (H, W, 3), RGB 0-255."""
        return [self.detect(image) for image in images]

    def detect(self, image: np.ndarray) -> dict[str, object]:
        """The boxes of one image."""
        scale = min(SIDE / image.shape[0], SIDE / image.shape[1])
        raw, *maps = self.session.run(["output", *self.heads], {"images": letter_box(image, scale)})
        centre, size = (raw[0, :, :2] + self.grid) * self.stride, np.exp(raw[0, :, 2:4]) * self.stride
        boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1) / scale
        scores = raw[0, :, 4:5] * raw[0, :, 5:]
        features = np.concatenate([level[0].reshape(level.shape[1], -1).T for level in maps])
        of_class = raw[0, :, 5:].clip(1e-7, 1 - 1e-7)  # without the objectness: what the two say apart is worth more
        logits = np.log(of_class) - np.log1p(-of_class)
        label, score = scores.argmax(1), scores.max(1)
        kept = suppress(boxes, label, score, self.score_thresh, self.iou_thresh)
        seen = score > 0.01
        return {
            "boxes": boxes[kept],
            "labels": label[kept],
            "scores": score[kept],
            "logits": logits[kept],
            "features": features[kept],
            "candidates": {"boxes": boxes[seen], "scores": scores[seen]},
        }


def feature_names(network: onnx.ModelProto) -> list[str]:
    """The inputs of the convolutions that give the scores of the 80 classes, one per stride."""
    rows = {weight.name: weight.dims[0] for weight in network.graph.initializer}
    return [n.input[0] for n in network.graph.node if n.op_type == "Conv" and rows[n.input[1]] == 80]


def letter_box(image: np.ndarray, scale: float) -> np.ndarray:
    """The image scaled into the corner of a grey square, as the network takes it: (1, 3, H, W), BGR 0-255."""
    height, width = (int(side * scale) for side in image.shape[:2])
    square = np.full((SIDE, SIDE, 3), 114, np.float32)
    square[:height, :width] = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(square[None, :, :, ::-1].transpose(0, 3, 1, 2))


def suppress(boxes: np.ndarray, label: np.ndarray, score: np.ndarray, least: float, most: float) -> np.ndarray:
    """Which boxes stay: those that no better box of their class overlaps by more than `most`, best first."""
    order = np.flatnonzero(score >= least)
    order = order[np.argsort(-score[order])]
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = (high - low).clip(0).prod(1)
        area, areas = (boxes[best, 2:] - boxes[best, :2]).prod(), (boxes[rest, 2:] - boxes[rest, :2]).prod(1)
        order = rest[(shared <= most * (area + areas - shared)) | (label[rest] != label[best])]
    return np.array(kept, dtype=int)


def load_data(folder: Path) -> tuple[dict[int, Path], dict[int, list[dict]], dict[int, str]]:
    """Image files and COCO annotations by image id, and names of the classes."""
    coco = json.loads((folder / "instances.json").read_text())
    files = {image["id"]: folder / "images" / image["file_name"] for image in coco["images"]}
    annotations: dict[int, list[dict]] = {number: [] for number in files}
    for one in coco["annotations"]:
        annotations[one["image_id"]].append(one)
    return files, annotations, {one["id"]: one["name"] for one in coco["categories"]}


if __name__ == "__main__":
    if not (DATA / "models" / "yolox_nano.onnx").exists():
        print(f"No models/yolox_nano.onnx in {DATA.resolve()}: set MLD_TEST_DATA to the folder that has it.")
    else:
        files, annotations, class_names = load_data(DATA / "coco355")
        detect = YoloX(DATA / "models" / "yolox_nano.onnx")
        ids = list(files)[: N_LABELLED + N_POOL]

        def batches(chosen: list[int]) -> Iterator[tuple[list[int], list[np.ndarray]]]:
            for start in range(0, len(chosen), 16):
                batch = chosen[start : start + 16]
                yield batch, [np.asarray(Image.open(files[number]).convert("RGB")) for number in batch]

        tracer = ObjectDetectionTracer(detect, "yolox_nano", "coco", n_class=80)
        for batch, images in batches(ids[:N_LABELLED]):
            tracer(images, [annotations[number] for number in batch], batch, dataset_type="val")
        tracer.wait_for_save()
        result = Evaluator("yolox_nano", "coco").request_evaluation()
        print(result.summary())
        print(f"\n{len(result.missed())} objects were missed. The most frequent errors:")
        wrong = result.samples(only_errors=True)["error_code"].value_counts()
        print(wrong.head(5).to_string(header=False))
        result.plot_examples(9, images=files, class_names=class_names).savefig("yolox_examples.png", dpi=120)
        print("Pictures:", result.report("yolox_report.html", images=files, class_names=class_names))

        flagged = []
        data_filter = ObjectDetectionDataFilter(
            detect, "yolox_nano", "coco", result.result_name, filter_config=WORST, n_class=80
        )
        for batch, images in batches(ids[N_LABELLED:]):
            _, flags = data_filter(images, batch)  # flags come while the detector runs
            flagged += [number for number, flag in zip(batch, flags, strict=True) if flag]
        print(f"{len(flagged)} of {N_POOL} images were flagged; look at these first:")
        print([files[number].name for number in data_filter.query(5, WORST)])
