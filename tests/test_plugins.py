"""Inferencers, monitors and trainers of other packages."""

import importlib
import json
import re
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest

import milepost as mp
from milepost import _listing
from milepost._cli import main
from milepost.callbacks import trainers
from tests.pages import blocks_only_shown

ROOT = Path(__file__).resolve().parents[1]
CODE = """
from milepost.inferencers import Inferencer

class Mine(Inferencer): ...
class Other(Inferencer): ...

def train(*callbacks): return callbacks
"""


def package(folder: Path, name: str, entry_points: str, code: str = "") -> None:
    """Write what pip leaves of an installed package."""
    about = folder / f"{name}-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(entry_points)
    (folder / f"{name}.py").write_text(code)


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that register something, and one that cannot be imported."""
    package(
        tmp_path,
        "good_plugin",
        "[milepost.inferencers]\nMine = good_plugin:Mine\nRetrieval = good_plugin:Other\n"
        "[milepost.trainers]\nown = good_plugin:train\n"
        "[milepost.monitors]\nTape = good_plugin:Mine\n",
        CODE,
    )
    broken = "[milepost.inferencers]\nBroken = bad_plugin:Broken\n"
    package(tmp_path, "bad_plugin", broken, "import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "good_plugin", raising=False)
    return tmp_path


@pytest.mark.usefixtures("plugins")
def test_a_plug_in_is_found_by_its_name() -> None:
    module = importlib.import_module("good_plugin")
    assert getattr(mp.inferencers, "Mine") is module.Mine  # noqa: B009  not for a type checker
    assert getattr(mp.monitors, "Tape") is module.Mine  # noqa: B009
    assert getattr(mp.trainers, "own")(1, 2) == (1, 2)  # noqa: B009
    assert "Mine" in dir(mp.inferencers)
    assert "Tape" in dir(mp.monitors)
    assert "own" in dir(mp.trainers)


@pytest.mark.usefixtures("plugins")
def test_a_plug_in_does_not_take_the_place_of_what_there_is() -> None:
    assert mp.inferencers.Retrieval is mp.Retrieval


@pytest.mark.usefixtures("plugins")
def test_a_name_that_nobody_registers_is_an_error_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="unknown inferencer 'Mime'; did you mean 'Mine'"):
        getattr(mp.inferencers, "Mime")  # noqa: B009
    with pytest.raises(AttributeError, match="unknown trainer 'ownn'; did you mean 'own'"):
        getattr(mp.trainers, "ownn")  # noqa: B009
    assert not hasattr(mp.monitors, "__path_hook__")


@pytest.mark.usefixtures("plugins")
def test_a_broken_plug_in_is_an_error_only_for_who_uses_it() -> None:
    with pytest.raises(ImportError) as caught:
        getattr(mp.inferencers, "Broken")  # noqa: B009
    assert str(caught.value) == (
        "the plug-in 'Broken' of bad_plugin 1.2 is broken "
        "(ModuleNotFoundError: No module named 'no_such_module')"
    )


def test_of_two_of_one_name_the_first_counts_and_a_warning_names_both(plugins: Path) -> None:
    package(plugins, "third_plugin", "[milepost.monitors]\nTape = good_plugin:Other\n")
    with pytest.warns(RuntimeWarning, match=r"'Tape' of \w+ 1.2 gives way to that of \w+ 1.2"):
        getattr(mp.monitors, "Tape")  # noqa: B009


@pytest.mark.usefixtures("plugins")
def test_all_are_listed_with_their_packages_and_a_broken_one_is_named_and_skipped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr()
    groups = [group.splitlines() for group in printed.out.split("\n\n")]
    tables = {name: dict(line.split(maxsplit=1) for line in lines) for name, *lines in groups}
    assert list(tables) == ["inferencers", "monitors", "trainers"]
    own = f"milepost {mp.__version__}"
    assert tables["inferencers"]["Mine"] == tables["trainers"]["own"] == "good_plugin 1.2"
    assert tables["inferencers"]["Retrieval"] == own
    assert tables["trainers"]["keras"].startswith(own)
    assert tables["monitors"]["Tape"] == "good_plugin 1.2"
    assert {"Terminal", "JsonLines", "Csv", "ParquetTables"} <= tables["monitors"].keys()
    assert not {"Broken", "Inferencer"} & tables["inferencers"].keys()
    assert printed.err == (
        "milepost list: warning: the plug-in 'Broken' of bad_plugin 1.2 is broken "
        "(ModuleNotFoundError: No module named 'no_such_module')\n"
    )


def test_what_needs_an_extra_that_is_not_there_is_listed_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ModuleSpec("wandb", None, is_package=True)  # as Weights & Biases leaves one
    monkeypatch.setattr(_listing, "find_spec", {"mlflow": find_spec("numpy"), "wandb": folder}.get)
    assert main(["list"]) == 0
    needing = dict(re.findall(r"^  (\w+) .*, needs pip (.*)$", capsys.readouterr().out, re.M))
    own = {"TensorBoard", "WandB", "Clustering", "KerasMetric", "TorchMetric"}
    assert needing.keys() == own | {*trainers.__all__}
    assert needing["WandB"] == 'install "milepost[wandb]"'
    assert needing["keras"] == needing["KerasMetric"] == 'install "milepost[tensorflow]"'


RECIPE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return torch.softmax(self.scale * x, 1)

def points():
    x = torch.eye(3).repeat(4, 1)
    return torch.utils.data.TensorDataset(x, x.argmax(1))
"""
TRAINER = """
from parts import Net, points
from pytorch_metric_learning import losses, trainers
from torch.optim import SGD

net = Net()
trainer = trainers.MetricLossOnly(
    models={"trunk": net},
    optimizers={"trunk_optimizer": SGD(net.parameters(), lr=0.1)},
    batch_size=4,
    loss_funcs={"metric_loss": losses.ContrastiveLoss()},
    dataset=points(),
    dataloader_num_workers=0,
    data_device="cpu",
)
runner = mp.InferenceRunner(points(), [mp.inferencers.CalibrationError()], name="own")

class Stop(mp.Callback):
    def trigger(self):
        if self.trainer.epoch == 2:
            self.trainer.request_stop("enough")

training = mp.trainers.metric_learning(trainer, runner, Stop(), monitors=[mp.monitors.Logging()])
training.train(epochs=5)
assert (training.step, training.epoch, training.stop_reason) == (6, 2, "enough")
assert [step for step, _ in training.monitors.get_history("own/calibration_error")] == [3, 6]
assert len(training.monitors.get_history("train/loss")) == 6
"""


def test_the_page_shows_the_trainer_of_the_example() -> None:
    (shown,) = (code for code in blocks_only_shown("docs/plugins.md") if "_begin" in code)
    example = (ROOT / "examples/plugin/milepost_example.py").read_text()
    whole = {line.strip() for line in example.splitlines()}
    own = {line.partition("  #")[0].strip() for line in shown.splitlines() if "def " not in line}
    assert own - {line.partition("  #")[0] for line in whole} == set()


def test_the_example_is_built_installed_and_used_by_its_names(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_metric_learning")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index"]
    source = tmp_path / "plugin"
    source.mkdir()
    for name in ("pyproject.toml", "milepost_example.py"):
        (source / name).write_text((ROOT / "examples/plugin" / name).read_text())
    command = [*pip, "--no-build-isolation", "--target", str(tmp_path / "target"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (tmp_path / "parts.py").write_text(RECIPE)
    runner = {
        "data": {"class_path": "parts.points"},
        "inferencers": [{"class_path": "CalibrationError", "init_args": {"bins": 5}}],
        "every": "at end",
    }
    recipe = {
        "model": "parts.Net",
        "loss": "torch.nn.functional.cross_entropy",
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
        "epochs": 1,
        "train": {"class_path": "parts.points"},
        "runners": {"test": runner},
        "monitors": [{"class_path": "Logging"}],
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path / 'target')!r}]\n"
        "import logging; logging.basicConfig(level='INFO')\n"
        "import milepost as mp; from milepost._cli import main\n"
        "assert mp.inferencers.CalibrationError(bins=3).name == 'calibration_error'\n"
        "assert main(['list']) == 0\n"
        f"assert main(['run', 'recipe.yaml']) == 0\n{TRAINER}"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "CalibrationError           milepost-example 0.1.0" in done.stdout
    assert "metric_learning  milepost-example 0.1.0" in done.stdout
    assert "INFO:milepost:test at step 1: {'test/calibration_error': " in done.stderr
    assert "INFO:milepost:own at step 6: {'own/calibration_error': " in done.stderr
