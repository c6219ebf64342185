"""A loop of one's own keeps the contract that the other trainers are held to."""

import pytest
import torch  # noqa: F401 - left out where it is not installed

from tests.callbacks.trainers.contract import *  # noqa: F403
from tests.callbacks.trainers.contract import Side, train_in_loop


@pytest.fixture
def side() -> Side:
    return train_in_loop
