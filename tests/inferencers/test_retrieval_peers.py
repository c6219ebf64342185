"""Retrieval's values are those of the tools that define them; where not, a test shows how."""

from typing import Any

import numpy as np
import pytest
import pytrec_eval
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.metrics import ndcg_score
from sklearn.neighbors import KNeighborsClassifier
from torch.utils.data import TensorDataset
from torchmetrics import retrieval as torchmetrics

from milepost.inferencers import Retrieval
from tests.inferencers.rounds import Array, evaluate, run, table

NAMES = {
    "precision_at_1": "hit_rate@1",
    "r_precision": "r_precision",
    "mean_average_precision_at_r": "map@r",
    "mean_average_precision": "map@200",
    "mean_reciprocal_rank": "mrr",
}
KINDS = np.array([0, 0, 0, 0, 1, 1, 2, 3, 3, 9])  # frequent ones, rare ones
some = settings(max_examples=6, deadline=None, derandomize=True)
seeds = given(seed=st.integers(0, 10**6))


def rows_of(
    seed: int, count: int, role: str = "query", *, lone: int = 2, ties: bool = False
) -> Any:
    """Clustered rows of imbalanced classes; the last few are alone in theirs."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(KINDS, count)
    labels[count - lone :] = 100 + np.arange(lone)
    embeddings = rng.standard_normal((count, 4)) + np.eye(4)[labels % 4]
    embeddings = np.rint(embeddings) if ties else embeddings
    return table(role, embeddings.astype(np.float32), labels)


def evidence(retrieval: Retrieval, *rows: Any) -> tuple[Any, Any]:
    retrieval.keep_evidence = True
    metrics = run([retrieval], rows)
    return metrics, retrieval.evidence()


def peer_of(queries: Any, gallery: Any = None, **options: Any) -> Any:
    """Return what pytorch-metric-learning gives."""
    calculator = AccuracyCalculator(include=tuple(NAMES), device=torch.device("cpu"), **options)
    tensors = [torch.from_numpy(queries[name]) for name in ("output", "label")]
    if gallery is not None:
        tensors += [torch.from_numpy(gallery[name]) for name in ("output", "label")]
    return calculator.get_accuracy(*tensors)


@some
@seeds
def test_means_over_queries_over_classes_and_of_each_are_the_peers(seed: int) -> None:
    queries, gallery = rows_of(seed, 40), rows_of(seed + 1, 60, "gallery", lone=0)
    for rows in ([queries], [queries, gallery]):
        how: dict[str, Any] = {"k": (1, 200), "distance": "l2"}
        micro = evaluate(lambda: Retrieval(**how), *rows)  # noqa: B023
        macro, tables = evidence(Retrieval(average="class", **how), *rows)
        classes = {
            name: x[tables["classes"]["queries"] > 0] for name, x in tables["classes"].items()
        }
        expected = peer_of(*rows), peer_of(*rows, avg_of_avgs=True)
        per_class = peer_of(*rows, return_per_class=True)
        for peer, name in NAMES.items():
            assert micro[name] == pytest.approx(expected[0][peer], abs=2e-6)
            assert macro[name] == pytest.approx(expected[1][peer], abs=2e-6)
            assert classes[name] == pytest.approx(per_class[peer], abs=2e-6)


@some
@seeds
def test_labels_that_are_compared_otherwise_give_the_peers_values(seed: int) -> None:
    rows = rows_of(seed, 40, lone=0)

    def near(one: Any, other: Any) -> Any:
        return abs(one - other) < 2

    how: dict[str, Any] = {"k": (1, 200), "distance": "l2", "relevant": near}
    for macro in (False, True):
        how["average"] = "class" if macro else "sample"
        metrics = evaluate(lambda: Retrieval(**how), rows)
        expected = peer_of(rows, label_comparison_fn=near, avg_of_avgs=macro)
        for peer, name in NAMES.items():
            assert metrics[name] == pytest.approx(expected[peer], abs=2e-6)


def test_levels_are_those_of_the_peers_tester() -> None:
    rows = rows_of(3, 50)
    labels = np.stack([rows["label"], rows["label"] % 3], axis=1)
    tester = GlobalEmbeddingSpaceTester(
        label_hierarchy_level="all",
        dataloader_num_workers=0,
        normalize_embeddings=False,
        accuracy_calculator=AccuracyCalculator(include=tuple(NAMES), device=torch.device("cpu")),
    )
    dataset = TensorDataset(torch.from_numpy(rows["output"]), torch.from_numpy(labels))
    tester.test({"val": dataset}, 0, torch.nn.Identity())
    expected = tester.all_accuracies["val"]
    retrieval = Retrieval(k=(1, 200), levels=True, distance="l2")
    metrics = run([retrieval], [{**rows, "label": labels}])
    for peer, name in NAMES.items():
        for level in (0, 1):
            wanted = expected[f"{peer}_level{level}"]
            assert metrics[f"level{level}/{name}"] == pytest.approx(wanted, abs=2e-6)


@some
@seeds
@pytest.mark.parametrize(("vote", "weights"), [("majority", "uniform"), ("distance", "distance")])
@pytest.mark.parametrize(("distance", "metric"), [("l2", "euclidean"), ("cosine", "cosine")])
def test_votes_are_those_of_scikit_learn_but_for_ties(
    seed: int, vote: Any, weights: str, distance: Any, metric: str
) -> None:
    queries, gallery = rows_of(seed, 60, lone=0), rows_of(seed + 1, 50, "gallery", lone=0)
    gallery["output"][:5] = queries["output"][:5]  # at distance 0
    retrieval = Retrieval(k=(1, 3, 8), metrics="knn_accuracy", vote=vote, distance=distance)
    _, tables = evidence(retrieval, queries, gallery)
    own = tables["queries"]
    for k in (1, 3, 8):
        peer = KNeighborsClassifier(k, weights=weights, metric=metric, algorithm="brute")
        peer.fit(gallery["output"].astype(float), gallery["label"])
        votes = np.sort(peer.predict_proba(queries["output"].astype(float)), axis=1)
        clear = votes[:, -1] > votes[:, -2] + 1e-6
        clear &= ~np.isnan(own["mrr"] if "mrr" in own else own[f"knn_accuracy@{k}"])
        assert clear.sum() > 20
        right = peer.predict(queries["output"].astype(float)) == queries["label"]
        np.testing.assert_array_equal(own[f"knn_accuracy@{k}"][clear], right[clear])


def test_of_labels_with_equally_many_votes_the_nearest_wins_and_not_the_smallest() -> None:
    gallery = table("gallery", np.array([[1.0], [2.0]]), np.array([7, 3]))
    query = table("query", np.array([[0.0]]), np.array([7]))
    metrics = evaluate(
        lambda: Retrieval(k=2, metrics="knn_accuracy", distance="l2"), query, gallery
    )
    assert metrics["knn_accuracy@2"] == 1
    peer = KNeighborsClassifier(2).fit(gallery["output"], gallery["label"])
    assert peer.predict(query["output"]).tolist() == [3]


def gain(query: Any, gallery: Any) -> Any:
    return np.maximum(0, 4 - abs(query - gallery))


def judged(seed: int, *, ties: bool) -> tuple[Any, Array, Array]:
    """Return the evidence of a run with gains, and gains and scores of all pairs."""
    queries, gallery = (
        rows_of(seed, 20, lone=0, ties=ties),
        rows_of(seed + 1, 30, "gallery", ties=ties),
    )
    retrieval = Retrieval(k=(1, 5, 30), gain=gain, distance="dot", metrics="ndcg")
    _, tables = evidence(retrieval, queries, gallery)
    gains = gain(queries["label"][:, None], gallery["label"][None, :]).astype(float)
    scores = queries["output"].astype(float) @ gallery["output"].astype(float).T
    return tables["queries"], gains, scores


def by_name(pairs: Array) -> dict[str, dict[str, Any]]:
    """Return numbers of pairs as TREC takes them."""
    return {str(q): {str(g): x for g, x in enumerate(row)} for q, row in enumerate(pairs.tolist())}


@some
@seeds
def test_graded_ndcg_is_that_of_scikit_learn_and_of_trec(seed: int) -> None:
    own, gains, scores = judged(seed, ties=False)
    judgements, found = by_name(gains.astype(int)), by_name(scores)
    trec = pytrec_eval.RelevanceEvaluator(judgements, {"ndcg_cut.1,5,30"}).evaluate(found)
    for k in (1, 5, 30):
        for query, value in enumerate(own[f"ndcg@{k}"]):
            assert gains[query].any() != np.isnan(value)
            if gains[query].any():
                row = gains[None, query], scores[None, query]
                assert value == pytest.approx(ndcg_score(*row, k=k, ignore_ties=True), abs=1e-12)
                assert value == pytest.approx(trec[str(query)][f"ndcg_cut_{k}"], abs=1e-12)


@some
@seeds
def test_binary_relevance_gives_the_values_of_trec(seed: int) -> None:
    queries, gallery = rows_of(seed, 20), rows_of(seed + 1, 30, "gallery", lone=0)
    _, tables = evidence(Retrieval(k=(1, 5), distance="dot"), queries, gallery)
    relevant = queries["label"][:, None] == gallery["label"][None, :]
    scores = queries["output"].astype(float) @ gallery["output"].astype(float).T
    names = {"mrr": "recip_rank", "r_precision": "Rprec"}
    for k in (1, 5):
        for name, peer in {"hit_rate": "success", "recall": "recall", "precision": "P"}.items():
            names[f"{name}@{k}"] = f"{peer}_{k}"
        names[f"map@{k}"] = f"map_cut_{k}"
    measures = {"recip_rank", "Rprec", "success.1,5", "recall.1,5", "P.1,5", "map_cut.1,5"}
    judgements, found = by_name(relevant.astype(int)), by_name(scores)
    trec = pytrec_eval.RelevanceEvaluator(judgements, measures).evaluate(found)
    for name, peer in names.items():
        for query, value in enumerate(tables["queries"][name]):
            if relevant[query].any():
                assert value == pytest.approx(trec[str(query)][peer], abs=1e-12), name


def test_ties_rank_by_the_name_of_the_document_in_trec() -> None:
    judgements, scores = {"q": {"a": 1, "b": 0}}, {"q": {"a": 1.0, "b": 1.0}}
    trec = pytrec_eval.RelevanceEvaluator(judgements, {"recip_rank"}).evaluate(scores)
    assert trec["q"]["recip_rank"] == 1 / 2
    gallery = table("gallery", np.ones((2, 1)), np.array([7, 3]), np.array(["a", "b"]))
    query = table("query", np.ones((1, 1)), np.array([7]), np.array(["q"]))
    assert evaluate(lambda: Retrieval(metrics="mrr"), query, gallery)["mrr"] == 1


def test_ties_rank_by_id_where_scikit_learn_takes_their_mean() -> None:
    gallery = table("gallery", np.ones((2, 1)), np.array([1, 4]))
    query = table("query", np.ones((1, 1)), np.array([4]))
    how: dict[str, Any] = {"gain": gain, "metrics": "ndcg", "distance": "dot"}
    metrics = evaluate(lambda: Retrieval(k=1, **how), query, gallery)
    assert metrics["ndcg@1"] == 1 / 4
    assert ndcg_score([[1, 4]], [[1, 1]], k=1) == pytest.approx((1 + 4) / 2 / 4)


@some
@seeds
def test_torchmetrics_gives_the_same_where_it_defines_the_same(seed: int) -> None:
    queries, gallery = rows_of(seed, 30), rows_of(seed + 1, 40, "gallery", lone=0)
    metrics = evaluate(lambda: Retrieval(k=(1, 5), distance="dot"), queries, gallery)
    scores = torch.from_numpy(queries["output"].astype(float) @ gallery["output"].astype(float).T)
    scores -= scores.min() - 1  # of MAP and MRR it leaves out relevant items of scores below 0
    relevant = torch.from_numpy(queries["label"][:, None] == gallery["label"][None, :])
    indexes = torch.arange(30)[:, None].expand(scores.shape)

    def peer(kind: str, **options: Any) -> float:
        metric = getattr(torchmetrics, kind)(empty_target_action="skip", **options)
        return float(metric(scores.flatten(), relevant.flatten(), indexes=indexes.flatten()))

    for k in (1, 5):
        assert metrics[f"hit_rate@{k}"] == pytest.approx(peer("RetrievalHitRate", top_k=k))
        assert metrics[f"recall@{k}"] == pytest.approx(peer("RetrievalRecall", top_k=k))
        assert metrics[f"precision@{k}"] == pytest.approx(peer("RetrievalPrecision", top_k=k))
        assert metrics[f"ndcg@{k}"] == pytest.approx(peer("RetrievalNormalizedDCG", top_k=k))
    assert metrics["r_precision"] == pytest.approx(peer("RetrievalRPrecision"))
    assert metrics["mrr"] == pytest.approx(peer("RetrievalMRR"))
    whole = evaluate(lambda: Retrieval(k=40, distance="dot"), queries, gallery)
    assert whole["map@40"] == pytest.approx(peer("RetrievalMAP"))


def test_map_at_k_is_over_all_relevant_items_where_torchmetrics_takes_those_found() -> None:
    # Ranks 1 to 3: relevant, irrelevant, relevant.
    gallery = table("gallery", np.array([[3.0], [2.0], [1.0]]), np.array([7, 3, 7]))
    query = table("query", np.array([[1.0]]), np.array([7]))
    metrics = evaluate(lambda: Retrieval(k=2, distance="dot"), query, gallery)
    assert metrics["map@2"] == metrics["map_min@2"] == 1 / 2
    peer = torchmetrics.RetrievalMAP(top_k=2)
    scores, relevant = torch.tensor([3.0, 2.0, 1.0]), torch.tensor([True, False, True])
    assert float(peer(scores, relevant, indexes=torch.zeros(3, dtype=torch.long))) == 1
