"""The text recipe: its small corpus, and the peer's evaluator on the same model."""

import json
from pathlib import Path

import pytest
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

import milepost as mp
from milepost._cli import main
from milepost.configs.text_retrieval import MiniLM, Texts, judgements, read_pairs
from milepost.errors import UnknownNameError

RECIPE = str(Path(__file__).parents[2] / "configs" / "text_retrieval.yaml")
TOPICS = ("money", "music", "body", "computing")
DEPTHS = [1, 5, 10]
NAMES = {  # ours: the peer's
    "hit_rate": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "mrr": "mrr",
    "ndcg": "ndcg",
    "map_min": "map",
}


def test_each_question_has_its_passage_and_one_that_is_related() -> None:
    pairs = read_pairs()
    ids = [pair.id for pair in pairs]
    assert len(ids) == len(set(ids)) == 72
    assert len({text for pair in pairs for text in (pair.passage, pair.question)}) == 144
    for question, grades in judgements().items():
        assert grades[question] == 2
        assert sorted(grades.values()) == [1, 2]


def test_texts_are_those_of_the_topics_with_the_ids_of_their_passages() -> None:
    questions, passages = Texts("question", ["sea"]), Texts("passage", ["sea"])
    places = range(len(questions))
    assert {questions[at]["id"] for at in places} == {passages[at]["id"] for at in places}
    lengths = [len(questions[at]["text"]) for at in places]
    assert lengths == sorted(lengths)


def test_an_unknown_topic_is_named() -> None:
    with pytest.raises(UnknownNameError, match="'kitchin'"):
        Texts("passage", ["kitchin"])


def test_metrics_equal_those_of_the_evaluator_of_sentence_transformers() -> None:
    model = MiniLM()
    binary = {query: set(grades) for query, grades in judgements(TOPICS).items()}
    ours = mp.evaluate(
        model,
        {"query": Texts("question", TOPICS), "gallery": Texts("passage")},
        [mp.RankedRetrieval(judgements=binary, k=DEPTHS)],
        inputs=["text"],
    )
    theirs = InformationRetrievalEvaluator(
        {pair.id: pair.question for pair in read_pairs(TOPICS)},
        {pair.id: pair.passage for pair in read_pairs()},
        binary,
        mrr_at_k=DEPTHS,
        ndcg_at_k=DEPTHS,
        accuracy_at_k=DEPTHS,
        precision_recall_at_k=DEPTHS,
        map_at_k=DEPTHS,
        write_csv=False,
    )(model.encoder)
    for name, peer in NAMES.items():
        for k in DEPTHS:
            expected = theirs[f"cosine_{peer}@{k}"]
            assert ours[f"validation/{name}@{k}"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_tuning_on_other_topics_finds_more_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", RECIPE, "--rundir", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    found = [record["validation/ndcg@10"] for record in records if record["runner"]]
    assert len(found) == 5
    assert max(found) > found[0] + 0.005
