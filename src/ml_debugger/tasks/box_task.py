"""Tasks whose unit is a predicted box; what differs between boxes of images and of point clouds is a `BoxTask`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml_debugger import columns
from ml_debugger.analysis.box_kinds import BoxKind
from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.detection_codes import detection_codes, is_certain, missed_codes
from ml_debugger.analysis.matching import MatchSettings, match
from ml_debugger.errors import InputError
from ml_debugger.estimation import ErrorModel, Layout, finite_rows
from ml_debugger.estimation.blocks import MANY, by_blocks, in_blocks
from ml_debugger.estimation.box_reference import BoxExamples, BoxReference, fit_box_reference
from ml_debugger.estimation.neighbours import N_VOTES
from ml_debugger.selection import BBoxStrategy, box_candidates, parse_bbox_strategy
from ml_debugger.tasks.boxes_in import Truths
from ml_debugger.tasks.detection_descriptors import score_log_odds
from ml_debugger.tasks.rows import list_column, make_rows
from ml_debugger.tasks.task import (
    RIDGE,
    Bool,
    Description,
    Diagnosis,
    Float64,
    Int64,
    Judged,
    Lessons,
    Quality,
    Reads,
    Task,
    Units,
    Votes,
    no_sizes,
    share_of_right_units,
)
from ml_debugger.tasks.units import read_matrix
from ml_debugger.types import ModelOutput

__all__ = ["NO_OBJECTS", "BoxTask", "boxes_of"]

NO_OBJECTS: Final = -1
"""``truth_index`` of the row that says an input is annotated and holds no object."""

NO_TRUTH: Final = -1

DET: Final = "det_error_proba"
CLS: Final = "cls_error_proba"


def _no_numbers(units: Units) -> Float64:
    """Sizes in pixels say more of the distance than of the class."""
    return np.zeros((len(units), 0))


@dataclass(frozen=True, slots=True)
class BoxTask:
    """What one task about boxes does in its own way; everything else is the same for all of them.

    Attributes:
        name: As stored with a model.
        method: Name of its evaluation method.
        kind: Of the boxes: their width, and what they share.
        columns: Names of the numbers of a box in public tables.
        context: Names of the numbers that an adapter gives for each box.
        sizes: ``(U, width)`` boxes -> ``(U,)`` ``pred_size``.
        read_truths: (ground truth, B, C or None) -> the annotations as arrays.
        descriptors: units -> ``(U, K)`` each oriented so that larger = more likely wrong.
        geometry: units -> ``(U, 2)`` logarithms of size and of shape.
        neighbours: boxes of a batch -> ``(U, N)`` what the others of its input say about each.
        numbers: units -> ``(U, G)`` of which each class has typical values.
        learners: As in `Task`.
        quality: As in `Task`.
        input_sizes: As in `Task`.
    """

    name: str
    method: str
    kind: BoxKind
    columns: tuple[str, ...]
    context: tuple[str, ...]
    sizes: Callable[[NDArray[Any]], Float64]
    read_truths: Callable[[Any, int, int | None], Truths]
    descriptors: Callable[[Units], Float64]
    geometry: Callable[[Units], Float64]
    neighbours: Callable[[PredictedBoxes], NDArray[np.float32]]
    numbers: Callable[[Units], Float64] = _no_numbers
    learners: tuple[str, ...] = RIDGE
    quality: Callable[[pa.Table, pa.Table, MatchSettings | None, int, int], Quality] = share_of_right_units
    input_sizes: Callable[[Units], NDArray[np.float32]] = no_sizes

    def build(self) -> Task:
        """The functions of the task in one record."""
        return Task(
            name=self.name,
            method=self.method,
            config=BBoxStrategy,
            parse_config=parse_bbox_strategy,
            candidates=box_candidates,
            predictions=self.predictions,
            truths=self.truths,
            diagnose=self.diagnose,
            usable=self.usable,
            learn=self.learn,
            describe=self.describe,
            votes=votes_of,
            layout=Layout(margin=0.0, mixed=True),
            learners=self.learners,
            baseline=score_log_odds,
            targets=targets,
            codes=codes,
            reads=_READS,
            score_columns=self.score_columns,
            quality=self.quality,
            input_sizes=self.input_sizes,
            reconcile=reconcile,
        )

    def predictions(self, output: ModelOutput, inputs: pa.Table) -> pa.Table:
        """Record rows of one batch, one per predicted box; none for an input without boxes.

        Raises:
            InputError: If there are no boxes of this width, or another number of inputs.
        """
        if output.boxes is None or output.boxes.shape[1] != self.kind.width:
            got = "none" if output.boxes is None else f"shape {output.boxes.shape}"
            raise InputError(f"boxes: expected shape (U, {self.kind.width}), {self.kind.form}, got {got}")
        if output.n_inputs != inputs.num_rows:
            raise InputError(f"model output: expected {inputs.num_rows} inputs, one per id, got {output.n_inputs}")
        count, index = len(output.label), np.asarray(output.input_index, dtype=np.int64)
        label, score = np.asarray(output.label, dtype=np.int64), np.asarray(output.score, dtype=np.float64)
        boxes = np.asarray(output.boxes, dtype=np.float32)
        beside = self.neighbours(PredictedBoxes(index, boxes, label, score))
        own = {
            "unit": pa.array(_positions(output, index)),
            "label": pa.array(label),
            "score": pa.array(score),
            "features": list_column(output.features, count),
            "logits": list_column(output.logits, count),
            "box": list_column(boxes, count),
            "context": list_column(np.concatenate([self._context(output.context, count), beside], axis=1), count),
        }
        return make_rows(columns.RECORDS, inputs.take(pa.array(index)), own)

    def _context(self, context: NDArray[Any] | None, count: int) -> NDArray[np.float32]:
        """``(U, K)``: NaN where the model shows nothing."""
        width = len(self.context)
        if context is None:
            return np.full((count, width), np.nan, dtype=np.float32)
        if context.shape[1] != width:
            names = ", ".join(self.context)
            raise InputError(f"context: expected width {width} ({names}), got shape {context.shape}")
        return np.asarray(context, dtype=np.float32)

    def truths(self, ground_truth: Any, inputs: pa.Table, n_classes: int | None) -> pa.Table:
        """Truth rows of one batch: one per annotated box, and one without a box for each annotated input that has none.

        Raises:
            InputError: If the annotations cannot be read; the message says what to do.
        """
        found = self.read_truths(ground_truth, inputs.num_rows, n_classes)
        boxes = found.boxes
        bare = np.flatnonzero(found.known & (np.bincount(boxes.input_index, minlength=len(found.known)) == 0))
        rows = inputs.take(pa.array(np.concatenate([boxes.input_index, bare])))
        box = list_column(np.concatenate([boxes.box, np.full((len(bare), self.kind.width), np.nan)]), rows.num_rows)
        own = {
            "truth_index": pa.array(np.concatenate([found.position, np.full(len(bare), NO_OBJECTS)])),
            "truth": pa.array(np.concatenate([boxes.label, np.full(len(bare), NO_TRUTH)])),
            "box": pc.if_else(pa.array(np.arange(rows.num_rows) < len(boxes.box)), box, None) if len(bare) else box,
            "ignored": pa.array(np.concatenate([boxes.ignored, np.ones(len(bare), dtype=bool)])),
        }
        return make_rows(columns.TRUTHS, rows, own)

    def diagnose(self, records: pa.Table, truth_rows: pa.Table, matching: MatchSettings | None = None) -> Diagnosis:
        """Match predicted with annotated boxes.

        Args:
            records: N rows with ``recording_id``, ``label``, ``score`` and ``box``.
            truth_rows: Rows as :meth:`truths` makes them.
            matching: Thresholds other than the default ones.
        """
        recording = records.column("recording_id").to_numpy()
        label = records.column("label").to_numpy()
        labelled = np.isin(recording, truth_rows.column("recording_id").to_numpy())
        objects = truth_rows.filter(pc.not_equal(truth_rows.column("truth_index"), NO_OBJECTS))
        truth_label = objects.column("truth").to_numpy()
        found = match(
            PredictedBoxes(recording, boxes_of(records, self.kind.width), label, records.column("score").to_numpy()),
            TrueBoxes(
                objects.column("recording_id").to_numpy(),
                boxes_of(objects, self.kind.width),
                truth_label,
                objects.column("ignored").to_numpy(zero_copy_only=False).astype(bool),
            ),
            matching,
            self.kind,
        )
        matched = found.truth >= 0
        truth = np.full(len(label), NO_TRUTH, dtype=np.int64)
        truth[matched] = truth_label[found.truth[matched]]
        names = ("code", "certain", "det_error", "cls_error", "iou")
        return Diagnosis(
            labelled,
            truth,
            labelled & found.is_error,
            found.ignored,
            self._missed(objects.filter(pa.array(found.missed))),
            details={name: getattr(found, name) for name in names},
            truths=_shown_truths(truth_rows, found.missed, self.columns),
        )

    def _missed(self, rows: pa.Table) -> pa.Table:
        """One row per annotated box that no prediction belongs to."""
        found = rows.select(["input_id", "id_kind", "dataset_type", "truth"])
        codes = missed_codes(rows.column("truth").to_numpy())
        found = found.append_column("error_code", pa.array(codes, type=pa.string()))
        return _with_boxes(found, rows, self.columns)

    def usable(self, units: Units, vectors: str) -> tuple[Bool, Bool]:
        """``(U,)`` which units have a class, a finite score and box, and which of those the vectors asked for."""
        judged = (units.label >= 0) & np.isfinite(units.score)
        judged &= (units.box.shape[1] == self.kind.width) & finite_rows(units.box)
        if vectors != "features":
            return judged, judged
        return judged, judged & (units.features.shape[1] > 0) & finite_rows(units.features)

    def learn(self, lessons: Lessons, vectors: str, seed: int) -> tuple[dict[str, NDArray[Any]], Description, Votes]:
        """The reference that descriptors need, and out-of-fold descriptions of the held units."""
        units, held = lessons.units, lessons.held
        examples = BoxExamples(
            _vectors(units, vectors),
            units.label,
            lessons.truth,
            lessons.is_error,
            score_log_odds(units),
            lessons.groups,
            self.numbers(units),
        )
        reference, learned, components = fit_box_reference(examples.rows(~held), examples.rows(held), seed=seed)
        held_units = units.rows(held)
        apart = reference.distances(components, held_units.label)
        described = self._described(held_units, components, learned, apart)
        return reference.to_arrays(), Description(*described), _no_votes(int(held.sum()))

    def _described(
        self, units: Units, components: Float64, learned: Float64, apart: tuple[Float64, Float64]
    ) -> tuple[Float64, ...]:
        """Descriptors, baseline and outlying columns."""
        table = np.concatenate([self.descriptors(units), learned], axis=1)
        size, shape = self.geometry(units).T
        nearest = apart[1] if components.shape[1] else np.zeros(len(units))
        return table, score_log_odds(units), np.stack([nearest, -size, np.abs(shape)], axis=1)

    def describe(self, units: Units, model: ErrorModel) -> Description:
        """Descriptors of usable units; the same bits for a unit in every batch."""
        reference: BoxReference = model.once("boxes", lambda: BoxReference.from_arrays(model.part("reference")))
        values = _vectors(units, str(model.meta["vectors"]))

        def block(*arrays: NDArray[Any]) -> tuple[Float64, ...]:
            some, vectors = Units(*arrays[:-1]), arrays[-1]
            components = reference.place(vectors, by_blocks)
            apart = reference.distances(components, some.label)
            learned = reference.describe(components, some.label, self.numbers(some), by_blocks, apart)
            return self._described(some, components, learned, apart)

        fields = (units.label, units.score, units.features, units.logits, units.box, units.context, values)
        return Description(*in_blocks(block, *fields, most=MANY))

    def score_columns(self, units: Units) -> dict[str, NDArray[Any]]:
        """Size and place of each box."""
        if units.box.shape[1] != self.kind.width:
            return {}
        sides = dict(zip(self.columns, units.box.T, strict=True))
        return {"pred_size": self.sizes(units.box), **sides}


_READS: Final = Reads(
    records=("box",),
    truths=("truth_index", "input_id", "id_kind", "box"),
    inputs=("frame_context",),
    vectors=("features", "logits", "box", "context"),
    fallback="box",
)


def _positions(output: ModelOutput, index: Int64) -> Int64:
    """``(U,)`` position of each box in the output of its input."""
    if output.unit is not None:
        return np.asarray(output.unit, dtype=np.int64)
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index, minlength=output.n_inputs)
    position = np.empty(len(index), dtype=np.int64)
    position[order] = np.arange(len(index)) - (np.cumsum(counts) - counts)[index[order]]
    return position


def _vectors(units: Units, vectors: str) -> NDArray[np.float32]:
    return units.features if vectors == "features" else units.features[:, :0]


def votes_of(units: Units, model: ErrorModel) -> Votes:
    """Boxes do not vote for classes."""
    return _no_votes(len(units))


def _no_votes(count: int) -> Votes:
    return Votes(np.full((count, N_VOTES), NO_TRUTH, dtype=np.int64), np.zeros((count, N_VOTES)))


def targets(diagnosis: Diagnosis) -> dict[str, NDArray[Any]]:
    """Wrong at all; in the wrong place; of the wrong class, which is only asked where the place is right."""
    det_error = diagnosis.details["det_error"]
    return {
        columns.ERROR_PROBA: diagnosis.is_error,
        DET: det_error,
        CLS: np.where(det_error, np.nan, diagnosis.details["cls_error"].astype(np.float64)),
    }


def reconcile(error_proba: Mapping[str, Float64]) -> dict[str, Float64]:
    """A box is right if place and class are: the mean of what was learned of that directly and part by part.

    Products, sums and minima only: they have the same bits in every batch.
    """
    place, kind = error_proba[DET], error_proba[CLS]
    either = (error_proba[columns.ERROR_PROBA] + (place + kind - place * kind)) / 2.0
    return {columns.ERROR_PROBA: either, DET: np.minimum(place, either), CLS: kind}


def codes(diagnosis: Diagnosis, label: Int64, judged: Judged, min_vote: float) -> list[str]:
    """Error codes of labelled units."""
    details = diagnosis.details
    certain = is_certain(details["certain"], details["det_error"], judged.error_proba[DET])
    return detection_codes(details["code"], diagnosis.truth, label, certain)


def boxes_of(rows: pa.Table, width: int) -> NDArray[np.float32]:
    """``(N, width)``; NaN where there is none."""
    box = read_matrix(rows, "box")
    return box if box.shape[1] else np.full((rows.num_rows, width), np.nan, dtype=np.float32)


def _shown_truths(truth_rows: pa.Table, missed: NDArray[np.bool_], names: tuple[str, ...]) -> pa.Table:
    """One row per annotated box, and one without a box per annotated input that has none.

    Args:
        truth_rows: Stored rows.
        missed: Whether no prediction belongs to it, for each of those with an object, in their order.
        names: Of the numbers of a box.
    """
    is_object = truth_rows["truth_index"].to_numpy() != NO_OBJECTS
    flags = np.zeros(truth_rows.num_rows, dtype=bool)
    flags[is_object] = missed
    stored = ("input_id", "id_kind", "dataset_type", "recording_id", "truth_index", "truth", "ignored")
    table = truth_rows.select(stored).append_column("missed", pa.array(flags))
    return _with_boxes(table, truth_rows, names)


def _with_boxes(table: pa.Table, rows: pa.Table, names: tuple[str, ...]) -> pa.Table:
    """The boxes of some rows, as columns beside others of theirs."""
    for name, side in zip(names, boxes_of(rows, len(names)).T, strict=True):
        table = table.append_column(name, pa.array(side, type=pa.float32()))
    return table
