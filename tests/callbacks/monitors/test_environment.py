import json
import os
import platform
from pathlib import Path

import numpy as np

from milepost import evaluate
from milepost.inferencers import ScalarStats


def test_an_evaluation_says_what_it_runs_on(tmp_path: Path) -> None:
    evaluate(None, {"loss": np.ones(3)}, [ScalarStats("loss")], rundir=tmp_path)
    told = json.loads((tmp_path / "environment.json").read_text())
    assert told["python"] == platform.python_version()
    assert told["packages"]["numpy"] == np.__version__
    assert told["cores"] == os.cpu_count()
    assert {"started", "milepost", "system", "processor", "memory_bytes"} <= told.keys()
