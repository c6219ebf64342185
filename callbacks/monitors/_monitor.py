"""Where records go."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, final

from milepost.callbacks._record import Record


class Monitor(abc.ABC):
    """Takes records to one place; only the chief's monitors are given any.

    It accepts any name and any value, NaN and infinity included, and translates what its backend
    refuses. Making one touches no file: it opens what it needs in `open`, or at the first record.

    Attributes:
        takes_tables: whether it looks at a record's tables, which are made only if a monitor or a
            callback does.
        takes_pictures: whether it shows pictures, which `Pictures` draws only if a monitor does;
            `open` may change both.
    """

    takes_tables: bool = False
    takes_pictures: bool = False

    def describe(self, config: Mapping[str, Any]) -> None:  # noqa: B027  optional
        """Take what is known of the run, before `open`: nested mappings and lists of values."""

    def open(self) -> None:  # noqa: B027  optional
        """Make ready, before the training; what cannot work is an error here. Idempotent."""

    @abc.abstractmethod
    def write(self, record: Record) -> None:
        """Take one record."""

    def flush(self) -> None:  # noqa: B027  optional
        """See that what was written can be read by others."""

    def on_exception(self, error: BaseException) -> None:  # noqa: B027  optional
        """Take note that the training ends by an error; `close` follows."""

    def close(self) -> None:  # noqa: B027  optional
        """Give back what is held. Idempotent; a record that comes later opens it again."""


@final
class FunctionMonitor(Monitor):
    """Calls a function with each record.

    Args:
        function: is given the record; what it returns is not used.
    """

    def __init__(self, function: Callable[[Record], object]) -> None:
        self.function = function

    def write(self, record: Record) -> None:
        """Call the function."""
        self.function(record)

    def __repr__(self) -> str:
        return f"FunctionMonitor({getattr(self.function, '__qualname__', self.function)})"
