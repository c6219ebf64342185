"""Several gallery rows of one object: objects rank by the best, or the mean, of their rows."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.inferencers import Retrieval
from milepost.inferencers._objects import ObjectScores
from milepost.neighbors import LpDistance
from tests.inferencers.ranking_oracle import ndcg, ranks, scores_of, voted
from tests.inferencers.rounds import Array, assert_same, run, split, table
from tests.inferencers.test_retrieval import assert_oracle
from tests.kinds import CONVERTERS

K = (1, 3, 50)


def rows_of(seed: int, count: int, role: str = "query", objects: int = 12) -> Any:
    """Small whole numbers: many ties."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, objects, count)
    rows = table(
        role,
        rng.integers(-2, 3, (count, 2)).astype(np.float32),
        item % 4,
        rng.permutation(count * 3)[:count],
    )
    return {**rows, "item": item[::1] * 10, "camera": rng.integers(0, 3, count)}


def oracle(
    queries: Any,
    gallery: Any,
    distance: str,
    references: str,
    own: bool,
    group: tuple[str, ...] = (),
    gain: Any = None,
) -> dict[str, dict[Any, float]]:
    """Follow the definitions, query by query and object by object."""
    gain = gain or (lambda a, b: float(a == b))
    values: dict[str, dict[Any, float]] = {}
    for at, query in enumerate(queries["output"]):
        scores = scores_of(query, gallery["output"], distance)
        of_object: dict[Any, list[float]] = {}
        label_of = dict(zip(gallery["item"].tolist(), gallery["label"].tolist(), strict=True))
        for i, score in enumerate(scores):
            copy = own and gallery["id"][i] == queries["id"][at]
            grouped = group and all(gallery[x][i] == queries[x][at] for x in group)
            if not copy and not grouped:
                of_object.setdefault(int(gallery["item"][i]), []).append(score)
        best = {
            item: np.float32(max(each) if references == "max" else sum(each) / len(each))
            for item, each in of_object.items()
        }
        order = sorted(best, key=lambda item: (-best[item], item))
        label = int(queries["label"][at])
        near = [label_of[item] for item in order]
        gains = np.array([gain(label, other) for other in near])
        r = int((gains > 0).sum())
        found = ranks((gains > 0).astype(float), r, K) if r else {}
        for depth in K if r else ():
            found[f"ndcg@{depth}"] = ndcg(gains, depth)
            found[f"knn_accuracy@{depth}"] = float(
                gain(label, voted(near[:depth], np.ones(min(depth, len(near))))) > 0
            )
        for name, value in found.items():
            values.setdefault(name, {})[queries["id"][at]] = value
    return values


@pytest.mark.parametrize("references", ["max", "mean"])
@pytest.mark.parametrize("distance", ["dot", "l2"])
@pytest.mark.parametrize("roles", ["self", "gallery", "shared"])
def test_objects_rank_by_the_scores_of_their_rows(
    references: Any, distance: Any, roles: str
) -> None:
    queries = rows_of(0, 30)
    gallery = queries if roles == "self" else rows_of(1, 60, "gallery")
    for group in ((), ("camera",), ("label", "camera")):
        retrieval = Retrieval(
            k=K, distance=distance, objects="item", references=references, group=group or None
        )
        retrieval.shared_ids = roles == "shared"
        metrics = run([retrieval], [queries] if roles == "self" else [queries, gallery])
        expected = oracle(queries, gallery, distance, references, roles != "gallery", group)
        assert_oracle(metrics, expected, queries)


@pytest.mark.parametrize("references", ["max", "mean"])
@pytest.mark.parametrize("options", [{}, {"group": "camera"}, {"distance": LpDistance(p=1)}])
def test_the_result_does_not_depend_on_how_rows_are_split(
    references: Any, options: dict[str, Any]
) -> None:
    rng = np.random.default_rng(2)
    queries, gallery = rows_of(2, 40), rows_of(3, 70, "gallery")
    for rows in (queries, gallery):
        rows["output"] = rng.standard_normal((len(rows["id"]), 5)).astype(np.float32)

    def make(max_memory_bytes: int | None = None) -> Retrieval:
        retrieval = Retrieval(k=(1, 4), objects="item", references=references, **options)
        retrieval.max_memory_bytes = max_memory_bytes
        return retrieval

    whole = run([make()], [queries, gallery])
    for workers, batch, block in itertools.product((1, 2, 3, 5), (1, 30), (3, 10**9)):
        shares = [
            [*own, *others]
            for own, others in zip(
                split(queries, workers, batch), split(gallery, workers, batch), strict=True
            )
        ]
        for budget in (None, 20_000):
            metrics = run([make(budget) for _ in shares], *shares, block=block)
            assert_same(metrics, whole)
    for convert in CONVERTERS:
        batches = [{**rows, "output": convert(rows["output"])} for rows in (queries, gallery)]
        assert_same(run([make()], batches), whole)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    counts=st.tuples(st.integers(1, 12), st.integers(0, 14), st.integers(1, 9)),
    references=st.sampled_from(["max", "mean"]),
    workers=st.integers(1, 3),
    seed=st.integers(0, 99),
    grouped=st.booleans(),
    graded=st.booleans(),
)
def test_any_objects_give_the_values_of_the_definitions(
    counts: tuple[int, int, int],
    references: Any,
    workers: int,
    seed: int,
    grouped: bool,
    graded: bool,
) -> None:
    queries = rows_of(seed, counts[0], objects=counts[2])
    gallery = rows_of(seed + 1, counts[1], "gallery", counts[2]) if counts[1] else queries
    group = ("camera",) if grouped else ()
    gain = (lambda a, b: np.maximum(2.0 - abs(a - b), 0)) if graded else None
    options: Any = {"references": references, "group": group or None, "gain": gain}
    made = [Retrieval(k=K, distance="l2", objects="item", **options) for _ in range(workers)]
    parts = [split(queries, workers, 3)]
    parts += [split(gallery, workers, 3)] if counts[1] else []
    metrics = run(made, *([x for part in own for x in part] for own in zip(*parts, strict=True)))
    expected = oracle(queries, gallery, "l2", references, not counts[1], group, gain)
    if expected:
        assert_oracle(metrics, expected, queries)
    else:
        assert metrics["queries_without_relevant"] == counts[0]


def test_objects_of_one_row_each_are_its_rows() -> None:
    queries, gallery = rows_of(4, 30), rows_of(5, 50, "gallery")
    gallery["item"] = gallery["id"]
    queries["item"] = -1 - queries["id"]
    plain = run([Retrieval(k=K)], [queries, gallery])
    for references in ("max", "mean"):
        retrieval = Retrieval(k=K, objects="item", references=references)
        assert_same(run([retrieval], [queries, gallery]), plain)


def test_a_worker_may_have_no_gallery_rows_of_named_objects() -> None:
    queries, gallery = rows_of(9, 12), rows_of(10, 30, "gallery")
    names = np.array([f"item {number:02d}" for number in range(12)])
    for rows in (queries, gallery):
        rows["item"], rows["camera"] = names[rows["item"] // 10], names[rows["camera"]]
    options: Any = {"k": K, "objects": "item", "group": "camera"}
    whole = run([Retrieval(**options)], [queries, gallery])
    assert_same(run([Retrieval(**options), Retrieval(**options)], [queries], [gallery]), whole)
    assert_same(run([Retrieval(**options), Retrieval(**options)], [gallery], [queries]), whole)


def test_the_neighbours_of_a_query_are_objects() -> None:
    queries, gallery = rows_of(6, 5), rows_of(7, 40, "gallery")
    retrieval = Retrieval(k=2, metrics="hit_rate", objects="item", distance="l2", neighbors=3)
    retrieval.keep_evidence = True
    run([retrieval], [queries, gallery])
    near = retrieval.evidence()["neighbors"]
    assert set(near["object"]) <= set(gallery["item"])
    for own, item, label, score in zip(
        near["id"], near["object"], near["label"], near["score"], strict=True
    ):
        query = queries["output"][queries["id"] == own][0]
        rows = gallery["output"][gallery["item"] == item]
        assert score == -((query - rows) ** 2).sum(axis=1).min()
        assert label == gallery["label"][gallery["item"] == item][0]


def test_means_are_exact_in_any_order() -> None:
    rng = np.random.default_rng(8)
    scores = (rng.standard_normal((3, 400)) * 2.0 ** rng.integers(-30, 30, 400)).astype(np.float32)
    means: list[Array] = []
    for order in (np.arange(400), rng.permutation(400)):
        found = ObjectScores(3, 1, "mean")
        for part in np.array_split(order, 7):
            nobody = np.zeros(0, int), np.zeros(0, int)
            found.add(slice(0, 3), scores[:, part], np.zeros(len(part), int), nobody)
        means.append(found._final())
    np.testing.assert_array_equal(means[0], means[1])


def test_objects_of_two_labels_are_an_error_that_names_them() -> None:
    rows = {**table("query", np.ones((3, 2)), np.array(["a", "b", "a"])), "item": [7, 7, 8]}
    message = r"^`objects` must name rows of one label, got 'a' and 'b' for the object 7$"
    with pytest.raises(ValueError, match=message):
        run([Retrieval(objects="item")], [rows])
    rows = {**rows, "item": np.eye(3)}
    with pytest.raises(ValueError, match=r"^`objects` must have shape \(N,\), got \('N', 3\)$"):
        run([Retrieval(objects="item")], [rows])
    with pytest.raises(ValueError, match=r"^`references` must be 'max' or 'mean', got 'median'$"):
        Retrieval(objects="item", references="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^`references` needs `objects`, the field whose rows"):
        Retrieval(references="mean")
