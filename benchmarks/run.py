"""Measure every row against its peer: python benchmarks/run.py [--full] [--out FOLDER].

Each side of each row runs in a fresh process with one thread, the sides in turn, with the BLAS trap
mended for both. Writes benchmarks.md and benchmarks.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
PACKAGES = ("numpy", "torch", "faiss-cpu", "pytorch-metric-learning", "torchmetrics")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        title: what is measured.
        case: the function in `cases.py`.
        kind: of embeddings.
        sizes: its two sizes.
        peer: what it is compared with.
        speed_aim: the aim, the peer's time over ours, at least.
        memory_aim: the aim, our peak memory over the peer's, at most; None: no aim.
    """

    title: str
    case: str
    kind: str
    sizes: tuple[int, int]
    peer: str
    speed_aim: float
    memory_aim: float | None = None


def rows(full: bool) -> list[Row]:
    many = 50_000 if full else 20_000
    table = [
        Row(f"k-NN, {many // 1000}k, k = {k}, {kind}", "knn", kind, (many, k), "faiss", 0.9)
        for kind in ("random", "clustered")
        for k in (1, 10, 100)
    ]
    table.append(Row("k-NN, 5k, k = 10, collapsed", "knn", "collapsed", (5_000, 10), "faiss", 0.0))
    pml = "pytorch-metric-learning"
    sizes = [(10_000, 100, 1.0), (10_000, 1_000, 1.0), (many, 10_000 * many // 50_000, 2.0)]
    sizes += [(50_000, 100, 1.0), (50_000, 1_000, 1.5)] if full else [(20_000, 400, 1.5)]
    for samples, classes, aim in sizes:
        title = f"ranking, {samples // 1000}k / {classes} classes"
        memory = 0.1 if classes >= many // 5 else None
        table.append(Row(title, "ranking", "clustered", (samples, classes), pml, aim, memory))
    table += [
        Row("ranking, 2k / 100 classes", "ranking", "clustered", (2_000, 100), "torchmetrics", 20),
        Row("match rates, 10k", "matching", "clustered", (10_000, 1_000), pml, 1.0, 1 / 6),
        Row("loop, 2,000 batches", "loop", "random", (2_000, 0), "raw loop", 0.0),
        Row("loop, 2,000 batches", "loop", "random", (2_000, 0), pml, 4.0),
    ]
    return table


def mended() -> dict[str, str]:
    """Return an environment with one thread, and kernels for this CPU."""
    flags = Path("/proc/cpuinfo")
    wide = flags.exists() and "avx512f" in flags.read_text()
    kernels = {"OPENBLAS_CORETYPE": "SkylakeX" if wide else "Haswell"}
    root = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, **dict.fromkeys(THREADS, "1"), **kernels, "PYTHONPATH": root}


def measure(row: Row, side: str, repeats: int) -> dict[str, Any]:
    arguments = [row.case, side, row.kind, *map(str, row.sizes), str(repeats)]
    command = [sys.executable, str(HERE / "cases.py"), *arguments]
    done = subprocess.run(command, env=mended(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(row: Row, processes: int) -> dict[str, Any]:
    sides: dict[str, list[dict[str, Any]]] = {"milepost": [], row.peer: []}
    for _ in range(processes):
        for side, results in sides.items():
            results.append(measure(row, side, repeats=1))
    ours, peers = (
        {key: statistics.median(each[key] for each in results) for key in ("seconds", "peak_mb")}
        for results in sides.values()
    )
    speed = peers["seconds"] / ours["seconds"]
    memory = ours["peak_mb"] / max(1.0, peers["peak_mb"])
    met = speed >= row.speed_aim and memory <= (row.memory_aim or memory)
    libraries = {side: results[0]["libraries"] for side, results in sides.items()}
    found = {"ours": ours, "peers": peers, "speed": speed, "memory": memory, "met": met}
    return {**row._asdict(), **found, "libraries": libraries}


def markdown(results: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    lines = [
        "| row | peer | ours, s | peer, s | times as fast | aim | ours, MB | peer, MB | met |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in results:
        aim = f"{each['speed_aim']:.2g}" if each["speed_aim"] else "none"
        aim += f", memory {each['memory_aim']:.2f}" if each["memory_aim"] else ""
        numbers = [each[side]["seconds"] for side in ("ours", "peers")]
        peaks = [each[side]["peak_mb"] for side in ("ours", "peers")]
        cells = [each["title"], each["peer"], *(f"{number:.3f}" for number in numbers)]
        cells += [f"{each['speed']:.2f}", aim, *(f"{peak:.0f}" for peak in peaks)]
        lines.append("| " + " | ".join([*cells, "yes" if each["met"] else "**no**"]) + " |")
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    kernels = ", ".join(machine["kernels"])
    return "\n".join([*lines, "", f"{machine['cpu']}; {versions}; one thread; {kernels}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the sizes of the aims")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--processes", type=int, help="of each side of each row")
    options = parser.parse_args()
    processes = options.processes or (5 if options.full else 3)
    results = []
    for row in rows(options.full):
        found = compare(row, processes)
        results.append(found)
        print(f"{row.title}, against {row.peer}: {found['speed']:.2f} times as fast", flush=True)
    loaded = [
        library for each in results for side in each["libraries"].values() for library in side
    ]
    kernels = {
        f"{each['internal_api']} {each['architecture']}" for each in loaded if each["architecture"]
    }
    machine = {
        "cpu": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "versions": {name: version(name) for name in PACKAGES},
        "kernels": sorted(kernels),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    table = markdown(results, machine)
    (options.out / "benchmarks.md").write_text(table)
    (options.out / "benchmarks.json").write_text(
        json.dumps({"machine": machine, "rows": results}, indent=1)
    )
    print(table)


if __name__ == "__main__":
    main()
