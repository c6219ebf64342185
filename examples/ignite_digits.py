"""Train on digits with an engine of Ignite, whose handlers act on our metrics.

    python examples/ignite_digits.py RUNDIR

The digits that it is examined on are of classes that the training never sees.
"""

import sys
from pathlib import Path

import torch
from ignite.engine import Events, create_supervised_trainer
from ignite.handlers import Checkpoint, EarlyStopping, global_step_from_engine
from torch.utils.data import DataLoader

import milepost as mp
from milepost.configs.digits import ConvNet, Digits, SupervisedContrastive


def main(rundir: str) -> Path:
    torch.manual_seed(0)
    model = ConvNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    engine = create_supervised_trainer(model, optimizer, SupervisedContrastive())

    unseen = Digits([5, 6, 7, 8, 9], seed=1)
    retrieval = mp.Retrieval(k=(1, 10))
    runner = mp.InferenceRunner(unseen, [retrieval], every="1 epoch", fields=("image", "label"))
    trainer = mp.trainers.ignite(engine, runner, rundir=rundir)

    score = Checkpoint.get_default_score_fn("validation/map@r")
    best = Checkpoint(
        {"model": model, "optimizer": optimizer, "engine": engine, "milepost": trainer},
        str(Path(rundir) / "checkpoints"),
        score_function=score,
        score_name="map@r",
        global_step_transform=global_step_from_engine(engine, Events.EPOCH_COMPLETED),
    )
    engine.add_event_handler(trainer.EVALUATED, best)
    engine.add_event_handler(trainer.EVALUATED, EarlyStopping(3, score, engine))
    engine.run(DataLoader(Digits([0, 1, 2, 3, 4]), batch_size=64, shuffle=True), max_epochs=4)
    return Path(str(best.last_checkpoint))


if __name__ == "__main__":
    print(main(sys.argv[1]))
