"""Forward hooks for the length of one call.

A capture is one object that lives as long as its adapter: it is hooked in before the model runs, taken out
afterwards, also after an error, and emptied in between. It must stay the same object because a compiled model writes
to the one it was compiled with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from ml_debugger.errors import CaptureError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Firing", "LayerCapture", "Probe", "first_tensor", "hooked", "pool", "pool_positions"]

Side = Literal["input", "output"]
Firing = tuple[Any, Any]
"""One run of a layer: the captured tensor (detached, a copy) and the layer's output (detached, not a copy)."""

# What a probe may keep alive to compare with the logits; the classifier head is among the last layers that run.
PROBE_BYTES: Final = 256 * 2**20


def first_tensor(value: Any) -> Any | None:
    """The first tensor in nested tuples, lists and mappings; None where there is none."""
    if hasattr(value, "detach"):
        return value
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            found = first_tensor(item)
            if found is not None:
                return found
    return None


def pool_positions(value: Any, channels_first: bool | None = None) -> Any:
    """Feature maps ``(U, D, H, W)`` and volumes ``(U, D, ...)`` averaged over positions, the rest as a copy.

    A copy, because an in-place operation after the layer (``ReLU(inplace=True)``) would alter what was captured.
    Where the layer does not say how it lays features out (``channels_first=None``), three dimensions are tokens ``(U,
    T, D)`` and four or more are maps ``(U, D, H, W)``.
    """
    value = value.detach()
    if channels_first is False and value.ndim > 3:
        value = value.movedim(-1, 1)
    if value.ndim > 3 or (value.ndim == 3 and channels_first):
        return value.mean(dim=tuple(range(2, value.ndim)), dtype=_float32())
    return value.clone()


def _float32() -> Any:
    import torch

    return torch.float32


class LayerCapture:
    """Hook of one layer; keeps one firing per run of it, since a layer may be used several times in one call."""

    def __init__(self, path: str, side: Side, channels_first: bool | None = None) -> None:
        self.path = path
        self.side = side
        self.channels_first = channels_first
        self.firings: list[Firing] = []

    def __call__(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Forward hook, called by torch."""
        result = first_tensor(output)
        source = first_tensor((args, kwargs)) if self.side == "input" else result
        if source is None or result is None:
            return
        self.firings.append((pool_positions(source, self.channels_first), result.detach()))

    def clear(self) -> None:
        """Forget what was captured."""
        self.firings.clear()


class Probe:
    """Hook of every layer that could be the classifier head, for the first call."""

    def __init__(self, channels_first: Mapping[str, bool | None]) -> None:
        self.captures = {path: LayerCapture(path, "input", first) for path, first in channels_first.items()}
        self.runs: deque[tuple[str, Firing]] = deque()
        self._bytes = 0

    def hook(self, path: str) -> Any:
        """The forward hook of one layer."""
        capture = self.captures[path]

        def record(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            capture.clear()
            capture(module, args, kwargs, output)
            for firing in capture.firings:
                self._keep(path, firing)

        return record

    def _keep(self, path: str, firing: Firing) -> None:
        self.runs.append((path, firing))
        self._bytes += _size(firing)
        while self._bytes > PROBE_BYTES and len(self.runs) > 1:
            self._bytes -= _size(self.runs.popleft()[1])

    def firings_of(self, path: str) -> list[Firing]:
        """Runs of one layer, in order."""
        return [firing for name, firing in self.runs if name == path]


def _size(firing: Firing) -> int:
    return sum(int(tensor.numel() * tensor.element_size()) for tensor in firing)


@contextmanager
def hooked(hooks: Iterable[tuple[nn.Module, Any]]) -> Iterator[None]:
    """Hooks in place inside the ``with`` block and gone after it, also after an error."""
    handles = []
    try:
        for module, hook in hooks:
            handles.append(module.register_forward_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def pool(firings: list[Firing], path: str, logits: Any, n_inputs: int, mask: Any | None = None) -> Any:
    """Features ``(B, D)`` from the runs of one layer in one call.

    Of several runs with B rows each the one that made the logits counts, else the last; runs whose rows add up to B
    (replicas, chunks of a batch) are joined in order of their devices. Token sequences ``(B, T, D)`` give the token
    whose head output the logits are (decoders), else the average over tokens, without padding where the input has an
    ``attention_mask`` ``(B, T)``.

    Raises:
        CaptureError: If the layer did not run, or its rows do not fit the batch.
    """
    if not firings:
        raise CaptureError(
            f"layer {path!r} did not run in this call, so no features could be read; pass target_layers={{'features': "
            "'<a layer that runs on every call>'}}"
        )
    value, output = _select(firings, logits, n_inputs)
    if value.ndim == 1 and n_inputs == 1:
        value = value[None]
    if value.ndim < 2 or len(value) != n_inputs:
        shapes = ", ".join(str(tuple(firing[0].shape)) for firing in firings)
        raise CaptureError(
            f"layer {path!r}: expected features of {n_inputs} inputs, got {shapes}; pass target_layers={{'features': "
            "'<a layer with one row per input>'}}"
        )
    return value if value.ndim == 2 else _pool_tokens(value, output, logits, mask)


def _select(firings: list[Firing], logits: Any, n_inputs: int) -> Firing:
    whole = [firing for firing in firings if len(firing[0]) == n_inputs]
    if len(whole) == 1 or (whole and len(firings) == 1):
        return whole[0]
    if whole:
        made = [firing for firing in whole if _equal(firing[1], logits)]
        return (made or whole)[-1]
    if sum(len(value) for value, _ in firings if value.ndim) == n_inputs:
        ordered = sorted(firings, key=lambda firing: firing[0].device.index or 0)
        device = ordered[0][0].device
        values, outputs = zip(*ordered, strict=True)
        return _join(values, device), _join(outputs, device)
    return firings[-1]


def _join(tensors: tuple[Any, ...], device: Any) -> Any:
    import torch

    return torch.cat([tensor.to(device) for tensor in tensors])


def _equal(output: Any, logits: Any) -> bool:
    return bool(output.numel() == logits.numel() and (output.reshape(logits.shape) == logits.detach()).all())


def _pool_tokens(value: Any, output: Any, logits: Any, mask: Any | None) -> Any:
    import torch

    if output.ndim == 3 and len(output) == len(logits) and output.shape[2] == logits.shape[1]:
        same = (output == logits.detach()[:, None, :].to(output.dtype)).all(dim=2)
        if bool(same.any(dim=1).all()):
            # The last such token: padding may repeat a token's output, the chosen one is the last real token.
            last = same.shape[1] - 1 - same.flip(1).int().argmax(dim=1)
            return value[torch.arange(len(value), device=value.device), last]
    if mask is not None and tuple(mask.shape) == tuple(value.shape[:2]):
        weight = torch.as_tensor(mask, device=value.device, dtype=torch.float32)[:, :, None]
        return (value.float() * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    return value.float().mean(dim=1)
