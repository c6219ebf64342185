"""Keras and torch in one process: the same files from both, and Keras on torch."""

from pathlib import Path

import keras  # noqa: F401 - left out where either is not installed
import pytest
import torch  # noqa: F401

from tests.callbacks.trainers.programs import FIT, LOOP, ON_TORCH, events, run


@pytest.mark.slow
def test_a_fit_and_a_loop_of_torch_write_the_same_tags_and_steps(tmp_path: Path) -> None:
    run(FIT, tmp_path / "fit")
    run(LOOP, tmp_path / "loop")
    assert events(tmp_path / "fit") == events(tmp_path / "loop")


@pytest.mark.slow
def test_a_fit_of_keras_on_torch_is_examined_too(tmp_path: Path) -> None:
    run(ON_TORCH, tmp_path)
