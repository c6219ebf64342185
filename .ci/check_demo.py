"""Checks what `make demo` wrote: `check_demo.py RUNDIR`."""

import json
import sys
from pathlib import Path

from safetensors.numpy import load_file

METRIC = "validation/hit_rate@1"


def main(rundir: Path) -> None:
    """Raise if anything that the demo promises is missing."""
    records = [json.loads(line) for line in (rundir / "metrics.jsonl").read_text().splitlines()]
    evaluations = [record for record in records if record["runner"] == "validation"]
    epochs = [record["epoch"] for record in evaluations]
    if epochs != list(range(len(epochs))) or len(epochs) < 2:
        msg = f"one evaluation before training and one an epoch were expected, got epochs {epochs}"
        raise AssertionError(msg)
    first, last = evaluations[0][METRIC], evaluations[-1][METRIC]
    if not last > first:
        msg = f"{METRIC} was expected to improve, got {first} and then {last}"
        raise AssertionError(msg)
    if not list(rundir.glob("events.out.tfevents.*")):
        msg = f"{rundir} has no TensorBoard event file"
        raise AssertionError(msg)
    if len(list(rundir.glob("tables/validation/*/retrieval.queries.parquet"))) != len(epochs):
        msg = f"{rundir} was expected to hold a table of queries for each evaluation"
        raise AssertionError(msg)
    weights = load_file(rundir / "best.safetensors")
    print(f"demo: {len(epochs)} evaluations, {METRIC} {first:.4f} -> {last:.4f},", end=" ")
    print(f"{len(weights)} tensors in best.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
