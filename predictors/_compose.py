"""Two models in a row as one."""

from typing import Any

from milepost.predictors._frameworks import framework_of


def compose(first: Any, second: Any) -> Any:
    """Return a model that gives what `second` makes of what `first` gives.

    It takes the inputs of `first`, shares the weights of both, and leaves their modes alone.

    Raises:
        TypeError: either is of no framework that is supported.
    """
    framework_of(first)
    framework_of(second)
    from milepost.predictors._torch_compose import compose_modules

    return compose_modules(first, second)
