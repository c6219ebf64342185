"""Train on digits with the Trainer of Hugging Face, which keeps the best model by our metric.

    python examples/transformers_digits.py RUNDIR

The digits that it is examined on are of classes that the training never sees.
"""

import sys
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import default_collate
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

import milepost as mp
from milepost.configs.digits import ConvNet, Digits, SupervisedContrastive


class Embedder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.contrast = ConvNet(), SupervisedContrastive()

    def forward(self, image: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        embedding = self.net(image)
        loss = {} if labels is None else {"loss": self.contrast(embedding, labels)}
        return {**loss, "embedding": embedding}


def collate(rows: list[Any]) -> dict[str, Tensor]:
    return dict(zip(("image", "labels"), default_collate(rows), strict=True))


def main(rundir: str | Path) -> None:
    unseen = Digits([5, 6, 7, 8, 9], seed=1)
    fields, metrics = ("image", "labels"), ["hit_rate@1", "map@r"]
    retrieval = mp.Retrieval(embeddings="embedding", labels="labels", metrics=metrics)
    runner = mp.InferenceRunner(unseen, [retrieval], every="1 epoch | at start", fields=fields)
    arguments = TrainingArguments(
        output_dir=str(Path(rundir) / "checkpoints"),
        num_train_epochs=4,
        per_device_train_batch_size=128,
        learning_rate=2e-3,
        eval_strategy="epoch",
        save_strategy="epoch",
        metric_for_best_model="validation/map@r",
        load_best_model_at_end=True,
        dataloader_pin_memory=False,
        report_to="none",
    )
    callbacks = [mp.trainers.transformers(runner, rundir=rundir), EarlyStoppingCallback(3)]
    digits = Digits([0, 1, 2, 3, 4], orientations=True)
    trainer = Trainer(Embedder(), arguments, collate, digits, eval_dataset=[], callbacks=callbacks)
    trainer.train()
    trainer.save_model(str(Path(rundir) / "best"))


if __name__ == "__main__":
    main(sys.argv[1])
