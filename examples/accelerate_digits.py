"""Train on digits with Accelerate, on whatever it finds: a CPU, a GPU, several ranks.

    python examples/accelerate_digits.py RUNDIR
    accelerate launch --cpu --num_processes 2 examples/accelerate_digits.py RUNDIR

The digits that it is examined on are of classes that the training never sees. What was saved in
RUNDIR/state is gone on with.
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

import milepost as mp
from milepost.configs.digits import ConvNet, Digits, SupervisedContrastive


def main(rundir: Path) -> mp.Loop:
    torch.manual_seed(0)
    accelerator = Accelerator(gradient_accumulation_steps=2)
    model = ConvNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(Digits([0, 1, 2, 3, 4]), batch_size=64, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    contrast = SupervisedContrastive()

    unseen = Digits([5, 6, 7, 8, 9], seed=1)  # not prepared
    retrieval = mp.Retrieval(k=(1, 10))
    runner = mp.InferenceRunner(unseen, [retrieval], every="1 epoch", fields=("image", "label"))
    callbacks = [runner, mp.KeepBest("validation/map@r")]
    loop = mp.trainers.accelerate(accelerator, model, callbacks=callbacks, rundir=rundir)
    if (rundir / "state").exists():
        accelerator.load_state(str(rundir / "state"))
    with loop:
        for _ in loop.epochs(4):
            for image, label in loop.steps(loader):
                with accelerator.accumulate(model):
                    accelerator.backward(contrast(model(image), label))
                    optimizer.step()
                    optimizer.zero_grad()
    accelerator.save_state(str(rundir / "state"))
    return loop


if __name__ == "__main__":
    main(Path(sys.argv[1]))
