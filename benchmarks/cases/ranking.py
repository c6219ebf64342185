"""P@1, R-precision, MAP@R and MRR of rows among themselves, by label."""

from typing import Any

from benchmarks.cases.case import Case, Run
from benchmarks.cases.pairs import whole_run
from benchmarks.data import Array

OML_ITEMS = 100
METRICS = ("hit_rate", "r_precision", "map@r", "mrr")


def milepost(rows: Array, labels: Array) -> Run:
    from milepost.inferencers import Retrieval

    return lambda: whole_run(Retrieval(k=1, metrics=METRICS), rows, labels)


def pytorch_metric_learning(rows: Array, labels: Array) -> Run:
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    calculator = AccuracyCalculator(
        include=(
            "precision_at_1",
            "r_precision",
            "mean_average_precision_at_r",
            "mean_reciprocal_rank",
        ),
        k="max_bin_count",
        device=torch.device("cpu"),
    )
    tensors = torch.from_numpy(rows), torch.from_numpy(labels)
    return lambda: calculator.get_accuracy(*tensors)


def torchmetrics(rows: Array, labels: Array) -> Run:
    import torch
    from torchmetrics import retrieval

    kinds = {
        "hit_rate": retrieval.RetrievalHitRate(top_k=1),
        "r_precision": retrieval.RetrievalRPrecision(),
        "map": retrieval.RetrievalMAP(),
        "mrr": retrieval.RetrievalMRR(),
    }
    own, tensor = torch.from_numpy(rows), torch.from_numpy(labels)
    others = ~torch.eye(len(rows), dtype=torch.bool)
    queries = torch.arange(len(rows))[:, None].expand(others.shape)[others]

    def run() -> Any:
        similar = (own @ own.T)[others]
        same = (tensor[:, None] == tensor[None, :])[others]
        return {name: kind(similar, same, indexes=queries) for name, kind in kinds.items()}

    return run


def open_metric_learning(rows: Array, labels: Array) -> Run:
    """Find as many items as it does by default; CMC@1, precision and MAP at the mean R."""
    import torch
    from oml.functional.knn import batched_knn
    from oml.functional.metrics import calc_retrieval_metrics

    own, tensor, ids = torch.from_numpy(rows), torch.from_numpy(labels), torch.arange(len(rows))
    depth = max(1, len(rows) // len(set(labels.tolist())))

    def run() -> Any:
        _, retrieved, relevant = batched_knn(own, ids, ids, OML_ITEMS, labels_gt=tensor)
        tops = {"cmc_top_k": (1,), "precision_top_k": (depth,), "map_top_k": (depth,)}
        return calc_retrieval_metrics(retrieved, relevant, **tops, verbose=False)

    return run


CASE = Case(
    {
        "milepost": milepost,
        "pytorch-metric-learning": pytorch_metric_learning,
        "torchmetrics": torchmetrics,
        "open-metric-learning": open_metric_learning,
    }
)
