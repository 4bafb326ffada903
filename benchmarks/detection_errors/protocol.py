"""Fit on some images, answer for the others: the product and its rivals on the same boxes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.detection_errors import rivals
from benchmarks.detection_errors.data import TASK, Detector
from benchmarks.detection_errors.metadetect import metadetect_features
from benchmarks.detection_errors.rivals import RIVALS, Boxes, joined, metadetect
from benchmarks.detection_errors.runs import Run, evaluated, out_of_fold, promised, scored
from ml_debugger import columns
from ml_debugger.estimation.metrics import auroc, brier, ece

__all__ = ["OURS", "Answers", "answer", "ask_rivals", "columns_of", "compare", "figures", "line_overlap"]

OURS: Final = "MLdebugger"
N_FOLDS: Final = 5
ECE_SLACK: Final = 0.01
SAME: Final = 0.05  # a direction with so small a share of the greatest deviation is noise

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
Folds = list[list[Bool]]
Answered = dict[str, Float64]


@dataclass(frozen=True)
class Answers:
    """Error probabilities of N boxes by method, each for boxes of images that were not learned from.

    Attributes:
        image: ``(N,)``.
        wrong: ``(N,)``.
        iou: ``(N,)`` with the annotated box that the prediction belongs to.
        label: ``(N,)``.
        proba: By method ``(R, N)``: R repetitions with other folds.
        iou_found: By method ``(R, N)``: the overlap that it expects.
        zone: ``(R, N)`` of ours.
        promised: ``(R, N)`` the error rate that the evaluation which gave the zone promises for ``stable_coverage``;
            NaN where it promises nothing.
    """

    image: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    iou: Float64
    label: NDArray[np.int64]
    proba: dict[str, Float64]
    iou_found: dict[str, Float64]
    zone: NDArray[np.object_]
    promised: Float64

    def rows(self, chosen: NDArray[Any]) -> Answers:
        """Those of some of the boxes."""
        own = {name: getattr(self, name)[chosen] for name in ("image", "wrong", "iou", "label")}
        both = {
            name: {key: one[:, chosen] for key, one in getattr(self, name).items()} for name in ("proba", "iou_found")
        }
        return Answers(**own, **both, zone=self.zone[:, chosen], promised=self.promised[:, chosen])


def answer(detector: Detector, score_thresh: float, repeats: int, cache: Path | None = None) -> Answers:
    """Ask every method; what the rivals say is kept in a folder, if one is given."""
    output, images = detector.read(score_thresh), detector.images
    run = Run(TASK, output, images.ids, images.annotations)
    records = run.tables[columns.RECORDS]
    truth = TASK.diagnose(records, run.tables[columns.TRUTHS])
    image = records["recording_id"].to_numpy()
    boxes = Boxes(
        records["score"].to_numpy(),
        records["label"].to_numpy(),
        metadetect_features(output, detector.proposals),
        truth.is_error,
        truth.details["iou"],
    )
    judged = ~truth.ignored
    folds = [list(_folds(image, len(images.ids), repeat)) for repeat in range(repeats)]
    shape = repeats, len(image)
    ours, overlap, promised = (np.full(shape, np.nan) for _ in range(3))
    zone = np.full(shape, "", dtype=object)
    for repeat, parts in enumerate(folds):
        for inside in parts:
            known, asked = np.flatnonzero(~inside & judged), np.flatnonzero(inside)
            learned, found, promise = _ours(run, known, asked, repeat)
            zone[repeat, asked], promised[repeat, asked] = found["zone"], promise
            ours[repeat, asked] = found[columns.ERROR_PROBA]
            tables = (columns_of(boxes.score[rows], said) for rows, said in ((known, learned), (asked, found)))
            overlap[repeat, asked] = line_overlap(*tables, boxes.iou[known])
    proba, expected = _kept(boxes, judged, folds, cache)
    return Answers(
        image[judged],
        truth.is_error[judged],
        boxes.iou[judged],
        boxes.label[judged],
        {name: values[:, judged] for name, values in ({OURS: ours} | proba).items()},
        {name: values[:, judged] for name, values in ({OURS: overlap} | expected).items()},
        zone[:, judged],
        promised[:, judged],
    )


def _kept(boxes: Boxes, judged: Bool, folds: Folds, cache: Path | None) -> tuple[Answered, Answered]:
    """What the rivals say, from the folder where the same was computed before."""
    if cache is None:
        return _ask_rivals(boxes, judged, folds)
    digest = hashlib.sha256(Path(rivals.__file__).read_bytes() + repr(sorted(RIVALS)).encode())
    for array in (boxes.score, boxes.label, boxes.features, boxes.wrong, boxes.iou, judged, np.array(folds)):
        digest.update(np.ascontiguousarray(array).tobytes())
    path = cache / f"boxes-{digest.hexdigest()[:16]}.npz"
    if not path.exists():
        proba, expected = _ask_rivals(boxes, judged, folds)
        path.parent.mkdir(parents=True, exist_ok=True)
        prefixed = {f"proba/{name}": values for name, values in proba.items()}
        np.savez(path, **prefixed, **{f"iou/{name}": values for name, values in expected.items()})
    with np.load(path) as stored:
        arrays = dict(stored)
    return {name: arrays[f"proba/{name}"] for name in RIVALS}, {name: arrays[f"iou/{name}"] for name in RIVALS}


def _ask_rivals(boxes: Boxes, judged: Bool, folds: Folds) -> tuple[Answered, Answered]:
    """Error probabilities ``(R, N)`` and expected overlaps of each."""
    shape = len(folds), len(judged)
    proba, expected = ({name: np.full(shape, np.nan) for name in RIVALS} for _ in range(2))
    for repeat, parts in enumerate(folds):
        for inside in parts:
            known, asked = np.flatnonzero(~inside & judged), np.flatnonzero(inside)
            found, overlap = ask_rivals(boxes.rows(known), boxes.rows(asked))
            for name in RIVALS:
                proba[name][repeat, asked], expected[name][repeat, asked] = found[name], overlap[name]
    return proba, expected


def ask_rivals(known: Boxes, asked: Boxes, names: Sequence[str] = tuple(RIVALS)) -> tuple[Answered, Answered]:
    """By rival, error probabilities ``(N,)`` and expected overlaps of the boxes asked about."""
    proba, expected = {}, {}
    for name in names:
        rival = RIVALS[name]
        both = rival(known, joined(known, asked))
        seen, proba[name] = both[: len(known.score)], both[len(known.score) :]
        if rival is metadetect:
            expected[name] = _boosted_overlap(known, asked)
        else:
            expected[name] = overlap_of(seen, known.iou, proba[name])
    return proba, expected


def _folds(image: NDArray[np.int64], n_images: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    fold = np.random.default_rng((7, seed)).permutation(n_images) % N_FOLDS
    for number in range(N_FOLDS):
        yield fold[image] == number


def _ours(
    run: Run, known: NDArray[np.int64], asked: NDArray[np.int64], seed: int
) -> tuple[Mapping[str, Float64], Mapping[str, NDArray[Any]], float]:
    """Out-of-fold errors of the boxes learned from; errors and zones of boxes of other images; the promise."""
    records = run.tables[columns.RECORDS]
    others = pa.array(np.unique(records["recording_id"].to_numpy()[asked]))

    def read(kind: str, names: tuple[str, ...], tags: Any) -> Iterator[pa.RecordBatch]:
        for batch in run.read(kind, tuple(dict.fromkeys((*names, "recording_id"))), tags):
            chosen = batch.filter(pc.invert(pc.is_in(batch["recording_id"], value_set=others)))
            yield chosen.select(list(names))

    found = evaluated(run.task, read, seed=seed)
    learned = out_of_fold(found, records.take(pa.array(known)))
    return learned, scored(run.task, found, records.take(pa.array(asked))), promised(found)


def columns_of(score: Float64, said: Mapping[str, NDArray[Any]]) -> Float64:
    """``(N, 4)`` what the product says of a box besides its place and class."""
    return np.stack([1.0 - score, *(said[name] for name in columns.ERROR_COLUMNS)], axis=1)


def line_overlap(known: Float64, asked: Float64, iou: Float64) -> Float64:
    """The overlap that goes with score and error probabilities: least squares on the boxes learned from.

    Directions in which they hardly vary are left out: such variation is that of calibrations between folds.
    """
    mean = known.mean(axis=0)
    line = np.linalg.pinv(known - mean, rcond=SAME) @ (iou - iou.mean())
    return overlap_of((mean - known) @ line, iou, (mean - asked) @ line)


def overlap_of(known: Float64, iou: Float64, asked: Float64) -> Float64:
    """The overlap that goes with an error probability: isotonic regression on the boxes learned from."""
    from sklearn.isotonic import IsotonicRegression

    return IsotonicRegression(increasing=False, out_of_bounds="clip").fit(known, iou).predict(asked)


def _boosted_overlap(known: Boxes, asked: Boxes) -> Float64:
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(
        n_estimators=150, learning_rate=0.05, max_depth=3, subsample=0.7, min_samples_leaf=20, random_state=0
    )
    return model.fit(known.features, known.iou).predict(asked.features)


def figures(found: Answers, method: str) -> dict[str, float]:
    """AUROC, Brier, ECE, the highest ECE to be accepted, LaECE and IoU R2; means over the repetitions.

    Accepted is `ECE_SLACK` above the 95th percentile of what perfectly calibrated labels would show.
    """
    rows = []
    for proba, overlap in zip(found.proba[method], found.iou_found[method], strict=True):
        left = ((found.iou - overlap) ** 2).sum() / ((found.iou - found.iou.mean()) ** 2).sum()
        rows.append(
            {
                "auroc": auroc(proba, found.wrong),
                "brier": brier(proba, found.wrong),
                "ece": ece(proba, found.wrong),
                "ece_bar": _chance(proba) + ECE_SLACK,
                "laece": _laece(found, proba),
                "iou_r2": float(1.0 - left),
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _chance(proba: Float64, draws: int = 200) -> float:
    """95th percentile of the ECE of perfectly calibrated labels drawn from the same probabilities."""
    random = np.random.default_rng(0)
    return float(np.quantile([ece(proba, random.random(len(proba)) < proba) for _ in range(draws)], 0.95))


def _laece(found: Answers, proba: Float64, n_bins: int = 25) -> float:
    """Localisation-aware ECE (Oksuz et al., CVPR 2023): per class, confidence against precision times overlap.

    The confidence of a box is the probability that it is right times the mean overlap of right boxes.
    """
    right = ~found.wrong
    confidence = (1.0 - proba) * found.iou[right].mean()
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    sums = []
    for label in np.unique(found.label):
        mine = found.label == label
        size = np.bincount(bins[mine], minlength=n_bins)
        gap = np.bincount(bins[mine], confidence[mine] - right[mine] * found.iou[mine], minlength=n_bins)
        sums.append(np.abs(gap).sum() / size.sum())
    return float(np.mean(sums))


def compare(
    found: Answers, rivals: Sequence[str], draws: int = 500
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """By rival, how much better we are in AUROC and Brier: difference and 95 % interval; whole images are drawn."""
    random = np.random.default_rng(0)
    names, member = np.unique(found.image, return_inverse=True)
    times = [np.ones(len(names), dtype=np.int64)]
    for _ in range(draws):
        times.append(np.bincount(random.integers(0, len(names), len(names)), minlength=len(names)))
    weights = np.stack(times)[:, member].astype(np.float64)
    ours = _weighted(found, OURS, weights)
    result = {}
    for rival in rivals:
        theirs = _weighted(found, rival, weights)
        gains = {"auroc": ours[0] - theirs[0], "brier": theirs[1] - ours[1]}
        result[rival] = {
            name: (float(gain[0]), *np.quantile(gain[1:], [0.025, 0.975]).tolist()) for name, gain in gains.items()
        }
    return result


def _weighted(found: Answers, method: str, weights: Float64) -> Float64:
    """``(2, D)`` AUROC and Brier score for each of ``(D, N)`` weights of the boxes, means over the repetitions."""
    rows = []
    for proba in found.proba[method]:
        order = np.argsort(proba, kind="stable")
        starts = np.flatnonzero(np.diff(proba[order], prepend=-1.0))
        errors, right = (
            np.add.reduceat(weights[:, order] * kind[order], starts, axis=1) for kind in (found.wrong, ~found.wrong)
        )
        below = np.cumsum(right, axis=1) - right / 2.0
        area = (errors * below).sum(axis=1) / (errors.sum(axis=1) * right.sum(axis=1))
        rows.append((area, weights @ (proba - found.wrong) ** 2 / weights.sum(axis=1)))
    return np.asarray(np.mean(rows, axis=0))
