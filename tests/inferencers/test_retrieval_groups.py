"""Gallery rows of the query's group are left out: the re-identification protocol and its kin."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.inferencers import Retrieval
from tests.inferencers.ranking_oracle import oracle
from tests.inferencers.rounds import Array, assert_same, run, split, table
from tests.inferencers.test_retrieval import assert_oracle, tied_rows

K = (1, 3, 50)


def grouped_rows(seed: int, count: int, cameras: int, role: str = "query", size: int = 4) -> Any:
    rng = np.random.default_rng(seed + 100)
    rows = tied_rows(seed, count, size, role)
    return {**rows, "camera": rng.integers(0, cameras, count), "day": rng.integers(0, 2, count)}


@pytest.mark.parametrize("fields", [("camera",), ("label", "camera"), ("camera", "day")])
@pytest.mark.parametrize("cameras", [2, 30])
@pytest.mark.parametrize("roles", ["self", "gallery", "shared"])
def test_rows_that_are_equal_in_all_fields_are_left_out(
    fields: tuple[str, ...], cameras: int, roles: str
) -> None:
    queries, gallery = grouped_rows(0, 40, cameras), grouped_rows(1, 50, cameras, "gallery")
    retrieval = Retrieval(k=K, distance="l2", group=fields[0] if len(fields) == 1 else fields)
    retrieval.shared_ids = roles == "shared"
    gallery = queries if roles == "self" else gallery
    batches = [queries] if roles == "self" else [queries, gallery]
    expected = oracle(queries, gallery, K, "l2", roles != "gallery", group=fields)
    assert_oracle(run([retrieval], batches), expected, queries)


@pytest.mark.parametrize("relevant", [None, lambda a, b: abs(a - b) <= 1])
@pytest.mark.parametrize("cameras", [3, 25])
def test_the_result_does_not_depend_on_how_rows_are_split(relevant: Any, cameras: int) -> None:
    rows = grouped_rows(2, 60, cameras)

    def make(max_memory_bytes: int | None = None) -> Retrieval:
        retrieval = Retrieval(k=K, relevant=relevant, group=["day", "camera"])
        retrieval.max_memory_bytes = max_memory_bytes
        return retrieval

    whole = run([make()], [rows])
    expected = oracle(rows, rows, K, "cosine", True, relevant, group=("day", "camera"))
    assert_oracle(whole, expected, rows)
    for workers, batch, block in itertools.product((1, 2, 5), (7,), (3, 10**9)):
        shares = split(rows, workers, batch, seed=workers)
        for budget in (None, 20_000):
            metrics = run([make(budget) for _ in shares], *shares, block=block)
            assert_same(metrics, whole)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    values=st.lists(
        st.tuples(st.integers(-2, 2), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=14
    ),
    workers=st.integers(1, 3),
    with_label=st.booleans(),
    custom=st.booleans(),
)
def test_any_groups_give_the_values_of_the_definitions(
    values: list[tuple[int, int, int]], workers: int, with_label: bool, custom: bool
) -> None:
    output, label, camera = np.array(values, np.float32).T
    ids = np.arange(len(values))[::-1]
    rows = table("query", output[:, None], label.astype(int), ids)
    rows = {**rows, "camera": np.array(["north", "south", ""])[camera.astype(int)]}
    fields = ("label", "camera") if with_label else ("camera",)
    relevant = (lambda a, b: a <= b) if custom else None
    workers_ = [Retrieval(k=K, group=fields, relevant=relevant) for _ in range(workers)]
    metrics = run(workers_, *split(rows, workers, 2))
    expected = oracle(rows, rows, K, "cosine", True, relevant, group=fields)
    if expected:
        assert_oracle(metrics, expected, rows)
    else:
        assert metrics["queries_without_relevant"] == len(values)


@pytest.mark.parametrize("cameras", [2, 30])
def test_the_best_ranking_of_grades_is_that_of_what_is_left(cameras: int) -> None:
    rows = grouped_rows(6, 50, cameras)

    def gain(query: Any, label: Any) -> Any:
        return np.maximum(3 - abs(query - label), 0.0) * (label != 1)

    retrieval = Retrieval(k=K, gain=gain, group="camera")
    expected = oracle(
        rows, rows, K, "cosine", True, lambda *at: gain(*at) > 0, gain, group=("camera",)
    )
    assert_oracle(run([retrieval], [rows]), expected, rows)


def test_groups_are_left_out_at_all_levels_of_labels() -> None:
    rows = grouped_rows(7, 50, 3)
    fine = {**rows, "label": rows["label"] * 2 + rows["day"]}
    both = {**rows, "label": np.stack([rows["label"], fine["label"]], axis=1)}
    retrieval = Retrieval(k=K, levels=True, group="camera")
    metrics = run([retrieval], [both])
    for level, own in enumerate((rows, fine)):
        expected = oracle(own, own, K, "cosine", True, group=("camera",))
        prefix = f"level{level}/"
        part = {n.removeprefix(prefix): x for n, x in metrics.items() if n.startswith(prefix)}
        assert_oracle(part, expected, own)


def test_a_group_that_swallows_all_relevant_rows_leaves_the_query_out() -> None:
    rows = table("query", np.arange(4.0)[:, None], np.array([0, 0, 1, 1]))
    rows = {**rows, "camera": np.array([1, 1, 1, 2])}
    metrics = run([Retrieval(k=1, metrics=["mrr"], distance="l2", group="camera")], [rows])
    assert metrics == {"mrr": 1.0, "queries_without_relevant": 2}


def market_1501(queries: Any, gallery: Any) -> tuple[float, list[float]]:
    """Return mAP and the CMC curve by the protocol of Market-1501.

    Junk, gallery images of the query's person and camera, is left out; an average precision is the
    mean of the precision at each right image.
    """
    distances = ((queries["output"][:, None] - gallery["output"][None]) ** 2).sum(axis=-1)
    found, curve = [], np.zeros(len(gallery["id"]))
    for at, row in enumerate(distances):
        order = np.argsort(row, kind="stable")
        person = gallery["label"][order] == queries["label"][at]
        junk = person & (gallery["camera"][order] == queries["camera"][at])
        right = np.flatnonzero(person[~junk])
        if len(right):
            found.append(np.mean(np.arange(1, len(right) + 1) / (right + 1)))
            curve[right[0] :] += 1
    return float(np.mean(found)), list(curve / len(found))


def test_person_and_camera_give_the_values_of_market_1501() -> None:
    rng = np.random.default_rng(4)
    centres = 2 * rng.standard_normal((12, 8))

    def images(count: int, role: str) -> Any:
        person = rng.integers(0, 12, count)
        rows = table(role, (centres[person] + rng.standard_normal((count, 8))).astype("f4"), person)
        return {**rows, "camera": rng.integers(0, 4, count)}

    queries, gallery = images(70, "query"), images(400, "gallery")
    metrics = run(
        [Retrieval(k=(1, 5, 400), distance="l2", group=("label", "camera"))], [queries, gallery]
    )
    expected, curve = market_1501(queries, gallery)
    assert metrics["map@400"] == pytest.approx(expected, abs=1e-6)
    assert [metrics["hit_rate@1"], metrics["hit_rate@5"]] == pytest.approx([curve[0], curve[4]])


@pytest.mark.parametrize("size", [3, 250])
def test_real_embeddings_are_ranked_the_same_in_any_way(size: int) -> None:
    rng = np.random.default_rng(5)
    count = 1000
    rows = table("query", rng.standard_normal((count, 12)), rng.integers(0, 40, count))
    rows = {**rows, "document": rng.integers(0, count // size, count)}
    whole = run([Retrieval(k=(1, 10), group="document")], [rows])
    shares = split(rows, 2, 300)
    assert_same(run([Retrieval(k=(1, 10), group="document") for _ in shares], *shares), whole)
    hit_rate, ranks_found = by_sorting(rows)
    assert whole["hit_rate@10"] == pytest.approx(hit_rate, abs=1e-12)
    assert whole["mrr"] == pytest.approx(ranks_found, abs=1e-12)


def by_sorting(rows: Any) -> tuple[float, float]:
    """Return the hit rate at 10 and the mean reciprocal rank of unique scores."""
    units = rows["output"] / np.linalg.norm(rows["output"], axis=1)[:, None]
    scores: Array = units @ units.T
    same = rows["document"][:, None] == rows["document"][None, :]
    scores[same] = -np.inf
    order = np.argsort(-scores, axis=1)
    hits = rows["label"][order] == rows["label"][:, None]
    hits &= np.take_along_axis(~same, order, axis=1)
    first = hits.argmax(axis=1)[hits.any(axis=1)]
    return float((first < 10).mean()), float((1 / (first + 1)).mean())


def test_a_group_that_is_no_field_name_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"^`group` must be a field or several different ones, got \[3\]$"
    ):
        Retrieval(group=[3])  # type: ignore[list-item]


def test_groups_of_two_types_are_an_error() -> None:
    retrieval = Retrieval(group="camera")
    retrieval.update({**table("query", np.ones((1, 2)), [0]), "camera": [1]})
    message = r"^`camera` must be of one type and shape throughout a run, got <U1 \(\) and int64"
    with pytest.raises(ValueError, match=message):
        retrieval.update({**table("query", np.ones((1, 2)), [0]), "camera": ["a"]})
    message = r"^`camera` must have one value for each of the 1 embeddings, got 2$"
    with pytest.raises(ValueError, match=message):
        retrieval.update({**table("query", np.ones((1, 2)), [0]), "camera": [1, 2]})
