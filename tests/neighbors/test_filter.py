"""The float32 filter: equal to the bit with the search that scores every pair."""

import sys

import numpy as np
import pytest

from milepost.neighbors import Distance, pair_scores, search
from milepost.neighbors import _blas as blas
from tests.kinds import CONVERTERS
from tests.neighbors.filtered import DISTANCES, SMALL, D, Q, Spy, assert_same, check, normal


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("k", [1, 30])
def test_the_filter_finds_what_brute_force_finds(spy: Spy, distance: Distance, k: int) -> None:
    queries, gallery = normal(0, Q), normal(1, 1500)
    check(queries, gallery, k, distance)
    assert spy.settled == 2 * len(CONVERTERS) * Q
    scores = pair_scores(queries[:50], gallery, distance=distance)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(
        search(queries, gallery, k, distance=distance).indices[:50], expected
    )


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(
    "scale", [1e-38, 1e35, *(pytest.param(x, marks=pytest.mark.slow) for x in (1e-30, 1e15))]
)
def test_any_scale_is_searched_exactly(distance: Distance, scale: float) -> None:
    gallery = (normal(1, 700) * scale).astype(np.float32)
    check((normal(0, Q) * scale).astype(np.float32), gallery, 4, distance)
    check(normal(0, Q), gallery, 4, distance)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("offset", [3.0, 1e4])
def test_rows_far_from_the_origin_are_searched_exactly(distance: Distance, offset: float) -> None:
    check(normal(0, Q) + np.float32(offset), normal(1, 800) + np.float32(offset), 5, distance)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_rows_rank_by_position(spy: Spy, distance: Distance) -> None:
    gallery = np.repeat(normal(1, 50), 20, axis=0)
    check(normal(0, Q), gallery, 6, distance)
    assert {width for width, *_ in spy.tries} == {10, 40}


@pytest.mark.parametrize("distance", DISTANCES)
def test_more_candidates_are_tried_where_clusters_are_tight(spy: Spy, distance: Distance) -> None:
    centres = np.repeat(normal(1, 100), 12, axis=0)
    rows = (centres + np.float32(1e-7) * normal(2, len(centres))).astype(np.float32)
    queries = np.resize(rows, (Q, D))
    check(queries, rows, 3, distance)
    widths = {width for width, _, settled in spy.tries if settled}
    assert max(widths) > 12  # a cluster


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("spread", [0.0, 1e-7])
def test_collapsed_embeddings_cost_the_filter_one_block(
    spy: Spy, distance: Distance, spread: float
) -> None:
    rows = (normal(1, 1) + np.float32(spread) * normal(2, 900)).astype(np.float32)
    expected = search(np.resize(rows, (Q, D)), rows, 3, distance=distance, max_memory_bytes=SMALL)
    assert_same(search(np.resize(rows, (Q, D)), rows, 3, distance=distance), expected)
    if spread == 0.0:
        assert sum(tried for _, tried, _ in spy.tries) <= 2048 * len({w for w, *_ in spy.tries})


@pytest.mark.parametrize("distance", DISTANCES)
def test_zero_vectors_are_searched_exactly(distance: Distance) -> None:
    queries, gallery = normal(0, Q), normal(1, 500)
    queries[::3], gallery[::2] = 0.0, 0.0
    check(queries, gallery, 5, distance)
    check(queries * 0, gallery * 0, 5, distance)


@pytest.mark.parametrize("distance", DISTANCES)
def test_pieces_of_the_gallery_are_merged(spy: Spy, distance: Distance) -> None:
    rows, exclude = normal(0, Q), np.where(np.arange(Q) % 5 > 0, np.arange(Q), -1)
    fixed = (32 << 20) + 16 * 7 * Q * 48
    expected = search(rows, rows, 7, distance=distance, exclude=exclude, max_memory_bytes=SMALL)
    for piece in (300, 1000):
        budget = fixed + 8 * (D + 2) * piece
        found = search(rows, rows, 7, distance=distance, exclude=exclude, max_memory_bytes=budget)
        assert_same(found, expected)
        assert len(spy.tries) >= Q // piece
        spy.tries.clear()


def test_results_do_not_depend_on_threads() -> None:
    import faiss

    threads = faiss.omp_get_max_threads()
    rows = normal(0, Q)
    found = []
    try:
        for count in (1, 3):
            faiss.omp_set_num_threads(count)
            found.append(search(rows, rows, 9, exclude=np.arange(Q)))
    finally:
        faiss.omp_set_num_threads(threads)
    assert_same(*found)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("k", [1, 20])
@pytest.mark.parametrize("kind", ["normal", "pairs", "tight", "zeros", "collapsed", "line"])
def test_rows_are_searched_among_themselves_exactly(distance: Distance, k: int, kind: str) -> None:
    rows = normal(3, 900, 1 if kind == "line" else D)
    if kind == "pairs":
        rows[1::2] = rows[::2]
    elif kind == "tight":
        rows[1::2] = rows[::2] + np.float32(1e-5) * rows[1::2]
    elif kind == "zeros":
        rows[::3] = 0.0
    elif kind == "collapsed":
        rows = 1 + np.float32(1e-6) * rows
    check(rows, rows, k, distance)
    check(rows, rows, k, distance, exclude=np.where(np.arange(900) % 7, np.arange(900), -1))


def test_scores_that_are_not_asked_for_are_close(spy: Spy) -> None:
    rows = normal(4, 1200)
    found, exact = (search(rows, rows, 30, scored=scored) for scored in (False, True))
    np.testing.assert_allclose(found.scores, exact.scores, rtol=0, atol=1e-5)
    assert (found.scores != exact.scores).any()


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_few_dimensions_are_searched_exactly(distance: Distance, dimension: int) -> None:
    rows = normal(0, 900, dimension)
    check(normal(1, 300, dimension), rows, 4, distance)


def test_a_trapped_openblas_is_told_of_once_where_torch_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(blas, "_is_trapped", lambda: True)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    blas._say_once.cache_clear()
    assert blas.torch_in_place_of_openblas() is None
    assert blas.torch_in_place_of_openblas() is None
    (record,) = caplog.records
    assert "set OPENBLAS_CORETYPE=Haswell" in record.message


def test_old_kernels_on_a_new_cpu_are_a_trap(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss
    import threadpoolctl

    libraries = [
        {"internal_api": "openblas", "architecture": "Prescott", "filepath": "a"},
        {"internal_api": "openblas", "architecture": "SkylakeX", "filepath": "b"},
        {"internal_api": "mkl", "filepath": "c"},
    ]
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: libraries)
    monkeypatch.setattr(faiss, "get_compile_options", lambda: "OPTIMIZE AVX2 ")
    assert blas.trapped() == ("a",)
    monkeypatch.setattr(faiss, "get_compile_options", lambda: "OPTIMIZE GENERIC ")
    assert blas.trapped() == ()
