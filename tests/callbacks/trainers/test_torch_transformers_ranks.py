"""The `Trainer` of transformers on two ranks."""

import json
from pathlib import Path

import pytest
import transformers  # noqa: F401 - left out where it is not installed
from safetensors.torch import load_file

import milepost as mp
from tests.callbacks.trainers.contract import METRIC, Plan, Samples
from tests.callbacks.trainers.transformers_models import Model
from tests.ranks import run_ranks


@pytest.mark.slow
def test_two_ranks_examine_together_and_one_of_them_writes(tmp_path: Path) -> None:
    script = Path(__file__).with_name("transformers_ranks_script.py")
    assert run_ranks(2, script, tmp_path) == [0, 0]
    chief, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert chief == other
    (own, triggers, best, checkpoint, measured, examined), resumed = chief
    assert own == ["DistributedDataParallel", 6, 2]
    assert (triggers, best, checkpoint) == ([[2, 0], [4, 1], [6, 1]], 0.75, "checkpoint-6")
    assert measured == [[3, 0.5], [6, 0.75]]
    assert resumed[:4] == [["DistributedDataParallel", 9, 3], [[8, 2]], 0.75, "checkpoint-6"]
    assert resumed[4] == [*measured, [9, 0.6]]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert sum(METRIC in line for line in lines) == 2
    model = Model(Plan(folder=tmp_path))
    model.load_state_dict(load_file(tmp_path / "checkpoint-6" / "model.safetensors"))
    heldout = Samples(12, seed=1)
    data = {"image": heldout.image, "label": heldout.label}
    inferencers = [mp.Retrieval(k=1), mp.ClassificationError(k=(1,))]
    alone = mp.evaluate(model, data, inferencers, inputs=("image",), name="examined")
    assert {name: examined[f"eval_{name}"] for name in alone} == pytest.approx(alone, abs=1e-6)
