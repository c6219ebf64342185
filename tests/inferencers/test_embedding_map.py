"""Embeddings on a plane."""

import importlib.util
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from milepost.errors import UnknownNameError
from milepost.inferencers import EmbeddingMap
from milepost.inferencers._embedding_map import principal_plane

RNG = np.random.default_rng(0)


def map_of(embeddings: Any, label: Any = None, **options: Any) -> Any:
    has_labels = None if label is None else "label"
    embedding_map = EmbeddingMap(labels=has_labels, **options)
    embedding_map.keep_evidence = True
    rows = {"id": np.arange(len(embeddings)), "output": embeddings}
    embedding_map.update(rows if label is None else {**rows, "label": label})
    return embedding_map.evidence().get("map", {})


@pytest.mark.parametrize("shape", [(50, 7), (7, 50), (9, 9)])
def test_places_are_those_of_scikit_learn(shape: tuple[int, int]) -> None:
    from sklearn.decomposition import PCA

    rows = RNG.normal(size=shape) * np.linspace(1, 3, shape[1])
    ours, theirs = principal_plane(rows), PCA(2, svd_solver="full").fit_transform(rows)
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours, theirs * signs, atol=1e-8)


def test_the_largest_coefficient_of_an_axis_is_positive() -> None:
    rows = RNG.normal(size=(40, 5))
    places, centred = principal_plane(rows), rows - rows.mean(axis=0)
    axes = centred.T @ places  # each times its extent
    assert (axes[abs(axes).argmax(axis=0), [0, 1]] > 0).all()
    turned = principal_plane(-rows)
    np.testing.assert_allclose(turned, -places, atol=1e-9)


@pytest.mark.parametrize("rows", [np.ones((1, 4)), np.ones((5, 4)), np.ones((5, 1))])
def test_rows_that_do_not_differ_lie_in_the_middle(rows: Any) -> None:
    assert principal_plane(rows).tolist() == [[0.0, 0.0]] * len(rows)


@pytest.mark.parametrize("shape", [(2, 30), (30, 2)])
def test_rows_on_a_line_have_one_axis(shape: tuple[int, int]) -> None:
    line = np.linspace(0, 1, shape[0])[:, None] * np.linspace(1, 2, shape[1])
    assert abs(principal_plane(line)[:, 1]).max() < 1e-9


def test_the_sample_is_the_same_at_each_evaluation() -> None:
    first = map_of(RNG.normal(size=(100, 3)), samples=10, method="pca")
    second = map_of(RNG.normal(size=(100, 3)), samples=10, method="pca")
    assert first["item"].tolist() == second["item"].tolist()
    assert len(first["item"]) == 10


def test_rows_that_are_not_finite_are_left_out() -> None:
    rows = RNG.normal(size=(5, 3))
    rows[1, 0], rows[3, 2] = np.nan, np.inf
    found = map_of(rows, np.array(list("abcde")), method="pca")
    assert found["item"].tolist() == [0, 2, 4]
    assert found["label"].tolist() == ["a", "c", "e"]
    assert map_of(np.full((2, 2), np.nan), method="pca") == {}


def test_labels_may_have_several_columns() -> None:
    found = map_of(RNG.normal(size=(3, 2)), np.eye(3, 2, dtype=bool), method="pca")
    assert found["label"].shape == (3, 2)


def test_nothing_is_kept_where_nobody_takes_evidence() -> None:
    embedding_map = EmbeddingMap(labels=None, method="pca")
    embedding_map.update({"id": np.arange(2), "output": np.eye(2)})
    assert embedding_map.evidence() == {}


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2), (3, 0)])
def test_embeddings_that_are_no_matrix_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"`output` must have shape \(N, d\), got \(3"):
        map_of(np.zeros(shape), method="pca")


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="`samples` must be a whole number of at least 2, got 1"):
        EmbeddingMap(samples=1)
    with pytest.raises(UnknownNameError, match="unknown method 'tsne'"):
        EmbeddingMap(method="tsne")  # type: ignore[arg-type]  # the error is the point


def test_without_umap_it_is_pca_and_who_asks_for_umap_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert map_of(RNG.normal(size=(40, 3)))["method"][0] == "pca"
    with pytest.raises(ImportError) as caught:
        EmbeddingMap(method="umap")
    told = 'umap-learn is not installed; pip install "milepost[umap]" brings it'
    assert str(caught.value) == told


UMAP = """
import sys
import numpy as np
from milepost.inferencers import EmbeddingMap

rng = np.random.default_rng(0)
labels = np.arange(80) % 2
rows = np.eye(2)[labels] @ rng.normal(size=(2, 6)) * 9 + rng.normal(size=(80, 6))
found = []
for _ in range(2):
    embedding_map = EmbeddingMap()
    embedding_map.keep_evidence = True
    embedding_map.update({"id": np.arange(80), "output": rows, "label": labels})
    found.append(embedding_map.evidence()["map"])
for name in ("x", "y"):
    assert (found[0][name] == found[1][name]).all()
assert set(found[0]["method"]) == {"umap"}
places = np.stack([found[0]["x"], found[0]["y"]])
centres = [places[:, labels == label].mean(axis=1, keepdims=True) for label in (0, 1)]
nearest = np.argmin([((places - centre) ** 2).sum(axis=0) for centre in centres], axis=0)
assert (nearest == labels).all()
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="needs umap-learn")
def test_umap_gives_the_same_map_each_time_and_loads_no_tensorflow() -> None:
    subprocess.run([sys.executable, "-c", UMAP], check=True, timeout=300)
