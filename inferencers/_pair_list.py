"""A list of pairs of rows, given by their ids."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from milepost.errors import unknown_name
from milepost.inferencers._column import flags

Column = npt.NDArray[Any]
_NAMED = 5  # how many pairs a message names


@final
class PairList:
    """Columns of a list of pairs: `left` and `right` ids, and what else is told of each.

    Args:
        pairs: columns by name, or tuples of two ids or, with what is told in column `same`, three.
        same: the name of the column that tells which pairs are genuine, if there is one.
        needed: the names of other columns that there must be.
        roles: those of pairs; where there are several, column `role` tells them.

    Raises:
        ValueError: columns have other lengths or shapes, there are no pairs, or `same` is other
            than 0 or 1.
        UnknownNameError: a column is missing.
    """

    def __init__(
        self,
        pairs: Mapping[str, Any] | Sequence[tuple[Any, ...]],
        same: str,
        needed: Iterable[str],
        roles: Sequence[str],
    ) -> None:
        if not len(pairs):
            msg = "`pairs` must hold at least one, got none"
            raise ValueError(msg)
        if not isinstance(pairs, Mapping):
            pairs = dict(zip(("left", "right", same), zip(*pairs, strict=True), strict=False))
        self.columns = {name: np.asarray(column) for name, column in pairs.items()}
        for name in ("left", "right", *needed, *(["role"] if len(roles) > 1 else [])):
            if name not in self.columns:
                raise unknown_name("column of `pairs`", name, list(self.columns))
        shapes = {column.shape for column in self.columns.values()}
        if len(shapes) > 1 or len(shape := shapes.pop()) != 1 or not shape[0]:
            found = ", ".join(f"{key!r} {column.shape}" for key, column in self.columns.items())
            msg = f"`pairs` must have columns of one value a pair, of equal length, got {found}"
            raise ValueError(msg)
        for role in set(self.columns.get("role", np.array(["query"])).tolist()).difference(roles):
            raise unknown_name("role of `pairs`", str(role), roles)
        self.same: npt.NDArray[np.bool_] | None = None
        if same in self.columns:
            self.same = flags({"id": np.arange(len(self)), **self.columns}, same)

    def __len__(self) -> int:
        return len(self.columns["left"])

    def check(self, found: npt.NDArray[np.int64]) -> None:
        """Raise an error unless all pairs were found.

        Args:
            found: their positions.
        """
        missing = np.setdiff1d(np.arange(len(self)), found)
        if len(missing):
            first = ", ".join(
                f"({self.columns['left'][at]}, {self.columns['right'][at]})"
                for at in missing[:_NAMED]
            )
            msg = (
                f"`pairs` must name ids that the data holds, got {len(missing)} of {len(self)} "
                f"pairs with others; the first: {first}"
            )
            raise ValueError(msg)
