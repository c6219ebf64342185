"""What an attached runner adds to each step of a training while nothing is due.

A training of a trivial model runs bare and attached in turn, in one process, and calls `tick` in
each step; the clock of this case is the time by which the median attached step is longer than the
median bare one, for all steps. A framework is a function that trains, here, and a row in
`benchmarks/rows.py`.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks.cases.case import Case, Run
from benchmarks.cases.loop import model
from benchmarks.data import Array

ROUNDS = 4
_added_s = 0.0
_ticks: list[float] = []

Train = Callable[[int, bool], Any]
"""Trains for so many steps, with a runner or without."""


def added_s() -> float:
    """Return the seconds that the steps of all runs so far have added."""
    return _added_s


def compared(make: Callable[[Array, Callable[[], Any]], Train]) -> Callable[..., Run]:
    """Return the side that trains in turn without a runner and with one."""

    def side(rows: Array, labels: Array, *, steps: int) -> Run:
        import milepost as mp

        def runner() -> Any:
            never = mp.Every(steps=10**9)
            return mp.InferenceRunner({"x": rows[:32]}, [mp.ScalarStats("output")], every=never)

        train = make(rows, runner)

        def run() -> None:
            global _added_s
            took: dict[bool, list[float]] = {False: [], True: []}
            for attached in (False, True) * ROUNDS:
                took[attached] += step_times(train, steps, attached)
            _added_s += steps * (statistics.median(took[True]) - statistics.median(took[False]))

        return run

    return side


def tick() -> None:
    """Note when a step is at this place."""
    _ticks.append(time.perf_counter())


def step_times(train: Train, steps: int, attached: bool) -> list[float]:
    """Return the seconds from each step of a training to the next."""
    _ticks.clear()
    train(steps, attached)
    return [after - before for before, after in itertools.pairwise(_ticks)]


def loop(rows: Array, runner: Callable[[], Any]) -> Train:
    import milepost as mp

    own = model(rows)

    def train(steps: int, attached: bool) -> None:
        if not attached:
            for _ in range(steps):
                tick()
            return
        with mp.Loop(own, callbacks=[runner()], monitors=[]) as ours:
            for _ in ours.steps(range(steps)):
                tick()

    return train


def maybe_run(rows: Array, runner: Callable[[], Any]) -> Train:
    own = model(rows)

    def train(steps: int, attached: bool) -> None:
        ours = runner()
        for step in range(steps):
            tick()
            if attached:
                ours.maybe_run(own, step=step)

    return train


def lightning(rows: Array, runner: Callable[[], Any]) -> Train:
    import pytorch_lightning
    import torch

    import milepost as mp

    class Module(pytorch_lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model(rows)

        def training_step(self, batch: Any, _: int) -> Any:
            tick()
            return self.model(batch).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    batch = torch.from_numpy(rows[:1])
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")

    def train(steps: int, attached: bool) -> None:
        ours = [mp.trainers.lightning(runner(), monitors=[])] if attached else []
        host = pytorch_lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=steps,
            callbacks=ours,
            **dict.fromkeys(silent, False),
        )
        host.fit(Module(), Repeated(batch, steps))

    return train


def transformers(rows: Array, runner: Callable[[], Any]) -> Train:
    import torch
    from transformers import Trainer, TrainingArguments

    import milepost as mp

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model(rows)

        def forward(self, x: Any) -> Any:
            tick()
            return {"loss": self.model(x).mean()}

    def train(steps: int, attached: bool) -> None:
        arguments = TrainingArguments(
            tempfile.gettempdir(),
            per_device_train_batch_size=1,
            max_steps=steps,
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            report_to=[],
            use_cpu=True,
        )
        samples = [{"x": torch.from_numpy(rows[0])}] * steps
        ours = [mp.trainers.transformers(runner(), monitors=[])] if attached else []
        Trainer(Module(), arguments, train_dataset=samples, callbacks=ours).train()

    return train


def ignite(rows: Array, runner: Callable[[], Any]) -> Train:
    from ignite.engine import Engine

    import milepost as mp

    own = model(rows)

    def train(steps: int, attached: bool) -> None:
        engine = Engine(lambda *_: tick())
        if attached:
            mp.trainers.ignite(engine, runner(), model=own, monitors=[])
        engine.run(range(steps), max_epochs=1)

    return train


def accelerate(rows: Array, runner: Callable[[], Any]) -> Train:
    from accelerate import Accelerator

    import milepost as mp

    own = model(rows)
    accelerator = Accelerator(cpu=True)

    def train(steps: int, attached: bool) -> None:
        if not attached:
            for _ in range(steps):
                with accelerator.accumulate(own):
                    tick()
            return
        with mp.trainers.accelerate(accelerator, own, callbacks=[runner()], monitors=[]) as ours:
            for _ in ours.steps(range(steps)):
                with accelerator.accumulate(own):
                    tick()

    return train


def keras(rows: Array, runner: Callable[[], Any]) -> Train:
    import keras as framework

    import milepost as mp

    layers = framework.layers
    own = framework.Sequential([framework.Input(rows.shape[1:]), layers.Dense(1)])
    own.compile("sgd", "mse")

    def step(_: Any) -> dict[str, float]:  # Keras' own takes longer, and less evenly
        tick()
        return {}

    own.train_function = step

    def train(steps: int, attached: bool) -> None:
        ours = [mp.trainers.keras(runner(), monitors=[])] if attached else []
        own.fit(rows[:steps], rows[:steps, :1], batch_size=1, verbose=0, callbacks=ours)

    return train


class Repeated:
    """One batch many times."""

    def __init__(self, batch: Any, times: int) -> None:
        self._batch = batch
        self._times = times

    def __iter__(self) -> Any:
        return iter([self._batch] * self._times)

    def __len__(self) -> int:
        return self._times


CASE = Case(
    {
        "Loop": compared(loop),
        "maybe_run": compared(maybe_run),
        "Lightning": compared(lightning),
        "Transformers": compared(transformers),
        "Ignite": compared(ignite),
        "Accelerate": compared(accelerate),
        "Keras": compared(keras),
    },
    clock=added_s,
)
