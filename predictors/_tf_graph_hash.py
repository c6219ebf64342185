"""A digest of a traced graph."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, final

from tensorflow.python.framework import op_def_registry

from milepost.predictors._identity import UnidentifiedError
from milepost.predictors._state_hash import digest_of

_HARMLESS = frozenset(
    [
        "Assert",
        "Case",
        "If",
        "NoOp",
        "PartitionedCall",
        "Placeholder",
        "ReadVariableOp",
        "ResourceGather",
        "ResourceGatherNd",
        "StatefulPartitionedCall",
        "VariableShape",
        "While",
    ]
)
"""Operations that TensorFlow calls stateful, and that do no more than read or run others."""

_OUTSIDE = frozenset(["MatchingFiles", "ReadFile"])
"""Operations that TensorFlow does not call stateful, and that read what is no input."""

_OF_TRAINING = ("_gradient_op_type", "_backward_function_name", "_forward_function_name")


def graph_digest(function: Any) -> bytes:
    """Return a digest of a concrete function: what it computes, by whatever name.

    Raises:
        UnidentifiedError: it does something else than compute.
    """
    graph = function.graph.as_graph_def()
    digests = _Functions({x.signature.name: x for x in graph.library.function})
    ends = [x.name for x in (*function.inputs, *function.outputs)]
    return digest_of([ends, digests.of_nodes(graph.node)], _no_tensor)


@final
class _Functions:
    """The digests of the functions in a graph's library, which are numbered as they are made."""

    def __init__(self, library: Mapping[str, Any]) -> None:
        self._library = library
        self._of = functools.cache(self._digest)

    def of_nodes(self, nodes: Iterable[Any]) -> list[Any]:
        """Return what tells nodes from others."""
        return [self._node(node) for node in nodes]

    def _node(self, node: Any) -> list[Any]:
        operation: Any = node.op
        if node.op in self._library:
            operation = self._of(node.op)
        else:
            _refuse_stateful(node.op)
        parts = sorted(x for x in node.attr if x not in _OF_TRAINING)
        attributes = [[name, self._attribute(node.attr[name])] for name in parts]
        return [node.name, operation, list(node.input), node.device, attributes]

    def _attribute(self, value: Any) -> Any:
        functions = [value.func] if value.WhichOneof("value") == "func" else value.list.func
        if not functions:
            return value.SerializeToString(deterministic=True)
        return [[self._of(x.name), self._named(x.attr)] for x in functions]

    def _named(self, attributes: Mapping[str, Any]) -> list[Any]:
        return [[name, self._attribute(attributes[name])] for name in sorted(attributes)]

    def _digest(self, name: str) -> bytes:
        function = self._library[name]
        signature = [
            [argument.SerializeToString(deterministic=True) for argument in arguments]
            for arguments in (function.signature.input_arg, function.signature.output_arg)
        ]
        ends = [sorted(function.ret.items()), sorted(function.control_ret.items())]
        return digest_of([signature, ends, self.of_nodes(function.node_def)], _no_tensor)


def _refuse_stateful(operation: str) -> None:
    definition = op_def_registry.get(operation)
    stateful = definition is None or definition.is_stateful or operation in _OUTSIDE
    if stateful and operation not in _HARMLESS:
        msg = f"the model runs the operation {operation}, whose result may not repeat"
        raise UnidentifiedError(msg)


def _no_tensor(*_: Any) -> bool:
    return False
