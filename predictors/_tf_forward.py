"""One forward pass of a TensorFlow model, from the arrays of a batch to the chosen outputs."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, final

from milepost.predictors._options import Options
from milepost.predictors._outputs import Captured, from_forward, inner_outputs, named, select
from milepost.predictors._tf_inner import Inner, capturing, find_inner, refuse_foreign
from milepost.predictors._tf_model import TFModel
from milepost.predictors._tf_parts import inner_names
from milepost.predictors._tf_tensors import Layout, as_tensors, unflatten


class Given(NamedTuple):
    """What a forward pass gave.

    Attributes:
        chosen: the outputs that were asked for.
        own: the names of the model's own outputs.
    """

    chosen: dict[str, Any]
    own: tuple[str, ...]


@final
class ForwardPass:
    """Runs a model in Python, on tensors or to trace it.

    Args:
        model: the model.
        forward: replaces the model's own call.
        options: what was asked for.
        layout: how the tensors make the arguments, or what goes to `forward`.

    Attributes:
        model: the model.
        failed: whether the model's own code raised in the last run.
    """

    def __init__(
        self,
        model: TFModel,
        forward: Callable[[Any, Any], Any] | None,
        options: Options,
        layout: Layout,
    ) -> None:
        self.model = model.model
        self.failed = False
        self._model = model
        self._forward = forward
        self._options = options
        self._layout = layout

    def __call__(self, leaves: list[Any]) -> Given:
        """Return what the model gives for tensors."""
        inners = self._inners()
        arguments = unflatten(self._layout, iter(leaves))
        self.failed = True
        with capturing(inners) as captured:
            own = self._run(arguments)
        self.failed = False
        chosen: Mapping[str, Any] = own
        if self._options.outputs is not None:
            fetched: Captured = {x: captured[x] for x in captured if x not in own}
            refuse_foreign(fetched)
            found = inner_outputs([x for x in inners if x not in own], fetched)
            chosen = select(own, found, self._options.outputs, inner_names(self.model))
        return Given({name: as_tensors(value) for name, value in chosen.items()}, tuple(own))

    def _run(self, arguments: Any) -> dict[str, Any]:
        if self._forward is not None:
            return from_forward(self._forward(self.model, arguments))
        return named(self._model.call(*arguments))

    def _inners(self) -> dict[str, Inner]:
        """Return the inner layers among the wanted outputs."""
        wanted = (name for name in self._options.outputs or () if isinstance(name, str))
        found = {name: find_inner(self.model, name) for name in wanted}
        return {name: inner for name, inner in found.items() if inner is not None}
