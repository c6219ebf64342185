"""Drives pair inferencers through a run, as a runner does: one for each worker."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from milepost.inferencers import PairInferencer, Rows

Array = np.ndarray[Any, np.dtype[Any]]


def table(role: str, embeddings: Any, labels: Any, ids: Any = None) -> Rows:
    """Return the rows of one role."""
    count = len(embeddings)
    ids = np.arange(count) if ids is None else np.asarray(ids)
    return {"id": ids, "role": np.full(count, role), "output": embeddings, "label": labels}


def clustered(seed: int, count: int, role: str = "query", spread: float = 1.0) -> Any:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, count)
    noise = spread * rng.standard_normal((count, 4))
    embeddings = (np.random.default_rng(0).standard_normal((5, 4))[labels] + noise).astype("f4")
    return table(role, embeddings, labels, rng.permutation(2 * count)[:count])


def take(rows: Rows, at: Any) -> Rows:
    return {name: array[at] for name, array in rows.items()}


def run(workers: Sequence[PairInferencer], *shares: Sequence[Rows], block: int = 10**9) -> Any:
    """Run workers over their batches; return the metrics, the same on every worker."""
    for worker, batches in zip(workers, shares, strict=True):
        worker.reset()
        for batch in batches:
            worker.update(batch)
    merge(workers)
    done = 0
    while done < max(worker.rounds for worker in workers):
        for worker in workers:
            worker.start_round(done)
        for part in (worker.rows() for worker in workers):
            for start in range(0, len(part["id"]), block):
                for worker in workers:
                    worker.scan(take(part, slice(start, start + block)), done)
        for worker in workers:
            worker.end_round(done)
        merge(workers)
        done += 1
    metrics = [worker.compute() for worker in workers]
    for other in metrics[1:]:
        assert_same(other, metrics[0])
    return metrics[0]


def merge(workers: Sequence[PairInferencer]) -> None:
    states = [worker.state() for worker in workers]
    for rank, worker in enumerate(workers):
        worker.merge([state for other, state in enumerate(states) if other != rank])


def split(rows: Rows, workers: int, batch: int, seed: int = 0) -> list[list[Rows]]:
    """Return shuffled rows in batches, dealt out unevenly; the second of many has none."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows["id"]))
    owner = rng.integers(0, workers, len(order)) ** 2 // max(1, workers - 1)
    if workers > 2:
        owner[owner == 1] = 0
    shares = []
    for worker in range(workers):
        own = order[owner == worker]
        starts = range(0, len(own), batch)
        shares.append([take(rows, own[start : start + batch]) for start in starts])
    return shares


def assert_same(one: Mapping[str, float] | None, other: Mapping[str, float] | None) -> None:
    """To the bit, and NaN is NaN."""
    assert one is not None
    assert other is not None
    assert list(one) == list(other)
    np.testing.assert_array_equal(list(one.values()), list(other.values()))


def evaluate(make: Callable[[], PairInferencer], *rows: Rows) -> Any:
    """Run one worker over batches of any roles."""
    return run([make()], rows)
