"""Learn from one part of the frames, answer for another: the product and its rivals on the same boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection3d_errors.data import (
    DETECTORS,
    TRUTHS,
    Objects,
    annotations,
    dont_care_share,
    read_objects,
    record,
)
from benchmarks.detection3d_errors.lidar_metadetect import lidar_metadetect_features
from benchmarks.detection_errors.protocol import OURS, Answers, ask_rivals, columns_of, line_overlap
from benchmarks.detection_errors.rivals import RIVALS, Boxes
from benchmarks.detection_errors.runs import Run, evaluated, out_of_fold, promised, scored
from ml_debugger import columns
from ml_debugger.analysis.matching import MatchSettings
from ml_debugger.estimation.frames import MISSED_PROBA, missed_probability
from ml_debugger.estimation.metrics import auroc, brier
from ml_debugger.service.evaluation import Evaluation
from ml_debugger.tasks import TASKS

__all__ = ["MATCHINGS", "Part", "Setting", "World", "answer", "learn", "missed_row", "part_of", "read_world"]

MATCHINGS: Final[dict[str, dict[str, Any]]] = {
    "BEV .5": {},
    "3D .7/.5/.5": {"measure": "iou_3d", "foreground_iou_by_class": {"0": 0.7}},
}
"""When a box is right: our default, and KITTI's own overlaps (Car .7, Pedestrian and Cyclist .5, of volumes)."""

NOT_ANNOTATED: Final = 0.5  # share of a 2D box in a region where KITTI did not annotate

Bool = NDArray[np.bool_]
Setting = tuple[str, float]
"""What is in force: a name of `MATCHINGS`, and a score threshold."""


@dataclass(frozen=True)
class World:
    """What was annotated, and what each detector found, in the same B frames."""

    truths: Objects
    found: dict[str, Objects]

    @property
    def n_frames(self) -> int:
        """B."""
        return len(self.truths.ids)


@dataclass(frozen=True)
class Part:
    """A detector in some of the frames at a setting.

    Attributes:
        run: As it was traced.
        boxes: The judged ones, for the rivals.
        judged: ``(N,)`` which boxes of the run those are.
        frame: ``(M,)`` of the judged boxes.
        with_missed: ``(B,)`` whether a frame holds an object that no box covers.
        matching: When a box is right.
    """

    run: Run
    boxes: Boxes
    judged: Bool
    frame: NDArray[np.int64]
    with_missed: Bool
    matching: Mapping[str, Any]

    @property
    def records(self) -> Any:
        """Rows of all boxes."""
        return self.run.tables[columns.RECORDS]


def read_world(folder: Path) -> World:
    """The ``kitti3d`` data."""
    return World(read_objects(folder / TRUTHS), {name: read_objects(folder / path) for name, path in DETECTORS.items()})


def part_of(world: World, detector: str, frames: Bool, setting: Setting) -> Part:
    """A detector in the chosen of ``(B,)`` frames."""
    matching, score_thresh = MATCHINGS[setting[0]], setting[1]
    truths, found = world.truths.of_frames(frames), world.found[detector].of_frames(frames)
    output = record(found, score_thresh)
    unjudged = found.rows((found.score >= score_thresh) & (dont_care_share(found, truths) >= NOT_ANNOTATED))
    run = Run(TASKS["object_detection_3d"], output, truths.ids, annotations(truths, unjudged))
    records = run.tables[columns.RECORDS]
    seen = run.task.diagnose(records, run.tables[columns.TRUTHS], MatchSettings.read(matching))
    judged = ~seen.ignored
    boxes = Boxes(
        records["score"].to_numpy(),
        records["label"].to_numpy(),
        lidar_metadetect_features(output, found),
        seen.is_error,
        seen.details["iou"],
    ).rows(judged)
    with_missed = np.isin(truths.ids.astype(str), seen.missed["input_id"].to_pylist())
    return Part(run, boxes, judged, records["recording_id"].to_numpy()[judged], with_missed, matching)


def learn(known: Part) -> Evaluation:
    """What the product learns of a part."""
    return evaluated(known.run.task, known.run.read, matching=dict(known.matching))


def answer(known: Part, found: Evaluation, asked: Part, rivals: Sequence[str] = tuple(RIVALS)) -> Answers:
    """What every method says of the boxes asked about, having learned from the known part.

    Args:
        known: Labelled boxes.
        found: What `learn` said of them.
        asked: Others, perhaps of another detector.
        rivals: Who is asked besides.
    """
    learned = {name: values[known.judged] for name, values in out_of_fold(found, known.records).items()}
    answers = {name: values[asked.judged] for name, values in scored(asked.run.task, found, asked.records).items()}
    proba, overlap = ask_rivals(known.boxes, asked.boxes, rivals)
    tables = (columns_of(part.boxes.score, said) for part, said in ((known, learned), (asked, answers)))
    proba = {OURS: answers[columns.ERROR_PROBA]} | {_name(name): values for name, values in proba.items()}
    overlap = {OURS: line_overlap(*tables, known.boxes.iou)} | {_name(name): one for name, one in overlap.items()}
    boxes = asked.boxes
    return Answers(
        asked.frame,
        boxes.wrong,
        boxes.iou,
        boxes.label,
        {name: values[None] for name, values in proba.items()},
        {name: values[None] for name, values in overlap.items()},
        answers["zone"][None],
        np.full((1, len(boxes.wrong)), promised(found)),
    )


def _name(rival: str) -> str:
    return rival.replace("MetaDetect", "LidarMetaDetect")


def missed_row(found: Evaluation, asked: Part) -> dict[str, float]:
    """Which frames hold an object that no box covers: ``missed_proba`` against the number and scores of boxes."""
    inputs = asked.run.tables[columns.INPUTS]
    context = np.array(inputs["frame_context"].to_pylist(), dtype=np.float64)
    missed = asked.with_missed
    ours = missed_probability(found.model, context)
    count, mean = (
        np.nan_to_num(context[:, columns.FRAME_CONTEXT.index(name)]) for name in ("n_kept", "kept_score_mean")
    )
    return {
        "frames": float(len(missed)),
        "with a missed object": float(missed.mean()),
        f"AUROC {MISSED_PROBA}": auroc(ours, missed),
        "AUROC number of boxes": auroc(count, missed),
        "AUROC 1 - mean score": auroc(1.0 - mean, missed),
        f"Brier {MISSED_PROBA}": brier(ours, missed),
        "Brier of the share": float(missed.mean() * (1.0 - missed.mean())),
    }
