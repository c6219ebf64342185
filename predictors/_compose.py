"""Two models in a row as one."""

from typing import Any

from milepost.predictors._frameworks import framework_of


def compose(first: Any, second: Any) -> Any:
    """Return a model that gives what `second` makes of what `first` gives.

    It takes the inputs of `first`, shares the weights of both, and leaves their modes alone.

    Raises:
        TypeError: either is of no framework that is supported, or they are of two.
    """
    frameworks = framework_of(first), framework_of(second)
    if frameworks == ("torch", "torch"):
        from milepost.predictors._torch_compose import compose_modules

        return compose_modules(first, second)
    if frameworks == ("tensorflow", "tensorflow"):
        from milepost.predictors._tf_compose import Composed

        return Composed(first, second)
    one, other = (
        f"{type(model).__name__} of {framework}"
        for model, framework in zip((first, second), frameworks, strict=True)
    )
    msg = f"models in a row must be of one framework, got {one} and {other}"
    raise TypeError(msg)
