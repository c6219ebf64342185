"""What the rows of a run look like: pictures and texts, for people."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from milepost.inferencers._inferencer import Inferencer, Rows, State, Table
from milepost.inferencers._thumbnails import as_pictures, as_png, check_pillow

_ELLIPSIS = "…"


@final
class Items(Inferencer):
    """Keeps a small picture, a text or both of each row, which the report shows.

    It has no metrics. Its evidence `"items"` holds each row once in a training: what a row shows
    is taken not to change. A training that is resumed, and another `rundir`, write all of them
    anew.

    A picture is an array of shape (H, W), (H, W, 1 | 3 | 4) or (1 | 3, H, W). Numbers of dtype
    uint8 are taken as they are; others as 0 (black) to 1 (white) where all of a picture lie there,
    else from the smallest of the picture to its largest. It becomes a PNG file of at most `size`
    pixels a side. What is kept does not depend on batch size, order or number of workers.

    Cost: where evidence is kept, in the first run: 0.1 ms and 1 kB a row of 28 x 28 pixels, 2.5 ms
    and 17 kB a photograph of 224 x 224; in later runs a look-up. Memory: the files and texts of
    this worker's rows until the second run, then about 200 bytes a row; as the first run ends,
    those of all workers twice on the chief. Of a large gallery, `roles=("query",)` keeps none.

    Args:
        pictures: the field that holds pictures, shape (N, ...); None: there are none.
        texts: the field of strings, shape (N,), that holds texts; None: there are none.
        size: pixels of the longer side of a picture, at most.
        shape: of one picture, where the field holds its pixels in another shape, such as flat.
        characters: a longer text is cut there, and ends in "…".
        roles: the roles whose rows are kept; the data must hold the first.
        name: of its evidence.

    Raises:
        ValueError: an argument is out of range; neither pictures nor texts are named. From
            `update`: arrays are no pictures, or no texts.
        ImportError: pictures are asked for, and pillow is not installed.

    Example:
        >>> items = Items(size=32)
        >>> items.keep_evidence = True  # as the runner sets it
        >>> rows = {"id": np.arange(2), "role": np.array(["query"] * 2)}
        >>> items.update({**rows, "image": np.zeros((2, 3, 64, 48), np.float32)})
        >>> table = items.evidence()["items"]
        >>> table["id"], table["picture"][0][1:4]
        (array([0, 1]), b'PNG')
    """

    def __init__(
        self,
        pictures: str | None = "image",
        texts: str | None = None,
        *,
        size: int = 96,
        shape: Sequence[int] | None = None,
        characters: int = 300,
        roles: Sequence[str] = ("query", "gallery"),
        name: str = "items",
    ) -> None:
        if pictures is None and texts is None:
            msg = "`pictures` or `texts` must name a field, got None for both"
            raise ValueError(msg)
        for argument, value in (("size", size), ("characters", characters)):
            if type(value) is not int or value < 1:
                msg = f"`{argument}` must be a whole number of at least 1, got {value!r}"
                raise ValueError(msg)
        if isinstance(roles, str) or not roles:
            msg = f"`roles` must be names of roles, got {roles!r}"
            raise ValueError(msg)
        if pictures is not None:
            check_pillow()
        self.name = name
        self.roles = tuple(roles)
        self.fetches = tuple(field for field in (pictures, texts) if field is not None)
        self._pictures, self._texts = pictures, texts
        self._size, self._characters = size, characters
        self._shape = None if shape is None else tuple(shape)
        self._taken: set[tuple[str, Any]] = set()  # in earlier runs of this training
        self._runs = 0  # whose rows are among them
        self._rows: dict[tuple[str, Any], tuple[Any, ...]] = {}
        self.reset()

    def reset(self) -> None:
        if not self.earlier_runs:
            self._taken = set()
        elif self.earlier_runs > self._runs:  # the last run was taken
            self._taken |= self._rows.keys()
        self._runs = self.earlier_runs
        self._rows = {}

    def update(self, rows: Rows) -> None:
        if not self.keep_evidence:
            return
        keys = list(
            zip(np.asarray(rows["role"]).tolist(), np.asarray(rows["id"]).tolist(), strict=True)
        )
        new = [at for at, key in enumerate(keys) if key not in self._taken]
        if new:
            contents = zip(*self._contents(rows, new), strict=True)
            self._rows.update(zip((keys[at] for at in new), contents, strict=True))

    def state(self) -> State:
        return {}

    def merge(self, states: Sequence[State]) -> None:
        """Do nothing: rows stay with the worker that has them, and travel as evidence."""

    def compute(self) -> None:
        return None

    def evidence(self) -> Mapping[str, Table]:
        """Return `"items"`: id, role, and `picture` (a PNG file) or `text` or both."""
        if not self._rows:
            return {}
        # as arrays: ids of another role may be of another kind
        roles, ids = (np.array(column) for column in zip(*self._rows, strict=True))
        order = np.lexsort((roles, ids))
        contents = list(self._rows.values())
        columns = zip(*(contents[at] for at in order), strict=True)
        table = {"id": ids[order], "role": roles[order]}
        if self._pictures is not None:
            table["picture"] = np.array(next(columns), dtype=object)
        if self._texts is not None:
            table["text"] = np.array(next(columns))
        return {"items": table}

    def _contents(self, rows: Rows, new: list[int]) -> list[list[Any]]:
        """Return what is kept of the rows at some positions, column by column."""
        columns: list[list[Any]] = []
        if self._pictures is not None:
            array = np.asarray(rows[self._pictures])
            pictures = as_pictures(array, self._pictures, self._shape)
            columns.append([as_png(pictures[at], self._size) for at in new])
        if self._texts is not None:
            texts = _texts(np.asarray(rows[self._texts]), self._texts)
            columns.append([_cut(texts[at], self._characters) for at in new])
        return columns


def _texts(array: Any, name: str) -> list[str]:
    texts: list[str] = array.reshape(len(array), -1)[:, 0].tolist() if array.size else []
    if array.shape not in ((len(array),), (len(array), 1)) or not all(
        isinstance(text, str) for text in texts
    ):
        msg = f"`{name}` must hold one text a row, got {array.dtype} of shape {array.shape}"
        raise ValueError(msg)
    return texts


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1].rstrip()}{_ELLIPSIS}"
