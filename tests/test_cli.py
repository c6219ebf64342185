"""The commands, on a small digits recipe and on a recipe with parts of the user's own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.numpy import load_file

from milepost._cli import main

DIGITS = str(Path(__file__).resolve().parents[1] / "configs" / "digits.yaml")
SMALL = ["--epochs=2", "--train.copies=1", "--train.orientations=false", "--model.width=8"]
SMALL += ["--train.classes=[0, 1]", "--runners.validation.data.classes=[5, 6]"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # commands put the folder in front
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def evaluations(rundir: str) -> list[dict[str, Any]]:
    lines = Path(rundir, "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [record for record in records if record["runner"] == "validation"]


def scalars(record: dict[str, Any]) -> dict[str, Any]:
    """The metrics of a record, without its timings."""
    clocks = ("time", "_per_s", "memory")
    return {
        key: value
        for key, value in record.items()
        if key.startswith("validation/") and not any(clock in key for clock in clocks)
    }


def test_a_run_writes_metrics_curves_weights_and_its_recipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", DIGITS, *SMALL]) == 0
    assert [record["epoch"] for record in evaluations("runs/digits")] == [0, 1, 2]
    names = {path.name for path in Path("runs/digits").iterdir()}
    assert {"best.safetensors", "config.yaml", "metrics.jsonl"} <= names
    assert any(name.startswith("events.out.tfevents.") for name in names)
    assert capsys.readouterr().out.splitlines()[-1].startswith("results in runs/digits: best.safe")
    saved = yaml.safe_load(Path("runs/digits/config.yaml").read_text())
    assert saved["epochs"] == 2
    assert saved["model"]["init_args"] == {"dimension": 64, "width": 8}


def test_a_checkpoint_gives_the_numbers_of_training_to_the_digit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", DIGITS, *SMALL]) == 0
    best = max(evaluations("runs/digits"), key=lambda record: float(record["validation/map@r"]))
    capsys.readouterr()
    arguments = ["--checkpoint", "runs/digits/best.safetensors"]
    assert main(["eval", "runs/digits/config.yaml", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == scalars(best)
    assert main(["eval", DIGITS, *SMALL, *arguments]) == 0
    table = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert table == {name: f"{value:.6g}" for name, value in scalars(best).items()}


def test_an_evaluation_leaves_what_can_be_compared_in_a_folder_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", DIGITS, *SMALL]) == 0
    arguments = ["eval", DIGITS, *SMALL, "--checkpoint", "runs/digits/best.safetensors"]
    assert main([*arguments, "--rundir", "again"]) == 0
    found = {path.name for path in Path("again").iterdir()}
    assert found == {"config.yaml", "environment.json", "metrics.jsonl", "tables"}
    capsys.readouterr()
    assert main(["compare", "runs/digits", "again", "--metric", "map@r", "--json"]) == 0
    (change,) = json.loads(capsys.readouterr().out)
    last, again = evaluations("runs/digits")[-1], evaluations("again")[0]
    assert change["first"] == pytest.approx(last["validation/map@r"], rel=1e-12)
    assert change["second"] == pytest.approx(again["validation/map@r"], rel=1e-12)
    assert main([*arguments, "--rundir", "again"]) == 2
    assert "again holds a run already" in capsys.readouterr().err


def test_a_recipe_that_is_shipped_is_found_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "digits", "--print_config"]) == 0
    by_name = capsys.readouterr().out
    assert main(["run", DIGITS, "--print_config"]) == 0
    assert capsys.readouterr().out == by_name
    assert main(["run", "digit"]) == 2
    reason = capsys.readouterr().err
    assert "unknown recipe 'digit'; did you mean 'digits'? There are: " in reason
    Path("digits").touch()  # a file of that name comes first
    assert main(["run", "digits", "--print_config"]) == 2


def test_two_runs_with_one_seed_are_equal() -> None:
    for rundir in ("a", "b"):
        assert main(["run", DIGITS, *SMALL, "--rundir", rundir]) == 0
    assert list(map(scalars, evaluations("a"))) == list(map(scalars, evaluations("b")))
    first, second = (load_file(f"{rundir}/best.safetensors") for rundir in ("a", "b"))
    assert all((first[name] == second[name]).all() for name in first)


def test_a_run_never_mixes_with_another(capsys: pytest.CaptureFixture[str]) -> None:
    Path("old").mkdir()
    Path("old", "metrics.jsonl").touch()
    assert main(["run", DIGITS, "--rundir", "old"]) == 2
    assert capsys.readouterr().err == (
        "milepost run: error: old holds a run already; "
        "remove it, or choose another folder with --rundir\n"
    )


def test_a_printed_recipe_is_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", DIGITS, "--print_config", "--seed=7"]) == 0
    printed = capsys.readouterr().out
    Path("printed.yaml").write_text(printed)
    assert main(["run", "printed.yaml", "--print_config"]) == 0
    assert capsys.readouterr().out == printed
    assert yaml.safe_load(printed)["seed"] == 7
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epoch=3"], "unknown key 'epoch'; did you mean 'epochs'?"),
        (["--runners.validation.evry=1"], "unknown key of runners.validation 'evry'; did you mean"),
        (["--model.dimensions=3"], "unknown key of model.init_args 'dimensions'; did you mean"),
        (["--epochs=x"], f"{DIGITS}: epochs: Expected a <class 'int'>. Got value: x"),
        (["--model.dimension=x"], f"{DIGITS}: model: Problem with given class_path"),
        (["--model=torch.nn.Lineer"], "model: unknown name in module 'torch.nn': 'Lineer'; did"),
        (["--model=torch.optim.Adam"], f"{DIGITS}: model: Import path torch.optim.Adam does not"),
        (
            ["--loss=milepost.Record"],
            f"{DIGITS}: loss: Expected 'milepost.Record' to be a class that",
        ),
        (["--runners.validation.name=x"], "runners.validation: the key is the name, got `name`"),
        (["--runners.validation.every=3 stps"], "`every` is no schedule, got '3 stps'; did you"),
        (
            ["--runners.validation.fields=[image, lable]"],
            "unknown output 'label'; there are: 'backbone', ",
        ),
        (["--rundir=/dev/null/x"], "`rundir` must be a folder that can be written, got '/dev/nul"),
    ],
)
def test_a_recipe_that_is_wrong_gives_one_line_and_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", DIGITS, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"milepost run: error: {message}")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    with pytest.raises(Exception, match=r"\w"):
        main(["run", DIGITS, *arguments, "--debug"])


@pytest.mark.parametrize("checkpoint", ["none.safetensors", "none.pt", DIGITS])
def test_a_checkpoint_that_is_wrong_gives_one_line_and_code_2(
    checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", DIGITS, "--checkpoint", checkpoint]) == 2
    error = capsys.readouterr().err
    assert error.startswith("milepost eval: error: ")
    assert Path(checkpoint).name in error
    assert error.count("\n") == 1


def test_a_recipe_that_needs_an_extra_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["run", DIGITS]) == 2
    assert capsys.readouterr().err == (
        "milepost run: error: scikit-learn is not installed; "
        'pip install "milepost[demo]" brings it\n'
    )


def test_no_command_is_an_error_that_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["rum"])
    assert "choose from 'run', 'eval', 'compare', 'report', 'list'" in capsys.readouterr().err


OWN_PARTS = """
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from milepost.callbacks.monitors import Monitor

class Net(torch.nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.layer = torch.nn.Linear(2, width)

    def forward(self, x, scale):
        return {"logits": self.layer(x * scale)}

class Loss(torch.nn.Module):
    def forward(self, outputs, labels):
        return torch.nn.functional.cross_entropy(outputs["logits"], labels)

def points(count: int):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 2, generator=generator)
    return TensorDataset(x, torch.ones(count, 1), (x[:, 0] > 0).long())

def loader(count: int) -> DataLoader:
    return DataLoader(points(count), batch_size=8)

class Told(Monitor):
    def describe(self, config):
        Path("told.txt").write_text(str(config["optimizer"]["init_args"]["lr"]))

    def write(self, record):
        pass
"""
OWN_RECIPE = """
rundir: out
epochs: 3
model: {class_path: own_parts.Net, init_args: {width: 2}}
loss: own_parts.Loss
optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.5}}
train: {class_path: own_parts.loader, init_args: {count: 64}}
runners:
  test:
    data: {class_path: own_parts.points, init_args: {count: 50}}
    fields: [x, scale, label]
    inputs: [x, scale]
    inferencers:
      - class_path: ClassificationError
        init_args: {logits: logits, labels: label, k: [1]}
      - class_path: SaveOutputs
        init_args: {names: [logits, label], path: "out/saved/{step}", format: npy}
    confidence: {level: 0.9, over: class}
monitors: [{class_path: Csv, init_args: {path: out/metrics.csv}}, {class_path: own_parts.Told}]
"""


def test_model_loss_and_data_come_from_the_current_folder(tmp_path: Path) -> None:
    Path("own_parts.py").write_text(OWN_PARTS)
    Path("recipe.yaml").write_text(OWN_RECIPE)
    command = [sys.executable, "-I", "-m", "milepost", "run", "recipe.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in Path("out/metrics.jsonl").read_text().splitlines()]
    errors = [record["test/error@1"] for record in records if record["runner"] == "test"]
    assert len(errors) == 3
    assert errors[-1] < 0.1
    assert records[-1]["test/error@1/low"] <= errors[-1] <= records[-1]["test/error@1/high"]
    assert {file.name for file in Path("out/saved/00000024").iterdir()} == {
        *("id.npy", "role.npy", "logits.npy", "label.npy")
    }
    assert "test/error@1/high" in Path("out/metrics.csv").read_text().splitlines()[0]
    assert Path("told.txt").read_text() == "0.5"
