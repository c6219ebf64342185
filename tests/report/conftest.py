from pathlib import Path

import pytest

from tests.report.folders import examined


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that holds a bit of everything."""
    return examined(tmp_path_factory.mktemp("runs") / "one run")
