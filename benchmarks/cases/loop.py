"""One evaluation of a trivial model over data in memory: the mean of its outputs.

With `ready`, each framework is handed batches that are made already, in the way that is quickest
for it. Without, it is handed the data as its users have them: a TensorDataset, or arrays. A
framework is a function here and two rows in `benchmarks/rows.py`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.cases.case import Case, Run
from benchmarks.data import Array


def milepost(rows: Array, labels: Array, *, batch_size: int, ready: bool) -> Run:
    import milepost as mp

    own, data = model(rows), [{"x": batch} for batch in batches(rows, batch_size)]
    options: dict[str, Any] = {"inputs": ("x",)}
    if ready:
        return lambda: mp.evaluate(own, data, [mp.ScalarStats("output")], **options)
    options["batch_size"] = batch_size
    return lambda: mp.evaluate(own, {"x": rows}, [mp.ScalarStats("output")], **options)


def raw_loop(rows: Array, labels: Array, *, batch_size: int, ready: bool) -> Run:
    import torch

    own, data = model(rows), batches(rows, batch_size)

    def run() -> float:
        with torch.no_grad():
            return float(sum(own(x).sum().item() for x in data)) / len(rows)

    return run


def pytorch_metric_learning(rows: Array, labels: Array, *, batch_size: int, ready: bool) -> Run:
    import torch
    from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester

    tester = GlobalEmbeddingSpaceTester(
        batch_size=batch_size, dataloader_num_workers=0, normalize_embeddings=False
    )
    own = torch.nn.Sequential(model(rows), torch.nn.Unflatten(0, (-1, 1)))
    data, collate = (Batched(rows, labels), tuple) if ready else (items(rows, labels), None)
    return lambda: tester.get_all_embeddings(data, own, collate_fn=collate)[0].mean()


def lightning(rows: Array, labels: Array, *, batch_size: int, ready: bool) -> Run:
    import pytorch_lightning
    import torch

    class Module(pytorch_lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model(rows)

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("output", self.model(batch[0]).mean(), batch_size=len(batch[0]))

    given: Any = Ready([(x,) for x in batches(rows, batch_size)])
    if not ready:
        given = torch.utils.data.DataLoader(items(rows, labels), batch_size)
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    options = dict.fromkeys(silent, False)
    trainer = pytorch_lightning.Trainer(accelerator="cpu", devices=1, **options)
    module = Module()
    return lambda: trainer.validate(module, given, verbose=False)


def transformers(rows: Array, labels: Array, *, batch_size: int, ready: bool) -> Run:
    import tempfile

    import torch
    from transformers import Trainer, TrainingArguments

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model(rows)

        def forward(self, x: Any, labels: Any) -> Any:
            return {"loss": self.model(x).mean()}  # what it averages over samples

    arguments = TrainingArguments(
        tempfile.gettempdir(),
        per_device_eval_batch_size=batch_size,
        prediction_loss_only=True,
        disable_tqdm=True,
        report_to=[],
        use_cpu=True,
    )
    whole, single = Batched(rows, labels), items(rows, labels)
    trainer = Trainer(
        Module(),
        arguments,
        data_collator=(lambda parts: {"x": parts[0], "labels": parts[1]}) if ready else None,
        eval_dataset=whole if ready else [{"x": x, "labels": label} for x, label in single],
    )
    return lambda: trainer.evaluate()


def model(rows: Array) -> Any:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(rows.shape[1], 1), torch.nn.Flatten(0)).eval()


def batches(rows: Array, batch_size: int) -> Sequence[Any]:
    import torch

    return torch.split(torch.from_numpy(rows), batch_size)


def items(rows: Array, labels: Array) -> Any:
    import torch

    return torch.utils.data.TensorDataset(torch.from_numpy(rows), torch.from_numpy(labels))


class Ready:
    """Batches that no framework takes for a list of loaders."""

    def __init__(self, data: Sequence[Any]) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


class Batched:
    """A data set that hands a loader its batches whole: rows, labels."""

    def __init__(self, rows: Array, labels: Array) -> None:
        import torch

        self._tensors = torch.from_numpy(rows), torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self._tensors[0])

    def __getitems__(self, at: list[int]) -> list[Any]:
        return [tensor[at[0] : at[-1] + 1] for tensor in self._tensors]


CASE = Case(
    {
        "milepost": milepost,
        "raw loop": raw_loop,
        "pytorch-metric-learning": pytorch_metric_learning,
        "Lightning": lightning,
        "Transformers": transformers,
    }
)
