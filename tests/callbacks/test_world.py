import numpy as np
import pytest

from milepost.callbacks import Solo, current_world


def test_one_process_is_a_world_of_its_own() -> None:
    world = current_world()
    assert isinstance(world, Solo)
    assert (world.rank, world.size, world.is_chief) == (0, 1, True)
    arrays = {"a": np.ones(2)}
    assert world.gather(arrays) == [arrays]
    assert world.broadcast(arrays) is arrays
    assert world.share(arrays) is arrays
    world.raise_together(None)
    with pytest.raises(ValueError, match=r"^mine$"):
        world.raise_together(ValueError("mine"))
    world.close()
