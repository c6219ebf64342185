"""What decides the outputs of a TensorFlow model: the graph that runs, and what it captured."""

import os
import platform
from collections.abc import Iterator
from typing import Any, final

import numpy as np
import tensorflow as tf

from milepost.predictors._identity import Identity, Packed, UnidentifiedError
from milepost.predictors._state_hash import StateHash, differing, digest_of
from milepost.predictors._tf_graph_hash import graph_digest
from milepost.predictors._tf_tensors import dense
from milepost.predictors._tf_trace import Trace


@final
class TFIdentity(Identity):
    """That of a model that is traced, on one device.

    Args:
        device: where it runs.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._environment = digest_of(_environment(device), _add)
        self._graphs: dict[Trace, bytes] = {}
        self._captured: dict[Trace, tuple[list[Any], dict[str, bytes]]] = {}

    def key(self, predictor: Any, batch: Any) -> bytes:
        trace, leaves, captures = predictor.traced(batch)
        if trace not in self._graphs:
            self._graphs[trace] = graph_digest(trace.function)
            self._captured[trace] = captures, dict(_values(trace, captures))
        _, values = self._captured[trace]
        names = [list(predictor.outputs or ()), list(trace.own)]
        known = [self._environment, self._graphs[trace], list(values.items())]
        return digest_of([known, names, dense(leaves)], _add)

    def draws(self) -> object:
        return None  # a graph that draws is refused

    def changes(self) -> list[str]:
        return [
            name
            for trace, (captures, before) in self._captured.items()
            for name in differing(before, dict(_values(trace, captures)))
        ]

    def pack(self, value: Any) -> Packed | None:
        if not isinstance(value, tf.Tensor) or not _is_plain(value.dtype):
            return None
        array = np.ascontiguousarray(value.numpy())
        memory = array.reshape(-1).view(np.uint8).data
        return Packed(value.dtype.name, tuple(value.shape), None, memory)

    def unpack(self, packed: Packed) -> Any:
        dtype = tf.as_dtype(packed.dtype).as_numpy_dtype
        array = np.frombuffer(bytearray(packed.data), dtype).reshape(packed.shape)
        with tf.device(self._device):
            return tf.convert_to_tensor(array)


def _values(trace: Trace, captures: list[Any]) -> Iterator[tuple[str, bytes]]:
    """Give the digests of what a trace takes besides its inputs, by name.

    Raises:
        UnidentifiedError: it is something else than variables and constants.
    """
    if trace.written:
        names = ", ".join(repr(variable.name) for variable in trace.written)
        msg = f"the model writes to {names}"
        raise UnidentifiedError(msg)
    for number, (original, capture) in enumerate(zip(trace.captures, captures, strict=True)):
        name, value = f"constant {number}", capture
        if capture.dtype == tf.resource:
            variable = trace.variables.get(id(original))
            if variable is None:
                msg = "the model holds a table or another resource that cannot be seen"
                raise UnidentifiedError(msg)
            name = f"{variable.name} {number}"
            value = tf.raw_ops.ReadVariableOp(resource=capture, dtype=variable.dtype)
        yield name, digest_of(value, _add)


def _add(state: StateHash, value: Any) -> bool:
    """Add a tensor, and tell whether it is one."""
    if not tf.is_tensor(value):
        return False
    if value.dtype != tf.string and not _is_plain(value.dtype):
        msg = f"it takes a tensor of {value.dtype.name}"
        raise UnidentifiedError(msg)
    state.word("tensor", value.dtype.name, tuple(value.shape))
    if value.dtype == tf.string:
        state.add(np.asarray(value.numpy(), dtype=object).ravel().tolist())
    else:
        state.memory(np.ascontiguousarray(value.numpy()).reshape(-1).view(np.uint8))
    return True


def _is_plain(dtype: Any) -> bool:
    """Tell whether values of a type lie in memory as NumPy has them."""
    return bool(dtype.is_floating or dtype.is_integer or dtype.is_complex or dtype.is_bool)


def _environment(device: str) -> list[Any]:
    """Return what decides, besides a graph, what its operations give to the last bit."""
    config, kind = tf.config, tf.DeviceSpec.from_string(device).device_type
    physical = config.list_physical_devices(kind) if kind != "CPU" else []
    return [
        tf.__version__,
        *(kind, platform.machine(), os.environ.get("TF_ENABLE_ONEDNN_OPTS")),
        *(config.threading.get_intra_op_parallelism_threads(), os.cpu_count()),
        config.experimental.tensor_float_32_execution_enabled(),
        config.optimizer.get_jit(),
        sorted(config.optimizer.get_experimental_options().items()),
        *(sorted(config.experimental.get_device_details(x).items()) for x in physical),
    ]
