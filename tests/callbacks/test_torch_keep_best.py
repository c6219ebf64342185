from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from milepost.callbacks import KeepBest, Loop
from milepost.predictors import OfflinePredictor
from tests.callbacks.keeping import METRIC, kept, publish


def test_tied_and_strided_weights_are_kept_under_all_their_names(tmp_path: Path) -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    model.register_buffer("part", first.weight.detach()[:, 1])
    model.half_of = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    keep = KeepBest(METRIC, path=tmp_path / "w")
    with Loop(model, callbacks=[keep], monitors=[]) as loop:
        publish(loop, 1.0, model.state_dict())
    loaded = load_file(tmp_path / "w")
    assert set(loaded) == set(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(loaded[name], value)


def test_the_kept_weights_load_into_a_predictor(tmp_path: Path) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 3.0)
    keep = KeepBest(METRIC, path=tmp_path / "w.safetensors")
    with Loop(model, callbacks=[keep], monitors=[]) as loop:
        publish(loop, 1.0, loop.get_predictor().weights())
    nn.init.constant_(model.weight, 0.0)
    predict = OfflinePredictor(nn.Linear(1, 1, bias=False), checkpoint=tmp_path / "w.safetensors")
    assert predict({"input": torch.ones(1, 1)})["output"].tolist() == [[3.0]]


def test_a_save_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    keep = KeepBest(METRIC)
    loop = Loop(None, callbacks=[keep], rundir=tmp_path, monitors=[])
    with loop:
        publish(loop, 0.5, {"w": torch.tensor([0.5])})
        with pytest.raises(Exception, match="memory format"):
            publish(loop, 0.9, {"w": torch.eye(2).to_sparse()})
    assert kept(tmp_path / "best.safetensors") == 0.5
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]
