"""Labels of retrieval: several columns, levels, sets, gains and votes."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.errors import UnknownNameError
from milepost.inferencers import Retrieval, SoftmaxVote, any_shared
from milepost.neighbors import pair_scores
from tests.inferencers.ranking_oracle import oracle
from tests.inferencers.rounds import Array, assert_same, evaluate, run, split, table
from tests.inferencers.test_retrieval import assert_oracle
from tests.kinds import CONVERTERS

POINTS = st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 5)), min_size=2, max_size=14)
DISTANCES = st.sampled_from(["cosine", "dot", "l2"])
quick = settings(max_examples=40, deadline=None, derandomize=True)


def points(values: list[tuple[int, int]], split_at: int = 0) -> tuple[Any, Any]:
    """Return queries and a gallery, or queries twice; labels 0 and 1 are frequent, 5 is rare."""
    embeddings, labels = np.array(values, np.float32).T
    kinds = np.array([0, 0, 0, 1, 1, 5])[labels.astype(int)]
    rows = table("query", embeddings[:, None], kinds, np.arange(len(values))[::-1])
    if not split_at:
        return rows, rows
    parts = (slice(split_at), slice(split_at, None))
    queries, gallery = ({name: x[at] for name, x in rows.items()} for at in parts)
    return queries, {**gallery, "role": np.full(len(gallery["id"]), "gallery")}


def assert_defined(
    retrievals: list[Retrieval], queries: Any, gallery: Any, distance: str, **how: Any
) -> None:
    """Hold the metrics at k = 1 and 3 of a run on several workers to the definitions."""
    tables = [queries] if gallery is queries else [queries, gallery]
    parts = [split(rows, len(retrievals), 2) for rows in tables]
    metrics = run(retrievals, *(list(itertools.chain(*part)) for part in zip(*parts, strict=True)))
    expected = oracle(queries, gallery, (1, 3), distance, gallery is queries, **how)
    if expected:
        assert_oracle(metrics, expected, queries)
    else:
        assert metrics["queries_without_relevant"] == len(queries["id"])


def hierarchy(seed: int, count: int, classes: int = 7) -> Any:
    """Rows with a species, a genus of several species, and both in one field."""
    rng = np.random.default_rng(seed)
    species = rng.integers(0, classes, count)
    rows = table(
        "query", rng.integers(-2, 3, (count, 2)), species, rng.permutation(2 * count)[:count]
    )
    genus = np.array(["cats", "dogs", "owls"])[species % 3]
    return {**rows, "species": species, "genus": genus, "both": np.stack([species, species % 3], 1)}


@quick
@given(values=POINTS, at=st.integers(0, 1), workers=st.integers(1, 3), distance=DISTANCES)
def test_graded_gains_are_those_of_the_definition(
    values: list[tuple[int, int]], at: int, workers: int, distance: Any
) -> None:
    def gain(query: Any, label: Any) -> Any:
        return np.maximum(0, 3 - abs(query - label)) / 2

    queries, gallery = points(values, at)
    retrievals = [Retrieval(k=(1, 3), gain=gain, distance=distance) for _ in range(workers)]
    how = {"gain": gain, "relevant": lambda query, label: gain(query, label) > 0}
    assert_defined(retrievals, queries, gallery, distance, **how)


def test_gains_and_relevance_may_be_told_apart() -> None:
    queries, gallery = points([(0, 0), (1, 3), (1, 1), (2, 5), (-2, 5), (0, 4)])

    def far(query: Any, label: Any) -> Any:
        return abs(query - label) > 1

    def gain(query: Any, label: Any) -> Any:
        return 5 * (label == 1) + 0 * query  # not symmetric, and nothing for most that are relevant

    retrieval = Retrieval(k=(1, 3), gain=gain, relevant=far)
    assert_defined([retrieval], queries, gallery, "cosine", gain=gain, relevant=far)


def test_the_best_ranking_of_all_the_gallery_has_ndcg_1() -> None:
    # Query 0 has gains 3 (at rank 2), 1 (rank 1) and 0 (rank 3).
    rows = table("query", np.array([[0.0], [1.0], [2.0], [9.0]]), np.array([0, 2, 0, 7]))
    gains = {(0, 0): 3.0, (0, 2): 1.0}

    def gain(query: Array, gallery: Array) -> Array:
        pairs = itertools.product(query[:, 0].tolist(), gallery[0].tolist())
        return np.array([gains.get(pair, 0.0) for pair in pairs]).reshape(len(query), -1)

    retrieval = Retrieval(k=(1, 2), gain=gain, metrics="ndcg", distance="l2")
    retrieval.keep_evidence = True
    run([retrieval], [rows])
    table_of = retrieval.evidence()["queries"]
    half = 1 / np.log2(3)
    expected = [1 / 3, np.nan, 0.0, np.nan], [(1 + 3 * half) / (3 + half), np.nan, 0.0, np.nan]
    # Query 2 sees label 2, then label 0.
    expected[1][2] = (1 + 3 * half) / (3 + half)
    expected[0][2] = 1 / 3
    np.testing.assert_allclose(table_of["ndcg@1"], expected[0])
    np.testing.assert_allclose(table_of["ndcg@2"], expected[1])


@quick
@given(
    values=POINTS,
    at=st.integers(0, 1),
    workers=st.integers(1, 3),
    vote=st.sampled_from(["softmax", SoftmaxVote(2.0), "distance"]),
)
def test_votes_are_those_of_the_definition(
    values: list[tuple[int, int]], at: int, workers: int, vote: Any
) -> None:
    temperature = 0.07 if vote == "softmax" else getattr(vote, "temperature", 0)

    def weight(scores: Any) -> Any:
        if temperature:
            return np.exp((scores - scores[0]) / temperature)
        return 1.0 / np.sqrt(-scores) if scores[0] else (scores == 0).astype(float)

    queries, gallery = points(values, at)
    retrievals = [Retrieval(k=(1, 3), distance="l2", vote=vote) for _ in range(workers)]
    assert_defined(retrievals, queries, gallery, "l2", weight=weight)


def test_votes_by_distance_take_the_cosine_from_1() -> None:
    rng = np.random.default_rng(5)
    rows = table("query", rng.standard_normal((40, 3)), rng.integers(0, 4, 40))

    def weight(scores: Any) -> Any:
        return 1 / (1 - scores)

    retrieval = Retrieval(k=(1, 3), vote="distance")
    assert_defined([retrieval], rows, rows, "cosine", weight=weight)


@quick
@given(sets=st.lists(st.integers(0, 15), min_size=2, max_size=12), workers=st.integers(1, 3))
def test_sets_of_labels_are_relevant_if_any_is_shared(sets: list[int], workers: int) -> None:
    tags = np.array(sets)[:, None] >> np.arange(4) & 1
    rows = table("query", np.array(sets)[:, None] % 3, tags)
    retrievals = [Retrieval(k=(1, 3), distance="l2", relevant=any_shared) for _ in range(workers)]

    def shared(query: Any, other: Any) -> bool:
        return bool(np.bitwise_and(query, other).any())

    assert_defined(retrievals, rows, rows, "l2", relevant=shared)


def test_sets_of_labels_need_a_column_a_label() -> None:
    message = (
        r"^`relevant=any_shared` needs rows of labels, one column a label, "
        r"got labels of shape \('N',\)$"
    )
    with pytest.raises(ValueError, match=message):
        evaluate(lambda: Retrieval(relevant=any_shared), hierarchy(0, 5))
    for labels, got in (([[3, 1], [1, 4]], "4"), ([["a", "b"], ["a", "c"]], "'a'")):
        rows = table("query", np.eye(2), np.array(labels))
        with pytest.raises(ValueError, match=rf"^`relevant=any_shared` .* 0 and 1,.*{got}; for "):
            evaluate(lambda: Retrieval(relevant=any_shared), rows)


def test_labels_of_several_fields_are_equal_if_all_are() -> None:
    rows = hierarchy(1, 30, classes=4)
    rows["genus"][:9] = "owls"
    tuples = [
        f"{label} {genus}" for label, genus in zip(rows["species"], rows["genus"], strict=True)
    ]
    expected = evaluate(lambda: Retrieval(k=(1, 3)), {**rows, "label": np.array(tuples)})
    for workers in (1, 3):
        fields = ("species", "genus")
        retrievals = [Retrieval(labels=fields, k=(1, 3)) for _ in range(workers)]
        assert_same(run(retrievals, *split(rows, workers, 4)), expected)


def test_relevance_of_several_fields_is_asked_of_their_names() -> None:
    rows = hierarchy(2, 30)

    def same_genus(query: Array, gallery: Array) -> Array:
        return np.asarray(query["genus"] == gallery["genus"])

    how: dict[str, Any] = {"metrics": ["map@r", "mrr", "ndcg"]}  # a vote is one for a species
    fields = ("species", "genus")
    genus = evaluate(lambda: Retrieval(labels=fields, relevant=same_genus, **how), rows)
    assert_same(genus, evaluate(lambda: Retrieval(labels="genus", **how), rows))


@quick
@given(
    seed=st.integers(0, 99),
    count=st.integers(2, 30),
    workers=st.integers(1, 3),
    budget=st.sampled_from([None, 20_000]),
    average=st.sampled_from(["sample", "class"]),
)
def test_levels_are_what_a_run_for_each_column_gives(
    seed: int, count: int, workers: int, budget: int | None, average: Any
) -> None:
    rows = hierarchy(seed, count)
    how: dict[str, Any] = {"k": (1, 3), "distance": "l2", "average": average, "vote": "softmax"}
    fields = {"species": rows["species"], "genus": rows["genus"]}
    expected = {
        f"{name}/{metric}": value
        for name, labels in fields.items()
        for metric, value in evaluate(lambda: Retrieval(**how), {**rows, "label": labels}).items()
    }
    for labels, names in (("both", ("level0", "level1")), (tuple(fields), tuple(fields))):
        retrievals = [Retrieval(labels=labels, levels=True, **how) for _ in range(workers)]
        for retrieval in retrievals:
            retrieval.max_memory_bytes = budget
        metrics = run(retrievals, *split(rows, workers, 4), block=7)
        found = dict(zip(names, fields, strict=True))
        renamed = {
            f"{found[name]}/{metric}": value
            for name, metric, value in ((*key.split("/"), value) for key, value in metrics.items())
        }
        assert_same(renamed, expected)


def test_levels_are_asked_of_relevance_and_gain_one_by_one() -> None:
    rows = hierarchy(3, 40)

    def near(query: Array, gallery: Array) -> Array:
        assert query.shape[1:] == (1,)
        return np.asarray(abs(query - gallery) <= 1)

    def gain(query: Array, gallery: Array) -> Array:
        return np.asarray(2 - np.minimum(2, abs(query - gallery)))

    def make(labels: str, *, levels: bool = False) -> Callable[[], Retrieval]:
        return lambda: Retrieval(labels=labels, levels=levels, relevant=near, gain=gain)

    metrics = evaluate(make("both", levels=True), rows)
    columns = {"level0": "species", "level1": "genus"}
    rows["genus"] = rows["both"][:, 1]
    for level, field in columns.items():
        expected = evaluate(make(field), rows)
        own = {name.split("/")[1]: x for name, x in metrics.items() if name.startswith(level)}
        assert_same(own, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"labels": ("species", "genus"), "levels": True, "average": "class"},
        {"labels": "tags", "relevant": any_shared, "vote": "distance"},
        {"labels": "species", "gain": lambda q, g: np.maximum(0, 3 - abs(q - g))},
    ],
    ids=["levels", "sets", "gains"],
)
def test_the_result_depends_neither_on_workers_nor_on_blocks(options: Any) -> None:
    rows = hierarchy(4, 60)
    rows["tags"] = (rows["both"] + np.arange(2)) % 3 % 2

    def make(max_memory_bytes: int | None = None) -> Retrieval:
        retrieval = Retrieval(k=(1, 4), distance="l2", per_class=True, **options)
        retrieval.max_memory_bytes, retrieval.keep_evidence = max_memory_bytes, True
        return retrieval

    whole = make()
    metrics = run([whole], [rows])
    for workers, block, budget in itertools.product((1, 2, 3, 5), (3, 10**9), (None, 20_000)):
        retrievals = [make(budget) for _ in range(workers)]
        assert_same(run(retrievals, *split(rows, workers, 7), block=block), metrics)
        found = joined(retrievals)
        for name, columns in whole.evidence().items():
            assert list(found[name]) == list(columns)
            for column, values in columns.items():
                np.testing.assert_array_equal(found[name][column], values, err_msg=column)


def joined(retrievals: list[Retrieval]) -> dict[str, dict[str, Any]]:
    """Join the tables of workers, as a runner does."""
    tables: dict[str, dict[str, Any]] = {}
    each = [retrieval.evidence() for retrieval in retrievals]
    for name, first in each[0].items():
        if "id" not in first:
            tables[name] = dict(first)
            continue
        some = [one[name] for one in each if len(one[name]["id"])]
        columns = {column: np.concatenate([one[column] for one in some]) for column in first}
        order = np.argsort(columns["id"], kind="stable")
        tables[name] = {column: values[order] for column, values in columns.items()}
    return tables


def test_the_neighbours_of_each_query_are_evidence() -> None:
    embeddings = np.array([[0.0], [1.0], [3.0], [7.0], [9.0]])
    rows = table("query", embeddings, np.array(["a", "a", "b", "a", "lone"]), [5, 4, 3, 2, 1])
    retrieval = Retrieval(k=1, metrics="hit_rate", distance="l2", neighbors=2)
    retrieval.keep_evidence = True
    run([retrieval], [rows])
    near = retrieval.evidence()["neighbors"]
    assert {name: column.tolist() for name, column in near.items()} == {
        "id": [2, 2, 4, 4, 5, 5],
        "rank": [1, 2, 1, 2, 1, 2],
        "neighbor": [1, 3, 5, 3, 4, 3],
        "label": ["lone", "b", "a", "b", "a", "b"],
        "score": [-4.0, -16.0, -1.0, -4.0, -1.0, -9.0],
        "relevant": [False, False, True, False, True, False],
    }


@pytest.mark.parametrize("distance", ["cosine", "dot", "l2"])
def test_the_scores_of_neighbours_are_those_of_pairs(distance: Any) -> None:
    rng = np.random.default_rng(6)
    for convert in CONVERTERS:
        for workers in (1, 2):
            embeddings = rng.standard_normal((50, 5)).astype(np.float32)
            rows = table("query", convert(embeddings), convert(rng.integers(0, 2, 50)))
            retrievals = [Retrieval(k=20, distance=distance) for _ in range(workers)]
            for retrieval in retrievals:
                retrieval.keep_evidence = True
            run(retrievals, *split(rows, workers, 50))
            near = joined(retrievals)["neighbors"]
            scores = pair_scores(embeddings, embeddings, distance=distance)
            assert len(near["id"]) == 250
            np.testing.assert_array_equal(near["score"], scores[near["id"], near["neighbor"]])
            np.fill_diagonal(scores, -np.inf)
            best = np.argsort(-scores, axis=1)[:, :5]
            np.testing.assert_array_equal(near["neighbor"], best.ravel())


def test_neighbours_are_kept_only_where_they_are_asked_for() -> None:
    rows = hierarchy(7, 20)
    for neighbors, keep in ((5, False), (0, True)):
        retrieval = Retrieval(neighbors=neighbors)
        retrieval.keep_evidence = keep
        run([retrieval], [rows])
        assert list(retrieval.evidence()) == ["queries"]


def test_a_gallery_smaller_than_the_list_gives_as_many_neighbours_as_it_has() -> None:
    retrieval = Retrieval(k=1, neighbors=9)
    retrieval.keep_evidence = True
    run([retrieval], [table("query", np.eye(3), np.zeros(3, int))])
    assert retrieval.evidence()["neighbors"]["rank"].tolist() == [1, 2] * 3


def test_the_means_of_each_class_are_evidence() -> None:
    # As in the test of means over classes: "a": 1, 1, 0; "b": 0, 0; "c" is lone.
    embeddings = np.array([[0.0], [1.0], [11.0], [10.0], [30.0], [22.0]])
    rows = table("query", embeddings, np.array(["a", "a", "a", "b", "b", "c"]))
    for average, per_class in (("class", False), ("sample", True)):
        how: Any = {"average": average, "per_class": per_class}
        retrieval = Retrieval(k=1, metrics="hit_rate", distance="l2", **how)
        metrics = run([retrieval], [rows])
        assert metrics["hit_rate@1"] == (1 / 3 if average == "class" else 2 / 5)
        classes = retrieval.evidence()["classes"]
        assert classes["label"].tolist() == ["a", "b", "c"]
        assert classes["queries"].tolist() == [3, 2, 0]
        assert classes["queries_without_relevant"].tolist() == [0, 0, 1]
        np.testing.assert_array_equal(classes["hit_rate@1"], [2 / 3, 0, np.nan])
    retrieval = Retrieval()
    run([retrieval], [rows])
    assert "classes" not in retrieval.evidence()


def test_the_classes_of_all_levels_are_in_one_table() -> None:
    rows = hierarchy(8, 40)
    for labels, names in (
        ("both", ("level0", "level1")),
        (("species", "genus"), ("species", "genus")),
    ):
        retrieval = Retrieval(labels=labels, levels=True, per_class=True)
        run([retrieval], [rows])
        classes = retrieval.evidence()["classes"]
        assert classes["level"].tolist() == [names[0]] * 7 + [names[1]] * 3
        own = Retrieval(labels="species", per_class=True)
        run([own], [rows])
        expected = own.evidence()["classes"]
        assert classes["label"][:7].astype(int).tolist() == expected["label"].tolist()
        np.testing.assert_array_equal(classes["mrr"][:7], expected["mrr"])


def test_the_labels_of_queries_are_evidence() -> None:
    rows = {**hierarchy(9, 12), "id": np.arange(12)}
    for labels, expected in (
        ("species", rows["species"].tolist()),
        ("both", rows["both"].tolist()),
        (
            ("species", "genus"),
            [[str(x), y] for x, y in zip(rows["species"], rows["genus"], strict=True)],
        ),
    ):
        retrieval = Retrieval(labels=labels)
        run([retrieval], [rows])
        assert retrieval.evidence()["queries"]["label"].tolist() == expected


@pytest.mark.parametrize("average", ["sample", "class"])
@pytest.mark.parametrize("over", ["query", "class"])
def test_resamples_give_what_queries_drawn_again_would(average: Any, over: Any) -> None:
    rows = hierarchy(10, 40)
    retrieval = Retrieval(labels="both", levels=True, average=average, k=(1, 3))
    run([retrieval], [rows])
    tables = retrieval.evidence()
    own = tables["queries"]
    species = own["label"][:, 0]
    rng = np.random.default_rng(11)
    drawn = rng.integers(0, 7, (20, 7)) if over == "class" else rng.integers(0, 40, (20, 40))
    counts = np.array([np.bincount(each, minlength=drawn.shape[1]) for each in drawn])
    weights = counts[:, species] if over == "class" else counts
    found = retrieval.resampled(tables, weights.astype(float), over)
    for level, column in (("level0", 0), ("level1", 1)):
        values, labels = own[f"{level}/hit_rate@1"], own["label"][:, column]
        expected = []
        for times in weights:
            counted = (times > 0) & ~np.isnan(values)
            means = {
                label: np.average(values[at], weights=times[at])
                for label in np.unique(labels[counted])
                for at in [counted & (labels == label)]
            }
            again = [times[labels == x][0] if over == "class" and not column else 1 for x in means]
            mean = np.average(values[counted], weights=times[counted])
            of_classes = np.average(list(means.values()), weights=again)
            expected.append(of_classes if average == "class" else mean)
        np.testing.assert_allclose(found[f"{level}/hit_rate@1"], expected, atol=1e-12)


def test_wrong_labels_and_votes_are_errors() -> None:
    rows = hierarchy(12, 5)
    with pytest.raises(ValueError, match=r"^`labels` must be a field or several different ones, "):
        Retrieval(labels=("a", "a"))
    with pytest.raises(ValueError, match=r"^`labels` must be a field or several .*, got \(\)$"):
        Retrieval(labels=())
    with pytest.raises(UnknownNameError, match=r"^unknown vote 'most'; .*'majority'"):
        Retrieval(vote="most")  # type: ignore[arg-type]
    message = r"^`vote='distance'` needs 'l2', 'cosine' or another distance, got 'dot'$"
    with pytest.raises(ValueError, match=message):
        Retrieval(vote="distance", distance="dot")
    for temperature in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^`temperature` must be a finite number above 0, "):
            SoftmaxVote(temperature)
    with pytest.raises(ValueError, match=r"^`neighbors` must be a whole number of at least 0, "):
        Retrieval(neighbors=-1)
    message = (
        r"^`levels=True` needs labels of several columns: several fields or shape \(N, C\), "
        r"got 'species' of shape \(5,\)$"
    )
    with pytest.raises(ValueError, match=message):
        evaluate(lambda: Retrieval(labels="species", levels=True), rows)
    message = (
        r"^`labels` of several fields must have shape \(N,\), "
        r"got 'species' of shape \(5,\), 'both' of shape \(5, 2\)$"
    )
    with pytest.raises(ValueError, match=message):
        evaluate(lambda: Retrieval(labels=("species", "both")), rows)
    mixed = {**rows, "genus": np.arange(5)}
    message = r"^labels must be of one type and shape throughout a run, got "
    with pytest.raises(ValueError, match=message):
        evaluate(lambda: Retrieval(labels=("species", "genus")), rows, mixed)


def test_wrong_gains_are_errors() -> None:
    rows = table("query", np.ones((2, 1)), np.arange(2))
    message = r"^`gain` must return numbers of shape \(2, 2\) by broadcasting, got int64 of shape "
    with pytest.raises(ValueError, match=message):
        evaluate(lambda: Retrieval(gain=lambda q, g: q + 0), rows)
    for bad in (-1.0, np.nan, np.inf):
        message = rf"^`gain` must return finite numbers of at least 0, got {bad}$"
        with pytest.raises(ValueError, match=message):
            evaluate(lambda: Retrieval(gain=lambda q, g: q * g + bad), rows)  # noqa: B023
