"""The order in which a shuffled `tf.data.Dataset` is read, kept from other readers of it."""

import warnings
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

_IGNORE = 1  # tf.data.experimental.ExternalStatePolicy: what functions refer to stays shared


def lineage(dataset: Any) -> Iterator[Any]:
    """Give a dataset and those that it was made from, the last step first."""
    yield dataset
    for source in dataset._inputs():
        yield from lineage(source)


def with_own_order(dataset: Any) -> Any:
    """Return a dataset whose shuffles draw from generators of their own.

    Each reading of a dataset that shuffles anew advances the generator of its order, which a
    training on the same dataset would find. Any other dataset is returned as it is. Memory: a copy
    of the tensors that the dataset was made from.
    """
    if not any(_draws(step) for step in lineage(dataset)):
        return dataset
    try:
        return _rebuilt(dataset)
    except (tf.errors.OpError, ValueError) as error:  # above all one of more than 2 GB
        msg = (
            "`data` is shuffled and cannot be copied, so that reading it changes the order of a "
            f"training on the same dataset; pass it without its shuffle ({error})"
        )
        warnings.warn(msg, RuntimeWarning, stacklevel=2)
        return dataset


def _draws(step: Any) -> bool:
    shuffles = "Shuffle" in type(step).__name__
    return shuffles and bool(getattr(step, "_reshuffle_each_iteration", True))


def _rebuilt(dataset: Any) -> Any:
    variant = tf.data.experimental.to_variant(dataset)
    graph = tf.raw_ops.DatasetToGraphV2(input_dataset=variant, external_state_policy=_IGNORE)
    definition = tf.compat.v1.GraphDef.FromString(graph.numpy())
    nodes = {node.name: node for node in definition.node}
    for node in definition.node:
        for name in node.input if node.op.startswith("Shuffle") else ():
            _give_own_generator(nodes[name.partition(":")[0]])
    rebuilt = tf.raw_ops.DatasetFromGraph(graph_def=definition.SerializeToString())
    return tf.data.experimental.from_variant(rebuilt, dataset.element_spec)


def _give_own_generator(node: Any) -> None:
    """Replace the handle of a shared generator by a new one."""
    if node.op == "Const" and node.attr["dtype"].type == tf.resource.as_datatype_enum:
        name = node.name
        node.Clear()
        node.name, node.op = name, "DummySeedGenerator"
