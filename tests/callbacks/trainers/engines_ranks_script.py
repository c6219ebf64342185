"""Trains on one rank of a world, in a loop of Accelerate and in an engine of Ignite."""

import json
import sys
from pathlib import Path
from typing import Any

import accelerate as hf
import ignite.distributed as idist
import torch
from ignite.engine import Events, create_supervised_trainer
from ignite.handlers import Checkpoint
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import milepost as mp
from tests.callbacks.trainers.contract import METRIC, Samples

HELD_OUT = Samples(13, seed=1)  # not the same number on each rank


def net_with_buffers() -> nn.Module:
    """A model with BatchNorm, whose statistics differ between the ranks of a training."""
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))


def runner(**options: Any) -> mp.InferenceRunner:
    data = {"image": HELD_OUT.image, "label": HELD_OUT.label}
    return mp.InferenceRunner(data, [mp.Retrieval(k=1)], inputs=("image",), **options)


def seen(trainer: Any, net: nn.Module) -> dict[str, Any]:
    """What a rank saw, and what it measures by itself of its own model."""
    alone = runner(placement="local").maybe_run(net, epoch=1)
    assert alone is not None
    history = trainer.monitors.get_history(METRIC)
    mean = net.get_buffer("0.running_mean").tolist()
    return {"history": history, "step": trainer.step, "alone": alone[METRIC], "mean": mean}


def in_a_loop(accelerator: hf.Accelerator, folder: Path) -> dict[str, Any]:
    net: Any = net_with_buffers()
    optimizer: Any = torch.optim.SGD(net.parameters(), 0.1)
    loader: Any = DataLoader(Samples(), 4)
    net, optimizer, loader = accelerator.prepare(net, optimizer, loader)
    loop = mp.trainers.accelerate(accelerator, net, callbacks=[runner()], rundir=folder / "loop")
    with loop:
        for _ in loop.epochs(2):
            for batch in loop.steps(loader):
                loss = nn.functional.cross_entropy(net(batch["image"]), batch["label"])
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
    accelerator.save_state(str(folder / "state"))
    return seen(loop, loop.model)


def in_an_engine(folder: Path) -> dict[str, Any]:
    net: Any = idist.auto_model(net_with_buffers())
    samples = Samples()
    mine = Subset(TensorDataset(samples.image, samples.label), range(idist.get_rank(), 24, 2))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    engine = create_supervised_trainer(net, optimizer, nn.CrossEntropyLoss())
    score = Checkpoint.get_default_score_fn(METRIC)
    best = Checkpoint({"net": net}, str(folder / "best"), score_function=score)
    engine.add_event_handler(Events.EPOCH_COMPLETED, best)
    trainer = mp.trainers.ignite(engine, runner(), rundir=folder / "engine")
    engine.run(DataLoader(mine, 4), max_epochs=2)
    return seen(trainer, net.module)


def main() -> None:
    folder = Path(sys.argv[1])
    accelerator = hf.Accelerator(cpu=True)
    found = {"loop": in_a_loop(accelerator, folder), "engine": in_an_engine(folder)}
    (folder / f"{accelerator.process_index}.json").write_text(json.dumps(found))
    accelerator.end_training()


if __name__ == "__main__":
    main()
