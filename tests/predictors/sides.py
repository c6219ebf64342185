"""What the contract of the predictors needs of a framework: a net in each of its styles."""

import abc
import importlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, cast

import numpy as np

from milepost.predictors import OfflinePredictor, Predictor, get_predictor

Make = Callable[..., Predictor]
Array = np.ndarray[Any, Any]


class Side(abc.ABC):
    """One style of models: a net with two outputs, batch normalisation, dropout, shared layers.

    Attributes:
        inners: the names of the net's inner layers.
        home: the device that tests run on.
    """

    inners: tuple[str, ...]
    home: str

    @abc.abstractmethod
    def net(self) -> Any:
        """Return a net in the midst of its training: its statistics are not those of its birth."""

    @abc.abstractmethod
    def tensor(self, array: Array) -> Any:
        """Return an array as the framework's own."""

    @abc.abstractmethod
    def infer(self, net: Any, image: Any) -> dict[str, Any]:
        """Return what the framework itself gives in inference mode."""

    @abc.abstractmethod
    def state(self, net: Any) -> dict[str, Array]:
        """Return copies of the values of all variables, and of the flags of layers."""

    @abc.abstractmethod
    def averaged(self, net: Any) -> tuple[Any, Any]:
        """Return another model and what holds its averaged weights, those of the net."""

    @abc.abstractmethod
    def weightless(self) -> Any:
        """Return a model without weights that gives max(0, x)."""

    @abc.abstractmethod
    def bfloat16(self) -> tuple[Any, dict[str, Any]]:
        """Return a net, and the arguments of a predictor, that compute in bfloat16."""

    def kinds(self) -> dict[str, Make]:
        """Return all that makes predictors of a net."""
        return {
            "live": get_predictor,
            "snapshot": lambda model, **how: get_predictor(model, weights="snapshot", **how),
            "ema": self._of_average,
            "replica": lambda model, **how: get_predictor(model, **how).replicate(self.home),
            "sibling": lambda model, **how: get_predictor(
                model, **(how | {"outputs": None})
            ).fetching(how.get("outputs")),
            "off-line": lambda model, **how: OfflinePredictor(
                model, dict(get_predictor(model).weights()), **how
            ),
        }

    def _of_average(self, model: Any, **how: Any) -> Predictor:
        other, average = self.averaged(model)
        return get_predictor(other, weights="ema", ema=average, **how)


_STYLES = {
    "torch": ("torch", "torch_side", "TorchSide"),
    "functional": ("tensorflow", "tf_side", "FunctionalSide"),
    "subclassed": ("tensorflow", "tf_side", "SubclassedSide"),
    "module": ("tensorflow", "tf_side", "ModuleSide"),
}
STYLES = [name for name, (framework, _, _) in _STYLES.items() if find_spec(framework)]
KINDS = ("live", "snapshot", "ema", "replica", "sibling", "off-line")


def side_of(style: str) -> Side:
    """Return the side of a style; its framework is loaded now."""
    _, module, name = _STYLES[style]
    kind = getattr(importlib.import_module(f"tests.predictors.{module}"), name)
    return cast("Side", kind())


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two mappings have the same names and, to the bit, the same arrays."""
    return one.keys() == other.keys() and all(
        np.array_equal(np.asarray(one[name]), np.asarray(other[name])) for name in one
    )
