"""Images are found by id wherever the user has them, and refused with words where they are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ml_debugger.errors import InputError, NotFoundError
from ml_debugger.presentation.example_images import image_reader

PICTURE = np.zeros((4, 6, 3), np.uint8)
PICTURE[..., 0] = 200
PICTURE[0, 0] = (1, 2, 3)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("000000000139.png", "cat.png", "sub/dog.png"):
        Image.fromarray(PICTURE).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("139")
    return tmp_path


@pytest.mark.parametrize(
    "input_id", [139, "139", "000000000139", "000000000139.png", "cat", "cat.png", "dog", "sub/dog.png"]
)
def test_a_folder_names_images_in_many_ways(folder, input_id):
    for where in (folder, str(folder)):
        np.testing.assert_array_equal(image_reader(where)(input_id), PICTURE)


def test_what_a_folder_lacks_is_named(folder):
    with pytest.raises(NotFoundError, match=r"named after input_id 7 .*among 3 images.*pass a mapping or a function"):
        image_reader(folder)(7)
    Image.fromarray(PICTURE).save(folder / "sub" / "cat.png")
    with pytest.raises(InputError, match=r"'cat' may be .*cat\.png or .*cat\.png"):
        image_reader(folder)("cat")
    with pytest.raises(InputError, match="expected a folder"):
        image_reader(folder / "nowhere")


def chw(values):
    return np.ascontiguousarray(values.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "image",
    [
        PICTURE,
        PICTURE.astype(np.float32) / 255,
        chw(PICTURE),
        torch.from_numpy(chw(PICTURE)).float() / 255,
        Image.fromarray(PICTURE),
        Image.fromarray(PICTURE).convert("RGBA"),
    ],
)
def test_arrays_tensors_and_pictures(image):
    for images in ({5: image}, {"5": image}, lambda input_id: image):
        found = image_reader(images)(5)
        assert found.dtype == np.uint8
        np.testing.assert_allclose(found, PICTURE, atol=1)


def test_files_in_a_mapping(folder):
    np.testing.assert_array_equal(image_reader({5: folder / "cat.png"})(5), PICTURE)
    with pytest.raises(NotFoundError, match=r"no file .*none\.png for input_id 5"):
        image_reader({5: folder / "none.png"})(5)
    with pytest.raises(InputError, match="cannot be read as an image"):
        image_reader({5: folder / "notes.txt"})(5)


def test_grey_becomes_colour():
    assert image_reader({1: np.full((3, 5), 9, np.uint8)})(1).shape == (3, 5, 3)


def test_what_is_no_image_is_refused():
    with pytest.raises(NotFoundError, match="none for input_id 'a'"):
        image_reader({})("a")
    with pytest.raises(NotFoundError, match="none for input_id 'a'"):
        image_reader(lambda input_id: None)("a")
    for wrong in (np.zeros((2, 3, 4, 5)), np.zeros((0, 3, 3)), "text"):
        with pytest.raises((InputError, NotFoundError), match="input_id 3"):
            image_reader({3: wrong})(3)
    with pytest.raises(InputError, match="expected a folder, or a mapping or function"):
        image_reader(17)
