"""Keras on the backend that is torch, in a process of its own: the backend is chosen on import."""

import os
import subprocess
import sys
from pathlib import Path

import keras  # noqa: F401, this file is left out where either is not installed
import pytest
import torch  # noqa: F401

SCRIPT = Path(__file__).with_name("keras_torch_script.py")


@pytest.mark.slow
def test_keras_models_on_torch_are_examined_as_models_of_torch() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "all is well"
