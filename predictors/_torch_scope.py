"""The scope in which a PyTorch module runs without a trace."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import is_autocast_available

from milepost.predictors._changes import refuse_changes
from milepost.predictors._phase import InferencePhase
from milepost.predictors._rng import preserved_rngs
from milepost.predictors._torch_shards import is_shard
from milepost.predictors._torch_wrappers import quieten


@contextlib.contextmanager
def inference(device_type: str, autocast: torch.dtype | None) -> Iterator[None]:
    """Run this thread's operations for inference: no gradients, autocast as asked.

    Not `inference_mode`: a tensor that a module keeps must not break its next backward.
    """
    if torch.is_inference_mode_enabled():
        with torch.inference_mode(mode=False), inference(device_type, autocast):
            yield
    else:
        with InferencePhase(), torch.set_grad_enabled(False), _autocast(device_type, autocast):
            yield


@contextlib.contextmanager
def no_trace(
    module: nn.Module, *, trace_check: bool = False, buffers: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Put a module into inference mode, and give it and the random generators back as they were.

    Each submodule's attributes are given back by reference, buffers also by value. Meanwhile they
    hold the values of `buffers`, by name.

    Raises:
        TraceError: `trace_check` is on, and a parameter or buffer changed.
        ValueError: the module has lazy parameters that are not initialised yet, or `buffers` do not
            fit.
    """
    parts = list(module.modules())
    _refuse_lazy(module)
    with preserved_rngs():
        kept = [_Attributes(part) for part in parts]
        values = _Values(parts)
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        try:
            _lend(module, buffers or {})
            before = _fingerprints(module) if trace_check else before
            for part in parts:
                quieten(part)
            yield
            after = _fingerprints(module) if trace_check else after
        finally:
            for attributes in kept:
                attributes.restore()
            values.restore()
    refuse_changes(before, after)


def shareable_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Give the buffers whose values other processes can take over, by name."""
    for name, buffer in module.named_buffers():
        if buffer.layout == torch.strided:
            yield name, buffer


def _lend(module: nn.Module, buffers: Mapping[str, Any]) -> None:
    """Give buffers other values, of the same shape."""
    for name, buffer in shareable_buffers(module):
        if name not in buffers:
            continue
        if buffers[name].shape != buffer.shape:
            shapes = f"{tuple(buffer.shape)} here, {tuple(buffers[name].shape)} on the chief"
            msg = f"the model must be the same on all ranks, but its buffer {name!r} is {shapes}"
            raise ValueError(msg)
        buffer.data.copy_(buffers[name])


class _Attributes:
    """The attributes of one module, by reference."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._training = module, module.training
        self._attributes = dict(vars(module))
        scripted = isinstance(module, torch.jit.ScriptModule)  # its tables are views of elsewhere
        tables = () if scripted else (module._parameters, module._buffers, module._modules)
        self._tables: list[tuple[dict[str, Any], dict[str, Any]]] = [(x, dict(x)) for x in tables]
        self._transient = (
            module._non_persistent_buffers_set,
            set(module._non_persistent_buffers_set),
        )

    def restore(self) -> None:
        _refill(vars(self._module), self._attributes)
        for table, content in self._tables:
            _refill(table, content)
        transient, names = self._transient
        transient.intersection_update(names)
        transient.update(names)
        if self._module.training != self._training:  # a scripted module keeps it elsewhere
            self._module.training = self._training


def _refill(table: dict[str, Any], content: dict[str, Any]) -> None:
    if list(table) != list(content):  # also the order counts: that of the layers
        table.clear()
    table.update(content)


class _Values:
    """The values of the buffers of modules, and where those of their parameters lie."""

    def __init__(self, modules: list[nn.Module]) -> None:
        buffers = {id(x): x for module in modules for x in module.buffers(recurse=False)}
        parts = [part for buffer in buffers.values() for part in _dense_parts(buffer)]
        self._copies = [(part, part.detach().clone()) for part in parts]
        parameters = (x for module in modules for x in module.parameters(recurse=False))
        self._data = [(x, x.data) for x in parameters if not is_shard(x)]

    def restore(self) -> None:
        for parameter, data in self._data:
            if parameter.data_ptr() != data.data_ptr():
                parameter.data = data
        for part, value in self._copies:
            # Through `data`: a pending backward must not see a new version of the tensor.
            if part.shape != value.shape:
                part.data = value
            elif not torch.equal(part, value):
                part.data.copy_(value)


def _dense_parts(tensor: Tensor) -> list[Tensor]:
    """Return the dense tensors that share a tensor's memory; none where there are no values."""
    if tensor.is_meta:
        return []
    if tensor.layout == torch.strided:
        return [tensor]
    if tensor.layout == torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    return [tensor.values()]


def _fingerprints(module: nn.Module) -> dict[str, Any]:
    """Return what identifies the values of each parameter and buffer."""
    tensors: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    tensors |= dict(module.named_buffers(remove_duplicate=False))
    return {name: _fingerprint(tensor) for name, tensor in tensors.items()}


def _fingerprint(tensor: Tensor) -> tuple[Any, ...]:
    digest = hashlib.blake2b(digest_size=16)
    for part in _dense_parts(tensor.detach()):
        digest.update(part.reshape(-1).view(torch.uint8).cpu().numpy().data)
    return tensor.shape, tensor.dtype, tensor.device, digest.digest()


def _autocast(
    device_type: str, dtype: torch.dtype | None
) -> contextlib.AbstractContextManager[Any]:
    if dtype is not None:  # uncached: a cast made here has no history, and training would find it
        return torch.autocast(device_type, dtype, cache_enabled=False)
    if is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


def _refuse_lazy(module: nn.Module) -> None:
    for tensors in (module.named_parameters(), module.named_buffers()):
        for name, tensor in tensors:
            if nn.parameter.is_lazy(tensor):
                msg = (
                    f"the model's {name!r} is not initialised yet; "
                    "run one forward pass of the training first"
                )
                raise ValueError(msg)


@contextlib.contextmanager
def preserved_torch_rngs() -> Iterator[None]:
    """Give back torch's global generators, of the CPU and of the devices in use."""
    cpu = torch.get_rng_state()
    used = [backend for backend in (torch.cuda, torch.xpu) if backend.is_initialized()]
    states = [(backend, backend.get_rng_state_all()) for backend in used]
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        for backend, state in states:
            backend.set_rng_state_all(state)
        if mps is not None:
            torch.mps.set_rng_state(mps)
