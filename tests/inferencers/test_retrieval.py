import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.errors import NonFiniteError, UnknownNameError
from milepost.inferencers import Clustering, RankedRetrieval, Retrieval
from tests.inferencers.ranking_oracle import oracle
from tests.inferencers.rounds import Array, assert_same, evaluate, run, split, table, take
from tests.kinds import CONVERTERS


def tied_rows(seed: int, count: int, classes: int = 4, role: str = "query") -> Any:
    """Embeddings of small whole numbers: exact, with many ties."""
    rng = np.random.default_rng(seed)
    embeddings = rng.integers(-2, 3, (count, 2)).astype(np.float32)
    return table(
        role, embeddings, rng.integers(0, classes, count), rng.permutation(count * 3)[:count]
    )


def assert_oracle(metrics: Any, expected: dict[str, dict[Any, float]], queries: Any) -> None:
    without = metrics["queries_without_relevant"]
    assert without == len(queries["id"]) - len(next(iter(expected.values()), ()))
    means = {name: np.mean(list(values.values())) for name, values in expected.items()}
    assert {name: metrics[name] for name in means} == pytest.approx(means, abs=1e-12)
    assert set(metrics) == {*means, "queries_without_relevant"}


@pytest.mark.parametrize("distance", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("roles", ["self", "gallery", "shared"])
def test_the_values_are_those_of_the_definitions(distance: Any, roles: str) -> None:
    queries, gallery = tied_rows(0, 30), tied_rows(1, 40, role="gallery")
    retrieval = Retrieval(k=(1, 3, 50), distance=distance)
    retrieval.shared_ids = roles == "shared"
    if roles == "self":
        metrics, gallery = run([retrieval], [queries]), queries
    else:
        metrics = run([retrieval], [queries, gallery])
    expected = oracle(queries, gallery, (1, 3, 50), distance, own=roles != "gallery")
    assert_oracle(metrics, expected, queries)


@pytest.mark.parametrize("average", ["sample", "class"])
@pytest.mark.parametrize("strings", [False, True])
def test_the_result_does_not_depend_on_how_rows_are_split(average: Any, strings: bool) -> None:
    rows = tied_rows(2, 60)
    if strings:
        names = np.array([f"item {number}" for number in rows["id"]])
        rows = {**rows, "id": names, "label": np.array(["a", "b", "c", "d"])[rows["label"]]}

    def make(max_memory_bytes: int | None = None) -> Retrieval:
        retrieval = Retrieval(k=(1, 4), distance="l2", average=average)
        retrieval.max_memory_bytes = max_memory_bytes
        return retrieval

    whole = evaluate(make, rows)
    for workers, batch, block in itertools.product((1, 2, 3, 5), (1, 7), (3, 10**9)):
        shares = split(rows, workers, batch, seed=workers)
        for budget in (None, 20_000):
            metrics = run([make(budget) for _ in shares], *shares, block=block)
            assert_same(metrics, whole)


def test_the_first_relevant_item_is_found_however_far_it_is() -> None:
    # All other classes are nearer than the only other member of one's own.
    angles = np.concatenate([np.arange(40), 180 + np.arange(40)]) * np.pi / 180
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rows = table("query", embeddings, np.tile(np.arange(40), 2))
    expected = oracle(rows, rows, (1,), "cosine", own=True)
    for workers in (1, 2, 3):
        retrievals = [Retrieval(k=1, metrics=["mrr"]) for _ in range(workers)]
        metrics = run(retrievals, *split(rows, workers, 6), block=11)
        assert metrics["mrr"] == pytest.approx(np.mean(list(expected["mrr"].values())), abs=1e-15)
        assert max(retrieval.rounds for retrieval in retrievals) == 3
    assert metrics["mrr"] < 1 / 30


def test_few_bytes_make_many_rounds() -> None:
    rows = tied_rows(3, 50)
    retrieval = Retrieval(metrics=["map@r"])
    retrieval.max_memory_bytes = 40_000
    few = run([retrieval], [rows])
    assert retrieval.rounds > 3
    assert_same(few, evaluate(lambda: Retrieval(metrics=["map@r"]), rows))


def test_means_over_classes_count_each_label_once() -> None:
    # "a": values 1, 1, 0; "b": 0 and 1; "c" is lone and left out.
    embeddings = np.array([[0.0], [1.0], [11.0], [10.0], [30.0], [22.0]])
    rows = table("query", embeddings, np.array(["a", "a", "a", "b", "b", "c"]))
    expected = oracle(rows, rows, (1,), "l2", own=True)["hit_rate@1"]
    assert list(expected.values()) == [1, 1, 0, 0, 0]
    metrics = evaluate(lambda: Retrieval(k=1, distance="l2", average="class"), rows)
    assert metrics["hit_rate@1"] == (2 / 3 + 0) / 2
    assert metrics["queries_without_relevant"] == 1


def test_relevance_of_any_kind_is_asked_by_broadcasting() -> None:
    rows = tied_rows(6, 40, classes=9)
    shapes: set[tuple[int, ...]] = set()

    def near(query: Array, gallery: Array) -> Array:
        shapes.add(query.shape[1:])
        assert gallery.shape[0] == 1
        return np.asarray(abs(query - gallery) <= 1)

    metrics = evaluate(lambda: Retrieval(k=(1, 3), relevant=near), rows)
    expected = oracle(rows, rows, (1, 3), "cosine", True, lambda a, b: abs(a - b) <= 1)
    assert_oracle(metrics, expected, rows)
    assert shapes == {(1,)}


@pytest.mark.parametrize("group", [None, "camera"])
def test_where_every_row_is_relevant_the_values_are_those_of_the_definitions(group: Any) -> None:
    def relevant(a: Any, b: Any) -> Any:
        return (a == 0) | (a == b)

    rows = tied_rows(3, 50)
    rows["camera"] = np.arange(50) % 3
    expected = oracle(rows, rows, (1, 7), "cosine", True, relevant, group=group and (group,))
    metrics = run([Retrieval(k=(1, 7), relevant=relevant, group=group)], [rows])
    assert_oracle(metrics, expected, rows)


def test_relevance_need_not_hold_in_both_directions_nor_for_oneself() -> None:
    rows = tied_rows(7, 40, classes=6)
    metrics = evaluate(lambda: Retrieval(k=(1, 3), relevant=lambda q, g: g > q), rows)
    expected = oracle(rows, rows, (1, 3), "cosine", True, lambda a, b: b > a)
    assert_oracle(metrics, expected, rows)
    assert metrics["queries_without_relevant"] > 0


def test_labels_may_be_rows() -> None:
    rng = np.random.default_rng(8)
    tags = rng.random((30, 4)) < 0.3
    rows = {**tied_rows(8, 30), "label": tags}

    def shared(query: Array, gallery: Array) -> Array:
        return np.asarray((query & gallery).any(axis=-1))

    for workers in (1, 3):
        retrievals = [Retrieval(k=2, relevant=shared, distance="dot") for _ in range(workers)]
        metrics = run(retrievals, *split(rows, workers, 4))
        expected = oracle(rows, rows, (2,), "dot", True, lambda a, b: any(map(min, a, b)))
        assert_oracle(metrics, expected, rows)
    same = oracle(rows, rows, (2,), "dot", True)
    assert_oracle(evaluate(lambda: Retrieval(k=2, distance="dot"), rows), same, rows)


def test_a_relevance_that_is_not_bool_is_an_error() -> None:
    rows = table("query", np.ones((2, 1)), np.arange(2))
    message = r"^`relevant` must return bool of shape \(2, 2\) by broadcasting, got int64 of shape "
    with pytest.raises(ValueError, match=message):
        evaluate(lambda: Retrieval(relevant=lambda q, g: q * g), rows)


def test_large_labels_are_not_rounded() -> None:
    rows = table("query", np.array([[0.0], [1], [2], [3]]), 2**53 + np.array([0, 1, 2, 1]))
    metrics = evaluate(lambda: Retrieval(k=3, metrics=["hit_rate", "map@r"], distance="l2"), rows)
    assert metrics == {"hit_rate@3": 1.0, "map@r": 0.0, "queries_without_relevant": 2}


@pytest.mark.parametrize("labels", [[0] * 9, list(range(9)), list("aab") * 3])
@pytest.mark.parametrize("embeddings", [np.zeros((9, 1)), np.ones((9, 3)), np.eye(9)])
def test_degenerate_embeddings_rank_by_id(labels: list[Any], embeddings: Array) -> None:
    rows = table("query", embeddings, np.array(labels), np.arange(9)[::-1])
    for distance in ("cosine", "dot", "l2"):
        metrics = evaluate(lambda: Retrieval(k=(1, 20), distance=distance), rows)  # noqa: B023
        expected = oracle(rows, rows, (1, 20), distance, own=True)
        if expected:
            assert_oracle(metrics, expected, rows)
        else:
            values = [value for name, value in metrics.items() if "without" not in name]
            assert np.isnan(values).all()
            assert metrics["queries_without_relevant"] == 9


def test_one_row_has_no_relevant_item() -> None:
    metrics = evaluate(lambda: Retrieval(metrics=["mrr"]), table("query", np.ones((1, 1)), [3]))
    assert metrics["queries_without_relevant"] == 1
    assert np.isnan(metrics["mrr"])


def test_rows_of_other_roles_are_ignored() -> None:
    rows = tied_rows(10, 20)
    other = table("train", np.full((5, 2), np.nan)[:0], np.zeros(0, int))
    assert_same(evaluate(Retrieval, rows, other), evaluate(Retrieval, rows))
    mixed = {**rows, "role": np.where(np.arange(20) < 15, "query", "support")}
    assert_same(evaluate(Retrieval, mixed), evaluate(Retrieval, take(rows, slice(15))))


def test_queries_alone_in_a_run_with_a_gallery_elsewhere_use_it() -> None:
    queries, gallery = tied_rows(11, 20), tied_rows(12, 25, role="gallery")
    whole = evaluate(Retrieval, queries, gallery)
    assert_same(run([Retrieval(), Retrieval()], [queries], [gallery]), whole)
    assert_same(run([Retrieval(), Retrieval()], [gallery], [queries]), whole)


def test_the_values_of_each_query_are_evidence() -> None:
    rows = {**tied_rows(13, 20), "label": np.arange(20) // 2 * (np.arange(20) > 3)}
    rows["label"][0] = 77
    retrievals = [Retrieval(k=(1, 3)), Retrieval(k=(1, 3))]
    metrics = run(retrievals, [take(rows, slice(8))], [take(rows, slice(8, None))])
    expected = oracle(rows, rows, (1, 3), "cosine", own=True)
    tables = [retrieval.evidence()["queries"] for retrieval in retrievals]
    ids = np.concatenate([each["id"] for each in tables])
    assert sorted(ids) == sorted(rows["id"])
    for name, values in expected.items():
        column = np.concatenate([each[name] for each in tables])
        np.testing.assert_allclose(column, [values.get(each, np.nan) for each in ids], atol=1e-15)
        assert np.nanmean(column) == pytest.approx(metrics[name], abs=1e-12)


def test_metrics_are_asked_for_by_name() -> None:
    rows = tied_rows(14, 20)
    names = ["mrr", "map", "map@7", "knn_accuracy@3"]
    metrics = evaluate(lambda: Retrieval(k=(2, 5), metrics=names), rows)
    assert list(metrics) == [
        *("mrr", "map@2", "map@5", "map@7", "knn_accuracy@3"),
        "queries_without_relevant",
    ]
    everything = evaluate(lambda: Retrieval(k=(2, 3, 5, 7)), rows)
    assert metrics == {name: everything[name] for name in metrics}


@pytest.mark.parametrize("name", ["hitrate", "map@0", "map@-1", "map@", "mrr@3", "map@1.5"])
def test_an_unknown_metric_is_an_error_that_lists_them(name: str) -> None:
    with pytest.raises(UnknownNameError, match=rf"^unknown metric '{name}'; .*'hit_rate@k'"):
        Retrieval(metrics=[name])


RANKED = partial(RankedRetrieval, judgements={"query": {"document": 1}})


@pytest.mark.parametrize("make", [Retrieval, RANKED, Clustering])
def test_no_metric_at_all_is_an_error(make: Any) -> None:
    message = r"^`metrics` must name at least one metric, or be None for all, got \[\]$"
    with pytest.raises(ValueError, match=message):
        make(metrics=[])


@pytest.mark.parametrize("k", [-1, 0, (1.5,), "max", (), (True,)])
def test_k_must_be_whole_numbers_of_at_least_1(k: Any) -> None:
    with pytest.raises(ValueError, match=r"^`k` must be whole numbers of at least 1, got "):
        Retrieval(k=k)


def test_other_wrong_arguments_are_errors() -> None:
    with pytest.raises(ValueError, match=r"^`average` must be 'sample' or 'class', got 'macro'$"):
        Retrieval(average="macro")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"^unknown distance 'L2'; "):
        Retrieval(distance="L2")  # type: ignore[arg-type]


def test_embeddings_that_are_not_finite_are_an_error_that_names_the_first_ids() -> None:
    embeddings = np.ones((12, 2))
    embeddings[3:10, 1] = np.nan
    embeddings[10, 0] = np.inf
    message = (
        r"^`output` is NaN or infinite in 8 of 12 rows of a batch; "
        r"the first ids of role 'gallery': 3, 4, 5, 6, 7$"
    )
    with pytest.raises(NonFiniteError, match=message):
        Retrieval().update(table("gallery", embeddings, np.zeros(12, int)))
    for convert in CONVERTERS:
        infinite = convert(np.array([[1.0], [-np.inf]], np.float32))
        with pytest.raises(NonFiniteError, match=r"role 'query': b$"):
            Retrieval().update(table("query", infinite, [0, 0], ["a", "b"]))


def test_shapes_that_do_not_fit_are_errors() -> None:
    labels = np.zeros(3, int)
    for shape in ((3,), (3, 2, 2), (3, 0)):
        with pytest.raises(ValueError, match=r"^`output` must have shape \(N, d\), got \(3"):
            Retrieval().update(table("query", np.ones(shape), labels))
    message = r"^`label` must have one label for each of the 3 embeddings, got 2$"
    with pytest.raises(ValueError, match=message):
        Retrieval().update(table("query", np.ones((3, 2)), labels[:2]))
    with pytest.raises(ValueError, match=r"^`label` must be integers, booleans, floats or strings"):
        Retrieval().update(table("query", np.ones((3, 2)), labels[:, None, None]))
    retrieval = Retrieval()
    retrieval.update(table("query", np.ones((3, 2)), labels))
    message = r"^`output` must have one dimension throughout a run, got 2 and 4$"
    with pytest.raises(ValueError, match=message):
        retrieval.update(table("gallery", np.ones((3, 4)), labels))
    message = (
        r"^labels must be of one type and shape throughout a run, got <U1 \(\) and int64 \(\)$"
    )
    with pytest.raises(ValueError, match=message):
        retrieval.update(table("query", np.ones((3, 2)), np.array(["a", "b", "c"])))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    values=st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 3)), min_size=1, max_size=12),
    workers=st.integers(1, 3),
    distance=st.sampled_from(["cosine", "dot", "l2"]),
)
def test_any_rows_give_the_values_of_the_definitions(
    values: list[tuple[int, int]], workers: int, distance: Any
) -> None:
    embeddings, labels = np.array(values, np.float32).T
    rows = table("query", embeddings[:, None], labels.astype(int), np.arange(len(values))[::-1])
    retrievals = [Retrieval(k=(1, 3), distance=distance) for _ in range(workers)]
    metrics = run(retrievals, *split(rows, workers, 2))
    expected = oracle(rows, rows, (1, 3), distance, own=True)
    if expected:
        assert_oracle(metrics, expected, rows)
    else:
        assert metrics["queries_without_relevant"] == len(values)
