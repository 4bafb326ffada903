"""What tracing and filtering cost a detector of point clouds: per frame of 200 boxes, and beside a model.

Run it with: python -m benchmarks.detection3d_overhead [--pairs 30] [--threads 1] [--cpu-time] [--profile]

The first table is of a function that returns, as OpenPCDet's dicts, 200 boxes a frame that were worked out before, each
with 64 features, and 1,000 candidates; it is given a scan of 120,000 points. So all of a call's time is that of the
tracer or filter. The time within the geometry (areas that turned boxes share, points inside boxes) is measured in the
same calls and taken off; the bound holds for the rest.

The second is of the demo's PointPillars on scanned streets, trained for a few epochs so that its boxes are like those
of a detector. Each round times the bare forward, the tracer and the filter on the same batch of two frames, in random
order, as ``benchmarks.detection_overhead`` does for images, where the way of timing is told. ``--cpu-time`` counts
processor time, for a machine that is doing other work.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmarks.bench_overhead import BUFFER_ROWS, median_interval
from benchmarks.detection_overhead import Contenders, measure, print_profile, show
from ml_debugger.analysis.boxes_3d import iter_shared_space, shared_areas
from ml_debugger.analysis.points_in_boxes import points_in_boxes
from ml_debugger.data_filter import ObjectDetection3DDataFilter
from ml_debugger.demo.point_pillars import train
from ml_debugger.demo.street_scenes import make_streets
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ObjectDetection3DTracer

N_BOXES, N_CANDIDATES, N_POINTS, N_FEATURES = 200, 1000, 120_000, 64
PC_RANGE = (-60.0, -60.0, -3.0, 60.0, 60.0, 3.0)
BOUND_MS = 5.0
BATCH, EPOCHS = 2, 6
TRACED, WRONG = 30, 0.3
STREETS = {"train": 16, "traced": TRACED, "timed": BATCH}
FILTER = {"top_n": 3, "aggregation": "median", "weight_column": "pred_size", "img_error_threshold": 0.5}

Clock = Callable[[], float]
Truth = dict[str, Any]


def boxes_of(rng: np.random.Generator, count: int) -> np.ndarray:
    """``(count, 7)`` boxes of the sizes of cars and people on a plane."""
    place = np.column_stack([rng.uniform(-55, 55, (count, 2)), rng.normal(-1, 0.2, count)])
    size = np.array([[3.9, 1.6, 1.56], [0.8, 0.6, 1.73], [1.76, 0.6, 1.73]])[rng.integers(0, 3, count)]
    return np.column_stack([place, size * rng.uniform(0.9, 1.1, (count, 3)), rng.uniform(-np.pi, np.pi, count)])


def dense_output(seed: int) -> dict[str, np.ndarray]:
    """What a detector might say of a crowded frame; the candidates stand around the boxes."""
    rng = np.random.default_rng(seed)
    boxes, per_box = boxes_of(rng, N_BOXES), N_CANDIDATES // N_BOXES
    spread = np.array([0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    labels = rng.integers(1, 4, N_BOXES)
    return {
        "pred_boxes": boxes,
        "pred_labels": labels,
        "pred_scores": rng.uniform(0.1, 1, N_BOXES),
        "features": rng.normal(size=(N_BOXES, N_FEATURES)).astype(np.float32),
        "logits": rng.normal(size=(N_BOXES, 3)).astype(np.float32),
        "candidates": {
            "boxes": np.repeat(boxes, per_box, axis=0) + spread * rng.normal(size=(N_CANDIDATES, 7)),
            "labels": np.repeat(labels, per_box),
            "scores": rng.uniform(0.05, 0.9, N_CANDIDATES),
        },
    }


def scan(seed: int) -> np.ndarray:
    """``(120000, 4)`` points, dense near the sensor as a scan's are, most of them on the ground."""
    rng = np.random.default_rng(seed)
    away, around = np.minimum(rng.exponential(18, N_POINTS) + 3, 80), rng.uniform(-np.pi, np.pi, N_POINTS)
    height = np.where(rng.random(N_POINTS) < 0.7, rng.normal(-1.7, 0.05, N_POINTS), rng.uniform(-1.7, 1, N_POINTS))
    points = np.column_stack([away * np.cos(around), away * np.sin(around), height, rng.random(N_POINTS)])
    return points.astype(np.float32)


def annotated(boxes: Any, labels: Any, rng: np.random.Generator, chance: Any = WRONG) -> Truth:
    """Some predicted boxes as annotations, a share of them moved beside themselves."""
    moved = np.asarray(boxes, dtype=float).copy()
    moved[:, :2] += (rng.random(len(moved)) < chance)[:, None] * 6.0
    return {"boxes": moved[:, :7], "labels": np.asarray(labels)}


def roles(model: Any, frames: list[tuple[Any, Truth]], **settings: Any) -> tuple[Any, Any]:
    """A tracer and a filter, from an evaluation of these frames; both keep their rows until they are asked to write."""
    os.environ["MLD_HOME"] = tempfile.mkdtemp(prefix="mld-bench-")
    tracer = ObjectDetection3DTracer(model, "bench", "v1", **settings)
    for number, (points, truth) in enumerate(frames):
        tracer([points], [truth], [f"traced-{number}"], dataset_type="val")
    result = Evaluator("bench", "v1").request_evaluation(options={"bootstrap": 5})
    os.environ["MLD_BUFFER_ROWS"], os.environ["MLD_BUFFER_MB"] = str(2 * BUFFER_ROWS), "512"
    timed = ObjectDetection3DTracer(model, "bench", "v1", **settings)
    return timed, ObjectDetection3DDataFilter(model, "bench", "v1", result.result_name, filter_config=FILTER)


def contenders_of(model: Any, given: list[Any], truths: list[Truth], both: tuple[Any, Any]) -> Contenders:
    """Bare forward, tracer and filter on one batch."""
    tracer, data_filter = both
    numbers = itertools.count()

    def ids() -> list[int]:
        return list(itertools.islice(numbers, len(given)))

    return {
        "bare": (lambda: model(given), None),
        "tracer": (lambda: tracer(given, truths, ids(), dataset_type="timed"), tracer),
        "filter": (lambda: data_filter(given, ids()), data_filter),
    }


# --- a crowded frame


def chance_of_error(output: dict[str, np.ndarray]) -> np.ndarray:
    """``(U,)`` told by score, size and, in rings, distance: else the filter would have no trees to go through."""
    boxes = output["pred_boxes"]
    in_ring = np.sin(np.hypot(boxes[:, 0], boxes[:, 1]) / 6.0) > 0
    return np.where(in_ring, 0.6, 0.1) * (1.4 - output["pred_scores"]) * np.where(boxes[:, 3] > 2, 1.0, 0.5)


def crowded() -> Contenders:
    """A function with 200 boxes a frame; the points say which of its frames is asked for."""
    outputs = {seed: dense_output(seed) for seed in range(TRACED + 1)}
    clouds = {seed: scan(seed) for seed in outputs}

    def detect(frames: list[np.ndarray]) -> Any:
        return [outputs[next(seed for seed, cloud in clouds.items() if cloud is points)] for points in frames]

    rng = np.random.default_rng(0)
    truths = [annotated(one["pred_boxes"], one["pred_labels"], rng, chance_of_error(one)) for one in outputs.values()]
    frames = [(clouds[seed], truths[seed]) for seed in range(TRACED)]
    both = roles(detect, frames, pc_range=PC_RANGE)
    return contenders_of(detect, [clouds[TRACED]], [truths[TRACED]], both)


class Watch:
    """Seconds spent in some functions since it was last read."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds, self._depth, self._since = 0.0, 0, 0.0

    def enter(self) -> None:
        self._since = self._clock() if not self._depth else self._since
        self._depth += 1

    def leave(self) -> None:
        self._depth -= 1
        self._seconds += 0.0 if self._depth else self._clock() - self._since

    def read(self) -> float:
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed; where it yields, each step of it."""

        def call(*arguments: Any, **named: Any) -> Any:
            self.enter()
            found = function(*arguments, **named)
            self.leave()
            return self._steps(found) if isinstance(found, Iterator) else found

        return call

    def _steps(self, steps: Iterator[Any]) -> Iterator[Any]:
        while True:
            self.enter()
            step = next(steps, None)
            self.leave()
            if step is None:
                return
            yield step


@contextmanager
def timed_geometry(watch: Watch) -> Iterator[None]:
    """The functions of geometry timed wherever they are used."""
    functions = (iter_shared_space, shared_areas, points_in_boxes)
    modules = [one for name, one in sys.modules.items() if name.startswith("ml_debugger") and type(one) is ModuleType]
    places = [
        (module, name, value)
        for module in modules
        for name, value in vars(module).items()
        if any(value is one for one in functions)
    ]
    try:
        for module, name, value in places:
            setattr(module, name, watch.around(value))
        yield
    finally:
        for module, name, value in places:
            setattr(module, name, value)


def measure_crowded(contenders: Contenders, pairs: int, clock: Clock) -> dict[str, np.ndarray]:
    """``(pairs, 2)`` seconds of each call and of its geometry."""
    watch, random = Watch(clock), np.random.default_rng(0)
    found: dict[str, list[tuple[float, float]]] = {"tracer": [], "filter": []}
    with timed_geometry(watch):
        for turn in range(-3, pairs):
            for name in random.permutation(list(found)).tolist():
                call, role = contenders[name]
                watch.read()
                start = clock()
                call()
                seconds = clock() - start
                if turn >= 0:  # the first rounds warm up
                    found[name].append((seconds, watch.read()))
                role.wait_for_save()
    return {name: np.array(rows) for name, rows in found.items()}


def show_crowded(times: dict[str, np.ndarray]) -> None:
    """One table row per role."""
    print("| call | per frame, ms | geometry, ms | beyond it, ms | 95 % interval | per box, ms | bound, ms | holds |")
    print("|---|--:|--:|--:|---|--:|--:|---|")
    for name, seconds in times.items():
        whole, geometry = np.median(seconds, axis=0) * 1e3
        rest, low, high = (1e3 * value for value in median_interval(seconds[:, 0] - seconds[:, 1]))
        holds = "yes" if low <= BOUND_MS else "NO"
        print(
            f"| {name} | {whole:.2f} | {geometry:.2f} | {rest:.2f} | {low:.2f} to {high:.2f} | {rest / N_BOXES:.4f} | "
            f"{BOUND_MS:g} | {holds} |",
            flush=True,
        )


# --- beside a model


def beside_a_model() -> tuple[Contenders, Any]:
    """The demo's detector on scanned streets."""
    streets = make_streets(STREETS, seed=0)
    model = train(streets, streets.parts["train"], 0, EPOCHS)
    rng = np.random.default_rng(0)
    frames = []
    with torch.no_grad():
        for number in streets.parts["traced"]:
            points = torch.from_numpy(streets.frames[number])
            (one,) = model([points])
            frames.append((points, annotated(one["boxes"], one["labels"], rng)))
        both = roles(model, frames)
        given = [torch.from_numpy(streets.frames[number]) for number in streets.parts["timed"]]
        truths = [annotated(one["boxes"], one["labels"], rng) for one in model(given)]
    return contenders_of(model, given, truths, both), both[1]


def told(data_filter: ObjectDetection3DDataFilter) -> str:
    """How many boxes there were, and what was read of them."""
    per_frame = len(data_filter.scores()) / len(data_filter.missed_proba())
    return f"PointPillars of the demo, {per_frame:.1f} boxes a frame, {data_filter.describe()['n_features']} features"


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--profile", action="store_true", help="where the time of the filter's calls on 200 boxes goes")
    parser.add_argument("--only", choices=["crowded", "model"], help="this table only")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    torch.set_num_threads(arguments.threads)
    if arguments.profile:
        print_profile(crowded()["filter"][0])
        return
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {arguments.threads} threads\n")
    if arguments.only != "model":
        print(f"{N_BOXES} boxes, {N_CANDIDATES} candidates and {N_POINTS} points a frame:\n")
        show_crowded(measure_crowded(crowded(), arguments.pairs, clock))
        print()
    if arguments.only == "crowded":
        return
    contenders, data_filter = beside_a_model()
    with torch.no_grad():
        times, flushes = measure(contenders, arguments.pairs, clock)
        show(told(data_filter), times, flushes, bound=None)


if __name__ == "__main__":
    main()
