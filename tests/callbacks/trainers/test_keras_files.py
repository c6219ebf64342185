"""What a training of Keras writes, and that it needs no torch for it."""

import json
from pathlib import Path
from typing import Any

import keras
import pytest

from tests.callbacks.trainers.programs import FIT, TENSORBOARD, events, run


@pytest.mark.slow
def test_a_fit_writes_its_files_and_never_imports_torch(tmp_path: Path) -> None:
    assert keras.backend.backend() == "tensorflow"
    run(FIT, tmp_path)
    lines: list[Any] = [
        json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]
    at = [(line["runner"], line["step"], line["epoch"]) for line in lines]
    assert at == [(None, 4, 1), ("validation", 4, 1), (None, 8, 2), ("validation", 8, 2)]
    assert 0.0 <= lines[1]["validation/hit_rate@1"] <= 1.0
    assert (tmp_path / "best.safetensors").exists()
    assert events(tmp_path)["validation/hit_rate@1"] == [4, 8]


def test_tensorboard_needs_its_own_package_only(tmp_path: Path) -> None:
    run(TENSORBOARD, tmp_path)
    assert events(tmp_path) == {"validation/x": [3]}
