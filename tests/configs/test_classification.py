"""The classification recipe: nothing that is held out is trained on, and it learns."""

import json
from pathlib import Path

import pytest
import torch

from milepost._cli import main
from milepost.configs.classification import DigitImages

RECIPE = str(Path(__file__).parents[2] / "configs" / "classification.yaml")


def test_a_fifth_of_the_specimens_is_held_out() -> None:
    seen, held_out = DigitImages(held_out=False, copies=2), DigitImages(held_out=True)
    assert len(held_out) == 360
    assert len(seen) == 2 * (1797 - 360)
    assert seen[0][0].shape == held_out[0][0].shape == (1, 16, 16)


def test_it_learns_and_reports_error_confusion_and_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    arguments = ["--epochs", "2", "--rundir", str(tmp_path / "run")]
    assert main(["run", RECIPE, *arguments]) == 0
    best = str(tmp_path / "run" / "best.safetensors")
    assert main(["eval", RECIPE, "--checkpoint", best, "--rundir", str(tmp_path / "best")]) == 0
    torch.set_num_threads(threads)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if record["runner"]]
    assert records[0]["validation/error@1"] > 0.7
    assert records[-1]["validation/error@1"] < 0.3
    kept = json.loads((tmp_path / "best" / "metrics.jsonl").read_text().splitlines()[-1])
    assert kept["validation/error@1"] == min(each["validation/error@1"] for each in records)
    for name in ("error@2", "error@1/low", "accuracy", "ece"):
        assert f"validation/{name}" in records[-1]
