"""The detection demo: from a detector short of labels to the images worth annotating, box by box.

It uses the public classes only, so that it doubles as an example. The pool is treated as unlabelled throughout; its
annotations are used afterwards, to count how often what was said about its boxes is right.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.matching import Match, match
from ml_debugger.columns import BOX_COLUMNS
from ml_debugger.data_filter import ObjectDetectionDataFilter
from ml_debugger.demo import DemoOptions
from ml_debugger.demo.digit_scenes import N_CLASSES, SIDE, Scenes, make_scenes
from ml_debugger.demo.findings import WIDTH, auroc, save_pictures, torch_threads, zone_lines
from ml_debugger.evaluator import Evaluator, Result
from ml_debugger.presentation.progress import tracked
from ml_debugger.presentation.tables import percent, text_table
from ml_debugger.training import ObjectDetectionTracer

if TYPE_CHECKING:
    import pandas as pd

    from ml_debugger.demo.small_detector import SmallDetector

__all__ = ["DetectionSizes", "run"]

MODEL_NAME: Final = "digit_detector"
N_QUERY: Final = 50
N_EXAMPLES: Final = 9
WORST: Final = {"top_n": 3, "img_error_threshold": 0.6}
STRATEGIES: Final[tuple[str | dict[str, Any], ...]] = (
    "high_error_proba",
    {"top_n": 3},
    {"target_column": "det_error_proba", "top_n": 3},
    {"target_column": "cls_error_proba", "top_n": 3},
    {"weight_column": "pred_size", "aggregation": "median"},
    "diverse_error",
)
_BATCH: Final = 32
_KINDS: Final = {
    "A": "right place, wrong class",
    "M": "misplaced",
    "D": "a second box on one object",
    "SP": "one of several boxes for one object",
    "SG": "one box around several objects",
    "ON": "on no object, but on another box",
    "N": "on nothing",
    "U": "undefined",
}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DetectionSizes:
    """How many scenes there are, and how often the detector sees those it is trained on."""

    train: int = 400
    val: int = 240
    pool: int = 400
    epochs: int = 28

    def parts(self) -> dict[str, int]:
        """Number of scenes by part of the data."""
        return {"train": self.train, "val": self.val, "pool": self.pool}


def run(options: DemoOptions, say: Say, sizes: DetectionSizes | None = None) -> None:
    """Run the demo: train, trace, evaluate, score the pool, query it in several ways, and compare with the truth."""
    with torch_threads(1):
        _run(options, say, sizes or DetectionSizes())


def _run(options: DemoOptions, say: Say, sizes: DetectionSizes) -> None:
    from ml_debugger.demo.small_detector import train

    start = time.perf_counter()
    scenes = make_scenes(sizes.parts(), seed=0)
    say(_data_text(scenes))
    shown = partial(tracked, title="Training the detector")
    model = train(scenes, scenes.parts["train"], 0, sizes.epochs, shown)
    result = _evaluate(model, scenes)
    data_filter, flagged = _score_pool(model, scenes, result)
    pool = _Pool.read(data_filter, scenes)
    say(_model_text(result, pool, sizes))
    say(f"Result   {result.result_name}")
    for note in result.notes:
        say(textwrap.fill(f"Note     {note}", WIDTH, subsequent_indent=" " * 9))
    say("\n" + _zone_text(result, pool))
    say("\n" + _code_text(result))
    say("\n" + _missed_text(result, scenes))
    say("\n" + _query_text(data_filter, pool))
    say("\n" + _flag_text(flagged, pool, data_filter.query(len(flagged), WORST)))
    say("\nFiles")
    for title, path in _save(result, scenes, options).items():
        say(f"  {title:<16} {path}")
    say(f"\nDone in {time.perf_counter() - start:.0f} s. Every figure was measured in this run, on one small data set.")


def _evaluate(model: SmallDetector, scenes: Scenes) -> Result:
    """Trace the annotated scenes and evaluate, as the guide's steps do."""
    import torch

    tracer = ObjectDetectionTracer(model, MODEL_NAME, "v1", n_class=N_CLASSES)
    with torch.no_grad():
        for dataset_type in ("train", "val"):
            for ids in tracked(list(_batches(scenes.parts[dataset_type])), f"Tracing {dataset_type}"):
                images = torch.from_numpy(scenes.images[ids])
                tracer(images, scenes.annotations(ids), ids, dataset_type=dataset_type)
    tracer.wait_for_save()
    return Evaluator(MODEL_NAME, "v1").request_evaluation()


def _score_pool(
    model: SmallDetector, scenes: Scenes, result: Result
) -> tuple[ObjectDetectionDataFilter, dict[int, bool]]:
    """Run the data filter over the pool; beside it the flag that each image got while the model ran."""
    import torch

    data_filter = ObjectDetectionDataFilter(
        model, MODEL_NAME, "v1", result.result_name, filter_config=WORST, n_class=N_CLASSES
    )
    flagged: dict[int, bool] = {}
    with torch.no_grad():
        for ids in tracked(list(_batches(scenes.parts["pool"])), "Scoring the pool"):
            _, flags = data_filter(torch.from_numpy(scenes.images[ids]), ids)
            flagged |= {number: flag is True for number, flag in zip(ids, flags, strict=True)}
    return data_filter, flagged


@dataclass(frozen=True, slots=True)
class _Pool:
    """What was said about the boxes of the pool, and what is true of them.

    Attributes:
        boxes: One row per predicted box: the scores, and ``is_error``.
        images: One row per image, by id: ``n_boxes, n_wrong, n_missed, n_objects, score`` (the mean of its boxes) and
            ``missed_proba``.
    """

    boxes: pd.DataFrame
    images: pd.DataFrame

    @classmethod
    def read(cls, data_filter: ObjectDetectionDataFilter, scenes: Scenes) -> _Pool:
        boxes, images = data_filter.scores(), data_filter.missed_proba().set_index("input_id").sort_index()
        ids = images.index.to_numpy()
        targets = scenes.annotations(ids.tolist())
        found = _diagnose(boxes, targets, ids)
        boxes["is_error"] = found.is_error
        per_image = boxes.groupby("input_id").agg(
            n_boxes=("score", "size"), n_wrong=("is_error", "sum"), score=("score", "mean")
        )
        images = images.join(per_image)
        images[["n_boxes", "n_wrong"]] = images[["n_boxes", "n_wrong"]].fillna(0).astype(int)
        images["n_objects"] = [len(target["labels"]) for target in targets]
        owner = np.repeat(ids, images["n_objects"])
        images["n_missed"] = [int(found.missed[owner == number].sum()) for number in ids]
        return cls(boxes, images)


def _diagnose(boxes: pd.DataFrame, targets: list[dict[str, NDArray[Any]]], ids: NDArray[Any]) -> Match:
    """Predicted beside annotated boxes; ``ids`` are those of the targets."""
    index = np.repeat(np.arange(len(ids)), [len(target["labels"]) for target in targets])
    predicted = PredictedBoxes(
        np.searchsorted(ids, boxes["input_id"].to_numpy(int)),
        boxes[list(BOX_COLUMNS)].to_numpy(),
        boxes["label"].to_numpy(),
        boxes["score"].to_numpy(),
    )
    annotated = TrueBoxes(
        index,
        np.concatenate([target["boxes"] for target in targets]),
        np.concatenate([target["labels"] for target in targets]),
        np.zeros(len(index), dtype=bool),
    )
    return match(predicted, annotated)


def _data_text(scenes: Scenes) -> str:
    said = {"train": "to train", "val": "to validate", "pool": "in the pool, treated as unlabelled"}
    sizes = ", ".join(f"{len(scenes.parts[name]):,} {text}" for name, text in said.items())
    n_objects = sum(len(target["labels"]) for target in scenes.targets)
    return "\n".join(
        [
            f"Data     {len(scenes.targets):,} scenes of {SIDE} x {SIDE} pixels with {n_objects:,} objects: {sizes}.",
            "         Composed for this demo: scikit-learn's handwritten digits on crops of its two photographs.",
        ]
    )


def _model_text(result: Result, pool: _Pool, sizes: DetectionSizes) -> str:
    right, missed = 1 - pool.boxes["is_error"].mean(), pool.images["n_missed"].sum() / pool.images["n_objects"].sum()
    precision = result.metrics.get("map50")
    known = "" if precision is None else f"mAP 50 of {precision:.2f} on val; "
    text = (
        f"Model    a small detector, trained on {sizes.train} scenes: {known}of its boxes in the pool {percent(right)} "
        f"are right, {percent(missed)} of the pool's objects are missed"
    )
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * 9)


def _zone_text(result: Result, pool: _Pool) -> str:
    """Zones as the result describes them beside what happened in the pool, and how well its wrong boxes are found."""
    return "\n".join(
        [
            "Zones    of predicted boxes: what the annotated data says, and what is true of the pool",
            *zone_lines(result, pool.boxes),
            "",
            f"Finding wrong boxes of the pool ({int(pool.boxes['is_error'].sum())} of {len(pool.boxes):,})",
            text_table(("by", "AUROC", "Brier score"), _measures(result, pool), right=(1, 2)),
            "",
            _missed_line(pool),
        ]
    )


def _measures(result: Result, pool: _Pool) -> list[tuple[str, str, str]]:
    """Area under the curve and Brier score of what may be taken for the probability that a box is wrong."""
    from sklearn.isotonic import IsotonicRegression

    val, wrong = result.samples(dataset_type="val"), pool.boxes["is_error"].to_numpy(bool)
    calibrated = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(val["score"], val["is_error"])
    values = {
        "error probability": pool.boxes["error_proba"].to_numpy(),
        "1 - score": 1 - pool.boxes["score"].to_numpy(),
        "score, calibrated on val (isotonic)": calibrated.predict(pool.boxes["score"]),
    }
    return [
        (name, f"{auroc(value, wrong):.3f}", f"{((value - wrong) ** 2).mean():.3f}") for name, value in values.items()
    ]


def _missed_line(pool: _Pool) -> str:
    """How well images that hold a missed object are told from the others."""
    images = pool.images[pool.images["n_boxes"] > 0]
    holds = images["n_missed"].to_numpy() > 0
    rivals = {"missed_proba": images["missed_proba"], "lowest mean score": -images["score"]}
    shown = ", ".join(f"{name} {auroc(value, holds):.3f}" for name, value in rivals.items() if value.notna().all())
    text = f"AUROC of finding the {int(holds.sum())} images with a missed object among {len(images)}: {shown}"
    return textwrap.fill(text, WIDTH)


def _code_text(result: Result) -> str:
    """In which ways the validated boxes are wrong, and how often."""
    boxes = result.samples(dataset_type="val")
    wrong = boxes[boxes["is_error"]]
    kind = wrong["error_code"].str.split(":").str[1].str.rstrip("*")
    rows = []
    for code, count in kind.value_counts().items():
        codes = wrong.loc[kind == code, "error_code"].value_counts()
        often = ", ".join(f"{name} ({number})" for name, number in codes.head(3).items())
        rows.append((f"DET:{code}", _KINDS[str(code)], str(count), often))
    title = f"Errors   {len(wrong)} of {len(boxes):,} validated boxes are wrong, in these ways\n"
    return title + text_table(("code", "the box is", "boxes", "most often"), rows, right=(2,))


def _missed_text(result: Result, scenes: Scenes) -> str:
    """Missed objects of each class."""
    missed = result.missed()
    missed = missed[missed["dataset_type"] == "val"]
    there = np.concatenate([target["labels"] for target in scenes.annotations(scenes.parts["val"])])
    counts = [(int((missed["truth"] == label).sum()), int((there == label).sum())) for label in range(N_CLASSES)]
    rows = [
        ("missed", *(str(few) for few, _ in counts)),
        ("of", *(str(number) for _, number in counts)),
        ("share", *(percent(few / number if number else None, 0) for few, number in counts)),
    ]
    title = f"Missed   {len(missed)} of {len(there):,} validated objects have no box at all: by class\n"
    return title + text_table(("digit", *map(str, range(N_CLASSES))), rows, right=range(1, N_CLASSES + 1))


def _query_text(data_filter: ObjectDetectionDataFilter, pool: _Pool) -> str:
    """What the first images hold that each strategy picks."""
    picked = {_name(strategy): data_filter.query(N_QUERY, strategy) for strategy in STRATEGIES}
    with_boxes = pool.images[pool.images["n_boxes"] > 0]
    picked["lowest mean score (baseline)"] = with_boxes.nsmallest(N_QUERY, "score").index.tolist()
    rows = [_query_row(name, pool.images.loc[ids]) for name, ids in picked.items()]
    share = min(1.0, N_QUERY / len(pool.images))
    total = pool.images[["n_boxes", "n_wrong", "n_missed"]].sum() * share
    errs = int(_errs(pool.images).sum())
    rows.append(
        (
            "random (expected)",
            str(round(len(pool.images) * share)),
            *(f"{total[name]:.0f}" for name in ("n_boxes", "n_wrong")),
            percent(total["n_wrong"] / total["n_boxes"]),
            f"{errs * share:.0f}",
            f"{total['n_missed']:.0f}",
        )
    )
    headers = (f"first {N_QUERY} by", "images", "boxes", "wrong", "share", "images with an error", "missed objects")
    title = (
        f"Query    {errs} of {len(pool.images)} pool images hold a wrong box or miss an object; those picked first:\n"
    )
    return title + text_table(headers, rows, right=range(1, 7))


def _query_row(name: str, images: pd.DataFrame) -> tuple[str, ...]:
    boxes, wrong, missed = (int(images[column].sum()) for column in ("n_boxes", "n_wrong", "n_missed"))
    share = percent(wrong / boxes if boxes else None)
    return name, str(len(images)), str(boxes), str(wrong), share, str(int(_errs(images).sum())), str(missed)


def _errs(images: pd.DataFrame) -> pd.Series[bool]:
    return (images["n_wrong"] > 0) | (images["n_missed"] > 0)


def _name(strategy: str | Mapping[str, Any]) -> str:
    if isinstance(strategy, str):
        return strategy
    return ", ".join(f"{name}={value}" for name, value in strategy.items())


def _flag_text(flagged: Mapping[int, bool], pool: _Pool, queried: list[int]) -> str:
    """What the images are like that were flagged while the model ran, and whether a query for the same finds them."""
    chosen = pool.images.index.map(flagged).to_numpy(bool)
    same = "the same" if set(queried) == {number for number, flag in flagged.items() if flag} else "OTHER"
    parts = [pool.images[chosen], pool.images[~chosen]]
    shares = [percent(part["n_wrong"].sum() / part["n_boxes"].sum() if len(part) else None) for part in parts]
    text = (
        f"Flags    {int(chosen.sum())} of {len(chosen)} pool images were flagged while the detector ran "
        f"({_name(WORST)}): of their boxes {shares[0]} are wrong, of the boxes of the others {shares[1]}; a query for "
        f"the same returns {same} images"
    )
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * 9)


def _save(result: Result, scenes: Scenes, options: DemoOptions) -> dict[str, Path]:
    """Pictures, among them of wrong boxes, and the report."""

    def image(input_id: Any) -> NDArray[np.uint8]:
        return np.asarray((255 * scenes.images[int(input_id)]).round(), dtype=np.uint8)

    examples = {"examples": lambda: result.plot_examples(N_EXAMPLES, images=image, dataset_type="val")}
    return save_pictures(result, examples, options.out, images=image)


def _batches(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]
