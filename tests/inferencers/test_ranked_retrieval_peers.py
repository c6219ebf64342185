"""The values of ranked retrieval beside those of trec_eval and sentence-transformers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.inferencers.test_ranked_retrieval import evaluate, small_case

pytrec_eval = pytest.importorskip("pytrec_eval")
ir_measures = pytest.importorskip("ir_measures")

TREC = {
    "P_5": "precision@5",
    "recall_5": "recall@5",
    "map_cut_5": "map@5",
    "ndcg_cut_5": "ndcg@5",
    "Rprec": "r_precision",
    "success_5": "hit_rate@5",
}


def judged_case(seed: int, *, ties: bool = False) -> tuple[Any, Any, Any]:
    """Return a case whose queries all have a relevant document; scores are equal only if said."""
    judgements, queries, corpus = small_case(seed)
    for grades in judgements.values():
        grades["d0"] = 2
    if not ties:
        rng = np.random.default_rng(seed)
        queries = queries[0], rng.normal(size=(12, 4)).astype("f4")
        corpus = corpus[0], rng.normal(size=(30, 4)).astype("f4")
    return judgements, queries, corpus


def runs(queries: Any, corpus: Any) -> dict[str, dict[str, float]]:
    """Return the scores of all pairs, as trec_eval takes them."""
    scores = np.asarray(queries[1], "f8") @ np.asarray(corpus[1], "f8").T
    return {
        query: dict(zip(corpus[0], row, strict=True))
        for query, row in zip(queries[0], scores.tolist(), strict=True)
    }


def trec_eval(judgements: Any, run: Any) -> dict[str, float]:
    """Return the means of trec_eval."""
    nonnegative = {q: {d: max(0, g) for d, g in of.items()} for q, of in judgements.items()}
    measures = {name.rpartition("_")[0] + "." + name.rpartition("_")[2] for name in TREC}
    measures = {name.removeprefix(".") for name in measures}
    found = pytrec_eval.RelevanceEvaluator(nonnegative, measures).evaluate(run)
    return {ours: float(np.mean([x[name] for x in found.values()])) for name, ours in TREC.items()}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_values_are_those_of_trec_eval(seed: int) -> None:
    judgements, queries, corpus = judged_case(seed)
    ours = evaluate(judgements, queries, corpus, k=5)
    theirs = trec_eval(judgements, runs(queries, corpus))
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-6)


def test_values_are_those_of_ir_measures() -> None:
    judgements, queries, corpus = judged_case(1)
    judgements = {query: judgements[query] for query in queries[0] if query in judgements}
    ours = evaluate(judgements, queries, corpus, k=5, relevant_grade=2)
    names = {
        "nDCG@5": "ndcg@5",
        "AP(rel=2)@5": "map@5",
        "RR(rel=2)@5": "mrr@5",
        "R(rel=2)@5": "recall@5",
        "Judged@5": "judged@5",
    }
    measures = [ir_measures.parse_measure(name) for name in names]
    theirs = ir_measures.calc_aggregate(measures, judgements, runs(queries, corpus))
    for measure in measures:
        ours_name = names[str(measure)]
        assert ours[ours_name] == pytest.approx(theirs[measure], abs=1e-6), ours_name


def test_equal_scores_rank_by_id_upwards_and_in_trec_eval_downwards() -> None:
    queries, corpus = (["q"], [[1.0]]), (["a", "b"], [[1.0], [1.0]])
    ours = evaluate({"q": {"a": 1}}, queries, corpus, k=5)
    assert ours["map@5"] == 1.0
    assert trec_eval({"q": {"a": 1}}, runs(queries, corpus))["map@5"] == 0.5
    assert trec_eval({"q": {"b": 1}}, runs(queries, corpus))["map@5"] == 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_with_ids_in_the_other_order_ties_are_those_of_trec_eval(seed: int) -> None:
    judgements, queries, corpus = judged_case(seed, ties=True)
    turned = {"".join(chr(200 - ord(c)) for c in f"{name:!<8}"): name for name in corpus[0]}
    name_of = {name: turned_name for turned_name, name in turned.items()}
    renamed = {
        query: {name_of.get(name, name): grade for name, grade in grades.items()}
        for query, grades in judgements.items()
    }
    ours = evaluate(renamed, queries, (list(turned), corpus[1]), k=5)
    theirs = trec_eval(judgements, runs(queries, corpus))
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-6)


def test_trec_eval_counts_a_query_without_relevant_documents() -> None:
    queries, corpus = (["q1", "q2"], [[1.0], [1.0]]), (["a", "b"], [[2.0], [1.0]])
    judgements = {"q1": {"a": 1}, "q2": {"a": 0}}
    ours = evaluate(judgements, queries, corpus, k=5)
    assert (ours["map@5"], ours["queries_without_relevant"]) == (1.0, 1)
    assert trec_eval(judgements, runs(queries, corpus))["map@5"] == 0.5
