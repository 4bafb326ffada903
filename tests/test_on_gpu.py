"""The classification flow with a model on a GPU: what is recorded is what the model returned, wherever it ran."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ml_debugger.adapters import find_adapter
from ml_debugger.data_filter import ClassificationDataFilter
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ClassificationTracer
from tests.helpers.digits import digits, loader, small_classifier

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

VAL, POOL = range(150, 750), range(750, 1100)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return small_classifier(range(150))


def flow(model: nn.Module, device: str, name: str, around: AbstractContextManager[Any]) -> pd.DataFrame:
    """Trace, evaluate and filter on a device; the scores of the pool by id."""
    model = model.to(device)
    tracer = ClassificationTracer(model, name, "v1")
    with torch.no_grad(), around:
        for image, label, ids in loader(VAL):
            output = tracer(image.to(device), label.to(device), ids, "val")
            assert output.device.type == device
        tracer.wait_for_save()
        Evaluator(name, "v1").request_evaluation(options={"bootstrap": 0})
        data_filter = ClassificationDataFilter(
            model, name, "v1", filter_config={"conditions": [{"error_proba": ">=0.5"}]}
        )
        flags = {}
        for image, _, ids in loader(POOL):
            output, answer = data_filter(image.to(device), ids.to(device))
            assert output.device.type == device
            flags |= dict(zip(ids.tolist(), answer, strict=True))
    scores = data_filter.scores().set_index("input_id").sort_index()
    assert [name for name, flag in flags.items() if flag] == scores.index[scores["error_proba"] >= 0.5].tolist()
    return scores


def test_the_whole_flow_gives_what_it_gives_on_the_cpu(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLD_HOME", str(tmp_path))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    there, here = (flow(model, device, f"digits_{device}", nullcontext()) for device in ("cuda", "cpu"))
    assert there.index.tolist() == here.index.tolist() == list(POOL)
    assert (there["label"] == here["label"]).all()
    np.testing.assert_allclose(there["score"], here["score"], atol=1e-4)
    np.testing.assert_allclose(there["error_proba"], here["error_proba"], atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_whole_flow_under_autocast(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    monkeypatch.setenv("MLD_HOME", str(tmp_path))
    scores = flow(model, "cuda", "digits_autocast", torch.autocast("cuda", dtype=dtype))
    wrong = scores["label"].to_numpy() != digits()[1][list(POOL)].numpy()
    assert scores["error_proba"][wrong].mean() > 2 * scores["error_proba"][~wrong].mean()


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "strided", "half", "compiled"])
def test_what_is_read_is_what_the_model_returned(model: nn.Module, layout: str) -> None:
    model = small_classifier(range(150)).cuda()
    images = torch.rand(16, 1, 16, 16, device="cuda")[:, :, ::2, ::2]
    if layout == "contiguous":
        images = images.contiguous()
    elif layout == "channels last":
        model, images = model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    elif layout == "half":
        model, images = model.half(), images.half()
    elif layout == "compiled":
        model = torch.compile(model, backend="eager")
    adapter = find_adapter(model)
    with torch.no_grad():
        output, read = adapter.run(images, 16)
        output, read = adapter.run(images, 16)
    assert output.is_cuda
    np.testing.assert_array_equal(read.logits, output.float().cpu().numpy())
    assert read.features.shape == (16, 32)
    np.testing.assert_array_equal(read.label, output.argmax(1).cpu().numpy())


def test_work_on_another_stream_is_waited_for(model: nn.Module) -> None:
    model = small_classifier(range(150)).cuda()
    adapter = find_adapter(model)
    images = torch.rand(256, 1, 8, 8, device="cuda")
    heavy = torch.rand(4096, 4096, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.no_grad(), torch.cuda.stream(stream):
        for _ in range(20):
            heavy = heavy @ heavy
            heavy /= heavy.norm()
        output, read = adapter.run(images + heavy[0, 0] * 0, 256)
    stream.synchronize()
    np.testing.assert_array_equal(read.logits, output.float().cpu().numpy())


def test_changing_the_output_in_place_afterwards_changes_nothing_recorded(model: nn.Module) -> None:
    model = small_classifier(range(150)).cuda()
    adapter = find_adapter(model)
    with torch.no_grad():
        output, read = adapter.run(torch.rand(8, 1, 8, 8, device="cuda"), 8)
        before = output.float().cpu().numpy()
        output.zero_()
    np.testing.assert_array_equal(read.logits, before)


def test_recording_keeps_no_memory_of_the_device(model: nn.Module, tmp_path: Path) -> None:
    model = small_classifier(range(150)).cuda()
    adapter = find_adapter(model)
    images = torch.rand(512, 1, 8, 8, device="cuda")
    with torch.no_grad():
        kept = [adapter.run(images, 512)[1] for _ in range(3)]
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        kept += [adapter.run(images, 512)[1] for _ in range(20)]
    assert len(kept) == 23
    assert torch.cuda.memory_allocated() <= before
