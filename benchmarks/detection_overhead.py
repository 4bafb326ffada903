"""What tracing and filtering cost a detector: a tracer's or filter's call against the bare forward of the same model.

Run it with: python -m benchmarks.detection_overhead [--pairs 30] [--threads 2] [--cpu-time] [--model frcnn]

Batches of eight images of 640 x 480 pixels go through torchvision's ``fasterrcnn_mobilenet_v3_large_320_fpn`` and an
ultralytics nano model (left out where ultralytics is not installed). Weights are random, since none can be downloaded
everywhere: the last layer is spread and its bias chosen so that about 20 boxes an image come out, as on street scenes;
how many boxes and candidates there were is printed. Filtering has everything in it: hooks, features of boxes,
candidates before suppression, scores, and the value and flag of each image.

Each round times the bare forward, the tracer and the filter on the same batch, in random order; ratios are taken
within a round, so that a busy machine slows all sides. Nothing is written while a call is timed: what the writer thread
does is timed apart, as ``wait_for_save()`` of a full buffer (8,192 boxes, the default), and its share per call is added
as if nothing of it overlapped with the model. ``--cpu-time`` counts the processor time of the process (all its threads)
instead of the wall clock, for a machine that is doing other work. ``--profile`` prints where the time of the filter's
calls goes, the model's own left out.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import os
import pstats
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.bench_overhead import BUFFER_ROWS, FLUSHES, median_interval
from ml_debugger.data_filter import ObjectDetectionDataFilter
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ObjectDetectionTracer

BATCH, HEIGHT, WIDTH = 8, 480, 640
BOXES_PER_IMAGE = 20
TRACED_BATCHES, WRONG = 4, 0.3
BOUND = 1.05
Contenders = dict[str, tuple[Callable[[], Any], Any]]
"""By name: a call, and the tracer or filter that it is of."""

FILTER = {"top_n": 3, "aggregation": "median", "weight_column": "pred_size", "img_error_threshold": 0.5}


@dataclass(frozen=True)
class Case:
    """A detector: what it is called with, and how its boxes are read."""

    name: str
    model: Any
    inputs: Callable[[list[np.ndarray]], Any]
    call: Callable[[Any], Any]
    boxes: Callable[[Any], list[tuple[np.ndarray, np.ndarray]]]


def faster_rcnn() -> Case:
    """The small Faster R-CNN of torchvision."""
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).eval()

    def read(output: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(one["boxes"].numpy(), one["labels"].numpy()) for one in output]

    def as_tensors(images: list[np.ndarray]) -> list[torch.Tensor]:
        return [torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in images]

    # The output of one layer after the other is given a spread: random weights alone see the same in every place.
    case = Case("fasterrcnn_mobilenet_v3_large_320_fpn", model, as_tensors, model, read)
    standardise(model.backbone, torch.stack(as_tensors(photos(2, seed=7))))
    torch.nn.init.normal_(model.rpn.head.cls_logits.weight, 0, 0.01)
    torch.nn.init.zeros_(model.rpn.head.bbox_pred.weight)
    layer = model.roi_heads.box_predictor.cls_score
    spread([layer], lambda: model(as_tensors(photos(BATCH, seed=1))), 1.5)
    background = layer.bias[0].item()
    return tuned(case, lambda value: torch.nn.init.constant_(layer.bias[:1], background - value))


def yolo() -> Case | None:
    """The nano model of ultralytics; None where it is not installed."""
    os.environ.setdefault("YOLO_OFFLINE", "true")
    try:
        from ultralytics import YOLO
    except ImportError:
        return None
    model = YOLO("yolo11n.yaml")
    batch = torch.stack([torch.from_numpy(one).permute(2, 0, 1) / 255 for one in photos(BATCH, seed=1)])
    standardise(model.model, batch)
    last = [branch[-1] for branch in model.model.model[-1].cv3]
    # of half a million scores an image few are to lie between noise and a box, as in a trained head
    spread(last, lambda: model.model(batch), 6.0)
    biases = [layer.bias.detach().clone() for layer in last]

    def read(output: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(one.boxes.xyxy.cpu().numpy(), one.boxes.cls.cpu().numpy().astype(int)) for one in output]

    def shift(value: float) -> None:
        model.predictor = None  # it runs a copy
        for layer, bias in zip(last, biases, strict=True):
            layer.bias.data.copy_(bias + value)

    case = Case(
        "ultralytics yolo11n",
        model,
        lambda images: {"source": images, "verbose": False},
        lambda given: model(**given),
        read,
    )
    return tuned(case, shift, -120.0, -10.0)


def photos(count: int, seed: int) -> list[np.ndarray]:
    """Images (480, 640, 3) uint8 with shapes at all scales, so that places differ."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        image = np.zeros((HEIGHT, WIDTH, 3))
        for cells in (4, 8, 16, 32, 80, 160):
            small = rng.normal(size=(-(-HEIGHT // (WIDTH // cells)), cells, 3))
            image += np.kron(small, np.ones((WIDTH // cells, WIDTH // cells, 1)))[:HEIGHT]
        found.append(np.clip(127 + 30 * image, 0, 255).astype(np.uint8))
    return found


def standardise(model: Any, batch: torch.Tensor) -> None:
    """Statistics of batch normalisation, layer by layer, from a batch: so activations neither die nor explode."""

    def before(layer: Any, args: Any) -> None:
        spread, mean = torch.var_mean(args[0].float(), dim=(0, 2, 3))
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(spread + 1e-3)

    norms = [one for one in model.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    handles = [one.register_forward_pre_hook(before) for one in norms]
    with torch.no_grad():
        model.eval()(batch)
    for handle in handles:
        handle.remove()


@torch.no_grad()
def spread(layers: list[Any], run: Callable[[], Any], deviation: float) -> None:
    """Give each class logits of mean 0 and that deviation over the places of a batch, as distinct as if learned."""
    seen: dict[Any, torch.Tensor] = {}
    handles = [one.register_forward_hook(lambda layer, _, output: seen.update({layer: output})) for one in layers]
    run()
    for handle in handles:
        handle.remove()
    for layer, output in seen.items():
        own, mean = torch.std_mean(output.movedim(1, 0).flatten(1), dim=1)
        scale = deviation / own.clamp(min=1e-6)
        layer.weight.mul_(scale.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias.sub_(mean).mul_(scale)


@torch.no_grad()
def tuned(case: Case, shift: Callable[[float], Any], low: float = -20.0, high: float = 20.0) -> Case:
    """The bias at which about `BOXES_PER_IMAGE` boxes come out, by halving."""
    given = case.inputs(photos(BATCH, seed=1))
    for _ in range(10):
        middle = (low + high) / 2
        shift(middle)
        count = np.mean([len(labels) for _, labels in case.boxes(case.call(given))])
        low, high = (middle, high) if count < BOXES_PER_IMAGE else (low, middle)
    return case


def prepare(case: Case) -> tuple[ObjectDetectionTracer, ObjectDetectionDataFilter]:
    """A tracer and a filter; the annotations are the model's own boxes, a share of them moved."""
    os.environ["MLD_HOME"] = tempfile.mkdtemp(prefix="mld-bench-")
    rng = np.random.default_rng(0)
    tracer = ObjectDetectionTracer(case.model, "bench", "v1")
    for number in range(TRACED_BATCHES):
        given = case.inputs(photos(BATCH, seed=100 + number))
        truths = []
        for boxes, labels in case.boxes(case.call(given)):
            moved = boxes + (rng.random(len(boxes)) < WRONG)[:, None] * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
            truths.append({"boxes": moved, "labels": labels})
        tracer(given, truths, [f"{number}-{i}" for i in range(BATCH)], dataset_type="val")
    result = Evaluator("bench", "v1").request_evaluation(options={"bootstrap": 5})
    os.environ["MLD_BUFFER_ROWS"], os.environ["MLD_BUFFER_MB"] = str(2 * BUFFER_ROWS), "512"
    timed = ObjectDetectionTracer(case.model, "bench", "v1")
    return timed, ObjectDetectionDataFilter(case.model, "bench", "v1", result.result_name, filter_config=FILTER)


def contenders_of(case: Case, given: Any) -> tuple[Contenders, ObjectDetectionDataFilter]:
    """Bare forward, tracer and filter on one batch."""
    tracer, data_filter = prepare(case)
    numbers = itertools.count()
    truths = [{"boxes": boxes, "labels": labels} for boxes, labels in case.boxes(case.call(given))]

    def ids() -> list[int]:
        return list(itertools.islice(numbers, BATCH))

    contenders = {
        "bare": (lambda: case.call(given), None),
        "tracer": (lambda: tracer(given, truths, ids(), dataset_type="timed"), tracer),
        "filter": (lambda: data_filter(given, ids()), data_filter),
    }
    return contenders, data_filter


def measure(
    contenders: Contenders, pairs: int, clock: Callable[[], float]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Seconds per call of each contender, per round (pairs,); seconds of writing per call."""
    flushes = {name: flush_seconds(call, role, clock) for name, (call, role) in contenders.items() if role}
    random = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(-2, pairs):
        for name in random.permutation(list(contenders)).tolist():
            call, role = contenders[name]
            start = clock()
            call()
            if turn >= 0:  # the first rounds warm up
                times[name].append(clock() - start)
            if role:
                role.wait_for_save()
    return {name: np.array(seconds) for name, seconds in times.items()}, flushes


def told(data_filter: ObjectDetectionDataFilter) -> str:
    """How many boxes there were, and what was read of them."""
    found = data_filter.describe()
    per_image = len(data_filter.scores()) / len(data_filter.missed_proba())
    return f"{per_image:.1f} boxes an image, {found['n_classes']} classes, {found['n_features']} features of each box"


def flush_seconds(call: Callable[[], Any], role: Any, clock: Callable[[], float]) -> float:
    """Median of what it takes to write a full buffer, per call: the rows of one call, put in as often as needed."""
    writer, put = role._recorder.writer, role._recorder.writer.put
    seen: list[Any] = []
    writer.put = lambda *arguments: seen.append(arguments)
    call()
    writer.put = put
    rows = seen[0][1]["records"].num_rows
    found = []
    for _ in range(FLUSHES):
        for _ in range(BUFFER_ROWS // rows):
            put(*seen[0])
        started = clock()
        role.wait_for_save()
        found.append((clock() - started) / (BUFFER_ROWS // rows))
    return float(np.median(found))


def print_profile(call: Callable[[], Any]) -> None:
    """Where the time of a filter's calls goes."""
    call()
    watch = cProfile.Profile()
    watch.enable()
    for _ in range(10):
        call()
    watch.disable()
    pstats.Stats(watch).sort_stats("cumulative").print_stats("ml_debugger", 45)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--model", choices=["frcnn", "yolo"], help="only this one")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    builders = {"frcnn": faster_rcnn, "yolo": yolo}
    chosen = [builders[arguments.model]] if arguments.model else list(builders.values())
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {arguments.threads} threads\n")
    for number, build in enumerate(chosen):
        case = build()
        if case is None:
            print("ultralytics is not installed: its model was left out")
            continue
        with torch.no_grad():
            contenders, data_filter = contenders_of(case, case.inputs(photos(BATCH, seed=1)))
            if arguments.profile:
                print_profile(contenders["filter"][0])
                print(told(data_filter))
                continue
            times, flushes = measure(contenders, arguments.pairs, clock)
            show(f"{case.name}, {told(data_filter)}", times, flushes, header=not number)


def show(
    name: str,
    times: dict[str, np.ndarray],
    flushes: dict[str, float],
    header: bool = True,
    bound: float | None = BOUND,
) -> None:
    """One table row per role; without a bound, without its columns."""
    if header:
        print(
            "| model | bare forward, ms | call | added, ms | writing, ms | ratio without writing | ratio | "
            "95 % interval |" + (" bound | holds |" if bound else "")
        )
        print("|---|--:|---|--:|--:|--:|--:|---|" + ("--:|---|" if bound else ""))
    bare = times.pop("bare")
    for role, seconds in times.items():
        alone = float(np.median(seconds / bare))
        ratio, low, high = median_interval((seconds + flushes[role]) / bare)
        verdict = f" {bound} | {'yes' if low <= bound else 'NO'} |" if bound else ""
        print(
            f"| {name} | {1e3 * np.median(bare):.1f} | {role} | {1e3 * np.median(seconds - bare):.2f} | "
            f"{1e3 * flushes[role]:.2f} | {alone:.3f} | {ratio:.3f} | {low:.3f} to {high:.3f} |{verdict}",
            flush=True,
        )


if __name__ == "__main__":
    main()
