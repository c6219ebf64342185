"""A gallery on disk is searched exactly and within its budget, at the size it is for."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "disk_scale_script.py"


def added_bytes(rows: int, queries: int, k: int, budget: int, folder: Path) -> int:
    """Search in a fresh process, which checks the result; return the memory that it took."""
    arguments = [*map(str, (rows, queries, k, budget)), str(folder)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_search_on_disk_keeps_to_its_budget(tmp_path: Path) -> None:
    budget = 64 * 2**20
    assert added_bytes(200_000, 100, 100, budget, tmp_path) < budget


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_million_on_disk_keep_to_their_budget(tmp_path: Path) -> None:
    budget = 512 * 2**20
    assert added_bytes(10_000_000, 1000, 100, budget, tmp_path) < budget
