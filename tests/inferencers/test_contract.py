"""What every inferencer promises, run over each of them."""

import atexit
import math
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from milepost import inferencers, neighbors
from milepost.inferencers import Inferencer, PairInferencer, Rows, Table, unit_table
from milepost.inferencers._evidence import Over
from tests.kinds import CONVERTERS
from tests.pages import defined_metrics

pytestmark = pytest.mark.usefixtures("coarse_grid")
ROWS = 41  # in a whole run
LISTED = [(at, at * at % 41) for at in range(41)]  # pairs of ids


@dataclass(frozen=True)
class Case:
    """An inferencer and the arrays that it fetches."""

    make: Callable[[], Inferencer]
    columns: Callable[[np.random.Generator, int], Mapping[str, NDArray[Any]]]

    def rows(self, seed: int = 0, size: int = ROWS) -> Rows:
        return {
            "id": np.arange(size),
            "role": np.full(size, "query"),
            **self.columns(np.random.default_rng(seed), size),
        }


def scalars(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    return {"loss": rng.normal(size=size) * 10.0 ** rng.integers(-9, 9, size)}


def scalar_columns(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    return {
        "model.loss": rng.random((size, 1), np.float32),
        "half": rng.random(size).astype(np.float16),
        "count": rng.integers(-5, 5, size),
        "hit": rng.random(size) < 0.5,
    }


def logits(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    values = rng.integers(0, 4, (size, 7)).astype(np.float16)  # with many ties
    return {"output": values, "label": rng.integers(0, 7, (size, 1), np.uint8)}


def logits_of_7(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    values = rng.integers(0, 4, (size, 7)).astype(np.float32)
    return {"output": values, "label": rng.integers(0, 7, size)}


def wrong(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    return {"wrong": rng.random(size) < 0.3}


def scores(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    values = rng.integers(0, 11, size).astype(np.float32) / 10
    return {"output": values, "label": rng.random(size) < 0.4}


def unseparated(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    return {"output": rng.random((size, 1)), "label": np.zeros(size, int)}


def embeddings(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    # Small whole numbers: many scores are equal.
    return {
        "output": rng.integers(-2, 3, (size, 3)).astype(np.float32) + 0.5,
        "label": rng.integers(0, 5, size),
    }


def named(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    columns = embeddings(rng, size)
    return {**columns, "name": np.array(["even", "odd"])[columns["label"] % 2]}


def tagged(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    return {**embeddings(rng, size), "label": rng.random((size, 3)) < 0.4}


def with_gallery(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    in_gallery = np.arange(size) % 3 > 0
    ids = np.where(in_gallery, np.cumsum(in_gallery), np.cumsum(~in_gallery))
    roles = np.where(in_gallery, "gallery", "query")
    cameras = rng.integers(0, 3, size)
    return {**embeddings(rng, size), "id": ids.astype("<U4"), "role": roles, "camera": cameras}


def with_cameras(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    cameras = np.array(["front", "back", "left"])[rng.integers(0, 3, size)]
    return {**embeddings(rng, size), "camera": cameras}


def with_calibration(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    roles = np.where(np.arange(size) % 3 > 0, "calibration", "query")
    return {**with_cameras(rng, size), "role": roles}


def row_pairs(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    columns = with_calibration(rng, size)
    return {
        **{name: columns[name] for name in ("role", "camera")},
        "left": columns["output"],
        "right": rng.integers(-2, 3, (size, 3)).astype(np.float64) + 0.5,
        "same": rng.integers(0, 2, size),
    }


def grouped(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    rows = with_gallery(rng, size)
    item = rng.integers(0, 9, size)
    return {**rows, "label": item % 4, "item": item, "camera": rng.integers(0, 3, size)}


def lone_labels(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    return {**embeddings(rng, size), "label": np.array([f"label {at}" for at in range(size)])}


def predictions(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    return {"output": rng.integers(0, 6, size), "label": rng.integers(0, 7, (size, 1))}


def pictured(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    rows = with_gallery(rng, size)
    texts = np.array([f"text {at} " * (1 + at % 3) for at in range(size)])
    return {"id": rows["id"], "role": rows["role"], "text": texts, "image": rng.random((size, 9))}


def unhealthy(rng: np.random.Generator, size: int) -> Mapping[str, NDArray[Any]]:
    values = rng.normal(size=(size, 3)).astype(np.float16)
    values[::7, 1] = np.nan
    ids = np.array([f"{at:o}" for at in range(size)], dtype="<U9")
    return {"id": ids, "output": values, "label": rng.integers(0, 5, size)}


def shared(inferencer: PairInferencer) -> PairInferencer:
    inferencer.shared_ids = True  # as the runner sets it
    return inferencer


JUDGEMENTS = {
    str(query): {str(document): document % 4 for document in range(query, 30, 1 + query % 5)}
    for query in range(1, 13)
}

FOLDER = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)

CASES = {
    "ScalarStats": Case(lambda: inferencers.ScalarStats("loss"), scalars),
    "ScalarStats of several": Case(
        lambda: inferencers.ScalarStats("model.loss", "half", "count", "hit"), scalar_columns
    ),
    "ClassificationError": Case(inferencers.ClassificationError, logits),
    "ClassificationError of wrong": Case(
        lambda: inferencers.ClassificationError(wrong="wrong"), wrong
    ),
    "BinaryClassificationStats": Case(inferencers.BinaryClassificationStats, scores),
    "BinaryClassificationStats of one class": Case(
        inferencers.BinaryClassificationStats, unseparated
    ),
    "Retrieval": Case(inferencers.Retrieval, embeddings),
    "Retrieval in a gallery": Case(lambda: inferencers.Retrieval(distance="l2"), with_gallery),
    "Retrieval in a gallery with the queries": Case(
        lambda: shared(inferencers.Retrieval(average="class")), with_gallery
    ),
    "Retrieval outside groups": Case(
        lambda: inferencers.Retrieval(group=("label", "camera"), average="class"), grouped
    ),
    "Retrieval of objects": Case(
        lambda: inferencers.Retrieval(objects="item", group="camera", references="mean"), grouped
    ),
    "Retrieval of reduced embeddings": Case(
        lambda: inferencers.Retrieval(pca=1, dtype="bfloat16", distance=neighbors.LpDistance(p=1)),
        embeddings,
    ),
    "Retrieval of near labels": Case(
        lambda: inferencers.Retrieval(relevant=lambda q, g: abs(q - g) <= 1, distance="dot"),
        embeddings,
    ),
    "Retrieval at levels of labels": Case(
        lambda: inferencers.Retrieval(
            labels=("label", "name"), levels=True, average="class", vote="softmax"
        ),
        named,
    ),
    "Retrieval of sets of labels": Case(
        lambda: inferencers.Retrieval(
            relevant=inferencers.any_shared, distance="l2", vote="distance", per_class=True
        ),
        tagged,
    ),
    "Retrieval of graded labels": Case(
        lambda: inferencers.Retrieval(gain=lambda q, g: np.maximum(0, 2 - abs(q - g))),
        with_gallery,
    ),
    "Retrieval of nothing": Case(inferencers.Retrieval, lone_labels),
    "MatchRate": Case(lambda: inferencers.MatchRate(thresholds=(0.5,)), embeddings),
    "MatchRate in a gallery": Case(lambda: inferencers.MatchRate(distance="l2"), with_gallery),
    "MatchRate in a gallery with the queries": Case(
        lambda: shared(inferencers.MatchRate(distance="dot")), with_gallery
    ),
    "MatchRate by group": Case(
        lambda: inferencers.MatchRate(group="camera", thresholds=(0.5,)), with_cameras
    ),
    "MatchRate of a gallery by group": Case(
        lambda: shared(inferencers.MatchRate(group="camera", distance="l2")), with_gallery
    ),
    "MatchRate calibrated": Case(
        lambda: inferencers.MatchRate(calibrate_on="calibration", group="camera"), with_calibration
    ),
    "Verification": Case(
        lambda: inferencers.Verification(folds=3, group="camera", thresholds=(0.5,)), row_pairs
    ),
    "Verification calibrated": Case(
        lambda: inferencers.Verification(
            folds="camera", calibrate_on="calibration", distance="dot"
        ),
        row_pairs,
    ),
    "Verification of listed pairs": Case(
        lambda: inferencers.Verification("output", "label", pairs=LISTED, folds=4, distance="l2"),
        embeddings,
    ),
    "MatchRate without genuine pairs": Case(inferencers.MatchRate, lone_labels),
    "RankedRetrieval": Case(
        lambda: inferencers.RankedRetrieval(judgements=JUDGEMENTS, k=(1, 5)), with_gallery
    ),
    "RankedRetrieval in a corpus with the queries": Case(
        lambda: shared(inferencers.RankedRetrieval(judgements=JUDGEMENTS, distance="l2")),
        with_gallery,
    ),
    "ConfusionMatrix": Case(inferencers.ConfusionMatrix, logits),
    "ConfusionMatrix of predictions": Case(inferencers.ConfusionMatrix, predictions),
    "Calibration": Case(inferencers.Calibration, logits),
    "NearestCentroid": Case(inferencers.NearestCentroid, embeddings),
    "NearestCentroid in a gallery": Case(
        lambda: inferencers.NearestCentroid(distance="l2", k=(1, 3)), with_gallery
    ),
    "NearestCentroid in a gallery with the queries": Case(
        lambda: shared(inferencers.NearestCentroid(distance="dot")), with_gallery
    ),
    "NearestCentroid of lone labels": Case(inferencers.NearestCentroid, lone_labels),
    "Clustering": Case(inferencers.Clustering, embeddings),
    "Clustering of strings": Case(
        lambda: inferencers.Clustering(clusters=3, distance="l2", metrics="nmi"), lone_labels
    ),
    "SaveOutputs": Case(
        lambda: inferencers.SaveOutputs("output", "label", path=FOLDER / "parquet"), with_gallery
    ),
    "SaveOutputs of columns": Case(
        lambda: inferencers.SaveOutputs("output", "label", path=FOLDER / "npy", format="npy"),
        lone_labels,
    ),
    "Items": Case(lambda: inferencers.Items("image", "text", shape=(3, 3), characters=9), pictured),
    "EmbeddingMap": Case(lambda: inferencers.EmbeddingMap(method="pca"), unhealthy),
    "EmbeddingMap of a sample": Case(
        lambda: inferencers.EmbeddingMap(labels=None, samples=9, method="pca"), unhealthy
    ),
    "EmbeddingHealth": Case(inferencers.EmbeddingHealth, unhealthy),
    "EmbeddingHealth of a sample": Case(
        lambda: inferencers.EmbeddingHealth(sample=5, labels=None, k=2), unhealthy
    ),
}

if find_spec("torchmetrics"):
    from torchmetrics import MetricCollection
    from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

    CASES["TorchMetric"] = Case(
        lambda: inferencers.TorchMetric(MulticlassAccuracy(7, average="micro")), logits_of_7
    )
    CASES["TorchMetric of a collection"] = Case(
        lambda: inferencers.TorchMetric(
            MetricCollection([MulticlassAccuracy(7), MulticlassAUROC(7, thresholds=9)], prefix="c_")
        ),
        logits_of_7,
    )

NATIVE = [name for name, case in CASES.items() if case.make().arrays == "native"]
NAMED_ELSEWHERE = ("ScalarStats", "TorchMetric", "KerasMetric")  # their metrics
WITHOUT_METRICS = ("Items", "EmbeddingMap")
DEFINED = [
    name
    for name, case in CASES.items()
    if type(case.make()).__name__ not in (*NAMED_ELSEWHERE, *WITHOUT_METRICS)
]
SINGLE = [name for name, case in CASES.items() if not isinstance(case.make(), PairInferencer)]


LONG = (  # each is much like a case beside it
    "MatchRate in a gallery with the queries",
    "MatchRate of a gallery by group",
    "MatchRate calibrated",
)


@pytest.fixture(
    params=[pytest.param(x, marks=[pytest.mark.slow] if x in LONG else []) for x in CASES]
)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def take(rows: Rows, index: Any) -> Rows:
    return {name: array[index] for name, array in rows.items()}


def batches(rows: Rows, size: int) -> Iterator[Rows]:
    for start in range(0, len(rows.get("id", ())), size):
        yield take(rows, slice(start, start + size))


def compute(inferencer: Inferencer) -> dict[str, float]:
    return dict(inferencer.compute() or {})


def share_totals(workers: Sequence[Inferencer]) -> None:
    states = [pickle.loads(pickle.dumps(worker.state())) for worker in workers]
    for at, worker in enumerate(workers):
        worker.merge(states[:at] + states[at + 1 :])


def run_rounds(workers: Sequence[PairInferencer], block: int) -> None:
    """Hand every worker's rows to every worker, block by block, as a runner does."""
    done = 0
    while done < max(worker.rounds for worker in workers):
        for worker in workers:
            worker.start_round(done)
        for part in [part for owner in workers for part in batches(owner.rows(), block)]:
            for worker in workers:
                worker.scan(part, done)
        for worker in workers:
            worker.end_round(done)
        share_totals(workers)
        done += 1


def run(workers: Sequence[Inferencer], shards: Sequence[Iterable[Rows]], block: int = 10) -> None:
    """Run each worker over its batches and merge, as a runner does."""
    for worker, shard in zip(workers, shards, strict=True):
        worker.reset()
        for rows in shard:
            worker.update(rows)
    share_totals(workers)
    pairs = [worker for worker in workers if isinstance(worker, PairInferencer)]
    if pairs:
        run_rounds(pairs, block)


def evaluate(case: Case, *shards: Sequence[Rows], block: int = 10) -> dict[str, float]:
    """Return the metrics of one run; all of its workers agree on them."""
    workers = [case.make() for _ in shards]
    run(workers, shards, block)
    metrics = [compute(worker) for worker in workers]
    for other in metrics:
        assert other == same(metrics[0])
    return metrics[0]


def same(metrics: Mapping[str, float]) -> Any:
    """Equal to the bit, NaN to NaN: all of these define their sums in any order."""
    return pytest.approx(metrics, rel=0, abs=0, nan_ok=True)


def test_what_it_fetches_is_told_in_names(case: Case) -> None:
    inferencer = case.make()
    assert isinstance(inferencer.name, str)
    assert isinstance(inferencer.fetches, tuple)
    assert all(isinstance(name, str) for name in (*inferencer.fetches, *inferencer.roles))
    assert set(inferencer.fetches) <= set(case.rows())


@pytest.mark.parametrize("name", DEFINED)
def test_each_of_its_metrics_is_defined_in_the_docs(name: str) -> None:
    is_defined = defined_metrics().fullmatch
    metrics = evaluate(CASES[name], [CASES[name].rows()])
    assert metrics
    assert [x for x in metrics if not is_defined(x) and not is_defined(x.partition("/")[2])] == []


def test_an_empty_run_gives_nothing(case: Case) -> None:
    assert evaluate(case, []) == {}
    assert evaluate(case, [case.rows(size=0)]) == {}


def test_values_are_python_numbers_under_names(case: Case) -> None:
    metrics = evaluate(case, [case.rows()])
    assert bool(metrics) == (type(case.make()).__name__ not in WITHOUT_METRICS)
    assert {type(value) for value in metrics.values()} <= {float, int}
    assert {type(name) for name in metrics} <= {str}
    assert not any(math.isinf(value) for value in metrics.values())


@pytest.mark.parametrize("size", [1, 3, 16])
def test_the_result_does_not_depend_on_the_batch_size(case: Case, size: int) -> None:
    rows = case.rows()
    assert evaluate(case, list(batches(rows, size))) == same(evaluate(case, [rows]))


def test_the_result_does_not_depend_on_the_order(case: Case) -> None:
    rows = case.rows()
    shuffled = take(rows, np.random.default_rng(1).permutation(ROWS))
    assert evaluate(case, list(batches(shuffled, 5))) == same(evaluate(case, [rows]))


@pytest.mark.parametrize(("workers", "block"), [(2, ROWS), (3, 1), (5, 7)])
def test_the_result_does_not_depend_on_the_workers(case: Case, workers: int, block: int) -> None:
    rows = case.rows()
    shards = [list(batches(take(rows, slice(at, None, workers)), 4)) for at in range(workers)]
    assert evaluate(case, *shards, block=block) == same(evaluate(case, [rows]))


@pytest.mark.parametrize("empty", [0, 1, 3])
def test_workers_without_rows_change_nothing(case: Case, empty: int) -> None:
    rows = case.rows()
    shards = [[take(rows, slice(7))], [take(rows, slice(7, 8))], [take(rows, slice(8, None))]]
    shards.insert(empty, [])
    assert evaluate(case, *shards) == same(evaluate(case, [rows]))


@pytest.mark.parametrize("case", SINGLE, indirect=True)  # a PairInferencer needs rounds besides
def test_a_new_one_can_merge_the_totals_of_all(case: Case) -> None:
    parts = list(batches(case.rows(), 20))
    workers = [case.make() for _ in parts]
    for worker, part in zip(workers, parts, strict=True):
        worker.update(part)
    new = case.make()
    new.merge([worker.state() for worker in workers])
    assert compute(new) == same(evaluate(case, parts))


def test_a_state_is_not_changed_by_what_follows(case: Case) -> None:
    first, second = batches(case.rows(), 21)
    one, two = case.make(), case.make()
    one.update(first)
    two.update(second)
    states = [one.state(), two.state()]
    before = pickle.dumps(states)
    one.merge([states[1]])
    one.update(second)
    assert pickle.dumps(states) == before


def test_a_reset_forgets(case: Case) -> None:
    worker = case.make()
    run([worker], [[case.rows(seed=1)]])
    worker.reset()
    assert compute(worker) == {}
    run([worker], [[case.rows(seed=2)]])
    assert compute(worker) == same(evaluate(case, [case.rows(seed=2)]))


def test_computing_twice_gives_the_same(case: Case) -> None:
    worker = case.make()
    run([worker], [[case.rows()]])
    assert compute(worker) == same(compute(worker))


def test_rows_are_not_changed(case: Case) -> None:
    rows = case.rows()
    for array in rows.values():
        array.setflags(write=False)  # an inferencer that writes to it raises
    evaluate(case, [rows])
    fresh = case.rows()
    assert rows.keys() == fresh.keys()
    assert all(rows[name].tobytes() == fresh[name].tobytes() for name in rows)


def test_rows_may_be_overwritten_after_an_update(case: Case) -> None:
    rows, worker = case.rows(), case.make()

    def reuse() -> Iterator[Rows]:
        yield rows
        for array in rows.values():
            array[:] = array[0]

    run([worker], [reuse()])
    assert compute(worker) == same(evaluate(case, [case.rows()]))


@pytest.mark.parametrize("case", NATIVE, indirect=True)
def test_every_kind_of_array_gives_the_same(case: Case) -> None:
    rows = case.rows()
    numbers = {name for name in case.make().fetches if rows[name].dtype.kind != "U"}
    for convert in CONVERTERS:
        converted = {name: convert(rows[name]) for name in numbers}
        shards = [[batch] for batch in batches({**rows, **converted}, 20)]
        assert evaluate(case, *shards) == same(evaluate(case, [rows]))


def evidence(worker: Inferencer, shards: Sequence[Iterable[Rows]]) -> Mapping[str, Table]:
    (tables,) = all_evidence([worker], shards)
    return tables


def all_evidence(
    workers: Sequence[Inferencer], shards: Sequence[Iterable[Rows]]
) -> list[Mapping[str, Table]]:
    for worker in workers:
        worker.keep_evidence, worker.will_resample = True, "query"
    run(workers, shards)
    return [worker.evidence() for worker in workers]


def test_the_evidence_of_several_workers_is_that_of_one(case: Case) -> None:
    rows = case.rows()
    whole = evidence(case.make(), [[rows]])
    shards = [list(batches(take(rows, slice(at, None, 3)), 4)) for at in range(3)]
    shares = all_evidence([case.make() for _ in shards], shards)
    for name, table in whole.items():
        parts = [share[name] for share in shares if name in share]
        if "id" in table:
            joined = {key: np.concatenate([part[key] for part in parts]) for key in table}
            keys = [joined[key] for key in ("role", "id") if key in joined]
            parts = [take(joined, np.lexsort(keys))]
        for part in parts:
            assert part.keys() == table.keys()
            for key, column in table.items():
                np.testing.assert_array_equal(part[key], column)


def test_evidence_is_tables_of_columns_of_one_length(case: Case) -> None:
    for name, table in evidence(case.make(), [[case.rows()]]).items():
        assert isinstance(name, str)
        assert all(isinstance(column, np.ndarray) for column in table.values())
        assert all(column.ndim in (1, 2) for column in table.values())
        for column in table.values():
            is_files = column.dtype == object and {type(file) for file in column} <= {bytes}
            assert column.dtype.kind in "biufU" or is_files
        assert len({len(column) for column in table.values()}) == 1


def test_each_query_or_sample_has_one_row_of_evidence(case: Case) -> None:
    rows = case.rows()
    table = unit_table(evidence(case.make(), [[rows]]))
    if table:
        assert table["id"].tolist() == sorted(rows["id"][rows["role"] == "query"].tolist())


def test_an_empty_run_has_evidence_of_nothing(case: Case) -> None:
    assert len(unit_table(evidence(case.make(), [[]])).get("id", ())) == 0


def test_evidence_does_not_change_the_metrics(case: Case) -> None:
    worker = case.make()
    evidence(worker, [[case.rows()]])
    assert compute(worker) == same(evaluate(case, [case.rows()]))


@pytest.mark.parametrize("over", ["query", "class", "group"])
def test_each_row_drawn_once_gives_the_metrics(case: Case, over: Over) -> None:
    worker = case.make()
    tables = evidence(worker, [list(batches(case.rows(), 9))])
    metrics = compute(worker)
    drawn = worker.resampled(tables, np.ones((2, len(unit_table(tables).get("id", ())))), over)
    for name in drawn.keys() & metrics.keys():
        assert drawn[name] == pytest.approx([metrics[name]] * 2, rel=1e-9, nan_ok=True)
