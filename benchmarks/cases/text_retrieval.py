"""The examination of the text recipe: texts through one model, ranked against judgements."""

from typing import Any

from benchmarks.cases.case import Case, Run
from benchmarks.data import Array

DEPTHS = [1, 5, 10]


def milepost(rows: Array, labels: Array) -> Run:
    import milepost as mp
    from milepost.configs.text_retrieval import Texts

    model, retrieval = encoder(), mp.RankedRetrieval(judgements=relevant(), k=DEPTHS)
    data = {"query": Texts("question"), "gallery": Texts("passage")}
    return lambda: mp.evaluate(model, data, [retrieval], inputs=["text"], batch_size=32)


def sentence_transformers(rows: Array, labels: Array) -> Run:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    from milepost.configs.text_retrieval import read_pairs

    model, pairs = encoder().encoder, read_pairs()
    evaluator = InformationRetrievalEvaluator(
        {pair.id: pair.question for pair in pairs},
        {pair.id: pair.passage for pair in pairs},
        relevant(),
        mrr_at_k=DEPTHS,
        ndcg_at_k=DEPTHS,
        accuracy_at_k=DEPTHS,
        precision_recall_at_k=DEPTHS,
        map_at_k=DEPTHS,
        batch_size=32,
        write_csv=False,
    )
    return lambda: evaluator(model)


def encoder() -> Any:
    from milepost.configs.text_retrieval import MiniLM

    return MiniLM().eval()


def relevant() -> dict[str, set[str]]:
    from milepost.configs.text_retrieval import judgements

    return {query: set(grades) for query, grades in judgements().items()}


CASE = Case({"milepost": milepost, "sentence-transformers": sentence_transformers})
