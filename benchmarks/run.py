"""Measure every row: python -m benchmarks.run [--full] [--out FOLDER], from the repository's root.

Each side of each row runs in a fresh process, the sides in turn, with one thread and the BLAS trap
mended. Writes benchmarks.md and benchmarks.json, and fails if a search exceeds its memory budget.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.data import Data, load
from benchmarks.packages import to_install, versions
from benchmarks.row import Row, Section
from benchmarks.rows import sections
from benchmarks.side import WARM_UP, Side
from benchmarks.table import markdown, result_of

ROOT = Path(__file__).parents[1]
THREADS = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)


def main() -> int:
    options = arguments()
    started = time.monotonic()
    folder: Path = options.out.resolve()
    text, found = [], []
    for section in chosen(options):
        results, left_out = measure(section, folder / "data", options.processes)
        text.append(markdown(section, results, left_out))
        found.append({**section._asdict(), "rows": results, "left_out": left_out})
        print(text[-1], flush=True)
    machine = machine_of(found, options, time.monotonic() - started)
    text.append(in_words(machine))
    (folder / "benchmarks.md").write_text("\n".join(text))
    everything = json.dumps({"machine": machine, "sections": found}, indent=1)
    (folder / "benchmarks.json").write_text(everything)
    print(text[-1])
    return int(any(row["over_budget"] for section in found for row in section["rows"]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the sizes of the aims")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "benchmarks")
    parser.add_argument("--processes", type=int, help="of each side")
    parser.add_argument("--rows", default="", help="only those whose title or peer has this text")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes, to try it out")
    options = parser.parse_args()
    options.processes = options.processes or (5 if options.full else 3)
    return options


def chosen(options: argparse.Namespace) -> list[Section]:
    """Return the sections that have such rows, at that scale; a section without rows is a note."""
    table = []
    for section in sections(full=options.full, gpu=has_gpu()):
        rows = [
            row._replace(
                first=scaled(row.first, options.scale),
                other=row.other and scaled(row.other, options.scale),
            )
            for row in section.rows
            if options.rows in f"{row.title} {row.named}"
        ]
        if rows or not (section.rows or options.rows):
            table.append(section._replace(rows=rows))
    return table


def scaled(side: Side, scale: float) -> Side:
    kind, samples, classes = side.data
    data = Data(kind, max(1, round(samples * scale)), max(1, round(classes * scale)))
    gallery = {key: round(side.options[key] * scale) for key in side.options if key == "gallery"}
    return side._replace(data=data, options={**side.options, **gallery})


def has_gpu() -> bool:
    code = "import torch; print(torch.cuda.is_available())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() == "True"


def measure(section: Section, folder: Path, processes: int) -> tuple[list[Any], list[str]]:
    """Return the results of a section's rows, and what was left out, with what would bring it."""
    rows, left_out = [], []
    for row in section.rows:
        lines = to_install(side for side in (row.first, row.other) if side)
        if lines:
            what = f"{row.title}, {row.named}".removesuffix(", ")
            left_out.append(f"Left out: {what}. To bring it: `{' && '.join(lines)}`.")
        else:
            rows.append(row)
    results = []
    for _, group in groupby(rows, key=lambda row: row.first):  # whose first side is measured once
        results += compared(list(group), section, folder, processes)
    return results, left_out


def compared(rows: list[Row], section: Section, folder: Path, processes: int) -> list[Any]:
    sides = [rows[0].first, *(row.other for row in rows if row.other)]
    for data in (WARM_UP, *(side.data for side in sides)):
        load(data, folder)  # made before the processes that read it
    measured: list[list[dict[str, Any]]] = [[] for _ in sides]
    for _ in range(processes):
        for side, results in zip(sides, measured, strict=True):
            results.append(in_a_process(side, folder))
    first, *others = map(median, measured)
    if not others:
        return [result_of(row, section, first, None) for row in rows]
    pairs = zip(rows, others, strict=True)
    return [result_of(row, section, first, other) for row, other in pairs]


def in_a_process(side: Side, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.side", json.dumps(side), str(folder)]
    done = subprocess.run(
        command,
        env=environment(side, folder),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{side} failed:\n{done.stderr}")  # noqa: EM102, its own words follow
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def environment(side: Side, folder: Path) -> dict[str, str]:
    """Return the environment of a side: its BLAS kernels, and one thread where there is no GPU."""
    threads = {} if side.case == "gpu" else dict.fromkeys(THREADS, "1")
    kernels = {}
    if platform.machine() in ("x86_64", "AMD64"):
        flags = Path("/proc/cpuinfo")
        wide = flags.exists() and "avx512f" in flags.read_text()
        mended = "SkylakeX" if wide else "Haswell"
        kernels = {"OPENBLAS_CORETYPE": "Prescott" if side.trapped else mended}
    return {**os.environ, **threads, **kernels, "TMPDIR": str(folder)}


def median(results: list[dict[str, Any]]) -> dict[str, Any]:
    middle = {
        key: statistics.median(each[key] for each in results) for key in ("seconds", "peak_mb")
    }
    return {**middle, "libraries": results[0]["libraries"], "processes": results}


def machine_of(
    found: list[dict[str, Any]], options: argparse.Namespace, seconds: float
) -> dict[str, Any]:
    sides = [
        row[side] for section in found for row in section["rows"] for side in ("first", "other")
    ]
    libraries = {library for side in sides if side for library in side["libraries"]}
    return {
        "cpu": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "versions": versions(),
        "libraries": sorted(libraries),
        "processes": options.processes,
        "scale": options.scale,
        "minutes": round(seconds / 60, 1),
    }


def in_words(machine: dict[str, Any]) -> str:
    installed = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    libraries = ", ".join(machine["libraries"])
    return (
        f"{machine['cpu']}; {installed}. BLAS and thread pools, with their threads: {libraries}. "
        f"Medians over {machine['processes']} processes a side; the run took "
        f"{machine['minutes']} minutes, all sizes times {machine['scale']:g}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
