"""The page of a run, as text."""

from pathlib import Path

import numpy as np
import pytest

import milepost as mp


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    rundir = tmp_path_factory.mktemp("run") / "run"
    rng = np.random.default_rng(0)
    data = {"output": rng.normal(size=(40, 4)).astype(np.float32), "label": np.arange(40) % 5}
    mp.evaluate(None, data, [mp.Retrieval(k=(1, 5))], rundir=rundir)
    return mp.report(rundir).read_text()


def test_the_page_shows_each_metric(page: str) -> None:
    assert "hit_rate@5" in page


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no run"):
        mp.report(tmp_path)
