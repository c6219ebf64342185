"""The shared values of retrieval and of clustering, through the front door."""

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
    "abs_diff_lt_2": lambda x, y: np.abs(x - y) < 2,
    "any_shared_tag": mp.any_shared,
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


METRICS = {
    "precision_at_1": "hit_rate@1",
    "r_precision": "r_precision",
    "mean_average_precision_at_r": "map@r",
    "mean_average_precision": "map@{depth}",
    "mean_reciprocal_rank": "mrr",
}


def retrieve(
    data: Any, model: Any, depth: int, *, shared_ids: bool, more: Any = None, **options: Any
) -> tuple[dict[str, float], mp.Retrieval]:
    """Return metrics under the names of the file, and what gave them."""
    retrieval = mp.Retrieval(k=(1, depth), **(more or {}))
    metrics = mp.evaluate(model, data, [retrieval], shared_ids=shared_ids, **options)
    names = {peer: f"validation/{name.format(depth=depth)}" for peer, name in METRICS.items()}
    return {peer: metrics[name] for peer, name in names.items()}, retrieval


def run(
    case: dict[str, Any], form: str, average: Any, **options: Any
) -> tuple[dict[str, float], mp.Retrieval]:
    model, dataset = FORMS[form]
    query, query_labels, reference, reference_labels = arrays_of(case)
    data: Any = dataset(query, query_labels)
    depth = case.get("k") or len(query)
    if reference is not None:
        data = {"query": data, "gallery": dataset(reference, reference_labels)}
        depth = case.get("k") or len(reference)
    more = {
        "distance": DISTANCES[case.get("distance", "sqeuclidean")],
        "relevant": RELEVANT[case.get("compare", "equal")],
        "average": average,
    }
    shared_ids = case.get("ref_includes_query", reference is None)
    return retrieve(data, model, depth, shared_ids=shared_ids, more=more, **options)


def examine(case: dict[str, Any], form: str, average: Any, **options: Any) -> dict[str, float]:
    """Return the case's metrics under the names of its file."""
    return run(case, form, average, **options)[0]


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


@pytest.mark.parametrize(
    "case",
    [case for case in CASES["retrieval_cases"] if case["classes"] is not None],
    ids=lambda case: case["id"],
)
def test_the_table_of_classes_reproduces_the_shared_values(case: dict[str, Any]) -> None:
    _, retrieval = run(case, "columns", "class")
    classes = retrieval.evidence()["classes"]
    counted = classes["queries"] > 0
    assert classes["queries"].sum() == case["n_valid_queries"]
    assert classes["label"][counted].tolist() == case["classes"]
    depth = case.get("k") or len(arrays_of(case)[2] or arrays_of(case)[0])
    for peer, name in METRICS.items():
        expected = case["expected"]["per_class"].get(peer)
        if expected is not None:  # not with a depth at which the peer cuts R
            values = classes[name.format(depth=depth)][counted]
            assert values == pytest.approx(expected, abs=2e-6), name


@pytest.mark.parametrize("case", CASES["knn_label_cases"], ids=lambda case: case["id"])
def test_kernels_reproduce_the_values_of_given_neighbours(case: dict[str, Any]) -> None:
    labels, near = np.array(case["query_labels"]), np.array(case["knn_labels"])
    counts = case["reference_label_counts"]
    relevant = np.array([counts[str(label)] for label in labels]) - case["ref_includes_query"]
    arguments, depth = (near == labels[:, None], relevant), near.shape[1]
    values = {
        "precision_at_1": mp.neighbors.hit_rate(*arguments, 1),
        "r_precision": mp.neighbors.r_precision(*arguments),
        "mean_average_precision_at_r": mp.neighbors.average_precision_at_r(*arguments),
        "mean_average_precision": mp.neighbors.average_precision(*arguments, depth),
        "mean_reciprocal_rank": mp.neighbors.reciprocal_rank(*arguments),
    }
    for name, each in values.items():
        of_classes = [each[labels == label].mean() for label in case["classes"]]
        expected = {kind: case["expected"][kind][name] for kind in ("micro", "macro", "per_class")}
        assert each.mean() == pytest.approx(expected["micro"], abs=2e-6)
        assert np.mean(of_classes) == pytest.approx(expected["macro"], abs=2e-6)
        assert of_classes == pytest.approx(expected["per_class"], abs=2e-6)


@pytest.mark.parametrize("case", CASES["lone_label_cases"], ids=lambda case: case["id"])
@every_form
def test_lone_labels_are_left_out_and_counted(case: dict[str, Any], form: str) -> None:
    model, dataset = FORMS[form]
    labels = np.array(case["query_labels"])
    data, depth = dataset(np.arange(len(labels))[:, None], labels), len(labels)
    retrieval = mp.Retrieval(k=depth, relevant=RELEVANT[case["compare"]])
    metrics = mp.evaluate(model, data, [retrieval])
    assert metrics["validation/queries_without_relevant"] == case["not_lone_mask"].count(False)
    table = retrieval.evidence()["queries"]
    np.testing.assert_array_equal(~np.isnan(table["mrr"]), case["not_lone_mask"])
    assert labels[np.isnan(table["mrr"])].tolist() == case["lone"]
    matches = dict(zip(case["unique"], case["match_counts"], strict=True))
    found = table[f"precision@{depth}"] * depth + case["ref_includes_query"]
    expected = [matches[label] for label in labels]
    np.testing.assert_allclose(np.nan_to_num(found, nan=1.0), expected)


def on_an_ellipse(degrees: Any) -> Any:
    angles = np.deg2rad(degrees)
    return np.stack([2 * np.cos(angles), 0.5 * np.sin(angles)], axis=-1)


def splits_of(tester: str) -> list[Any]:
    (case,) = (case for case in CASES["tester_cases"] if case["tester"] == tester)
    splits = case["angles_and_labels"]
    return [(*map(np.array, splits[name]), case["expected"][name]) for name in splits]


@every_form
@pytest.mark.parametrize("split", splits_of("GlobalEmbeddingSpaceTester"), ids=["train", "val"])
def test_a_split_is_examined_as_by_the_peers_tester(split: Any, form: str) -> None:
    degrees, labels, expected = split
    model, dataset = FORMS[form]
    data = dataset(on_an_ellipse(degrees), labels)
    agree(retrieve(data, model, len(labels), shared_ids=True)[0], expected)


@every_form
@pytest.mark.parametrize("split", splits_of("WithSameParentLabelTester"), ids=["train", "val"])
def test_siblings_are_told_apart_by_the_mean_over_runs_for_each_parent(
    split: Any, form: str
) -> None:
    degrees, labels, expected = split
    model, dataset = FORMS[form]
    runs = []
    for parent in np.unique(labels[:, 1]):
        own = labels[:, 1] == parent
        data = dataset(on_an_ellipse(degrees[own]), labels[own, 0])
        runs.append(retrieve(data, model, own.sum().item(), shared_ids=True)[0])
    agree({name: np.mean([run[name] for run in runs]).item() for name in runs[0]}, expected)


@every_form
def test_two_streams_are_queries_and_a_gallery(form: str) -> None:
    (case,) = (case for case in CASES["tester_cases"] if "anchors_deg" in case)
    model, dataset = FORMS[form]
    streams = {"query": case["anchors_deg"], "gallery": case["positives_deg"]}
    data = {role: dataset(on_an_ellipse(x), case["labels"]) for role, x in streams.items()}
    given, _ = retrieve(data, model, len(case["labels"]), shared_ids=False)
    agree(given, case["expected"]["train"])


@pytest.mark.parametrize("case", CASES["clustering_cases"], ids=lambda case: case["id"])
@every_form
def test_clustering_reproduces_the_shared_values(case: dict[str, Any], form: str) -> None:
    model, dataset = FORMS[form]
    clusters = np.array(case["clusters"])
    apart = np.eye(clusters.max() + 1)[clusters]  # k-means can but find these clusters
    clustering = mp.Clustering(clusters=apart.shape[1], distance="l2", restarts=20)
    metrics = mp.evaluate(model, dataset(apart, case["labels"]), [clustering])
    for name in ("NMI", "AMI"):
        given = metrics[f"validation/{name.lower()}"]
        assert given == pytest.approx(case[name], abs=1e-6), name
