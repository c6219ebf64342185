"""Folders of runs to report on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import milepost as mp
from milepost.callbacks import Record
from milepost.callbacks.monitors import file_monitors

HOSTILE = '<script>alert("x")</script>&amp;\'<b>$\\frac{1}{$'
"""What is text in a label, must be text in the page."""


def examined(rundir: Path) -> Path:
    """A run of two evaluations by inferencers of all kinds."""
    rng = np.random.default_rng(0)
    labels = np.arange(48) % 4
    centres = 4 * rng.normal(size=(4, 4))
    inferencers = [
        mp.Retrieval(k=(1, 5), metrics=["hit_rate", "map@r"], per_class=True),
        mp.MatchRate(far=(0.1,)),
        mp.EmbeddingHealth(),
        mp.ClassificationError(),
        mp.ConfusionMatrix(),
        mp.Calibration(),
        mp.Items("image", "text"),
        mp.EmbeddingMap(method="pca"),
    ]
    shown = {
        "image": rng.integers(0, 256, (48, 60, 90, 3), np.uint8),
        "text": np.array([f"What row {at} says, in a few words." for at in range(48)]),
    }

    class Examine(mp.Callback):
        def after_step(self) -> None:
            spread = 4.0 / self.trainer.step
            output = centres[labels] + spread * rng.normal(size=(48, 4))
            data = {"output": output, "label": labels, **shown}
            runner = mp.InferenceRunner(data, inferencers, name="unseen", confidence=0.95)
            runner.run(self.trainer)

    monitors = file_monitors(rundir)
    with mp.Loop(None, callbacks=[Examine()], rundir=rundir, monitors=monitors) as loop:
        for _ in loop.epochs(2):
            for _ in loop.steps([0]):
                loop.log({"train/loss": 1.0 / (1 + loop.step)})
    return rundir


def hostile(rundir: Path) -> Path:
    """A run in which every name and every text holds HTML."""
    counts, ids = np.array([5, 1, 4]), np.array([HOSTILE, "z"])
    names = np.array([HOSTILE, HOSTILE, "b"])
    tables: Mapping[str, Mapping[str, Any]] = {
        f"{HOSTILE}/classes": {"label": np.array([HOSTILE, "b"]), "f1": np.array([0.5, 1.0])},
        f"{HOSTILE}/matrix": {"label": names, "predicted": names[::-1], "count": counts},
        f"{HOSTILE}/confused": {"label": names[:1], "predicted": names[2:], "count": counts[:1]}
        | {"share": np.array([0.5])},
        f"{HOSTILE}/operating_points": {"point": names[:1]}
        | {name: np.array([0.5]) for name in ("threshold", "tar", "far", HOSTILE)},
        f"{HOSTILE}/roc": {
            "match_rate_genuine": np.array([0.1, 0.5, 1.0]),
            "match_rate_impostor": np.array([0.0, 0.5, 1.0]),
        },
        f"{HOSTILE}/scores": {"lower": np.arange(3.0), "upper": np.arange(1.0, 4.0)}
        | {"genuine": counts, "impostors": counts[::-1]},
        f"{HOSTILE}/hubs": {"hub": names, "occurrences": counts},
        f"{HOSTILE}/queries": {"id": ids, "label": names[:2], f"{HOSTILE}/mrr": np.array([0.1, 1])},
        f"{HOSTILE}/neighbors": {
            "id": ids,
            "rank": np.ones(2, int),
            "neighbor": ids[::-1],
            "label": names[:2],
            "score": np.array([np.nan, 1e9]),
            f"{HOSTILE}/relevant": np.array([False, True]),
        },
        f"{HOSTILE}/samples": {"id": ids, "predicted": names[:2], "nll": np.array([9.0, 1.0])},
        f"{HOSTILE}/items": {"id": ids, "role": names[:2], "text": names[:2]},
        f"{HOSTILE}/map": {"item": ids, "label": names[:2], "method": names[:2]}
        | {"x": np.array([0.0, 1.0]), "y": np.array([0.0, np.nan])},
    }
    monitors = file_monitors(rundir)
    for step in (1, 2):
        metrics = {f"{HOSTILE}/{HOSTILE}@{k}": 0.25 * step * k for k in (1, 2)}
        record = Record(
            runner=HOSTILE,
            step=step,
            elapsed_s=float(step),
            scalars=metrics | {f"{HOSTILE}/hit_rate@1": 0.5},
            timings={f"{HOSTILE}/time/{HOSTILE}_s": 1.0, f"{HOSTILE}/time/total_s": 2.0},
            coverage={HOSTILE: 3},
            tables=tables,
        )
        for monitor in monitors:
            monitor.write(record)
            monitor.write(Record(step=step, elapsed_s=1.0, scalars={HOSTILE: float(step)}))
            monitor.write(Record(runner=HOSTILE, step=step, scalars={}, error=HOSTILE))
    for monitor in monitors:
        monitor.close()
    (rundir / "config.yaml").write_text(json.dumps({"model": HOSTILE, "loss": [HOSTILE]}))
    (rundir / "environment.json").write_text(
        json.dumps({"python": HOSTILE, "packages": {"a": HOSTILE}})
    )
    (rundir / "tables" / "x" / "00000001").mkdir(parents=True)
    (rundir / "tables" / "x" / "00000001" / "a<b>.matrix.parquet").write_text(HOSTILE)
    return rundir


def logged(rundir: Path, *lines: Mapping[str, Any] | str) -> Path:
    """A folder that holds these lines of a log, texts as they are."""
    rundir.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines]
    (rundir / "metrics.jsonl").write_text("".join(texts))
    return rundir


def evaluation(step: int, **metrics: float | None) -> dict[str, Any]:
    """A line of an evaluation by the runner `v`."""
    about = {
        "runner": "v",
        "step": step,
        "epoch": step,
        "time": 100.0 + step,
        "elapsed_s": 2.0 * step,
    }
    return {**about, **{f"v/{name}": value for name, value in metrics.items()}}
