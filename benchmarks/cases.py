"""One side of one row, run in a process of its own: python benchmarks/cases.py ROW SIDE SIZE ..."""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

DIMENSION = 128
MATCH_THRESHOLD = 0.5
Side = Callable[[], Any]


def embeddings(kind: str, samples: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit rows of a kind, float32, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, samples)
    noise = rng.standard_normal((samples, DIMENSION))
    centres = rng.standard_normal((classes, DIMENSION))
    spread = {"random": (0.0, 1.0), "clustered": (0.6, 1.0), "collapsed": (0.0, 1e-7)}
    towards, away = spread[kind]
    rows = towards * centres[labels] + away * noise + (kind == "collapsed")
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def knn(side: str, kind: str, samples: int, k: int) -> Side:
    rows, _ = embeddings(kind, samples, 100)
    if side == "milepost":
        from milepost.neighbors import search

        return lambda: search(rows, rows, k)
    import faiss

    return lambda: faiss.knn(rows, rows, k, metric=faiss.METRIC_INNER_PRODUCT)


def ranking(side: str, kind: str, samples: int, classes: int) -> Side:
    rows, labels = embeddings(kind, samples, classes)
    if side == "milepost":
        from milepost.inferencers import Retrieval

        names = ["hit_rate", "r_precision", "map@r"]
        return lambda: whole_run(Retrieval(k=1, metrics=names), rows, labels)
    import torch

    tensors = torch.from_numpy(rows), torch.from_numpy(labels)
    if side == "torchmetrics":
        from torchmetrics.retrieval import RetrievalMAP

        metric = RetrievalMAP(top_k=100)
        similar = tensors[0] @ tensors[0].T
        same = tensors[1][:, None] == tensors[1][None, :]
        index = torch.arange(samples)[:, None].expand(samples, samples)
        return lambda: metric(similar.ravel(), same.ravel(), indexes=index.ravel())
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
    )
    return lambda: calculator.get_accuracy(*tensors)


def matching(side: str, kind: str, samples: int, classes: int) -> Side:
    rows, labels = embeddings(kind, samples, classes)
    if side == "milepost":
        from milepost.inferencers import MatchRate

        return lambda: whole_run(MatchRate(), rows, labels)
    import torch
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.inference import MatchFinder

    finder, tensor = MatchFinder(CosineSimilarity(), threshold=MATCH_THRESHOLD), torch.tensor(rows)
    return lambda: finder.get_matching_pairs(tensor)


def loop(side: str, kind: str, batches: int, _: int) -> Side:
    """Run a trivial model over batches of 32; the time is that of all batches."""
    import torch

    model = torch.nn.Linear(8, 8).eval()
    scalar = torch.nn.Sequential(torch.nn.Linear(8, 1), torch.nn.Flatten(0)).eval()
    data = [torch.zeros(32, 8) for _ in range(batches)]
    labels = torch.zeros(32, dtype=torch.long)
    if side == "milepost":
        import milepost as mp

        batched = [{"x": x, "label": labels} for x in data]
        return lambda: mp.evaluate(scalar, batched, [mp.ScalarStats("output")], inputs=("x",))
    if side == "raw loop":
        return torch.no_grad()(lambda: [scalar(x).mean().item() for x in data])
    from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester

    tester = GlobalEmbeddingSpaceTester(batch_size=32, dataloader_num_workers=0)
    rows = torch.utils.data.TensorDataset(torch.cat(data), labels.repeat(batches))
    return lambda: tester.get_all_embeddings(rows, model)


def whole_run(inferencer: Any, rows: np.ndarray, labels: np.ndarray) -> Any:
    role = np.array(["query"] * len(rows))
    batch = {"id": np.arange(len(rows)), "role": role, "output": rows, "label": labels}
    inferencer.reset()
    inferencer.update(batch)
    at = 0
    while at < inferencer.rounds:
        inferencer.start_round(at)
        inferencer.scan(inferencer.rows(), at)
        inferencer.end_round(at)
        at += 1
    return inferencer.compute()


ROWS = {"knn": knn, "ranking": ranking, "matching": matching, "loop": loop}


def warm_up(row: str, side: str, kind: str) -> None:
    """Load what the side needs, on a small input, so that it is not timed."""
    small = {"knn": (2000, 10), "ranking": (2000, 100), "matching": (1000, 100), "loop": (3, 0)}[
        row
    ]
    ROWS[row](side, kind, *small)()


def libraries() -> list[dict[str, Any]]:
    from threadpoolctl import threadpool_info

    keys = ("internal_api", "version", "architecture", "num_threads")
    return [{key: each.get(key) for key in keys} for each in threadpool_info()]


def main() -> None:
    row, side, kind = sys.argv[1:4]
    size = [int(each) for each in sys.argv[4:6]]
    warm_up(row, side, kind)
    run = ROWS[row](side, kind, *size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(int(sys.argv[6])):
        start = time.process_time()  # of all threads, of which there is one
        run()
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    result = {"seconds": statistics.median(seconds), "peak_mb": peak / 1024}
    print(json.dumps({**result, "libraries": libraries()}))


if __name__ == "__main__":
    main()
