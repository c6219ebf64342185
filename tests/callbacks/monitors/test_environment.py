import json
import os
import platform
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from milepost import evaluate
from milepost.callbacks.monitors._environment import environment
from milepost.inferencers import ScalarStats


def test_an_evaluation_says_what_it_runs_on(tmp_path: Path) -> None:
    evaluate(None, {"loss": np.ones(3)}, [ScalarStats("loss")], rundir=tmp_path)
    told = json.loads((tmp_path / "environment.json").read_text())
    assert told["python"] == platform.python_version()
    assert told["packages"]["numpy"] == np.__version__
    assert told["cores"] == os.cpu_count()
    assert {"started", "milepost", "system", "processor", "memory_bytes"} <= told.keys()


@pytest.mark.parametrize(("is_initialized", "names"), [(True, ["gpu 0", "gpu 1"]), (False, [])])
def test_gpus_are_named_if_the_training_has_them_in_use(
    is_initialized: bool, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = SimpleNamespace(
        is_initialized=lambda: is_initialized,
        device_count=lambda: 2,
        get_device_name=lambda number: f"gpu {number}",
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, __version__="9.1"))
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    told = environment()
    assert told["accelerators"] == names
    assert told["packages"]["torch"] == "9.1"
