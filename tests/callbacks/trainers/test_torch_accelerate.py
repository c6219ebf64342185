"""What only an accelerator has: accumulation, trackers, its saved state, prepared loaders."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import accelerate as hf
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from accelerate.tracking import GeneralTracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import milepost as mp
from milepost.callbacks import Callback, Loop, Record
from milepost.callbacks.trainers import accelerate
from tests.callbacks.trainers.contract import *  # noqa: F403
from tests.callbacks.trainers.contract import METRIC, Plan, Side, Trained, weights_of

SAMPLES = torch.linspace(-1, 1, 20).reshape(10, 2)  # five batches of two


@pytest.fixture(autouse=True)
def _no_accelerator_yet() -> Iterator[None]:
    """Accelerators share what they are for the whole process."""
    yield
    _reset()


def _reset() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class SaveBest(Callback):
    """Saves the accelerator's state when a metric is the best so far."""

    def __init__(self, accelerator: hf.Accelerator, folder: Path) -> None:
        self.accelerator, self.folder, self.best = accelerator, folder, 0.0

    def on_metrics(self, record: Record, weights: Any) -> None:
        if record.scalars[METRIC] > self.best:
            self.best = record.scalars[METRIC]
            self.accelerator.save_state(str(self.folder))


def train(callbacks: Sequence[Callback], plan: Plan) -> Trained:
    _reset()
    records: list[Record] = []
    accelerator = hf.Accelerator(cpu=True, gradient_accumulation_steps=plan.accumulate)
    net = plan.net()
    net, optimizer, loader = accelerator.prepare(net, plan.optimizer(net), plan.loader())
    own: list[Callback] = [SaveBest(accelerator, plan.folder / "best")] if plan.best else []
    if plan.patience is not None:
        own.append(mp.EarlyStop(METRIC, patience=plan.patience))
    loop = accelerate(accelerator, net, callbacks=[*callbacks, *own], monitors=[records.append])
    if plan.resume:
        accelerator.load_state(str(plan.folder / "last"))
    with loop if plan.attached else contextlib.nullcontext():
        for _ in loop.epochs(plan.epochs) if plan.attached else range(plan.epochs):
            for batch in loop.steps(loader) if plan.attached else loader:
                with accelerator.accumulate(net):
                    accelerator.backward(plan.loss(net(batch["image"]), batch["label"]))
                    optimizer.step()
                    optimizer.zero_grad()
    accelerator.save_state(str(plan.folder / "last"))
    trained = Trained(weights=weights_of(net), records=records, step=loop.step)
    if plan.best:
        accelerator.load_state(str(plan.folder / "best"))
        trained = dataclasses.replace(trained, best=weights_of(net))
    return trained


@pytest.fixture
def side() -> Side:
    return train


class Steps(Callback):
    """Notes the step and the epoch of each step."""

    every = "1 step"

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def trigger(self) -> None:
        self.seen.append((self.trainer.step, self.trainer.epoch))


class Kept(GeneralTracker):
    """Keeps what it is given."""

    name = "kept"
    requires_logging_directory = False

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[tuple[dict[str, Any], int | None]] = []
        self.pictures: list[tuple[dict[str, Any], int | None]] = []

    @property
    def tracker(self) -> Any:
        return self

    def store_init_configuration(self, values: Any) -> None: ...

    def log(self, values: Any, step: int | None = None, **options: Any) -> None:
        self.logged.append((dict(values), step))

    def log_images(self, values: Any, step: int | None = None, **options: Any) -> None:
        self.pictures.append((dict(values), step))


class Full(Kept):
    name = "full"

    def log(self, values: Any, step: int | None = None, **options: Any) -> None:
        msg = "the disk is full"
        raise OSError(msg)


def run(accelerator: Any, loop: Loop, *, epochs: int) -> list[int]:
    """Train the loop's model; return after which batches its optimizer stepped."""
    net, batches, updates = loop.model, 0, []
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    optimizer.register_step_post_hook(lambda *_: updates.append(batches))
    loader = DataLoader(TensorDataset(SAMPLES), batch_size=2)
    net, optimizer, loader = accelerator.prepare(net, optimizer, loader)
    with loop:
        for _ in loop.epochs(epochs):
            for (batch,) in loop.steps(loader):
                batches += 1
                with accelerator.accumulate(net):
                    accelerator.backward(net(batch).square().mean())
                    optimizer.step()
                    optimizer.zero_grad()
    return updates


def loop_of(accelerator: Any, *callbacks: Callback, **options: Any) -> Loop:
    net = nn.Linear(2, 1)
    return accelerate(accelerator, net, callbacks=callbacks, **{"monitors": [], **options})


@pytest.mark.parametrize(("batches", "steps"), [(1, 10), (2, 6), (7, 2)])
def test_a_step_is_an_update(batches: int, steps: int) -> None:
    accelerator = hf.Accelerator(cpu=True, gradient_accumulation_steps=batches)
    watch = Steps()
    updates = run(accelerator, loop_of(accelerator, watch), epochs=2)
    assert len(updates) == steps
    each = steps // 2
    assert watch.seen == [(step, (step - 1) // each) for step in range(1, steps + 1)]


def test_trackers_are_given_scalars_and_pictures() -> None:
    tracker, picture = Kept(), np.zeros((2, 3, 3), np.uint8)
    accelerator = hf.Accelerator(cpu=True, log_with=[tracker])
    loop = loop_of(accelerator, monitors=None)
    accelerator.init_trackers("made after the loop")
    with loop:
        assert (loop.monitors.takes_pictures, loop.takes_tables) == (True, False)
        loop.log({"train/loss": 0.5}, pictures={"roc": picture})
        loop.monitors.write(Record(step=3, scalars={METRIC: 1.0}, timings={"validation/time": 2.0}))
    assert tracker.logged == [
        ({"train/loss": 0.5}, 0),
        ({METRIC: 1.0, "validation/time": 2.0}, 3),
    ]
    assert [(list(found), step) for found, step in tracker.pictures] == [(["roc"], 0)]


@pytest.mark.slow
def test_tensorboard_of_an_accelerator_shows_both(tmp_path: Path) -> None:
    accelerator = hf.Accelerator(cpu=True, log_with="tensorboard", project_dir=tmp_path)
    accelerator.init_trackers("run")
    with loop_of(accelerator, monitors=None) as loop:
        loop.log({METRIC: 0.5}, pictures={"roc": np.zeros((2, 3, 3), np.uint8)})
    accelerator.end_training()
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert events.Scalars(METRIC)[0].value == 0.5
    assert (events.Images("roc")[0].height, events.Images("roc")[0].width) == (2, 3)


def test_a_tracker_that_fails_keeps_no_record_from_the_others() -> None:
    tracker = Kept()
    accelerator = hf.Accelerator(cpu=True, log_with=[Full(), tracker])
    accelerator.init_trackers("run")
    with loop_of(accelerator, monitors=None) as loop:
        warning = r"^the tracker 'full' failed \(OSError: the disk is full\); the training goes"
        with pytest.warns(RuntimeWarning, match=warning):
            loop.log({METRIC: 0.5})
    assert tracker.logged == [({METRIC: 0.5}, 0)]


def test_the_state_goes_with_that_of_the_accelerator(tmp_path: Path) -> None:
    accelerator = hf.Accelerator(cpu=True, gradient_accumulation_steps=2)
    run(accelerator, loop_of(accelerator), epochs=1)
    accelerator.save_state(str(tmp_path))
    _reset()
    accelerator, watch = hf.Accelerator(cpu=True, gradient_accumulation_steps=2), Steps()
    loop = loop_of(accelerator, watch)
    net = loop.model
    accelerator.prepare(net, torch.optim.SGD(net.parameters(), 0.1))
    accelerator.load_state(str(tmp_path))
    assert (loop.step, loop.epoch) == (3, 1)


def test_the_model_is_the_users_own() -> None:
    accelerator, net = hf.Accelerator(cpu=True), nn.Linear(2, 1)
    wrapped = nn.DataParallel(net)
    assert accelerate(accelerator, wrapped, monitors=[]).model is net
    with pytest.raises(TypeError, match=r"^`accelerator` must be an Accelerator, got 3$"):
        accelerate(3, net)


def share(loader: Any) -> Any:
    """Return what `prepare` makes of a loader for the first of two processes."""
    hf.Accelerator(cpu=True)
    return hf.data_loader.prepare_data_loader(loader, num_processes=2, process_index=0)


def test_a_loader_that_was_prepared_all_the_same_is_read_whole() -> None:
    prepared = share(DataLoader(TensorDataset(SAMPLES[:, 0]), batch_size=2))
    assert len(list(prepared)) == 3  # of five: one process's share, padded
    metrics = mp.evaluate(None, prepared, [mp.ScalarStats("x")], fields=["x"], size=10)
    assert metrics == pytest.approx({"validation/x": float(SAMPLES[:, 0].mean())})


def test_a_prepared_share_of_a_stream_is_an_error() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            return iter(SAMPLES)

    message = (
        "`data` must be whole, got a loader that Accelerate prepared, whose iterable dataset "
        "gives each process a share; pass the loader as it was before `prepare`"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        mp.evaluate(None, share(DataLoader(Stream(), batch_size=2)), [mp.ScalarStats("x")])
