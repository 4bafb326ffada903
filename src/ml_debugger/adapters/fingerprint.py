"""Hashes that tell architectures and weights apart, whatever wraps the model and wherever it lives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ml_debugger.adapters.layers import clean_path

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["WeightsHash", "callable_architecture", "module_architecture", "module_summary", "unwrap"]

# Elements read per parameter tensor, evenly spaced: 100 M parameters in 200 tensors cost a few milliseconds.
SAMPLES: Final = 512
# Elements looked at to notice writes through ``.data``, which leave a tensor's version as it was.
CANARIES: Final = 8


def unwrap(module: nn.Module) -> nn.Module:
    """The model inside torch.compile, DataParallel, DistributedDataParallel and any nesting of them."""
    from torch import nn

    while True:
        if "_orig_mod" in module._modules:
            inner = module._modules["_orig_mod"]
        elif isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        else:
            return module
        if inner is None:
            return module
        module = inner


def module_architecture(model: nn.Module) -> str | None:
    """Hash of the module tree: class names, and names and shapes of parameters and persistent buffers.

    Dtype, device, values, train or eval mode and wrappers make no difference. None while a lazy layer has no shape.
    """
    from torch.nn.parameter import is_lazy

    if any(is_lazy(parameter) for parameter in model.parameters()):
        return None
    return _digest(json.dumps(list(_tree(model, ""))).encode())


def module_summary(model: nn.Module) -> str:
    """An architecture in the words by which a person knows it: class, number of parameters, first and last weights."""
    named = [(clean_path(name), parameter) for name, parameter in unwrap(model).named_parameters()]
    weights = [f"{name} {tuple(parameter.shape)}" for name, parameter in named if parameter.ndim > 1]
    ends = f", {weights[0]} to {weights[-1]}" if weights else ""
    return f"{_class_name(unwrap(model))} ({sum(parameter.numel() for _, parameter in named):,} parameters{ends})"


def callable_architecture(task: str, fields: dict[str, int | None]) -> str:
    """Hash of a bare callable: its task, and the names and widths of what it returns. Never its code or address."""
    return _digest(json.dumps([task, sorted(fields.items())]).encode())


def _tree(module: nn.Module, path: str) -> Iterator[list[Any]]:
    module = unwrap(module)
    yield [path, _class_name(module)]
    for name, tensor in _own_tensors(module):
        yield [path, name, list(tensor.shape)]
    for name, child in module.named_children():
        yield from _tree(child, f"{path}.{name}" if path else name)


def _class_name(module: nn.Module) -> str:
    return str(getattr(module, "original_name", type(module).__name__))


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    # Non-persistent buffers are caches that may grow with the input.
    hidden: Collection[str] = getattr(module, "_non_persistent_buffers_set", frozenset())
    yield from ((name, buffer) for name, buffer in module.named_buffers(recurse=False) if name not in hidden)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


class WeightsHash:
    """Hash of a model's parameters from evenly spaced samples, recomputed only when a parameter changed.

    Buffers are left out: running statistics move on every forward in train mode without any training. A model without
    parameters (quantised layers keep theirs elsewhere) has none.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = unwrap(model)
        self._key: tuple[Any, ...] | None = None
        self._value: str | None = None
        self._indices: dict[tuple[Any, ...], Any] = {}

    def __call__(self) -> str | None:
        """The hash now; equal values give equal hashes on every device and in every wrapper."""
        import torch

        parameters = list(self._model.parameters())
        with torch.no_grad():
            key = _state_key(parameters)
            if key is None or key != self._key:
                self._value = self._compute(parameters)
                self._key = key
        return self._value

    def _compute(self, parameters: list[Any]) -> str | None:
        import torch

        if not parameters:
            return None
        by_device: dict[Any, list[tuple[int, Any]]] = {}
        for position, parameter in enumerate(parameters):
            by_device.setdefault(parameter.device, []).append((position, self._sample(parameter)))
        samples: dict[int, bytes] = {}
        for pairs in by_device.values():
            # One transfer per device.
            flat = torch.cat([sample for _, sample in pairs]).cpu().numpy()
            ends = np.cumsum([len(sample) for _, sample in pairs])
            for (position, _), part in zip(pairs, np.split(flat, ends[:-1]), strict=True):
                samples[position] = part.tobytes()
        shapes = json.dumps([list(parameter.shape) for parameter in parameters]).encode()
        return _digest(shapes + b"".join(samples[position] for position in range(len(parameters))))

    def _sample(self, parameter: Any) -> Any:
        """Up to `SAMPLES` elements in logical order, whatever the memory format; float32 (U,)."""
        parameter = parameter.detach()
        if parameter.numel() <= SAMPLES:
            return parameter.float().reshape(-1)
        if parameter.is_contiguous():
            return parameter.view(-1)[self._index(parameter, ())].float()
        return parameter[self._index(parameter, tuple(parameter.shape))].float()

    def _index(self, parameter: Any, shape: tuple[int, ...]) -> Any:
        """Evenly spaced positions: flat, or per dimension where a flat view would copy the whole tensor."""
        import torch

        key = (parameter.numel(), parameter.device, *shape)
        if key not in self._indices:
            flat = np.linspace(0, parameter.numel() - 1, SAMPLES).astype(np.int64)
            parts = np.unravel_index(flat, shape) if shape else (flat,)
            tensors = tuple(torch.from_numpy(part.copy()).to(parameter.device) for part in parts)
            self._indices[key] = tensors if shape else tensors[0]
        return self._indices[key]


def _state_key(parameters: list[Any]) -> tuple[Any, ...] | None:
    """What changes when parameters change: versions, addresses, devices, a few values; None if unknown."""
    import torch

    if any(parameter.is_inference() for parameter in parameters):
        return None  # inference tensors have no version
    canaries = [p.detach().view(-1)[p.numel() // 2].float() for p in _spread(parameters)]
    values = tuple(torch.stack([c.to(canaries[0].device) for c in canaries]).tolist()) if canaries else ()
    return (values, *((p._version, p.data_ptr(), p.device, p.dtype) for p in parameters))


def _spread(parameters: list[Any]) -> list[Any]:
    filled = [parameter for parameter in parameters if parameter.numel() and parameter.is_contiguous()]
    return filled[:: max(1, len(filled) // CANARIES)][:CANARIES]
