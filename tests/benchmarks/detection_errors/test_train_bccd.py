"""The detector that is trained here once: its data, its weights, its command."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from benchmarks.detection_errors import train_bccd  # noqa: E402

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def _folder(root: Path) -> Path:
    """Two images per split; the first has two cells and one box without an area."""
    for name in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / name).mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    objects = [("WBC", 4, 5, 30, 40), ("Platelets", 40, 20, 50, 30), ("RBC", 9, 9, 9, 20)]
    for split in ("train", "test"):
        names = [f"{split}{place}" for place in range(2)]
        (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name, found in zip(names, (objects, []), strict=True):
            Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg")
            text = "".join(OBJECT.format(*entry) for entry in found)
            (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
    return root


def test_a_split_is_read_without_its_degenerate_boxes(tmp_path: Path) -> None:
    cells = train_bccd.read_split(_folder(tmp_path), "train")
    assert cells.names == ("train0", "train1")
    assert cells.degenerate == 1
    assert cells.boxes[0].tolist() == [[4, 5, 30, 40], [40, 20, 50, 30]]
    assert cells.labels[0].tolist() == [2, 3]
    assert cells.boxes[1].shape == (0, 4)


def test_flips_move_pixels_and_boxes_together() -> None:
    image = torch.zeros(3, 48, 64)
    image[:, 5:40, 4:30] = 1.0
    boxes = torch.tensor([[4.0, 5.0, 30.0, 40.0]])
    for across, down in ((True, False), (False, True), (True, True)):
        picture, moved = train_bccd.flipped(image, boxes, across, down)
        x1, y1, x2, y2 = moved[0].int().tolist()
        assert picture[:, y1:y2, x1:x2].min() == 1.0
        assert picture.sum() == picture[:, y1:y2, x1:x2].sum()


def test_one_epoch_leaves_weights_that_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = _folder(tmp_path / "voc"), tmp_path / "weights" / "cells.safetensors"
    arguments = ["--data", str(folder), "--epochs", "1", "--batch", "2", "--device", "cpu", "--output", str(output)]
    assert train_bccd.main(arguments) == 0
    printed = capsys.readouterr()
    assert "2 images, 2 boxes, 1 degenerate ones left out" in printed.err
    assert "AP50 on 2 test images" in printed.out
    assert output.stat().st_size < 45e6  # half precision
    model = train_bccd.load(output)
    assert model.transform.min_size == (train_bccd.SIZE,)
    assert not any("FrozenBatchNorm" in type(part).__name__ for part in model.modules())


def test_average_precision_counts_found_cells(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    cells = train_bccd.read_split(_folder(tmp_path), "test")
    exact = [
        {"boxes": torch.from_numpy(box), "labels": torch.from_numpy(label), "scores": torch.ones(len(label))}
        for box, label in zip(cells.boxes, cells.labels, strict=True)
    ]
    assert train_bccd.average_precision(exact, cells) == pytest.approx(1.0)
    moved = [{**one, "boxes": one["boxes"] + 30.0} for one in exact]
    assert train_bccd.average_precision(moved, cells) == pytest.approx(0.0)
