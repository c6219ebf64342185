"""Forward passes that were traced once, and what they are kept by."""

import contextlib
import threading
import weakref
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, final

import tensorflow as tf
from tensorflow.python.framework.auto_control_deps_utils import (
    get_read_only_resource_input_indices_graph,
)

from milepost.predictors._phase import InferencePhase
from milepost.predictors._tf_forward import ForwardPass, Given
from milepost.predictors._tf_model import not_built
from milepost.predictors._tf_parts import follow_variables, lookups
from milepost.predictors._tf_rng import make_keras_generator
from milepost.predictors._tf_scope import preserved_attributes, same
from milepost.predictors._tf_tensors import dense, spec_of

_tracing = threading.RLock()  # a trace replaces attributes of the model for its time


@final
class Trace:
    """One traced forward pass, for inputs of the same kinds.

    It holds on to the variables of the model, not to the model.

    Attributes:
        captures: the tensors and the handles of variables that it takes besides its inputs.
        variables: those variables, by the identity of their handles.
        written: those of them that it may write to.
        function: the graph, as a concrete function.
    """

    def __init__(self, run: ForwardPass, specs: Sequence[Any]) -> None:
        given: list[Given] = []

        def body(*leaves: Any) -> list[Any]:
            follow_variables(run.model)
            with InferencePhase():
                given.append(run(list(leaves)))
            return list(tf.nest.flatten(_tensors(given[-1].chosen), expand_composites=True))

        self._specs = [spec.shape for spec in specs]
        with refused_variables():
            concrete = tf.function(body, autograph=False).get_concrete_function(*specs)
        template, self.own = given[-1]
        self._template = template
        self._lone = all(tf.is_symbolic_tensor(value) for value in template.values())
        self._types = [tensor.dtype for tensor in concrete.outputs]
        self.function = concrete
        self.captures = list(concrete.captured_inputs)
        held = (part for x in concrete.variables for part in getattr(x, "values", (x,)))
        self.variables = {id(variable.handle): variable for variable in held}
        first = len(concrete.inputs) - len(self.captures)
        only_read = set(get_read_only_resource_input_indices_graph(concrete.graph))
        self.written = [
            self.variables[id(capture)]
            for position, capture in enumerate(self.captures, first)
            if position not in only_read and id(capture) in self.variables
        ]

    def takes(self, leaves: Sequence[Any]) -> bool:
        """Tell whether inputs have the shapes that it was traced for."""
        pairs = zip(self._specs, leaves, strict=True)
        return all(shape.is_compatible_with(leaf.shape) for shape, leaf in pairs)

    def relaxed(self, leaves: Sequence[Any]) -> list[Any]:
        """Return specifications that fit its own inputs and others."""
        return [
            spec_of(leaf, shape.most_specific_compatible_shape(leaf.shape))
            for shape, leaf in zip(self._specs, leaves, strict=True)
        ]

    def __call__(self, leaves: list[Any], captures: list[Any]) -> dict[str, Any]:
        """Return the outputs; `captures` stand in the place of its own."""
        flat = tf.raw_ops.StatefulPartitionedCall(  # at half the cost of calling the function
            args=[*dense(leaves), *captures], Tout=self._types, f=self.function
        )
        if self._lone:
            return dict(zip(self._template, flat, strict=True))
        outputs: dict[str, Any] = _with_tensors(self._template, iter(flat))
        return outputs


@final
class Traces:
    """The traces of one model, by what was asked for and the kinds of its inputs."""

    def __init__(self) -> None:
        self._variables: list[Any] = []
        self._parts: list[weakref.ref[Any]] = []
        self._tables: list[tuple[weakref.ref[Any], weakref.ref[Any]]] = []
        self._of: dict[Hashable, list[Trace]] = {}
        self._forwards: weakref.WeakKeyDictionary[Any, dict[Hashable, list[Trace]]] = (
            weakref.WeakKeyDictionary()
        )

    def check(self, variables: list[Any], parts: list[Any]) -> None:
        """Forget all traces if the model has other variables, parts or tables than before."""
        kept = [part() for part in self._parts]
        tables = all(getattr(x(), "lookup_table", None) is table() for x, table in self._tables)
        if not tables or not same(variables, self._variables) or not same(parts, kept):
            self._variables = variables  # held, so that no other takes over their identities
            self._parts = list(map(weakref.ref, parts))
            self._of.clear()
            self._forwards.clear()

    def get(self, key: Hashable, leaves: list[Any], run: ForwardPass, forward: Any) -> Trace:
        """Return the trace for inputs, made if there is none.

        The first axis is left open, as is each axis that is seen in a second size.
        """
        of = self._of if forward is None else self._forwards.setdefault(forward, {})
        known = of.setdefault(key, [])
        found = next((trace for trace in known if trace.takes(leaves)), None)
        if found is not None:
            return found
        with _tracing:
            for trace in known:  # of another thread, by now
                if trace.takes(leaves):
                    return trace
            specs = [spec_of(leaf, _open(leaf.shape)) for leaf in leaves]
            specs = known[0].relaxed(leaves) if known else specs
            trace = _traced(run, specs, [spec_of(leaf, leaf.shape) for leaf in leaves])
            known.insert(0, trace)
            tables = ((layer, layer.lookup_table) for layer in lookups(run.model))
            self._tables = [(weakref.ref(x), weakref.ref(table)) for x, table in tables]
        return trace


_of_models: weakref.WeakKeyDictionary[Any, Traces] = weakref.WeakKeyDictionary()


def traces_of(model: Any) -> Traces:
    """Return the traces of a model, kept as long as the model is."""
    if isinstance(model, tf.types.experimental.ConcreteFunction):
        return Traces()  # its traces would keep it alive
    with _tracing:
        return _of_models.setdefault(model, Traces())


def _traced(run: ForwardPass, specs: list[Any], exact: list[Any]) -> Trace:
    """Trace a forward pass, for exact shapes if the model does not take open ones."""
    make_keras_generator()
    try:
        with preserved_attributes(run.model):
            return Trace(run, specs)
    except Exception:
        if not run.failed or [x.shape for x in specs] == [x.shape for x in exact]:
            raise
    with preserved_attributes(run.model):
        return Trace(run, exact)


def _open(shape: Any) -> Any:
    return tf.TensorShape([None, *shape[1:]]) if shape.rank else shape


@contextlib.contextmanager
def refused_variables() -> Iterator[None]:
    """Let a model that would make variables, since it is not built yet, fail.

    Raises:
        ValueError: it would, also where Keras goes on past the refusal.
    """
    errors: list[ValueError] = []

    def refuse(create: Any, **keywords: Any) -> Any:
        errors.append(not_built(keywords.get("name") or "a variable"))
        raise errors[-1]

    with tf.variable_creator_scope(refuse):
        yield
    if errors:
        raise errors[0]


def _tensors(value: Any) -> list[Any]:
    """Return the tensors in a nested output."""
    if tf.is_tensor(value):
        return [value]
    parts: Any = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    return [tensor for part in parts for tensor in _tensors(part)]


def _with_tensors(value: Any, flat: Any) -> Any:
    """Return a nested output with other tensors."""
    if tf.is_tensor(value):
        count = len(tf.nest.flatten(value, expand_composites=True))
        parts = [next(flat) for _ in range(count)]
        return tf.nest.pack_sequence_as(value, parts, expand_composites=True)
    if isinstance(value, Mapping):
        return {name: _with_tensors(part, flat) for name, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [_with_tensors(part, flat) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
