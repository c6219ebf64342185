import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch  # noqa: F401 - left out where it is not installed
from safetensors import safe_open

import milepost as mp
from milepost.configs.digits import ConvNet, Digits

ROOT = Path(__file__).parents[1]
TRAINERS = {  # and what the framework itself keeps in the folder
    "lightning_digits": "best.ckpt",
    "transformers_digits": "best/model.safetensors",
}


@pytest.mark.slow
def test_two_ranks_log_once_what_one_process_gives_for_the_same_weights(tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node=2", "examples/two_ranks.py", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if record["runner"] == "validation"]
    assert [record["epoch"] for record in records] == [1, 2]
    assert list(tmp_path.glob("events.out.tfevents.*"))
    with safe_open(tmp_path / "best.safetensors", framework="pt") as best:
        step = int(best.metadata()["step"])
    model = mp.OfflinePredictor(ConvNet(), tmp_path / "best.safetensors")
    inferencers = [mp.Retrieval(k=(1, 10)), mp.MatchRate(far=(1e-2,))]
    unseen = Digits([5, 6, 7, 8, 9], seed=1)
    alone = mp.evaluate(model, unseen, inferencers, fields=("image", "label"))
    logged = next(record for record in records if record["step"] == step)
    # a share of the rows is a batch of another size, in which a forward pass may round otherwise
    assert {name: logged[name] for name in alone} == pytest.approx(alone, abs=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:lightning")  # its advice
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated")
@pytest.mark.parametrize("name", TRAINERS)
def test_a_framework_keeps_the_best_of_the_curve_that_is_logged(name: str, tmp_path: Path) -> None:
    example = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
    example["main"](tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if record["runner"] == "validation"]
    values = [record["validation/map@r"] for record in records]
    assert values[-1] > values[0] + 0.1
    assert (tmp_path / TRAINERS[name]).exists()
