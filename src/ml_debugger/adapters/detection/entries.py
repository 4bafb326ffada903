"""Raw outputs of a detector's head: one entry per place and class, and which entry each returned box came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.detection.boxes import LOWEST_CANDIDATE, MOST_CANDIDATES, Candidates, ImageBoxes

__all__ = ["Entries", "find_rows"]

# Score and box of an entry are computed as the model computed them, up to rounding, of pixels too: more than this is
# another entry.
SCORE_TOLERANCE: Final = 1e-4
SIDE_TOLERANCE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Entries:
    """E entries of one image, as tensors on the model's device.

    Attributes:
        boxes: ``(E, 4)`` in pixels of the image as given, or ``(E, 7)``.
        labels: ``(E,)`` int64.
        scores: ``(E,)``.
        rows: ``(E,)`` int64, which place (proposal, anchor or query) each entry belongs to.
    """

    boxes: Any
    labels: Any
    scores: Any
    rows: Any

    def candidates(self) -> Candidates:
        """The best entries."""
        scores = self.scores
        if len(scores) > MOST_CANDIDATES:
            chosen = scores.topk(MOST_CANDIDATES).indices
        else:
            chosen = scores.argsort(descending=True, stable=True)
        chosen = chosen[scores[chosen] >= LOWEST_CANDIDATE]
        return Candidates(
            self.boxes[chosen].float().cpu().numpy(),
            self.labels[chosen].cpu().numpy(),
            scores[chosen].float().cpu().numpy(),
        )


def find_rows(image: ImageBoxes, entries: Entries, tolerance: float = SIDE_TOLERANCE) -> NDArray[np.int64]:
    """``(U,)`` the place that each returned box came from; -1 where no entry has its label, score and box.

    Args:
        image: Boxes as returned.
        entries: Raw outputs.
        tolerance: How far two numbers of the same box may differ by rounding.
    """
    import torch

    found = np.full(len(image.labels), -1, dtype=np.int64)
    if not len(found) or not len(entries.rows):
        return found
    device = entries.scores.device
    boxes = torch.from_numpy(image.boxes).to(device)
    labels = torch.from_numpy(image.labels).to(device)
    scores = torch.from_numpy(image.scores).to(device, entries.scores.dtype)
    # The same numbers by the same formula: nearly always equal to the bit, and then few entries need to be compared.
    equal = torch.isin(entries.scores, scores).nonzero()[:, 0]
    rows = _nearest(boxes, labels, scores, entries, equal, tolerance)
    if bool((rows < 0).any()):
        left = (rows < 0).nonzero()[:, 0]
        every = torch.arange(len(entries.rows))
        rows[left] = _nearest(boxes[left], labels[left], scores[left], entries, every, tolerance)
    found[:] = rows.cpu().numpy()
    return found


def _nearest(boxes: Any, labels: Any, scores: Any, entries: Entries, chosen: Any, tolerance: float) -> Any:
    """``(U,)`` rows of the entries, among the chosen ones, with the least distance; -1 where it is too large."""
    import torch

    nothing = torch.full((len(labels),), -1, dtype=torch.int64, device=labels.device)
    if not len(chosen):
        return nothing
    chosen = chosen.to(labels.device)
    sides = torch.cdist(boxes.float(), entries.boxes[chosen].float(), p=float("inf"))
    wrong = labels[:, None] != entries.labels[chosen][None, :]
    wrong |= (scores[:, None] - entries.scores[chosen][None, :]).abs() > SCORE_TOLERANCE
    distance, position = sides.masked_fill(wrong, float("inf")).min(dim=1)
    return torch.where(distance <= tolerance, entries.rows[chosen][position], nothing)
