"""Train on digits with DistributedDataParallel, examined over all ranks.

    python -m torch.distributed.run --standalone --nproc-per-node 2 examples/two_ranks.py RUNDIR

Every rank examines its share of the held-out digits; the metrics are those of one process.
"""

import sys

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

import milepost as mp
from milepost.configs.digits import ConvNet, Digits, SupervisedContrastive


def main(rundir: str) -> None:
    distributed.init_process_group("gloo")
    torch.manual_seed(0)
    model = DistributedDataParallel(ConvNet())
    contrast = SupervisedContrastive()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    digits = Digits([0, 1, 2, 3, 4])
    sampler: DistributedSampler[object] = DistributedSampler(digits)
    loader = DataLoader(digits, batch_size=64, sampler=sampler)
    runner = mp.InferenceRunner(
        Digits([5, 6, 7, 8, 9], seed=1),
        [mp.Retrieval(k=(1, 10)), mp.MatchRate(far=(1e-2,))],
        every="1 epoch",
        fields=("image", "label"),
    )
    best = mp.KeepBest("validation/map@r")
    with mp.Loop(model, callbacks=[runner, best], rundir=rundir) as loop:
        for epoch in loop.epochs(2):
            sampler.set_epoch(epoch)
            for image, label in loop.steps(loader):
                optimizer.zero_grad()
                contrast(model(image), label).backward()
                optimizer.step()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
