"""The values of sentence-transformers' evaluator, with ties and lone queries."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer import evaluation
from sentence_transformers.util import cos_sim

from milepost.inferencers import RankedRetrieval
from tests.inferencers.rounds import run
from tests.inferencers.test_ranked_retrieval import evaluate, rows_of, small_case

PEER = {
    "accuracy@k": "hit_rate",
    "precision@k": "precision",
    "recall@k": "recall",
    "mrr@k": "mrr",
    "ndcg@k": "ndcg",
    "map@k": "map_min",
}


def evaluator(relevant: Any, queries: Any, corpus: Any, k: int, **options: Any) -> Any:
    """Return the evaluator; the texts of queries and documents are their ids."""
    kinds = "accuracy", "precision_recall", "mrr", "ndcg", "map"
    depths = {f"{kind}_at_k": [k] for kind in kinds}
    texts = ({name: name for name in names} for names in (queries[0], corpus[0]))
    return evaluation.InformationRetrievalEvaluator(*texts, relevant, **depths, **options)


def their_values(relevant: Any, queries: Any, corpus: Any, k: int) -> Any:
    """Return what the evaluator finds in the scores of all pairs."""
    scores = np.asarray(queries[1], "f8") @ np.asarray(corpus[1], "f8").T
    found = [
        [{"corpus_id": name, "score": score} for name, score in zip(corpus[0], row, strict=True)]
        for query, row in zip(queries[0], scores.tolist(), strict=True)
        if relevant.get(query)
    ]
    return evaluator(relevant, queries, corpus, k).compute_metrics(found)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 10]))
def test_values_are_those_of_sentence_transformers(seed: int, k: int) -> None:
    judgements, queries, corpus = small_case(seed)
    relevant = {q: {d for d, grade in of.items() if grade > 0} for q, of in judgements.items()}
    ours = evaluate(relevant, queries, corpus, k=k)
    theirs = their_values(relevant, queries, corpus, k)
    for name, base in PEER.items():
        assert ours[f"{base}@{k}"] == pytest.approx(theirs[name][k], abs=1e-6), name


def test_tensors_give_the_values_of_arrays() -> None:
    judgements, queries, corpus = small_case(3)
    rows = [rows_of("query", *queries), rows_of("gallery", *corpus)]
    tensors = [{**each, "output": torch.from_numpy(each["output"])} for each in rows]
    ranked = RankedRetrieval(judgements=judgements, distance="dot")
    assert run([ranked], tensors) == evaluate(judgements, queries, corpus)


@pytest.mark.parametrize("k", [1, 10])
def test_values_are_those_of_a_whole_evaluation_of_sentence_transformers(
    k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    queries = [f"q{at}" for at in range(40)], rng.normal(size=(40, 8)).astype("f4")
    corpus = [f"d{at}" for at in range(500)], rng.normal(size=(500, 8)).astype("f4")
    relevant = {name: set(rng.choice(corpus[0], 5).tolist()) for name in queries[0][:30]}
    embeddings = dict(zip(*queries, strict=True)) | dict(zip(*corpus, strict=True))
    theirs = evaluator(
        relevant, queries, corpus, k, score_functions={"cosine": cos_sim}, corpus_chunk_size=64
    )
    monkeypatch.setattr(
        theirs,
        "embed_inputs",
        lambda model, names, **options: torch.from_numpy(np.stack([embeddings[x] for x in names])),
    )
    expected = theirs.compute_metrices(torch.nn.Identity())["cosine"]
    ours = evaluate(relevant, queries, corpus, k=k, distance="cosine")
    for name, base in PEER.items():
        assert ours[f"{base}@{k}"] == pytest.approx(expected[name][k], abs=1e-6), name
