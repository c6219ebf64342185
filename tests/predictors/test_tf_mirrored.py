"""Examinations under `tf.distribute`, in a process of their own: devices are split at its start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow  # noqa: F401, this file is left out where it is not installed

SCRIPT = Path(__file__).with_name("mirrored_script.py")


@pytest.mark.slow
def test_all_replicas_of_a_mirrored_strategy_are_used_and_give_exact_metrics() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "all is well"
