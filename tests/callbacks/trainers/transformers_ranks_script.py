"""What every rank of `test_torch_transformers_ranks` runs, given a folder."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from torch import distributed

import milepost as mp
from tests.callbacks.trainers.contract import METRIC, Measure, Plan, Watch, runner
from tests.callbacks.trainers.transformers_models import host


def train(folder: Path, epochs: int, *, resume: bool = False) -> Any:
    watch, keep = Watch("2 steps"), mp.KeepBest(METRIC, path=folder / "best.safetensors")
    rundir = None if resume else folder / "run"
    examiner = runner("1 epoch", name="examined")
    ours = mp.trainers.transformers(examiner, Measure(), watch, keep, rundir=rundir)
    options = {"eval_strategy": "epoch", "save_strategy": "epoch", "metric_for_best_model": METRIC}
    plan = Plan(folder=folder, epochs=epochs)
    trainer = host(plan, ours, **options, load_best_model_at_end=True, ddp_backend="gloo")
    trainer.train(resume_from_checkpoint=resume)
    history = trainer.state.log_history
    measured = [(x["step"], x[f"eval_{METRIC}"]) for x in history if f"eval_{METRIC}" in x]
    examined = [x for x in history if "eval_examined/hit_rate@1" in x][-1]
    best = Path(trainer.state.best_model_checkpoint).name
    own = type(trainer.model_wrapped).__name__, ours.step, ours.epoch
    return [own, watch.triggers, keep.best, best, measured, examined]


def main() -> None:
    folder = Path(sys.argv[1])
    results = [train(folder, 2), train(folder, 3, resume=True)]
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(results))
    distributed.destroy_process_group()
