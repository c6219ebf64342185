"""What decides the outputs of a PyTorch module."""

import pickle
import random
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as global_hooks
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from milepost.predictors._frameworks import is_keras
from milepost.predictors._identity import Identity, Packed, UnidentifiedError
from milepost.predictors._state_hash import StateHash, differing, digest_of
from milepost.predictors._tokenizer_hash import add_tokenizer

_SETTINGS = (torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format)


@final
class TorchIdentity(Identity):
    """That of a module that runs on one device.

    Args:
        module: gives what runs.
        device: where.
    """

    def __init__(self, module: Callable[[], nn.Module], device: torch.device) -> None:
        self._module = module
        self._device = device
        self._parts = dict(_parts(module(), device))
        self._state = digest_of(list(self._parts.items()), _add)
        self._asked: dict[Any, bytes] = {}

    def key(self, predictor: Any, batch: Any) -> bytes:
        options = predictor.options
        if options not in self._asked:
            self._asked[options] = digest_of(vars(options), _add)
        return digest_of([self._state, self._asked[options], predictor.taken(batch)], _add)

    def draws(self) -> object:
        backend = getattr(torch, self._device.type)
        states = [] if backend is torch.cpu else [backend.get_rng_state()]
        numpy = pickle.dumps(np.random.get_state(legacy=False))
        taken = [state.numpy().tobytes() for state in (*states, torch.get_rng_state())]
        return random.getstate(), numpy, taken

    def changes(self) -> list[str]:
        asked = (x for x, y in self._asked.items() if digest_of(vars(x), _add) != y)
        functions = [f"`forward` {options.forward!r}" for options in asked]
        return functions + differing(self._parts, dict(_parts(self._module(), self._device)))

    def pack(self, value: Any) -> Packed | None:
        if type(value) is not Tensor or not _is_plain(value):
            return None
        value = value.detach().resolve_conj().resolve_neg()
        if not torch.ops.aten.is_non_overlapping_and_dense(value):
            value = value.contiguous()
        dtype = str(value.dtype).removeprefix("torch.")
        flat = value.as_strided((value.numel(),), (1,)).cpu()
        return Packed(dtype, tuple(value.shape), value.stride(), _memory(flat))

    def unpack(self, packed: Packed) -> Tensor:
        dtype = getattr(torch, packed.dtype)
        if not packed.data.nbytes:
            return torch.empty(packed.shape, dtype=dtype, device=self._device)
        flat = torch.frombuffer(bytearray(packed.data), dtype=dtype).to(self._device)
        return flat.as_strided(packed.shape, packed.strides or ())


def _parts(module: nn.Module, device: torch.device) -> Iterator[tuple[str, bytes]]:
    """Give the digests of a module's parts and of what they run in, by name."""
    if is_keras(module) or isinstance(module, torch.jit.ScriptModule):
        msg = f"the code of a {type(module).__name__} cannot be seen"
        raise UnidentifiedError(msg)
    if torch._C._len_torch_function_stack() or _get_current_dispatch_mode_stack():
        msg = "a mode of torch is on, which may change any operation"
        raise UnidentifiedError(msg)
    yield "torch", digest_of(_environment(device), _add)
    state, modules = StateHash(_add), list(module.named_modules())
    for _, part in modules:
        state.is_known(part)
    for name, part in modules:
        try:
            _add_module(state, part)
        except UnidentifiedError as error:
            where = f"{name or 'the model'} ({type(part).__name__})"
            msg = f"{where} cannot be told from others: {error}"
            raise UnidentifiedError(msg) from error
        yield name or "the model", state.digest()


def _environment(device: torch.device) -> list[Any]:
    """Return what decides, besides a module, what its operations give to the last bit."""
    backends: Any = torch.backends
    given: list[Any] = [
        str(torch.__version__),
        device.type,
        torch.get_default_dtype(),
        torch.get_num_threads(),
    ]
    given += [torch.are_deterministic_algorithms_enabled(), torch.is_inference_mode_enabled()]
    given += [backends.cpu.get_cpu_capability(), backends.mkldnn.enabled]
    given += [torch.get_float32_matmul_precision()]
    hooks = [x for x in sorted(vars(global_hooks)) if x.startswith("_global_forward")]
    given += [vars(global_hooks)[name] for name in hooks]
    given += [_replaced(owner) for owner in (torch, torch.nn.functional, Tensor)]
    if device.type == "cuda":
        cuda, cudnn = backends.cuda, backends.cudnn
        given += [torch.version.cuda, torch.cuda.get_device_name(device), cudnn.version()]
        given += [cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32]
        given += [cuda.matmul.allow_tf32, cuda.matmul.allow_fp16_reduced_precision_reduction]
        given += [cuda.matmul.allow_bf16_reduced_precision_reduction, cuda.flash_sdp_enabled()]
        given += [cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()]
    return given


def _replaced(owner: Any) -> list[Any]:
    """Return the functions that stand in the place of torch's own."""
    functions = ((x, y) for x, y in vars(owner).items() if isinstance(y, FunctionType))
    return [
        [name, function]
        for name, function in sorted(functions)
        if not str(function.__globals__.get("__name__")).startswith("torch.")
    ]


def _add(state: StateHash, value: Any) -> bool:
    """Add what is torch's own, and tell whether it is."""
    if isinstance(value, Tensor):
        _add_tensor(state, value)
    elif isinstance(value, _SETTINGS):
        state.word(type(value).__name__, value)
    elif not isinstance(value, nn.Module):
        return add_tokenizer(state, value)
    elif not state.is_known(value):
        _add_module(state, value)
    return True


def _add_module(state: StateHash, module: nn.Module) -> None:
    state.word("module")
    state.add(type(module))
    state.add_attributes(module)


def _add_tensor(state: StateHash, tensor: Tensor) -> None:
    """Add a tensor: its values, how they lie, and what else is known of it."""
    if type(tensor) not in (Tensor, nn.Parameter) or not _is_plain(tensor):
        msg = f"it holds a {type(tensor).__name__} of layout {tensor.layout}"
        raise UnidentifiedError(msg)
    state.word(type(tensor).__name__, tensor.dtype, tuple(tensor.shape), tensor.device.type)
    state.word(None if tensor.is_contiguous() else tensor.stride(), tensor.requires_grad)
    state.memory(_memory(tensor.detach().resolve_conj().resolve_neg().contiguous()))
    if vars(tensor):
        state.add(vars(tensor))


def _is_plain(tensor: Tensor) -> bool:
    """Tell whether a tensor is its values and no more."""
    return tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized


def _memory(tensor: Tensor) -> memoryview:
    """Return the values of a contiguous tensor as they lie."""
    return tensor.reshape(-1).view(torch.uint8).cpu().numpy().data
