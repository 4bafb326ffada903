"""How detectors in images and detectors in point clouds differ; an adapter that is given a kind serves either."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ml_debugger.adapters.detection.boxes import ImageBoxes
from ml_debugger.adapters.detection.frames import frame_points
from ml_debugger.adapters.detection.images import image_sizes
from ml_debugger.adapters.detection.outputs import IMAGE_FORM, OutputForm
from ml_debugger.adapters.detection.outputs_3d import FRAME_FORM
from ml_debugger.adapters.detection.settings import DetectionSettings, FrameSettings
from ml_debugger.analysis.box_kinds import BOXES_2D, BOXES_3D, BoxKind
from ml_debugger.analysis.box_points import border_distance, inside_of
from ml_debugger.columns import DETECTION_3D_CONTEXT, DETECTION_CONTEXT

__all__ = ["FRAMES", "IMAGES", "DetectorKind", "PointRange"]

Float32 = NDArray[np.float32]
PointRange = tuple[float, ...]
"""Where a scene begins and ends: x y z, x y z in metres."""


@dataclass(frozen=True, slots=True)
class DetectorKind:
    """What adapters need to know of a task.

    Attributes:
        task: Its name.
        inputs: What its inputs are called.
        form: How boxes are written.
        boxes: Their geometry.
        settings: Its settings.
        first_label: The greatest label that the first class may have.
        context: Columns of ``context`` that adapters fill.
        look: Input of the model and B -> what is known of each of B inputs. Called before the model, which may alter
            what it is given.
        place: Units, ``(U,)`` the position of the input of each, the inputs, what is known of them, and where a scene
            ends -> ``(U, k)`` the first columns of ``context``, NaN where unknown.
    """

    task: str
    inputs: str
    form: OutputForm
    boxes: BoxKind
    settings: type[DetectionSettings | FrameSettings]
    first_label: int
    context: tuple[str, ...]
    look: Callable[[Any, int], Any]
    place: Callable[[Float32, NDArray[np.int64], Sequence[ImageBoxes], Any, PointRange | None], Float32]

    @property
    def most(self) -> str:
        """The setting that says how many boxes of an input there may be."""
        return self.settings.most()


def _in_images(
    boxes: Float32,
    input_index: NDArray[np.int64],
    images: Sequence[ImageBoxes],
    sizes: Float32,
    pc_range: PointRange | None,
) -> Float32:
    """``(U, 2)`` width and height of its image in pixels; what the image itself says goes before ``sizes (B, 2)``."""
    known = [image.size or tuple(size) for image, size in zip(images, sizes.tolist(), strict=True)]
    return np.array(known, dtype=np.float32).reshape(-1, 2)[input_index]


def _in_frames(
    boxes: Float32,
    input_index: NDArray[np.int64],
    frames: Sequence[ImageBoxes],
    clouds: Sequence[Float32 | None],
    pc_range: PointRange | None,
) -> Float32:
    """``(U, 4)`` what is inside of a box, and how far it is from the border of the scene."""
    found = np.full((len(boxes), 4), np.nan, dtype=np.float32)
    for position, points in enumerate(clouds):
        own = np.flatnonzero(input_index == position)
        if points is not None and len(own):
            found[own, :3] = inside_of(points, boxes[own])
    if pc_range is not None:
        found[:, 3] = border_distance(boxes, np.asarray(pc_range))
    return found


IMAGES: Final = DetectorKind(
    task="object_detection",
    inputs="images",
    form=IMAGE_FORM,
    boxes=BOXES_2D,
    settings=DetectionSettings,
    first_label=0,
    context=DETECTION_CONTEXT,
    look=image_sizes,
    place=_in_images,
)

FRAMES: Final = DetectorKind(
    task="object_detection_3d",
    inputs="frames",
    form=FRAME_FORM,
    boxes=BOXES_3D,
    settings=FrameSettings,
    first_label=1,  # OpenPCDet's
    context=DETECTION_3D_CONTEXT,
    look=frame_points,
    place=_in_frames,
)
