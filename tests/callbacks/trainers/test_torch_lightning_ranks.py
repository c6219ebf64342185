"""Lightning's `Trainer.fit` on two ranks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning import pytorch as lightning  # noqa: F401 - left out where it is not installed

import milepost as mp
from tests.callbacks.trainers.contract import METRIC, Plan, Samples
from tests.callbacks.trainers.lightning_models import Module, kept

SCRIPT = Path(__file__).with_name("lightning_ranks_script.py")


@pytest.mark.slow
def test_two_ranks_examine_together_and_one_of_them_logs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[3]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    saw = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    chief, other = ([run[:-1] for run in rank] for rank in saw)
    assert chief == other
    (triggers, best, own, metrics), (resumed, resumed_best, resumed_own, _) = chief
    assert (triggers, best, own) == ([[2, 0], [4, 1], [6, 1]], 0.75, ["DDPStrategy", 6, 2])
    assert resumed == [[8, 2], [10, 3], [12, 3]]
    assert (resumed_best, resumed_own) == (0.75, ["DDPStrategy", 12, 4])  # stopped by Lightning
    assert [run[-1] for run in saw[0]] == [2, 2]
    assert kept(tmp_path) == ["6 0.75"]
    assert sorted(path.name for path in (tmp_path / "csv").iterdir()) == ["version_0", "version_1"]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert sum(METRIC in line for line in lines) == 2
    module = Module(Plan(folder=tmp_path))
    module.load_state_dict(torch.load(tmp_path / "2.ckpt", weights_only=True)["state_dict"])
    heldout = Samples(12, seed=1)
    data = {"image": heldout.image, "label": heldout.label}
    inferencers = [mp.Retrieval(k=1), mp.ClassificationError(k=(1,))]
    alone = mp.evaluate(module, data, inferencers, inputs=("image",), name="examined")
    assert {name: metrics[name] for name in alone} == pytest.approx(alone, abs=1e-6)
