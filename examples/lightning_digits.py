"""Train on digits with Lightning, whose checkpoints and early stopping act on our metrics.

python examples/lightning_digits.py RUNDIR
"""

import sys
from pathlib import Path
from typing import Any

import torch
from lightning import pytorch as lightning
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import milepost as mp
from milepost.configs.digits import SupervisedContrastive


def digits() -> list[TensorDataset]:
    """Those to train on, and 397 others."""
    images, labels = map(torch.tensor, load_digits(return_X_y=True))
    arrays = images.float() / 16, labels
    return [TensorDataset(*parts) for parts in zip(*(x.split(1400) for x in arrays), strict=True)]


class Embedder(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64))
        self.contrast = SupervisedContrastive()

    def forward(self, image: Tensor) -> Any:
        return nn.functional.normalize(self.embed(image))

    def training_step(self, batch: Any, index: int) -> Tensor:
        image, label = batch
        loss = self.contrast(self(image), label)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main(rundir: Path) -> None:
    lightning.seed_everything(0)
    train, unseen = digits()
    runner = mp.InferenceRunner({"query": unseen, "gallery": train}, [mp.Retrieval(k=(1, 10))])
    best = lightning.callbacks.ModelCheckpoint(rundir, "best", "validation/map@r", mode="max")
    stop = lightning.callbacks.EarlyStopping("validation/map@r", mode="max", patience=3)
    ours = mp.trainers.lightning(runner, rundir=rundir)
    log = lightning.loggers.CSVLogger(rundir)
    trainer = lightning.Trainer(max_epochs=8, callbacks=[ours, best, stop], logger=log)
    trainer.fit(Embedder(), DataLoader(train, batch_size=128, shuffle=True))
    print(f"map@r {best.best_model_score:.3f} in {best.best_model_path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
