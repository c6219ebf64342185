"""Milepost in a training of Lightning by a variable of the environment alone."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from lightning.fabric.utilities import registry

import milepost as mp
from milepost._lightning_recipe import callbacks
from tests.callbacks.trainers.contract import Plan
from tests.callbacks.trainers.lightning_models import Module, checkpoint, fit, kept

ROOT = Path(__file__).resolve().parents[1]
ATTACHED = """
runners:
  validation:
    data: {class_path: tests.callbacks.trainers.contract.Samples, init_args: {count: 12, seed: 1}}
    inputs: [image]
    every: 4 steps
    inferencers: [{class_path: Retrieval, init_args: {k: 1}}]
callbacks:
  - {class_path: KeepBest, init_args: {metric: validation/hit_rate@1}}
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]


@pytest.fixture(autouse=True)
def _as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Lightning find the entry points that this tree declares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [
        EntryPoint(name, value, group)
        for group, points in project["entry-points"].items()
        for name, value in points.items()
    ]

    def found(*, group: str) -> list[EntryPoint]:
        return [point for point in declared if point.group == group]

    monkeypatch.setattr(registry, "entry_points", found)


def name_recipe(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    monkeypatch.setenv("MILEPOST_RECIPE", str(path))
    return path


def test_nothing_is_attached_where_no_recipe_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MILEPOST_RECIPE", raising=False)
    trainer = fit(Module(Plan(folder=tmp_path, epochs=1)))
    assert not any(isinstance(each, mp.trainers.lightning) for each in trainer.callbacks)


def test_a_recipe_that_is_named_is_attached_to_every_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rundir = tmp_path / "run"
    name_recipe(f"rundir: {rundir}\nepochs: 99\n{ATTACHED}", tmp_path, monkeypatch)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    (ours,) = callbacks()
    assert torch.equal(torch.get_rng_state(), before)
    del ours
    records: list[mp.Record] = []
    own = mp.trainers.lightning(mp.Callback(), monitors=[records.append])
    keep = checkpoint(tmp_path, every_n_train_steps=4)
    fit(Module(Plan(folder=tmp_path, epochs=2)), keep, own)
    assert [name.partition(" ")[0] for name in kept(tmp_path)] == ["12", "4", "8"]
    files = {path.name for path in rundir.iterdir()}
    assert {"metrics.jsonl", "best.safetensors"} <= files
    assert (rundir / "metrics.jsonl").read_text().count('"validation/hit_rate@1"') == 3


def test_a_recipe_that_attaches_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = name_recipe("epochs: 3", tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="has neither") as caught:
        callbacks()
    assert str(caught.value) == (f"MILEPOST_RECIPE: '{path}' has neither `runners` nor `callbacks`")


def test_an_error_of_the_recipe_says_who_named_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILEPOST_RECIPE", str(tmp_path / "absent.yaml"))
    with pytest.raises(FileNotFoundError, match=r"absent\.yaml") as caught:
        callbacks()
    assert caught.value.__notes__ == ["the recipe is named by the variable MILEPOST_RECIPE"]
