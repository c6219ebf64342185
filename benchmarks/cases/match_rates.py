"""How many pairs match: ours at every threshold, the peer's at one."""

from benchmarks.cases.case import Case, Run
from benchmarks.cases.pairs import whole_run
from benchmarks.data import Array

THRESHOLD = 0.5


def milepost(rows: Array, labels: Array) -> Run:
    from milepost.inferencers import MatchRate

    return lambda: whole_run(MatchRate(), rows, labels)


def milepost_beside_torch(rows: Array, labels: Array) -> Run:
    import torch  # noqa: F401, as a program that embeds with it has done

    return milepost(rows, labels)


def pytorch_metric_learning(rows: Array, labels: Array) -> Run:
    import torch
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.inference import MatchFinder

    finder = MatchFinder(CosineSimilarity(), threshold=THRESHOLD)
    tensor = torch.from_numpy(rows)
    return lambda: finder.get_matching_pairs(tensor)


CASE = Case(
    {
        "milepost": milepost,
        "milepost beside torch": milepost_beside_torch,
        "pytorch-metric-learning": pytorch_metric_learning,
    }
)
