"""Names for backends that do not take any name."""

import hashlib
import re
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import final


@final
class Names:
    """The names under which a backend is given what may have any name.

    A name that the backend takes stays as it is. In others each character that it refuses becomes
    another; a part between slashes is never empty, `.` or `..`, so that a name is also the path of
    a file. One that is too long, or that would be that of another, ends in a digest of its own;
    the latter is a warning too.

    Args:
        backend: what the warning calls it.
        refused: a pattern of characters.
        filler: what a refused character becomes.
        special: what some of them become instead.
        longest: characters a name.

    Example:
        >>> names = Names("it", refused="[^a-z0-9/]", filler="-", special={"@": " at "}, longest=99)
        >>> names.of("map@r"), names.of("train/loss"), names.of("/loss")
        ('map at r', 'train/loss', '-/loss')
        >>> names.translated
        {'map at r': 'map@r', '-/loss': '/loss'}
    """

    def __init__(
        self,
        backend: str,
        *,
        refused: str,
        filler: str,
        special: Mapping[str, str] = MappingProxyType({}),
        longest: int,
    ) -> None:
        self._backend = backend
        self._refused = re.compile(refused)
        self._filler = filler
        self._special = special
        self._longest = longest
        self._names: dict[str, str] = {}
        self._originals: dict[str, str] = {}

    def of(self, name: str) -> str:
        """Return the name that the backend is given."""
        if name not in self._names:
            self._names[name] = new = self._choose(name)
            self._originals[new] = name
        return self._names[name]

    @property
    def translated(self) -> dict[str, str]:
        """The names that are not what they were, each with what it was."""
        return {new: name for new, name in self._originals.items() if new != name}

    def _choose(self, name: str) -> str:
        new = "/".join(map(self._part, name.split("/")))
        if len(new) <= self._longest and new not in self._originals:
            return new
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        unique = f"{new[: self._longest - 9]}-{digest}"
        if new in self._originals:
            msg = (
                f"{name!r} and {self._originals[new]!r} would have one name in {self._backend}; "
                f"the first is {unique!r} there"
            )
            warnings.warn(msg, RuntimeWarning, stacklevel=2)
        return unique

    def _part(self, part: str) -> str:
        part = self._refused.sub(lambda found: self._special.get(found[0], self._filler), part)
        return part if part.strip(".") else self._filler
