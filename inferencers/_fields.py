"""The names of fields and outputs, as users write them."""

from collections.abc import Sequence


def as_fields(
    argument: str, names: str | Sequence[str], more: Sequence[str] = (), *, different: bool = True
) -> tuple[str, ...]:
    """Return the names of one field or several.

    Args:
        argument: what an error calls them.
        names: one, or a sequence of them, as a recipe gives them.
        more: those that come after it, as arguments of their own.
        different: whether each may occur once only.

    Raises:
        ValueError: they are no names, or one occurs twice.

    Example:
        >>> as_fields("names", "loss", ["accuracy"]), as_fields("names", ["loss"])
        (('loss', 'accuracy'), ('loss',))
    """
    fields = (*((names,) if isinstance(names, str) else names), *more)
    named = all(isinstance(name, str) and name for name in fields)
    if not named or not fields or (different and len(set(fields)) < len(fields)):
        got = fields if more else names
        msg = f"`{argument}` must be a field or several different ones, got {got!r}"
        raise ValueError(msg)
    return fields
