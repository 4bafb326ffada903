"""A matcher and suppression statistics for one image, in plain loops: what the fast ones must agree with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

Box = tuple[float, float, float, float]


@dataclass
class Predicted:
    box: Box
    label: int
    score: float
    code: str = ""
    truth: int = -1
    ignored: bool = False


@dataclass
class Annotated:
    box: Box
    label: int
    ignored: bool = False
    taken: bool = False
    belongs: set[int] = field(default_factory=set)


def area(box: Box) -> float:
    x1, y1, x2, y2 = box
    return (x2 - x1) * (y2 - y1) if all(map(math.isfinite, box)) and x1 < x2 and y1 < y2 else 0.0


def shared(a: Box, b: Box) -> float:
    if not area(a) or not area(b):
        return 0.0
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


def iou(a: Box, b: Box) -> float:
    both = shared(a, b)
    return both / (area(a) + area(b) - both) if both else 0.0


def share_inside(inner: Box, outer: Box) -> float:
    return shared(inner, outer) / area(inner) if area(inner) else 0.0


def slow_match(
    predictions: list[Predicted], truths: list[Annotated], foreground: float, background: float, inside: float
) -> None:
    """Fills in code, truth and ignored of the predictions, and ``belongs`` of the annotations."""
    usable = [p for p in predictions if area(p.box) and math.isfinite(p.score)]
    for p in predictions:
        p.code = "" if any(p is q for q in usable) else "U"
    open_ = sorted(usable, key=lambda p: -p.score)
    objects = [(n, t) for n, t in enumerate(truths) if not t.ignored and area(t.box)]
    take(open_, objects, foreground, same_class=True)
    for p in open_:
        regions = [t for t in truths if t.ignored and t.label in (p.label, -1)]
        if not p.code and any(share_inside(p.box, t.box) >= foreground for t in regions):
            p.code, p.ignored = "U", True
    take(open_, objects, foreground, same_class=False)
    for p in open_:
        over = [(n, t) for n, t in objects if t.taken and iou(p.box, t.box) >= foreground]
        if not p.code and over:
            p.code, p.truth = "D", best(p, over)
    several([p for p in open_ if not p.code], objects, background, inside)
    for p in open_:
        if not p.code:
            alone(p, predictions, objects, background)
    for p in predictions:
        if p.truth >= 0:
            truths[p.truth].belongs.add(p.truth)


def several(left: list[Predicted], objects: list[tuple[int, Annotated]], background: float, inside: float) -> None:
    """Predictions over several annotations, and several predictions over one."""
    verdicts = []
    for p in left:
        held = held_by(p, objects, background, inside)
        own = [(n, t) for n, t in objects if t.label == p.label and not t.taken]
        verdicts.append((p, held, [(n, t) for n, t in own if is_fragment(p, t, left, background, inside)]))
    for p, held, wholes in verdicts:
        for n, t in held + wholes:
            t.belongs.add(n)
        if held and wholes:
            p.code = "U"
        elif held or wholes:
            p.code, p.truth = ("SG" if held else "SP"), best(p, held or wholes)


def alone(p: Predicted, predictions: list[Predicted], objects: list[tuple[int, Annotated]], background: float) -> None:
    near = [(n, t) for n, t in objects if iou(p.box, t.box) >= background and (t.label == p.label or not t.taken)]
    others = [q for q in predictions if q is not p and math.isfinite(q.score)]
    if near:
        p.code, p.truth = "M", best(p, near)
    else:
        p.code = "ON" if any(iou(p.box, q.box) >= background for q in others) else "N"


def take(open_: list[Predicted], objects: list[tuple[int, Annotated]], foreground: float, *, same_class: bool) -> None:
    for p in open_:
        if p.code:
            continue
        found, most = None, foreground
        for n, t in objects:
            overlap = iou(p.box, t.box)
            if not t.taken and (t.label == p.label or not same_class) and overlap >= most:
                found, most = (n, t), overlap
        if found:
            p.code, p.truth = "A", found[0]
            found[1].taken = True


def held_by(
    p: Predicted, objects: list[tuple[int, Annotated]], background: float, inside: float
) -> list[tuple[int, Annotated]]:
    """Annotations of its class that lie in a prediction, if they are several and fill enough of it."""
    held = [(n, t) for n, t in objects if t.label == p.label and share_inside(t.box, p.box) >= inside]
    return held if len(held) >= 2 and sum(share_inside(p.box, t.box) for _, t in held) >= background else []


def is_fragment(p: Predicted, t: Annotated, left: list[Predicted], background: float, inside: float) -> bool:
    parts = [q for q in left if q.label == t.label and share_inside(q.box, t.box) >= inside]
    enough = len(parts) >= 2 and sum(share_inside(t.box, q.box) for q in parts) >= background
    return enough and any(q is p for q in parts)


def best(p: Predicted, among: list[tuple[int, Annotated]]) -> int:
    return max(among, key=lambda one: (one[1].label == p.label, not one[1].taken, iou(p.box, one[1].box), one[0]))[0]


def slow_suppressed(
    kept: list[Predicted], candidates: list[tuple[Box, list[float]]], threshold: float, lowest: float
) -> list[dict[str, float]]:
    """Statistics of the candidates (box, score per class) that each kept box suppressed."""
    selves = set()
    for k in kept:
        same = [
            (-iou(k.box, box), n)
            for n, (box, scores) in enumerate(candidates)
            if abs(scores[k.label] - k.score) <= 1e-4 and iou(k.box, box) >= threshold and scores[k.label] >= lowest
        ]
        if same:
            selves.add((min(same)[1], k.label))
    groups: list[list[tuple[float, float, Box]]] = [[] for _ in kept]
    for n, (box, scores) in enumerate(candidates):
        for label in range(len(scores)):
            near = [
                (k.score, iou(k.box, box), -i)
                for i, k in enumerate(kept)
                if k.label == label and iou(k.box, box) >= threshold
            ]
            if near and scores[label] >= lowest and (n, label) not in selves:
                _, overlap, i = max(near)
                groups[-i].append((scores[label], overlap, box))
    return [
        summary(k, groups[i])
        | of_others(
            [
                max(s for c, s in enumerate(scores) if c != k.label)
                for box, scores in candidates
                if iou(k.box, box) >= threshold
            ],
            lowest,
        )
        for i, k in enumerate(kept)
    ]


def summary(k: Predicted, rows: list[tuple[float, float, Box]]) -> dict[str, float]:
    scores, overlaps = [row[0] for row in rows], [row[1] for row in rows]
    spread = [deviation([row[2][side] for row in rows]) for side in range(4)]
    return {
        "n_suppressed_same": len(rows),
        "suppressed_score_sum": sum(scores),
        "suppressed_score_max": max(scores, default=0.0),
        "suppressed_score_mean": mean(scores),
        "suppressed_score_std": deviation(scores),
        "suppressed_iou_mean": mean(overlaps),
        "suppressed_iou_std": deviation(overlaps),
        "side_std": mean(spread) / math.sqrt(area(k.box)) if area(k.box) else math.nan,
    }


def of_others(scores: list[float], lowest: float) -> dict[str, float]:
    seen = [score for score in scores if score >= lowest]
    return {"n_suppressed_other": len(seen), "suppressed_other_score_max": max(seen, default=0.0)}


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def deviation(values: list[float]) -> float:
    middle = mean(values)
    return math.sqrt(mean([(value - middle) ** 2 for value in values])) if values else math.nan
