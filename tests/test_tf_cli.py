"""The commands on the Keras twin of the digits recipe."""

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from milepost._cli import main
from milepost.configs import digits_keras

DIGITS = str(Path(__file__).resolve().parents[1] / "configs" / "digits_keras.yaml")
SMALL = ["--epochs=2", "--train.copies=1", "--train.orientations=false", "--model.width=8"]
SMALL += ["--threads=null"]  # TensorFlow runs in this process already


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # commands put the folder in front


def evaluations(rundir: str) -> list[dict[str, Any]]:
    lines = Path(rundir, "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [record for record in records if record["runner"] == "validation"]


def test_a_run_can_be_examined_again_to_the_digit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", DIGITS, *SMALL]) == 0
    found = evaluations("runs/digits_keras")
    assert [(record["step"], record["epoch"]) for record in found] == [(0, 0), (4, 1), (8, 2)]
    best = max(found, key=lambda record: float(record["validation/map@r"]))
    capsys.readouterr()
    checkpoint = ["--checkpoint", "runs/digits_keras/best.safetensors"]
    assert main(["eval", "runs/digits_keras/config.yaml", *checkpoint, "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert len(metrics) == 20
    assert metrics == {name: best[name] for name in metrics}


@pytest.mark.slow
def test_two_runs_with_one_seed_are_equal() -> None:
    curves = []
    for rundir in ("a", "b"):
        assert main(["run", DIGITS, *SMALL, "--rundir", rundir]) == 0
        curves.append([record["validation/map@r"] for record in evaluations(rundir)])
    assert curves[0] == curves[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epoch=3"], "unknown key 'epoch'; did you mean 'epochs'?"),
        (["--epochs=0"], "`epochs` must be at least 1, got 0"),
        (["--model.dimensions=3"], f"{DIGITS}: model: Problem with given class_path"),
        (["--model=keras.layers.Densse"], "model: unknown name in module 'keras.layers': 'Densse'"),
    ],
)
def test_a_recipe_that_is_wrong_gives_one_line_and_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", DIGITS, *SMALL, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"milepost run: error: {message}")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_threads_that_come_too_late_are_a_warning() -> None:
    keras.ops.ones(1)
    with pytest.warns(RuntimeWarning, match=r"^`threads` is 7, but TensorFlow runs already"):
        assert main(["run", DIGITS, *SMALL, "--threads=7"]) == 0


def test_the_loss_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((6, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = np.array([0, 1, 0, 1, 0, 2])  # the last is alone
    similarity = rows.astype(np.float64) @ rows.T / 0.1
    losses = []
    for i in range(5):
        others = [j for j in range(6) if j != i]
        total = np.log(sum(np.exp(similarity[i, j]) for j in others))
        positive = [j for j in others if labels[j] == labels[i]]
        losses.append(-np.mean([similarity[i, j] - total for j in positive]))
    loss = digits_keras.SupervisedContrastive(0.1)(labels, rows)
    np.testing.assert_allclose(float(loss), np.mean(losses), rtol=1e-5)
