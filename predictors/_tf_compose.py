"""Two models of TensorFlow in a row as one."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from milepost.predictors._inputs import Call
from milepost.predictors._tf_model import TFModel


class Composed(tf.Module):
    """Runs one model and then the other, in inference mode, and takes the inputs of the first."""

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__()
        self.trunk, self.embedder = first, second
        self._models = TFModel(first), TFModel(second)

    @property
    def variables(self) -> tuple[Any, ...]:
        return tuple(variable for model in self._models for variable in model.listed())

    @property
    def run_eagerly(self) -> bool:
        return any(model.runs_eagerly for model in self._models)

    def plan_inputs(self, names: Sequence[str], inputs: Sequence[str] | None) -> Call:
        return self._models[0].plan(names, inputs)

    @tf.autograph.experimental.do_not_convert
    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        trunk, embedder = self._models
        return embedder.call([trunk.call(arguments, keywords)], {})
