"""What every index of embeddings must do, and what each kind adds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.neighbors import (
    DiskIndexer,
    Distance,
    ExactIndexer,
    FaissIndexer,
    Indexer,
    pair_scores,
)
from tests.kinds import CONVERTERS
from tests.neighbors.indexes import EXACT, every_exact

METRICS: tuple[Distance, ...] = ("l2", "dot", "cosine")
APPROXIMATE = ("IVF8,Flat", "HNSW8", "PQ4x4", "SQ8", "PCA4,IVF8,PQ2x4", "IVF8,PQ4x4fs")


def embeddings(rows: int, dimension: int = 8, *, seed: int = 0) -> Any:
    """Small whole numbers: exact in any arithmetic, with many equal distances."""
    numbers = np.random.default_rng(seed).integers(-2, 3, (rows, dimension))
    return numbers.astype(np.float32)


def ranked(queries: Any, gallery: Any, metric: Distance) -> tuple[Any, Any]:
    """All positions and distances by brute force, equal ones by position."""
    q, g = queries.astype(np.float64), gallery.astype(np.float64)
    distances = ((q[:, None] - g[None]) ** 2).sum(-1) if metric == "l2" else q @ g.T
    if metric == "cosine":
        norms = np.outer(np.linalg.norm(q, axis=1), np.linalg.norm(g, axis=1))
        distances = np.divide(distances, norms, out=np.zeros_like(distances), where=norms > 0)
    distances = distances.round(6)
    order = np.argsort(distances if metric == "l2" else -distances, axis=1, kind="stable")
    return order, np.take_along_axis(distances, order, axis=1)


@pytest.mark.parametrize("metric", METRICS)
@every_exact
def test_an_exact_index_gives_the_distances_of_brute_force(
    make: Callable[..., Indexer], metric: Distance
) -> None:
    gallery, queries = embeddings(150), embeddings(30, seed=1)
    indexer = make(metric=metric)
    indexer.train(gallery)
    indexer.add(gallery)
    found = indexer.search(queries, 20)
    _, distances = ranked(queries, gallery, metric)
    assert found.indices.dtype == np.int64
    assert found.distances.dtype == np.float32
    np.testing.assert_allclose(found.distances, distances[:, :20], atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["exact", "disk", "small blocks"])
def test_equal_distances_rank_by_position(name: str, metric: Distance) -> None:
    gallery, queries = embeddings(150), embeddings(30, seed=1)
    indexer = EXACT[name](metric)
    for part in np.split(gallery, [1, 40, 90]):
        indexer.add(part)
    order, _ = ranked(queries, gallery, metric)
    np.testing.assert_array_equal(indexer.search(queries, 60).indices, order[:, :60])


@every_exact
def test_positions_are_in_the_order_of_adding(make: Callable[..., Indexer]) -> None:
    indexer = make()
    indexer.add(np.eye(4)[:3])
    indexer.add(np.eye(4)[3:])
    assert len(indexer) == 4
    assert indexer.search(np.eye(4), 1).indices.tolist() == [[0], [1], [2], [3]]


@every_exact
def test_k_beyond_the_count_gives_what_there_is(make: Callable[..., Indexer]) -> None:
    indexer = make()
    indexer.add(np.eye(3))
    found = indexer.search(np.eye(3), 10)
    assert found.indices.tolist() == [[0, 1, 2], [1, 0, 2], [2, 0, 1]]
    assert found.distances.tolist() == [[0, 2, 2]] * 3


@pytest.mark.parametrize("factory", APPROXIMATE)
def test_an_approximate_index_never_gives_fewer_than_k(factory: str) -> None:
    gallery = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    indexer = FaissIndexer(factory)
    indexer.train(gallery)
    indexer.add(gallery)
    found = indexer.search(gallery[:20], 300)
    assert [sorted(row) for row in found.indices.tolist()] == [list(range(300))] * 20
    assert (np.diff(found.distances, axis=1) >= 0).all()


@settings(deadline=None, max_examples=25)
@given(data=st.data(), metric=st.sampled_from(METRICS), k=st.integers(1, 40))
def test_neither_blocks_nor_parts_change_a_result(
    data: st.DataObject, metric: Distance, k: int
) -> None:
    rows, dimension = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 5))
    gallery = embeddings(rows, dimension, seed=data.draw(st.integers(0, 99)))
    queries = embeddings(data.draw(st.integers(1, 9)), dimension, seed=100)
    cuts = data.draw(st.lists(st.integers(0, rows), max_size=3).map(sorted))
    order = np.argsort(-pair_scores(queries, gallery, distance=metric), axis=1, kind="stable")
    budget = data.draw(st.integers(1_000, 20_000))
    indexers: list[Indexer] = [
        DiskIndexer(metric, max_memory_bytes=budget),
        ExactIndexer(metric, max_memory_bytes=budget),
    ]
    for indexer in indexers:
        for part in np.split(gallery, cuts):
            indexer.add(part)
        np.testing.assert_array_equal(indexer.search(queries, k).indices, order[:, :k])


@every_exact
def test_what_the_caller_changes_later_does_not_reach_the_index(
    make: Callable[..., Indexer],
) -> None:
    gallery = np.eye(3, dtype=np.float32)
    indexer = make()
    indexer.add(gallery)
    gallery[:] = 0
    assert indexer.search(np.eye(3), 1).indices.tolist() == [[0], [1], [2]]


@every_exact
def test_training_forgets_and_adds_nothing(make: Callable[..., Indexer]) -> None:
    indexer = make()
    indexer.add(np.eye(3))
    indexer.train(np.eye(5))
    assert len(indexer) == 0
    indexer.add(np.eye(5))
    assert indexer.search(np.eye(5), 1).indices.shape == (5, 1)


@every_exact
def test_searching_or_saving_an_empty_index_is_an_error(
    make: Callable[..., Indexer], tmp_path: Path
) -> None:
    needs = "needs an index that holds embeddings; train it and add some first"
    with pytest.raises(ValueError, match=f"^`search` {needs}$"):
        make().search(np.eye(3), 1)
    indexer = make()
    indexer.train(np.eye(3))
    with pytest.raises(ValueError, match=f"^`save` {needs}$"):
        indexer.save(tmp_path / "index")


@pytest.mark.parametrize("k", [-1, 0, 1.5, "max", True])
def test_k_is_a_positive_integer(k: Any) -> None:
    indexer = ExactIndexer()
    indexer.add(np.eye(3))
    with pytest.raises(ValueError, match=r"^`k` must be an integer, at least 1, got "):
        indexer.search(np.eye(3), k)


@every_exact
def test_embeddings_that_do_not_fit_are_refused_and_change_nothing(
    make: Callable[..., Indexer],
) -> None:
    indexer = make()
    indexer.add(np.eye(3))
    with pytest.raises(ValueError, match=r"^`embeddings` must have the index's dimension 3, got 4"):
        indexer.add(np.eye(4))
    with pytest.raises(ValueError, match=r"^`query` must have the index's dimension 3, got 4$"):
        indexer.search(np.eye(4), 1)
    with pytest.raises(ValueError, match=r"^`query` must have shape \(rows, dimension\)"):
        indexer.search(np.ones(3), 1)
    with pytest.raises(ValueError, match="NaN or infinity in row 1"):
        indexer.add(np.array([[0.0, 0.0, 0.0], [0.0, np.nan, 0.0]]))
    assert len(indexer) == 3


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(LookupError, match="did you mean 'cosine'"):
        FaissIndexer(metric="cosin")  # type: ignore[arg-type]


def test_an_untrained_index_of_faiss_takes_nothing() -> None:
    indexer = FaissIndexer("IVF4,Flat")
    message = "`add` needs a trained index, and 'IVF4,Flat' is not; call `train` first"
    with pytest.raises(ValueError, match=f"^{message}$"):
        indexer.add(np.eye(4))
    with pytest.raises(ValueError, match="do not suffice to train 'IVF4,Flat', got 2"):
        indexer.train(np.eye(4)[:2])
    with pytest.raises(ValueError, match="`factory` must be one of faiss's for dimension 4"):
        FaissIndexer("Falt").add(np.eye(4))


def test_a_gpu_that_faiss_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faiss.get_num_gpus", lambda: 0)
    with pytest.raises(ValueError, match="`gpu` is True, but faiss has no GPU here"):
        FaissIndexer(gpu=True).add(np.eye(3))


def test_a_gpu_is_used_where_faiss_has_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    moved: list[str] = []

    def move(name: str) -> Callable[[Any], Any]:
        return lambda index: moved.append(name) or index  # type: ignore[func-returns-value]

    monkeypatch.setattr("faiss.get_num_gpus", lambda: 1)
    monkeypatch.setattr("faiss.index_cpu_to_all_gpus", move("there"), raising=False)
    monkeypatch.setattr("faiss.index_gpu_to_cpu", move("back"), raising=False)
    indexer = FaissIndexer()
    indexer.add(np.eye(3))
    indexer.save(tmp_path / "index")
    assert moved == ["there", "back"]
    FaissIndexer(gpu=False).add(np.eye(3))
    assert moved == ["there", "back"]


def test_measured_recall_is_one_for_exact_and_grows_with_the_effort() -> None:
    gallery = np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32)
    queries = np.random.default_rng(1).normal(size=(50, 16)).astype(np.float32)
    recalls: list[float] = []
    for factory, parameters in [
        ("IVF32,Flat", "nprobe=1"),
        ("IVF32,Flat", "nprobe=8"),
        ("Flat", ""),
    ]:
        indexer = FaissIndexer(factory, parameters=parameters)
        indexer.train(gallery)
        indexer.add(gallery)
        reached = {
            indexer.measure_recall(queries, convert(gallery), k=10) for convert in CONVERTERS
        }
        recalls += reached  # of every kind the same
    few, more, all_of_them = recalls
    assert few < more < all_of_them == 1
    with pytest.raises(ValueError, match="must be the 2000 that were added to the index, got 9"):
        indexer.measure_recall(queries, gallery[:9])


def test_recall_counts_an_equally_near_one_as_found() -> None:
    gallery = np.zeros((100, 4), np.float32)
    indexer = FaissIndexer("HNSW8")
    indexer.add(gallery)
    assert indexer.measure_recall(gallery[:5], gallery, k=3) == 1


def test_a_disk_index_forgets_an_addition_that_failed() -> None:
    indexer = DiskIndexer()
    indexer.add(np.eye(3))
    indexer.add(np.eye(3) * 2)
    indexer.truncate(2)
    indexer.add(np.eye(3)[2:] * 5)
    assert indexer.search(np.eye(3) * 5, 1).indices.tolist() == [[0], [1], [2]]
    indexer.truncate(0)
    assert (len(indexer), indexer.dimension) == (0, None)


def test_a_disk_index_leaves_no_file(tmp_path: Path) -> None:
    indexer = DiskIndexer(folder=tmp_path)
    indexer.add(np.eye(3))
    assert list(tmp_path.iterdir()) == []
