"""One side of a row, in a process of its own: python -m benchmarks.side SIDE FOLDER."""

import importlib
import json
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cases.case import Case
from benchmarks.data import Data, load

ENOUGH_S, MOST_RUNS = 0.5, 5  # short runs are repeated
WARM_UP = Data("random", 500, 50)
SMALL_OPTIONS = {"gallery": 500}


class Side(NamedTuple):
    """What one process measures.

    Attributes:
        case: a module of `benchmarks.cases`.
        by: one of its sides.
        data: what it works on.
        options: those of the case, such as k.
        trapped: whether OpenBLAS is made to run the kernels of an old CPU.
    """

    case: str
    by: str
    data: Data
    options: dict[str, int]
    trapped: bool = False

    @classmethod
    def of(cls, text: str) -> "Side":
        case, by, data, options, trapped = json.loads(text)
        return cls(case, by, Data(*data), options, trapped)


def measure(side: Side, folder: Path) -> dict[str, Any]:
    """Return the median seconds of a run, and the peak memory that the first one took."""
    case: Case = importlib.import_module(f"benchmarks.cases.{side.case}").CASE
    make = case.sides[side.by]
    small = {name: SMALL_OPTIONS.get(name, value) for name, value in side.options.items()}
    make(*load(WARM_UP, folder), **small)()  # loads what a first run loads
    run = make(*load(side.data, folder), **side.options)
    memory = case.memory()
    seconds: list[float] = []
    peak_mb = 0.0
    while sum(seconds) < ENOUGH_S and len(seconds) < MOST_RUNS:
        start = case.clock()
        run()
        seconds.append(case.clock() - start)
        peak_mb = peak_mb if len(seconds) > 1 else memory.added_mb()
    return {"seconds": statistics.median(seconds), "peak_mb": peak_mb, "libraries": libraries()}


def libraries() -> list[str]:
    """Return the BLAS and thread pools that are loaded."""
    from threadpoolctl import threadpool_info

    return sorted(
        {
            " ".join(
                str(each[key])
                for key in ("internal_api", "version", "architecture")
                if each.get(key)
            )
            + f" ({each['num_threads']})"
            for each in threadpool_info()
        }
    )


if __name__ == "__main__":
    print(json.dumps(measure(Side.of(sys.argv[1]), Path(sys.argv[2]))))
