"""The shared values of retrieval metrics, through the front door."""

import json
import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milepost as mp

CASES = json.loads((Path(__file__).parent / "cases/metric_cases.json").read_text())

DISTANCES: dict[str, Any] = {"sqeuclidean": "l2", "cosine": "cosine", "dot": "dot"}

RELEVANT: dict[str, Callable[[Any, Any], Any] | None] = {
    "equal": None,
    "abs_diff_lt_1": lambda x, y: np.abs(x - y) < 1,
    "col0_eq_col1_ne": lambda x, y: (x[..., 0] == y[..., 0]) & (x[..., 1] != y[..., 1]),
    "any_shared_tag": lambda x, y: ((x > 0) & (y > 0)).any(axis=-1),
}


def generated(spec: dict[str, Any]) -> Any:
    """Build a case by the generator that its file carries."""
    namespace: dict[str, Any] = {}
    exec(CASES["meta"]["generator_code"], namespace)
    return namespace["build"](spec)


def arrays_of(case: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    if "generator" in case:
        return generated(case["generator"]["spec"])  # type: ignore[no-any-return]
    return (
        case["query"],
        case["query_labels"],
        case.get("reference"),
        case.get("reference_labels"),
    )


def columns(embeddings: Any, labels: Any) -> Any:
    return {"output": np.asarray(embeddings, np.float32), "label": np.asarray(labels)}


FORMS: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {"columns": (None, columns)}
if find_spec("torch"):
    import torch
    from torch.utils.data import TensorDataset

    FORMS["torch"] = (
        torch.nn.Identity(),
        lambda *arrays: TensorDataset(*map(torch.from_numpy, columns(*arrays).values())),
    )
every_form = pytest.mark.parametrize("form", FORMS)


def examine(case: dict[str, Any], form: str, average: Any, **options: Any) -> dict[str, float]:
    """Return the case's metrics under the names of its file."""
    model, dataset = FORMS[form]
    query, query_labels, reference, reference_labels = arrays_of(case)
    data: Any = dataset(query, query_labels)
    depth = case.get("k") or len(query)
    if reference is not None:
        data = {"query": data, "gallery": dataset(reference, reference_labels)}
        depth = case.get("k") or len(reference)
    retrieval = mp.Retrieval(
        k=(1, depth),
        distance=DISTANCES[case.get("distance", "sqeuclidean")],
        relevant=RELEVANT[case.get("compare", "equal")],
        average=average,
    )
    shared_ids = case.get("ref_includes_query", reference is None)
    metrics = mp.evaluate(model, data, [retrieval], shared_ids=shared_ids, **options)
    return {
        "precision_at_1": metrics["validation/hit_rate@1"],
        "r_precision": metrics["validation/r_precision"],
        "mean_average_precision_at_r": metrics["validation/map@r"],
        "mean_average_precision": metrics[f"validation/map@{depth}"],
        "mean_reciprocal_rank": metrics["validation/mrr"],
    }


def agree(given: dict[str, float], expected: dict[str, Any], *, nan_ok: bool = True) -> None:
    for name, value in expected.items():
        tolerance = 2e-6 if name == "mean_reciprocal_rank" else 1e-6
        wanted = math.nan if value == "NaN" else value
        assert given[name] == pytest.approx(wanted, abs=tolerance, nan_ok=nan_ok), name


@pytest.mark.parametrize("case", CASES["retrieval_cases"], ids=lambda case: case["id"])
@every_form
@pytest.mark.parametrize(("average", "kind"), [("sample", "micro"), ("class", "macro")])
def test_retrieval_reproduces_the_shared_values(
    case: dict[str, Any], form: str, average: str, kind: str
) -> None:
    agree(examine(case, form, average), case["expected"][kind])


@pytest.mark.parametrize("case", CASES["known_deviations"], ids=lambda case: case["id"])
@every_form
@pytest.mark.parametrize(("average", "kind"), [("sample", "micro"), ("class", "macro")])
def test_retrieval_is_right_where_the_peer_deviates(
    case: dict[str, Any], form: str, average: str, kind: str
) -> None:
    agree(examine(case, form, average), case["suggested"][kind])


@every_form
@pytest.mark.parametrize("options", [{"batch_size": 7}, {"max_memory_bytes": 200_000}], ids=str)
def test_the_largest_case_depends_neither_on_batches_nor_on_blocks(form: str, options: Any) -> None:
    case = CASES["retrieval_cases"][-1]
    assert examine(case, form, "sample", **options) == examine(case, form, "sample")
