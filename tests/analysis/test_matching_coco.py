"""Right boxes are exactly the true positives of COCO's own evaluation, box by box, on real detections."""

from __future__ import annotations

import pytest

from benchmarks.detection_matching import DETECTIONS, agreement, coco_folder

FOLDER = coco_folder()  # read before the environment is cleaned


@pytest.mark.data
@pytest.mark.skipif(FOLDER is None, reason="the coco355 data is not there")
@pytest.mark.parametrize("name", DETECTIONS)
@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_every_box_is_judged_as_by_coco(name: str, iou: float) -> None:
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    found = agreement(FOLDER, name, iou)
    assert found.boxes > 5000
    assert found.right > 500
    assert (found.differing, found.partners_differing, found.missed_differing) == (0, 0, 0)
