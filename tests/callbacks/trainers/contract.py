"""What holds for every trainer of torch models: one small training, driven by each framework.

A test file of a framework defines its side, gives it as the fixture `side`, and takes in the tests:

    from tests.callbacks.trainers.contract import *

    @pytest.fixture
    def side() -> Side:
        return train
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import milepost as mp
from milepost.callbacks import Scheduled
from tests.callbacks.trainers import watch

METRIC = "validation/hit_rate@1"
BATCH = 4
STEPS = 6  # an epoch, without accumulation
VALUES = {1: 0.5, 2: 0.75, 3: 0.6, 4: 0.7}  # of the metric, by epoch: the second is the best


class Net(nn.Module):
    """Everything that an evaluation could disturb; the same weights each time."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(8, 3))

    def forward(self, image: Tensor) -> Tensor:
        output: Tensor = self.layers(image)
        return output


class Samples(Dataset[dict[str, Tensor]]):
    """Samples of three classes; one of them may be broken."""

    def __init__(self, count: int = BATCH * STEPS, *, seed: int = 0, broken: int = -1) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.label = torch.arange(count) % 3
        self.image = torch.randn(count, 4, generator=draw) + self.label[:, None]
        self.broken = broken

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        if row == self.broken:
            msg = "the sample is broken"
            raise OSError(msg)
        return {"image": self.image[row], "label": self.label[row]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a side trains.

    Args:
        folder: where the framework may write, its checkpoints for example.
        epochs: of the whole training.
        shuffle: whether the framework draws the order of the samples.
        dropout: the share that the model drops.
        accumulate: batches for one update; what is left at the end of an epoch makes one too.
        attached: whether Milepost takes part; if not, the training is the framework's alone.
        resume: whether to go on where the last training in the folder ended.
        best: whether the framework keeps the checkpoint that is best by `METRIC`.
        patience: for how many epochs the framework waits for a better `METRIC`; None: it does not.
        broken: which sample raises an `OSError`.
    """

    folder: Path
    epochs: int = 3
    shuffle: bool = False
    dropout: float = 0.0
    accumulate: int = 1
    attached: bool = True
    resume: bool = False
    best: bool = False
    patience: int | None = None
    broken: int = -1

    def net(self) -> Net:
        return Net(self.dropout)

    def data(self) -> Samples:
        return Samples(broken=self.broken)

    def loader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(self.data(), BATCH, shuffle=self.shuffle)

    @staticmethod
    def loss(output: Tensor, label: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, label)

    @staticmethod
    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


Weights: TypeAlias = list[Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training gave.

    Args:
        weights: those of the net at the end, as `weights_of` gives them.
        records: what its monitors were given.
        step: the steps that our trainer counted.
        best: the weights of the framework's best checkpoint, if it was to keep one.
    """

    weights: Weights
    records: Sequence[mp.Record] = ()
    step: int = 0
    best: Weights | None = None

    def measured(self) -> list[tuple[Any, ...]]:
        """Where each evaluation was, and what it gave."""
        own = [record for record in self.records if record.runner is not None]
        return [(record.step, record.epoch, dict(record.scalars)) for record in own]


Side: TypeAlias = Callable[[Sequence[mp.Callback], Plan], Trained]
"""Trains as planned with callbacks attached, and monitors that keep the records."""


def weights_of(model: nn.Module) -> Weights:
    """Return a copy of the parameters and buffers, in order: frameworks prefix their names."""
    return [value.detach().clone() for value in model.state_dict().values()]


def assert_equal(ours: Weights, theirs: Weights) -> None:
    """Equal to the bit."""
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


def train_in_loop(callbacks: Sequence[mp.Callback], plan: Plan) -> Trained:
    """The training in a loop of one's own, which all others are held against."""
    records: list[mp.Record] = []
    model = plan.net()
    optimizer = plan.optimizer(model)
    own: list[mp.Callback] = []
    if plan.patience is not None:
        own.append(mp.EarlyStop(METRIC, patience=plan.patience))
    if plan.best:
        own.append(mp.KeepBest(METRIC, path=plan.folder / "best.safetensors"))
    loop = mp.Loop(model, callbacks=[*callbacks, *own], monitors=[records.append])
    last = plan.folder / "last.pt"
    if plan.resume:
        saved = torch.load(last)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loop.load_state_dict(saved["loop"])
    epochs = _run_epochs(loop, plan) if plan.attached else _bare_epochs(plan)
    for batches in epochs:
        optimizer.zero_grad()
        for batch in batches:
            loss = plan.loss(model(batch["image"]), batch["label"]) / len(batches)
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**state, "loop": loop.state_dict()}, last)
    trained = Trained(weights=weights_of(model), records=records, step=loop.step)
    if plan.best:
        model.load_state_dict(load_file(plan.folder / "best.safetensors"))
        trained = dataclasses.replace(trained, best=weights_of(model))
    return trained


def _bare_epochs(plan: Plan) -> Iterator[list[dict[str, Tensor]]]:
    for _ in range(plan.epochs):
        yield from _updates(plan)


def _run_epochs(loop: mp.Loop, plan: Plan) -> Iterator[list[dict[str, Tensor]]]:
    with loop:
        for _ in loop.epochs(plan.epochs):
            yield from loop.steps(_updates(plan))


def _updates(plan: Plan) -> Iterator[list[dict[str, Tensor]]]:
    """The batches of each update of an epoch."""
    waiting = []
    for batch in plan.loader():
        waiting.append(batch)
        if len(waiting) == plan.accumulate:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


class Watch(watch.Watch):
    """Notes the weights at each trigger, too."""

    def __init__(self, every: Scheduled = "1 step") -> None:
        super().__init__(every)
        self.weights: list[Weights] = []

    def trigger(self) -> None:
        super().trigger()
        self.weights.append(weights_of(self.trainer.model))


class Measure(mp.Callback):
    """Publishes `VALUES`, as a runner does; after each epoch unless it is told otherwise."""

    name = "validation"

    def __init__(self, every: Scheduled = "1 epoch") -> None:
        self.every = every

    def trigger(self) -> None:
        trainer = self.trainer
        record = mp.Record(
            runner=self.name,
            scalars={METRIC: VALUES[trainer.epoch]},
            step=trainer.step,
            epoch=trainer.epoch,
        )
        trainer.publish(record, trainer.model.state_dict)


class Broken(mp.Inferencer):
    """Fails at its first batch."""

    name = "broken"
    fetches = ("output",)

    def reset(self) -> None: ...

    def update(self, rows: Any) -> None:
        msg = "the evaluation broke"
        raise ValueError(msg)

    def state(self) -> dict[str, float]:
        return {}

    def merge(self, states: Any) -> None: ...

    def compute(self) -> dict[str, float]:
        return {}


def runner(every: Scheduled, *inferencers: mp.Inferencer, **options: Any) -> mp.InferenceRunner:
    """A runner over samples that the training does not see."""
    heldout = Samples(12, seed=1)
    data = {"image": heldout.image, "label": heldout.label}
    chosen = inferencers or (mp.Retrieval(k=1), mp.ClassificationError(k=(1,)))
    return mp.InferenceRunner(data, chosen, every=every, inputs=("image",), **options)


def test_the_metrics_are_those_of_the_plain_loop_at_the_same_steps(
    side: Side, tmp_path: Path
) -> None:
    def examiners() -> list[mp.Callback]:
        return [runner("4 steps"), runner("1 epoch | at start", name="epochs")]

    plan = Plan(folder=tmp_path)
    ours, plain = side(examiners(), plan), train_in_loop(examiners(), plan)
    assert ours.measured() == plain.measured()
    assert_equal(ours.weights, plain.weights)


def test_the_weights_are_those_of_a_training_without_milepost(side: Side, tmp_path: Path) -> None:
    plan = Plan(folder=tmp_path, shuffle=True, dropout=0.5, epochs=2)
    examined = side([runner("1 step | at start", mp.ClassificationError(k=(1,)))], plan)
    alone = side([], dataclasses.replace(plan, attached=False))
    assert len(examined.measured()) == 1 + 2 * STEPS
    assert_equal(examined.weights, alone.weights)


def test_each_hook_runs_at_its_moment(side: Side, tmp_path: Path) -> None:
    watch = Watch("1 step | at start")
    side([watch], Plan(folder=tmp_path, epochs=2))
    epochs = ["before_epoch", "after_epoch"] * 2
    assert watch.hooks == ["setup", "before_train", *epochs, "after_train"]
    steps = [(step, (step - 1) // STEPS) for step in range(1, 2 * STEPS + 1)]
    assert watch.triggers == [(0, 0), *steps]


def test_the_end_of_an_epoch_is_seen_with_its_weights(side: Side, tmp_path: Path) -> None:
    watch = Watch("1 epoch")
    trained = side([watch], Plan(folder=tmp_path, epochs=2))
    assert watch.triggers == [(STEPS, 1), (2 * STEPS, 2)]
    assert_equal(watch.weights[-1], trained.weights)


def test_a_step_is_an_update_however_many_batches_it_takes(side: Side, tmp_path: Path) -> None:
    each, third, epoch = Watch(), Watch("3 steps"), Watch("1 epoch")
    plan = Plan(folder=tmp_path, accumulate=4)  # six batches are an update of four, one of two
    assert side([each, third, epoch], plan).step == 6
    assert [step for step, _ in each.triggers] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in third.triggers] == [3, 6]
    assert epoch.triggers == [(2, 1), (4, 2), (6, 3)]


def test_a_resumed_training_goes_on_in_phase(side: Side, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()

    def train(folder: Path, **options: Any) -> tuple[Watch, mp.KeepBest, Trained]:
        watch, keep = Watch("5 steps"), mp.KeepBest(METRIC, path=folder / "kept.safetensors")
        examiners = runner("8 steps", name="examined"), Measure("2 epochs")
        return watch, keep, side([*examiners, watch, keep], Plan(folder=folder, **options))

    uncut = train(whole, epochs=4)
    begun = train(parts, epochs=2)
    ended = train(parts, epochs=4, resume=True)
    assert begun[0].triggers == [(5, 0), (10, 1)]
    assert begun[0].triggers + ended[0].triggers == uncut[0].triggers
    assert begun[2].measured() + ended[2].measured() == uncut[2].measured()
    assert begun[1].best == ended[1].best == VALUES[2]
    assert ended[2].step == uncut[2].step == 4 * STEPS
    assert_equal(ended[2].weights, uncut[2].weights)


def test_a_failed_evaluation_ends_the_training_if_it_is_told_to(side: Side, tmp_path: Path) -> None:
    watch = Watch()
    with pytest.raises(ValueError, match="the evaluation broke") as caught:
        side([watch, runner("5 steps", Broken())], Plan(folder=tmp_path))
    assert watch.errors == [caught.value]
    assert watch.triggers[-1] == (5, 0)
    assert watch.hooks.count("after_train") == 1


def test_a_failed_evaluation_lets_the_training_go_on_if_it_is_told_to(
    side: Side, tmp_path: Path
) -> None:
    with pytest.warns(RuntimeWarning, match=r"failed at step \d+, the training goes on"):
        trained = side([runner("5 steps", Broken(), on_error="warn")], Plan(folder=tmp_path))
    assert trained.step == 3 * STEPS
    errors = [(record.step, record.error) for record in trained.records if record.error]
    assert [step for step, _ in errors] == [5, 10, 15]
    assert all("the evaluation broke" in str(error) for _, error in errors)


def test_an_error_of_the_training_itself_ends_it_for_every_callback(
    side: Side, tmp_path: Path
) -> None:
    watch = Watch()
    with pytest.raises(OSError, match="the sample is broken") as caught:
        side([watch], Plan(folder=tmp_path, broken=3 * BATCH + 1))
    assert watch.errors == [caught.value]
    assert watch.hooks[-1] == "after_train"
    assert watch.hooks.count("after_train") == 1


def test_a_stop_ends_the_training_after_its_step(side: Side, tmp_path: Path) -> None:
    class Stop(mp.Callback):
        every = "8 steps"

        def trigger(self) -> None:
            self.trainer.request_stop("enough")

    watch = Watch()
    assert side([watch, Stop()], Plan(folder=tmp_path)).step == 8
    assert watch.triggers[-1][0] == 8
    assert watch.hooks[-1] == "after_train"


def test_the_best_checkpoint_of_the_framework_has_the_weights_of_the_best_metric(
    side: Side, tmp_path: Path
) -> None:
    watch = Watch("1 epoch")
    trained = side([Measure(), watch], Plan(folder=tmp_path, best=True))
    assert trained.best is not None
    assert_equal(trained.best, watch.weights[1])


def test_the_early_stopping_of_the_framework_acts_on_the_metric(side: Side, tmp_path: Path) -> None:
    trained = side([Measure()], Plan(folder=tmp_path, epochs=9, patience=2))
    assert [scalars[METRIC] for _, _, scalars in trained.measured()] == [0.5, 0.75, 0.6, 0.7]
    assert trained.step == 4 * STEPS
