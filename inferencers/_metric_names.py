"""The names of metrics that have a depth, as users write them and as they are logged."""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from milepost.errors import unknown_name


class MetricName(NamedTuple):
    """A name with what it stands for.

    Attributes:
        name: the name that is logged, such as `"map@10"`.
        base: the name of its definition, such as `"map"`.
        k: the depth; None where the definition has none.
    """

    name: str
    base: str
    k: int | None


def metric_names(
    given: str | Sequence[str] | None,
    k: Sequence[int],
    known: Sequence[str],
    whole: Collection[str],
) -> list[MetricName]:
    """Return the metrics that names stand for, each once.

    Args:
        given: `"map"` stands for map at each of `k`, `"map@100"` for itself; None: all.
        k: depths.
        known: the names of all definitions.
        whole: those of them that have no depth.

    Raises:
        ValueError: none are named.
        UnknownNameError: a name is none of them.
    """
    names = chosen_names(given, known)
    return list(dict.fromkeys(each for name in names for each in _expand(name, k, known, whole)))


def chosen_names(given: str | Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return the names of one metric or several, or all for None.

    Raises:
        ValueError: there are none.
    """
    names = [given] if isinstance(given, str) else list(known if given is None else given)
    if not names:
        msg = f"`metrics` must name at least one metric, or be None for all, got {given!r}"
        raise ValueError(msg)
    return names


def _expand(
    name: str, k: Sequence[int], known: Sequence[str], whole: Collection[str]
) -> Iterator[MetricName]:
    base, _, depth = name.partition("@")
    if name in whole:
        yield MetricName(name, name, None)
    elif base in known and base not in whole and (name == base or _is_depth(depth)):
        for each in k if name == base else [int(depth)]:
            yield MetricName(f"{base}@{each}", base, each)
    else:
        shown = [known_name if known_name in whole else f"{known_name}@k" for known_name in known]
        raise unknown_name("metric", name, shown)


def _is_depth(text: str) -> bool:
    return text.isdecimal() and int(text) > 0
