"""What demos of detectors show of their findings, whatever the boxes: what was said of the pool beside what is true."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ml_debugger.analysis.box_kinds import BoxKind
from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.match_settings import MatchSettings
from ml_debugger.analysis.matching import Match, match
from ml_debugger.demo.findings import WIDTH, auroc, zone_lines
from ml_debugger.evaluator import Result
from ml_debugger.presentation.tables import percent, text_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "STRATEGIES",
    "WORST",
    "Annotated",
    "BoxPool",
    "DetectionSizes",
    "Topic",
    "batches",
    "finding_texts",
    "model_text",
]

N_QUERY: Final = 50
WORST: Final = {"top_n": 3, "img_error_threshold": 0.6}
STRATEGIES: Final[tuple[str | dict[str, Any], ...]] = (
    "high_error_proba",
    {"top_n": 3},
    {"target_column": "det_error_proba", "top_n": 3},
    {"target_column": "cls_error_proba", "top_n": 3},
    {"weight_column": "pred_size", "aggregation": "median"},
    "diverse_error",
)
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

Target = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class DetectionSizes:
    """How many inputs there are, and how often the detector sees those it is trained on."""

    train: int = 400
    val: int = 240
    pool: int = 400
    epochs: int = 28

    def parts(self) -> dict[str, int]:
        """Number of inputs by part of the data."""
        return {"train": self.train, "val": self.val, "pool": self.pool}


class Annotated(Protocol):
    """Data of a demo: ids by part, and what is annotated of each."""

    @property
    def parts(self) -> dict[str, list[int]]:
        """Ids by part of the data."""

    def annotations(self, ids: list[int]) -> list[Target]:
        """Dicts of ``boxes`` and ``labels``, and of ``ignore`` where something is to be ignored."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What a demo of detectors is about.

    Attributes:
        inputs: What an input is called, in the plural.
        class_word: What a class is called.
        class_names: C names.
        kind: What its boxes are.
        columns: What the numbers of a box are called in tables.
        matching: When a box counts as right.
        worst: The configuration by which inputs are flagged while the detector runs.
    """

    inputs: str
    class_word: str
    class_names: Sequence[str]
    kind: BoxKind
    columns: Sequence[str]
    matching: MatchSettings = field(default_factory=MatchSettings)
    worst: Mapping[str, Any] = field(default_factory=lambda: WORST)


class Scored(Protocol):
    """The data filter of a detector, as far as it is looked at here."""

    def scores(self) -> pd.DataFrame:
        """One row per box of the pool."""

    def missed_proba(self) -> pd.DataFrame:
        """One row per input of the pool."""

    def query(self, n_data: int, strategy: Any) -> list[Any]:
        """Ids."""


@dataclass(frozen=True, slots=True)
class BoxPool:
    """What was said about the boxes of the pool, and what is true of them.

    Attributes:
        boxes: One row per predicted box, but for those on what is to be ignored: the scores, and ``is_error``.
        inputs: One row per input, by id: ``n_boxes, n_wrong, n_missed, n_objects, score`` (the mean of its boxes) and
            ``missed_proba``.
        topic: What the demo is about.
    """

    boxes: pd.DataFrame
    inputs: pd.DataFrame
    topic: Topic

    @classmethod
    def read(cls, data_filter: Scored, data: Annotated, topic: Topic) -> BoxPool:
        """Scores from the data filter, truth from the annotations that it did not see."""
        boxes, inputs = data_filter.scores(), data_filter.missed_proba().set_index("input_id").sort_index()
        ids = inputs.index.to_numpy()
        truths = _truths(data.annotations(ids.tolist()), topic)
        found = _diagnose(boxes, truths, ids, topic)
        boxes = boxes.assign(is_error=found.is_error)[~found.ignored].reset_index(drop=True)
        per_input = boxes.groupby("input_id").agg(
            n_boxes=("score", "size"), n_wrong=("is_error", "sum"), score=("score", "mean")
        )
        inputs = inputs.join(per_input)
        inputs[["n_boxes", "n_wrong"]] = inputs[["n_boxes", "n_wrong"]].fillna(0).astype(int)
        inputs["n_objects"] = np.bincount(truths.input_index[~truths.ignored], minlength=len(ids))
        inputs["n_missed"] = np.bincount(truths.input_index[found.missed], minlength=len(ids))
        return cls(boxes, inputs, topic)


def _truths(targets: list[Target], topic: Topic) -> TrueBoxes:
    """Annotated boxes; their index is that of the targets."""
    labels = [target["labels"] for target in targets]
    ignored = [target.get("ignore", np.zeros(len(label), bool)) for target, label in zip(targets, labels, strict=True)]
    return TrueBoxes(
        np.repeat(np.arange(len(targets)), [len(label) for label in labels]),
        np.concatenate([target["boxes"].reshape(-1, topic.kind.width) for target in targets]),
        np.concatenate(labels),
        np.concatenate(ignored),
    )


def _diagnose(boxes: pd.DataFrame, truths: TrueBoxes, ids: NDArray[Any], topic: Topic) -> Match:
    """Predicted beside annotated boxes; ``ids`` are those that the annotated ones' index means."""
    predicted = PredictedBoxes(
        np.searchsorted(ids, boxes["input_id"].to_numpy(int)),
        boxes[list(topic.columns)].to_numpy(),
        boxes["label"].to_numpy(),
        boxes["score"].to_numpy(),
    )
    return match(predicted, truths, topic.matching, kind=topic.kind)


def batches(ids: list[int], size: int = 32) -> Iterator[list[int]]:
    """Ids in pieces."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def model_text(trained: str, quality: str, pool: BoxPool) -> str:
    """How good the detector is.

    Args:
        trained: How it was trained.
        quality: What its precision on the annotated data is.
        pool: What it does on other data.
    """
    right, missed = 1 - pool.boxes["is_error"].mean(), pool.inputs["n_missed"].sum() / pool.inputs["n_objects"].sum()
    text = (
        f"Model    {trained}: {quality}of its boxes in the pool {percent(right)} are right, {percent(missed)} of the "
        "pool's objects are missed"
    )
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * 9)


def finding_texts(
    result: Result, pool: BoxPool, data_filter: Scored, flagged: Mapping[int, bool], data: Annotated
) -> Iterator[str]:
    """What a demo says of zones, errors, missed objects, queries and flags, piece by piece.

    Args:
        result: What the annotated data says.
        pool: What is said of the pool, and true of it.
        data_filter: What the pool was scored with, at the topic's `worst`.
        flagged: Of each id of the pool, whether it was flagged while the detector ran.
        data: What is annotated.
    """
    yield f"Result   {result.result_name}"
    yield from (textwrap.fill(f"Note     {note}", WIDTH, subsequent_indent=" " * 9) for note in result.notes)
    yield "\n" + _zone_text(result, pool)
    yield "\n" + _code_text(result)
    yield "\n" + _missed_text(result, data, pool.topic)
    yield "\n" + _query_text(data_filter, pool)
    yield "\n" + _flag_text(flagged, pool, data_filter.query(len(flagged), dict(pool.topic.worst)))


def _zone_text(result: Result, pool: BoxPool) -> str:
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


def _measures(result: Result, pool: BoxPool) -> list[tuple[str, str, str]]:
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


def _missed_line(pool: BoxPool) -> str:
    """How well inputs that hold a missed object are told from the others."""
    inputs = pool.inputs[pool.inputs["n_boxes"] > 0]
    holds = inputs["n_missed"].to_numpy() > 0
    rivals = {"missed_proba": inputs["missed_proba"], "lowest mean score": -inputs["score"]}
    shown = ", ".join(f"{name} {auroc(value, holds):.3f}" for name, value in rivals.items() if value.notna().all())
    called = pool.topic.inputs
    if holds.all() or not holds.any():
        return f"{'Each' if holds.all() else 'None'} of the {len(inputs)} {called} with a box misses an object"
    text = f"AUROC of finding the {int(holds.sum())} {called} with a missed object among {len(inputs)}: {shown}"
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


def _missed_text(result: Result, data: Annotated, topic: Topic) -> str:
    """Missed objects of each class."""
    missed = result.missed()
    missed = missed[missed["dataset_type"] == "val"]
    truths = _truths(data.annotations(data.parts["val"]), topic)
    there, classes = truths.label[~truths.ignored], range(len(topic.class_names))
    counts = [(int((missed["truth"] == label).sum()), int((there == label).sum())) for label in classes]
    rows = [
        ("missed", *(str(few) for few, _ in counts)),
        ("of", *(str(number) for _, number in counts)),
        ("share", *(percent(few / number if number else None, 0) for few, number in counts)),
    ]
    title = f"Missed   {len(missed)} of {len(there):,} validated objects have no box at all: by class\n"
    return title + text_table((topic.class_word, *topic.class_names), rows, right=range(1, len(counts) + 1))


def _query_text(data_filter: Scored, pool: BoxPool) -> str:
    """What the first inputs hold that each strategy picks."""
    inputs, called = pool.inputs, pool.topic.inputs
    picked = {_name(strategy): data_filter.query(N_QUERY, strategy) for strategy in STRATEGIES}
    picked["lowest mean score (baseline)"] = inputs[inputs["n_boxes"] > 0].nsmallest(N_QUERY, "score").index.tolist()
    rows = [_query_row(name, inputs.loc[ids]) for name, ids in picked.items()]
    share = min(1.0, N_QUERY / len(inputs))
    total = inputs[["n_boxes", "n_wrong", "n_missed"]].sum() * share
    errs = int(_errs(inputs).sum())
    rows.append(
        (
            "random (expected)",
            str(round(len(inputs) * share)),
            *(f"{total[name]:.0f}" for name in ("n_boxes", "n_wrong")),
            percent(total["n_wrong"] / total["n_boxes"]),
            f"{errs * share:.0f}",
            f"{total['n_missed']:.0f}",
        )
    )
    headers = (f"first {N_QUERY} by", called, "boxes", "wrong", "share", f"{called} with an error", "missed objects")
    title = f"Query    {errs} of {len(inputs)} pool {called} hold a wrong box or miss an object; those picked first:\n"
    return title + text_table(headers, rows, right=range(1, 7))


def _query_row(name: str, inputs: pd.DataFrame) -> tuple[str, ...]:
    boxes, wrong, missed = (int(inputs[column].sum()) for column in ("n_boxes", "n_wrong", "n_missed"))
    share = percent(wrong / boxes if boxes else None)
    return name, str(len(inputs)), str(boxes), str(wrong), share, str(int(_errs(inputs).sum())), str(missed)


def _errs(inputs: pd.DataFrame) -> pd.Series[bool]:
    return (inputs["n_wrong"] > 0) | (inputs["n_missed"] > 0)


def _name(strategy: str | Mapping[str, Any]) -> str:
    if isinstance(strategy, str):
        return strategy
    return ", ".join(f"{name}={value}" for name, value in strategy.items())


def _flag_text(flagged: Mapping[int, bool], pool: BoxPool, queried: list[int]) -> str:
    """What the inputs are like that were flagged while the model ran, and whether a query for the same finds them."""
    inputs, called = pool.inputs, pool.topic.inputs
    chosen = inputs.index.map(flagged).to_numpy(bool)
    same = "the same" if set(queried) == {number for number, flag in flagged.items() if flag} else "OTHER"
    parts = [inputs[chosen], inputs[~chosen]]
    shares = [
        percent(part["n_wrong"].sum() / part["n_boxes"].sum() if part["n_boxes"].sum() else None) for part in parts
    ]
    text = (
        f"Flags    {int(chosen.sum())} of {len(chosen)} pool {called} were flagged while the detector ran "
        f"({_name(pool.topic.worst)}): of their boxes {shares[0]} are wrong, of the boxes of the others {shares[1]}; "
        f"a query for the same returns {same} {called}"
    )
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * 9)
