"""The detector of cells as the benchmark reads it: through the adapter, without what it was trained on."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from benchmarks.detection_errors import cells, train_bccd  # noqa: E402
from benchmarks.detection_errors.metadetect import metadetect_features  # noqa: E402
from ml_debugger.columns import DETECTION_CONTEXT  # noqa: E402
from tests.benchmarks.detection_errors.test_train_bccd import _folder  # noqa: E402


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _folder(tmp_path / "voc")


def test_annotations_are_those_of_coco(folder: Path) -> None:
    images = cells.load_cells(folder, ["test"])
    assert images.size.tolist() == [[64, 48], [64, 48]]
    assert images.annotations[0] == [
        {"bbox": [4, 5, 26, 35], "category_id": 2},
        {"bbox": [40, 20, 10, 10], "category_id": 3},
    ]
    assert images.annotations[1] == []


def test_what_was_read_once_is_kept_with_features_and_candidates(folder: Path, tmp_path: Path) -> None:
    weights, cache = tmp_path / "cells.safetensors", tmp_path / "cache"
    torch.manual_seed(0)
    train_bccd.save(train_bccd.build(), weights)
    images = cells.load_cells(folder, ["test", "train"])
    detector = cells.cell_detector(weights, images, cache)
    output = detector.read(0.1)
    assert output.n_inputs == 4
    assert len(output.score)
    assert (np.asarray(output.score) >= 0.1).all()
    assert np.isfinite(output.features).all()
    assert output.logits.shape == (len(output.score), 4)
    assert np.isfinite(np.asarray(output.context)[:, DETECTION_CONTEXT.index("n_suppressed_same")]).all()
    assert len(detector.proposals.score) > len(output.score)
    features = metadetect_features(output, detector.proposals)
    assert (features[:, 10] >= 1).all()  # a box is one of its candidates
    kept = sorted(path.name for path in cache.iterdir())
    assert len(kept) == 2
    again = cells.cell_detector(weights, images, cache).read(0.1)
    np.testing.assert_array_equal(again.boxes, output.boxes)
    assert sorted(path.name for path in cache.iterdir()) == kept
