from pathlib import Path

import pytest

import milepost as mp
from tests.report.folders import examined


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run that holds a bit of everything."""
    return mp.report(examined(tmp_path_factory.mktemp("runs") / "one run"))
