"""Where the wall time of a run is said to go."""

import itertools
import time
from collections.abc import Iterator

import pytest

from milepost.runners._stages import Stages


def test_time_in_a_stage_within_another_counts_to_the_inner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))

    def batches() -> Iterator[int]:
        yield from stages.iterate("load", [1, 2])

    stages = Stages()  # at 0
    with stages.of("update"):  # 1
        for _ in stages.iterate("forward", batches()):  # 2, load 3 to 4, 5; 6, 7 to 8, 9;
            pass  # and the end: 10, 11 to 12, 13
    timings = stages.timings(6)  # 14, 15
    assert {key: timings[f"time/{key}_s"] for key in ("load", "forward", "update", "compute")} == {
        "load": 3.0,
        "forward": 6.0,
        "update": 4.0,
        "compute": 0.0,
    }
    assert timings["time/total_s"] == 15.0
    assert timings["samples_per_s"] == 6 / 15
