"""What a runner makes of columns alone, without a model."""

from typing import Any

import numpy as np

from milepost.inferencers import Inferencer, LabelSets, Retrieval, ScalarStats, any_shared
from milepost.runners import evaluate


def test_an_inferencer_is_given_the_rows_of_its_roles_only() -> None:
    class Count(Inferencer):
        name = "count"
        fetches = ("input",)

        def __init__(self, *roles: str) -> None:
            self.roles = roles

        def reset(self) -> None:
            self.seen: list[tuple[str, int]] = []

        def update(self, rows: Any) -> None:
            self.seen += zip(rows["role"].tolist(), rows["id"].tolist(), strict=True)

        def state(self) -> Any:
            return {}

        def merge(self, states: Any) -> None: ...

        def compute(self) -> dict[str, float]:
            return {"rows": len(self.seen)}

    both, gallery = Count("query", "gallery"), Count("gallery")
    data = {"query": {"input": np.zeros(3)}, "gallery": {"input": np.zeros(2)}}
    metrics = evaluate(None, data, [both, gallery])
    assert list(metrics.values()) == [5, 2]
    assert gallery.seen == [("gallery", 0), ("gallery", 1)]


def test_an_inferencer_of_pairs_is_told_its_memory_and_whether_ids_are_shared() -> None:
    retrieval = Retrieval(k=(1,))
    data = {"output": np.eye(4, dtype=np.float32), "label": [0, 0, 1, 1]}
    evaluate(None, data, [retrieval], shared_ids=True, max_memory_bytes=12_345_678)
    assert (retrieval.shared_ids, retrieval.max_memory_bytes) == (True, 12_345_678)


def test_a_field_of_one_role_is_fetched_by_the_inferencers_of_that_role() -> None:
    data = {
        "query": {
            "output": np.eye(4, dtype=np.float32),
            "label": [0, 0, 1, 1],
            "difficulty": [1.0] * 4,
        },
        "gallery": {"output": np.eye(4, dtype=np.float32), "label": [0, 0, 1, 1]},
    }
    metrics = evaluate(None, data, [Retrieval(k=(1,)), ScalarStats("difficulty")], shared_ids=True)
    assert metrics["validation/difficulty"] == 1.0


def test_lists_of_labels_may_differ_in_length_within_a_batch_and_between() -> None:
    lists = [[0, 1], [1], [], [2], [0, 2], [1], [0], [2]]
    columns = [[label in each for label in range(3)] for each in lists]
    output = np.random.default_rng(0).normal(size=(8, 2))
    sets = Retrieval(labels=LabelSets("label"), relevant=any_shared)
    expected = evaluate(
        None, {"output": output, "label": np.array(columns)}, [Retrieval(relevant=any_shared)]
    )
    assert evaluate(None, {"output": output, "label": lists}, [sets], batch_size=3) == expected
    for size in (1, 2, 3, 8):
        parts = (slice(at, at + size) for at in range(0, 8, size))
        batches = [{"output": output[part], "label": lists[part]} for part in parts]
        assert evaluate(None, batches, [sets]) == expected


def test_ids_and_roles_can_be_fetched_by_name() -> None:
    class Ids(Inferencer):
        name = "ids"
        fetches = ("id", "role")

        def reset(self) -> None:
            self.seen: list[tuple[int, str]] = []

        def update(self, rows: Any) -> None:
            self.seen += zip(rows["id"].tolist(), rows["role"].tolist(), strict=True)

        def state(self) -> Any:
            return {}

        def merge(self, states: Any) -> None: ...

        def compute(self) -> dict[str, float]:
            return {"count": len(self.seen)}

    ids = Ids()
    assert evaluate(None, {"x": [1.0, 2.0]}, [ids]) == {"validation/count": 2.0}
    assert ids.seen == [(0, "query"), (1, "query")]
