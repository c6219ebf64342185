"""Ranked retrieval against a ranking by hand; its peers are in test_ranked_retrieval_peers."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import milepost as mp
from milepost.errors import UnknownNameError
from milepost.inferencers import RankedRetrieval
from tests.inferencers.rounds import run, split, take


def rows_of(role: str, ids: Any, embeddings: Any) -> Any:
    ids = np.asarray(ids)
    return {"id": ids, "role": np.full(len(ids), role), "output": np.asarray(embeddings, "f4")}


def evaluate(judgements: Any, queries: Any, corpus: Any, **options: Any) -> Any:
    shared_ids = options.pop("shared_ids", False)
    ranked = RankedRetrieval(judgements=judgements, **{"distance": "dot", **options})
    ranked.shared_ids = shared_ids
    return run([ranked], [rows_of("query", *queries), rows_of("gallery", *corpus)])


def small_case(seed: int, queries: int = 12, documents: int = 30) -> tuple[Any, Any, Any]:
    """Return judgements, queries and a corpus with many equal scores."""
    rng = np.random.default_rng(seed)
    names = [f"d{at}" for at in rng.permutation(documents)]
    corpus = names, rng.integers(-2, 3, (documents, 2))
    asked = [f"q{at}" for at in rng.permutation(queries)], rng.integers(-2, 3, (queries, 2))
    judged = [*names, "beyond1", "beyond2"]
    judgements = {
        f"q{at}": {
            str(name): int(rng.integers(-1, 4))
            for name in rng.choice(judged, rng.integers(1, 9), replace=False)
        }
        for at in range(queries + 2)
        if at != 3
    }
    return judgements, asked, corpus


def by_hand(judgements: Any, queries: Any, corpus: Any, k: int, least: int = 1) -> dict[str, float]:
    """The metrics of each query, in plain Python, and their means."""
    values = []
    for query, embedding in zip(*queries, strict=True):
        grades = judgements.get(query, {})
        relevant = sum(grade >= least for grade in grades.values())
        if not relevant:
            continue
        scores = dict(zip(corpus[0], np.asarray(corpus[1]) @ embedding, strict=True))
        ranked = sorted(scores, key=lambda name: (-scores[name], name))
        rel = [grades.get(name, 0) >= least for name in ranked]
        hits = [sum(rel[: at + 1]) for at in range(len(rel))]
        at_k = [at for at in range(min(k, len(rel))) if rel[at]]
        at_r = [at for at in range(min(relevant, len(rel))) if rel[at]]
        gains = [max(0, grades.get(name, 0)) for name in ranked[:k]]
        best = sorted((max(0, grade) for grade in grades.values()), reverse=True)[:k]
        precisions = sum(hits[at] / (at + 1) for at in at_k)
        values.append(
            {
                f"hit_rate@{k}": float(bool(at_k)),
                f"recall@{k}": len(at_k) / relevant,
                f"precision@{k}": len(at_k) / k,
                f"map@{k}": precisions / relevant,
                f"map_min@{k}": precisions / min(k, relevant),
                f"mrr@{k}": 1 / (1 + at_k[0]) if at_k else 0.0,
                "map@r": sum(hits[at] / (at + 1) for at in at_r) / relevant,
                "r_precision": len(at_r) / relevant,
                f"ndcg@{k}": discounted(gains) / discounted(best),
                f"judged@{k}": sum(name in grades for name in ranked[:k]) / k,
            }
        )
    return {name: float(np.mean([each[name] for each in values])) for name in values[0]}


def discounted(gains: list[int]) -> float:
    return sum(gain / float(np.log2(at + 2)) for at, gain in enumerate(gains))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 10, 50]), st.sampled_from([1, 2]))
def test_values_are_those_of_a_ranking_by_hand(seed: int, k: int, least: int) -> None:
    case = small_case(seed)
    metrics = evaluate(*case, k=k, relevant_grade=least)
    expected = by_hand(*case, k, least)
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    judged = [case[0].get(query) for query in case[1][0]]
    assert metrics["queries_without_judgements"] == judged.count(None) == 1
    lone = sum(max(each.values()) < least for each in judged if each)
    assert metrics["queries_without_relevant"] == lone


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans())
def test_workers_blocks_and_budgets_change_nothing(seed: int, workers: int, shared: bool) -> None:
    judgements, queries, corpus = small_case(seed)
    parts = [rows_of("query", *queries), rows_of("gallery", *corpus)]

    def make(budget: int | None = None) -> RankedRetrieval:
        ranked = RankedRetrieval(judgements=judgements, distance="l2")
        ranked.shared_ids, ranked.max_memory_bytes = shared, budget
        return ranked

    shares = [split(part, workers, 4, seed) for part in parts]
    joined = [[*one, *other] for one, other in zip(*shares, strict=True)]
    together = run([make(20_000) for _ in range(workers)], *joined, block=7)
    assert together == run([make()], parts)


def test_ids_are_compared_as_strings() -> None:
    judgements = {1: {10: 1}, "2": {"20": 1}}
    for kind in (int, str):
        queries, corpus = [kind(1), kind(2)], [kind(10), kind(20)]
        metrics = evaluate(judgements, (queries, np.eye(2)), (corpus, np.eye(2)), k=1)
        assert metrics["recall@1"] == 1.0


def test_relevant_documents_may_be_listed_without_grades() -> None:
    rows = (["q"], [[1.0]]), (["a", "b", "c"], [[3.0], [2.0], [1.0]])
    graded = evaluate({"q": {"a": 1, "c": 1}}, *rows, k=2)
    assert evaluate({"q": {"a", "c"}}, *rows, k=2) == graded
    assert evaluate({"q": ["a", "c"]}, *rows, k=2) == graded


def test_judged_documents_that_the_corpus_lacks_count_in_r() -> None:
    rows = (["q"], [[1.0]]), (["a"], [[1.0]])
    metrics = evaluate({"q": {"a": 1, "lost": 3}}, *rows, k=5)
    assert metrics["recall@5"] == 0.5
    assert metrics["ndcg@5"] == pytest.approx(1 / (3 + 1 / np.log2(3)))


def test_exponential_gains_are_powers_of_two() -> None:
    rows = (["q"], [[1.0]]), (["a", "b"], [[2.0], [1.0]])
    metrics = evaluate({"q": {"a": 1, "b": 3}}, *rows, k=2, gain="exponential")
    discount = 1 / np.log2(3)
    assert metrics["ndcg@2"] == pytest.approx((1 + 7 * discount) / (7 + discount))


def test_with_shared_ids_a_query_leaves_out_its_own_document() -> None:
    judgements = {"a": {"a": 3, "b": 1}, "b": {"a": 1}}
    rows = ["a", "b"], [[2.0], [1.0]]
    metrics = evaluate(judgements, rows, rows, k=1, shared_ids=True)
    assert metrics["recall@1"] == metrics["ndcg@1"] == 1.0
    assert evaluate(judgements, rows, rows, k=1)["recall@1"] == 0.75


@pytest.mark.parametrize(
    "text",
    [
        "q1 0 d1 2\nq1 0 d2 0\n\nq2 Q0 d1 1\n",
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n",
        "q1\td1\t2\nq1\td2\t0\nq2\td1\t1\n",
    ],
    ids=["TREC", "BEIR", "BEIR without names"],
)
def test_judgements_are_read_from_a_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "qrels"
    path.write_text(text)
    rows = (["q1", "q2"], [[1.0], [-1.0]]), (["d1", "d2"], [[1.0], [2.0]])
    given_in_code = {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": 1}}
    assert evaluate(path, *rows) == evaluate(str(path), *rows) == evaluate(given_in_code, *rows)


def test_a_line_that_is_no_judgement_is_named(tmp_path: Path) -> None:
    path = tmp_path / "qrels"
    path.write_text("q1 0 d1 2\nq1 0 d2\n")
    message = (
        "`judgements` must have lines of TREC (query, iteration, document, grade) or of BEIR "
        f"(query, document, grade, by tabs), got 'q1 0 d2' in line 2 of {path}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RankedRetrieval(judgements=path)


def test_two_grades_of_a_document_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "qrels"
    path.write_text("q1 0 d2 2\nq1 0 d1 1\nq1 0 d1 0\n")
    message = (
        "`judgements` must give one grade to a query and a document, got 1 and 0 for query 'q1' "
        "and document 'd1'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RankedRetrieval(judgements=path)


@pytest.mark.parametrize(
    ("judgements", "message"),
    [
        ({}, "`judgements` must hold at least one, got none"),
        ({"q": {}}, "`judgements` must hold at least one, got none"),
        (
            {"q": {"d": float("nan")}},
            "`judgements` must be finite, got nan for query 'q' and document 'd'",
        ),
    ],
)
def test_judgements_are_there_and_finite(judgements: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RankedRetrieval(judgements=judgements)


def test_queries_that_no_judgement_knows_are_an_error() -> None:
    message = (
        "`judgements` must have some for the queries, got none: the ids of queries are such as "
        "[0, 1], and those judged such as ['q']; give the rows a field \"id\""
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluate({"q": {"a": 1}}, ([0, 1], np.eye(2)), (["a"], [[1.0, 0.0]]))


def test_a_corpus_of_which_no_document_was_judged_is_an_error() -> None:
    message = (
        "`judgements` must have some for the documents, got none: the ids of documents are such "
        "as [0, 1], and those judged such as ['d0']; give the rows a field \"id\""
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluate({"q": {"d0": 1}}, (["q"], [[1.0, 0.0]]), ([0, 1], np.eye(2)))


def test_a_lone_document_in_place_of_a_list_is_an_error() -> None:
    message = (
        "`judgements` must hold grades by document, or documents, for each query, got 'd1' for "
        "'q'; pass a list: ['d1']"
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        RankedRetrieval(judgements={"q": "d1"})


def test_a_run_without_a_corpus_is_an_error() -> None:
    message = (
        "a corpus must be there, got no rows of role 'gallery'; pass "
        'data={"query": ..., "gallery": ...}'
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        run([RankedRetrieval(judgements={"q": {"a": 1}})], [rows_of("query", ["q"], [[1.0]])])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": ()}, "`k` must be whole numbers of at least 1, got ()"),
        ({"k": 0}, "`k` must be whole numbers of at least 1, got 0"),
        ({"gain": "log"}, "`gain` must be 'linear' or 'exponential', got 'log'"),
        ({"neighbors": -1}, "`neighbors` must be a whole number of at least 0, got -1"),
    ],
)
def test_arguments_out_of_range_are_an_error(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RankedRetrieval(judgements={"q": {"a": 1}}, **options)


def test_an_unknown_metric_lists_those_there_are() -> None:
    message = (
        "unknown metric 'ndgc@10'; did you mean 'ndcg@k'? There are: 'hit_rate@k', 'judged@k', "
        "'map@k', 'map@r', 'map_min@k', 'mrr@k', 'ndcg@k', 'precision@k', 'r_precision', 'recall@k'"
    )
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        RankedRetrieval(judgements={"q": {"a": 1}}, metrics="ndgc@10")


def test_evidence_has_the_values_and_the_documents_of_each_query() -> None:
    ranked = RankedRetrieval(
        judgements={"q1": {"a": 2, "b": 0}, "q3": {"a": 0}},
        k=2,
        metrics=["precision"],
        distance="dot",
        neighbors=2,
    )
    ranked.keep_evidence = True
    queries = rows_of("query", ["q2", "q1", "q3"], [[1.0], [2.0], [-1.0]])
    run([ranked], [queries, rows_of("gallery", ["a", "b", "c"], [[1.0], [2.0], [3.0]])])
    tables = ranked.evidence()
    assert tables["queries"]["id"].tolist() == ["q1", "q2", "q3"]
    np.testing.assert_array_equal(tables["queries"]["precision@2"], [0.0, np.nan, np.nan])
    first = take(tables["neighbors"], slice(2))
    assert {name: column.tolist() for name, column in first.items() if name != "grade"} == {
        "id": ["q1", "q1"],
        "rank": [1, 2],
        "neighbor": ["c", "b"],
        "score": [6.0, 4.0],
        "relevant": [False, False],
    }
    np.testing.assert_array_equal(first["grade"], [np.nan, 0.0])
    assert len(tables["neighbors"]["id"]) == 6


def test_it_runs_from_the_front_door() -> None:
    data = {
        "query": {"id": ["q1", "q2"], "output": np.eye(2, dtype=np.float32)},
        "gallery": {"id": ["a", "b"], "output": np.eye(2, dtype=np.float32)[::-1]},
    }
    ranked = mp.RankedRetrieval(judgements={"q1": {"b": 1}, "q2": {"b": 1}}, k=1, metrics="recall")
    assert mp.evaluate(None, data, [ranked]) == {
        "validation/recall@1": 0.5,
        "validation/queries_without_judgements": 0.0,
        "validation/queries_without_relevant": 0.0,
    }
