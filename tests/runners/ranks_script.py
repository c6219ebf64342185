"""What every rank of `test_ranks` runs: `ranks_script.py FOLDER [lose]`."""

import atexit
import copy
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

import milepost as mp
from milepost.callbacks import KeepBest, Loop, Record
from milepost.callbacks.monitors import Monitor
from milepost.errors import LostRankError
from milepost.inferencers import ClassificationError, Inferencer, MatchRate, Retrieval, ScalarStats
from milepost.neighbors import LpDistance, SNRDistance
from milepost.predictors import OfflinePredictor
from milepost.runners import InferenceRunner, evaluate

wrong = torch.tensor([0.0] * 8 + [1.0, 1.0])
WRONG = TensorDataset(wrong)

generator = torch.Generator().manual_seed(0)
embeddings = torch.randint(-2, 3, (23, 4), generator=generator).float()
labels = torch.randint(0, 4, (23,), generator=generator)
EMBEDDED = TensorDataset(embeddings, labels)
COLUMNS = {"input": embeddings.numpy(), "label": labels.numpy()}
NAMES = [f"item-{i * 7 % 23:02d}" for i in range(23)]


class Same(nn.Module):
    """Gives its input: a model that is exact in every batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input * self.scale


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(wrong[:, None])


def wrongs() -> list[Inferencer]:
    return [ClassificationError(wrong="output")]


def near(query: Any, gallery: Any) -> Any:
    return abs(query - gallery) <= 1


def levels() -> list[Inferencer]:
    return [Retrieval(k=(1, 3), levels=True, average="class", vote="distance", distance="l2")]


def pairs() -> list[Inferencer]:
    return [
        Retrieval(k=(1, 3, 23), distance="l2"),
        Retrieval(average="class", name="by_class"),
        Retrieval(gain=lambda q, g: 3 - abs(q - g), relevant=near, vote="softmax", name="graded"),
        MatchRate(thresholds=(0.5,), far=(1e-1,)),
    ]


JUDGEMENTS = {
    query: {document: document % 3 for document in range(0, 23, 1 + query)} for query in range(9)
}


def others() -> list[Inferencer]:
    return [
        mp.ConfusionMatrix(),
        mp.Calibration(),
        mp.NearestCentroid(),
        mp.Clustering(clusters=2),
        mp.EmbeddingHealth(k=1),
        mp.TorchMetric(MulticlassAccuracy(4)),
    ]


def shared_folder() -> str:
    """Return a folder that all ranks share, and that goes with the first."""
    rank, size = rank_and_size()
    folders = [tempfile.mkdtemp() if rank == 0 else ""]
    if rank == 0:
        atexit.register(shutil.rmtree, folders[0], ignore_errors=True)
    if size > 1:
        distributed.broadcast_object_list(folders)
    return folders[0]


def first(count: int) -> TensorDataset:
    return TensorDataset(embeddings[:count], labels[:count])


def padded(dataset: TensorDataset) -> DataLoader[Any]:
    rank, size = rank_and_size()
    sampler: DistributedSampler[Any] = DistributedSampler(dataset, num_replicas=size, rank=rank)
    return DataLoader(dataset, batch_size=4, sampler=sampler)


def rank_and_size() -> tuple[int, int]:
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


CASES: dict[str, Callable[[], tuple[Any, list[Inferencer], dict[str, Any]]]] = {
    "wrong: dataset": lambda: (WRONG, wrongs(), {"batch_size": 4}),
    "wrong: padded loader": lambda: (padded(WRONG), wrongs(), {}),
    "wrong: list of batches": lambda: ([wrong[:4], wrong[4:8], wrong[8:]], wrongs(), {}),
    "wrong: one-shot": lambda: ((wrong[i : i + 4] for i in range(0, 10, 4)), wrongs(), {}),
    "wrong: stream with workers": lambda: (
        DataLoader(Stream(), batch_size=4, num_workers=2),
        wrongs(),
        {},
    ),
    "wrong: columns on two replicas": lambda: (
        {"input": wrong.numpy()},
        wrongs(),
        {"batch_size": 1, "placement": ["cpu", "cpu"]},
    ),
    "pairs: uneven": lambda: (EMBEDDED, pairs(), {"batch_size": 5}),
    "pairs: padded loader": lambda: (padded(EMBEDDED), pairs(), {}),
    "pairs: an empty shard": lambda: (first(2), pairs(), {}),
    "pairs: little memory": lambda: (EMBEDDED, pairs(), {"max_memory_bytes": 4096}),
    "pairs: gallery": lambda: (
        {"query": first(5), "gallery": EMBEDDED},
        pairs(),
        {"shared_ids": True, "prefetch": 0},
    ),
    "pairs: levels of labels": lambda: (
        TensorDataset(embeddings, torch.stack([labels, labels // 2], dim=1)),
        levels(),
        {"batch_size": 4},
    ),
    "pairs: ids by name": lambda: (
        {**COLUMNS, "id": NAMES},
        pairs(),
        {"batch_size": 3, "inputs": ("input",)},
    ),
    "pairs: rows say their role": lambda: (
        {**COLUMNS, "role": ["query" if i % 3 else "gallery" for i in range(23)]},
        pairs(),
        {"batch_size": 3, "inputs": ("input",)},
    ),
    "pairs: groups": lambda: (
        {**COLUMNS, "camera": [i % 4 for i in range(23)], "site": [i % 2 for i in range(23)]},
        [
            Retrieval(k=(1, 3, 23), group="camera"),
            Retrieval(k=1, group=("label", "site"), name="protocol"),
        ],
        {"batch_size": 2, "inputs": ("input",)},
    ),
    "pairs: searched in other ways": lambda: (
        {**COLUMNS, "item": [int(label) * 9 + i % 3 for i, label in enumerate(labels)]},
        [
            Retrieval(k=(1, 3), objects="item", references="mean", name="objects"),
            Retrieval(k=(1, 3), pca=2, distance=LpDistance(p=1), name="reduced"),
            Retrieval(k=(1, 3), dtype="bfloat16", distance=SNRDistance(), name="halves"),
        ],
        {"batch_size": 2, "inputs": ("input",)},
    ),
    "others: uneven": lambda: (EMBEDDED, others(), {"batch_size": 5}),
    "others: an empty shard": lambda: (first(2), others(), {}),
    "others: gallery": lambda: (
        {"query": first(9), "gallery": EMBEDDED},
        [
            mp.RankedRetrieval(judgements=JUDGEMENTS, distance="l2"),
            mp.NearestCentroid(name="centroid"),
            mp.SaveOutputs("output", "label", path=shared_folder()),
        ],
        {"shared_ids": True, "batch_size": 2, "max_memory_bytes": 4096},
    ),
}


def results() -> dict[str, Any]:
    given = {}
    for name, case in CASES.items():
        data, inferencers, options = case()
        given[name] = evaluate(Same(), data, inferencers, **options)
    return given


def failures() -> dict[str, str]:
    """Return what is raised on this rank in runs that fail on one rank, or on all."""
    rank, _ = rank_and_size()

    def on_rank_1(model: nn.Module, batch: Any) -> dict[str, Any]:
        if rank == 1:
            msg = "broken here"
            raise OSError(msg)
        return {"output": batch["input"]}

    class Unreadable(TensorDataset):
        def __getitem__(self, index: int) -> Any:
            if index == 9:
                msg = "row 9 is damaged"
                raise OSError(msg)
            return (wrong[index],)

    class ScanFails(Retrieval):  # type: ignore[misc]  # final, but for a failure
        def scan(self, part: Any, round: int) -> None:
            if rank == 1:
                msg = "no scan"
                raise OSError(msg)
            super().scan(part, round)

    runs: dict[str, Callable[[], Any]] = {
        "forward": lambda: evaluate(Same(), WRONG, wrongs(), forward=on_rank_1),
        "source": lambda: evaluate(Same(), Unreadable(wrong), wrongs(), batch_size=2),
        "scan": lambda: evaluate(Same(), EMBEDDED, [ScanFails()]),
        "size": lambda: evaluate(Same(), [wrong], wrongs(), size=12),
        "rows": lambda: evaluate(Same(), EMBEDDED, [RowsFail()]),
        "merge": lambda: evaluate(Same(), WRONG, [FailsOn1("merge")]),
        "buffers": lambda: evaluate(nn.BatchNorm1d(1 + rank), WRONG, wrongs()),
        "stream": lambda: evaluate(Same(), [wrong + rank], wrongs()),
        "evidence": lambda: evaluate(Same(), WRONG, [FailsOn1("evidence")], confidence=0.9),
        "sharded": lambda: evaluate(sharded_layer(), WRONG, [FailsOn1("update")], batch_size=1),
    }
    given = {}
    for name, run in runs.items():
        try:
            run()
        except Exception as error:
            given[name] = f"{type(error).__name__}: {error}"
    return given


class RowsFail(Retrieval):  # type: ignore[misc]  # final, but for a failure
    def rows(self) -> Any:
        if rank_and_size()[0] == 1:
            return {"id": [1], "count": 1}  # what cannot be cut
        return super().rows()


class FailsOn1(Inferencer):
    """Fails in one method on rank 1."""

    name = "fails"
    fetches = ("output",)

    def __init__(self, method: str) -> None:
        self.method = method

    def may_fail(self, method: str) -> None:
        if method == self.method and rank_and_size()[0] == 1:
            msg = f"no {method}"
            raise OSError(msg)

    def reset(self) -> None: ...

    def update(self, rows: Any) -> None:
        self.may_fail("update")

    def state(self) -> Any:
        return {}

    def merge(self, states: Any) -> None:
        self.may_fail("merge")

    def evidence(self) -> dict[str, Any]:
        self.may_fail("evidence")
        return {}

    def compute(self) -> dict[str, float]:
        return {}


class UnevenTables(FailsOn1):
    """Has two rows of evidence a sample, and a table that is whole."""

    name = "uneven"

    def __init__(self) -> None:
        super().__init__("")
        self.ids: list[str] = []

    def reset(self) -> None:
        self.ids = []

    def update(self, rows: Any) -> None:
        self.ids += rows["id"].tolist()

    def evidence(self) -> dict[str, Any]:
        twice = {"id": np.repeat(self.ids, 2), "order": np.arange(2 * len(self.ids)) % 2}
        return {"twice": twice, "whole": {"curve": np.linspace(0, 1, 3)}}


def sharded_layer() -> nn.Module:
    layer = nn.Sequential(nn.Unflatten(0, (-1, 1)), nn.Linear(1, 1), nn.Flatten(0))
    fully_shard(layer)
    return layer


def alone() -> Any:
    """Return what the chief gets alone, with a wrapped model, while the others wait."""
    model = DistributedDataParallel(Same())
    rank, _ = rank_and_size()
    metrics = evaluate(model, WRONG, wrongs(), placement="local") if rank == 0 else None
    distributed.barrier()
    return metrics


def own_buffers() -> Any:
    """Return the metrics of a model whose BatchNorm saw other batches on each rank.

    Of all ranks together, the model handed over bare and wrapped, on one device and on two; then
    of each rank alone; last its own statistics afterwards.
    """
    model = nn.BatchNorm1d(1)
    wrapped = DistributedDataParallel(model)
    rank, _ = rank_and_size()
    assert model.running_mean is not None
    model.running_mean.fill_(float(rank))
    data = {"input": wrong[:, None].numpy()}

    def measure(model: nn.Module, placement: Any = None) -> float:
        metrics = evaluate(model, data, [ScalarStats("output")], placement=placement)
        return metrics["validation/output"]

    together = [measure(x, y) for x in (model, wrapped) for y in (None, ["cpu", "cpu"])]
    return together, measure(wrapped, "local"), model.running_mean.item()


def sharded(rundir: Path) -> Any:
    """Return the metrics of a sharded model on an empty shard, and of the file it was kept in."""
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    expected = evaluate(whole, first(4), pairs(), batch_size=1, placement="local")
    model = copy.deepcopy(whole)
    fully_shard(model)
    runner = InferenceRunner(first(4), pairs(), batch_size=1, every="at start")
    best = KeepBest("validation/retrieval/mrr")
    with Loop(model, callbacks=[best, runner], rundir=rundir, monitors=[]) as loop:
        metrics = {name: loop.monitors.get_latest(name) for name in expected}
    distributed.barrier()  # the chief writes the file
    kept = OfflinePredictor(whole, rundir / "best.safetensors", strict=True)
    same = all(torch.equal(kept.weights()[name], x) for name, x in whole.state_dict().items())
    return {"metrics": metrics, "expected": expected, "kept": same}


class Taker(Monitor):
    """Keeps the tables of the last record."""

    takes_tables = True
    tables: Mapping[str, Any] = {}

    def write(self, record: Record) -> None:
        self.tables = record.tables


def evidence() -> Any:
    """Return the tables that the chief's monitor took, and metrics with intervals."""
    taker = Taker()
    data = {"input": embeddings.numpy(), "label": labels.numpy(), "id": NAMES}
    shown = [mp.Items("input", shape=(2, 2)), mp.EmbeddingMap("input", method="pca")]
    inferencers = [*pairs(), *shown, UnevenTables()]
    options: dict[str, Any] = {"batch_size": 3, "inputs": ("input",), "confidence": 0.9}
    runner = InferenceRunner(data, inferencers, every="at start", **options)
    with Loop(Same(), callbacks=[runner], monitors=[taker]) as loop:
        high = loop.monitors.get_latest("validation/retrieval/mrr/high")
    tables = {
        name: {key: _readable(column) for key, column in table.items()}
        for name, table in taker.tables.items()
    }
    return {"tables": tables, "high": high}


def _readable(column: Any) -> list[Any]:
    return [value.hex() if isinstance(value, bytes) else value for value in column.tolist()]


def by_time() -> list[int]:
    """Return the steps at which a runner ran that is due by a function of rank and step."""
    rank, _ = rank_and_size()
    runner = InferenceRunner(WRONG, wrongs(), every=lambda moment: moment.step == 2 + rank)
    model = Same()
    return [step for step in range(1, 6) if runner.maybe_run(model, step=step) is not None]


def lose_rank_1() -> dict[str, str]:
    """Return what the other ranks are told when rank 1 dies in its forward pass."""
    rank, _ = rank_and_size()

    def dies(model: nn.Module, batch: Any) -> dict[str, Any]:
        if rank == 1:
            os._exit(7)
        return {"output": batch["input"]}

    runner = InferenceRunner(WRONG, wrongs(), forward=dies, on_error="disable")
    try:
        runner.maybe_run(Same(), epoch=1)
    except LostRankError as error:
        return {"lost": str(error)}
    return {}


def cached(out: Path) -> list[Any]:
    """Return the metrics and the counts of two runs that share a cache."""
    given: list[Any] = []
    last = TensorDataset(embeddings[14:], labels[14:])  # in no batch of the gallery's: no early hit
    data = {"query": last, "gallery": EMBEDDED}
    for _ in range(2):
        records: list[Record] = []
        runner = InferenceRunner(data, pairs(), batch_size=4, cache=out / "cache")
        with Loop(Same(), monitors=[records.append]) as loop:
            metrics = runner.run(loop)
        counts = [
            {name: x for name, x in record.timings.items() if "/cache/" in name}
            for record in records
        ]
        given.append([metrics, counts])
    given.append(evaluate(Same(), data, pairs(), batch_size=4))
    return given


def main() -> None:
    out = Path(sys.argv[1])
    distributed.init_process_group("gloo")
    if sys.argv[2:] == ["lose"]:
        (out / f"{rank_and_size()[0]}.json").write_text(json.dumps(lose_rank_1()))
        os._exit(0)  # the group cannot be brought to an end any more
    rank, _ = rank_and_size()
    report = {
        "results": results(),
        "failures": failures(),
        "alone": alone(),
        "by_time": by_time(),
        "evidence": evidence(),
        "own_buffers": own_buffers(),
        "sharded": sharded(out),
        "cached": cached(out),
    }
    (out / f"{rank}.json").write_text(json.dumps(report))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
