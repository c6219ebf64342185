"""What every rank of `test_torch_lightning_ranks` runs: `lightning_ranks_script.py FOLDER`.

Lightning itself starts the other rank.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from lightning import pytorch as lightning

import milepost as mp
from tests.callbacks.trainers.contract import METRIC, Measure, Plan, Watch, runner
from tests.callbacks.trainers.lightning_models import Module, checkpoint, host


def train(folder: Path, epochs: int, resume: Path | None = None) -> Any:
    watch, keep = Watch("2 steps"), mp.KeepBest(METRIC, path=folder / "best.safetensors")
    examiner = runner("1 epoch", name="examined")
    rundir = None if resume else folder / "run"
    ours = mp.trainers.lightning(examiner, Measure(), watch, keep, rundir=rundir)
    stop = lightning.callbacks.EarlyStopping(METRIC, mode="max", patience=2)
    logger = lightning.loggers.CSVLogger(folder, "csv")
    trainer = host(
        folder,
        [stop, ours, checkpoint(folder, save_top_k=1)],
        devices=2,
        strategy="ddp",
        max_epochs=epochs,
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=True,
    )
    plan = Plan(folder=folder)
    module = Module(plan)
    trainer.fit(module, plan.loader(), ckpt_path=resume)
    trainer.save_checkpoint(folder / f"{epochs}.ckpt")
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    own = type(trainer.strategy).__name__, ours.step, ours.epoch
    return [watch.triggers, keep.best, own, metrics, len(list(ours.monitors.get_history(METRIC)))]


def main(folder: Path) -> None:
    results = [train(folder, 2), train(folder, 9, folder / "2.ckpt")]
    rank = torch.distributed.get_rank()
    (folder / f"{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
