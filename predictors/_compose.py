"""Two models in a row as one."""

from typing import Any

from milepost.predictors._get_predictor import require_torch


def compose(first: Any, second: Any) -> Any:
    """Return a model that gives what `second` makes of what `first` gives.

    It takes the inputs of `first`, shares the weights of both, and leaves their modes alone.

    Raises:
        TypeError: either is of no framework that is supported.
    """
    require_torch(first)
    require_torch(second)
    from milepost.predictors._torch_compose import compose_modules

    return compose_modules(first, second)
