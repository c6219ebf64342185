"""Sets of labels of any size, in every form in which batches hold them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.inferencers import LabelSets, Retrieval, any_shared
from tests.inferencers.rounds import Array, assert_same, evaluate, run, split, table
from tests.inferencers.test_retrieval_labels import assert_defined, joined, quick
from tests.kinds import CONVERTERS

NAMES = ("café", "b, c", '"', "]")
SETS = st.lists(st.sets(st.integers(0, 3)), min_size=2, max_size=12)


def objects(rows: Sequence[Any]) -> Array:
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def padded(sets: Sequence[set[int]]) -> Array:
    """Sets in a matrix, unordered and with repetitions, filled up with -1."""
    rows = np.full((len(sets), 6), -1)
    for row, each in zip(rows, sets, strict=True):
        members = [*sorted(each, reverse=True), *each][:6]
        row[-1 - np.arange(len(members))] = members
    return rows


FORMS: dict[str, Callable[[list[set[int]]], Any]] = {
    "padded": padded,
    "sets": objects,
    "lists": lambda sets: objects([sorted(each) for each in sets]),
    "arrays": lambda sets: objects([np.array(sorted(each), np.int32) for each in sets]),
    "names": lambda sets: objects([tuple(NAMES[label] for label in each) for each in sets]),
}


def rows_of(sets: Sequence[set[int]], labels: Any) -> Any:
    return table("query", np.arange(len(sets))[:, None] % 3, labels)


def multi_hot(sets: Sequence[set[int]]) -> Array:
    return np.array([[label in each for label in range(4)] for each in sets])


@quick
@given(sets=SETS, workers=st.integers(1, 3), form=st.sampled_from(sorted(FORMS)))
def test_sets_are_relevant_if_they_share_a_label(
    sets: list[set[int]], workers: int, form: str
) -> None:
    how: Any = {"k": (1, 3), "distance": "l2", "relevant": any_shared}
    labels = LabelSets("label", pad=-1)
    rows = rows_of(sets, FORMS[form](sets))
    retrievals = [Retrieval(labels=labels, **how) for _ in range(workers)]
    metrics = run(retrievals, *split(rows, workers, 2))
    columns = rows_of(sets, multi_hot(sets))
    assert_same(metrics, evaluate(lambda: Retrieval(**how), columns))

    def shared(query: Any, other: Any) -> bool:
        return any(map(min, query, other))

    assert_defined([Retrieval(**how)], columns, columns, "l2", relevant=shared)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
@pytest.mark.parametrize("labels", [0, 1, 40])
def test_any_label_is_shared_whether_rows_bear_few_or_many(labels: int, share: float) -> None:
    rng = np.random.default_rng(1)
    query, gallery = (rng.random((rows, labels)) < share for rows in (9, 30))
    expected = (query[:, None] & gallery).any(axis=-1)
    for dtype in (bool, np.int64, np.float32):
        columns = query.astype(dtype)[:, None], gallery.astype(dtype)[None]
        np.testing.assert_array_equal(any_shared(*columns), expected)


def overlap(query: Array, gallery: Array) -> Array:
    both, any_of = (query & gallery).sum(axis=-1), (query | gallery).sum(axis=-1)
    return np.asarray(both / any_of.clip(min=1))


@pytest.mark.parametrize("how", [{"gain": overlap}, {}, {"relevant": any_shared, "group": "half"}])
def test_relevance_and_gain_see_a_column_for_each_label(how: Any) -> None:
    rng = np.random.default_rng(0)
    sets = [set(rng.integers(0, 4, 3).tolist()) for _ in range(40)]
    more = {"distance": "l2", "average": "class", **how}
    half = np.arange(40) % 2
    columns = {**rows_of(sets, multi_hot(sets)), "half": half}
    expected = evaluate(lambda: Retrieval(**more), columns)
    labels = LabelSets("label")
    for convert in (np.asarray, objects):
        rows = {**rows_of(sets, convert([([*each] * 4)[:4] for each in sets])), "half": half}
        retrievals = [Retrieval(labels=labels, **more) for _ in range(2)]
        metrics = run(retrievals, *split(rows, 2, 7))
        assert metrics == pytest.approx(expected, abs=1e-12)  # classes are added in another order


def test_a_padded_matrix_of_any_framework_does() -> None:
    sets: list[set[int]] = [{0, 1}, {1}, set(), {2, 3}, {3}, {0, 1}]
    how: Any = {"labels": LabelSets("label", pad=-1), "relevant": any_shared}
    tables = [rows_of(sets, convert(padded(sets))) for convert in CONVERTERS]
    found = [evaluate(lambda: Retrieval(**how), rows) for rows in tables]
    assert all(each == found[0] for each in found)
    assert found[0]["queries_without_relevant"] == 1


def test_evidence_shows_sets_as_text() -> None:
    sets: list[set[int]] = [{1, 10}, {9}, {9, 10}, set()]
    retrieval = Retrieval(
        k=1, labels=LabelSets("label"), relevant=any_shared, per_class=True, neighbors=1
    )
    retrieval.keep_evidence = True
    run([retrieval], [rows_of(sets, objects(sets))])
    tables = joined([retrieval])
    assert tables["queries"]["label"].tolist() == ["[1, 10]", "[9]", "[9, 10]", "[]"]
    assert tables["classes"]["label"].tolist() == ["[1, 10]", "[9, 10]", "[9]", "[]"]
    assert set(tables["neighbors"]["label"]) <= {"[1, 10]", "[9]", "[9, 10]", "[]"}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(2, int), "a row of labels for each sample, such as a list or one of a matrix "),
        (np.zeros((2, 2)), r"sets of integers or strings, got \[0.0, 0.0\]"),
        (np.zeros((2, 2), bool), r"sets of integers or strings, got \[False, False\]"),
        (objects(["ab", "c"]), "sets of integers or strings, got 'ab'"),
        (objects([[1, [2]], []]), r"sets of integers or strings, got \[1, \[2\]\]"),
    ],
)
def test_what_is_no_set_is_an_error(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^`label` must hold {message}"):
        evaluate(lambda: Retrieval(labels=LabelSets("label")), rows_of([set(), set()], labels))


def test_labels_of_two_kinds_are_an_error() -> None:
    message = "^sets of labels must be of integers or of strings, got 1 and 'a'$"
    for sets in ([[1, "a"], []], [[1], ["a"]]):
        rows = rows_of([set(), set()], objects(sets))
        with pytest.raises(ValueError, match=message):
            evaluate(lambda: Retrieval(labels=LabelSets("label")), rows)
    with pytest.raises(ValueError, match=r"^`levels=True` needs labels of several columns, got La"):
        Retrieval(labels=LabelSets("label"), levels=True)
    with pytest.raises(ValueError, match=r"^`labels` must be a field or several .*, got ''$"):
        Retrieval(labels=LabelSets(""))
