"""What every rank of `test_torch_world` runs.

`world_script.py agree FOLDER` or `world_script.py outlive RANK FOLDER`.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed as dist

from milepost.callbacks import Callback, KeepBest, Loop, Record, World, current_world
from milepost.errors import RankError


def shared(world: World) -> Any:
    """Share one array of each kind from rank 1; say what arrived."""
    arrays = {
        "float": np.arange(6.0).reshape(2, 3).T,
        "unicode": np.array(["a", "größe", ""]),
        "bytes": np.array([b"x", b"yy"]),
        "int": np.array([2**62, -1]),
        "bool": np.array([True, False]),
        "scalar": np.array(3, np.uint16),
        "empty": np.empty((0, 4), np.float32),
        "no rows": torch.empty(0, 2, dtype=torch.bfloat16),
        "time": np.array(["2020-01-01"], "datetime64[D]"),
        "objects": np.array([None, "x", 3], dtype=object),
        "bfloat16": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).T,
        "grad": torch.ones(2, requires_grad=True),
        "zero-dim": torch.tensor(7, dtype=torch.int64),
        "flags": torch.tensor([True, False]),
    }
    got = world.share(arrays if world.rank == 1 else None, source=1)
    return {
        name: [
            type(value).__name__,
            str(value.dtype),
            list(value.shape),
            bool((np.asarray(value == arrays[name])).all()),
        ]
        for name, value in got.items()
    }


def stopped(world: World) -> list[str]:
    """What `raise_together` raises where rank 1 has an error, and where none has."""
    world.raise_together(None)
    try:
        world.raise_together(ValueError("no data") if world.rank == 1 else None)
    except (ValueError, RankError) as error:
        return [type(error).__name__, str(error)]
    return []


class Note(Callback):
    """Triggered where the chief alone thinks so; publishes what every rank knows."""

    def __init__(self, rank: int) -> None:
        self.every = lambda moment: rank == 0 and (moment.step or 1) % 3 == 0
        self.steps: list[int] = []

    def trigger(self) -> None:
        self.steps.append(self.trainer.step)
        record = Record(scalars={"v/x": float(self.trainer.step)}, step=self.trainer.step)
        self.trainer.publish(record, lambda: {"w": torch.ones(1) * self.trainer.world.rank})


def looped(rank: int, folder: Path) -> dict[str, Any]:
    note, keep = Note(rank), KeepBest("v/x", mode="max")
    with Loop(None, callbacks=[note, keep], rundir=folder / "run") as loop:
        for _ in loop.steps(range(7)):
            pass
        return {"steps": note.steps, "history": loop.monitors.get_history("v/x"), "b": keep.best}


def unwritable(folder: Path) -> list[str]:
    (folder / "file").touch()
    try:
        with Loop(None, rundir=folder / "file" / "run"):
            return []
    except (OSError, RankError) as error:
        return [type(error).__name__, str(error)]


def agree(folder: Path) -> None:
    """Everything that ranks do together."""
    world = current_world()
    result = {
        "gather": world.gather({"rank": world.rank}),
        "broadcast": [world.broadcast(world.rank), world.broadcast(world.rank, source=1)],
        "share": shared(world),
        "stopped": stopped(world),
    }
    world.close()
    world.close()
    result["loop"] = looped(world.rank, folder)
    result["unwritable"] = unwritable(folder)
    groups = len(dist.distributed_c10d._world.pg_map)
    (folder / f"{world.rank}.json").write_text(json.dumps([result, groups]))


def outlive(victim: int, folder: Path) -> None:
    """Rank `victim` dies; the others say what they see, and how soon."""
    world = current_world()
    world.gather(None)
    if world.rank == victim:
        os._exit(0)
    began_s = time.monotonic()
    errors = []
    for _ in range(2):
        try:
            world.gather(None)
        except RankError as error:
            errors.append(str(error))
    seen = {"errors": errors, "seconds": time.monotonic() - began_s}
    (folder / f"{world.rank}.json").write_text(json.dumps(seen))
    os._exit(0)  # the default group has no rank to say good-bye to


def main() -> None:
    dist.init_process_group("gloo")
    if sys.argv[1] == "agree":
        agree(Path(sys.argv[2]))
        dist.destroy_process_group()
    else:
        outlive(int(sys.argv[2]), Path(sys.argv[3]))


if __name__ == "__main__":
    main()
