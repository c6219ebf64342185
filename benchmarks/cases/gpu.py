"""Search and ranking on a GPU, by wall time.

Where there is none, tensors stay on the CPU, to try the code out.
"""

import time
from typing import Any

from benchmarks.cases import knn, ranking
from benchmarks.cases.case import Case, Run
from benchmarks.cases.pairs import whole_run
from benchmarks.data import Array


def tensors(*arrays: Array) -> Any:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return [torch.from_numpy(array).to(device) for array in arrays]


def finished(run: Run) -> Run:
    """Return a run that waits for what it asked the GPU to do."""
    import torch

    def waiting() -> Any:
        result = run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return result

    return waiting


def milepost_search(rows: Array, labels: Array, *, k: int) -> Run:
    from milepost.neighbors import search

    (own,) = tensors(rows)
    return finished(lambda: search(own, own, k))


def torch_search(rows: Array, labels: Array, *, k: int) -> Run:
    (own,) = tensors(rows)
    return finished(lambda: (own @ own.T).topk(k))


def milepost_ranking(rows: Array, labels: Array) -> Run:
    from milepost.inferencers import Retrieval

    own, classes = tensors(rows, labels)
    return finished(lambda: whole_run(Retrieval(k=1, metrics=ranking.METRICS), own, classes))


def torch_ranking(rows: Array, labels: Array) -> Run:
    own, classes = tensors(rows, labels)
    return finished(lambda: naive_ranking(own, classes))


def naive_ranking(own: Any, classes: Any) -> dict[str, float]:
    """Return the metrics from a full sort of all similarities."""
    import torch

    similar = (own @ own.T).fill_diagonal_(-torch.inf)
    order = similar.argsort(dim=1, descending=True)[:, :-1]
    hits = (classes[order] == classes[:, None]).double()
    relevant = hits.sum(dim=1)
    hits, relevant = hits[relevant > 0], relevant[relevant > 0]
    rank = torch.arange(1, hits.shape[1] + 1, device=own.device)
    first_r = hits * (rank <= relevant[:, None])
    precision = first_r.cumsum(dim=1) / rank
    values = {
        "hit_rate@1": hits[:, 0],
        "r_precision": first_r.sum(dim=1) / relevant,
        "map@r": (precision * first_r).sum(dim=1) / relevant,
        "mrr": 1 / (hits.argmax(dim=1) + 1),
    }
    return {name: float(value.double().mean()) for name, value in values.items()}


class DeviceMemory:
    """What tensors took on the GPU since this was made."""

    def __init__(self) -> None:
        import torch

        self._counted = torch.cuda.is_available()
        if self._counted:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()

    def added_mb(self) -> float:
        import torch

        if not self._counted:
            return 0.0
        return float(torch.cuda.max_memory_allocated() - self._before) / 2**20


CASE = Case(
    {
        "milepost search": milepost_search,
        "torch search": torch_search,
        "faiss on the CPU": knn.faiss,
        "milepost ranking": milepost_ranking,
        "torch ranking": torch_ranking,
        "PML, faiss on the CPU": ranking.pytorch_metric_learning,
    },
    clock=time.perf_counter,
    memory=DeviceMemory,
)
