from __future__ import annotations

import numpy as np
import pytest

from benchmarks.error_detection import traces
from benchmarks.error_detection.traces import Split


def test_a_pair_survives_its_file(pair, tmp_path):
    splits = {"train": pair.train, "val": pair.val, **pair.reported}
    traces.save_pair(tmp_path / "toy.npz", splits, source="traced")
    assert list(traces.list_pairs(tmp_path)) == ["toy"]
    loaded = traces.load_pair(tmp_path / "toy.npz")
    assert (loaded.name, loaded.source, loaded.n_classes) == ("toy", "traced", 5)
    for mine, theirs in (
        (loaded.train, pair.train),
        (loaded.val, pair.val),
        (loaded.reported["shift"], pair.reported["shift"]),
    ):
        assert np.array_equal(mine.features, theirs.features)
        assert np.array_equal(mine.labels, theirs.labels)


def test_without_weights_the_last_layer_is_solved_from_the_rows(pair, tmp_path):
    traces.save_pair(tmp_path / "toy.npz", {"train": pair.train, "val": pair.val, **pair.reported}, source="traced")
    loaded = traces.load_pair(tmp_path / "toy.npz")
    np.testing.assert_allclose(loaded.weight, pair.weight, atol=1e-4)
    np.testing.assert_allclose(loaded.bias, pair.bias, atol=1e-4)


def test_a_pair_without_test_rows_is_refused(pair, tmp_path):
    traces.save_pair(tmp_path / "toy.npz", {"train": pair.train, "val": pair.val}, source="traced")
    with pytest.raises(KeyError, match="test"):
        traces.load_pair(tmp_path / "toy.npz")


def test_the_data_folder_is_named_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MLD_TEST_DATA", str(tmp_path))
    assert traces.data_folder() == tmp_path
    monkeypatch.setenv("MLD_TEST_DATA", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="MLD_TEST_DATA"):
        traces.data_folder()


def test_errors_are_predictions_that_differ_from_labels():
    split = Split(np.zeros((3, 1), np.float32), np.float32([[1, 2], [3, 0], [0, 1]]), np.array([1, 1, 0]))
    assert split.errors.tolist() == [0, 1, 1]
    assert split.take(np.array([2, 0])).errors.tolist() == [1, 0]
    assert split.relabel(np.array([0, 0, 1])).errors.tolist() == [1, 0, 0]


@pytest.mark.data
def test_development_pairs_are_as_documented():
    try:
        folder = traces.data_folder() / "error_pairs"
    except FileNotFoundError as error:
        pytest.skip(str(error))
    paths = traces.list_pairs(folder)
    pair = traces.load_pair(paths["mnist_cnn"])
    assert len(paths) == 16
    assert int(pair.val.errors.sum()) == 71
    assert pair.reported["test"].errors.mean() == pytest.approx(0.073, abs=5e-4)
    assert np.allclose(pair.train.features @ pair.weight.T + pair.bias, pair.train.logits, atol=0.05)
