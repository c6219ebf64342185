"""The errors that a caller may want to catch.

```
MilepostError
├── EvaluationError        an evaluation did not complete; nothing of it was logged
│   ├── CoverageError      rows missing, duplicated, or not as many as were declared
│   ├── NonFiniteError     a value that must be finite is NaN or infinite
│   ├── RankError          another rank failed
│   │   └── LostRankError  a rank is dead or does not answer: the job cannot go on
│   ├── StalledError       the source gave nothing for `timeout_s`
│   └── TraceError         `trace_check` found the model changed
├── IndexFileError         a saved index is damaged, or not the one that is asked for (a ValueError)
└── UnknownNameError       a field, output, key or metric that does not exist (also a LookupError)
```

A wrong argument is a `ValueError` or a `TypeError`, a missing extra an `ImportError`.
"""

import difflib
from collections.abc import Iterable

_SHOWN = 30  # a large model has hundreds of inner layers


class MilepostError(Exception):
    """The base of all errors that are Milepost's own."""


class EvaluationError(MilepostError):
    """An evaluation did not complete; nothing of it was logged."""


class CoverageError(EvaluationError):
    """Rows are missing, duplicated, or not as many as were declared."""


class NonFiniteError(EvaluationError):
    """A value that must be finite is NaN or infinite."""


class RankError(EvaluationError):
    """Another rank failed."""


class LostRankError(RankError):
    """A rank is dead or does not answer: the ranks cannot be brought together again."""


class StalledError(EvaluationError):
    """The source gave nothing for `timeout_s`."""


class TraceError(EvaluationError):
    """The evaluation changed the model."""


class IndexFileError(MilepostError, ValueError):
    """A saved index is damaged, or is not the one that is asked for; it was not loaded."""


class UnknownNameError(MilepostError, LookupError):
    """A name that does not exist; the message lists those that do, and the nearest.

    Attributes:
        name: the name; empty where nobody set it.
    """

    name = ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a name that does not exist.

    Args:
        kind: what the name stands for, such as `"output"`.
        name: the name that was asked for.
        known: the names there are.

    Example:
        >>> str(unknown_name("output", "embeding", ["embedding", "logits"]))
        "unknown output 'embeding'; did you mean 'embedding'? There are: 'embedding', 'logits'"
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    there = f"did you mean {nearest[0]!r}? There" if nearest else "there"
    shown = ", ".join(map(repr, names[:_SHOWN]))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    are = f"are: {shown}{more}" if names else "are none"
    error = UnknownNameError(f"unknown {kind} {name!r}; {there} {are}")
    error.name = name
    return error


def missing_extra(package: str, extra: str) -> ImportError:
    """Return the error for a package that an extra of Milepost brings."""
    return ImportError(f'{package} is not installed; pip install "milepost[{extra}]" brings it')
