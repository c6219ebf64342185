"""Graded judgements: how relevant documents are to queries.

J is the number of queries that have judgements, D that of judged documents, P that of judgements.
Codes are positions in the sorted ids; J and D stand for what has no judgement.
"""

import copy
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]
Given: TypeAlias = (
    Mapping[Any, Mapping[Any, float]] | Mapping[Any, Iterable[Any]] | str | os.PathLike[str]
)
"""Judgements as people have them: grades by query and document, relevant documents by query, or
the path of a file."""


@final
class Judgements:
    """Grades by query and document, found by their codes.

    Ids are compared as strings: the integer 7 is the "7" of a file.
    Memory: 24 bytes a judgement, and the strings of the ids.

    Args:
        queries: P ids.
        documents: P ids.
        grades: float64 (P,).

    Raises:
        ValueError: there is no judgement, one is not finite, or a pair has two.

    Attributes:
        queries: the ids of queries that have judgements, ascending, (J,).
        documents: the ids of judged documents, ascending, (D,).
    """

    def __init__(self, queries: Strings, documents: Strings, grades: Floats) -> None:
        if not len(grades):
            msg = "`judgements` must hold at least one, got none"
            raise ValueError(msg)
        self.queries, query_of = np.unique(queries, return_inverse=True)
        self.documents, document_of = np.unique(documents, return_inverse=True)
        keys = query_of * (len(self.documents) + 1) + document_of
        order = np.argsort(keys, kind="stable")
        self._keys, self._grades = keys[order], grades[order]
        _check(queries[order], documents[order], self._keys, self._grades)

    @classmethod
    def of(cls, given: Given) -> "Judgements":
        """Return judgements as they are given.

        Args:
            given: `{query: {document: grade}}`, or `{query: documents}` of the relevant ones; or
                the path of a TREC file (query, iteration, document, grade, apart by white space)
                or of BEIR's (query, document, grade, apart by tabs, under a line of names).

        Example:
            >>> Judgements.of({1: {"a": 2, "b": 0}}).documents.tolist()
            ['a', 'b']
            >>> Judgements.of({"q": ["a", "b"]}).queries.tolist()
            ['q']
        """
        triples = list(_triples(given))
        queries, documents, grades = zip(*triples, strict=True) if triples else ((), (), ())
        return cls(
            np.array([str(x) for x in queries], dtype=np.str_),
            np.array([str(x) for x in documents], dtype=np.str_),
            np.array(grades, dtype=np.float64),
        )

    def without_copies(self) -> "Judgements":
        """Return the judgements, of the same codes, without those of a query on itself."""
        query_of, document_of = np.divmod(self._keys, len(self.documents) + 1)
        others = copy.copy(self)
        is_copy = self.queries[query_of] == self.documents[document_of]
        others._grades = np.where(is_copy, np.nan, self._grades)
        return others

    def query_codes(self, ids: npt.NDArray[Any]) -> Ints:
        """Return the codes of queries, J where one has no judgement."""
        return _codes(self.queries, ids)

    def document_codes(self, ids: npt.NDArray[Any]) -> Ints:
        """Return the codes of documents, D where one has no judgement."""
        return _codes(self.documents, ids)

    def grades(self, queries: Ints, documents: Ints) -> Floats:
        """Return the grades of documents (Q, K) for queries (Q,); NaN for no judgement.

        Args:
            queries: codes.
            documents: codes; -1 where there is none.
        """
        wanted = queries[:, None] * (len(self.documents) + 1) + documents
        at = np.searchsorted(self._keys, wanted).clip(max=len(self._keys) - 1)
        is_judged = (self._keys[at] == wanted) & (documents >= 0)
        return np.where(is_judged, self._grades[at], np.nan)

    def relevant(self, least: float) -> Ints:
        """Return how many documents have at least this grade for each query code, (J + 1,)."""
        query_of = self._keys[self._grades >= least] // (len(self.documents) + 1)
        return np.bincount(query_of, minlength=len(self.queries) + 1).astype(np.int64)

    def best(self, queries: Ints, depth: int) -> Floats:
        """Return the largest grades for queries (Q,), in descending order, then 0, (Q, depth)."""
        query_of = self._keys // (len(self.documents) + 1)
        order = np.lexsort((-self._grades, query_of))
        starts = np.searchsorted(query_of, np.append(queries, [0]))[:-1]
        counts = np.searchsorted(query_of, np.append(queries, [0]), side="right")[:-1] - starts
        ranks = np.arange(depth)
        at = (starts[:, None] + ranks).clip(max=len(order) - 1)
        return np.where(ranks < counts[:, None], np.nan_to_num(self._grades[order[at]]), 0.0)


def _codes(known: Strings, ids: npt.NDArray[Any]) -> Ints:
    strings = ids if ids.dtype.kind == "U" else ids.astype(np.str_)
    at = np.searchsorted(known, strings).clip(max=len(known) - 1)
    return np.where(known[at] == strings, at, len(known))


def _check(queries: Strings, documents: Strings, keys: Ints, grades: Floats) -> None:
    twice = np.append(keys[1:] == keys[:-1], [False])
    for bad, rule, shown in (
        (~np.isfinite(grades), "must be finite", 1),
        (twice, "must give one grade to a query and a document", 2),
    ):
        if bad.any():
            at = int(bad.argmax())
            got = " and ".join(f"{grade:g}" for grade in grades[at : at + shown])
            msg = (
                f"`judgements` {rule}, got {got} for "
                f"query {str(queries[at])!r} and document {str(documents[at])!r}"
            )
            raise ValueError(msg)


def _triples(given: Given) -> Iterator[tuple[Any, Any, float]]:
    """Give query, document and grade."""
    if isinstance(given, str | os.PathLike):
        yield from _read(Path(given))
        return
    for query, documents in given.items():
        if isinstance(documents, str):
            msg = (
                "`judgements` must hold grades by document, or documents, for each query, got "
                f"{documents!r} for {query!r}; pass a list: [{documents!r}]"
            )
            raise TypeError(msg)
        if isinstance(documents, Mapping):
            yield from ((query, document, grade) for document, grade in documents.items())
        else:
            yield from ((query, document, 1.0) for document in documents)


def _read(path: Path) -> Iterator[tuple[str, str, float]]:
    """Give what a file of judgements holds: TREC's with four columns, or BEIR's with three."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            columns = line.rstrip("\n").split("\t")
            columns = columns if len(columns) == 3 else line.split()
            if not columns or (number == 1 and len(columns) == 3 and not _is_number(columns[2])):
                continue
            if len(columns) not in (3, 4) or not _is_number(columns[-1]):
                msg = (
                    f"`judgements` must have lines of TREC (query, iteration, document, grade) or "
                    f"of BEIR (query, document, grade, by tabs), got {line.rstrip()!r} in line "
                    f"{number} of {path}"
                )
                raise ValueError(msg)
            yield columns[0], columns[-2], float(columns[-1])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
