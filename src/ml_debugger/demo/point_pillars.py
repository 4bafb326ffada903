"""The detector of the 3D detection demo: PointPillars in small, plain PyTorch, trained in a minute or two on a CPU.

As in PointPillars (Lang et al. 2019) points are gathered in upright pillars, a small network turns those of a pillar
into one feature, and convolutions look at the map of pillars from above. Boxes come as in CenterPoint and FCOS, without
anchors: each cell amid an object says its class, where its middle is, how large it is and which way it looks. The
strength of returns is left out, since each sensor has a scale of its own.

Its output is what any detector may return: one dict per frame of ``boxes``, ``labels`` and ``scores``, and beside them
``features``, ``logits`` and the ``candidates`` that non-maximum suppression chose from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch  # noqa: TID253 - the detector is a torch module; this file is imported by the demo alone
from torch import Tensor, nn  # noqa: TID253 - likewise

from ml_debugger.analysis.boxes_3d import bev_areas, iter_shared_space
from ml_debugger.demo.street_scenes import CLASS_NAMES, PC_RANGE, SIZES, Streets, Target

__all__ = ["PointPillars", "train"]

PILLAR: Final = 0.4
CELL: Final = 2 * PILLAR
LEAST_CANDIDATE: Final = 0.05
MOST_CANDIDATES: Final = 400
_SIDE: Final = 128
_POINT: Final = 8
_WIDTHS: Final = (24, 40, 64)
_MOST_POINTS: Final = 12
_BOX: Final = 9
_BATCH: Final = 2
_RATE: Final = 3e-3
_RARE: Final = -4.0

Detections = list[dict[str, Any]]


class PointPillars(nn.Module):
    """Boxes of cars, pedestrians and cyclists in point clouds.

    Args:
        score_thresh: Least score of a box.
        iou_thresh: Overlap seen from above from which the worse of two boxes of one class is dropped.
    """

    sizes: Tensor

    def __init__(self, score_thresh: float = 0.3, iou_thresh: float = 0.2) -> None:
        super().__init__()
        self.score_thresh, self.iou_thresh = score_thresh, iou_thresh
        first, second, third = _WIDTHS
        self.pillars = nn.Sequential(nn.Linear(_POINT, first, bias=False), nn.BatchNorm1d(first), nn.ReLU())
        self.fine = nn.Sequential(_block(first, second, 2), _block(second, second, 1))
        self.coarse = nn.Sequential(
            _block(second, third, 2),
            _block(third, third, 1),
            _block(third, third, 1),
            nn.ConvTranspose2d(third, second, 2, 2, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Sequential(nn.Conv2d(2 * second, third, 1, bias=False), nn.BatchNorm2d(third), nn.ReLU())
        self.classes = nn.Conv2d(third, len(CLASS_NAMES), 1)
        self.sides = nn.Conv2d(third, _BOX, 1)
        nn.init.constant_(self.classes.bias, _RARE)  # type: ignore[arg-type]  # there is a bias
        self.register_buffer("sizes", torch.tensor(SIZES).log(), persistent=False)

    def cells(self, frames: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """What the M cells of B frames say: sides ``(B, M, 9)``, logits ``(B, M, 3)``, features ``(B, M, 64)``."""
        fine = self.fine(self._canvas(frames))
        found = self.head(torch.cat([fine, self.coarse(fine)], 1))
        sides, logits, features = (part.flatten(2).mT for part in (self.sides(found), self.classes(found), found))
        return sides, logits, features

    def forward(self, frames: Sequence[Tensor] | Mapping[str, Sequence[Tensor]]) -> Detections:
        """The boxes of frames, one dict each.

        Args:
            frames: B point clouds ``(N, 3)`` or wider, x y z first, in metres from the sensor; or a dict with these as
                ``points``.
        """
        sides, logits, features = self.cells(frames["points"] if isinstance(frames, Mapping) else frames)
        return [self._detect(*parts) for parts in zip(sides, logits, features, strict=True)]

    def _canvas(self, frames: Sequence[Tensor]) -> Tensor:
        """``(B, 24, 128, 128)`` the greatest feature of the points in each pillar; rows along y, columns along x."""
        low = torch.tensor(PC_RANGE[:2], device=self.sizes.device)
        seen = [thinned(frame) for frame in frames]
        points = torch.cat(seen)
        column, row = _pillars(points)
        number = torch.repeat_interleave(torch.tensor([len(one) for one in seen], device=points.device))
        # Thinned points lie pillar by pillar, so that each pillar is one run of equal places.
        place = (number * _SIDE + row) * _SIDE + column
        pillar, of, count = place.unique_consecutive(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]  # in torch
        mean = points.new_zeros(len(pillar), 3).index_add_(0, of, points) / count[:, None]
        middle = low + PILLAR * (torch.stack([column, row], 1) + 0.5)
        described = [
            points - mean[of],
            points[:, :2] - middle,
            points[:, 2:],
            count[of, None].log(),
            points[:, :1] / PC_RANGE[3],
        ]
        known = self.pillars(torch.cat(described, 1))
        width = known.shape[1]
        # Features are at least 0, as are those of pillars without points.
        most = known.new_zeros(len(pillar), width).scatter_reduce(0, of[:, None].expand(-1, width), known, "amax")
        canvas: Tensor = known.new_zeros(len(frames) * _SIDE * _SIDE, width).index_copy(0, pillar, most)
        return canvas.view(len(frames), _SIDE, _SIDE, width).permute(0, 3, 1, 2)

    def decode(self, sides: Tensor, label: Tensor) -> Tensor:
        """``(M, 7)`` boxes of what cells say, as the class of each ``(M,)`` has them."""
        x, y = centres().to(sides.device).unbind(1)
        half_turn = torch.atan2(sides[:, 6], sides[:, 7]) / 2
        front = torch.where(sides[:, 8] > 0, 1.0, -1.0)
        yaw = torch.atan2(front * half_turn.sin(), front * half_turn.cos())
        size = (sides[:, 3:6].clamp(-1, 1) + self.sizes[label]).exp()
        place = [x + CELL * sides[:, 0], y + CELL * sides[:, 1], sides[:, 2]]
        return torch.cat([torch.stack(place, 1), size, yaw[:, None]], 1)

    def _detect(self, sides: Tensor, logits: Tensor, features: Tensor) -> dict[str, Any]:
        scores = logits.sigmoid()
        score, label = scores.max(1)
        boxes = self.decode(sides, label)
        seen = torch.nonzero(score > min(LEAST_CANDIDATE, self.score_thresh))[:, 0]
        seen = seen[score[seen].argsort(descending=True)[:MOST_CANDIDATES]]
        kept = seen[_suppress(boxes[seen], label[seen], score[seen], self.score_thresh, self.iou_thresh)]
        return {
            "boxes": boxes[kept],
            "labels": label[kept],
            "scores": score[kept],
            "features": features[kept],
            "logits": logits[kept],
            "candidates": {"boxes": boxes[seen], "scores": scores[seen]},
        }


def thinned(frame: Tensor) -> Tensor:
    """``(N, 3)`` float32 places of the points within range; of a pillar with many, twelve from all over it.

    As PointPillars does: most points of a frame lie on the road just ahead, and tell nothing new.
    """
    low, high = (torch.tensor(part, device=frame.device) for part in (PC_RANGE[:3], PC_RANGE[3:]))
    points = frame[((frame[:, :3] >= low) & (frame[:, :3] < high)).all(1), :3].float()
    column, row = _pillars(points)
    pillar, order = (row * _SIDE + column).sort(stable=True)
    count = torch.bincount(pillar, minlength=_SIDE * _SIDE)
    rank = torch.arange(len(pillar), device=frame.device) - (count.cumsum(0) - count)[pillar]
    step = count[pillar].clamp(min=_MOST_POINTS)
    kept = rank * _MOST_POINTS // step > (rank - 1) * _MOST_POINTS // step
    return points[order[kept]]


def _pillars(points: Tensor) -> tuple[Tensor, Tensor]:
    """``(N,)`` column and row of the pillar of each point."""
    low = torch.tensor(PC_RANGE[:2], device=points.device)
    column, row = ((points[:, :2] - low) / PILLAR).long().clamp(0, _SIDE - 1).unbind(1)
    return column, row


def centres() -> Tensor:
    """``(M, 2)`` x and y of the middles of the cells in metres."""
    side = _SIDE // 2
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.tensor(PC_RANGE[:2]) + CELL * (torch.stack([x, y], -1).reshape(-1, 2) + 0.5)


def train(
    streets: Streets,
    ids: list[int],
    seed: int,
    epochs: int,
    shown: Callable[[Iterable[int]], Iterable[int]] = lambda epochs: epochs,
) -> PointPillars:
    """A detector trained from scratch on some streets, each as it is or mirrored from left to right.

    Args:
        streets: The annotated frames.
        ids: Which of them.
        seed: Chooses weights, order and mirroring.
        epochs: How often it sees each frame.
        shown: Wraps the epochs, for a progress bar.
    """
    torch.manual_seed(seed)
    model = PointPillars().to(memory_format=torch.channels_last).train()
    frames = [thinned(torch.from_numpy(streets.frames[number])) for number in ids]
    goals = [[_goals(_mirrored(target, way)) for way in (1, -1)] for target in streets.annotations(ids)]
    n_steps = -(-len(ids) // _BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=epochs * n_steps)
    order = np.random.default_rng(seed)
    for _ in shown(range(epochs)):
        for part in np.array_split(order.permutation(len(ids)), n_steps):
            ways = order.choice([1, -1], len(part))
            batch = [frames[at] * torch.tensor([1.0, way, 1.0]) for at, way in zip(part, ways, strict=True)]
            wanted = [goals[at][int(way < 0)] for at, way in zip(part, ways, strict=True)]
            optimizer.zero_grad()
            sides, logits, _ = model.cells(batch)
            classes, boxes = (torch.stack(column) for column in zip(*wanted, strict=True))
            _loss(model, sides, logits, boxes, classes).backward()  # type: ignore[no-untyped-call]  # in torch
            optimizer.step()
            schedule.step()
    return model.eval()


def _block(n_in: int, n_out: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
    )


def _mirrored(target: Target, way: float) -> Target:
    """Annotations of the frame with y turned over where ``way`` is -1."""
    boxes = target["boxes"] * np.array([1, way, 1, 1, 1, 1, way], dtype=np.float32)
    return target | {"boxes": boxes}


def _goals(target: Target) -> tuple[Tensor, Tensor]:
    """What each cell should say: class ``(M,)``, -1 for nothing, -2 for anything, and box ``(M, 7)``."""
    centre = centres()
    classes, goals = torch.full((len(centre),), -1), torch.zeros(len(centre), 7)
    order = np.lexsort((-target["boxes"][:, 3], ~target["ignore"]))  # ignored ones first, smaller ones over larger
    for box, label, ignored in zip(*(target[name][order] for name in ("boxes", "labels", "ignore")), strict=True):
        away = centre - torch.from_numpy(box[:2])
        cos, sin = float(np.cos(box[6])), float(np.sin(box[6]))
        along, across = away[:, 0] * cos + away[:, 1] * sin, away[:, 1] * cos - away[:, 0] * sin
        reach_x, reach_y = (max(float(size) * (0.5 if ignored else 0.3), 0.75 * CELL) for size in box[3:5])
        amid = (along.abs() <= reach_x) & (across.abs() <= reach_y)
        classes[amid], goals[amid] = -2 if ignored else int(label), torch.from_numpy(box)
    return classes, goals


def _loss(model: PointPillars, sides: Tensor, logits: Tensor, boxes: Tensor, classes: Tensor) -> Tensor:
    """Focal loss of the classes, and smooth L1 loss of the boxes where there is an object."""
    there = classes >= 0
    wanted = nn.functional.one_hot(classes.clamp(min=0), len(CLASS_NAMES)) * there[..., None]
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, wanted.float(), reduction="none")
    focal = ((wanted - logits.sigmoid()).abs() ** 2 * entropy)[classes > -2].sum()
    said, box = sides[there], boxes[there]
    place = (box[:, :2] - centres().expand(len(boxes), -1, -1)[there]) / CELL
    size = box[:, 3:6].log() - model.sizes[classes[there]]
    turn = torch.stack([(2 * box[:, 6]).sin(), (2 * box[:, 6]).cos()], 1)
    goal = torch.cat([place, box[:, 2:3], size, turn], 1)
    weight = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5])
    regressed = nn.functional.smooth_l1_loss(said[:, :8], goal, reduction="none", beta=0.1) * weight
    # Twice the yaw leaves open which end is the front: the yaw is half of it, or half a turn more.
    half_turn = torch.atan2(turn[:, 0], turn[:, 1]) / 2
    front = ((box[:, 6] - half_turn).cos() > 0).float()
    heading = nn.functional.binary_cross_entropy_with_logits(said[:, 8], front, reduction="none")
    return (focal + regressed.sum() + 0.2 * heading.sum()) / there.sum().clamp(min=1)


def _suppress(boxes: Tensor, label: Tensor, score: Tensor, least: float, most: float) -> Tensor:
    """Positions of the boxes that no better box of their class overlaps by more than ``most``; best first as given."""
    good = (score >= least).cpu().numpy()
    box, of = boxes[: int(good.sum())].detach().cpu().double().numpy(), label.cpu().numpy()
    areas, frame = bev_areas(box), np.zeros(len(box), dtype=np.int64)
    rivals: list[list[int]] = [[] for _ in box]
    for pairs in iter_shared_space(frame, box, frame, box):
        union = areas[pairs.first] + areas[pairs.second] - pairs.area
        beats = (pairs.area > most * union) & (pairs.first < pairs.second) & (of[pairs.first] == of[pairs.second])
        for one, other in zip(pairs.first[beats], pairs.second[beats], strict=True):
            rivals[one].append(other)
    stays = np.ones(len(box), dtype=bool)
    for place, beaten in enumerate(rivals):
        if stays[place]:
            stays[beaten] = False
    return torch.from_numpy(np.flatnonzero(stays)).to(boxes.device)
