"""A `fit` that a strategy distributes."""

from pathlib import Path

import keras
import pytest

from tests.callbacks.trainers.programs import MIRRORED, run


@pytest.mark.slow
def test_evaluations_change_no_digit_of_a_mirrored_fit(tmp_path: Path) -> None:
    assert keras.backend.backend() == "tensorflow"
    run(MIRRORED, tmp_path)
