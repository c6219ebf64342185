"""Weights from a file or mapping, for a model of TensorFlow."""

import os
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from milepost import errors
from milepost.predictors._checkpoint import refuse_shapes, report_names
from milepost.predictors._frameworks import is_keras
from milepost.predictors._tf_parts import lookups, modules, named_variables
from milepost.predictors._tf_scope import preserved_attributes


class Weights(NamedTuple):
    """What a checkpoint holds for a model.

    Attributes:
        values: the weights, by the model's own names.
        missing: the names of what the checkpoint lacks.
        unexpected: the names of what the model lacks.
    """

    values: Mapping[str, Any]
    missing: list[str]
    unexpected: list[str]


def read_weights(model: Any, checkpoint: Any, *, strict: bool, depth: int) -> Mapping[str, Any]:
    """Return the weights of a checkpoint by the model's own names; the model stays as it is.

    Args are those of `OfflinePredictor`; `depth` is how many calls up the user's own is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `OfflinePredictor` says.
    """
    own = named_variables(model)
    if isinstance(checkpoint, Mapping):
        found = _of_mapping(checkpoint, own)
    else:
        found = _read_file(model, str(os.fspath(checkpoint)), own)
    shapes = {name: np.shape(value) for name, value in found.values.items()}
    refuse_shapes(shapes, {name: variable.shape for name, variable in own.items()})
    strict = strict or not found.values
    report_names(found.missing, found.unexpected, strict=strict, depth=depth + 1)
    return found.values


def load_saved_model(path: str) -> Any:
    """Return the model in the folder of a SavedModel."""
    return tf.saved_model.load(path)


def _read_file(model: Any, path: str, own: Mapping[str, Any]) -> Weights:
    inside = Path(path, "variables", "variables")  # of a SavedModel
    for prefix in (path, str(inside)):
        if Path(f"{prefix}.index").exists():
            return _of_object_graph(model, prefix, own)
    if not Path(path).exists():
        raise FileNotFoundError(path)
    if path.endswith(".safetensors"):
        try:
            from safetensors.tensorflow import load_file
        except ImportError as error:
            raise errors.missing_extra("safetensors", "tensorflow") from error
        return _of_mapping(load_file(path), own)
    if path.endswith((".keras", ".weights.h5")):
        return _of_keras(model, path, own)
    msg = (
        "`checkpoint` must be a `.keras`, `.weights.h5` or `.safetensors` file, the prefix of a "
        f"tf.train.Checkpoint, the folder of a SavedModel, or a mapping, got {path!r}"
    )
    raise ValueError(msg)


def _of_mapping(given: Mapping[str, Any], own: Mapping[str, Any]) -> Weights:
    """Return what a mapping holds, under the model's own names or Keras's paths."""
    paths = {getattr(variable, "path", name): name for name, variable in own.items()}
    values = {name if name in own else paths.get(name, name): x for name, x in given.items()}
    return Weights(
        {name: value for name, value in values.items() if name in own},
        [name for name in own if name not in values],
        [name for name in values if name not in own],
    )


def _of_keras(model: Any, path: str, own: Mapping[str, Any]) -> Weights:
    """Return what a file of Keras holds.

    The model's own weights are written to a file of the same format, those of the checkpoint take
    their places there, and Keras reads that, in a scope that keeps them from the model.
    """
    if not is_keras(model) or not hasattr(model, "save_weights"):
        msg = f"`checkpoint` {path!r} is a file of Keras, but `model` is no Keras model"
        raise ValueError(msg)
    import h5py
    import keras

    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder, "own.weights.h5")
        model.save_weights(merged)
        if path.endswith(".keras"):
            with zipfile.ZipFile(path) as archive:
                _refuse_other_vocabularies(model, archive)
                path = archive.extract("model.weights.h5", folder)
        with h5py.File(merged, "r+") as mine, h5py.File(path) as theirs:
            before, there = _datasets(mine), _datasets(theirs)
            refuse_shapes(there, before)
            common = [name for name in there if name in before]
            for name in common:
                del mine[name]
                theirs.copy(theirs[name], mine, name)
        with preserved_attributes(model), keras.StatelessScope() as scope:
            _take_optimizers_away(model)
            model.load_weights(merged)
    values = {name: scope.get_current_value(variable) for name, variable in own.items()}
    return Weights(
        {name: value for name, value in values.items() if value is not None and common},
        [name for name in before if name not in there],
        [name for name in there if name not in before],
    )


def _take_optimizers_away(model: Any) -> None:
    """Let a model have no optimizer: Keras makes another to load it, which the scope forbids."""
    kind = sys.modules["keras"].optimizers.Optimizer
    for part in modules(model):
        attributes = vars(part)
        for name in [x for x, value in attributes.items() if isinstance(value, kind)]:
            del attributes[name]


def _refuse_other_vocabularies(model: Any, archive: zipfile.ZipFile) -> None:
    """Raise if a `.keras` file holds another vocabulary than each of the model's.

    Raises:
        ValueError: it does; vocabularies are no weights, so that a copy cannot take them.
    """
    theirs = [name for name in archive.namelist() if name.endswith("vocabulary.txt")]
    own = set()
    for layer in lookups(model) if theirs else ():
        with tempfile.TemporaryDirectory() as folder:
            layer.save_assets(folder)
            own |= {path.read_bytes() for path in Path(folder).iterdir()}
    other = [name for name in theirs if archive.read(name) not in own]
    if other:
        msg = (
            f"`checkpoint` holds other vocabularies than `model`, in {', '.join(map(repr, other))}"
            "; pass `model=None` to take the model from the file too"
        )
        raise ValueError(msg)


def _datasets(file: Any) -> dict[str, Any]:
    """Return the shapes of what a file of weights holds, but for the optimizer's slots."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "shape") and not name.startswith("optimizer/"):
            found[name] = item.shape

    file.visititems(visit)
    return found


def _of_object_graph(model: Any, prefix: str, own: Mapping[str, Any]) -> Weights:
    """Return what a tf.train.Checkpoint holds, matched to the model by the graph of objects.

    The model may be what was saved, or any attribute of it.
    """
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    reader = tf.train.load_checkpoint(prefix)
    graph = TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    names = {id(variable): name for name, variable in own.items()}
    if is_keras(model) and (exported := _of_export(model, graph, names)):
        values = {name: tf.convert_to_tensor(reader.get_tensor(key)) for name, key in exported}
        return Weights(values, [], [])
    roots = [0, *(child.node_id for child in graph.nodes[0].children)]
    matches = [_matched(model, graph, root, names) for root in roots]
    nodes, keys = max(matches, key=lambda match: len(match[1]))
    root = roots[matches.index((nodes, keys))]
    return Weights(
        {name: tf.convert_to_tensor(reader.get_tensor(key)) for name, key in keys.items()},
        [name for name in own if name not in keys],
        [name for name in _unmatched(graph, root, nodes) if keys],
    )


def _of_export(model: Any, graph: Any, names: Mapping[int, str]) -> list[tuple[str, str]]:
    """Return names and keys of what Keras's `export` wrote: a list of all the model's variables."""
    held = {child.local_name: child.node_id for child in graph.nodes[0].children}
    if not {"variables", "trainable_variables", "non_trainable_variables"} <= set(held):
        return []
    places = {int(x.local_name): x.node_id for x in graph.nodes[held["variables"]].children}
    if len(places) != len(model.variables):
        return []
    return [
        (names[id(variable)], graph.nodes[places[place]].attributes[0].checkpoint_key)
        for place, variable in enumerate(model.variables)
        if id(variable) in names
    ]


_KEPT_BY_FIT = ("optimizer", "_optimizer", "_metrics", "_loss_tracker", "_compile_metrics")


def _matched(
    model: Any, graph: Any, root: int, names: Mapping[int, str]
) -> tuple[set[int], dict[str, str]]:
    """Return the nodes that the model's objects have, and the keys of its weights by name."""
    view, seen = tf.train.TrackableView(model), {id(model)}
    pending, nodes, keys = [(model, root)], {root}, {}
    for part, node in pending:
        held = {child.local_name: child.node_id for child in graph.nodes[node].children}
        attributes = graph.nodes[node].attributes
        if id(part) in names and len(attributes):
            keys[names[id(part)]] = attributes[0].checkpoint_key
        for name, child in view.children(part).items():
            if name in held and id(child) not in seen:
                seen.add(id(child))
                nodes.add(held[name])
                pending.append((child, held[name]))
    return nodes, keys


def _unmatched(graph: Any, root: int, nodes: set[int]) -> list[str]:
    """Return the names of variables under a node that no object of the model has."""
    pending, seen, found = [root], {root}, []
    for node in pending:
        for attribute in graph.nodes[node].attributes if node not in nodes else ():
            found.append(attribute.checkpoint_key.split("/.ATTRIBUTES/")[0])
        for child in graph.nodes[node].children:
            if child.node_id not in seen and child.local_name not in _KEPT_BY_FIT:
                seen.add(child.node_id)
                pending.append(child.node_id)
    return found
