"""The predictor for PyTorch modules."""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from milepost.predictors._inputs import Call, lone
from milepost.predictors._options import Inputs, Options, Outputs
from milepost.predictors._outputs import Captured, from_forward, inner_outputs, named, select
from milepost.predictors._predictor import Predictor
from milepost.predictors._torch_call import mode_of, plan_of
from milepost.predictors._torch_copy import copy_module
from milepost.predictors._torch_device import concrete_device, home_device, to_device
from milepost.predictors._torch_identity import TorchIdentity
from milepost.predictors._torch_inner import Inner, capturing, find_inner
from milepost.predictors._torch_scope import inference, no_trace, shareable_buffers
from milepost.predictors._torch_shards import is_shard, whole
from milepost.predictors._torch_wrappers import bare_name, unwrap

_NO_HOOKS: contextlib.AbstractContextManager[Captured] = contextlib.nullcontext({})


@final
class TorchPredictor(Predictor):
    """Runs a module itself, or, on another device than the module's, a copy that follows it."""

    def __init__(self, model: nn.Module, options: Options, *, device: Any = None) -> None:
        """Args are those of `get_predictor`."""
        self._model = unwrap(model)
        self._options = options
        self._autocast = _dtype(options.autocast)
        self._asked_device = concrete_device(device)
        self._examined = self._model
        self._own_outputs: tuple[str, ...] | None = None
        self._refresh()

    def _refresh(self) -> None:
        home = home_device(self._model)
        self._device = self._asked_device or home
        if self._device == home:
            self._examined = self._model
        else:
            earlier = None if self._examined is self._model else self._examined
            self._examined = copy_module(
                self._model,
                self._device,
                into=earlier,
                channels_last=self._options.channels_last,
            )
        self._mode = mode_of(self._examined)
        self._calls: dict[tuple[str, ...], Call] = {}

    @contextlib.contextmanager
    def scope(
        self, *, trace_check: bool = False, buffers: Mapping[str, Any] | None = None
    ) -> Iterator[None]:
        self._refresh()
        with no_trace(self._examined, trace_check=trace_check, buffers=buffers):
            yield

    def forward(self, batch: Any) -> dict[str, Any]:
        inners = self._inners()
        hooks = capturing(inners) if inners else _NO_HOOKS
        with inference(self._device.type, self._autocast), hooks as captured:
            own = self._run(batch)
        self._own_outputs = tuple(own)
        chosen = own
        if self._options.outputs is not None:
            found = inner_outputs([name for name in inners if name not in own], captured)
            modules = (bare_name(x) for x, _ in self._examined.named_modules() if x)
            chosen = select(own, found, self._options.outputs, modules)
        return {name: _detached(value) for name, value in chosen.items()}

    def _inners(self) -> dict[str, Inner]:
        """Return the inner modules among the wanted outputs."""
        known = self._own_outputs or ()
        found = {}
        for name in self._options.outputs or ():
            if isinstance(name, str) and name not in known:
                inner = find_inner(self._examined, name)
                if inner is not None:
                    found[name] = inner
        return found

    def _run(self, batch: Any) -> dict[str, Any]:
        """Return the model's own outputs; only what goes to the model is moved to the device."""
        if self._options.forward is not None:
            return from_forward(self._options.forward(self._examined, self._moved(batch)))
        if not isinstance(batch, Mapping):
            return named(self._examined(self._moved(lone(batch)), **self._mode))
        call = self._call(tuple(batch))
        arguments, keywords = call.arguments(batch, self._moved)
        return named(self._examined(*arguments, **keywords, **self._mode))

    def _moved(self, value: Any) -> Any:
        return to_device(value, self._device, channels_last=self._options.channels_last)

    def _call(self, names: tuple[str, ...]) -> Call:
        if names not in self._calls:
            self._calls[names] = plan_of(self._examined, names, self._options.inputs)
        return self._calls[names]

    def fetching(self, outputs: Outputs, *, inputs: Inputs = None) -> "TorchPredictor":
        sibling = copy.copy(self)
        sibling._options = self._options.fetching(outputs, inputs)
        sibling._calls = {}
        return sibling

    def replicate(self, device: Any = None) -> "TorchPredictor":
        where = concrete_device(device)
        copied = copy_module(self._model, where, channels_last=self._options.channels_last)
        return TorchPredictor(copied, self._options, device=where)

    def weights(self) -> dict[str, Tensor]:
        state = self._examined.state_dict().items()
        tensors = {bare_name(name): value for name, value in state if isinstance(value, Tensor)}
        return {name: whole(value) for name, value in tensors.items()}

    @property
    def is_sharded(self) -> bool:
        return any(is_shard(parameter) for parameter in self._model.parameters())

    def identity(self) -> TorchIdentity:
        return TorchIdentity(lambda: self._examined, self._device)

    def taken(self, batch: Any) -> Any:
        """Return what of a batch goes to the model, and how."""
        if self._options.forward is not None or not isinstance(batch, Mapping):
            return batch
        return self._call(tuple(batch)).arguments(batch, lambda value: value)

    @property
    def options(self) -> Options:
        """What was asked for."""
        return self._options

    def has_inner(self, name: str) -> bool:
        inner = find_inner(self._examined, name)
        return inner is not None and not inner.part

    def buffers(self) -> dict[str, Tensor]:
        return dict(shareable_buffers(self._model))

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def outputs(self) -> tuple[str, ...] | None:
        outputs = self._options.outputs
        return None if outputs is None else tuple(map(str, outputs))

    @property
    def own_outputs(self) -> tuple[str, ...] | None:
        return self._own_outputs


def _detached(value: Any) -> Any:
    """Return an output that no later training step changes, though the model gave a parameter."""
    if isinstance(value, Tensor) and value.requires_grad:
        return value.detach().clone()
    return value


def _dtype(autocast: Any) -> torch.dtype | None:
    dtype = getattr(torch, autocast, None) if isinstance(autocast, str) else autocast
    if autocast is None or (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        return dtype
    msg = f"`autocast` must be a floating dtype or its name, such as 'bfloat16', got {autocast!r}"
    raise ValueError(msg)
