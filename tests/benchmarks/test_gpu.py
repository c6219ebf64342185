from pathlib import Path

import pytest
import torch

from benchmarks.cases import gpu
from benchmarks.data import Data, load


def test_the_sides_on_a_gpu_agree(tmp_path: Path) -> None:
    rows, labels = load(Data("clustered", 200, 20), tmp_path)
    metrics = gpu.CASE.sides["milepost ranking"](rows, labels)()
    naive = gpu.CASE.sides["torch ranking"](rows, labels)()
    assert naive == pytest.approx({name: metrics[name] for name in naive}, abs=1e-6)
    found = gpu.CASE.sides["milepost search"](rows, labels, k=5)()
    expected = gpu.CASE.sides["torch search"](rows, labels, k=5)()
    torch.testing.assert_close(found.scores.cpu(), expected.values.cpu(), atol=1e-6, rtol=0)
