from typing import Any

import numpy as np
import pytest

from milepost.inferencers import MatchRate, PairInferencer, Retrieval
from milepost.inferencers._pair_rows import PairRows


def batches(rows: int = 60, size: int = 7) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    ids, labels = rng.permutation(rows), rng.integers(0, 5, rows)
    output = rng.standard_normal((rows, 4)).astype(np.float32)
    role = np.where(ids % 3 > 0, "gallery", "query")
    whole = {"id": ids, "role": role, "output": output, "label": labels}
    parts = (slice(start, start + size) for start in range(0, rows, size))
    return [{name: column[part] for name, column in whole.items()} for part in parts]


@pytest.mark.parametrize("budget", [1, 500, 2000])
def test_rows_above_the_budget_go_to_a_file_and_come_back_sorted(budget: int) -> None:
    small, large = PairRows("output", "label"), PairRows("output", "label")
    for batch in batches():
        small.add(batch, budget)
        large.add(batch)
    for role in ("query", "gallery"):
        found, expected = small.of(role), large.of(role)
        assert isinstance(found.embeddings, np.memmap)
        assert not isinstance(expected.embeddings, np.memmap)
        np.testing.assert_array_equal(found.embeddings, expected.embeddings)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.labels, expected.labels)


def metrics_of(inferencer: PairInferencer, budget: int | None) -> dict[str, float]:
    inferencer.max_memory_bytes = budget
    for batch in batches():
        inferencer.update(batch)
    number = 0
    while number < inferencer.rounds:
        inferencer.start_round(number)
        inferencer.scan(inferencer.rows(), number)
        inferencer.end_round(number)
        number += 1
    return dict(inferencer.compute() or {})


@pytest.mark.parametrize("kind", [Retrieval, MatchRate])
def test_a_budget_changes_no_metric(kind: type[Retrieval] | type[MatchRate]) -> None:
    assert metrics_of(kind(), 3000) == metrics_of(kind(), None)
