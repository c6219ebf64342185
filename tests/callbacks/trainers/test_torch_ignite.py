"""What only an Ignite engine has: events, handlers, its state, and what it does with errors."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import Checkpoint, DiskSaver, EarlyStopping, global_step_from_engine
from torch import nn

from milepost.callbacks import Callback, Record, Scheduled
from milepost.callbacks.trainers import ignite
from tests.callbacks.trainers.contract import *  # noqa: F403
from tests.callbacks.trainers.contract import METRIC, Plan, Side, Trained, Watch, weights_of

BATCHES = list(torch.linspace(-1, 1, 24).reshape(6, 2, 2))
PAIRS = [(batch, batch[:, :1]) for batch in BATCHES]
EPOCH = len(BATCHES)


def trained_by(plan: Plan, net: nn.Module, optimizer: torch.optim.Optimizer) -> Engine:
    """The engine of a plan; the one that Ignite makes drops what is left of an epoch."""

    def step(engine: Engine, batch: Any) -> None:
        loss: Any = plan.loss(net(batch["image"]), batch["label"]) / plan.accumulate
        loss.backward()
        if is_step(engine, plan):
            optimizer.step()
            optimizer.zero_grad()

    if plan.accumulate > 1:
        return Engine(step)
    return create_supervised_trainer(
        net, optimizer, plan.loss, prepare_batch=lambda batch, **_: tuple(batch.values())
    )


def is_step(engine: Engine, plan: Plan) -> bool:
    batches = len(plan.loader())
    done = (engine.state.iteration - 1) % batches + 1
    return done % plan.accumulate == 0 or done == batches


def train(callbacks: Sequence[Callback], plan: Plan) -> Trained:
    records: list[Record] = []
    net = plan.net()
    optimizer = plan.optimizer(net)
    trains = trained_by(plan, net, optimizer)
    score = Checkpoint.get_default_score_fn(METRIC)
    best = Checkpoint({"net": net}, plan.folder / "best", score_function=score)
    if plan.best:
        trains.add_event_handler(Events.EPOCH_COMPLETED, best)
    if plan.patience is not None:
        stopping = EarlyStopping(plan.patience, score, trains)
        trains.add_event_handler(Events.EPOCH_COMPLETED, stopping)
    state: dict[str, Any] = {"net": net, "optimizer": optimizer, "engine": trains}
    if plan.attached:
        accumulates = plan.accumulate > 1
        own = functools.partial(is_step, trains, plan) if accumulates else None
        state["milepost"] = ignite(trains, *callbacks, monitors=[records.append], is_step=own)
    disk = DiskSaver(str(plan.folder), require_empty=False)
    last = Checkpoint(state, disk, filename_pattern="last.pt")
    trains.add_event_handler(Events.COMPLETED, last)
    if plan.resume:
        Checkpoint.load_objects(state, plan.folder / "last.pt")
    trains.run(plan.loader(), max_epochs=plan.epochs)
    step = state["milepost"].step if plan.attached else 0
    trained = Trained(weights=weights_of(net), records=records, step=step)
    if plan.best:
        Checkpoint.load_objects({"net": net}, str(best.last_checkpoint))
        trained = dataclasses.replace(trained, best=weights_of(net))
    return trained


@pytest.fixture
def side() -> Side:
    return train


class Gives(Callback):
    """Publishes what a function of the step gives, as a runner does."""

    def __init__(self, value: Callable[[int], float] = float, every: Scheduled = "1 epoch") -> None:
        self.every = every
        self.value = value

    def trigger(self) -> None:
        step, epoch = self.trainer.step, self.trainer.epoch
        scalars = {METRIC: self.value(step)}
        record = Record(runner="validation", scalars=scalars, step=step, epoch=epoch)
        self.trainer.publish(record, dict)


def begins(watch: Watch) -> int:
    return watch.hooks.count("before_train")


def ends(watch: Watch) -> int:
    return watch.hooks.count("after_train")


def engine(net: nn.Module | None = None, **options: Any) -> Engine:
    net = net or nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    return create_supervised_trainer(net, optimizer, nn.MSELoss(), **options)


def attach(engine: Engine, *callbacks: Callback, **options: Any) -> Any:
    return ignite(engine, *callbacks, **{"monitors": [], **options})


def broken(at: int, error: BaseException) -> Engine:
    """An engine without a model whose step fails once, in a batch of that number."""
    errors = [error]

    def step(engine: Engine, batch: Any) -> None:
        if engine.state.iteration == at and errors:
            raise errors.pop()

    return Engine(step)


NET = nn.Linear(2, 1)


def step_of_globals(engine: Engine, batch: Any) -> Any:
    return nn.functional.mse_loss(NET(batch), batch[:, :1])


class Steps:
    def __init__(self) -> None:
        self.net, self.loss = NET, nn.MSELoss()

    def step(self, engine: Engine, batch: Any) -> Any:
        return self.loss(self.net(batch), batch)

    __call__ = step


def step_of_arguments(net: nn.Module, engine: Engine, batch: Any) -> Any:
    return net(batch)


@pytest.mark.parametrize(
    "function",
    [
        step_of_globals,
        Steps().step,
        Steps(),
        functools.partial(step_of_arguments, NET),
        engine(NET)._process_function,
    ],
)
def test_the_model_is_the_one_that_the_process_function_works_with(function: Any) -> None:
    assert attach(Engine(function)).model is NET


def test_a_loss_with_weights_is_not_taken_for_the_model() -> None:
    weighted: Any = nn.Bilinear(1, 1, 1)
    optimizer = torch.optim.SGD(NET.parameters(), 0.1)
    assert attach(create_supervised_trainer(NET, optimizer, weighted)).model is NET


def test_a_model_that_is_not_known_must_be_given() -> None:
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    message = (
        "`model` must be given: the engine's process function holds no single one, "
        r"got first \(Linear\), second \(Linear\)"
    )
    several = Engine(lambda engine, batch: first(second(batch)))
    with pytest.raises(ValueError, match=rf"^{message}$"):
        attach(several)
    with pytest.raises(ValueError, match=r"got none$"):
        attach(Engine(lambda engine, batch: None))
    assert attach(several, model=first).model is first
    with pytest.raises(TypeError, match=r"^`engine` must be an Engine of Ignite, got 3$"):
        ignite(3)  # type: ignore[arg-type]


def test_handlers_that_came_first_act_on_the_metrics_of_their_own_event(tmp_path: Path) -> None:
    trains = engine()
    best = Checkpoint(
        {"model": NET},
        str(tmp_path),
        score_function=Checkpoint.get_default_score_fn(METRIC),
        global_step_transform=global_step_from_engine(trains),
    )
    trains.add_event_handler(Events.EPOCH_COMPLETED, best)
    seen: list[float] = []
    trains.add_event_handler(
        Events.ITERATION_COMPLETED(every=4), lambda: seen.append(trains.state.metrics[METRIC])
    )
    attach(trains, Gives(lambda step: -abs(step - 12), every="4 steps"))
    trains.run(PAIRS, max_epochs=4)
    assert seen == [-8.0, -4.0, 0.0, -4.0, -8.0, -12.0]
    assert [path.name for path in tmp_path.iterdir()] == ["model_2_0.0000.pt"]


def test_an_event_tells_of_each_result(tmp_path: Path) -> None:
    trains = engine()
    trainer = attach(trains, Gives(every="5 steps | at end"))
    kept = Checkpoint({"model": NET}, str(tmp_path), n_saved=None)
    trains.add_event_handler(trainer.EVALUATED, kept)
    seen: list[int] = []
    trains.add_event_handler(trainer.EVALUATED, lambda: seen.append(trains.state.iteration))
    trains.run(PAIRS, max_epochs=2)
    assert seen == [5, 10, 12]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["model_10.pt", "model_12.pt", "model_5.pt"]


def test_early_stopping_stops_and_the_training_ends_for_our_callbacks() -> None:
    trains, watch = engine(), Watch("1 epoch | at end")
    score = Checkpoint.get_default_score_fn(METRIC)
    stopping = EarlyStopping(2, score, trains)
    trains.add_event_handler(Events.EPOCH_COMPLETED, stopping)
    attach(trains, Gives(lambda step: -step), watch)
    trains.run(PAIRS, max_epochs=9)
    assert watch.triggers == [(EPOCH, 1), (2 * EPOCH, 2), (3 * EPOCH, 3)]
    assert (ends(watch), watch.errors) == (1, [])


@pytest.mark.parametrize(("batches", "steps"), [(1, 12), (4, 3), (5, 2)])
def test_a_step_is_an_update(batches: int, steps: int) -> None:
    net, updates, watch = nn.Linear(2, 1), [0], Watch("1 step")
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    optimizer.register_step_post_hook(lambda *_: updates.append(1))
    trains = create_supervised_trainer(
        net, optimizer, nn.MSELoss(), gradient_accumulation_steps=batches
    )
    trainer = attach(trains, watch)
    trains.run(PAIRS, max_epochs=2)
    assert [step for step, _ in watch.triggers] == list(range(1, steps + 1))
    assert trainer.step == steps == sum(updates)


def test_a_second_run_goes_on_with_the_counts() -> None:
    trains, watch = engine(), Watch("1 epoch")
    trainer = attach(trains, watch)
    trains.run(PAIRS, max_epochs=2)
    trains.run(PAIRS, max_epochs=2)  # Ignite begins again with its own counts
    assert watch.triggers == [(EPOCH * epoch, epoch) for epoch in (1, 2, 3, 4)]
    assert (begins(watch), ends(watch), trainer.epoch) == (2, 2, 4)


def test_an_engine_that_resumes_without_our_state_gives_its_counts() -> None:
    trains, watch = engine(), Watch("1 epoch")
    trains.load_state_dict({"iteration": 9, "max_epochs": 3, "epoch_length": EPOCH})
    attach(trains, watch)
    trains.run(PAIRS)
    assert watch.triggers == [(12, 2), (18, 3)]


def test_a_terminated_epoch_is_not_counted_and_the_next_run_goes_on() -> None:
    trains, watch = engine(), Watch("1 epoch | at end")
    attach(trains, watch)
    trains.add_event_handler(
        Events.ITERATION_COMPLETED(once=8), lambda: trains.terminate(skip_completed=True)
    )
    trains.run(PAIRS, max_epochs=3)
    assert (watch.triggers, ends(watch)) == ([(6, 1), (8, 1)], 1)
    trains.run(PAIRS, max_epochs=3)
    assert watch.triggers == [(6, 1), (8, 1), (14, 2)]
    assert ends(watch) == 2


def test_an_interrupted_run_is_one_training_with_the_rest() -> None:
    trains, watch = engine(), Watch("1 epoch")
    attach(trains, watch)
    trains.add_event_handler(Events.ITERATION_COMPLETED(once=8), lambda: trains.interrupt())
    trains.run(PAIRS, max_epochs=2)
    assert (begins(watch), ends(watch)) == (1, 0)
    trains.run(PAIRS, max_epochs=2)
    assert watch.triggers == [(6, 1), (12, 2)]
    assert (begins(watch), ends(watch)) == (1, 1)


@pytest.mark.parametrize("error", [ValueError("the step broke"), KeyboardInterrupt()])
def test_an_error_that_a_run_raises_ends_the_training_once(error: BaseException) -> None:
    trains, watch = broken(8, error), Watch("1 epoch")
    attach(trains, watch, model=NET)
    with pytest.raises(type(error)) as caught:
        trains.run(BATCHES, max_epochs=2)
    assert watch.errors == [caught.value] == [error]
    assert (begins(watch), ends(watch)) == (1, 1)


def test_a_handler_that_raises_the_error_again_is_told_as_without_us() -> None:
    def told(*, attached: bool) -> list[str]:
        trains, names = broken(8, ValueError("the step broke")), []
        if attached:
            attach(trains, Watch(), model=NET)

        def handler(error: BaseException) -> None:
            names.append(str(error))
            raise error

        trains.add_event_handler(Events.EXCEPTION_RAISED, handler)
        with pytest.raises(ValueError, match=r"^the step broke$"):
            trains.run(BATCHES, max_epochs=2)
        return names

    assert told(attached=True) == told(attached=False) != []


def test_a_run_that_outlives_an_error_goes_on_for_our_callbacks() -> None:
    trains, watch = broken(8, ValueError("the step broke")), Watch("1 epoch")
    attach(trains, watch, model=NET)
    trains.add_event_handler(Events.EXCEPTION_RAISED, lambda error: None)
    trains.run(BATCHES, max_epochs=3)
    assert watch.triggers == [(6, 1), (7, 2), (13, 3)]
    assert (begins(watch), ends(watch), watch.errors) == (1, 1, [])


def test_an_interrupt_that_a_handler_keeps_ends_the_training_by_it() -> None:
    error, watch = KeyboardInterrupt(), Watch()
    trains = broken(8, error)
    attach(trains, watch, model=NET)
    trains.add_event_handler(Events.EXCEPTION_RAISED, lambda error: None)
    trains.run(BATCHES, max_epochs=3)
    assert (watch.errors, ends(watch)) == ([error], 1)


@pytest.mark.parametrize(
    "hook", ["setup", "before_train", "before_epoch", "after_step", "trigger", "after_epoch"]
)
def test_an_error_of_our_own_callback_ends_the_training_once(hook: str) -> None:
    def fail(self: Callback) -> None:
        msg = "ours broke"
        raise OSError(msg)

    breaks, watch = type("Breaks", (Callback,), {hook: fail})(), Watch()
    trains = engine()
    attach(trains, watch, breaks)
    with pytest.raises(OSError, match=r"^ours broke$") as caught:
        trains.run(PAIRS, max_epochs=1)
    assert watch.errors == [caught.value]
    assert ends(watch) == 1


def test_an_error_at_the_end_is_raised() -> None:
    class Breaks(Callback):
        def after_train(self) -> None:
            msg = "the clean-up broke"
            raise OSError(msg)

    trains, watch = engine(), Watch()
    attach(trains, Breaks(), watch)
    with pytest.raises(OSError, match=r"^the clean-up broke$"):
        trains.run(PAIRS, max_epochs=1)
    assert ends(watch) == 1


def test_a_state_that_a_handler_loads_before_the_first_epoch_is_in_time() -> None:
    earlier = engine()
    first = attach(earlier, Watch())
    earlier.run(PAIRS, max_epochs=2)
    trains, watch = engine(), Watch("1 epoch")
    trainer = attach(trains, watch)
    trains.add_event_handler(Events.STARTED, lambda: trainer.load_state_dict(first.state_dict()))
    trains.run(PAIRS, max_epochs=1)
    assert watch.triggers == [(18, 3)]
