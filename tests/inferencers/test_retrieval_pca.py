"""Embeddings are reduced along the principal axes of the gallery first."""

import itertools
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from milepost.inferencers import Retrieval
from milepost.inferencers._principal_axes import PrincipalAxes
from tests.inferencers.rounds import Array, assert_same, evaluate, run, split, table
from tests.kinds import CONVERTERS


def rows_of(seed: int, count: int = 90, role: str = "query", dimension: int = 10) -> Any:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, count)
    centres = np.random.default_rng(0).standard_normal((6, dimension))
    mixing = np.random.default_rng(1).standard_normal((dimension, dimension))
    embeddings = 5 + (centres[labels] + rng.standard_normal((count, dimension))) @ mixing
    ids = rng.permutation(2 * count)[:count]
    return table(role, embeddings.astype(np.float32), labels, ids)


def fitted(*parts: Array, count: int) -> PrincipalAxes:
    """Axes of the rows of several workers, merged."""
    workers = [PrincipalAxes(count) for _ in parts]
    extents = [(part.shape[1], float(abs(part).max())) for part in parts]
    states = [worker.state(x) for worker, x in zip(workers, extents, strict=True)]
    workers[0].merge(states[1:])
    for worker in workers[1:]:
        worker.merge(states[:1])
        worker.merge(states[1:])
    for worker, part, extent in zip(workers, parts, extents, strict=True):
        worker.add(part, sum(map(len, parts)), extent)
    workers[0].merge([worker.state((0, 0.0)) for worker in workers[1:]])
    workers[0].fit()
    return workers[0]


def test_the_axes_are_those_of_scikit_learn() -> None:
    gallery, queries = rows_of(0, 400)["output"], rows_of(2)["output"]
    peer = PCA(4, svd_solver="full").fit(gallery.astype(np.float64))
    expected = peer.transform(queries.astype(np.float64))
    found = fitted(gallery, count=4).project(queries)
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=2e-5)


def test_the_axes_do_not_depend_on_how_rows_are_split_to_the_bit() -> None:
    rows = rows_of(3, 9000)["output"] * np.float32(1e-3)
    whole = fitted(rows, count=3).project(rows[:50])
    shuffled = rows[np.random.default_rng(4).permutation(9000)]
    for convert in CONVERTERS:
        parts = convert(shuffled[:17]), convert(shuffled[17:5000]), convert(shuffled[5000:])
        axes = fitted(*parts, count=3)
        np.testing.assert_array_equal(np.asarray(axes.project(convert(rows[:50]))), whole)
        block = np.asarray(axes.project(convert(rows[:7])))
        np.testing.assert_array_equal(block, whole[:7])


@pytest.mark.parametrize("distance", ["cosine", "l2"])
@pytest.mark.parametrize("with_gallery", [True, False])
def test_metrics_are_those_of_the_reduced_embeddings(distance: Any, with_gallery: bool) -> None:
    queries, gallery = rows_of(5), rows_of(6, 120, "gallery")
    fit_on = gallery if with_gallery else queries
    peer = PCA(3, svd_solver="full").fit(fit_on["output"].astype(np.float64))
    batches = [queries, gallery] if with_gallery else [queries]
    reduced = [
        {**rows, "output": peer.transform(rows["output"].astype(np.float64))} for rows in batches
    ]
    expected = evaluate(lambda: Retrieval(distance=distance), *reduced)
    found = evaluate(lambda: Retrieval(distance=distance, pca=3), *batches)
    assert found == pytest.approx(expected, abs=1e-12)
    assert found != evaluate(lambda: Retrieval(distance=distance), *batches)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_result_does_not_depend_on_how_rows_are_split(dtype: Any) -> None:
    queries, gallery = rows_of(7), rows_of(8, 110, "gallery")

    def make(max_memory_bytes: int | None = None) -> Retrieval:
        retrieval = Retrieval(k=(1, 4), pca=4, dtype=dtype)
        retrieval.max_memory_bytes = max_memory_bytes
        return retrieval

    whole = evaluate(make, queries, gallery)
    for workers, batch, block in itertools.product((1, 2, 3), (1, 40), (30, 10**9)):
        shares = [
            [*own, *others]
            for own, others in zip(
                split(queries, workers, batch), split(gallery, workers, batch), strict=True
            )
        ]
        for budget in (None, 20_000):
            metrics = run([make(budget) for _ in shares], *shares, block=block)
            assert_same(metrics, whole)


def test_more_axes_than_there_are_is_an_error() -> None:
    message = (
        r"^`pca` must be at most the dimension of the embeddings, 10, and the number of gallery "
        r"rows, {}, got {}$"
    )
    with pytest.raises(ValueError, match=message.format(90, 11)):
        evaluate(lambda: Retrieval(pca=11), rows_of(9))
    with pytest.raises(ValueError, match=message.format(4, 5)):
        evaluate(lambda: Retrieval(pca=5), rows_of(9), rows_of(10, 4, "gallery"))
    for wrong in (0, 2.0, "mle", True):
        with pytest.raises(ValueError, match=r"^`pca` must be a whole number of at least 1, got "):
            Retrieval(pca=wrong)  # type: ignore[arg-type]


def test_a_run_without_queries_gives_no_metric() -> None:
    assert evaluate(lambda: Retrieval(pca=2), rows_of(11, 20, "gallery")) == {}


def test_constant_embeddings_are_reduced_to_nothing() -> None:
    rows = table("query", np.ones((6, 3)), np.array([0, 0, 1, 1, 2, 2]))
    metrics = evaluate(lambda: Retrieval(k=1, metrics="hit_rate", pca=2), rows)
    assert metrics == {"hit_rate@1": pytest.approx(2 / 6), "queries_without_relevant": 0}
